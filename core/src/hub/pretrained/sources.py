"""Places that models come from: the Hugging Face Hub, folders, files, web addresses.

Nothing but `config.json` and the weights, in one file or as an index of several, is ever asked of
any of them.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hub import plugins
from hub.errors import ModelNameError, WeightsError
from hub.importing import load_object
from hub.pretrained.contents import HEAD, not_the_file
from hub.pretrained.fetching import Address, download, fetch_config
from hub.suggest import did_you_mean

if TYPE_CHECKING:
    from hub.hookspecs import Source

log = logging.getLogger("hub")

# Usual names of a file with weights, the preferred one first; those of an index are of shards.
INDEX_SUFFIX = ".index.json"
HUB_FILES = (
    *("model.safetensors", "pytorch_model.bin"),
    *("model.safetensors.index.json", "pytorch_model.bin.index.json"),
)
WEIGHT_FILES = (*HUB_FILES, "pytorch_model.pth", "model.pth")
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".npz", INDEX_SUFFIX)
CONFIG = "config.json"
MAX_CONFIG = 10 << 20  # bytes; 21,841 ImageNet-21k labels with descriptions are below 2 MB

_COMMIT = re.compile("[0-9a-f]{40}")


def check_filename(filename: object, what: str) -> None:
    """Refuse a name from a configuration that leads elsewhere or is no file with weights.

    Raises:
        WeightsError: it does.
    """
    if not isinstance(filename, str) or not re.fullmatch(r"[\w+=@~-][\w.+=@~-]*", filename):
        raise WeightsError(
            f"{what} names the file {filename!r}: a plain name is allowed, without a folder"
        )
    if not filename.endswith(WEIGHT_SUFFIXES):
        raise WeightsError(
            f"{what} names the file {filename!r}: weights end in {', '.join(WEIGHT_SUFFIXES)}"
        )


class StableFile(str):
    """Path of a file that nobody changes in place, so that a network may map it."""


def open_source(scheme: str, reference: str, cache_dir: str | Path | None = None) -> Source:
    """Open `scheme:reference` with the source that a plugin offers for the scheme.

    Raises:
        WeightsError: no plugin offers the scheme.
    """
    if not reference:
        raise ModelNameError(f"{scheme + ':'!r} names nothing behind its scheme")
    schemes = plugins.host().table("hub_sources")
    if clash := plugins.host().clash("hub_sources", scheme):
        raise WeightsError(f"{scheme}:{reference}: the scheme {clash}")
    if scheme not in schemes:
        raise WeightsError(
            f"{scheme}:{reference}: no plugin reads {scheme!r}{did_you_mean(scheme, schemes)} "
            f"Schemes: {', '.join(sorted(schemes))}"
        )
    source: Source = load_object(schemes[scheme])(reference, cache_dir=cache_dir)
    return source


def fetch_weights(source: Source, filename: str | None = None) -> str:
    """Return the path of a source's weights, as a `StableFile` where the source says so."""
    path = source.weights(filename)
    return StableFile(path) if getattr(source, "is_stable", False) else str(path)


def read_index(path: Path) -> Mapping[str, str]:
    """Return where an index of shards says that each tensor is: name to file beside the index.

    Raises:
        WeightsError: it is no such index, or names a file elsewhere.
    """
    places = _read_config(path).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise WeightsError(
            f"{path} is JSON, not weights: of JSON hub reads an index of shards (weight_map)"
        )
    for shard in places.values():
        check_filename(shard, str(path))
    return places


def _parse_config(content: bytes, where: object) -> Mapping[str, Any]:
    if reason := not_the_file(content[:HEAD]):
        raise WeightsError(f"{where} {reason}")
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as e:
        raise WeightsError(f"{where} is not readable JSON: {e}. Fetch or write it anew") from e
    if not isinstance(config, dict):
        raise WeightsError(f"{where} holds a {type(config).__name__}, not an object")
    return config


