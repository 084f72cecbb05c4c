"""Archives of strangers: names and links that lead out, devices, bombs, lies and damage."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.faults.harness import as_command, run
from tests.faults.verdicts import Found, Ground, Verdict

OUT = ["../evil", "a/../../evil", "/CANARY/evil", "C:\\evil", "..\\evil", "a/..", ".unpacked.json"]
ODD = ["", ".", "./", "a//b", "a/./b", "é\u202e.png", "x" * 300, "con", "a\nb", "a\0b", " ", "-rf"]
MOST = 8 * 2**20
"""Bytes that an archive of a few kilobytes may unpack to here."""


def _info(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def _tar(rng: Random, members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    stream = io.BytesIO()
    mode = rng.choice(["w", "w:gz", "w:bz2", "w:xz"])
    with tarfile.open(fileobj=stream, mode=mode, format=rng.choice([1, 2])) as archive:  # type: ignore[call-overload]
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _plain(rng: Random) -> list[tuple[tarfile.TarInfo, bytes]]:
    names = [f"test/{name}/{n}.png" for name in ("cat", "dog") for n in range(rng.choice([1, 3]))]
    return [(_info(name, size=5), b"hello") for name in names]


def name_out(rng: Random, canary: str) -> bytes:
    """A name that leads out, or none that a file can have, in a tar or a zip."""
    name = rng.choice(OUT + ODD).replace("/CANARY", canary)
    if rng.random() < 0.5:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("test/cat/0.png", b"hello")
            archive.writestr(name or "x", b"evil")
        return stream.getvalue()
    members = [*_plain(rng), (_info(name, size=4), b"evil")]
    rng.shuffle(members)
    return _tar(rng, members)


def links(rng: Random, canary: str) -> bytes:
    """Links out, to folders, in circles, and files behind them."""
    kind = rng.choice([tarfile.SYMTYPE, tarfile.LNKTYPE])
    target = rng.choice(
        ["/etc/passwd", canary, "..", "../..", "test", "a", "test/cat/0.png", "", "b"]
    )
    members = [(_info("a", kind, target), b""), (_info("a/evil", size=4), b"evil")]
    members += [(_info("b", kind, "a"), b"")]
    return _tar(rng, [*_plain(rng), *members[: rng.choice([1, 2, 3])]])


def devices(rng: Random, canary: str) -> bytes:
    """Devices, pipes, and types that nobody knows."""
    kinds = [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, b"V", b"Z", b"M"]
    return _tar(rng, [*_plain(rng), (_info("dev", rng.choice(kinds)), b"")])


def bomb(rng: Random, canary: str) -> bytes:
    """A declared or real size that is far too much."""
    if rng.random() < 0.5:
        size = rng.choice([2**31, 2**40, 2**62])
        info = _info("zeros", size=size)
        return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(2**20))
    content = bytearray(stream.getvalue())
    at = content.index(b"PK\1\2")
    content[at + 24 : at + 28] = struct.pack("<I", rng.choice([5, 2**32 - 2, 2**31]))
    return bytes(content)


def deep(rng: Random, canary: str) -> bytes:
    """Folders in folders."""
    depth = rng.choice([100, 1000, 3000])
    return _tar(rng, [*_plain(rng), (_info("/".join("d" * depth) + "/x", size=1), b"x")])


def many(rng: Random, canary: str) -> bytes:
    """Very many members, or one name very often."""
    name = rng.choice(["f{}", "test/cat/0.png", "d{}/x"])
    return _tar(rng, [(_info(name.format(n)), b"") for n in range(rng.choice([500, 2000]))])


def modes(rng: Random, canary: str) -> bytes:
    """Special modes in a zip: links, devices, set-user-id."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        info = zipfile.ZipInfo("member")
        kinds = [
            stat.S_IFLNK,
            stat.S_IFCHR,
            stat.S_IFIFO,
            stat.S_IFSOCK,
            stat.S_IFREG | stat.S_ISUID,
        ]
        info.create_system, info.external_attr = 3, (rng.choice(kinds) | 0o777) << 16
        archive.writestr("test/cat/0.png", b"hello")
        archive.writestr(info, rng.choice([canary, "/etc/passwd", "../../x", "test"]).encode())
    return stream.getvalue()


