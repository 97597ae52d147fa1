"""Complete a network, and check what it states, once its constructor is through."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

from torch import nn

from hub.backbone.stated import Stated
from hub.features import LAYOUTS, FeatureInfo
from hub.suggest import did_you_mean

_ROW = {"num_chs", "reduction", "module"}
_MAY = {"layout", "num_prefix_tokens", "norm", "modules", "index", "name"}
_RUNNING = "_in_constructor"


def completing(constructor: Callable[..., None]) -> Callable[..., None]:
    """Return a constructor after which, if it is the outermost, the network is completed."""

    @functools.wraps(constructor)
    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        state = vars(self)
        if _RUNNING in state:
            constructor(self, *args, **kwargs)
            return
        state[_RUNNING] = True
        constructor(self, *args, **kwargs)
        del state[_RUNNING]
        self._complete()

    return construct


def completed_table(model: Stated, stated: Iterable[Mapping[str, Any]]) -> FeatureInfo:
    """Return the feature table of a network with what its rows leave to the network.

    Raises:
        TypeError: a row lacks something, or names what is not there.
    """
    name = type(model).__name__
    table = stated if isinstance(stated, FeatureInfo) else FeatureInfo(map(dict, stated))
    for index, row in enumerate(table):
        where = f"row {index} of feature_info of {name}"
        if lacking := sorted(_ROW - row.keys()):
            raise TypeError(f"{where} has no {', '.join(lacking)}: it is {row}")
        for key in sorted(row.keys() - _ROW - _MAY):
            raise TypeError(f"{where} has the key {key!r}{did_you_mean(key, _ROW | _MAY)}")
        row.setdefault("layout", model.layout)
        row.setdefault("num_prefix_tokens", model.num_prefix_tokens)
        if row["layout"] not in LAYOUTS:
            raise TypeError(f"{where}: layout={row['layout']!r} is none of {', '.join(LAYOUTS)}")
        if row["layout"] != "NLC":
            row["num_prefix_tokens"] = 0
        if row["module"] is None and "modules" not in row:
            raise TypeError(
                f"{where} has module=None: then each row states `modules`, the paths of all that "
                "its level needs"
            )
        for path in (row["module"], row.get("norm"), *row.get("modules", ())):
            _check_path(model, path, where)
    if len({"modules" in row for row in table}) > 1:
        raise TypeError(f"feature_info of {name}: `modules` stands in every row, or in none")
    last = table[-1]
    isotropic = is_isotropic(table)
    for row in table:
        row.setdefault("norm", model.final_norm if isotropic or row is last else None)
    return table


def is_isotropic(table: FeatureInfo) -> bool:
    """Return whether all levels have one width, stride and layout."""
    alike = ("num_chs", "reduction", "layout")
    return all(row[key] == table[-1][key] for row in table for key in alike)


def check_head_object(model: Stated) -> None:
    """Raise TypeError if the head lacks an attribute that heads have."""
    head = model._head_object
    lacking = [name for name in ("pool_type", "num_features") if not hasattr(head, name)]
    if head is not None and lacking:
        raise TypeError(
            f"the head of {type(model).__name__}, a {type(head).__name__}, has no "
            f"{' and no '.join(lacking)}: see hub.Head"
        )


def check_statements(model: Stated) -> None:
    """Raise TypeError if an attribute of the contract names what the network does not have."""
    name = type(model).__name__
    for path in filter(None, (model.final_norm,)):
        _check_path(model, path, f"final_norm of {name}")
    for path in model.final_modules:
        _check_path(model, path, f"final_modules of {name}")
    for path in model._head_order:
        if path != "global_pool":
            _check_path(model, path, f"head_modules of {name}")
    for path in model._paths:
        _check_path(model, path, f"classifier_path of {name}")


def _check_path(model: nn.Module, path: str | None, where: str) -> None:
    """Raise TypeError unless there is such a module or parameter; None is none."""
    if path is None:
        return
    try:
        attrgetter(path)(model)
    except AttributeError:
        known = [n for n, _ in (*model.named_modules(), *model.named_parameters()) if n]
        raise TypeError(
            f"{where} names {path!r}, which the network does not have{did_you_mean(path, known)}"
        ) from None
