"""What users see of plugins: there, missing, broken, blocked, outdated, in each other's way.

Each fault is a distribution that pip installed, and each user a process of its own.
"""

import json
import re

import pytest
from environments import ROOT

pytestmark = pytest.mark.slow

NET = """
from hub import Backbone
from torch import nn

class Net(Backbone):
    def __init__(self, *, in_chans=3, num_classes=5, global_pool="avg", drop_rate=0.0):
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.stem = nn.Conv2d(in_chans, 4, 4, 4)
        self.feature_info = [dict(num_chs=4, reduction=4, module="stem")]

    def forward_levels(self, x):
        yield self.stem(x)
"""
DECLARES = """
from hub import Family, hookimpl

@hookimpl
def hub_models():
    variants = {{name: {{}} for name in {names}}}
    return [Family(name="{family}", model="{package}.model:Net", variants=variants)]
"""
RAISES = "raise RuntimeError('no licence')"


def declares(package, *names):
    return DECLARES.format(names=names, family=package, package=package)


# --- alone, and with one ------------------------------------------------------------------------


def test_core_alone(make_environment):
    env = make_environment()
    assert env.hub("list") == (1, "", "hub: no models are installed: pip install hub-resnet\n")
    assert env.hub("plugins", "list") == (
        0,
        "",
        "hub: no plugins are installed: pip install hub-resnet\n",
    )
    code, out, _ = env.hub("plugins", "doctor")
    assert (code, out.splitlines()[-1]) == (0, "no problems")
    assert env.error("import hub; hub.create_model('resnet50')") == (
        "hub.errors.MissingPluginError: resnet50 is in hub-resnet, which is not installed: "
        "pip install hub-resnet"
    )
    known = json.loads((ROOT / "core/src/hub/plugins/known.json").read_text())
    for entry in known.values():
        where = (
            f"is in {(name := entry['distribution'])}, which is not installed: pip install {name}"
        )
        for command in entry["commands"]:
            assert f"hub: error: `hub {command}` {where}\n" in env.hub(*command.split())[2]
        for attribute in entry["attributes"]:
            error = env.error(f"import hub; hub.{attribute}")
            assert error == f"AttributeError: hub.{attribute} {where}"


def test_core_with_all_is_everything_official(make_environment):
    env = make_environment("hub-core[all]")
    _, out, _ = env.hub("plugins", "list", "--json")
    found = {plugin["distribution"]: plugin["status"] for plugin in json.loads(out)}
    names = [p.parent.name for p in ROOT.glob("plugins/*/pyproject.toml")]
    assert found == {f"hub-{name}": "loaded" for name in names if name != "layers"}
    assert env.exec("import hub; print(hub.optimize.__module__)") == "hub_inference.optimizing\n"


def test_core_and_one_family_are_a_complete_installation(make_environment):
    env = make_environment("hub-resnet")  # pip brings hub-layers
    assert env.hub("list", "resnet50", "resnet18") == (0, "resnet18\nresnet50\n", "")
    shape = env.exec("""
        import hub, torch
        model = hub.create_model("test_resnet", num_classes=7)
        print(tuple(model(torch.rand(2, 3, 64, 64)).shape))
    """)
    assert shape == "(2, 7)\n"
    assert "vit_tiny_patch16_224 is in hub-vit, which is not installed" in env.error(
        "import hub; hub.create_model('vit_tiny_patch16_224')"
    )


def test_listing_loads_no_torch(acme):
    acme.exec("""
        import sys, hub
        assert "acme_net" in hub.list_models()
        assert "torch" not in sys.modules
    """)


# --- a third party's ----------------------------------------------------------------------------


def test_rendered_plugin_is_found_and_built(acme):
    assert acme.hub("list", "*acme*") == (0, "acme_net\ntest_acme_net\n", "")
    _, out, _ = acme.hub("info", "acme_net", "--json")
    assert json.loads(out)["distribution"] == "hub-acme 0.1.0"
    assert acme.hub("plugins", "doctor")[0] == 0
    acme.exec("""
        import hub, torch
        model = hub.create_model("acme_net", features_only=True, out_indices=(0, -1))
        shapes = [tuple(f.shape) for f in model(torch.rand(1, 3, 64, 64))]
        assert shapes == [(1, 48, 16, 16), (1, 384, 2, 2)], shapes
    """)


def test_rendered_plugin_states_its_size(acme):
    count = int(
        acme.exec("""
        import hub
        print(sum(p.numel() for p in hub.create_model("acme_net").parameters()))
    """)
    )
    template = ROOT / "plugins/kit/src/hub_kit/template"
    assert f"| `acme_net` | {count / 1e6:.1f} M |" in (template / "README.md").read_text()
    variants = (template / "src/hub_acme/variants.py").read_text()
    assert f"# {count / 1e6:.1f} M\n" in variants


def test_rendered_plugin_passes_the_kit(acme):
    code, out, err = acme.hub("plugins", "test", "acme")
    assert code == 0, out + err
    assert re.search(r"2 architectures, (\d+) checks passed, 0 failed", out)


