"""Servers that answer otherwise than they should: other bytes, other sizes, slowly, for ever.

The server and the command share a process, whose clock runs fast, so that what is too slow is soon
found. Wherever a file or an answer is not the right one, the command must refuse, in bounded time
and bytes.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import yaml
from tests.faults.changed_images import photos
from tests.faults.harness import Ended, run
from tests.faults.verdicts import Found, Ground, Verdict
from tests.faults.world import PIXELS
from tests.loopback import serving
from tests.sweep import upload_server
from tests.weights import hub_server

FASTER = 60.0
"""How many times as fast the clock runs: a minute of a command is a second."""
SECONDS = 3.0
"""Of the processor; by the true clock, 15 times as long is waited."""
MOST = 64 * 2**20
"""Bytes that a server may get rid of, where the right files have less than 5 MB."""
REPOSITORY, COMMIT = "org/tiny", "c" * 40
WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
DATA = Random(0).randbytes(300_000)
PAGE = b"<!DOCTYPE html><html><body>Sign in to the network</body></html>" * 20


@dataclass
class Fault:
    """What goes wrong with an answer's body.

    Attributes:
        kind: in words.
        body: bytes or pieces instead of the right ones; None: the right ones.
        length: the Content-Length; None: none is said; -1: as many as there are.
        headers: besides.
        status: of the answer.
        pause: seconds (of the fast clock) between bytes.
    """

    kind: str
    body: Callable[[], bytes | Iterator[bytes]] | None = None
    length: int | None = -1
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    pause: float = 0.0


def _endless() -> Iterator[bytes]:
    while True:
        yield bytes(2**16)


def _bomb() -> bytes:
    return gzip.compress(bytes(200 * 2**20), 9)


def _deep() -> bytes:
    return b"[" * 200_000


def _huge() -> bytes:
    return b'{"a": "' + b"x" * (48 * 2**20) + b'"}'


HTML = {"Content-Type": "text/html; charset=utf-8"}
GZIP = {"Content-Encoding": "gzip"}
ANY: list[Fault] = [
    Fault("a page in place of a file", lambda: PAGE, headers=HTML),
    Fault("a page that says it is a file", lambda: PAGE),
    Fault("a byte a second", pause=1.0),
    Fault("bytes without end, of no size", _endless, None),
    Fault("a body that unpacks to far more", _bomb, headers=GZIP),
    Fault("a size that is too large", length=10**9),
    Fault("a size that is too small", length=100),
    Fault("a size that is none", length=None, headers={"Content-Length": "many"}),
    Fault("no byte at all", lambda: b""),
    Fault("another status", lambda: PAGE, status=503, headers=HTML),
]
OTHER = Fault("as many other bytes", None)
ANSWERS: list[Fault] = [
    *(each for each in ANY if "size" not in each.kind or "no size" in each.kind),
    Fault("brackets without end", _deep),
    Fault("48 MB of a text", _huge),
    *(Fault(f"JSON of another kind: {text}", text.encode) for text in ("[]", "null", "7", '"x"')),
]


class Server:
    """What a handler needs to spoil answers.

    Attributes:
        fault: of the answers whose path ends in `part`.
        sent: bytes that went out of those.
    """

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self.part, self.sent = "", 0


SERVER = Server()
"""Of the one process of an attack."""


class _Spoils:
    """Sends the fault's body where it is asked for."""

    def spoil(self, content: bytes, headers: dict[str, str], body: bool = True) -> None:
        handler: Any = self
        fault = SERVER.fault
        assert fault is not None
        found = content if fault.body is None else fault.body()
        length = fault.length
        if length == -1:
            length = len(found) if isinstance(found, bytes) else None
        handler.close_connection = True
        handler.send_response(fault.status)
        sent = {**headers, **fault.headers, "Connection": "close"}
        sent |= {} if length is None else {"Content-Length": str(length)}
        for key, value in sent.items():
            handler.send_header(key, value)
        handler.end_headers()
        step = 1 if fault.pause else 2**16
        pieces = (
            (found[at : at + step] for at in range(0, len(found), step))
            if isinstance(found, bytes)
            else found
        )
        with contextlib.suppress(OSError):
            for piece in pieces if body else ():
                handler.wfile.write(piece)
                SERVER.sent += len(piece)
                if SERVER.sent > 2 * MOST:
                    break
                time.sleep(fault.pause)
            handler.wfile.flush()
            handler.connection.shutdown(socket.SHUT_RDWR)


