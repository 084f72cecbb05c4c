"""A real HTTP server on the loopback interface that misbehaves on request.

Every file has a list of faults, one for each request to come; when they are used up, the file is
served as a good server does it.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.loopback import serving


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer.

    Args:
        status: answered instead of the file.
        headers: sent with that status.
        drop_after: bytes of the body after which the connection is reset.
        end_after: bytes of the body after which the connection is closed as if all were well.
        wrong: whether the bytes are other ones, as many.
        body: sent instead of the file.
        content_type: of the answer.
        pause: seconds between two pieces of `piece` bytes.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    end_after: int | None = None
    wrong: bool = False
    body: bytes | None = None
    content_type: str = "application/octet-stream"
    pause: float = 0.0
    piece: int = 1 << 16


GOOD = Fault()


@dataclass
class File:
    """One file of the server. `faults` are used up one per request, `always` comes after them."""

    content: bytes
    faults: list[Fault]
    always: Fault = GOOD
    ranges: bool = True
    etag: str | None = '"1"'
    last_modified: str | None = "Wed, 21 Oct 2015 07:28:00 GMT"
    chunked: bool = False
    honours_if_range: bool = True


@dataclass(frozen=True)
class Request:
    """What the server was asked and the status that it answered."""

    path: str
    range: str | None
    if_range: str | None
    status: int


class Server:
    """Files by name, and a log of the requests."""

    def __init__(self, url: str):
        self.url = url
        self.files: dict[str, File] = {}
        self.log: list[Request] = []
        self.lock = threading.Lock()

    def serve(self, name: str, content: bytes, faults: Sequence[Fault] = (), **options) -> str:
        """Serve `content` under `/name`; options are those of `File`. Returns the address."""
        self.files[f"/{name}"] = File(content, list(faults), **options)
        return f"{self.url}/{name}"

    def ranges(self) -> list[str | None]:
        """Return the Range header of every request, in order."""
        return [request.range for request in self.log]


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """Run a server on a free port while the block lasts."""
    with serving(Handler) as (server, url):
        server.files = Server(url)
        yield server.files


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments) -> None:
        pass

    def do_GET(self) -> None:
        server: Server = self.server.files
        file = server.files.get(self.path)
        with server.lock:
            fault = file.faults.pop(0) if file and file.faults else file.always if file else None
        self.close_connection = True
        if file is None:
            fault = Fault(status=404)
        if fault.status:
            self.reply(fault.status, {"Content-Length": "0", **fault.headers})
            return
        content = file.content if fault.body is None else fault.body
        if fault.wrong:
            content = bytes(byte ^ 1 for byte in content)
        start = self.start_of_range(file)
        if start is not None and start >= len(content):
            self.reply(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
            return
        self.send_body(file, fault, content, start)

    def start_of_range(self, file: File) -> int | None:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not found or not file.ranges:
            return None
        condition = self.headers.get("If-Range")
        if condition and file.honours_if_range and condition not in (file.etag, file.last_modified):
            return None
        return int(found[1])

    def reply(self, status: int, headers: dict[str, str]) -> None:
        asked = self.headers.get("Range"), self.headers.get("If-Range")
        with self.server.files.lock:
            self.server.files.log.append(Request(self.path, *asked, status))
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def send_body(self, file: File, fault: Fault, content: bytes, start: int | None) -> None:
        headers = {"Content-Type": fault.content_type}
        if file.etag:
            headers["ETag"] = file.etag
        if file.last_modified:
            headers["Last-Modified"] = file.last_modified
        body = content[start or 0 :]
        if start is not None:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if file.chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(len(body))
        self.reply(200 if start is None else 206, headers)
        ends = [n for n in (fault.drop_after, fault.end_after) if n is not None]
        sent = body[: min(ends, default=len(body))]
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(sent), fault.piece):
                time.sleep(fault.pause if at else 0.0)
                piece = sent[at : at + fault.piece]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if file.chunked else piece)
            if file.chunked and not ends:
                self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()
        if fault.drop_after is not None:
            self.reset()

    def reset(self) -> None:
        """Break the connection off with a reset instead of an orderly end."""
        time.sleep(0.05)  # a reset overtakes bytes that the other side has not read yet
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.rfile.close()
        self.connection.close()
