import itertools
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_data import (
    AugMixDataset,
    DamagedSampleError,
    FastCollateMixup,
    Loader,
    LoaderError,
    MultiEpochsDataLoader,
    OrderedDistributedSampler,
    PrefetchLoader,
    create_dataset,
    create_loader,
    create_transform,
    fast_collate,
)
from hub_data.recipe import Recipe
from hub_data.workers import NoWorkers, Processes, Threads
from pictures import folder, jpeg
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

TRAINING = dict(
    is_training=True,
    auto_augment="rand-m9-mstd0.5-inc1",
    re_prob=0.5,
    re_mode="pixel",
    interpolation="random",
    seed=3,
)
KINDS = [(0, "auto"), (2, "threads"), (2, "processes")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("images"))


@pytest.fixture
def make(root: Path):
    """Return a function that makes loaders, which are closed after the test."""
    made = []

    def loader(dataset=None, size: int = 24, batch_size: int = 4, **options):
        dataset = create_dataset("", root) if dataset is None else dataset
        options = dict(num_workers=0, device="cpu") | options
        made.append(create_loader(dataset, (3, size, size), batch_size, **options))
        return made[-1]

    yield loader
    for one in made:
        one.close()


def everything(loader) -> tuple[torch.Tensor, torch.Tensor]:
    images, targets = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(targets)


def equal(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_evaluation_gives_every_sample_once_as_the_transform_makes_it(make, root: Path) -> None:
    dataset = create_dataset("", root)
    transform = create_transform((3, 24, 24), interpolation="bicubic")
    want = torch.stack([transform(dataset.load(i)[0]) for i in range(12)])
    images, targets = everything(make(batch_size=5, interpolation="bicubic"))
    torch.testing.assert_close(images, want, atol=1e-6, rtol=0)
    assert targets.dtype == torch.int64 and targets.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    fast = everything(make(batch_size=5, interpolation="bicubic", backend="fast"))[0]
    levels = (fast - want).abs() * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) * 255
    assert 0 < levels.max() < 2.01
    plain = everything(make(batch_size=5, interpolation="bicubic", use_prefetcher=False))[0]
    torch.testing.assert_close(plain, want, atol=1e-6, rtol=0)


@pytest.mark.parametrize("options", [{}, TRAINING, TRAINING | dict(use_prefetcher=False)])
def test_who_makes_the_batches_does_not_show(make, options: dict) -> None:
    alone, *others = (
        everything(make(num_workers=n, workers_as=kind, **options)) for n, kind in KINDS
    )
    assert all(equal(alone, other) for other in others)
    assert alone[0].shape == (12, 3, 24, 24)


def test_threads_read_archives_and_tables_as_one_reader_does(
    make, root: Path, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "images.tar", "w") as archive:
        archive.add(root, ".")
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.rglob("*.jpg"))]
    (tmp_path / "table.csv").write_text("\n".join(["path,label", *rows]))
    want = everything(make())
    table = create_dataset(f"csv:{tmp_path / 'table.csv'}", root)
    for dataset in (create_dataset("", tmp_path / "images.tar"), table):
        loader = make(dataset, num_workers=3)
        assert type(loader.workers) is Threads
        assert equal(want, everything(loader))


def test_workers_are_threads_where_that_is_known_to_be_safe(make, root: Path) -> None:
    def kind(**options) -> type:
        return type(make(**options).workers)

    assert kind() is NoWorkers
    assert kind(num_workers=2) is Threads
    assert kind(num_workers=2, collate_fn=FastCollateMixup(num_classes=3)) is Threads
    assert kind(num_workers=2, collate_fn=lambda samples: fast_collate(samples)) is Processes
    assert kind(num_workers=2, workers_as="processes") is Processes
    assert kind(num_workers=2, dataset=Pictures()) is Processes


