"""Wheels of this tree, built once, and fresh environments to install them in."""

import functools

import pytest
from environments import ROOT, Environment, build_wheel, link_third_party, write_plugin


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """Return the folder with the wheels of core and of every official plugin."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in (ROOT / "core", *sorted(ROOT.glob("plugins/*"))):
        build_wheel(project, folder)
    return folder


@pytest.fixture(scope="session")
def third_party(tmp_path_factory):
    """Return a function of names of distributions: a folder with what they need beside hub."""

    @functools.cache
    def linked(*distributions):
        return link_third_party(tmp_path_factory.mktemp("linked") / "site", distributions)

    return linked


@pytest.fixture(scope="session")
def installer(tmp_path_factory, third_party):
    """Return the environment whose pip installs into the others."""
    return Environment(tmp_path_factory.mktemp("installer"), third_party(), with_pip=True)


@pytest.fixture(scope="session")
def make_environment(tmp_path_factory, wheels, third_party, installer):
    """Return a function that makes an environment with some packages of this tree in it.

    `make_environment("hub-resnet", project)`: hub-core is always there; names are taken from the
    wheels, folders are projects whose wheel is built first.
    """

    def make(*packages) -> Environment:
        official = ("hub-core", *(p for p in packages if isinstance(p, str)))
        site = third_party(*official)
        environment = Environment(tmp_path_factory.mktemp("fresh"), site)
        targets = ["hub-core"]
        for package in packages:
            is_project = not isinstance(package, str)
            targets.append(
                build_wheel(package, environment.folder / "wheels") if is_project else package
            )
        command = ["pip", "--python", environment.python, "install", "--quiet", "--no-index"]
        command += ["--find-links", wheels, "--disable-pip-version-check", *targets]
        command += ["--no-deps"] if any(not isinstance(p, str) for p in packages) else []
        done = installer.run(*command)
        assert done.returncode == 0, done.stderr
        return environment

    return make


@pytest.fixture(scope="session")
def acme(tmp_path_factory, make_environment):
    """Return an environment with hub-acme, as `hub plugins new` renders it and pip installs it."""
    core = make_environment("hub-kit")
    done = core.run("hub", "plugins", "new", "acme")
    assert done.returncode == 0, done.stderr
    return make_environment("hub-kit", "hub-layers", "hub-publish", core.cwd / "hub-acme")


@pytest.fixture
def plugin(tmp_path):
    """Return `environments.write_plugin` for a folder of this test."""

    def write(name, code, **kwargs):
        return write_plugin(tmp_path, name, code, **kwargs)

    return write


@pytest.fixture
def server():
    from hub_server import HubServer

    with HubServer() as server:
        yield server
