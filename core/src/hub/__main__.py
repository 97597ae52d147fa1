"""The command `hub`: its subcommands come from the plugins."""

from __future__ import annotations

import os
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import TextIO

from hub import plugins
from hub.errors import HubError, HubWarning
from hub.hookspecs import Command
from hub.suggest import did_you_mean


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    warnings.showwarning = _show_warning
    try:
        commands = {c.name: c for group in plugins.host().hook.hub_commands() for c in group}
        args = _parser(commands, arguments).parse_args(arguments)
        command: Command = commands[args.command]
        return command.run(args)
    except HubError as e:
        print(f"hub: error: {e}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _parser(commands: dict[str, Command], arguments: Sequence[str]) -> ArgumentParser:
    parser = ArgumentParser(prog="hub", description="A hub of vision backbones, made of plugins.")
    parser.add_argument("--version", action="version", version=f"hub-core {_version()}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in sorted(commands):
        command = commands[name]
        command.add_arguments(
            subparsers.add_parser(name, help=command.help, description=command.help)
        )
    word = next((a for a in arguments if not a.startswith("-")), None)
    if word is not None and word not in commands:
        parser.error(_unknown(word, commands))
    return parser


def _unknown(word: str, commands: dict[str, Command]) -> str:
    for plugin, entry in plugins.known().items():
        if word in entry["commands"]:
            return f"`hub {word}` is in {plugins.host().absence(plugin)}"
    near = did_you_mean(word, commands)
    return f"there is no command {word!r}{near} Commands: {', '.join(sorted(commands))}"


def _version() -> str:
    from importlib.metadata import version

    return version("hub-core")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    label = "warning" if issubclass(category, HubWarning) else category.__name__
    print(f"hub: {label}: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
