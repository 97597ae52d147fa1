"""Fetch a file by its address: resumed, checked, and in its place only once it is whole.

Requests go through the session of huggingface_hub, and so through its proxies and certificates.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from hub.errors import WeightsError
from hub.pretrained.contents import HEAD, not_the_file

# The digits of the sha256 that end a name, as torch.hub writes them; eight that are a date are not.
_DIGITS = re.compile(r"-(?!20\d\d[01]\d[0-3]\d\.)([0-9a-f]{8,64})\.[^-]+$")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_CONNECT_TIMEOUT, _READ_TIMEOUT = 10.0, 30.0  # seconds
_PAUSES = (0.5, 2.0)  # seconds before an answer that broke off is asked for again
_MOST_REDIRECTS = 10


@dataclass(frozen=True)
class Address:
    """The address of a file, taken apart.

    Args:
        url: without the fragment.
        name: of the file.
        sha256: what it must begin with; all 64 digits where the fragment stated it, else those in
            the name, or "".
    """

    url: str
    name: str
    sha256: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Take `https://host/path/name[#sha256=<64 digits>]` apart.

        Raises:
            WeightsError: not https (http is for this machine), no file name, another fragment.
        """
        check_transport(url)
        parts = urlsplit(url)
        name = parts.path.rpartition("/")[2]
        if not re.fullmatch(r"[\w.+%~@=-]*[\w-]", name, re.ASCII):
            raise WeightsError(f"{shown(url)} does not end in the name of a file")
        digits = _DIGITS.search(name)
        sha256 = digits[1] if digits else ""
        if parts.fragment:
            match = re.fullmatch("sha256=([0-9a-f]{64})", parts.fragment.lower())
            if not match:
                raise WeightsError(
                    f"{shown(url)}: {parts.fragment!r} is no hash; write #sha256= and 64 hex digits"
                )
            sha256 = match[1]
        return cls(parts._replace(fragment="").geturl(), name, sha256)

    def folder(self, cache_dir: str | Path | None = None) -> Path:
        """Return the folder of what belongs to this address alone."""
        return _root(cache_dir) / hashlib.sha256(self.url.encode()).hexdigest()[:16]

    def place(self, cache_dir: str | Path | None = None) -> Path:
        """Return where the file is kept.

        A name with digits stands for one content and lies where torch.hub (and timm) would put
        it. "model.pth" is another file at every address, so that each has a folder of its own.
        """
        if len(self.sha256) == 64 and self.sha256 not in self.name:
            name = Path(self.name)
            return _root(cache_dir) / f"{name.stem}-{self.sha256[:16]}{name.suffix}"
        return (_root(cache_dir) if self.sha256 else self.folder(cache_dir)) / self.name


def download(url: str, *, cache_dir: str | Path | None = None) -> Path:
    """Fetch a checkpoint by address, or find it in the cache, which needs no network.

    A download that broke off goes on where it stopped, where the server can do that. Another
    process that fetches the same file is waited for. Seconds to wait for the server:
    `HUB_DOWNLOAD_TIMEOUT`, default 10 to connect and 30 to read.

    Args:
        url: ".../name.pth", ".../name-<8 or more digits of its sha256>.pth" or
            ".../name.pth#sha256=<all 64>".
        cache_dir: default: where `torch.hub` keeps checkpoints.

    Returns:
        The file, whole, its sha256 checked where one is known.

    Raises:
        WeightsError: malformed address, no such file, no access, no connection, no answer in time,
            broken off, another size or sha256 than stated, nowhere to write it.
    """
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    address = Address.parse(url)
    path = address.place(cache_dir)
    if path.is_file():
        return path
    check_online(url)
    try:
        lock = path.parent / ".locks" / f"{path.name}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if not path.is_file():
                _fetch(address, path)
    except OSError as e:
        raise WeightsError(
            f"{shown(url)} cannot be kept in {path.parent}: {e.strerror or e}. Free or choose "
            "another folder: cache_dir=, or the environment's TORCH_HOME"
        ) from e
    return path


def fetch_config(address: Address, most: int) -> bytes | None:
    """Return the small file at an address, or None where the server shows none.

    Raises:
        WeightsError: no connection, no answer in time, an error of the server, more than `most`
            bytes.
    """
    check_online(address.url)
    content = b""
    hidden = (401, 403, 404, 410)  # S3 says 403 of what is not there
    with _answer(address.url, expected=hidden) as response:
        if response.status_code in hidden or _is_page(response):  # a page for whatever is asked
            return None
        for chunk in _chunks(response, address.url):
            content += chunk
            if len(content) > most:
                raise WeightsError(
                    f"{shown(address.url)} is larger than {most >> 20} MB: no configuration"
                )
    return content


