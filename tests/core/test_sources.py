"""Where weights come from: each promise against folders and a server on this machine.

huggingface_hub reads its environment when it is imported, so that it runs in processes of its own:
one that answers question after question, and fresh ones where the environment matters.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hub_server
import pytest
from hub.errors import WeightsError
from hub.pretrained import fetching, sources
from hub.pretrained.sources import HttpFile, HttpsFile, LocalFile, LocalFolder, download

wait_until = hub_server.wait_until

CONFIG = {"architecture": "test_resnet", "num_classes": 7}
CONFIG_FILE = json.dumps(CONFIG).encode()
WEIGHTS = bytes(range(256)) * 2000  # half a megabyte
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
MODEL = {"config.json": CONFIG_FILE, "model.safetensors": WEIGHTS}

# Opens a source and calls it; prints what each call returned.
WORKER = """
import json, sys
from hub.pretrained import sources
from hub.errors import WeightsError

for line in sys.stdin:
    ask = json.loads(line)
    told = []
    try:
        if ask["source"] == "download":
            path = sources.download(ask["reference"], cache_dir=ask["cache_dir"])
            told.append({"path": str(path)})
        else:
            cls = getattr(sources, ask["source"])
            source = cls(ask["reference"], cache_dir=ask["cache_dir"])
            for call in ask["calls"]:
                if call == "config":
                    told.append({"config": source.config()})
                else:
                    told.append({"path": str(source.weights(call))})
    except WeightsError as e:
        told.append({"error": str(e), "cause": type(e.__cause__).__name__})
    print(json.dumps(told), flush=True)
