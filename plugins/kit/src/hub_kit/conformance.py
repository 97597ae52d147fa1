"""The conformance kit: hold a plugin's networks to what `hub.Backbone` promises.

    from hub_kit import conformance

    print(conformance.run("acme"))

Each check is a function of an architecture's name that raises `ConformanceError`. Those in `CHEAP`
need no values and run on the meta device for every architecture, those in `NUMERICAL` run for small
ones: a family needs a small variant for each path through its code.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hub import PluginError, UnknownModelError, plugins, registry

from hub_kit import ConformanceError, subject
from hub_kit.checks import (
    construction,
    features,
    heads,
    levels,
    loading,
    sizes,
    survival,
    training,
)
from hub_kit.promise import Check

#: Checks that need no values, in the order in which they run: what others rest on goes first.
CHEAP: tuple[Check, ...] = (
    construction.check_builds,
    construction.check_derived,
    levels.check_levels,
    levels.check_table,
    levels.check_modules,
    levels.check_final,
    levels.check_attributes,
    construction.check_keywords,
    construction.check_forward_keywords,
    construction.check_modes,
    construction.check_layers_to_adapt,
    heads.check_reset_classifier,
    heads.check_pools,
    heads.check_head,
    construction.check_unpooled,
    training.check_depths,
    training.check_order,
    training.check_no_weight_decay,
    levels.check_intermediates,
    levels.check_cuts,
    levels.check_features_only,
    sizes.check_output_stride,
    sizes.check_image_size,
)

#: Checks that compare values.
NUMERICAL: tuple[Check, ...] = (
    heads.check_forward,
    heads.check_pool_values,
    heads.check_classifiers,
    heads.check_dropout,
    survival.check_eval,
    features.check_intermediates_values,
    features.check_layouts,
    features.check_norms,
    training.check_gradients,
    features.check_cut_values,
    training.check_grad_checkpointing,
    training.check_hooks,
    training.check_freeze,
    sizes.check_set_input_size,
    construction.check_deferred_init,
    construction.check_init_again,
    loading.check_copies,
    loading.check_loading,
    loading.check_saving,
    survival.check_memory_format,
    survival.check_bfloat16,
    survival.check_optimize,
    survival.check_export,
    survival.check_compile,
)

_RESTS_ON = {check.__name__: check.rests_on for check in (*CHEAP, *NUMERICAL)}


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

    def causes(self) -> dict[tuple[str, str], list[str]]:
        """Return each failure that follows from no other, with the checks that follow from it."""
        found: dict[tuple[str, str], list[str]] = {}
        for name, check in self.failures:
            bases = self._failed_bases(name, check)
            roots = [base for base in bases if not self._failed_bases(name, base)]
            if roots:
                found.setdefault((name, roots[0]), []).append(check)
            else:
                found.setdefault((name, check), [])
        return found

    def _failed_bases(self, name: str, check: str) -> list[str]:
        return [base for base in _bases(check) if (name, base) in self.failures]

    def __str__(self) -> str:
        lines = []
        for (name, check), followers in self.causes().items():
            lines.append(f"{check}: {self.failures[name, check]}")
            if followers:
                lines.append(f"  follows from it: {', '.join(followers)}")
        lines.append(
            f"{len(self.names)} architectures, {self.passed} checks passed, "
            f"{len(self.failures)} failed, {self.seconds:.1f} s"
        )
        return "\n".join(lines)


def _bases(check: str) -> list[str]:
    """Return the checks that a check rests on, the nearest first."""
    found: list[str] = []
    open_ones = list(_RESTS_ON.get(check, ()))
    while open_ones:
        base = open_ones.pop(0)
        if base not in found:
            found.append(base)
            open_ones += _RESTS_ON.get(base, ())
    return found


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
    return subject.is_small(subject.shared(name))


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
    plugin_or_pattern: str,
    progress: Callable[[str, str, bool], None] = lambda name, check, ok: None,
    *,
    select: str = "",
    stop: bool = False,
) -> Report:
    """Run the checks for the architectures of a plugin, or for those that match a pattern.

    Args:
        plugin_or_pattern: "acme", "acme_net", "acme_*".
        progress: called after each check, with the architecture, the check and whether it passed.
        select: only checks of whose "architecture::check" this holds: words, `and`, `or`, `not`,
            brackets, as for the `-k` of pytest.
        stop: stop at the first failure.

    Returns:
        What passed and what failed; print it.

    Raises:
        ValueError: `select` is no such expression.
    """
    start = time.perf_counter()
    names = names_of(plugin_or_pattern)
    is_selected = selection(select)
    passed = 0
    failures: dict[tuple[str, str], str] = {}
    checked: dict[str, None] = {}
    for name in names:
        for check in checks_for(name):
            if not is_selected(f"{name}::{check.__name__}") or (stop and failures):
                continue
            checked[name] = None
            try:
                check(name)
                passed += 1
            except ConformanceError as e:
                failures[name, check.__name__] = str(e)
            progress(name, check.__name__, (name, check.__name__) not in failures)
    return Report(
        names=tuple(checked),
        passed=passed,
        failures=failures,
        seconds=time.perf_counter() - start,
    )


def selection(expression: str) -> Callable[[str], bool]:
    """Return whether a text has the words that an expression asks for, as `-k` of pytest does."""
    if not expression.strip():
        return lambda text: True
    tokens = re.findall(r"[()]|[^\s()]+", expression)
    fixed = {"(", ")", "and", "or", "not"}
    source = " ".join(t if t in fixed else f"({t.lower()!r} in text)" for t in tokens)
    try:
        code = compile(source, "-k", "eval")
    except SyntaxError as e:
        raise ValueError(
            f"-k {expression!r} is no expression: write words, `and`, `or`, `not` and brackets, "
            "as in -k 'levels or (cuts and not values)'"
        ) from e
    return lambda text: bool(eval(code, {"__builtins__": {}}, {"text": text.lower()}))
