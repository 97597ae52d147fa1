"""What `hub.Backbone` makes of each statement of a network, on networks of a few lines."""

import copy
import itertools

import pytest
import torch
from hub import Backbone, BlockSequence
from hub_layers import ClassifierHead, NormMlpClassifierHead
from torch import nn


def conv(a, b, stride=2):
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())


def row(width, reduction, module, **differs):
    return dict(num_chs=width, reduction=reduction, module=module, **differs)


class Stages(Backbone):
    """Three stages of strides 2, 4, 8; a flat head."""

    def __init__(self, num_classes=5, in_chans=3, global_pool="avg", drop_rate=0.0):
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        widths = (in_chans, 4, 6, 8)
        self.stages = nn.ModuleList(
            BlockSequence(conv(a, b), conv(b, b, 1)) for a, b in itertools.pairwise(widths)
        )
        self.feature_info = [row(w, 2 << i, f"stages.{i}") for i, w in enumerate(widths[1:])]

    def forward_levels(self, x):
        for stage in self.stages:
            x = stage(x)
            yield x


class WithHead(Stages):
    """The head is an object, after a norm."""

    classifier_path, final_norm = "head.fc", "norm"

    def __init__(self, num_classes=5, in_chans=3, global_pool="avg", drop_rate=0.0):
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.norm = nn.BatchNorm2d(8)
        self.head = NormMlpClassifierHead(8, num_classes, 7, global_pool, drop_rate)


class Widened(Stages):
    """A convolution widens the last level, and another stands behind the pool."""

    final_modules, head_modules = ("widen",), ("global_pool", "hidden", "act", "fc")
    pools = ("avg", "max", "")

    def __init__(self, num_classes=5, in_chans=3, global_pool="avg", drop_rate=0.0):
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.num_features, self.head_hidden_size = 10, 12
        self.widen = nn.Conv2d(8, 10, 1)
        self.hidden, self.act = nn.Conv2d(10, 12, 1), nn.Hardswish()

    def forward_pool(self, x):
        pool = x.mean if self.global_pool == "avg" else x.amax
        return pool((2, 3), keepdim=True)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(6), nn.Linear(6, 6)

    def forward(self, x, mask=None):
        y = self.fc(self.norm(x))
        return x + (y if mask is None else y * mask)


class Tokens(Backbone):
    """Patches of 8 pixels, two prefix tokens, four blocks, a norm, two classifiers."""

    layout, num_prefix_tokens, final_norm = "NLC", 2, "norm"
    classifier_path, pools = ("head", "head_dist"), ("token", "avg", "")
    no_decay = ("prefix", "*.norm.*")

    def __init__(self, num_classes=5, in_chans=3, global_pool="token", drop_rate=0.0):
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.patch = nn.Conv2d(in_chans, 6, 8, 8)
        self.prefix = nn.Parameter(torch.randn(1, 2, 6))
        self.blocks = BlockSequence(*(Block() for _ in range(4)))
        self.norm = nn.LayerNorm(6)
        self.feature_info = [row(6, 8, f"blocks.{i}") for i in range(4)]

    def forward_pool(self, x):
        return (x[:, 0], x[:, 1]) if self.global_pool == "token" else x[:, 2:].mean(1)

    def forward_levels(self, x, mask=None):
        x = self.patch(x).flatten(2).mT
        x = torch.cat((self.prefix.expand(x.shape[0], -1, -1), x), 1)
        yield from self.blocks.each(x, mask=mask)


class MapsThenTokens(Backbone):
    """A map, then tokens; a class token joins after the levels."""

    layout, num_prefix_tokens, final_norm = "NLC", 1, "norm"
    final_modules, pools = ("cls_token", "mix"), ("token", "")

    def __init__(self, num_classes=5, in_chans=3, global_pool="token", drop_rate=0.0):
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.stem = nn.Conv2d(in_chans, 6, 4, 4)
        self.block = Block()
        self.cls_token, self.mix = nn.Parameter(torch.randn(1, 1, 6)), Block()
        self.norm = nn.LayerNorm(6)
        self.feature_info = [
            row(6, 4, "stem", layout="NCHW"),
            row(6, 4, "block", num_prefix_tokens=0),
        ]

    def forward_levels(self, x):
        x = self.stem(x)
        yield x
        yield self.block(x.flatten(2).mT)

    def forward_final(self, x):
        return self.norm(self.mix(torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), 1)))


