"""What optimizers and schedules are asked for, checked where it is given; no torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, Unpack, get_args, get_origin, get_type_hints

NOT_OPTIONS = ("params", "param_names")


def check_options(owner: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise where an option is no number, or not in the range of numbers, that it must be.

    Args:
        owner: what takes the options, by the annotations of its signature.
        options: by name; the parameters of a group may be among them.

    Raises:
        TypeError: an option is text, as YAML reads 1e-3, where text is not taken.
        ValueError: `lr`, `weight_decay`, `eps`, `momentum` or one of `betas` is out of range.
    """
    refuse_text(owner.__name__, options, keywords(owner)[0])
    for option in ("lr", "weight_decay", "eps", "momentum"):
        value = options.get(option)
        if value is not None and not value >= 0:
            raise ValueError(f"{option} is {value}; it must be 0 or more")
    for i, beta in enumerate(options.get("betas") or ()):
        if not 0 <= beta < 1:
            raise ValueError(f"betas[{i}] is {beta}; it must be at least 0 and below 1")


def check_fields(settings: Any) -> None:
    """Raise TypeError where a field of a dataclass is text and its annotation knows no text."""
    annotations = {field.name: str(field.type) for field in fields(settings)}
    options = {name: getattr(settings, name) for name in annotations}
    refuse_text(type(settings).__name__, options, annotations)


def refuse_text(owner: str, options: Mapping[str, Any], annotations: Mapping[str, str]) -> None:
    """Raise TypeError for text where an annotation has none; without one, if it is a number."""
    for name, value in options.items():
        annotation = annotations.get(name, "")
        if name in NOT_OPTIONS or "str" in annotation:
            continue
        listed = value if isinstance(value, list | tuple) else [value]
        for text in listed:
            if isinstance(text, str) and (annotation or _is_number(text)):
                takes = f"takes {annotation}" if annotation else "takes a number"
                raise TypeError(
                    f"{name} is the text {value!r}, but {owner} {takes}; give it without quotes "
                    "(YAML takes 1e-3 for text, and 1.0e-3 for a number)"
                )


@cache
def keywords(owner: Callable[..., Any]) -> tuple[dict[str, str], bool]:
    """Return the keywords of a signature, and whether it takes any others.

    Each comes with its annotation as text, which is empty where it may be anything.
    """
    known: dict[str, str] = {}
    for parameter in inspect.signature(owner).parameters.values():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            known[parameter.name] = _shown(parameter)
            continue
        # `**switches: Unpack[Switches]` says which; anything else says that all are welcome.
        constructor = owner.__init__ if isinstance(owner, type) else owner  # type: ignore[misc]
        annotation = get_type_hints(constructor).get(parameter.name)
        if get_origin(annotation) is not Unpack:
            return known, True
        hints = get_type_hints(get_args(annotation)[0])
        known |= {name: str(hint) for name, hint in hints.items()}
    return known, False


def _shown(parameter: inspect.Parameter) -> str:
    if isinstance(parameter.default, str):
        return "str"
    if parameter.annotation in (inspect.Parameter.empty, Any, "Any"):
        return ""
    annotation = parameter.annotation
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
