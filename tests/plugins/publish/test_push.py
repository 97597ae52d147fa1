"""Models are uploaded by the real client to a server that speaks the Hub's protocol."""

import base64
import json
import os
import subprocess
import sys

import pytest
from hub_server import HubServer, _Handler


class WritableHandler(_Handler):
    """The part of the protocol that creates repositories and commits to them."""

    def do_POST(self):
        length = int(self.headers["Content-Length"] or 0)
        body = self.rfile.read(length)
        self.hub.posts.append((self.path, body))
        if self.headers["Authorization"] != "Bearer secret":
            return self._json(401, {"error": "Invalid credentials"})
        if self.path == "/api/repos/create":
            name = json.loads(body)
            repo = f"{name.get('organization') or 'org'}/{name['name']}"
            known = repo in self.hub.tokens
            if not known:
                self.hub.publish(repo, {})
            return self._json(409 if known else 200, {"url": f"{self.hub.url}/{repo}"})
        if self.path == "/api/validate-yaml":
            return self._json(200, {"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            return self._json(200, {"files": files})
        if "/commit/" in self.path:
            return self._commit(body)
        return self._json(404, {"error": f"no {self.path}"})

    def _commit(self, body):
        repo = "/".join(self.path.split("/")[3:5])
        lines = [json.loads(line) for line in body.splitlines()]
        files = dict(self.hub.commits[repo, self.hub.refs[repo, "main"]])
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        sha = self.hub.publish(repo, files)
        url = f"{self.hub.url}/{repo}/commit/{sha}"
        return self._json(200, {"commitUrl": url, "commitOid": sha, "success": True})

    def do_GET(self):
        parts = self.path.split("?")[0].split("/")
        if self.path.startswith("/api/models/") and len(parts) in (5, 7):
            repo = f"{parts[3]}/{parts[4]}"
            if repo not in self.hub.tokens:
                return self._json(404, {"error": "Repository not found"})
            sha = self.hub.refs[repo, "main"]
            siblings = [{"rfilename": name} for name in self.hub.commits[repo, sha]]
            return self._json(200, {"id": repo, "sha": sha, "siblings": siblings})
        return super().do_GET()

    do_HEAD = do_GET

    def _json(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def server():
    server = HubServer()
    server.posts = []
    server._http.RequestHandlerClass = type("Handler", (WritableHandler,), {"hub": server})
    with server:
        yield server


def run(code, server, tmp_path, token="secret"):
    """Run a script against the server, in a process of its own: the client reads it once."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )


PUSH_AND_LOAD = """
import hub, torch
torch.manual_seed(0)
model = hub.create_model("test_resnet", num_classes=2).eval()
print(hub.push_to_hub(model, "org/cats", label_names=["cat", "dog"]))
again = hub.create_model("hf_hub:org/cats", pretrained=True).eval()
x = torch.rand(1, 3, 64, 64)
assert torch.equal(model(x), again(x))
assert again.pretrained_cfg["label_names"] == ("cat", "dog")
"""


def test_pushed_model_loads_from_the_hub(server, tmp_path):
    done = run(PUSH_AND_LOAD, server, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{server.url}/org/cats/commit/")
    files = server.commits["org/cats", server.refs["org/cats", "main"]]
    assert set(files) == {"config.json", "model.safetensors", "README.md"}
    assert files["README.md"].startswith(b"---\nlibrary_name: hub\n")


def test_folder_of_shards_is_pushed_with_all_of_them(server, tmp_path):
    code = f"""
import json, hub
from pathlib import Path
from safetensors.torch import save_file
folder = Path({str(tmp_path / "model")!r})
state = hub.create_model("test_resnet").state_dict()
hub.save_pretrained(hub.create_model("test_resnet"), folder)
(folder / "model.safetensors").unlink()
save_file(state, folder / "model-1-of-1.safetensors")
index = dict(weight_map=dict.fromkeys(state, "model-1-of-1.safetensors"))
(folder / "model.safetensors.index.json").write_text(json.dumps(index))
hub.push_to_hub(folder, "org/cats")
hub.create_model("hf_hub:org/cats", pretrained=True)
"""
    done = run(code, server, tmp_path)
    assert done.returncode == 0, done.stderr


def test_labels_are_no_option_of_a_folder(tmp_path):
    import hub

    hub.save_pretrained(hub.create_model("test_resnet"), tmp_path)
    with pytest.raises(TypeError, match="label_names: stated when a folder is saved"):
        hub.push_to_hub(tmp_path, "org/cats", label_names=["cat"])


def test_card_of_the_repository_is_kept(server, tmp_path):
    server.publish("org/cats", {"README.md": b"written by a person", "notes.txt": b"x"})
    done = run(PUSH_AND_LOAD, server, tmp_path)
    assert done.returncode == 0, done.stderr
    files = server.commits["org/cats", server.refs["org/cats", "main"]]
    assert files["README.md"] == b"written by a person"
    assert set(files) == {"README.md", "notes.txt", "config.json", "model.safetensors"}


def test_refusal_is_one_clear_line_and_nothing_is_written(server, tmp_path):
    import hub

    hub.save_pretrained(hub.create_model("test_resnet"), tmp_path / "model")
    code = (
        "import sys; from hub.__main__ import main;"
        f"sys.exit(main(['push', {str(tmp_path / 'model')!r}, 'org/cats']))"
    )
    done = run(code, server, tmp_path, token="wrong")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("hub: error: hf-hub:org/cats could not be written: ")
    assert "your token (`hf auth login` or HF_TOKEN)" in done.stderr
    assert not server.commits