@pytest.mark.parametrize(("num_workers", "kind"), KINDS)
@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_a_run_that_is_resumed_sees_what_it_would_have_seen(
    make, taken: int, num_workers: int, kind: str
) -> None:
    options = TRAINING | dict(collate_fn=FastCollateMixup(num_classes=3, mode="elem"))
    whole = make(**options)
    next(iter(whole))
    whole.set_epoch(1)
    want = [*whole, *whole]  # epochs 1 and 2

    left = make(**options, num_workers=num_workers, workers_as=kind)
    list(left)
    list(itertools.islice(left, taken))
    state = left.state_dict()
    assert (state["epoch"], state["position"]) == (1, taken)
    options["seed"] = 99
    resumed = make(**options, num_workers=num_workers, workers_as=kind)
    resumed.load_state_dict(state)
    assert resumed.epoch == 1
    got = [*resumed, *resumed]
    assert len(got) == len(want) - taken
    assert all(equal(a, b) for a, b in zip(want[taken:], got, strict=True))


def test_the_state_after_an_epoch_is_the_begin_of_the_next(make) -> None:
    loader = make(**TRAINING)
    list(loader)
    state = loader.state_dict()
    assert (state["epoch"], state["position"]) == (1, 0)
    after = everything(loader)
    loader.load_state_dict(state)
    assert equal(after, everything(loader))


def test_a_state_of_another_loader_is_refused(make) -> None:
    state = make().state_dict()
    with pytest.raises(LoaderError, match="had batch_size=4, this one has 3"):
        make(batch_size=3).load_state_dict(state)


def test_epochs_differ_and_a_pass_that_is_left_counts(make) -> None:
    loader = make(**TRAINING)
    first = everything(loader)
    next(iter(loader))
    third = everything(loader)
    assert loader.epoch == 3 and not equal(first, third)
    loader.set_epoch(0)
    assert equal(first, everything(loader))
    loader.sampler.set_epoch(2)
    assert equal(third, everything(loader))


def test_the_same_picture_is_never_augmented_twice_the_same(make, tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(60, 50))
    loader = make(create_dataset("", tmp_path), **TRAINING | dict(re_prob=0.0))
    images = torch.cat([everything(loader)[0], everything(loader)[0]])
    assert len({image.numpy().tobytes() for image in images}) == 24


def test_without_a_seed_torchs_generator_decides(make) -> None:
    options = TRAINING | dict(seed=None)
    torch.manual_seed(5)
    first, second = everything(make(**options)), everything(make(**options))
    torch.manual_seed(5)
    assert equal(first, everything(make(**options))) and not equal(first, second)


def test_batches_that_are_kept_stay_as_they_were(make) -> None:
    for num_workers in (0, 2):
        loader = make(num_workers=num_workers)
        kept = [images for _ in range(4) for images, _ in loader]
        copies = [images.clone() for images in kept]
        list(loader)
        assert equal(kept, copies) and equal(kept[:3], kept[3:6])


def test_the_next_epoch_may_begin_early(make) -> None:
    options = TRAINING | dict(num_workers=2)
    want = [everything(loader) for loader in [make(**options)] * 3]
    early = make(**options, use_multi_epochs_loader=True)
    assert all(equal(epoch, everything(early)) for epoch in want)
    loader = MultiEpochsDataLoader(list(range(7)), batch_size=3, shuffle=False)
    assert len(loader) == 3
    assert [[batch.tolist() for batch in loader] for _ in range(2)] == [
        [[0, 1, 2], [3, 4, 5], [6]]
    ] * 2


@pytest.mark.parametrize(("num_workers", "kind"), KINDS)
def test_mixing_is_switched_off_between_epochs(make, num_workers: int, kind: str) -> None:
    loader = make(
        **TRAINING,
        collate_fn=FastCollateMixup(num_classes=3, label_smoothing=0.0),
        num_workers=num_workers,
        workers_as=kind,
    )
    assert loader.mixup_enabled
    _, mixed = everything(loader)
    loader.mixup_enabled = False
    _, plain = everything(loader)
    assert ((mixed > 0) & (mixed < 1)).any()
    assert set(plain.flatten().tolist()) == {0.0, 1.0} and plain.shape == (12, 3)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_augmix_splits_follow_each_other(make, root: Path, num_workers: int) -> None:
    dataset = AugMixDataset(create_dataset("", root), num_splits=3)
    options = TRAINING | dict(auto_augment="augmix-m5-w2", re_prob=0.0, num_aug_splits=3)
    images, targets = next(iter(make(dataset, **options, num_workers=num_workers)))
    clean, first, second = images.split(4)
    assert not torch.equal(clean, first) and not torch.equal(first, second)
    assert targets.tolist() == targets[:4].tolist() * 3