def _read_config(path: Path, where: object = None) -> Mapping[str, Any]:
    where = where or path
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MAX_CONFIG else b""
    except OSError as e:
        raise WeightsError(f"{where} cannot be read: {e.strerror or e}") from e
    if size > MAX_CONFIG:
        raise WeightsError(_too_large(where, size))
    return _parse_config(content, where)


class LocalFolder:
    """`local-dir:path`, a folder with `config.json` and weights.

    Raises:
        WeightsError: there is no such folder.
    """

    def __init__(self, reference: str, *, cache_dir: str | Path | None = None) -> None:
        self.folder = Path(reference).expanduser()
        if not self.folder.is_dir():
            raise WeightsError(f"local-dir:{reference}: there is no such folder")

    def config(self) -> Mapping[str, Any]:
        """Return the content of `config.json`.

        Raises:
            WeightsError: there is none, or it is no JSON object of at most 10 MB.
        """
        path = self.folder / CONFIG
        if not path.is_file():
            raise WeightsError(
                f"local-dir:{self.folder}: there is no config.json in it. To load weights alone: "
                "create_model(NAME, checkpoint_path=...)"
            )
        return _read_config(path)

    def weights(self, filename: str | None = None) -> Path:
        """Return the file with the weights, safetensors if there are any.

        Raises:
            WeightsError: there is none, or `filename` is not the plain name of one.
        """
        if filename:
            check_filename(filename, f"local-dir:{self.folder}")
        names = (filename,) if filename else WEIGHT_FILES
        for name in names:
            if (self.folder / name).is_file():
                return self.folder / name
        raise WeightsError(f"local-dir:{self.folder}: none of {', '.join(names)} is in it")


class LocalFile:
    """`file:path`, one file with weights.

    Raises:
        WeightsError: there is no such file.
    """

    def __init__(self, reference: str, *, cache_dir: str | Path | None = None) -> None:
        self.path = Path(reference).expanduser()
        if not self.path.is_file():
            what = "that is a folder, write local-dir:" if self.path.is_dir() else "no such file"
            raise WeightsError(f"file:{reference}: {what}")

    def config(self) -> Mapping[str, Any] | None:
        """Return the content of the `config.json` beside the file, None where there is none.

        Raises:
            WeightsError: it is no JSON object of at most 10 MB.
        """
        path = self.path.with_name(CONFIG)
        return _read_config(path) if path.is_file() else None

    def weights(self, filename: str | None = None) -> Path:
        """Return the file; what a configuration calls it does not matter."""
        return self.path


class HttpsFile:
    """`https://host/path/name[#sha256=<64 digits>]`, a file with weights by its address.

    Raises:
        WeightsError: the address is malformed.
    """

    scheme: ClassVar[str] = "https"
    is_stable: ClassVar[bool] = True  # `download` and torch.hub put whole files in place

    def __init__(self, reference: str, *, cache_dir: str | Path | None = None) -> None:
        self.url = f"{self.scheme}:{reference}"
        self._address = Address.parse(self.url)
        self._cache_dir = cache_dir

    def config(self) -> Mapping[str, Any] | None:
        """Return the content of the `config.json` beside the file, None where there is none.

        It is kept, and read from the cache where the weights are there too.

        Raises:
            WeightsError: it cannot be fetched, or is no JSON object of at most 10 MB.
        """
        kept = self._address.folder(self._cache_dir) / CONFIG
        if kept.is_file() and self._address.place(self._cache_dir).is_file():
            return _read_config(kept)
        folder = self._address.url.partition("?")[0].rpartition("/")[0]
        address = Address.parse(f"{folder}/{CONFIG}")
        content = fetch_config(address, MAX_CONFIG)
        if content is None:
            kept.unlink(missing_ok=True)
            return None
        config = _parse_config(content, address.url)
        _keep(content, kept)
        return config

    def weights(self, filename: str | None = None) -> Path:
        """Return the file, fetched if need be; what a configuration calls it does not matter.

        Raises:
            WeightsError: as `download`.
        """
        return download(self.url, cache_dir=self._cache_dir)


