"""Full disks: a file system of a few megabytes that is filled to the last byte or nearly so.

Where no file system may be mounted, a limit on the size of files takes its place, which the kernel
enforces likewise, and the table says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import re
import resource
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import yaml
from tests.faults.harness import run
from tests.faults.kills import NAMES, unpacked_again
from tests.faults.verdicts import Found, Ground, Verdict
from tests.faults.world import leftovers, steps

NEW_NAMESPACE, PRIVATE, REMOUNT = 0x00020000, (1 << 18) | 0x4000, 32
SIZE = 2**30
"""Bytes that a disk with room has, of which only those that are used take memory."""
SPACE = re.compile(r"space|disk|full|free|too large", re.IGNORECASE)
FETCHED = Random(0).randbytes(3_000_000)
LIMITED = "full disks: only root may mount a file system; a limit on the size of files instead"


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a file system on a folder while the block runs; whether that is allowed."""
    folder.mkdir()
    allowed = os.geteuid() == 0 and _libc().unshare(NEW_NAMESPACE) == 0
    allowed = allowed and not _libc().mount(None, b"/", None, PRIVATE, None)
    allowed = allowed and _mount(folder, 0, SIZE)
    try:
        yield allowed
    finally:
        if allowed:
            _libc().umount2(os.fsencode(folder), 2)
        shutil.rmtree(folder)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _mount(folder: Path, flags: int, size: int) -> bool:
    options = f"size={size}".encode()
    failed: int = _libc().mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, options)
    return failed == 0


def _leave(folder: Path, free: int | None) -> None:
    """Give the file system so many free bytes, or plenty."""
    status = os.statvfs(folder)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    assert _mount(folder, REMOUNT, SIZE if free is None else max(4096, used + free))


def attack(ground: Ground, rng: Random, number: int) -> Found:
    """Fill the disk, run a command, make room and run it again."""
    if number % 7 == 6:
        return _fetch(ground, rng, number)
    world, name = ground.world, NAMES[number % len(NAMES)]
    step = steps()[name]
    size = sum((world.folder / path).stat().st_size for path in step.outputs)
    free = rng.choice([0, 4096, rng.randrange(size + 1), rng.randrange(size + 1)])
    what = f"{name} with {free} bytes free, of {size}"
    with small_disk(ground.base / "bench" / f"disks-{number}") as mounted:
        disk = ground.base / "bench" / f"disks-{number}"
        folder = Path(shutil.copytree(world.folder, disk / "world"))
        for path in step.outputs:
            (folder / path).unlink()
        unpacked_again(name, folder)

        def before() -> None:
            if not mounted:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (max(1, free), max(1, free)))

        if mounted:
            _leave(disk, free)
        ended = world.do(name, folder, before=before)
        if mounted:
            _leave(disk, None)
        found = ground.common(what, ended) or _after(what, ended.code, ended.output)
        if found is None and ended.code:
            half = world.others(name, folder)
            found = Found(what, Verdict.SILENT, f"half-written: {half}") if half else None
        if found is None:
            found = _again(ground, what, name, folder)
        return found if mounted else replace(found, note=LIMITED)


def _after(what: str, code: int, said: str) -> Found | None:
    if code and not SPACE.search(said):
        return Found(what, Verdict.UNCLEAR, f"does not say that there is no space\n{said[-600:]}")
    return None


def _again(ground: Ground, what: str, name: str, folder: Path) -> Found:
    ended = ground.world.do(name, folder)
    if ended.code:
        return Found(what, Verdict.HAND, f"with space again: {ended.output[-600:]}")
    if not ground.world.same(name, folder):
        return Found(what, Verdict.SILENT, f"other files than without a full disk\n{ended.output}")
    if rubbish := leftovers(folder):
        return Found(what, Verdict.UNCLEAR, f"left {rubbish}")
    return Found(what)


def _fetch(ground: Ground, rng: Random, number: int) -> Found:
    """Fill the disk while a file of three megabytes is fetched."""
    free = rng.choice([0, 4096, rng.randrange(len(FETCHED))])
    what = f"a fetch of {len(FETCHED)} bytes with {free} bytes free"
    with small_disk(ground.base / "bench" / f"disks-{number}") as mounted:
        disk = ground.base / "bench" / f"disks-{number}"
        folder = Path(shutil.copytree(ground.world.folder / "config", disk / "config")).parent

        def before() -> None:
            if not mounted:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (max(1, free), max(1, free)))

        _entry(folder, "http://127.0.0.1:9/big.npy")  # before the disk is full
        if mounted:
            _leave(disk, free)
        ended = run(lambda: _serve(folder), folder, before=before, loopback=True)
        if mounted:
            _leave(disk, None)
        found = ground.common(what, ended) or _after(what, ended.code, ended.output)
        if found is None:
            ended = run(lambda: _serve(folder), folder, loopback=True)
            path = folder / "datasets" / ".archives" / "big" / "big.npy"
            if ended.code or path.read_bytes() != FETCHED:
                found = Found(what, Verdict.HAND, f"with space again: {ended.output[-600:]}")
        return found or Found(what)


def _entry(folder: Path, url: str) -> None:
    entry = yaml.safe_load((folder / "config" / "datasets" / "boxes.yaml").read_text())
    sha256 = hashlib.sha256(FETCHED).hexdigest()
    file = {"file": "big.npy", "urls": [url], "sha256": sha256, "unpack": False}
    entry |= {"name": "big", "files": [file]}
    entry["options"] = {kind: {"test": "big.npy"} for kind in ("images", "labels")}
    (folder / "config" / "datasets" / "big.yaml").write_text(yaml.safe_dump(entry))


def _serve(folder: Path) -> None:
    """Fetch from a server in the same process."""
    from tests.data.fetching.http_server import running

    from wiseft.cli import main

    with running() as server:
        server.serve("big.npy", FETCHED)
        os.environ["WISEFT_MIRROR_BIG"] = server.url
        main(["data", "fetch", "big"])