class Branches(Stages):
    """The head sees the sum of all levels, brought to one size."""

    def __init__(self, num_classes=5, in_chans=3, global_pool="avg", drop_rate=0.0):
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.fuse = nn.ModuleList(nn.Conv2d(w, 8, 1) for w in (4, 6, 8))

    final_modules = ("fuse",)

    def forward_levels(self, x):
        found = []
        for level in super().forward_levels(x):
            found.append(level)
            yield level
        return found

    def forward_final(self, x):
        size = x[-1].shape[-2:]
        return sum(
            f(nn.functional.adaptive_avg_pool2d(y, size)) for f, y in zip(self.fuse, x, strict=True)
        )


class Encoder(Stages):
    classifier_path = ()

    def __init__(self, num_classes=0, in_chans=3, global_pool="avg"):
        super().__init__(num_classes, in_chans, global_pool)


KINDS = (Stages, WithHead, Widened, Tokens, MapsThenTokens, Branches)


def built(kind, **kwargs):
    torch.manual_seed(0)
    model = kind(**kwargs).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def x():
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


# --- forward, head ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_the_classifiers_of_the_pooled_features(kind, x):
    model = built(kind)
    features = model.forward_features(x)
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.head_hidden_size)
    assert features.shape[-1 if model.layout == "NLC" else 1] == model.num_features
    close(model(x), model.forward_head(features))
    if isinstance(model.classifier_path, str):
        close(model(x), model.get_classifier()(pooled))
    wanted = pooled
    model.reset_classifier(0)
    close(model(x), wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_reset_makes_the_classifiers_anew_and_nothing_else(kind, x):
    model = built(kind)
    before = copy.deepcopy(model.state_dict())
    paths = [model.classifier_path] if isinstance(model.classifier_path, str) else [*model._paths]
    for count in (0, 7):
        model.reset_classifier(count)
        after = model.state_dict()
        kept = {k for k in before if not k.startswith(tuple(f"{p}." for p in paths))}
        assert kept <= after.keys()
        assert all(torch.equal(before[k], after[k]) for k in kept)
    assert model(x).shape == (2, 7)
    assert [model.get_submodule(p).weight.shape[0] for p in model.classifier_layers] == [7] * len(
        paths
    )


@pytest.mark.parametrize("kind", KINDS)
def test_own_pool_comes_back_after_none(kind, x):
    model = built(kind)
    pool = model.pool_name
    model.reset_classifier(0, "")
    assert model.pool_name == ""
    model.reset_classifier(3)
    assert model.pool_name == pool
    assert model(x).shape == (2, 3)


def test_pool_of_the_class_comes_back_where_the_network_was_built_without(x):
    model = built(Tokens, num_classes=0, global_pool="")
    assert model(x).shape == (2, 26, 6)
    model.reset_classifier(3)
    assert model.pool_name == "token"


def test_pools_that_are_not_legal_are_refused_when_built_and_when_reset():
    with pytest.raises(ValueError, match=r"'max': it can be 'token', 'avg', '' in this Tokens"):
        Tokens(global_pool="max")
    with pytest.raises(ValueError, match="'median': it can be 'avg', 'max', 'avgmax', ''"):
        Stages(global_pool="median")
    model = built(Widened)
    with pytest.raises(ValueError, match="'avgmax': it can be 'avg', 'max', ''"):
        model.reset_classifier(5, "avgmax")
    assert model.num_classes == 5  # as it was


def test_layers_behind_the_pool_run_once_and_fall_with_the_head(x):
    model = built(Widened)
    pooled = model.forward_features(x).mean((2, 3), keepdim=True)
    close(
        model.forward_head(model.forward_features(x), True),
        model.act(model.hidden(pooled))[..., 0, 0],
    )
    model.reset_classifier(0, "")
    assert model(x).shape == (2, 12, 4, 6)  # without a pool
    model.as_features()
    assert not [n for n, _ in model.named_parameters() if not n.startswith("stages")]


def test_what_stands_before_a_head_object_falls_with_it(x):
    class Hidden(WithHead):
        head_modules = ("hidden", "head")

        def __init__(self, num_classes=5, global_pool="avg"):
            super().__init__(num_classes, global_pool=global_pool)
            self.hidden = nn.Conv2d(8, 8, 1)

    model = built(Hidden)
    close(model(x), model.head(model.hidden(model.forward_features(x))))
    model.prune_intermediate_layers([1])
    assert not [n for n, _ in model.named_parameters() if not n.startswith("stages")]
    model.reset_classifier(3)
    assert model(x).shape == (2, 3)


def test_pool_that_has_weights_is_taken_away_by_build_head(x):
    class Attentive(Tokens):
        classifier_path, pools = "head", ("map", "avg", "")
        head_modules = ("attn_pool", "global_pool", "head")

        def __init__(self, num_classes=5, global_pool="map"):
            super().__init__(num_classes, global_pool=global_pool)
            self.attn_pool = nn.Linear(6, 6) if global_pool == "map" else None

        def build_head(self, num_classes, global_pool):
            if global_pool != "map":
                self.pools, self.attn_pool = ("avg", ""), None
            super().build_head(num_classes, global_pool)

        def forward_pool(self, x):
            return x[:, 0] if self.global_pool == "map" else x.mean(1)

    model = built(Attentive)
    model.prune_intermediate_layers([0])
    assert not [n for n, _ in model.named_parameters() if n.startswith("attn_pool")]
    model.reset_classifier(7)
    assert (model.pool_name, model(x).shape) == ("avg", (2, 7))
    with pytest.raises(ValueError, match="'map': it can be 'avg', ''"):
        model.reset_classifier(7, "map")


def test_linear_classifier_of_a_map_is_refused(x):
    with pytest.raises(ValueError, match="for 7 classes has nothing to see"):
        built(Stages).reset_classifier(7, "")


def test_no_pool_is_refused_where_it_is_not_legal(x):
    class Pooled(Widened):
        pools = ("avg", "max")

    model = built(Pooled)
    with pytest.raises(ValueError, match="'': it can be 'avg', 'max' in this Pooled"):
        model.reset_classifier(0, "")
    model.prune_intermediate_layers([0])  # takes the pool away, legal or not
    model.reset_classifier(0)
    assert model(x).shape == (2, 4, 16, 24)


@pytest.mark.parametrize("kind", [Stages, WithHead])
def test_dropout_is_once(kind, x):
    model = built(kind, drop_rate=0.5).train()
    with torch.no_grad():
        pooled = model.forward_head(torch.ones(64, 8, 1, 1) + torch.rand(64, 8, 1, 1), True)
    assert model.drop_rate == 0.5
    assert 0.35 < (pooled == 0).float().mean() < 0.65
    model.drop_rate = 0.0
    assert (model.forward_head(torch.ones(4, 8, 1, 1), True) != 0).any()
    assert model.drop_rate == 0.0


def test_dropout_that_nobody_runs_is_none(x):
    class Beside(Stages):
        classifier_path = "head.1"

        def __init__(self, num_classes=5, drop_rate=0.0):
            super().__init__(num_classes, drop_rate=drop_rate)
            self.head = nn.Sequential(nn.Dropout(drop_rate), nn.Linear(8, num_classes))

    model = built(Beside, drop_rate=0.5).train()
    pooled = model.forward_head(torch.ones(64, 8, 1, 1), pre_logits=True)
    assert 0.35 < (pooled == 0).float().mean() < 0.65


def test_several_classifiers_agree_on_a_mean_and_are_told_apart_where_asked(x):
    model = built(Tokens)
    features = model.forward_features(x)
    main, other = model.head(features[:, 0]), model.head_dist(features[:, 1])
    close(model(x), (main + other) / 2)
    close(model.forward_head(features, pre_logits=True), features[:, :2].mean(1))
    assert torch.is_tensor(model.train()(x))
    model.set_distilled_training()
    both = model(x)
    assert isinstance(both, tuple)
    close(both[0], main)
    assert torch.is_tensor(model.eval()(x))
    with pytest.raises(ValueError, match="Stages has one classifier"):
        built(Stages).set_distilled_training()


def test_encoder_has_no_classifier(x):
    model = built(Encoder)
    assert model(x).shape == (2, 8)
    assert model.get_classifier() == model.classifier_layers == ()
    for ask in (lambda: Encoder(num_classes=3), lambda: model.reset_classifier(3)):
        with pytest.raises(ValueError, match="num_classes=3: Encoder is an encoder"):
            ask()


def test_head_object_goes_and_comes_back(x):
    head = ClassifierHead(8, 5, "avg")
    y = torch.rand(2, 6, 4, 4)
    head.strip(6)
    assert head(y) is y or torch.equal(head(y), y)
    assert head.num_features == 6 and head.pool_type == ""
    head.reset(3, "max")
    assert head(y).shape == (2, 3)


# --- levels, cuts -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_table_is_completed_by_the_network(kind, x):
    model = built(kind)
    levels, features = model.run_levels(x)
    close(features, model.forward_features(x))
    for level, row in zip(levels, model.feature_info, strict=True):
        axis = 1 if row["layout"] == "NCHW" else -1
        assert level.shape[axis] == row["num_chs"]
    norms = [row["norm"] for row in model.feature_info]
    assert norms == {
        WithHead: [None, None, "norm"],
        Tokens: ["norm"] * 4,
        MapsThenTokens: [None, "norm"],
    }.get(kind, [None] * 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NLC"])
def test_maps_come_in_the_layout_asked_for(kind, layout, x):
    model = built(kind)
    maps = model.forward_intermediates(x, output_fmt=layout, intermediates_only=True)
    for found, row in zip(maps, model.feature_info, strict=True):
        h, w, c = 32 // row["reduction"], 48 // row["reduction"], row["num_chs"]
        shapes = {"NCHW": (2, c, h, w), "NHWC": (2, h, w, c), "NLC": (2, h * w, c)}
        assert found.shape == shapes[layout]


@pytest.mark.parametrize("kind", KINDS)
def test_norm_changes_the_levels_whose_rows_name_one_and_no_other(kind, x):
    model = built(kind)
    plain = model.forward_intermediates(x, intermediates_only=True)
    normed = model.forward_intermediates(x, norm=True, intermediates_only=True)
    changed = [not torch.equal(a, b) for a, b in zip(plain, normed, strict=True)]
    assert changed == [row["norm"] is not None for row in model.feature_info]
    features = copy.deepcopy(model).as_features(norm=True)
    for a, b in zip(features(x), normed, strict=True):
        close(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_cut_at_each_level_runs_and_returns_that_level(kind, x):
    whole = built(kind)
    levels, _ = whole.run_levels(x)
    for last, level in enumerate(levels):
        model = copy.deepcopy(whole)
        model.prune_intermediate_layers([last], prune_norm=True)
        close(model(x), level)
        close(model.forward_features(x), level)
        row = whole.feature_info[last]
        assert (model.layout, model.num_prefix_tokens) == (row["layout"], row["num_prefix_tokens"])
        assert model.num_features == model.head_hidden_size == row["num_chs"]
        assert model.is_part
        model.train()(x).sum().backward()
        assert all(p.grad is not None for p in model.parameters())


def test_all_levels_of_a_cut_network_are_those_that_are_left(x):
    whole = built(Stages)
    wanted = whole.forward_intermediates(x, [0, 1], intermediates_only=True)
    model = copy.deepcopy(whole)
    model.prune_intermediate_layers([1])
    for indices in (None, 2):
        maps = model.forward_intermediates(x, indices, intermediates_only=True)
        assert len(maps) == 2
        close(maps[-1], wanted[-1])
    with pytest.raises(ValueError, match="level 2 was pruned"):
        model.forward_intermediates(x, [-1])


def test_isotropic_network_that_is_cut_keeps_what_fits_every_level(x):
    model, whole = built(Tokens), built(Tokens)
    model.prune_intermediate_layers([1], prune_head=False)
    levels, _ = whole.run_levels(x, [1])
    close(model(x), whole.forward_head(whole.norm(levels[0])))
    model.prune_intermediate_layers([0])
    close(model(x), whole.norm(whole.run_levels(x, [0])[0][0]))


def test_stopped_early_features_are_the_level_and_its_norm(x):
    model = built(Tokens)
    level = model.run_levels(x, [1])[0][0]
    close(model.forward_intermediates(x, [1], stop_early=True)[0], model.norm(level))
    model = built(MapsThenTokens)  # whose class token joins after the last level only
    level = model.run_levels(x, [0])[0][0]
    close(model.forward_intermediates(x, [0], stop_early=True)[0], level)


def test_head_that_sees_several_levels_falls_with_a_cut(x):
    class Joined(Tokens):
        classifier_path, final_norm = "head", None

        def __init__(self, num_classes=5):
            super().__init__(num_classes)
            self.num_features = 12

        def forward_levels(self, x):
            found = []
            for level in super().forward_levels(x):
                found.append(level)
                yield level
            return torch.cat(found[-2:], -1)

        def forward_pool(self, x):
            return x[:, 0]

    model = built(Joined)
    assert model(x).shape == (2, 5)
    level = model.run_levels(x, [0])[0][0]
    model.prune_intermediate_layers([0], prune_head=False)
    close(model(x), level)


@pytest.mark.parametrize("prune_head", [False, True])
def test_final_module_within_a_block_falls_with_the_block(prune_head, x):
    class Tapped(Tokens):
        """A level is what the norm of a block gives; the rest of the last block comes after."""

        classifier_path, final_modules, final_norm = "head", ("blocks.3.fc",), "norm"

        def __init__(self, num_classes=5):
            super().__init__(num_classes)
            self.feature_info = [row(6, 8, f"blocks.{i}.norm") for i in range(4)]

        def forward_pool(self, x):
            return x[:, 0]

        def forward_levels(self, x):
            x = self.patch(x).flatten(2).mT
            x = torch.cat((self.prefix.expand(x.shape[0], -1, -1), x), 1)
            for i, block in enumerate(self.blocks):
                if i:
                    x = self.blocks[i - 1].fc(x)
                x = x + block.norm(x)
                yield x

    whole = built(Tapped)
    levels, _ = whole.run_levels(x)
    for last in (0, 2):
        model = copy.deepcopy(whole)
        model.prune_intermediate_layers([last], prune_norm=True, prune_head=prune_head)
        close(model(x), levels[last])
        assert {n.split(".")[1] for n, _ in model.blocks.named_parameters(prefix="blocks")} == {
            str(i) for i in range(last + 1)
        }


def test_cut_network_takes_a_classifier_where_it_can(x):
    for kind in (Stages, WithHead, Tokens):
        model = built(kind)
        model.prune_intermediate_layers([1])
        model.reset_classifier(3)
        assert model(x).shape == (2, 3)
    for kind in (MapsThenTokens, Widened):
        model = built(kind)
        model.prune_intermediate_layers([0])
        with pytest.raises(ValueError, match=f"this {kind.__name__} was cut"):
            model.reset_classifier(3)


def test_norms_of_rows_stay_for_the_levels_that_are_asked_for(x):
    class Normed(Stages):
        def __init__(self, num_classes=5):
            super().__init__(num_classes)
            self.norms = nn.ModuleList(nn.GroupNorm(1, w) for w in (4, 6, 8))
            for i, row in enumerate(self.feature_info):
                row["norm"] = f"norms.{i}"

    whole = built(Normed)
    wanted = whole.forward_intermediates(x, [0, 1], norm=True, intermediates_only=True)
    features = copy.deepcopy(whole).as_features([1], norm=True)
    close(features(x)[0], wanted[1])
    assert {n[:7] for n, _ in features.named_parameters() if "norms" in n} == {"norms.1"}
    cut = copy.deepcopy(whole)
    cut.prune_intermediate_layers([1])
    close(cut(x), wanted[1])
    cut.train()(x).sum().backward()
    assert all(p.grad is not None for p in cut.parameters())
    bare = copy.deepcopy(whole).as_features([0, 1])
    assert not [n for n, _ in bare.named_parameters() if "norms" in n]


def test_prefix_tokens_come_with_their_maps(x):
    model = built(Tokens)
    raw, _ = model.run_levels(x, [1])
    ((patches, prefix),) = model.forward_intermediates(
        x, [1], return_prefix_tokens=True, intermediates_only=True, output_fmt="NLC"
    )
    close(prefix, raw[0][:, :2])
    close(patches, raw[0][:, 2:])


def test_rows_may_say_what_their_levels_need(x):
    class Crossed(Stages):
        """Registered against the order in which it runs; a parameter belongs to a level."""

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.third, self.second, self.first = reversed(self.stages)
            del self.stages
            self.scale = nn.Parameter(torch.ones(1))
            needs = (["first"], ["second", "scale"], ["third"])
            self.feature_info = [
                dict(row, module=None, modules=modules)
                for row, modules in zip(self.feature_info, needs, strict=True)
            ]

        def forward_levels(self, x):
            x = self.first(x)
            yield x
            x = self.second(x) * self.scale
            yield x
            yield self.third(x)

    model = built(Crossed)
    assert model.return_layers == {"level0": "0", "level1": "1", "level2": "2"}
    wanted = model.forward_intermediates(x, intermediates_only=True)
    for last, names in enumerate((["first"], ["first", "scale", "second"])):
        part = copy.deepcopy(model).as_features([last])
        left = {n.partition(".")[0] for n, _ in part.named_parameters()}
        assert sorted(left) == names
        close(part(x)[0], wanted[last])


# --- training -----------------------------------------------------------------------------------


def test_keywords_reach_the_levels_that_declare_them_and_others_fail(x):
    model = built(Tokens)
    mask = torch.zeros(1, 26, 1)
    assert not torch.equal(model(x, mask=mask), model(x))
    close(model({"patches": x, "mask": mask}), model(x, mask=mask))
    close(
        model.forward_features({"patches": x, "mask": mask}), model.forward_features(x, mask=mask)
    )
    levels = model.forward_intermediates(x, mask=mask, intermediates_only=True)
    close(model.run_levels({"patches": x, "mask": mask})[0][1][:, 2:].mT, levels[1].flatten(2))
    close(levels[0], levels[-1])
    with pytest.raises(TypeError, match="masc"):
        model(x, masc=mask)
    with pytest.raises(TypeError, match="mask"):
        built(Stages)(x, mask=mask)


@pytest.mark.parametrize("kind", [Stages, Tokens])
def test_checkpointing_reaches_sequences_and_changes_nothing(kind, x):
    results, calls = [], []
    for enable in (False, True):
        model = built(kind).train()
        model.set_grad_checkpointing(enable)
        module = model.get_submodule(model.feature_info[0]["module"])
        module.register_forward_hook(lambda *_: calls.append(1))
        model(x).square().sum().backward()
        results.append([*(p.grad for p in model.parameters()), *model.buffers()])
    for a, b in zip(*results, strict=True):
        close(a, b)
    model.can_checkpoint = False
    with pytest.raises(ValueError, match="has no blocks to recompute"):
        model.set_grad_checkpointing()


def test_depth_groups_by_level_and_block():
    depth = built(Stages).group_matcher()
    assert [depth(f"stages.{i}.{j}") for i in range(3) for j in range(2)] == [0, 1, 2, 3, 4, 5]
    assert depth("fc.weight") == 6
    assert built(Stages).group_matcher(coarse=True)("stages.2.1") == 2
    model = built(Tokens)
    depth = model.group_matcher()
    names = ("patch", "prefix", "blocks.0", "blocks.3", "norm", "head.bias", "head_dist.bias")
    assert [depth(name) for name in names] == [0, 0, 1, 4, 4, 5, 5]


def test_patterns_name_parameters_that_decay_spares():
    spared = built(Tokens).no_weight_decay()
    assert {"prefix", "blocks.0.norm.weight", "blocks.3.norm.bias"} <= spared
    assert len(spared) == 9


def test_first_convolutions_see_the_image():
    assert built(Stages).first_conv == ("stages.0.0.0",)
    assert Stages(in_chans=1).first_conv == ("stages.0.0.0",)

    class Stated(Stages):
        first_conv = ("stages.1.0.0",)

    assert Stated().first_conv == ("stages.1.0.0",)
    model = Stages()
    model.first_conv = ()
    assert model.first_conv == ()


def test_sizes_that_do_not_work_are_refused():
    model = Stages()
    model.set_input_size((40, 64))
    model.size_divisibility = 32
    with pytest.raises(ValueError, match="multiples of 32"):
        model.set_input_size((40, 64))
    model.img_size = (32, 32)
    model.set_input_size(32)
    with pytest.raises(ValueError, match=r"takes images of \(32, 32\) only"):
        model.set_input_size(64)
    with pytest.raises(ValueError, match="cannot change its patches"):
        model.set_input_size(patch_size=8)


def test_weights_are_initialised_again():
    model = built(Stages)
    nn.init.zeros_(model.fc.weight)
    model.init_weights()
    assert model.fc.weight.std() > 0
    with pytest.raises(ValueError, match="weight_init='jax': Stages has one scheme"):
        model.init_weights("jax")


# --- completion ---------------------------------------------------------------------------------


def without_table(model):
    del model.feature_info


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_table, "sets no feature_info"),
        (lambda m: m.feature_info[1].pop("num_chs"), "row 1 .* has no num_chs"),
        (lambda m: m.feature_info[0].update(module="stage.0"), "names 'stage.0', which"),
        (lambda m: m.feature_info[0].update(layuot="NLC"), "the key 'layuot'.*layout"),
        (lambda m: m.feature_info[0].update(layout="CHW"), "layout='CHW' is none of NCHW"),
        (lambda m: m.feature_info[0].update(module=None), "module=None: then each row states"),
        (lambda m: m.feature_info[0].update(modules=[]), "`modules` stands in every row"),
        (lambda m: setattr(m, "final_norm", "nrom"), "final_norm of Spoiled names 'nrom'"),
        (lambda m: setattr(m, "final_modules", ("neck",)), "final_modules of Spoiled names 'neck'"),
        (lambda m: setattr(m, "head_modules", ("hat", "fc")), "head_modules of Spoiled names"),
    ],
)
def test_what_a_network_states_wrongly_is_said_when_it_is_built(spoil, message):
    class Spoiled(Stages):
        def __init__(self):
            super().__init__()
            spoil(self)

    with pytest.raises(TypeError, match=message):
        Spoiled()


def test_head_object_that_lacks_something_is_said_when_the_network_is_built():
    class Bare(nn.Linear):
        def reset(self, num_classes, pool_type=None):
            pass

        def strip(self, in_features):
            pass

    class Headed(Stages):
        classifier_path = "head"

        def __init__(self):
            super().__init__()
            self.head = Bare(8, 5)

    with pytest.raises(TypeError, match="head of Headed, a Bare, has no pool_type and no num_feat"):
        Headed()


def test_levels_that_are_missing_are_said():
    class Short(Stages):
        def forward_levels(self, x):
            yield from list(super().forward_levels(x))[:2]

    with pytest.raises(
        RuntimeError, match="ended after 2 levels, and its feature_info has rows for 3"
    ):
        Short()(torch.rand(1, 3, 32, 32))


# --- graphs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_each_kind_compile_and_export(kind, x):
    model = built(kind)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    close(compiled(x), model(x))
    features = copy.deepcopy(model).as_features()
    compiled = torch.compile(features, fullgraph=True, backend="eager")
    for a, b in zip(compiled(x), features(x), strict=True):
        close(a, b)
    close(torch.export.export(model, (x,)).module()(x), model(x))
    traced = torch.fx.symbolic_trace(model)
    close(traced(x), model(x))