class Pictures(Dataset):
    """A data set that this package did not make, with draws from the global generators."""

    def __init__(self, fail_at: int = -1, label: int = 0, die_at: int = -1) -> None:
        self.transform, self.fail_at, self.label, self.die_at = None, fail_at, label, die_at

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int):
        if index == self.fail_at:
            raise RuntimeError(f"the disk of sample {index} is gone")
        if index == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        value = 100 * random.random() + 100 * np.random.rand() + 50 * float(torch.rand(1))
        return self.transform(Image.new("RGB", (30, 30), (int(value),) * 3)), self.label


def same_seed(info: object) -> int:
    return 7


def test_other_data_sets_are_seeded_in_workers(make) -> None:
    first, again = (make(Pictures(), num_workers=2, seed=4) for _ in range(2))
    want = everything(first)
    assert equal(want, everything(again))
    assert len(set(want[0][:, 0, 0, 0].tolist())) > 5
    first.load_state_dict(first.state_dict() | dict(epoch=0, position=1))
    images, _ = everything(first)
    assert torch.equal(images, want[0][4:])
    fixed = make(Pictures(), num_workers=2, worker_seeding=same_seed)
    values = everything(fixed)[0][:, 0, 0, 0]
    assert torch.equal(values[:4], values[4:])


@pytest.mark.parametrize(("num_workers", "kind"), KINDS)
def test_an_error_of_a_sample_ends_the_epoch_and_is_shown(make, num_workers: int, kind) -> None:
    loader = make(Pictures(fail_at=5), num_workers=num_workers, workers_as=kind)
    with pytest.raises(RuntimeError, match="the disk of sample 5 is gone"):
        list(loader)
    loader.dataset.fail_at = -1
    assert (num_workers and kind == "processes") or len(list(loader)) == 2


@pytest.mark.parametrize("num_workers", [0, 2])
def test_labels_out_of_range_are_named(make, num_workers: int) -> None:
    loader = make(Pictures(label=10), num_workers=num_workers, num_classes=10)
    with pytest.raises(ValueError, match=r"sample 0 has the label 10, .*num_classes=10: labels go"):
        list(loader)
    everything(make(Pictures(label=-1), num_classes=10))


def test_a_killed_worker_is_reported_and_nothing_hangs(make) -> None:
    loader = make(Pictures(die_at=5), num_workers=2)
    started = time.monotonic()
    with pytest.raises(LoaderError, match=r"a worker process of the loader ended: .*out of memory"):
        list(loader)
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(("num_workers", "kind"), KINDS)
@pytest.mark.parametrize("on_error", ["substitute", "skip", "raise"])
def test_damaged_files_follow_the_policy_and_are_reported(
    make, tmp_path: Path, on_error: str, num_workers: int, kind: str, caplog
) -> None:
    damaged = folder(tmp_path)
    (damaged / "a" / "003.jpg").write_bytes(b"\xff\xd8\xff damaged")
    dataset = create_dataset("", damaged, on_error=on_error)
    loader = make(dataset, num_workers=num_workers, workers_as=kind)
    if on_error == "raise":
        with pytest.raises(DamagedSampleError, match=r"003\.jpg cannot be read"):
            list(loader)
        return
    with caplog.at_level(logging.WARNING, "hub_data"):
        sizes = [len(images) for images, _ in loader]
    assert sizes == ([4, 4, 4] if on_error == "substitute" else [3, 4, 4])
    assert "1 of 12 samples could not be read" in caplog.text


def test_images_of_several_sizes_are_named(make) -> None:
    loader = make()
    loader.dataset.transform.transforms[:] = loader.dataset.transform.transforms[-1:]
    assert len(list(loader)) == 3
    with Image.open(loader.dataset.reader.root + "/b/001.jpg") as image:
        small = image.resize((9, 9))
    old = loader.dataset.decode
    loader.dataset.decode = lambda source, mode, **options: (
        small if str(source).endswith("001.jpg") else old(source, mode, **options)
    )
    loader.set_epoch(0)
    with pytest.raises(ValueError, match="must give them all one size"):
        list(loader)