class Files(hub_server.Handler, _Spoils):
    """Files of a repository, of which one is spoilt when it is read (a HEAD tells the truth)."""

    def do_GET(self) -> None:  # noqa: N802
        name = self.path.split("?")[0].rpartition("/")[2]
        if SERVER.fault is None or not name.endswith(SERVER.part):
            return super().do_GET()
        content = self.server.hub.files[REPOSITORY][name]  # type: ignore[attr-defined]
        if SERVER.fault is OTHER:
            content = bytes(byte ^ 1 for byte in content)
        digest = hashlib.sha256(content).hexdigest()
        return self.spoil(content, {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"'})


class Uploads(upload_server.Handler, _Spoils):
    """A hub that takes files, some of whose answers are spoilt."""

    def send(self, content: dict[str, Any], status: int = 200) -> None:
        if SERVER.fault is None or SERVER.part not in self.path:
            return super().send(content, status)
        return self.spoil(json.dumps(content).encode(), {"Content-Type": "application/json"})


# ---------------------------------------------------------------------------------- the commands


def _hurry() -> None:
    """Let the clock of this process run fast, and be content with small files of no size."""
    clock, sleep = time.monotonic, time.sleep
    start = clock()

    def monotonic() -> float:
        return start + FASTER * (clock() - start)

    def pause(seconds: float) -> None:
        sleep(seconds / FASTER)

    import sys

    for name, module in list(sys.modules.items()):
        if name.startswith("wiseft.") or module is time:
            for attribute, old, new in (("monotonic", clock, monotonic), ("sleep", sleep, pause)):
                if getattr(module, attribute, None) is old:
                    setattr(module, attribute, new)
        if name.startswith("wiseft.") and isinstance(getattr(module, "LARGEST", None), int):
            module.LARGEST = min(module.LARGEST, MOST // 8)  # type: ignore[attr-defined]


def _hub_is(url: str, folder: Path) -> None:
    import huggingface_hub.constants as constants

    os.environ |= {"HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0", "HF_TOKEN": upload_server.TOKEN}
    constants.HF_HUB_OFFLINE = False
    constants.HF_HUB_CACHE = str(folder / "cache")
    with contextlib.suppress(ImportError):
        from huggingface_hub.utils import _detect_agent as agents

        agents._registry = {"harnesses": {}}  # type: ignore[attr-defined]


@contextlib.contextmanager
def serving_spoilt(
    handler: type[Any], folder: Path, fault: Fault | None, part: str
) -> Iterator[Any]:
    """Run a server for a command in this process; afterwards it is written down what it sent."""
    with serving(handler) as (server, url):
        SERVER.fault, SERVER.part = fault, part
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        _hurry()
        _hub_is(url, folder)
        try:
            yield server, url
        finally:
            (folder / "sent.txt").write_text(str(SERVER.sent))


def _main(*arguments: object) -> None:
    from wiseft.cli import main

    main([str(argument) for argument in arguments])


def _fetch_data(folder: Path, fault: Fault | None, part: str) -> None:
    with serving_spoilt(Files, folder, fault, part) as (server, url):
        server.hub = hub_server.Hub(url)
        server.hub.add(REPOSITORY, {"big.npy": DATA}, COMMIT)
        os.environ["WISEFT_MIRROR_BIG"] = f"{url}/{REPOSITORY}/resolve/main"
        _main("data", "fetch", "big")


def _fetch_model(
    folder: Path, files: dict[str, bytes], fault: Fault | None, part: str, out: str
) -> None:
    with serving_spoilt(Files, folder, fault, part) as (server, url):
        server.hub = hub_server.Hub(url)
        server.hub.add(REPOSITORY, files, COMMIT)
        _main("weights", "hubbed", "--output", out)


def _push(folder: Path, fault: Fault | None, part: str) -> None:
    with serving_spoilt(Uploads, folder, fault, part) as (server, url):
        server.hub = upload_server.UploadHub(url)
        _main("push", "out", "me/model")


# ----------------------------------------------------------------------------------- the attacks


def a_dataset(ground: Ground, rng: Random, folder: Path) -> Found:
    """A file of a dataset whose sum is pinned, and perhaps its size."""
    fault = rng.choice([*ANY, OTHER])
    entry = yaml.safe_load((folder / "config" / "datasets" / "boxes.yaml").read_text())
    sha256 = hashlib.sha256(DATA).hexdigest()
    file: dict[str, Any] = {"file": "big.npy", "urls": ["http://127.0.0.1:9/big.npy"]}
    file |= {"sha256": sha256, "unpack": False} | rng.choice([{}, {"size": len(DATA)}])
    entry |= {"name": "big", "files": [file]}
    entry["options"] = {kind: {"test": "big.npy"} for kind in ("images", "labels")}
    (folder / "config" / "datasets" / "big.yaml").write_text(yaml.safe_dump(entry))
    what = f"{a_dataset.__doc__} The mirror gives {fault.kind}"
    ended = _run(lambda: _fetch_data(folder, fault, "big.npy"), folder)
    path = folder / "datasets" / ".archives" / "big" / "big.npy"
    return judge(ground, what, ended, folder, lambda: path.read_bytes() == DATA)


def _entry(folder: Path, **pins: str) -> None:
    entry = {"name": "hubbed", "title": "Hubbed", "source": "open_clip", "repository": REPOSITORY}
    entry |= {"preprocessing": PIXELS, "revision": COMMIT, **pins}  # type: ignore[dict-item]
    (folder / "config" / "models" / "hubbed.yaml").write_text(yaml.safe_dump(entry))


def _model(ground: Ground) -> dict[str, bytes]:
    source = ground.world.folder / "source" / "clip"
    return {name: (source / name).read_bytes() for name in (WEIGHTS, CONFIG)}


def a_model(ground: Ground, rng: Random, folder: Path) -> Found:
    """A model of a repository, whose weights are pinned."""
    files = _model(ground)
    _entry(folder, sha256=hashlib.sha256(files[WEIGHTS]).hexdigest())
    part = rng.choice([WEIGHTS, WEIGHTS, CONFIG])
    fault = rng.choice([*ANY, OTHER] if part == WEIGHTS else ANSWERS)
    if rng.random() < 0.2 and part == WEIGHTS:  # whole and right, but of another model
        files[WEIGHTS] = _other(files[WEIGHTS])
        fault = Fault("the weights of another model")
    what = f"{a_model.__doc__} For {part} the hub gives {fault.kind}"
    work = _run(lambda: _fetch_model(folder, files, fault, part, "out.safetensors"), folder)
    right = files == _model(ground) and (fault.body is None and fault is not OTHER)
    return judge(ground, what, work, folder, lambda: right)


def _other(content: bytes) -> bytes:
    """Return a safetensors file with other numbers."""
    start = 8 + int.from_bytes(content[:8], "little")
    return content[:start] + content[start:-4] + bytes([0, 0, 0, 0x3F])


def changed_later(ground: Ground, rng: Random, folder: Path) -> Found:
    """A model of a repository without a pin, fetched twice."""
    _entry(folder)
    files = _model(ground)
    first = _run(lambda: _fetch_model(folder, files, None, "", "one.safetensors"), folder)
    assert first.code == 0, first.output
    shutil.rmtree(folder / "cache")
    if fetched := rng.random() < 0.5:
        shutil.rmtree(folder / ".wiseft" / "fetched", ignore_errors=True)
    files[WEIGHTS] = _other(files[WEIGHTS])
    what = f"{changed_later.__doc__} The second time it is another"
    what += ", and nothing that was downloaded is there any more" if fetched else ""
    ended = _run(lambda: _fetch_model(folder, files, None, "", "two.safetensors"), folder)
    return judge(ground, what, ended, folder, lambda: False)


def an_upload(ground: Ground, rng: Random, folder: Path) -> Found:
    """A sweep that is pushed."""
    from tests.faults.outside_links import sweep

    work = folder / "work"
    photos(work / "reference", 1, 4)
    photos(work / "shift", 2, 2)
    assert sweep(ground, work).code == 0
    assert run(lambda: _main("card", "out", "--license", "mit"), work).code == 0
    fault = rng.choice(ANSWERS)
    part = rng.choice(["/api/repos/create", "/preupload/", "/commit/", "/batch", "validate-yaml"])
    what = f"{an_upload.__doc__} On {part} the hub answers with {fault.kind}"
    ended = _run(lambda: _push(work, fault, part), work)
    if found := judge(ground, what, ended, work, lambda: True):
        return found
    if ended.code and "mend the name" in ended.output and "html" in str(fault.headers):
        return Found(what, Verdict.UNCLEAR, f"blames the name\n{ended.output[-400:]}")
    return Found(what)


def _run(work: Callable[[], None], folder: Path) -> Ended:
    return run(work, folder, seconds=SECONDS, loopback=True)


def judge(
    ground: Ground, what: str, ended: Ended, folder: Path, right: Callable[[], bool]
) -> Found:
    if found := ground.common(what, ended):
        return found
    if (sent := int((folder / "sent.txt").read_text())) > MOST:
        return Found(what, Verdict.UNCLEAR, f"took {sent / 2**20:.0f} MB\n{ended.output[-400:]}")
    if ended.code == 0 and not right():
        return Found(what, Verdict.SILENT, f"it is taken\n{ended.output[-400:]}")
    return Found(what)


FORMS = [a_dataset, a_model, changed_later, a_dataset, a_model, an_upload]


def attack(ground: Ground, rng: Random, number: int) -> Found:
    """Ask a server that misbehaves."""
    folder = ground.base / "bench" / f"mirrors-{number}"
    (folder / "work").mkdir(parents=True)
    shutil.copytree(ground.world.folder / "config", folder / "config")
    try:
        return FORMS[number % len(FORMS)](ground, rng, folder)
    finally:
        shutil.rmtree(folder)
