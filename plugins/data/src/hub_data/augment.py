"""One operation with its chances (`AugmentOp`), and the strings that policies are written in.

A string is a name and settings, joined by dashes: `rand-m9-mstd0.5-inc1`. Which settings there are
depends on the policy: see `rand_augment`, `auto_augment` and `augmix`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image

from hub_data.draws import python_draws as random
from hub_data.image_ops import OPERATIONS, Drawn, Options, apply

#: Magnitudes count from 0 to this; 10 is the full strength of an operation.
FULL_MAGNITUDE = 10.0
#: Where a policy is made without options: translation in pixels, and the colour that moves in.
DEFAULT_OPTIONS: Options = {"translate_const": 250, "img_mean": (128, 128, 128)}
_FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)


class AugmentOp:
    """Do one operation with some probability and a random strength.

    Args:
        name: of the operation, see `hub_data.image_ops.OPERATIONS`.
        prob: probability that it is done.
        magnitude: its strength, 0 to 10 (full).
        hparams: options of the policy, by timm's names: img_mean (colour of what moves in, 0 to
            255), translate_const (pixels), translate_pct (share of the side), interpolation (a
            filter of PIL, or several to choose from), magnitude_std (of the normal distribution
            around `magnitude`; infinity draws uniformly from 0 to `magnitude`), magnitude_max (the
            limit of drawn magnitudes, 10 if not given).

    Raises:
        ValueError: there is no such operation.
    """

    def __init__(
        self,
        name: str,
        prob: float = 0.5,
        magnitude: float = 10,
        hparams: Options | None = None,
    ) -> None:
        if name not in OPERATIONS:
            raise ValueError(f"unknown operation {name!r}: choose from {', '.join(OPERATIONS)}")
        self.name = name
        self.prob = prob
        self.magnitude = magnitude
        self.hparams = {**DEFAULT_OPTIONS, **(hparams or {})}
        self.magnitude_std: float = self.hparams.get("magnitude_std", 0)
        self.magnitude_max: float | None = self.hparams.get("magnitude_max")
        self.fill: Sequence[int] = self.hparams["img_mean"]
        filters = self.hparams.get("interpolation", _FILTERS)
        self.filters = tuple(filters) if isinstance(filters, Sequence) else (filters,)

    def draw(self) -> Drawn | None:
        """Return what to do to the next image, or None where nothing is to be done."""
        if self.prob < 1.0 and random.random() > self.prob:
            return None
        operation = OPERATIONS[self.name]
        argument = operation.draw(self._magnitude() / FULL_MAGNITUDE, self.hparams)
        if operation.move is None:
            return Drawn(self.name, argument, None)
        resample = self.filters[0] if len(self.filters) == 1 else random.choice(self.filters)
        return Drawn(self.name, argument, resample)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the image, changed or as it was."""
        drawn = self.draw()
        return image if drawn is None else apply(image, drawn, self.fill)

    def __repr__(self) -> str:
        text = f"AugmentOp(name={self.name}, p={self.prob}, m={self.magnitude}"
        text += f", mstd={self.magnitude_std}"
        return text + (f", mmax={self.magnitude_max})" if self.magnitude_max is not None else ")")

    def _magnitude(self) -> float:
        magnitude = self.magnitude
        if self.magnitude_std == float("inf"):
            magnitude = random.uniform(0, magnitude)
        elif self.magnitude_std > 0:
            magnitude = random.gauss(magnitude, self.magnitude_std)
        return max(0.0, min(magnitude, self.magnitude_max or FULL_MAGNITUDE))


def parse_settings(
    text: str, kinds: Mapping[str, Callable[[str], Any]]
) -> tuple[str, dict[str, Any]]:
    """Return the name of a policy and its settings.

    Args:
        text: such as "rand-m9-mstd0.5".
        kinds: setting to what reads its value: {"m": number, "mstd": float}.

    Raises:
        ValueError: a setting is unknown or its value cannot be read.

    >>> parse_settings("rand-m9-mstd0.5", {"m": number, "mstd": float})
    ('rand', {'m': 9, 'mstd': 0.5})
    """
    name, *sections = text.split("-")
    settings = {}
    for section in filter(None, sections):
        match = re.fullmatch(r"([a-z]+)(\d.*)", section) or re.fullmatch(r"(t)(\w+)", section)
        try:
            key, value = match.groups() if match else ("", "")
            settings[key] = kinds[key](value)
        except (KeyError, ValueError):
            known = ", ".join(f"{key}N" if key != "t" else "tNAME" for key in kinds)
            raise ValueError(
                f"auto_augment={text!r}: {section!r} is no setting of {name!r}; its settings are "
                f"{known or 'none'}, joined by dashes, N a number"
            ) from None
    return name, settings


def number(text: str) -> float:
    """Return `text` as a whole number where it is one."""
    value = float(text)
    return int(value) if value.is_integer() else value


def switch(text: str) -> bool:
    """Return what "0" or "1" stands for."""
    return bool(int(text))


def spread(text: str) -> float:
    """Return a standard deviation of magnitudes; above 100 it stands for a uniform draw."""
    value = float(text)
    return float("inf") if value > 100 else value
