"""A fake Hugging Face Hub on a real socket: the endpoints that huggingface_hub 2 asks to publish a dataset.

    with FakeHub() as hub:
        ...  # HF_ENDPOINT=hub.url
        assert hub.datasets["maria/x"].files["README.md"].startswith(b"---")

Written after what huggingface_hub sends and reads (hf_api.py, _commit_api.py, lfs.py): files of less than ``lfs_from``
bytes come within the commit, larger ones by Git LFS. Xet, which the library prefers where its hf_xet is installed, goes
to servers of its own; tests switch it off (HF_HUB_DISABLE_XET) where files are large.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any

from aiohttp import web
from fake_ollama.base import Answer, Exchange, FakeServer
from fake_ollama.faults import Fault
from fake_ollama.script import default_script

TOKEN = "hf_" + "a1B2c3D4e5" * 3


@dataclass
class Dataset:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


class FakeHub(FakeServer):
    """``user`` owns TOKEN; another owner's names are forbidden to them."""

    def __init__(self, user: str = "maria", lfs_from: int = 10 * 2**20) -> None:
        super().__init__(parallel=64, max_queue=64, delay=0.0, script=default_script)
        self.user = user
        self.lfs_from = lfs_from
        self.datasets: dict[str, Dataset] = {}
        self.stored: dict[str, bytes] = {}
        self.yaml_errors: list[str] = []
        self.yaml_warnings: list[str] = []

    async def handle(self, exchange: Exchange, request: web.Request) -> Answer:
        if request.method == "PUT" and request.path.startswith("/lfs/"):  # a signed address: no token with it
            self.stored[request.path.rpartition("/")[2]] = exchange.raw
            return web.Response()
        if request.path == "/api/agent-harnesses":
            return web.json_response({"standardEnvVars": [], "harnesses": {}})
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return refusal(401, "Invalid username or password.")
        match request.method, request.path.strip("/").split("/"):
            case "GET", ["api", "datasets", owner, name]:
                return self._info(f"{owner}/{name}")
            case "POST", ["api", "repos", "create"]:
                return self._create(exchange.body)
            case "POST", ["api", "validate-yaml"]:
                return self._validate()
            case "POST", ["api", "datasets", owner, name, "preupload", "main"]:
                return self._preupload(exchange.body)
            case "POST", ["datasets", owner, name, "info", "lfs", "objects", "batch"]:
                return self._batch(exchange.body)
            case (("HEAD" | "GET"), ["datasets", owner, name, "resolve", revision, *path]):
                return self._file(f"{owner}/{name}", revision, "/".join(path))
            case "POST", ["api", "datasets", owner, name, "commit", "main"]:
                return self._commit(f"{owner}/{name}", exchange.raw)
        return refusal(404, f"no such endpoint: {request.method} {request.path}")

    def failure(self, fault: Fault) -> Answer:
        return refusal(fault.status, fault.text)

    def _info(self, name: str) -> Answer:
        found = self.datasets.get(name)
        if found is None:
            return refusal(404, "Repository not found", "RepoNotFound")
        siblings = [{"rfilename": path} for path in found.files]
        return web.json_response({"id": name, "sha": "0" * 40, "private": found.private, "siblings": siblings})

    def _file(self, name: str, revision: str, path: str) -> Answer:
        content = self.datasets[name].files.get(path)
        if content is None:
            return refusal(404, "Entry not found", "EntryNotFound")
        headers = {"ETag": f'"{sha1(content).hexdigest()}"', "X-Repo-Commit": revision}
        return web.Response(body=content, headers=headers)

    def _create(self, body: Mapping[str, Any]) -> Answer:
        assert body["type"] == "dataset"
        owner = body.get("organization") or self.user
        if owner != self.user:
            return refusal(403, f"You don't have the rights to create a dataset under the namespace {owner!r}")
        name = f"{owner}/{body['name']}"
        private = body.get("visibility") == "private" if "visibility" in body else bool(body.get("private"))
        self.datasets[name] = Dataset(private)
        return web.json_response({"url": f"{self.url}/datasets/{name}", "name": name, "id": "1"})

    def _validate(self) -> Answer:
        told = {
            "errors": [{"message": text} for text in self.yaml_errors],
            "warnings": [{"message": text} for text in self.yaml_warnings],
        }
        return web.json_response(told, status=400 if self.yaml_errors else 200)

    def _preupload(self, body: Mapping[str, Any]) -> Answer:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["size"] >= self.lfs_from else "regular",
                "shouldIgnore": False,
            }
            for file in body["files"]
        ]
        return web.json_response({"files": files})

    def _batch(self, body: Mapping[str, Any]) -> Answer:
        objects = [
            {**wanted, "actions": {"upload": {"href": f"{self.url}/lfs/{wanted['oid']}"}}} for wanted in body["objects"]
        ]
        return web.json_response({"transfer": "basic", "objects": objects}, content_type="application/vnd.git-lfs+json")

    def _commit(self, name: str, raw: bytes) -> Answer:
        found = self.datasets[name]
        for line in map(json.loads, raw.splitlines()):
            value = line["value"]
            match line["key"]:
                case "header":
                    found.messages.append(value["summary"])
                case "file":
                    assert value["encoding"] == "base64"
                    found.files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    found.files[value["path"]] = self.stored[value["oid"]]
        return web.json_response(
            {"success": True, "commitOid": "1" * 40, "commitUrl": f"{self.url}/datasets/{name}/commit/{'1' * 40}"}
        )


def refusal(status: int, message: str, code: str = "") -> Answer:
    """As the Hub refuses: the reason in the headers and in the body."""
    headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    return web.json_response({"error": message}, status=status, headers=headers)