def check_transport(url: str) -> None:
    """Refuse an address that others on the way could change.

    Raises:
        WeightsError: it is malformed, or neither https nor http on this machine.
    """
    try:
        parts = urlsplit(url)
    except ValueError as e:
        raise WeightsError(f"{shown(url)} is no web address: {e}") from e
    if not re.fullmatch("[!-~]+", url):
        raise WeightsError(f"{shown(url)!r} is no web address: write other signs as %XX")
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname in _LOOPBACK:
        return
    raise WeightsError(
        f"{shown(url)}: weights are fetched over https only (http on 127.0.0.1); write https://..."
    )


def check_online(url: str) -> None:
    """Refuse to fetch where HF_HUB_OFFLINE is set.

    Raises:
        WeightsError: it is.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise WeightsError(
            f"{shown(url)} is not in the cache and HF_HUB_OFFLINE is set. Unset it once to fetch "
            "the file, or name a file that is here"
        )


def shown(url: str) -> str:
    """Return an address for people: without its query, which may hold a signature."""
    return re.split("[?#]", url, maxsplit=1)[0]


def _root(cache_dir: str | Path | None) -> Path:
    import torch.hub

    return Path(cache_dir or Path(torch.hub.get_dir()) / "checkpoints")


# --- one transfer -------------------------------------------------------------------------------


class _BrokenOff(WeightsError):
    """It went wrong on the way; the same request may succeed."""


def _fetch(address: Address, path: Path) -> None:
    for pause in (*_PAUSES, None):
        try:
            part = _receive(address, path)
            break
        except _BrokenOff:
            if pause is None:
                raise
            time.sleep(pause)
    with part.open("rb") as file:
        reason = not_the_file(file.read(HEAD))
        file.seek(0)
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(address.sha256):
        reason = (
            f"has the sha256 {found}, not {address.sha256}: it was changed or damaged and is "
            "deleted. Try again; if it stays so, do not use it"
        )
    if reason:
        part.unlink()
        raise WeightsError(f"{shown(address.url)} {reason}")
    part.replace(path)


def _receive(address: Address, path: Path) -> Path:
    """Return the file with everything that the server has, begun anew or continued."""
    part, etag = _left_over(path)
    have = part.stat().st_size if part else 0
    headers = {"Range": f"bytes={have}-", "If-Range": etag} if have else {}
    with _answer(address.url, headers, expected=(416,) if have else ()) as response:
        if part and response.status_code == 416:
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return part  # a kill came between the last byte and the end
            part.unlink()
            raise _BrokenOff(f"{shown(address.url)}: what was there is deleted. Run it again")
        _check_answer(response, address)
        if response.status_code != 206:
            have = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise WeightsError(f"{shown(address.url)}: the server sent another part than asked for")
        if part is None or not have:
            if part:
                part.unlink()
            part = _new_part(path, response.headers.get("ETag"))
        try:
            _write(response, part, have, address)
        except BaseException:
            if not _etag_of(part, path):  # nobody could tell whether the rest still fits
                part.unlink(missing_ok=True)
            raise
    return part


def _check_answer(response: Any, address: Address) -> None:
    if _is_page(response):
        raise WeightsError(
            f"{shown(address.url)} is a web page, not a file with weights: copy the address of "
            "the file itself"
        )
    chunked = "chunked" in response.headers.get("Transfer-Encoding", "")
    if _length(response) is None and not chunked and not address.sha256:
        raise WeightsError(
            f"{shown(address.url)}: the server does not tell the size, so that a broken download "
            "would go unnoticed. Append #sha256=<64 hex digits>"
        )


def _is_page(response: Any) -> bool:
    return bool(response.headers.get("Content-Type", "").startswith("text/html"))


def _length(response: Any) -> int | None:
    length = response.headers.get("Content-Length")
    return None if length is None else int(length)


def _write(response: Any, part: Path, have: int, address: Address) -> None:
    """Write an answer to a file, from `have` on."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    length = _length(response)
    total = None if length is None else have + length
    bar = tqdm(  # type: ignore[no-untyped-call]
        total=total, initial=have, unit="B", unit_scale=True, desc=address.name, name="hub.download"
    )
    # Not appended to: whatever happens, a byte lands where it belongs.
    with part.open("r+b" if have else "wb") as file, bar:
        file.seek(have)
        for chunk in _chunks(response, address.url, have):
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())


# A file to be continued carries the server's ETag in its name, so that both change as one.