"""


@pytest.fixture(scope="module")
def hub():
    with hub_server.HubServer() as server:
        yield server


@pytest.fixture
def server():
    with hub_server.HubServer() as server:
        yield server


def _start(server, **env):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUB_"))},
            "HF_ENDPOINT": server.url,
            "HF_HOME": "/nonexistent/hf",  # every question names its cache
            "HF_HUB_ETAG_TIMEOUT": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "*",
            **env,
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _question(reference, calls, cache_dir, source="HubRepository"):
    ask = dict(source=source, reference=reference, calls=calls, cache_dir=str(cache_dir))
    return json.dumps(ask) + "\n"


@pytest.fixture(scope="module")
def worker(hub):
    process = _start(hub, HF_TOKEN="token-of-a-friend")
    yield process
    process.communicate()


@pytest.fixture
def ask(worker, tmp_path):
    """Return a function that puts a question to the process that lives on."""

    def ask(reference, *calls, cache_dir=tmp_path):
        worker.stdin.write(_question(reference, calls, cache_dir))
        worker.stdin.flush()
        return json.loads(worker.stdout.readline())

    return ask


@pytest.fixture
def ask_afresh(server, tmp_path):
    """Return a function that puts a question to a process with its own environment."""

    def ask(reference, *calls, cache_dir=tmp_path, source="HubRepository", **env):
        process = _start(server, **env)
        out, err = process.communicate(_question(reference, calls, cache_dir, source), timeout=50)
        assert process.returncode == 0, err
        return [*json.loads(out), err]

    return ask


def _kill_halfway(server, question, folder, suffix):
    """Start a download that stalls; kill it once something is on disk."""
    process = _start(server)
    process.stdin.write(question)
    process.stdin.flush()
    assert server.stalled.wait(20)
    wait_until(lambda: any(p.stat().st_size for p in folder.rglob("*" + suffix)))
    process.kill()
    process.communicate()


def _url(server, path, content=WEIGHTS):
    server.files[path] = content
    return server.url + path


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setenv("HUB_DOWNLOAD_TIMEOUT", "0.5")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(fetching, "_PAUSES", (0.01, 0.01))


def _files(folder):
    """Return the files that could be taken for something, by their path in a folder."""
    return sorted(
        str(p.relative_to(folder))
        for p in folder.rglob("*")
        if p.is_file() and p.suffix not in (".lock", ".TAG")
    )


# --- the Hugging Face Hub -----------------------------------------------------------------------


def test_repository_gives_config_and_weights_and_nothing_else_is_asked_for(hub, ask):
    commit = hub.publish("org/plain", {**MODEL, "modeling.py": b"raise SystemExit"})
    config, weights = ask("org/plain", "config", None)
    assert config == {"config": CONFIG}
    path = Path(weights["path"])
    assert path.read_bytes() == WEIGHTS
    assert path.parent.name == commit
    names = {r.path.rpartition("/")[2] for r in hub.asked("/org/plain/")}
    assert names == {"config.json", "model.safetensors"}


def test_token_goes_to_the_hub_and_not_to_its_cdn(hub, ask):
    hub.publish("org/gated", MODEL, token="token-of-a-friend")
    before = len(hub.log)
    assert Path(ask("org/gated", "config", None)[1]["path"]).read_bytes() == WEIGHTS
    sent = {r.path.split("/")[1]: r.headers.get("authorization") for r in hub.log[before:]}
    assert sent == {"org": "Bearer token-of-a-friend", "cdn": None}


@pytest.mark.parametrize("calls", [("config", None), (None, "config")])
def test_one_commit_serves_both_when_the_branch_moves_between_the_calls(hub, ask, calls):
    repo = f"org/moving-{calls[0]}"
    old = hub.publish(repo, MODEL)
    new = {"config.json": b'{"new": 1}', "model.safetensors": b"new"}
    first = "config.json" if calls[0] else hashlib.sha256(WEIGHTS).hexdigest()
    hub.fail(first, then=lambda: hub.publish(repo, new))
    told = ask(repo, *calls)
    assert hub.refs[repo, "main"] != old
    assert {"config": CONFIG} in told
    (path,) = [Path(t["path"]) for t in told if "path" in t]
    assert (path.parent.name, path.read_bytes()) == (old, WEIGHTS)
    assert ask(repo, "config") == [{"config": {"new": 1}}]


def test_commit_that_lacks_a_file_serves_the_next_when_the_branch_moves(hub, ask):
    old = hub.publish("org/lacks", {"pytorch_model.bin": WEIGHTS})
    asked = "/org/lacks/resolve/main/model.safetensors"
    new = {"pytorch_model.bin": b"new"}
    hub.fail(asked, method="HEAD")
    hub.fail(asked, method="HEAD", then=lambda: hub.publish("org/lacks", new))
    path = Path(ask("org/lacks", None)[0]["path"])
    assert hub.refs["org/lacks", "main"] != old
    assert (path.parent.name, path.read_bytes()) == (old, WEIGHTS)


def test_full_commit_in_the_cache_needs_no_request(hub, ask):
    commit = hub.publish("org/pinned", MODEL)
    first = ask(f"org/pinned@{commit}", "config", None)
    before = len(hub.log)
    assert ask(f"org/pinned@{commit}", "config", None) == first
    assert len(hub.log) == before


def test_full_commit_without_safetensors_needs_no_request_either(hub, ask):
    commit = hub.publish("org/old", {"config.json": CONFIG_FILE, "pytorch_model.bin": WEIGHTS})
    first = ask(f"org/old@{commit}", "config", None)
    assert first[1]["path"].endswith("pytorch_model.bin")
    before = len(hub.log)
    assert ask(f"org/old@{commit}", None) == first[1:]
    assert len(hub.log) == before


def test_branch_in_the_cache_costs_one_request(hub, ask):
    hub.publish("org/cached", MODEL)
    first = ask("org/cached", "config", None)
    before = len(hub.log)
    assert ask("org/cached", "config", None) == first
    assert [(r.method, r.path) for r in hub.log[before:]] == [
        ("HEAD", "/org/cached/resolve/main/config.json")
    ]


def test_revision_is_a_branch_with_a_slash_too(hub, ask):
    hub.publish("org/branches", MODEL)
    hub.publish("org/branches", {"config.json": b'{"pr": 1}'}, branch="refs/pr/1")
    assert ask("org/branches@refs/pr/1", "config") == [{"config": {"pr": 1}}]


def test_named_file_goes_before_the_usual_names(hub, ask):
    hub.publish("org/named", {**MODEL, "ema.safetensors": b"ema"})
    assert Path(ask("org/named", "ema.safetensors")[0]["path"]).read_bytes() == b"ema"


def test_repository_for_timm_with_only_a_pickle_is_found(hub, ask):
    hub.publish("org/pickle", {"pytorch_model.bin": b"bin"})
    assert Path(ask("org/pickle", None)[0]["path"]).read_bytes() == b"bin"


INDEX = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
SHARDS = {
    "model.safetensors.index.json": json.dumps(INDEX).encode(),
    "model-1.safetensors": b"1",
    "model-2.safetensors": b"2",
}


def test_shards_are_fetched_of_one_commit_with_their_index(hub, ask):
    commit = hub.publish("org/shards", {**SHARDS, "config.json": CONFIG_FILE})
    config, weights = ask("org/shards", "config", None)
    path = Path(weights["path"])
    assert (path.name, path.parent.name) == ("model.safetensors.index.json", commit)
    assert [(path.parent / f"model-{i}.safetensors").read_bytes() for i in (1, 2)] == [b"1", b"2"]
    before = len(hub.log)
    assert ask(f"org/shards@{commit}", "config", None) == [config, weights]
    assert len(hub.log) == before


def test_shard_that_is_missing_or_elsewhere_is_told_unasked(hub, ask):
    hub.publish("org/short", {k: v for k, v in SHARDS.items() if "-2" not in k})
    (told,) = ask("org/short", None)
    assert "has no model-2.safetensors, which its model.safetensors.index.json" in told["error"]
    for shard in ("../x.safetensors", "/x.safetensors", "a/x.safetensors", 7, "x.py"):
        index = json.dumps({"weight_map": {"a": shard}}).encode()
        hub.publish("org/away", {"model.safetensors.index.json": index})
        assert "names the file" in ask("org/away", None)[0]["error"]
    assert {r.path.rpartition("/")[2] for r in hub.asked("/org/away/", "GET")} == {
        "model.safetensors.index.json"
    }


def test_stopped_server_does_not_matter_to_what_is_cached(server, ask_afresh):
    server.publish("org/name", MODEL)
    *first, _ = ask_afresh("org/name", "config", None)
    server.stop()
    *again, _ = ask_afresh("org/name", "config", None)
    *offline, _ = ask_afresh("org/name", "config", None, HF_HUB_OFFLINE="1")
    assert first == again == offline
    assert first[0] == {"config": CONFIG}


def test_weights_alone_are_found_offline(server, ask_afresh):
    server.publish("org/name", {"pytorch_model.bin": WEIGHTS})
    *first, _ = ask_afresh("org/name", None)
    server.stop()
    assert ask_afresh("org/name", None, HF_HUB_OFFLINE="1")[:-1] == first
    assert first[0]["path"].endswith("pytorch_model.bin")


def test_offline_and_not_cached_says_so_without_a_request(server, ask_afresh, tmp_path):
    server.publish("org/name", MODEL)
    told, _ = ask_afresh("org/name", "config", HF_HUB_OFFLINE="1")
    assert "config.json is not in the cache and HF_HUB_OFFLINE is set. Unset" in told["error"]
    url = _url(server, "/w/name.pth")
    told, _ = ask_afresh(url, source="download", HF_HUB_OFFLINE="1")
    assert "name.pth is not in the cache and HF_HUB_OFFLINE is set. Unset" in told["error"]
    assert server.log == []
    assert _files(tmp_path) == []


def test_server_that_is_not_there_is_told_at_once(server, ask_afresh):
    server.stop()
    told, _ = ask_afresh("org/name", "config")
    assert f"{server.url} cannot be reached for config.json" in told["error"]
    assert "Check the network and HF_ENDPOINT" in told["error"]
    assert told["cause"] == "ConnectError"


def test_hub_that_says_nothing_is_given_up_in_time(server, ask_afresh):
    server.publish("org/name", MODEL)
    server.fail("config.json", method="HEAD", silent=True, times=9)
    start = time.monotonic()
    told, _ = ask_afresh("org/name", "config")
    assert time.monotonic() - start < 12
    assert "did not answer in time for config.json" in told["error"]
    assert "HF_HUB_ETAG_TIMEOUT" in told["error"]
    assert "Timeout" in told["cause"]
    assert len(server.log) == 1


@pytest.mark.parametrize(
    ("reference", "calls", "message", "cause"),
    [
        ("org/none", ["config"], "there is no such repository on http://127", "RepositoryNotFound"),
        ("org/f@dev", ["config"], "it has no branch, tag or commit 'dev'. See", "RevisionNotFound"),
        ("org/f", ["config"], "has no config.json to say what it is", "NoneType"),
        ("org/f", [None], "no model.safetensors and no pytorch_model.bin", "NoneType"),
        ("org/f", ["ema.pth"], "no ema.pth. Its files: https://huggingface.co/org/f", "NoneType"),
        ("org/closed", ["config"], "Accept its licence at https://huggingface.co/org/closed and "
         "set HF_TOKEN or run `hf auth login`", "GatedRepo"),
        ("org/bad", ["config"], "config.json is not readable JSON", "JSONDecodeError"),
        ("org/list", ["config"], "config.json holds a list, not an object", "NoneType"),
        ("org/deep", ["config"], "config.json is not readable JSON", "RecursionError"),
        ("org/binary", ["config"], "config.json is not readable JSON", "UnicodeDecodeError"),
        ("a/b/c", ["config"], "write hf-hub:org/name[@revision]", "HFValidationError"),
    ],
)  # fmt: skip
def test_each_fault_of_a_repository_has_its_error(hub, ask, reference, calls, message, cause):
    hub.publish("org/f", {"README.md": b""})
    hub.publish("org/closed", MODEL, token="another")
    hub.publish("org/bad", {"config.json": b"{"})
    hub.publish("org/list", {"config.json": b"[1]"})
    hub.publish("org/deep", {"config.json": b"[" * 200_000})
    hub.publish("org/binary", {"config.json": b"{\xff"})
    (told,) = ask(reference, *calls)
    assert message in told["error"]
    assert reference.split("@")[0] in told["error"]
    assert "\n" not in told["error"]
    assert told["cause"].startswith(cause)


def test_endpoint_that_is_no_hub_says_so(hub, ask):
    hub.files["/org/proxy/resolve/main/config.json"] = CONFIG_FILE
    (told,) = ask("org/proxy", "config")
    assert "config.json did not arrive whole" in told["error"]
    # In the words of huggingface_hub 1.25, and of 1.30.
    words = "does not seem to be on huggingface.co|is missing the 'X-Repo-Commit' header"
    assert re.search(words, told["error"])


def test_refused_token_is_told(hub, ask):
    hub.publish("org/token", MODEL)
    message = {"X-Error-Message": "Invalid credentials in Authorization header"}
    hub.fail("/org/token/resolve/main/config.json", method="HEAD", status=401, headers=message)
    assert "refuses the token (401). Renew HF_TOKEN" in ask("org/token", "config")[0]["error"]


def test_huge_config_is_refused_before_it_is_fetched(hub, ask):
    hub.publish("org/huge", {"config.json": b" " * (11 << 20)})
    (told,) = ask("org/huge", "config")
    assert "its config.json has 11 MB: that is no configuration" in told["error"]
    assert hub.asked("/org/huge/", "GET") == []


@pytest.mark.parametrize(
    "name",
    [
        *("../x.bin", "/etc/x.bin", "a/x.bin", "..", "a\\x.bin", "C:x.bin"),
        *("x.py", "x", ".bin", "x.bin\n", "x\0.bin", 7),
    ],
)
def test_file_names_that_lead_elsewhere_are_refused_unasked(hub, ask, tmp_path, name):
    hub.publish("org/path", MODEL)
    before = len(hub.log)
    (told,) = ask("org/path", name)
    assert "names the file" in told["error"]
    assert len(hub.log) == before
    with pytest.raises(WeightsError, match="names the file"):
        LocalFolder(str(tmp_path)).weights(name)


def test_hub_download_that_breaks_off_once_is_continued(hub, ask):
    content = bytes(12 << 20)  # huggingface_hub writes it by 10 MB
    hub.publish("org/cut", {"model.safetensors": content})
    digest = hashlib.sha256(content).hexdigest()
    hub.fail(digest, cut=11 << 20)
    assert Path(ask("org/cut", None)[0]["path"]).read_bytes() == content
    ranges = [r.headers.get("range") for r in hub.asked(digest, "GET")]
    assert ranges == [None, f"bytes={10 << 20}-"]


def test_hub_download_that_keeps_breaking_off_leaves_nothing(hub, ask, tmp_path):
    hub.publish("org/broken", {"model.safetensors": WEIGHTS + b"broken"})
    hub.fail(hashlib.sha256(WEIGHTS + b"broken").hexdigest(), cut=1000, times=99)
    (told,) = ask("org/broken", None)
    assert "hf-hub:org/broken: model.safetensors did not arrive whole" in told["error"]
    assert "\n" not in told["error"]
    assert told["cause"] == "RemoteProtocolError"
    assert not [f for f in _files(tmp_path) if "refs" not in f]


def test_hub_download_of_another_size_than_stated_leaves_nothing(hub, ask, tmp_path):
    hub.publish("org/size", {"model.safetensors": b"short one"})
    size = {"X-Linked-Size": "100"}
    hub.fail("/org/size/resolve/main/model.safetensors", method="HEAD", headers=size, times=2)
    hub.fail(hashlib.sha256(b"short one").hexdigest(), method="HEAD", headers=size, times=2)
    (told,) = ask("org/size", None)
    assert "model.safetensors did not arrive whole" in told["error"]
    assert not [f for f in _files(tmp_path) if "refs" not in f]


def test_failing_server_is_asked_again(hub, ask):
    hub.publish("org/once", MODEL)
    hub.fail("/org/once/resolve/main/config.json", method="HEAD", status=500)
    assert ask("org/once", "config") == [{"config": CONFIG}]


def test_cache_that_cannot_be_written_says_where_it_is(hub, ask, tmp_path):
    hub.publish("org/disk", MODEL)
    (tmp_path / "file").touch()
    (told,) = ask("org/disk", "config", cache_dir=tmp_path / "file")
    assert f"config.json cannot be kept in {tmp_path}/file: Not a directory" in told["error"]
    assert "cache_dir=" in told["error"]


def test_killed_hub_download_is_made_again(server, ask_afresh, tmp_path):
    content = bytes(12 << 20)
    server.publish("org/name", {**MODEL, "model.safetensors": content})
    server.fail(hashlib.sha256(content).hexdigest(), stall=11 << 20)
    question = _question("org/name", ["config", None], tmp_path)
    _kill_halfway(server, question, tmp_path, ".incomplete")
    assert not any(p.stat().st_size > 1000 for p in tmp_path.rglob("*.safetensors"))
    config, weights, _ = ask_afresh("org/name", "config", None)
    assert config == {"config": CONFIG}
    assert Path(weights["path"]).read_bytes() == content


# --- a file by its address ----------------------------------------------------------------------


def test_address_is_fetched_once(server, tmp_path, quick):
    url = _url(server, "/w/name.safetensors")
    path = download(url, cache_dir=tmp_path)
    assert path.read_bytes() == WEIGHTS
    assert path.name == "name.safetensors"
    assert download(url, cache_dir=tmp_path) == path
    assert len(server.log) == 1
    assert _files(tmp_path) == [str(path.relative_to(tmp_path))]


def test_same_name_at_two_addresses_is_two_files(server, tmp_path, quick):
    one = download(_url(server, "/a/model.pth", b"one"), cache_dir=tmp_path)
    two = download(_url(server, "/b/model.pth", b"two"), cache_dir=tmp_path)
    assert (one.read_bytes(), two.read_bytes()) == (b"one", b"two")


def test_file_that_timm_fetched_is_found(server, tmp_path, quick):
    name = f"net-{SHA256[:8]}.pth"
    (tmp_path / name).write_bytes(WEIGHTS)
    assert download(f"https://nowhere.invalid/x/{name}", cache_dir=tmp_path) == tmp_path / name


def test_default_cache_is_the_one_of_torch(monkeypatch, tmp_path):
    import torch.hub

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert fetching._root(None) == Path(torch.hub.get_dir()) / "checkpoints"
    assert fetching._root(None).is_relative_to(tmp_path)


@pytest.mark.parametrize("end", [f"-{SHA256[:8]}.pth", f"-{SHA256}.pth", f".pth#sha256={SHA256}"])
def test_hash_of_the_content_is_accepted(server, tmp_path, quick, end):
    name = end.partition("#")[0]
    _url(server, f"/w/net{name}")
    assert download(f"{server.url}/w/net{end}", cache_dir=tmp_path).read_bytes() == WEIGHTS


@pytest.mark.parametrize("end", ["-00000000.pth", f".pth#sha256={'0' * 64}"])
def test_wrong_hash_deletes_the_file(server, tmp_path, quick, end):
    url = server.url + "/w/net" + end
    server.files["/w/net" + end.partition("#")[0]] = WEIGHTS
    with pytest.raises(WeightsError, match=f"has the sha256 {SHA256}, not 000"):
        download(url, cache_dir=tmp_path)
    assert _files(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        (b"<!DOCTYPE html><html>sign in</html>", "is a web page"),
    ],
)
def test_what_is_sent_in_place_of_the_weights_is_named_and_not_kept(
    server, tmp_path, quick, content, message
):
    with pytest.raises(WeightsError, match=message):
        download(_url(server, "/w/name.pth", content), cache_dir=tmp_path)
    assert _files(tmp_path) == []
    with pytest.raises(WeightsError, match=r"config\.json is a Git LFS pointer"):
        (tmp_path / "config.json").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
        LocalFolder(str(tmp_path)).config()


def test_date_at_the_end_of_a_name_is_no_hash(server, tmp_path, quick):
    assert download(_url(server, "/w/net-20211231.pth"), cache_dir=tmp_path).is_file()


def test_download_that_breaks_off_goes_on_where_it_stopped(server, tmp_path, quick):
    url = _url(server, "/w/name.pth")
    server.fail("name.pth", cut=100_000)
    assert download(url, cache_dir=tmp_path).read_bytes() == WEIGHTS
    assert [r.headers.get("range") for r in server.log] == [None, "bytes=100000-"]
    assert server.log[1].headers["if-range"] == f'"{hashlib.md5(WEIGHTS).hexdigest()}"'


def test_killed_download_goes_on_where_it_stopped(server, ask_afresh, tmp_path):
    url = _url(server, f"/w/net-{SHA256[:8]}.pth")
    server.fail(".pth", stall=400_000)
    _kill_halfway(server, _question(url, [], tmp_path, "download"), tmp_path, ".part")
    (left,) = _files(tmp_path)
    assert left.endswith(".part")
    told, _ = ask_afresh(url, source="download")
    assert Path(told["path"]).read_bytes() == WEIGHTS
    assert server.log[-1].status == 206
    assert 0 < int(server.log[-1].headers["range"].strip("bytes=-")) <= 400_000
    assert _files(tmp_path) == [f"net-{SHA256[:8]}.pth"]


def _leave_a_part(server, url, tmp_path, cut=100_000):
    server.fail(".pth", cut=cut, times=3)
    with pytest.raises(WeightsError, match=r"broke off after \d+ of 512000 bytes\. Run it again"):
        download(url, cache_dir=tmp_path)
    (left,) = _files(tmp_path)
    assert left.endswith(".part")
    server.log.clear()
    return tmp_path / left


def test_changed_file_is_not_glued_to_the_old_part(server, tmp_path, quick):
    url = _url(server, "/w/name.pth")
    _leave_a_part(server, url, tmp_path)
    server.files["/w/name.pth"] = WEIGHTS[::-1]
    path = download(url, cache_dir=tmp_path)
    assert path.read_bytes() == WEIGHTS[::-1]
    assert server.log[0].status == 200
    assert _files(tmp_path) == [str(path.relative_to(tmp_path))]


def test_server_without_ranges_sends_it_all_again(server, tmp_path, quick):
    url = _url(server, "/w/name.pth")
    _leave_a_part(server, url, tmp_path)
    server.ranges = False
    assert download(url, cache_dir=tmp_path).read_bytes() == WEIGHTS


def test_part_that_is_whole_already_is_taken(server, tmp_path, quick):
    url = _url(server, "/w/name.pth")
    part = _leave_a_part(server, url, tmp_path)
    part.write_bytes(WEIGHTS)
    assert download(url, cache_dir=tmp_path).read_bytes() == WEIGHTS
    assert server.log[0].status == 416


def test_refused_range_is_not_taken_for_a_whole_file(server, tmp_path, quick):
    url = _url(server, "/w/name.pth")
    _leave_a_part(server, url, tmp_path)
    server.fail(".pth", status=416)
    assert download(url, cache_dir=tmp_path).read_bytes() == WEIGHTS
    assert [r.status for r in server.log] == [416, 200]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_download_without_a_strong_etag_leaves_nothing(server, tmp_path, quick, etag):
    url = _url(server, "/w/name.pth")
    server.etags["/w/name.pth"] = etag
    server.fail(".pth", cut=100_000, times=3)
    with pytest.raises(WeightsError, match="broke off after 100000 of 512000"):
        download(url, cache_dir=tmp_path)
    assert _files(tmp_path) == []
    assert download(url, cache_dir=tmp_path).read_bytes() == WEIGHTS


def test_size_is_held_against_the_stated_one(server, tmp_path, quick):
    url = _url(server, "/w/name.pth", b"short")
    server.etags["/w/name.pth"] = None
    server.fail(".pth", length=100, times=3)
    with pytest.raises(WeightsError, match="broke off after 5 of 100 bytes"):
        download(url, cache_dir=tmp_path)
    assert _files(tmp_path) == []


def test_untold_size_is_taken_only_with_a_hash(server, tmp_path, quick):
    url = _url(server, "/w/name.pth")
    server.fail(".pth", drop=("Content-Length",), times=2)
    with pytest.raises(WeightsError, match=r"does not tell the size.*Append #sha256="):
        download(url, cache_dir=tmp_path)
    assert download(f"{url}#sha256={SHA256}", cache_dir=tmp_path).read_bytes() == WEIGHTS


def test_failing_web_server_is_asked_again(server, tmp_path, quick):
    url = _url(server, "/w/name.pth")
    server.fail(".pth", status=500)
    assert download(url, cache_dir=tmp_path).read_bytes() == WEIGHTS
    server.fail("other.pth", status=503, times=3)
    with pytest.raises(WeightsError, match=r"the server answers 503 .*Try later"):
        download(_url(server, "/w/other.pth"), cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (dict(status=404), r"the server has no such file \(404\)"),
        (dict(status=403), r"wants permission \(403\).*load it with file:PATH"),
        (dict(status=302, headers={"Location": "http://example.com/x.pth"}), "over https only"),
        (dict(status=418), "the server answers 418"),
        (dict(headers={"Content-Type": "text/html"}), "is a web page, not a file"),
        (dict(headers={"Content-Type": "text/html"}, drop=("ETag",)), "is a web page, not a file"),
        (dict(silent=True), "no answer within 0.5 seconds.*HUB_DOWNLOAD_TIMEOUT"),
        (dict(stall=100), "no answer within 0.5 seconds.*HUB_DOWNLOAD_TIMEOUT"),
        (dict(status=206, headers={"Content-Range": "bytes 9-20/21"}), "another part than asked"),
    ],
)
def test_each_fault_of_a_web_server_has_its_error(server, tmp_path, quick, fault, message):
    url = _url(server, "/w/name.pth")
    server.fail(".pth", **fault)
    start = time.monotonic()
    with pytest.raises(WeightsError, match=message) as caught:
        download(url + "?signature=secret", cache_dir=tmp_path)
    assert time.monotonic() - start < 4
    assert str(caught.value).startswith(url)
    assert "secret" not in str(caught.value)
    assert [f for f in _files(tmp_path) if not f.endswith(".part")] == []
    assert download(url, cache_dir=tmp_path).read_bytes() == WEIGHTS


def test_web_server_that_is_not_there(server, tmp_path, quick):
    server.stop()
    with pytest.raises(WeightsError, match=r"127.0.0.1 cannot be reached: .*refused") as caught:
        download(server.url + "/w/name.pth", cache_dir=tmp_path)
    assert caught.value.__cause__ is not None
    with pytest.raises(WeightsError, match=r"no-such-host.invalid cannot be reached"):
        download("https://no-such-host.invalid/w/name.pth", cache_dir=tmp_path)


def test_folder_that_cannot_be_written(server, tmp_path, quick):
    (tmp_path / "file").touch()
    url = _url(server, "/w/name.pth")
    with pytest.raises(WeightsError, match=r"cannot be kept in .*file.*: .*cache_dir="):
        download(url, cache_dir=tmp_path / "file")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://example.com/name.pth", "over https only"),
        ("http://127.0.0.1.example.com/name.pth", "over https only"),
        ("http://127.0.0.1@example.com/name.pth", "over https only"),
        ("ftp://example.com/name.pth", "over https only"),
        ("file:///etc/name.pth", "over https only"),
        ("https:///name.pth", "over https only"),
        ("https://[1/name.pth", "is no web address"),
        ("https://example.com/a b.pth", "is no web address"),
        ("https://example.com/", "does not end in the name of a file"),
        ("https://example.com/a/..", "does not end in the name of a file"),
        ("https://example.com/a\\b.pth", "does not end in the name of a file"),
        ("https://example.com/a.pth#md5=1", r"'md5=1' is no hash; write #sha256="),
        ("https://example.com/a.pth#sha256=12", "is no hash; write #sha256= and 64"),
    ],
)
def test_malformed_addresses_are_refused_unasked(tmp_path, url, message):
    with pytest.raises(WeightsError, match=message):
        download(url, cache_dir=tmp_path)
    assert _files(tmp_path) == []


def test_redirect_may_not_leave_https():
    with pytest.raises(WeightsError, match=r"name.pth leads elsewhere: .* away from https"):
        fetching.check_redirect("https://example.com/name.pth", "http://127.0.0.1/x")


def test_redirect_is_followed_and_ranges_with_it(server, tmp_path, quick):
    _url(server, "/w/name.pth")
    server.fail("/w/name.pth", cut=100_000, times=2)  # the redirect has nothing to cut
    path = download(server.url + "/moved/w/name.pth", cache_dir=tmp_path)
    assert path.read_bytes() == WEIGHTS
    assert server.log[-1].headers["range"] == "bytes=100000-"


def test_timeout_that_is_no_number_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HUB_DOWNLOAD_TIMEOUT", "soon")
    with pytest.raises(WeightsError, match="HUB_DOWNLOAD_TIMEOUT is 'soon': write seconds"):
        download(_url(server, "/w/name.pth"), cache_dir=tmp_path)


def test_address_is_fetched_through_the_session_of_huggingface_hub(server, tmp_path):
    code = """