def test_distributed_evaluation_counts_each_sample_once(root: Path) -> None:
    counted = []
    for rank in range(5):
        dataset = create_dataset("", root)
        dataset.transform = create_transform((3, 24, 24), use_prefetcher=True)
        recipe = Recipe(dataset=dataset, collate_fn=None, eight_bit=True)
        sampler = OrderedDistributedSampler(dataset, 5, rank)
        loader = Loader(
            dataset,
            sampler=sampler,
            batch_size=2,
            drop_last=False,
            workers=NoWorkers(recipe),
            seed=0,
        )
        for number, (images, targets) in enumerate(loader):
            assert images.dtype == torch.uint8
            counted += targets[: loader.num_valid(number)].tolist()
        assert number == 1
    assert sorted(counted) == [0] * 4 + [1] * 4 + [2] * 4


def test_threads_leave_the_number_of_torchs_threads_alone(make) -> None:
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(3)
    try:
        list(make(num_workers=2))
        assert torch.get_num_threads() == 3
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert seen == [3]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("num_workers", "kind"), KINDS)
def test_each_batch_has_one_of_several_sizes(make, num_workers: int, kind: str) -> None:
    options = TRAINING | dict(input_size_choices=[16, (3, 24, 20)], batch_size_choices=[3, 2])
    loader = make(**options, num_workers=num_workers, workers_as=kind)
    first = list(loader)
    shapes = [tuple(images.shape) for images, _ in first]
    assert set(shapes) == {(3, 3, 16, 16), (2, 3, 24, 20)} and len(loader) == len(shapes)
    list(itertools.islice(loader, 2))
    resumed = make(**options)
    resumed.load_state_dict(loader.state_dict())
    loader.set_epoch(1)
    want = list(loader)[2:]
    assert all(equal(a, b) for a, b in zip(want, resumed, strict=True))


class Stream(IterableDataset):
    transform = None

    def __len__(self) -> int:
        return 10

    def __iter__(self):
        for value in range(10):
            image = Image.fromarray(np.full((30, 30, 3), 20 * value, np.uint8))
            yield self.transform(image), value


@pytest.mark.parametrize("num_workers", [0, 1])
def test_streams_are_resumed_too(make, num_workers: int) -> None:
    options = TRAINING | dict(num_workers=num_workers)
    loader = make(Stream(), **options)
    first, second = everything(loader), everything(loader)
    assert first[1].tolist() == list(range(8)) and not torch.equal(first[0], second[0])
    resumed = make(Stream(), **options)
    resumed.load_state_dict(loader.state_dict() | dict(epoch=1, position=1))
    images, targets = everything(resumed)
    assert torch.equal(images, second[0][4:]) and targets.tolist() == [4, 5, 6, 7]