def test_plugin_works_in_every_process(acme):
    """Spawned workers, workers of a DataLoader and ranks of torchrun create it by its name."""
    (acme.cwd / "ranks.py").write_text("""
import os, hub, torch, torch.distributed as dist
dist.init_process_group("gloo")
model = hub.create_model("test_acme_net", num_classes=4)
count = torch.tensor(sum(p.numel() for p in model.parameters()) * (2 * dist.get_rank() - 1))
dist.all_reduce(count)
os.write(1, f"rank {dist.get_rank()} differs by {int(count)}\\n".encode())  # in one piece
dist.barrier()
os._exit(0)  # at the regular end of a process gloo's threads abort it now and then
""")
    out = acme.exec("""
        import multiprocessing, pickle, torch, hub
        from torch.utils.data import DataLoader, Dataset

        def build(name):
            return sum(p.numel() for p in hub.create_model(name).parameters())

        def run(model):
            return type(model).__module__, tuple(model(torch.ones(1, 3, 32, 32)).shape)

        class Features(Dataset):
            def __len__(self):
                return 4

            def __getitem__(self, index):
                model = hub.create_model("test_acme_net", num_classes=3).eval()
                return model(torch.ones(1, 3, 32, 32)).detach()[0]

        if __name__ == "__main__":
            spawn = multiprocessing.get_context("spawn")
            with spawn.Pool(2) as pool:
                assert len(set(pool.map(build, ["test_acme_net"] * 2))) == 1
                model = hub.create_model("test_acme_net", num_classes=3)
                assert pool.apply(run, (model,)) == ("hub_acme.model", (1, 3))
            loader = DataLoader(Features(), 2, num_workers=2, multiprocessing_context="spawn")
            assert [tuple(batch.shape) for batch in loader] == [(2, 3), (2, 3)]
            again = pickle.loads(pickle.dumps(model))
            assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))
            print("all")
    """)
    assert out == "all\n"
    done = acme.run(
        *("python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"), "ranks.py"
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["rank 0 differs by 0", "rank 1 differs by 0"]


def test_hub_round_trip_with_and_without_the_plugin(acme, make_environment, server):
    save = """
        import hub, torch
        torch.manual_seed(0)
        model = hub.create_model("test_acme_net", num_classes=3).eval()
        hub.save_pretrained(model, "saved")
        print(model(torch.ones(1, 3, 32, 32)).tolist())
    """
    before = acme.exec(save)
    saved = {path.name: path.read_bytes() for path in (acme.cwd / "saved").iterdir()}
    assert json.loads(saved["config.json"])["plugin"] == {
        "name": "acme",
        "distribution": "hub-acme",
        "version": "0.1.0",
    }
    server.publish("somebody/net", saved)
    load = """
        import hub, torch
        model = hub.create_model("hf_hub:somebody/net", pretrained=True).eval()
        print(model(torch.ones(1, 3, 32, 32)).tolist())
    """
    assert acme.exec(load, HF_ENDPOINT=server.url) == before
    without = make_environment("hub-layers").error(load, HF_ENDPOINT=server.url)
    assert "unknown model 'test_acme_net'" in without or "no plugin 'acme'" in without, without
    assert "The repository says it needs hub-acme 0.1.0: look at that package" in without
    assert "hub does not install it for you" in without


# --- faults -------------------------------------------------------------------------------------


def test_plugin_that_raises(make_environment, plugin):
    env = make_environment("hub-layers", "hub-resnet", plugin("broken", RAISES))
    warning = (
        "plugin broken (hub-broken 1.0) could not be loaded and is left out: RuntimeError: no "
        "licence (`hub plugins list` shows all; HUB_PLUGINS=-broken leaves it out)"
    )
    assert env.hub("list", "resnet18") == (0, "resnet18\n", f"hub: warning: {warning}\n")
    assert env.hub("list", "resnet18", HUB_PLUGINS="-broken") == (0, "resnet18\n", "")
    code, out, _ = env.hub("plugins", "doctor")
    assert code == 1
    assert "problem  broken: RuntimeError: no licence\n" in out
    assert "pip uninstall hub-broken, or leave it out: HUB_PLUGINS=-broken" in out
    code, out, _ = env.hub("plugins", "doctor", "broken")
    assert code == 1
    assert 'hub_broken/plugin.py", line 1, in <module>' in out
    assert "could not be loaded: RuntimeError: no licence" in env.error(
        "import hub; hub.create_model('broken/net')"
    )
    code, _, err = env.hub("list", HUB_PLUGINS_STRICT="1")
    assert (code, err.count("\n")) == (1, 1)


def test_every_plugin_broken(make_environment, plugin):
    env = make_environment(plugin("one", RAISES), plugin("two", "import no_such_module"))
    code, out, err = env.hub("plugins", "list")
    assert code == 1
    assert [line.split("\t")[3] for line in out.splitlines()] == ["broken", "broken"]
    code, out, _ = env.hub("plugins", "doctor")
    assert (code, out.splitlines()[-1]) == (1, "2 problems")
    assert err.count("hub: warning:") == 2
    assert env.hub("list")[0] == 1


def test_plugin_that_imports_torch_at_listing(make_environment, plugin):
    code = "import torch\n" + declares("hub_heavy", "heavy_net")
    env = make_environment(plugin("heavy", code, model=NET))
    assert env.hub("list") == (0, "heavy_net\n", "")
    code, out, _ = env.hub("plugins", "doctor")
    assert code == 1
    assert re.search(r"problem  heavy: it imports (numpy, )?torch when it is listed", out), out
    assert "import it in the module of the network" in out


def test_plugin_that_claims_an_official_name(make_environment, plugin):
    claims = plugin("acme", declares("hub_acme", "resnet50"), model=NET)
    build = """
        import hub, sys
        for name in sys.argv[1:]:
            print(type(hub.create_model(name)).__module__)
    """
    env = make_environment("hub-layers", "hub-resnet", claims)
    (env.cwd / "build.py").write_text(build.replace("\n        ", "\n"))
    done = env.run("python", "build.py", "resnet50", "acme/resnet50", "resnet/resnet50")
    assert done.stdout.split() == ["hub_resnet.model", "hub_acme.model", "hub_resnet.model"]
    assert done.stderr == ""
    assert env.hub("list", "acme/*") == (0, "acme/resnet50\n", "")
    code, out, _ = env.hub("plugins", "doctor")
    assert code == 0
    assert "note     acme: resnet50 also in resnet\n         here it is acme/resnet50" in out

    alone = make_environment(claims)
    error = alone.error("import hub; hub.create_model('resnet50')")
    assert error == (
        "hub.errors.MissingPluginError: resnet50 is in hub-resnet, which is not installed: "
        "pip install hub-resnet (another network is acme/resnet50)"
    )
    assert alone.exec("import hub; print(type(hub.create_model('acme/resnet50')).__module__)") == (
        "hub_acme.model\n"
    )


def test_two_plugins_claim_one_name(make_environment, plugin):
    env = make_environment(
        plugin("acme", declares("hub_acme", "net"), model=NET),
        plugin("zeta", declares("hub_zeta", "net"), model=NET),
    )
    assert env.hub("list") == (0, "acme/net\nzeta/net\n", "")
    assert env.error("import hub; hub.create_model('net')") == (
        "hub.errors.AmbiguousModelError: 'net' is claimed by 2 plugins; write acme/net or zeta/net"
    )


def test_plugin_that_takes_an_official_plugins_name(make_environment, plugin):
    thief = plugin("resnet", declares("hub_evil", "evil_net"), distribution="hub-evil", model=NET)
    env = make_environment("hub-layers", "hub-resnet", thief)
    code, out, err = env.hub("list", "resnet18")
    assert (code, out) == (0, "resnet18\n")
    assert "the plugin name 'resnet' belongs to hub-resnet; uninstall hub-evil, or ask" in err
    assert env.hub("list", "resnet18", HUB_PLUGINS="-hub-evil:resnet") == (0, "resnet18\n", "")


def test_plugin_for_another_core(make_environment, plugin):
    newer = plugin("acme", declares("hub_acme", "net"), requires=["hub-core>=7"], model=NET)
    env = make_environment("hub-layers", "hub-resnet", newer)
    code, out, err = env.hub("list", "resnet18")
    assert (code, out) == (0, "resnet18\n")
    assert "it needs hub-core>=7, and this is hub-core 0.1.0: pip install --upgrade hub-core" in err
    assert "hub-core>=7" in env.error("import hub; hub.create_model('acme/net')")
    assert env.hub("plugins", "doctor")[0] == 1


def test_unmet_requirement_is_diagnosed(make_environment, plugin):
    needs = ["hub-core", "no-such-package>=2"]
    env = make_environment(plugin("acme", declares("hub_acme", "net"), requires=needs, model=NET))
    code, out, _ = env.hub("plugins", "doctor")
    assert code == 1
    assert "problem  acme: it needs no-such-package>=2, which is not installed" in out
    assert 'pip install "no-such-package>=2"' in out


def test_model_that_is_not_there_is_diagnosed(make_environment, plugin):
    env = make_environment(plugin("acme", declares("hub_acme", "net")))
    code, out, _ = env.hub("plugins", "doctor")
    assert code == 1
    assert "refers to 'hub_acme.model:Net', and there is no module hub_acme.model" in out


def test_file_that_hides_hub_is_diagnosed(make_environment):
    env = make_environment()
    (env.cwd / "hub.py").write_text("")
    code, out, _ = env.hub("plugins", "doctor")
    assert code == 1
    assert "cwd/hub.py is imported in its place by programs that start there" in out


def test_blocked_plugin(make_environment, plugin):
    env = make_environment("hub-layers", "hub-resnet", plugin("broken", RAISES))
    code, out, err = env.hub("plugins", "doctor", HUB_PLUGINS="resnet")
    assert (code, err) == (0, "")
    assert "note     broken: HUB_PLUGINS=resnet leaves it out" in out
    assert "which HUB_PLUGINS leaves out; add broken to it or unset it" in env.error(
        "import hub; hub.create_model('broken/net')", HUB_PLUGINS="resnet"
    )