def damage(rng: Random, canary: str) -> bytes:
    """A good archive with bits flipped, cut, or with something in between."""
    content = bytearray(_tar(rng, _plain(rng)))
    if rng.random() < 0.3:
        return bytes(content[: rng.randrange(len(content))])
    for _ in range(rng.choice([1, 3, 30])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def headers(rng: Random, canary: str) -> bytes:
    """Extended headers that lie: sizes, paths, numbers that are none."""
    keys = {
        "path": rng.choice([*OUT, "x" * 5000]).replace("/CANARY", canary),
        "size": rng.choice(["-1", "9" * 30, "abc", "1e9"]),
        "linkpath": canary,
        "GNU.sparse.realsize": "1" + "0" * rng.choice([9, 15]),
        "GNU.sparse.map": "0,1,2",
        "hdrcharset": "nonsense",
        "mtime": "nan",
    }
    chosen = rng.sample(sorted(keys), rng.choice([1, 2]))
    body = b"".join(_record(key, keys[key]) for key in chosen)
    content = _info("x", tarfile.XHDTYPE, size=len(body)).tobuf() + body
    content += bytes(-len(content) % 512) + _info("x", size=5).tobuf() + b"hello".ljust(512, b"\0")
    return content + bytes(1024)


def _record(key: str, value: str) -> bytes:
    text = f" {key}={value}\n".encode()
    size = len(text) + 1
    while len(str(size)) + len(text) != size:
        size = len(str(size)) + len(text)
    return str(size).encode() + text


FORMS: list[Callable[[Random, str], bytes]] = [
    *(name_out, links, devices, bomb, deep, many, modes, damage, damage, headers),
]


def attack(ground: Ground, rng: Random, number: int) -> Found:
    """Unpack one archive."""
    form = FORMS[number % len(FORMS)]
    folder = ground.base / "bench" / f"archives-{number}"
    folder.mkdir()
    try:
        archive = folder / "set.tar"
        archive.write_bytes(form(rng, str(ground.canary)))
        what = f"{form.__name__}: {(form.__doc__ or '').strip()}"
        ended = run(as_command(lambda: _unpack(archive)), folder)
        if found := ground.common(what, ended):
            return found
        return _left(what, folder, ended.code, ended.output)
    finally:
        _remove(folder)


def _unpack(archive: Path) -> None:
    from wiseft.study.data.unpacking.unpack import unpack

    unpack(archive, archive.parent / "out" / "target")


def _left(what: str, folder: Path, code: int, said: str) -> Found:
    """Find fault with what is in the folder afterwards."""
    target = folder / "out" / "target"
    strange = [path.name for path in folder.iterdir() if path.name not in ("set.tar", "out")]
    beside = [path.name for path in target.parent.iterdir()] if target.parent.exists() else []
    if strange or set(beside) - {"target"}:
        return Found(what, Verdict.CODE if strange else Verdict.UNCLEAR, f"left {strange} {beside}")
    if code:
        if target.exists():
            return Found(what, Verdict.UNCLEAR, "an error, but the target is there")
        if "set.tar" not in said:
            return Found(what, Verdict.UNCLEAR, f"does not name the archive\n{said[-500:]}")
        return Found(what)
    special = [
        path for path in _walk(target) if path.is_symlink() or not (path.is_dir() or path.is_file())
    ]
    size = sum(path.stat().st_size for path in _walk(target) if path.is_file())
    if special or size > MOST:
        return Found(what, Verdict.CODE, f"unpacked {special[:3]}, {size} bytes")
    return Found(what)


def _walk(folder: Path) -> list[Path]:
    return list(folder.rglob("*"))


def _remove(folder: Path) -> None:
    """Remove a folder however deep it is, which shutil gives up on."""
    import subprocess

    subprocess.run(["rm", "-rf", "--", str(folder)], check=True)