def test_prefetching_wraps_any_loader() -> None:
    batches = [(torch.full((2, 3, 4, 4), v, dtype=torch.uint8), torch.tensor([v])) for v in (0, 9)]
    loader = PrefetchLoader(batches, mean=(0.5,), std=(0.5,), device="cpu", re_prob=1.0)
    (images, targets), (other, _) = loader
    assert images.dtype == torch.float32 and targets.tolist() == [0] and len(loader) == 2
    assert set(images.flatten().tolist()) == {-1.0, 0.0}
    assert other.min() == pytest.approx((9 / 255 - 0.5) / 0.5)
    assert not loader.mixup_enabled
    half = PrefetchLoader(batches, device="cpu", fp16=True)
    assert next(iter(half))[0].dtype == torch.float16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(batch_size=0), "batch_size=0: give 1 or more"),
        (dict(num_workers=-1), "num_workers=-1"),
        (dict(workers_as="gnomes"), "'gnomes': choose from auto, threads, processes"),
        (dict(backend="quick"), "unknown backend 'quick'"),
        (dict(num_aug_repeats=3), "needs distributed=True"),
        (dict(num_aug_splits=2, is_training=True), "need both, AugMixDataset"),
        (dict(input_size_choices=[16]), "input_size_choices does not go with is_training=False"),
        (dict(batch_size=13, is_training=True), "12 samples make no batch of batch_size=13"),
        (dict(worker_seeding="some", num_workers=1), "worker_seeding='some'"),
    ],
)
def test_what_cannot_work_is_said_at_once(make, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_an_empty_folder_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no image in"):
        create_dataset("", tmp_path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("num_workers", "kind"), KINDS)
def test_batches_on_a_gpu_are_those_of_the_cpu(make, num_workers: int, kind: str) -> None:
    options = TRAINING | dict(re_mode="const", num_workers=num_workers, workers_as=kind)
    want = everything(make(**options))
    got = everything(make(**options, device="cuda", memory_format=torch.channels_last))
    torch.testing.assert_close(got[0].cpu(), want[0], atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[list]:
    """Return what each of two ranks prints, see `rank_with_loader`."""
    place = tmp_path_factory.mktemp("ranks")
    root = folder(place / "images", count=12)
    (root / "a" / "000.jpg").write_bytes(b"\xff\xd8\xff damaged")
    script = Path(__file__).with_name("rank_with_loader.py")
    started = [
        subprocess.Popen(
            [sys.executable, script, str(rank), place / "meet", root],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    # The gloo of torch 2.9 prints a line of its own before.
    return [json.loads(rank.communicate(timeout=100)[0].splitlines()[-1]) for rank in started]


def test_the_seed_decides_the_order_of_all_ranks(ranks: list[list]) -> None:
    orders = [rank[0] for rank in ranks]
    for name in ("1", "2", "of each rank", "none"):
        assert sorted(orders[0][name] + orders[1][name]) == list(range(12))
    for one in orders:
        assert one["1"] == one["1 again"] == one["of each rank"] != one["2"]
        assert one["none"] != one["none again"] and one["repeated"] != one["repeated, other"]


def test_a_rank_that_leaves_its_pass_keeps_no_other_waiting(ranks: list[list]) -> None:
    assert [passes for _, passes, *_ in ranks] == [2, 2]


def test_faults_of_all_ranks_are_counted_on_request(ranks: list[list]) -> None:
    (_, _, count, names), (*_, other_count, other_names) = ranks
    assert count == other_count >= 1 and names == other_names == ["a/000.jpg"]


class Targets(Dataset):
    """A grey picture per target."""

    def __init__(self, targets) -> None:
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int):
        return Image.new("RGB", (40, 40)), self.targets[index]


def targets_of(targets, **options) -> torch.Tensor:
    options = dict(batch_size=len(targets), num_workers=0, device="cpu") | options
    ((_, found),) = create_loader(Targets(targets), (3, 32, 32), **options)
    return found


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        ([0, 2, 1], torch.int64),
        ([True, False], torch.int64),
        ([np.int32(3), np.int32(4)], torch.int64),
        ([0.5, 1.0, 1.7], torch.float32),
        ([np.float64(0.5), np.float64(2)], torch.float32),
        ([torch.tensor(0.5), torch.tensor(1.5)], torch.float32),
        ([np.array([0.5, 1.0])] * 2, torch.float64),
    ],
)
def test_targets_arrive_with_their_values(given, dtype) -> None:
    found = targets_of(given)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, np.array(given, dtype=float))


def test_classes_are_whole_numbers_of_any_type() -> None:
    found = targets_of([0.0, 2.0, 1.0], num_classes=3)
    assert found.dtype == torch.int64 and found.tolist() == [0, 2, 1]
    mixed = targets_of([0.0, 1.0], collate_fn=FastCollateMixup(mixup_alpha=1.0, num_classes=2))
    assert mixed.shape == (2, 2)


@pytest.mark.parametrize(
    "options",
    [
        dict(num_classes=3),
        dict(collate_fn=FastCollateMixup(mixup_alpha=1.0, num_classes=3)),
    ],
)
def test_values_are_no_classes(options) -> None:
    with pytest.raises(ValueError, match=r"targets such as 0.5 are no classes"):
        targets_of([0.5, 1.0], **options)


@pytest.mark.parametrize("target", ["cat", [0, 1], {"box": 1}, None])
def test_targets_that_make_no_batch_are_named(target) -> None:
    with pytest.raises(TypeError, match=r"a sample has the target .*target_transform") as error:
        targets_of([target] * 2)
    assert repr(target) in str(error.value)