class HttpFile(HttpsFile):
    """`http://127.0.0.1/...`, as `HttpsFile`, from a server on this machine and no other."""

    scheme = "http"


def _keep(content: bytes, path: Path) -> None:
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")  # of this call alone
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(path)
    except OSError as e:
        raise WeightsError(
            f"{path.parent} cannot be written: {e.strerror or e}. Choose another: cache_dir="
        ) from e


class HubRepository:
    """`hf-hub:org/name[@revision]`, a model repository on the Hugging Face Hub.

    Downloads, cache, mirrors (`HF_ENDPOINT`), tokens and `HF_HUB_OFFLINE` are huggingface_hub's.
    The first file fixes the commit that all others come from; of a commit given in full, what is
    in the cache is used without a request.
    """

    is_stable: ClassVar[bool] = True  # huggingface_hub puts whole files in place

    def __init__(self, reference: str, *, cache_dir: str | Path | None = None) -> None:
        self.repo_id, _, revision = reference.partition("@")
        self._revision: str | None = revision or None
        self._cache_dir = cache_dir
        self._what = f"hf-hub:{reference}"

    def config(self) -> Mapping[str, Any]:
        """Return the content of `config.json`.

        Raises:
            WeightsError: it is not there, cannot be fetched, or is no JSON object of at most 10 MB.
        """
        path = self._fetch(CONFIG)
        if path is None:
            raise WeightsError(
                f"{self._what} has no config.json to say what it is. To load its weights: "
                "create_model(NAME, pretrained=True, "
                f"pretrained_cfg_overlay=dict(hf_hub_id={self.repo_id!r}))"
            )
        return _read_config(path, f"{self._what}: its config.json")

    def weights(self, filename: str | None = None) -> Path:
        """Return the file with the weights, safetensors if there are any.

        Raises:
            WeightsError: it is not there, cannot be fetched, or `filename` is not a plain name.
        """
        if filename:
            check_filename(filename, self._what)
        names = (filename,) if filename else HUB_FILES
        for name in names:
            if path := self._fetch(name):
                if name.endswith(INDEX_SUFFIX):
                    self._fetch_shards(path)
                return path
        raise WeightsError(
            f"{self._what} has no {' and no '.join(names)}. Its files: "
            f"https://huggingface.co/{self.repo_id}/tree/{self._revision or 'main'}"
        )

    def _fetch_shards(self, index: Path) -> None:
        for shard in sorted(set(read_index(index).values())):
            if self._fetch(shard) is None:
                raise WeightsError(f"{self._what} has no {shard}, which its {index.name} names")

    def _fetch(self, filename: str) -> Path | None:
        """Return a file of the repository, or None where the repository has none of the name."""
        from huggingface_hub.errors import RemoteEntryNotFoundError

        try:
            path = self._locate(filename)
        except RemoteEntryNotFoundError as e:
            self._revision = e.response.headers.get("X-Repo-Commit") or self._revision
            return None
        except WeightsError:
            raise
        except Exception as e:  # of huggingface_hub, of the HTTP library below it, of the disk
            raise WeightsError(f"{self._what}: {self._explain(e, filename)}") from e
        if path is not None:
            self._revision = path.parent.name  # it lies in snapshots/<commit>/
        return path

    def _locate(self, filename: str) -> Path | None:
        import huggingface_hub as hf
        from huggingface_hub import constants, errors

        where: dict[str, Any] = {"revision": self._revision, "cache_dir": self._cache_dir}
        cached = hf.try_to_load_from_cache(self.repo_id, filename, **where)
        known = cached is not None  # to be there, or not to be there
        path = Path(cached) if isinstance(cached, str) else None
        if known and _COMMIT.fullmatch(self._revision or ""):
            return path
        # Asked once and briefly: hf_hub_download tries a silent server six times, a minute each.
        url = hf.hf_hub_url(self.repo_id, filename, revision=self._revision)
        try:
            found = hf.get_hf_file_metadata(
                url, timeout=constants.HF_HUB_ETAG_TIMEOUT, library_name="hub"
            )
        except errors.RevisionNotFoundError:
            raise
        except errors.RemoteEntryNotFoundError:
            pass  # hf_hub_download finds the same and notes it in the cache
        except Exception as e:
            if known:
                log.info("%s: %s is taken from the cache: %s", self._what, filename, _first_line(e))
                return path
            if not (isinstance(e, errors.HfHubHTTPError) and e.response.status_code >= 429):
                raise
        else:
            if path is not None and path.parent.name == found.commit_hash:
                return path
            if filename == CONFIG and (found.size or 0) > MAX_CONFIG:
                raise WeightsError(_too_large(f"{self._what}: its config.json", found.size))
        return Path(hf.hf_hub_download(self.repo_id, filename, **where, library_name="hub"))

    def _explain(self, error: Exception, filename: str) -> str:
        """Say in a sentence what happened and what to do."""
        from huggingface_hub import constants

        if type(error).__name__ == "LocalEntryNotFoundError" and error.__cause__ is not None:
            error = error.__cause__  # type: ignore[assignment]
        status = getattr(getattr(error, "response", None), "status_code", None)
        kinds = [kind.__name__ for kind in type(error).__mro__]
        if "HfHubHTTPError" in kinds and status in (401, 403):
            kinds.insert(kinds.index("HfHubHTTPError"), "refused")
        if getattr(error, "errno", None) is not None:
            kinds.insert(kinds.index("Exception"), "disk")
        words = next((_WORDS[kind] for kind in kinds if kind in _WORDS), _WORDS["Exception"])
        return words.format(
            filename=filename,
            repo=self.repo_id,
            revision=self._revision,
            cache=self._cache_dir or constants.HF_HUB_CACHE,
            endpoint=constants.ENDPOINT,
            status=status,
            reason=getattr(error, "strerror", None) or _first_line(error),
        )