def _new_part(path: Path, etag: str | None) -> Path:
    token = quote(etag or "", safe="")
    if len(path.name) + len(token) > 200:  # of 255 that a name may have
        token = ""
    return path.with_name(f"{path.name}.{token or 'once'}.part")


def _etag_of(part: Path, path: Path) -> str:
    token = part.name.removeprefix(f"{path.name}.").removesuffix(".part")
    # Only a strong ETag, '"..."' without W/, promises equal bytes.
    return unquote(token) if token.startswith("%22") else ""


def _left_over(path: Path) -> tuple[Path | None, str]:
    """Return what an earlier download left that can be continued; delete what cannot."""
    prefix = f"{path.name}."
    parts = [p for p in path.parent.glob("*.part") if p.name.startswith(prefix)]
    parts.sort(key=lambda p: p.stat().st_mtime)
    best = next((p for p in reversed(parts) if _etag_of(p, path)), None)
    for part in parts:
        if part != best:
            part.unlink(missing_ok=True)
    return best, _etag_of(best, path) if best else ""


# --- one request --------------------------------------------------------------------------------


def _timeouts() -> tuple[float, float]:
    """Return the seconds to wait for a connection and for data."""
    value = os.environ.get("HUB_DOWNLOAD_TIMEOUT")
    if not value:
        return _CONNECT_TIMEOUT, _READ_TIMEOUT
    if not re.fullmatch(r"\d+(\.\d+)?", value) or not float(value):
        raise WeightsError(f"HUB_DOWNLOAD_TIMEOUT is {value!r}: write seconds, a number above 0")
    return float(value), float(value)


@contextlib.contextmanager
def _answer(
    url: str, headers: Mapping[str, str] | None = None, expected: Sequence[int] = ()
) -> Iterator[Any]:
    """Return the answer to a GET request, its body unread.

    Raises:
        WeightsError: no connection, no answer in time, an error of the server that is not
            `expected`.
    """
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    session = get_session()
    connect, read = _timeouts()
    request = session.build_request(
        "GET",
        url,
        headers={"User-Agent": "hub", "Accept-Encoding": "identity", **(headers or {})},
        timeout=(connect, read, read, connect),
    )
    with contextlib.ExitStack() as stack:
        for _ in range(_MOST_REDIRECTS):
            try:
                response = session.send(request, stream=True, follow_redirects=False)
            except HTTPError as e:
                if "Timeout" in type(e).__name__:
                    raise _silent(url) from e
                raise WeightsError(
                    f"{shown(url)}: {request.url.host} cannot be reached: {e}. Check the address, "
                    "the network and HTTPS_PROXY"
                ) from e
            stack.callback(response.close)
            if response.next_request is None:
                break
            request = response.next_request
            check_redirect(url, str(request.url))
        if response.status_code >= 300 and response.status_code not in expected:
            raise _refusal(url, response)
        yield response


def check_redirect(url: str, target: str) -> None:
    """Refuse to be led where an address itself may not lead.

    Raises:
        WeightsError: it is neither https nor this machine, or away from https.
    """
    try:
        check_transport(target)
        if url.startswith("https:") and not target.startswith("https:"):
            raise WeightsError(f"{shown(target)} is away from https")
    except WeightsError as e:
        raise WeightsError(f"{shown(url)} leads elsewhere: {e}") from e


def _chunks(response: Any, url: str, have: int = 0) -> Iterator[bytes]:
    """Yield the body of an answer as it comes in; it is whole unless something is raised."""
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    length = _length(response)
    total = "" if length is None else f" of {have + length}"
    try:
        for chunk in response.iter_raw():
            have += len(chunk)
            yield chunk
    except HTTPError as e:
        if "Timeout" in type(e).__name__:
            raise _silent(url) from e
        raise _BrokenOff(f"{shown(url)} broke off after {have}{total} bytes. Run it again") from e


def _silent(url: str) -> WeightsError:
    return WeightsError(
        f"{shown(url)}: no answer within {max(_timeouts()):g} seconds. Try again, or give it more: "
        "HUB_DOWNLOAD_TIMEOUT=<seconds>"
    )


def _refusal(url: str, response: Any) -> WeightsError:
    status, reason = response.status_code, response.reason_phrase
    if status in (408, 429) or status >= 500:
        return _BrokenOff(f"{shown(url)}: the server answers {status} {reason}. Try later")
    text = f"the server answers {status} {reason}"
    if status in (404, 410):
        text = f"the server has no such file ({status}). Check it"
    elif status in (401, 403):
        text = (
            f"the server wants permission ({status}). Fetch the file yourself and load it with "
            "file:PATH"
        )
    return WeightsError(f"{shown(url)}: {text}")
