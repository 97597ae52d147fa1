"""The conformance kit in an author's own suite, without a test file.

python -m pytest -p hub_kit.pytest_plugin --hub acme

Each check of each architecture is a test: `acme/acme_net::check_table`. `-k` selects.
"""

from __future__ import annotations

from typing import Any

import pytest
from hub.errors import HubError

from hub_kit import ConformanceError, conformance
from hub_kit.subject import Check


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--hub`."""
    parser.addoption(
        "--hub",
        action="append",
        default=[],
        metavar="PLUGIN",
        help="check the networks of this plugin, or those that match a pattern (repeatable)",
    )


class ConformanceItem(pytest.Item):
    """One check of one architecture."""

    def __init__(self, *, architecture: str, check: Check, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.architecture, self.check = architecture, check

    def runtest(self) -> None:
        """Run the check."""
        self.check(self.architecture)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return what the check says of the network; a mistake of the kit with its traceback."""
        if isinstance(excinfo.value, ConformanceError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, None, str]:
        """Return what stands at the head of a failure."""
        return str(self.path), None, self.name


@pytest.hookimpl(tryfirst=True)  # so that -k and the like see these too
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add a test for each check of each architecture."""
    for plugin in config.getoption("--hub"):
        try:
            cases = conformance.cases(plugin)
        except HubError as e:
            raise pytest.UsageError(str(e)) from e
        items += [
            ConformanceItem.from_parent(
                session,
                name=f"{architecture}::{check.__name__}",
                architecture=architecture,
                check=check,
            )
            for architecture, check in cases
        ]