# What to say of an error, by its class: of huggingface_hub, of the HTTP library that it was built
# on (httpx or httpx2), of the system. The more special goes first.
_WORDS = {
    "GatedRepoError": "the repository is gated. Accept its licence at "
    "https://huggingface.co/{repo} and set HF_TOKEN or run `hf auth login`",
    "RepositoryNotFoundError": "there is no such repository on {endpoint}, or it is private. Check "
    "the name; for a private one set HF_TOKEN or run `hf auth login`",
    "RevisionNotFoundError": "it has no branch, tag or commit {revision!r}. See "
    "https://huggingface.co/{repo}/commits/main",
    "refused": "{endpoint} refuses the token ({status}). Renew HF_TOKEN or run `hf auth login`",
    "HfHubHTTPError": "{endpoint} answers {status} to the request for {filename}. Try later",
    "HFValidationError": "write hf-hub:org/name[@revision]. {reason}",
    "OfflineModeIsEnabled": "{filename} is not in the cache and HF_HUB_OFFLINE is set. Unset it "
    "once to fetch the file, or load a folder with local-dir:PATH",
    "TimeoutException": "{endpoint} did not answer in time for {filename}. Try again, or give it "
    "more: HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT, in seconds",
    "ConnectError": "{endpoint} cannot be reached for {filename}: {reason}. Check the network and "
    "HF_ENDPOINT, or load a folder with local-dir:PATH",
    "disk": "{filename} cannot be kept in {cache}: {reason}. Free or choose another folder: "
    "cache_dir=, or the environment's HF_HOME",
    "Exception": "{filename} did not arrive whole: {reason}. Run it again",
}


def _too_large(where: object, size: int | None) -> str:
    return f"{where} has {(size or 0) >> 20} MB: that is no configuration"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
