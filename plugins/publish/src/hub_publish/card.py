"""The card of a saved network: what a repository shows to those who find it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Licences that the Hub knows by these ids; any other has to be "other" with a name.
_LICENCES = {
    *("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
    *("apple-ascl", "apple-amlr", "gemma", "unknown", "other"),
}

_CARD = """\
---
library_name: hub
tags: [image-classification, hub]{licence}
---
# {architecture}

A {architecture} for hub, saved by `hub.save_pretrained`.

```python
import hub

model = hub.create_model("local-dir:THIS_FOLDER", pretrained=True)  # or hf_hub:ORG/NAME
```

* input: {size}, mean {mean}, std {std}
* classes: {num_classes}{more}
"""


def card(config: Mapping[str, Any]) -> str:
    """Return a model card with what the configuration knows."""
    cfg, more = config["pretrained_cfg"], ""
    licence = cfg.get("license") or ""
    if licence:
        named = licence not in _LICENCES
        licence = f"\nlicense: other\nlicense_name: {licence}" if named else f"\nlicense: {licence}"
    if labels := config.get("label_names"):
        more += f"\n* labels: {', '.join(labels[:20])}{', ...' if len(labels) > 20 else ''}"
    if plugin := config.get("plugin"):
        more += f"\n* plugin: {plugin['distribution']} {plugin['version']}"
    return _CARD.format(
        licence=licence,
        architecture=config["architecture"],
        size=" x ".join(map(str, cfg["input_size"])),
        mean=tuple(cfg["mean"]),
        std=tuple(cfg["std"]),
        num_classes=config["num_classes"],
        more=more,
    )
