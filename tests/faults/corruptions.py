"""Damage to a file of any kind, found by whatever reads it, and mended by what made it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.faults.verdicts import Found, Ground, Verdict
from tests.faults.world import leftovers, replace, steps

NOT_READ = {"training.csv"}
"""Files that people read and no command does."""
NOT_OURS = {"source/clip.safetensors", "source/tiny.json", "source/a.pt", "source/b.pt"}
"""Files of the user's, which carry no sum: what is in them is what is computed with."""


def _flip(content: bytes, rng: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 3, 20])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _zero(content: bytes, rng: Random) -> bytes:
    size = min(len(content), rng.choice([8, 64, 4096, 65536]))
    start = rng.randrange(len(content) - size + 1)
    return content[:start] + bytes(size) + content[start + size :]


def _cut(content: bytes, rng: Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _lines(content: bytes, rng: Random) -> bytes:
    """Cut at the end of a line, where a text is still whole; of other files, anywhere."""
    ends = [place + 1 for place, byte in enumerate(content[:-1]) if byte == 0x0A]
    return content[: rng.choice(ends)] if ends else _cut(content, rng)


def _digits(content: bytes, rng: Random) -> bytes:
    """Change a digit to another, as JSON and CSV stay readable; of other files, flip."""
    try:
        content.decode("ascii")
    except UnicodeDecodeError:
        return _flip(content, rng)
    places = [place for place, byte in enumerate(content) if 0x30 <= byte <= 0x39]
    if not places:
        return _flip(content, rng)
    place = rng.choice(places)
    other = rng.choice([digit for digit in b"0123456789" if digit != content[place]])
    return content[:place] + bytes([other]) + content[place + 1 :]


DAMAGES: dict[str, Callable[[bytes, Random], bytes]] = {
    "bits flipped": _flip,
    "a block zeroed": _zero,
    "cut short": _cut,
    "cut at a line": _lines,
    "a digit changed": _digits,
    "emptied": lambda content, rng: b"",
    "random bytes": lambda content, rng: rng.randbytes(max(1, len(content))),
    "bytes behind it": lambda content, rng: content + rng.randbytes(rng.choice([1, 512])),
}


def readers() -> dict[str, list[str]]:
    """Return by each file of the project the commands that read it."""
    found: dict[str, list[str]] = {}
    for step in steps().values():
        for path in step.inputs:
            if path not in NOT_OURS:
                found.setdefault(path, []).append(step.name)
    return found


def attack(ground: Ground, rng: Random, number: int) -> Found:
    """Damage one file and run a command that reads it, or the one that wrote it."""
    world, known = ground.world, readers()
    path = sorted(known)[number % len(known)]
    kind = sorted(DAMAGES)[(number + number // len(known)) % len(DAMAGES)]
    again = [step.name for step in steps().values() if path in step.outputs]
    name = rng.choice(known[path])
    what = f"{path}, {kind}, read by {name}"
    content = (world.folder / path).read_bytes()
    damaged = DAMAGES[kind](content, rng)
    folder = world.copy(f"corruption-{number}", steps()[name].outputs)
    try:
        if damaged == content:
            return Found(what)
        replace(folder / path, damaged)
        ended = world.do(name, folder)
        if found := ground.common(what, ended):
            return found
        if ended.code == 0:
            if world.same(name, folder):
                return Found(what)
            return Found(what, Verdict.SILENT, ended.output[-600:])
        if other := world.others(name, folder):
            return Found(what, Verdict.SILENT, f"an error, but {other} was written")
        if not again:  # what was fetched or brought
            return _names_it(what, path, ended.output)
        return _mended(ground, what, path, name, folder) or _names_it(what, path, ended.output)
    finally:
        shutil.rmtree(folder)


def _names_it(what: str, path: str, said: str) -> Found:
    """Find fault with a sentence that names neither the file nor its folder."""
    names = (Path(path).name, Path(path).parent.name)
    if any(name in said for name in names):
        return Found(what)
    return Found(what, Verdict.UNCLEAR, f"does not name {path}\n{said[-600:]}")


def _mended(ground: Ground, what: str, path: str, name: str, folder: Path) -> Found | None:
    """Return what is wrong after the commands before it are run again, as a rerun does."""
    world, order = ground.world, steps()
    # First what a workflow does: files that are not there are made. Then all, as one is told to.
    for everything in (False, True):
        said = ""
        for step in order.values():
            missing = any(not (folder / made).exists() for made in step.outputs)
            if step.name == name or (set(step.outputs) & _before(name) and (missing or everything)):
                ended = world.do(step.name, folder)
                said = f"{step.name}: {ended.output[-500:]}"
                if ended.code:
                    break
        else:
            if not world.same(name, folder):
                return Found(what, Verdict.SILENT, f"other numbers after the rerun\n{said}")
            if rubbish := [left for left in leftovers(folder) if "damaged" not in left]:
                return Found(what, Verdict.UNCLEAR, f"left {rubbish}")
            return None
    return Found(what, Verdict.HAND, f"after all commands were run again: {said}")


def _before(name: str) -> set[str]:
    """Return the files that a command follows from."""
    found = set(steps()[name].inputs)
    for step in reversed(list(steps().values())):
        if set(step.outputs) & found:
            found |= set(step.inputs)
    return found
