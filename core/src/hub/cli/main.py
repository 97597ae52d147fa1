"""The command `hub`: its subcommands come from the plugins."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from hub import plugins
from hub.errors import HubError, HubWarning
from hub.hookspecs import Command
from hub.suggest import did_you_mean


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    warnings.showwarning = _show_warning
    try:
        with _stdout_to_stderr():
            commands = plugins.host().table("hub_commands")
        args = _parser(commands, arguments).parse_args(arguments)
        code: int = args.command.run(args)
        if sys.stdout is not None:
            sys.stdout.flush()  # a reader that has gone is told here, not at the end of Python
        return code
    except (HubError, OSError) as e:
        if isinstance(e, BrokenPipeError) and _has_no_reader():
            return 0
        print(f"hub: error: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except (Exception, SystemExit):
        raise
    except BaseException as e:  # a Rust extension panics with what is no Exception
        print(f"hub: error: {type(e).__name__}: {e}", file=sys.stderr)
        return 2


def _has_no_reader() -> bool:
    """Return whether the reader of stdout, `head` say, has seen enough; then write no more."""
    if hasattr(select, "poll"):  # not on Windows
        poll = select.poll()
        poll.register(1, 0)
        if not any(event & select.POLLERR for _, event in poll.poll(0)):
            return False  # a pipe to something else broke
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return True


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Send to stderr what C code and processes of plugins write, so that `--json` stays JSON."""
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # one of them is closed
        yield
        return
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _parser(commands: dict[str, Command], arguments: Sequence[str]) -> ArgumentParser:
    parser = ArgumentParser(prog="hub", description="A hub of vision backbones, made of plugins.")
    parser.add_argument("--version", action="version", version=f"hub-core {_version()}")
    first, second = [*(a for a in arguments if not a.startswith("-")), "", ""][:2]
    groups = {name.partition(" ")[0]: None for name in commands if " " in name}
    asked = f"{first} {second}".strip() if first in groups else first
    if first and asked not in commands and (second or first not in groups):
        parser.error(_unknown(asked, commands))
    top = parser.add_subparsers(required=True, metavar="COMMAND")
    actions: dict[str, Any] = {}
    for name in sorted(commands):
        group, _, action = name.partition(" ")
        if action and group not in actions:
            of_group = [n.partition(" ")[2] for n in sorted(commands) if n.startswith(f"{group} ")]
            text = f"{', '.join(of_group)}"
            inner = top.add_parser(group, help=text, description=f"hub {group}: {text}")
            actions[group] = inner.add_subparsers(required=True, metavar="ACTION")
        text = commands[name].help
        subparser = (actions[group] if action else top).add_parser(
            action or name, help=text, description=text
        )
        if name == asked:  # what the others have for options is not asked, and cannot fail
            commands[name].add_arguments(subparser)
            subparser.set_defaults(command=commands[name])
    return parser


def _unknown(name: str, commands: dict[str, Command]) -> str:
    host = plugins.host()
    if clash := host.clash("hub_commands", name):
        return f"the command {clash}"
    for plugin, entry in plugins.known().items():
        if name in entry["commands"]:
            return f"`hub {name}` is in {host.absence(plugin)}"
    near = did_you_mean(name, commands)
    return f"there is no command {name!r}{near} Commands: {', '.join(sorted(commands))}"


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
