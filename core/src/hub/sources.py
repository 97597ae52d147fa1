"""Places that models come from: repositories on the Hugging Face Hub, folders on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from hub.errors import WeightsError

# Usual names of a file with weights, the preferred one first.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")


def _parse_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise WeightsError(f"{path} is not readable JSON: {e}") from e
    if not isinstance(config, dict):
        raise WeightsError(f"{path} holds a {type(config).__name__}, not an object")
    return config


class LocalFolder:
    """`local-dir:path`, a folder with `config.json` and weights."""

    def __init__(self, reference: str, *, cache_dir: str | Path | None = None) -> None:
        self.folder = Path(reference).expanduser()
        if not self.folder.is_dir():
            raise WeightsError(f"local-dir:{reference}: there is no such folder")

    def config(self) -> Mapping[str, Any]:
        """Return the content of `config.json`."""
        path = self.folder / "config.json"
        if not path.is_file():
            raise WeightsError(f"local-dir:{self.folder}: there is no config.json in it")
        return _parse_config(path)

    def weights(self, filename: str | None = None) -> Path:
        """Return the file with the weights."""
        names = (filename,) if filename else WEIGHT_FILES
        for name in names:
            if (self.folder / name).is_file():
                return self.folder / name
        raise WeightsError(f"local-dir:{self.folder}: none of {', '.join(names)} is in it")


class HubRepository:
    """`hf-hub:org/name[@revision]`, a model repository on the Hugging Face Hub.

    Downloads, cache, mirrors (`HF_ENDPOINT`), tokens and `HF_HUB_OFFLINE` are huggingface_hub's.
    """

    def __init__(self, reference: str, *, cache_dir: str | Path | None = None) -> None:
        self.repo_id, _, revision = reference.partition("@")
        self._revision: str | None = revision or None
        self._cache_dir = cache_dir

    def config(self) -> Mapping[str, Any]:
        """Return the content of `config.json`; fixes the commit that weights come from too."""
        path = self._fetch("config.json")
        # A cached file lies in snapshots/<commit>/.
        self._revision = path.parent.name
        return _parse_config(path)

    def weights(self, filename: str | None = None) -> Path:
        """Return the file with the weights, safetensors if there are any."""
        from huggingface_hub.errors import EntryNotFoundError

        names = (filename,) if filename else WEIGHT_FILES[:2]
        for name in names:
            try:
                return self._fetch(name)
            except WeightsError as e:
                if not isinstance(e.__cause__, EntryNotFoundError):
                    raise
        raise WeightsError(f"hf-hub:{self.repo_id} has none of {', '.join(names)}")

    def _fetch(self, filename: str) -> Path:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )

        what = f"hf-hub:{self.repo_id}" + (f"@{self._revision}" if self._revision else "")
        try:
            return Path(
                hf_hub_download(
                    self.repo_id,
                    filename,
                    revision=self._revision,
                    cache_dir=self._cache_dir,
                    library_name="hub",
                )
            )
        except LocalEntryNotFoundError as e:
            raise WeightsError(
                f"{what}: {filename} is not in the cache and the Hugging Face Hub cannot be "
                "reached. Check the network, HF_ENDPOINT and HF_HUB_OFFLINE, or load a folder "
                "with local-dir:PATH"
            ) from e
        except (HfHubHTTPError, HFValidationError, OSError) as e:
            reason = str(e).strip().splitlines()[0]
            raise WeightsError(f"{what}: {filename} could not be fetched: {reason}") from e


def download(url: str, *, cache_dir: str | Path | None = None) -> Path:
    """Fetch a checkpoint by address into torch's cache; a hash in its name is checked.

    Args:
        url: ".../name-<first digits of the sha256>.pth", or without the digits.
        cache_dir: default: where `torch.hub` keeps checkpoints.

    Raises:
        WeightsError: it could not be fetched or its hash differs.
    """
    import torch.hub

    folder = Path(cache_dir) if cache_dir else Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / os.path.basename(urlparse(url).path)
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    match = torch.hub.HASH_REGEX.search(path.name)
    try:
        torch.hub.download_url_to_file(url, str(path), match[1] if match else None)
    except (OSError, RuntimeError) as e:
        raise WeightsError(f"{url} could not be fetched: {e}") from e
    return path
