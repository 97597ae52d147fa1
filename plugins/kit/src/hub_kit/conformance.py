"""The conformance kit: hold a plugin's networks to what `hub.Backbone` promises.

    from hub_kit import conformance

    print(conformance.run("acme"))

Each `check_*` is a function of an architecture's name that raises `ConformanceError`. Those in
`CHEAP` need no values and run on the meta device for every architecture, those in `NUMERICAL` run
for small ones: a family needs a small variant for each path through its code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hub import plugins, registry
from hub.errors import PluginError, UnknownModelError

from hub_kit import ConformanceError, structure, values
from hub_kit.subject import Check, num_parameters, shared

#: Checks that need no values, in the order in which they run.
CHEAP: tuple[Check, ...] = (
    structure.check_builds,
    structure.check_attributes,
    structure.check_keywords,
    structure.check_table,
    structure.check_order,
    structure.check_depths,
    structure.check_no_weight_decay,
    structure.check_reset_classifier,
    structure.check_unpooled,
    structure.check_intermediates,
    structure.check_prune,
    structure.check_features_only,
    structure.check_output_stride,
    structure.check_image_size,
    structure.check_modes,
)

#: Checks that compare values.
NUMERICAL: tuple[Check, ...] = (
    values.check_forward,
    values.check_pools,
    values.check_eval,
    values.check_intermediates_values,
    values.check_layouts,
    values.check_pruned_values,
    values.check_gradients,
    values.check_grad_checkpointing,
    values.check_hooks,
    values.check_freeze,
    values.check_copies,
    values.check_deferred_init,
    values.check_loading,
    values.check_saving,
    values.check_memory_format,
    values.check_bfloat16,
    values.check_optimize,
    values.check_export,
    values.check_compile,
)

#: Parameters of the largest network that counts as small.
SMALL = 2_000_000


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of the checks of some architectures.

    Args:
        names: the architectures.
        passed: how many checks passed.
        failures: by (architecture, check), what is wrong.
        seconds: how long it took.
    """

    names: tuple[str, ...]
    passed: int
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether there was something to check and nothing failed."""
        return self.passed > 0 and not self.failures

    def __str__(self) -> str:
        lines = [f"{check}: {message}" for (_, check), message in self.failures.items()]
        lines.append(
            f"{len(self.names)} architectures, {self.passed} checks passed, "
            f"{len(self.failures)} failed, {self.seconds:.1f} s"
        )
        return "\n".join(lines)


def names_of(plugin_or_pattern: str) -> list[str]:
    """Return the architectures of a plugin, or those whose names match a pattern.

    Raises:
        PluginError: the plugin is broken; chained to the cause.
        UnknownModelError: there are none.
    """
    plugin = plugins.host().plugins.get(plugin_or_pattern)
    names = registry.list_models(plugin_or_pattern)
    if plugin is None and not names and plugins.rescan():  # installed a moment ago
        return names_of(plugin_or_pattern)
    if plugin is not None:
        if plugin.error is not None:
            raise PluginError(f"{plugin} could not be loaded: {plugin.error}") from plugin.error
        names = [f"{plugin.name}/{name}" for f in plugin.families for name in f.variants]
    if not names:
        reason = (
            f"{plugin} has no architectures"
            if plugin
            else "no plugin is called so, and no architecture matches; `hub plugins list` and "
            "`hub list` show what is installed"
        )
        raise UnknownModelError(f"there is nothing to check in {plugin_or_pattern!r}: {reason}")
    return names


def is_small(name: str) -> bool:
    """Return whether a network is small enough for `NUMERICAL`."""
    return num_parameters(shared(name)) <= SMALL


def checks_for(name: str) -> Iterable[Check]:
    """Yield the checks for an architecture; `NUMERICAL` only where it builds and is small."""
    yield from CHEAP
    try:
        small = is_small(name)
    except Exception:  # `check_builds` says what is wrong
        return
    if small:
        yield from NUMERICAL


def cases(plugin_or_pattern: str) -> list[tuple[str, Check]]:
    """Return what there is to check, for `pytest.mark.parametrize(("name", "check"), ...)`.

    Args:
        plugin_or_pattern: "acme", "acme_net", "acme_*".

    Returns:
        Name of an architecture, and a function to call with it.

    Raises:
        UnknownModelError: no such plugin is installed, and no name matches.
    """
    return [(name, check) for name in names_of(plugin_or_pattern) for check in checks_for(name)]


def run(
    plugin_or_pattern: str, progress: Callable[[str, bool], None] = lambda name, ok: None
) -> Report:
    """Run all checks for the architectures of a plugin, or for those that match a pattern.

    Args:
        plugin_or_pattern: "acme", "acme_net", "acme_*".
        progress: called after each check, with the architecture and whether it passed.

    Returns:
        What passed and what failed; print it.
    """
    start = time.perf_counter()
    names = names_of(plugin_or_pattern)
    passed = 0
    failures: dict[tuple[str, str], str] = {}
    for name in names:
        for check in checks_for(name):
            try:
                check(name)
                passed += 1
            except ConformanceError as e:
                failures[name, check.__name__] = str(e)
            progress(name, (name, check.__name__) not in failures)
    return Report(
        names=tuple(names),
        passed=passed,
        failures=failures,
        seconds=time.perf_counter() - start,
    )