import sys
import huggingface_hub as hf
from hub.pretrained.sources import download
client, seen = type(hf.get_session()), []
hf.set_client_factory(lambda: client(event_hooks={"request": [seen.append]}))
download(sys.argv[1], cache_dir=sys.argv[2])
print(*(request.url for request in seen))
"""
    url = _url(server, "/w/name.pth")
    command = [sys.executable, "-c", code, url, str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"NO_PROXY": "*"}
    )
    assert done.stdout.split() == [url], done.stderr


def test_two_at_once_fetch_it_once(server, tmp_path):
    url = _url(server, "/w/name.pth")
    processes = [_start(server, HF_HUB_DISABLE_PROGRESS_BARS="0") for _ in range(2)]
    answers, bars = [], []

    def run(process):
        out, err = process.communicate(_question(url, [], tmp_path, "download"), timeout=50)
        answers.append(json.loads(out)[0]["path"])
        bars.append("name.pth: 100%" in err)

    threads = [threading.Thread(target=run, args=(p,)) for p in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 2 and len(set(answers)) == 1
    assert Path(answers[0]).read_bytes() == WEIGHTS
    assert len(server.log) == 1
    assert sorted(bars) == [False, True]  # one fetched and showed it


# --- sources of one file ------------------------------------------------------------------------


def test_address_has_the_config_beside_it_or_none(server, tmp_path, quick):
    url = _url(server, "/with/name.pth")
    _url(server, "/with/config.json", CONFIG_FILE)
    source = HttpFile(url.removeprefix("http:"), cache_dir=tmp_path)
    assert source.config() == CONFIG
    assert source.weights("what/ever").read_bytes() == WEIGHTS
    bare = HttpFile(_url(server, "/without/name.pth").removeprefix("http:"), cache_dir=tmp_path)
    assert bare.config() is None
    server.fail("/without/config.json", headers={"Content-Type": "text/html"}, status=200)
    assert bare.config() is None


def test_cached_address_needs_no_network(server, tmp_path, quick):
    url = _url(server, "/with/name.pth").removeprefix("http:")
    _url(server, "/with/config.json", CONFIG_FILE)
    source = HttpFile(url, cache_dir=tmp_path)
    told = source.config(), source.weights()
    server.stop()
    again = HttpFile(url, cache_dir=tmp_path)
    assert (again.config(), again.weights()) == told


def test_config_may_be_kept_by_many_at_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(sources._keep, [CONFIG_FILE] * 400, [tmp_path / "config.json"] * 400))
    assert (tmp_path / "config.json").read_bytes() == CONFIG_FILE
    assert _files(tmp_path) == ["config.json"]


@pytest.mark.parametrize(
    ("content", "fault", "message"),
    [
        (b"{", {}, "not readable JSON"),
        (b"[]", {}, "holds a list, not an object"),
        (b" " * (10 << 20) + b"{}", {}, "is larger than 10 MB: no configuration"),
        (CONFIG_FILE, dict(status=500), "the server answers 500"),
        (CONFIG_FILE, dict(silent=True), "no answer within 0.5 seconds"),
        (CONFIG_FILE, dict(stall=5), "no answer within 0.5 seconds"),
        (b'{"a": 1}     ', dict(cut=8), "broke off after 8 of 13 bytes"),
    ],
)
def test_damaged_config_at_an_address(server, tmp_path, quick, content, fault, message):
    url = _url(server, "/w/name.pth").removeprefix("http:")
    _url(server, "/w/config.json", content)
    server.fail("config.json", **fault)
    with pytest.raises(WeightsError, match=message):
        HttpFile(url, cache_dir=tmp_path).config()
    assert _files(tmp_path) == []


def test_plain_http_is_for_this_machine():
    with pytest.raises(WeightsError, match="over https only"):
        HttpFile("//example.com/name.pth")
    assert HttpsFile("//example.com/name.pth").url == "https://example.com/name.pth"


def test_file_has_the_config_beside_it_or_none(tmp_path):
    file = tmp_path / "any.name"
    file.write_bytes(WEIGHTS)
    source = LocalFile(str(file))
    assert source.config() is None
    assert source.weights("other.bin") == file
    (tmp_path / "config.json").write_bytes(CONFIG_FILE)
    assert source.config() == CONFIG


def test_file_that_is_not_one(tmp_path):
    with pytest.raises(WeightsError, match=r"file:/no/such\.pth: no such file"):
        LocalFile("/no/such.pth")
    with pytest.raises(WeightsError, match="that is a folder, write local-dir:"):
        LocalFile(str(tmp_path))


def test_folder_prefers_safetensors_and_knows_names(tmp_path):
    folder = LocalFolder(str(tmp_path))
    with pytest.raises(WeightsError, match=r"none of model.safetensors"):
        folder.weights()
    with pytest.raises(WeightsError, match=r"no config.json in it.*checkpoint_path="):
        folder.config()
    (tmp_path / "pytorch_model.bin").touch()
    assert folder.weights().name == "pytorch_model.bin"
    (tmp_path / "model.safetensors").touch()
    assert folder.weights().name == "model.safetensors"
    assert folder.weights("pytorch_model.bin").name == "pytorch_model.bin"


def test_folder_with_a_huge_config(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(11 << 20)
    with pytest.raises(WeightsError, match="has 11 MB: that is no configuration"):
        LocalFolder(str(tmp_path)).config()


# --- what it is for -----------------------------------------------------------------------------


def test_sources_import_neither_torch_nor_huggingface_hub():
    code = (
        "import hub.pretrained.sources, sys; print({'torch', 'huggingface_hub'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_model_is_created_from_each_source(server, tmp_path):
    """One process: from the Hub, an address and a file, with equal weights."""
    import hub
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = hub.create_model("test_resnet", num_classes=7)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    described = {**CONFIG, "pretrained_cfg": {"num_classes": 7, "classifier": "fc"}}
    (tmp_path / "config.json").write_text(json.dumps(described))
    files = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    server.publish("org/name", files)
    server.files |= {f"/w/{name}": content for name, content in files.items()}
    code = """
import sys, hub, torch
from safetensors.torch import load_file
file, cache_dir, *names = sys.argv[1:]
expected = load_file(file)
for name in names:
    state = hub.create_model(name, pretrained=True, cache_dir=cache_dir).state_dict()
    equal = [torch.equal(state[k], v) for k, v in expected.items()]
    print(all(equal) and len(equal) == len(state))
"""
    file = str(tmp_path / "model.safetensors")
    address = f"http://127.0.0.1:{server.port}/w/model.safetensors"
    names = ["hf_hub:org/name", address, f"file:{file}"]
    command = [sys.executable, "-c", code, file, str(tmp_path / "cache"), *names]
    env = {**os.environ, "HF_ENDPOINT": server.url, "NO_PROXY": "*"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["True"] * 3, done.stderr


def test_scheme_table_names_what_exists():
    from hub import builtin

    for reference in builtin.hub_sources().values():
        assert hasattr(sources, reference.partition(":")[2])
