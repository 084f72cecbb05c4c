"""A hub on the loopback interface: files of repositories, each at one commit."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote

from tests.loopback import serving


class Hub:
    """Repositories: `files[repository][name]` at one commit each."""

    def __init__(self, url: str):
        self.url = url
        self.files: dict[str, dict[str, bytes]] = {}
        self.commits: dict[str, str] = {}
        self.asked: list[str] = []
        self.pause, self.kind = 0.0, "application/octet-stream"
        """Seconds after every hundred bytes, if any; type of the content."""

    def add(self, repository: str, files: dict[str, bytes], commit: str = "a" * 40) -> None:
        self.files[repository] = files
        self.commits[repository] = commit


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
        repository, _, rest = path.partition("/resolve/")
        revision, _, name = rest.partition("/")
        if repository not in hub.files:
            return self.fail("RepoNotFound", 401)
        commit = hub.commits[repository]
        if revision not in ("main", commit):
            return self.fail("RevisionNotFound", 404)
        content = hub.files[repository].get(name)
        if content is None:
            return self.fail("EntryNotFound", 404, commit)
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", hub.kind)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(content) if body else 0, 100 if hub.pause else 1 << 20):
                self.wfile.write(content[at : at + (100 if hub.pause else 1 << 20)])
                time.sleep(hub.pause)
        return None

    def fail(self, code: str, status: int, commit: str | None = None) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()
