"""A hub on the loopback interface: files of repositories at their commits, and lists of them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote

from tests.loopback import serving


class Hub:
    """Repositories: `files[repository][name]` of the main branch, and other branches."""

    def __init__(self, url: str):
        self.url = url
        self.files: dict[str, dict[str, bytes]] = {}
        self.commits: dict[str, str] = {}
        self.branches: dict[str, dict[str, tuple[str, dict[str, bytes]]]] = {}
        self.asked: list[str] = []
        self.ranges: list[str] = []
        self.lists: bytes | None = None
        """Sent in place of lists of files."""
        self.slow = ""
        """Name of a file that is served as slowly as with `pause`."""
        self.cut: dict[str, int] = {}
        """Bytes of a file after which the next answer breaks off."""
        self.pause, self.kind = 0.0, "application/octet-stream"
        """Seconds after every hundred bytes, if any; type of the content."""

    def add(self, repository: str, files: dict[str, bytes], commit: str = "a" * 40) -> None:
        self.files[repository] = files
        self.commits[repository] = commit

    def branch(self, repository: str, name: str, files: dict[str, bytes], commit: str) -> None:
        self.branches.setdefault(repository, {})[name] = commit, files

    def at(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Return the commit and the files of a revision; None: there is none such."""
        main = self.commits[repository], self.files[repository]
        known = {"main": main} | self.branches.get(repository, {})
        return {**known, **{each[0]: each for each in known.values()}}.get(revision)


@contextlib.contextmanager
def running() -> Iterator[Hub]:
    """Run a hub on a free port while the block lasts."""
    with serving(Handler) as (server, url):
        server.hub = Hub(url)
        yield server.hub


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def answer(self, body: bool) -> None:
        hub: Hub = self.server.hub
        path = unquote(self.path.split("?")[0]).strip("/")
        hub.asked.append(path)
        listed = next((p for p in ("revision", "tree") if f"/{p}/" in path), "")
        what = listed if path.startswith("api/models/") else "resolve"
        repository, _, rest = path.removeprefix("api/models/").partition(f"/{what}/")
        revision, _, name = rest.partition("/")
        if repository not in hub.files:
            return self.fail("RepoNotFound", 401)
        if (found := hub.at(repository, revision)) is None:
            return self.fail("RevisionNotFound", 404)
        commit, files = found
        if what != "resolve":
            return self.list(what, repository, commit, files)
        content = files.get(name)
        if content is None:
            return self.fail("EntryNotFound", 404, commit)
        if asked := self.headers.get("Range"):
            hub.ranges.append(asked)
        start = int((asked or "bytes=0-")[6:].partition("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            last = len(content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        self.send_header("Content-Type", hub.kind)
        self.end_headers()
        end = hub.cut.pop(name, len(content)) if body else 0
        pause = 0.1 if name == hub.slow else hub.pause
        piece = 100 if pause else 1 << 20
        with contextlib.suppress(ConnectionError):
            for at in range(start, end, piece):
                self.wfile.write(content[at : min(at + piece, end)])
                time.sleep(pause)
        return None

    def list(self, what: str, repository: str, commit: str, files: dict[str, bytes]) -> None:
        answer: object = {
            "id": repository,
            "sha": commit,
            "siblings": [{"rfilename": name} for name in files],
        }
        if what == "tree":
            answer = [
                {
                    "type": "file",
                    "path": name,
                    "size": len(content),
                    "oid": hashlib.sha1(content).hexdigest(),
                }
                for name, content in files.items()
            ]
        content = self.server.hub.lists
        content = json.dumps(answer).encode() if content is None else content
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def fail(self, code: str, status: int, commit: str | None = None) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()
