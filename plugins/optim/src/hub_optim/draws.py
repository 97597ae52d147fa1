"""The base of optimizers that draw random numbers, and go on with them where a checkpoint ended."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from hub_optim.whole import WholeOptimizer


class DrawingOptimizer(WholeOptimizer):
    """Base of optimizers that draw from generators of their own, one for each device.

    Every process draws the same, whatever else it draws; the generators are saved with the state.
    """

    seed: ClassVar[int] = 0

    def generator(self, device: torch.device) -> torch.Generator:
        """Return the generator for a device."""
        generators = self.__dict__.setdefault("_generators", {})
        if str(device) not in generators:
            generators[str(device)] = torch.Generator(device).manual_seed(self.seed)
        return generators[str(device)]

    def drawn(self) -> dict[str, Any]:
        """Return how far the generators have come, to be given to `resume`."""
        generators = self.__dict__.get("_generators", {})
        return {device: generator.get_state() for device, generator in generators.items()}

    def resume(self, drawn: dict[str, Any]) -> None:
        """Let the generators go on from what `drawn` returned."""
        for device, state in drawn.items():
            if device != "cpu" and not torch.accelerator.is_available():
                continue  # saved on an accelerator, loaded without one: there is nothing to go on
            self.generator(torch.device(device)).set_state(state.cpu())

    def state_dict(self) -> dict[str, Any]:
        """Return the state with that of the generators."""
        return {**super().state_dict(), "drawn": self.drawn()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of an equal optimizer; without one of generators these begin anew."""
        super().load_state_dict(state_dict)
        self.__dict__.pop("_generators", None)
        self.resume(state_dict.get("drawn", {}))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "drawn": self.drawn()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        drawn = state.pop("drawn", {}) if "drawn" in state else {}
        super().__setstate__(state)
        self.resume(drawn)
