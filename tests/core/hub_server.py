"""A server on this machine that speaks what huggingface_hub asks of the Hugging Face Hub.

Repositories with commits and branches, large files behind a redirect to another host as the Hub's
CDN does it, gated repositories, ranges, and faults on demand. It is a plain web server too.
"""

import hashlib
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".pth")  # what the Hub keeps in LFS


@dataclass
class Fault:
    """What goes wrong with answers whose path ends in `path`, `times` times.

    status: this error. silent: no answer until the server stops. stall, cut: send so many bytes,
    then wait or hang up. length: state another Content-Length. drop: headers left out. then: called
    after the answer. method: which requests.
    """

    path: str
    times: int = 1
    method: str = "GET"
    status: int = 0
    silent: bool = False
    stall: int | None = None
    cut: int | None = None
    length: int | None = None
    drop: tuple[str, ...] = ()
    headers: dict = field(default_factory=dict)
    then: object = None


@dataclass
class Request:
    method: str
    path: str
    headers: dict
    status: int = 0


class HubServer:
    def __init__(self):
        self.refs, self.commits, self.tokens = {}, {}, {}
        self.files, self.etags = {}, {}  # the plain web server: path to content, to ETag
        self.faults, self.log = [], []
        self.ranges = True
        self.stopped = threading.Event()
        self.stalled = threading.Event()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.port = self._http.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        if not self.stopped.is_set():
            self.stopped.set()
            self._http.shutdown()
            self._http.server_close()
            self._thread.join()

    stop = __exit__

    def publish(self, repo, files, *, branch="main", token=None):
        """Make a commit of these files on a branch; with `token` the repository is gated."""
        sha = hashlib.sha1(repr((repo, sorted(files.items()))).encode()).hexdigest()
        self.commits[repo, sha] = dict(files)
        self.refs[repo, branch] = sha
        self.tokens[repo] = token
        return sha

    def fail(self, path, **fault):
        self.faults.append(Fault(path, **fault))

    def asked(self, text="", method=None):
        """Return the requests whose path holds `text`, so far."""
        return [r for r in self.log if text in r.path and method in (None, r.method)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.body, self.out = b"", {"Content-Type": "application/octet-stream"}
        path = unquote(urlsplit(self.path).path)
        request = Request(self.command, path, {k.lower(): v for k, v in self.headers.items()})
        self.hub.log.append(request)
        fault = self._fault(path)
        if fault.silent:
            self.hub.stopped.wait()
            self.close_connection = True
            return
        request.status = fault.status or self._answer(path)
        request.status = self._range(request.status)
        self._send(request.status, fault)
        if fault.then:
            fault.then()

    do_HEAD = do_GET

    def _fault(self, path):
        for fault in self.hub.faults:
            if fault.times and fault.method == self.command and path.endswith(fault.path):
                fault.times -= 1
                return fault
        return Fault("")

    def _answer(self, path):
        if path in self.hub.files:
            self.body = self.hub.files[path]
            etag = self.hub.etags.get(path, f'"{hashlib.md5(self.body).hexdigest()}"')
            self.out |= {"ETag": etag} if etag else {}
            return 200
        if path.startswith("/moved/"):
            self.out["Location"] = path.removeprefix("/moved")
            return 302
        if path.startswith("/cdn/"):
            self.body = next(
                content
                for files in self.hub.commits.values()
                for content in files.values()
                if hashlib.sha256(content).hexdigest() == path.removeprefix("/cdn/")
            )
            self.out["ETag"] = f'"{path.removeprefix("/cdn/")}"'
            return 200
        repo, found, rest = path.removeprefix("/").partition("/resolve/")
        if not found:
            return 404
        return self._resolve(repo, rest)

    def _resolve(self, repo, rest):
        if repo not in self.hub.tokens:
            return self._error(401, "RepoNotFound")
        token = self.hub.tokens[repo]
        if token and self.headers["Authorization"] != f"Bearer {token}":
            return self._error(403 if self.headers["Authorization"] else 401, "GatedRepo")
        revision, _, filename = rest.rpartition("/")
        sha = self.hub.refs.get((repo, revision), revision)
        if (repo, sha) not in self.hub.commits:
            return self._error(404, "RevisionNotFound")
        self.out["X-Repo-Commit"] = sha
        files = self.hub.commits[repo, sha]
        if filename not in files:
            return self._error(404, "EntryNotFound")
        content = files[filename]
        digest = hashlib.sha256(content).hexdigest()
        if filename.endswith(LARGE):
            # Another name is another host, as the CDN is.
            self.out["Location"] = f"http://localhost:{self.hub.port}/cdn/{digest}"
            self.out |= {"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{digest}"'}
            return 302
        self.body = content
        self.out["ETag"] = f'"{hashlib.sha1(content).hexdigest()}"'
        return 200

    def _error(self, status, code):
        self.out |= {"X-Error-Code": code, "X-Error-Message": code}
        return status

    def _range(self, status):
        wanted, unless = self.headers["Range"], self.headers["If-Range"]
        if status != 200 or not wanted or not self.hub.ranges:
            return status
        if unless and unless != self.out.get("ETag"):
            return status
        start, total = int(wanted.removeprefix("bytes=").rstrip("-")), len(self.body)
        if start >= total:
            self.body = b""
            self.out["Content-Range"] = f"bytes */{total}"
            return 416
        self.body = self.body[start:]
        self.out["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        return 206

    def _send(self, status, fault):
        self.send_response(status)
        self.out |= fault.headers
        length = len(self.body) if fault.length is None else fault.length
        self.out["Content-Length"] = str(length)
        for name in self.out.keys() - set(fault.drop):
            self.send_header(name, self.out[name])
        self.end_headers()
        if self.command == "HEAD":
            return
        most = fault.cut if fault.cut is not None else fault.stall
        try:
            self.wfile.write(self.body[:most])
            self.wfile.flush()
        except OSError:  # the client has left
            self.close_connection = True
            return
        if fault.stall is not None:
            self.hub.stalled.set()
            self.hub.stopped.wait()
        if most is not None or fault.length is not None or "Content-Length" in fault.drop:
            self.close_connection = True


def wait_until(promise, seconds=10.0):
    """Wait for something to come true; fail after some seconds."""
    end = time.monotonic() + seconds
    while not promise():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
