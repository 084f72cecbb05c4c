"""What an upload asks of the hub, on the loopback interface: repositories, LFS objects, commits.

The protocol is that of huggingface_hub without Xet: `preupload` says which files are large, these
go to addresses that the LFS batch names, and one commit joins them with the small ones. The card's
metadata are looked at first.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import yaml
from tests.loopback import serving

TOKEN = "hf_secret"
LARGE = 10_000


@dataclass(frozen=True)
class Raw:
    """An answer of no hub: its body in pieces, with a pause before each."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    pause: float = 0.0
    piece: int = 1 << 16
    length: bool = True


class UploadHub:
    """Repositories with their files; `objects` are LFS's, by sum."""

    def __init__(self, url: str):
        self.url = url
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.objects: dict[str, bytes] = {}
        self.refuse: dict[str, int] = {}
        """Statuses by a part of the path, as often as it is asked for."""
        self.answers: dict[str, Raw] = {}
        """Likewise, instead of the hub's own answer."""


@contextlib.contextmanager
def running() -> Iterator[UploadHub]:
    """Run a hub on a free port while the block lasts."""
    with serving(Handler) as (server, url):
        server.hub = UploadHub(url)
        yield server.hub


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments) -> None:
        pass

    def do_PUT(self) -> None:
        hub: UploadHub = self.server.hub
        content = self.body()
        oid = self.path.rpartition("/")[2]
        if hashlib.sha256(content).hexdigest() != oid:
            return self.send({}, 400)
        hub.objects[oid] = content
        return self.send({})

    def do_POST(self) -> None:
        hub: UploadHub = self.server.hub
        content, path = self.body(), self.path.split("?")[0]
        for part, status in hub.refuse.items():
            if part in path:
                return self.send({"error": "refused"}, status)
        for part, answer in hub.answers.items():
            if part in path:
                return self.send_raw(answer)
        if not path.startswith("/verify") and (
            self.headers.get("Authorization") != f"Bearer {TOKEN}"
        ):
            return self.send({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            return self.create(json.loads(content))
        if path == "/api/validate-yaml":
            return self.validate(json.loads(content))
        if "/preupload/" in path:
            files = json.loads(content)["files"]
            modes = ["lfs" if file["size"] > LARGE else "regular" for file in files]
            told = [
                {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}
                for file, mode in zip(files, modes, strict=True)
            ]
            return self.send({"files": told})
        if path.endswith("/info/lfs/objects/batch"):
            return self.send(self.batch(json.loads(content)))
        if path.startswith("/verify"):
            asked = json.loads(content)
            there = len(hub.objects.get(asked["oid"], b"")) == asked["size"]
            return self.send({}, 200 if there else 404)
        if "/commit/" in path:
            return self.commit(path.split("/commit/")[0].removeprefix("/api/models/"), content)
        return self.send({"error": path}, 404)

    def create(self, asked: dict) -> None:
        hub: UploadHub = self.server.hub
        name = f"{asked['organization']}/{asked['name']}"
        url = {"url": f"{hub.url}/{name}"}
        if name in hub.repositories:
            return self.send({"error": "You already created this model repo", **url}, 409)
        hub.repositories[name] = {}
        hub.private[name] = asked.get("visibility") == "private" or bool(asked.get("private"))
        return self.send(url)

    def validate(self, asked: dict) -> None:
        """Do what the hub is known to insist on: an index of results with types and values."""
        metadata = yaml.safe_load(asked["content"].split("---")[1])
        results = [one for model in metadata.get("model-index", []) for one in model["results"]]
        whole = all(
            one["task"]["type"]
            and {"name", "type"} <= one["dataset"].keys()
            and all({"type", "value"} <= metric.keys() for metric in one["metrics"])
            for one in results
        )
        errors = [] if results and whole else [{"message": "model-index is invalid"}]
        return self.send({"errors": errors, "warnings": []}, 400 if errors else 200)

    def batch(self, asked: dict) -> dict:
        hub: UploadHub = self.server.hub
        objects = []
        for each in asked["objects"]:
            actions = {
                "upload": {"href": f"{hub.url}/objects/{each['oid']}"},
                "verify": {"href": f"{hub.url}/verify/{each['oid']}"},
            }
            objects.append(each if each["oid"] in hub.objects else {**each, "actions": actions})
        return {"transfer": "basic", "objects": objects}

    def commit(self, name: str, content: bytes) -> None:
        hub: UploadHub = self.server.hub
        files = hub.repositories[name]
        for line in map(json.loads, content.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = hub.objects[value["oid"]]
        url = f"{hub.url}/{name}/commit/{'a' * 40}"
        return self.send({"commitUrl": url, "commitOid": "a" * 40})

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def send(self, content: dict, status: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def send_raw(self, answer: Raw) -> None:
        self.close_connection = True
        self.send_response(200)
        for key, value in ({"Content-Type": "application/json"} | answer.headers).items():
            self.send_header(key, value)
        if answer.length:
            self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(answer.body), answer.piece):
                time.sleep(answer.pause)
                self.wfile.write(answer.body[at : at + answer.piece])
                self.wfile.flush()
