"""The architectures, and the weights published for them. No torch."""

from __future__ import annotations

from typing import Any

from hub import Weights

#: Name to keywords of the constructor: one line each.
VARIANTS: dict[str, dict[str, Any]] = {
    "acme_net": dict(depths=(2, 2, 6, 2), widths=(48, 96, 192, 384)),  # 5.2 M
    # Small enough for every check of the kit: one for each path through the code.
    "test_acme_net": dict(depths=(1, 2, 1), widths=(16, 24, 32)),
}

#: "architecture.tag" to where the weights are and how their images were prepared. For example:
#: "acme_net.in1k": Weights(hf_hub_id="acme/acme_net.in1k", license="mit", crop_pct=0.9).
WEIGHTS: dict[str, Weights] = {}
