"""What hub-kit adds to hub: `hub plugins new` and `hub plugins test`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from hub import Command, hookimpl


@hookimpl
def hub_commands() -> list[Command]:
    """Return the commands for authors of plugins."""
    return [
        Command(
            name="plugins new",
            help="write the package of a new plugin",
            add_arguments=_new_arguments,
            run=_new,
        ),
        Command(
            name="plugins test",
            help="hold its networks to the contract of hub",
            add_arguments=_test_arguments,
            run=_test,
        ),
    ]


def _new_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", help="'acme' for the distribution hub-acme")
    parser.add_argument("--network", metavar="NAME", help="class of the network (default: AcmeNet)")
    parser.add_argument("--to", metavar="FOLDER", help="where to write it (default: hub-acme)")


def _new(args: Namespace) -> int:
    from hub_kit.scaffold import new_plugin

    folder = new_plugin(args.name, args.network, args.to)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    print(f"{folder}/\n  " + "\n  ".join(files))
    print(f"next: hub plugins test {folder}; pip install -e {folder}; docs/plugins.md of hub")
    return 0


def _test_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", help="a plugin, its source folder, or a pattern of architectures")


def _test(args: Namespace) -> int:
    from hub_kit.run import run

    return run(args)
