"""Images inside other files: Parquet, Arrow and tar shards. They are written out as files, row by
row, so that everything else sees files: sums, broken ones, changed ones.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from wiseft.base.io import atomic_folder, read_json, sha256_file, write_json
from wiseft.base.tar import LARGEST, tar_members
from wiseft.errors import WiseftError
from wiseft.images.scan import is_image
from wiseft.images.tables import batches_of

_SAMPLE = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)
"""Key and extensions of a member, as webdataset tells them apart."""
_NOTE = "unpacked.json"

Image = tuple[str, bytes | Path]
"""A file name, which may be empty, and the content, or the file beside the table that has it."""
Sample = tuple[str, Image, dict[str, bytes]]
"""Key, image, and the other files of a sample by extension."""


def fetched(url: str) -> Path:
    """Return a file of a server, from the user's cache if it was fetched before.

    Its size and SHA-256 are kept beside it, in `<name>.json`, and compared each time.

    Raises:
        WiseftError: the server does not give it, or the cached file has changed.
    """
    from wiseft.base.transfer.checksums import Checksums
    from wiseft.base.transfer.http import download

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wiseft" / "images"
    name = re.sub(r"[^\w.-]", "-", url.partition("?")[0].rpartition("/")[2]) or "file"
    path = cache / hashlib.sha256(url.encode()).hexdigest()[:16] / name
    note = path.with_name(f"{name}.json")
    known = read_json(note) if note.is_file() else {}
    download([url], path, Checksums(sha256=known.get("sha256"), size=known.get("bytes")))
    if not known:
        about = {"url": url, "bytes": path.stat().st_size, "sha256": sha256_file(path)}
        write_json(note, about)
    return path


def unpack(
    which: list[str], files: Sequence[Path], images: Iterable[tuple[str, Image]], into: Path
) -> list[str]:
    """Write images out, unless they are there of files that have not changed; return their paths.

    Args:
        which: of the images in the files.
        files: that they are in; told by size and times, as are files beside them.
        images: a folder below `into` for each, with the image.
    """
    about = [which, *map(_stamp, files)]
    if (into / _NOTE).is_file():
        known = read_json(into / _NOTE)
        paths = [str(into.resolve() / name) for name in known["images"]]
        beside = known.get("beside", [[""]])  # notes of before have none
        same = known["of"] == about and all(_stamp(Path(each[0])) == each for each in beside)
        if same and all(map(os.path.isfile, paths)):
            return paths
    names, beside = [], []
    shutil.rmtree(into, ignore_errors=True)
    with atomic_folder(into) as part:
        for number, (folder, (name, content)) in enumerate(images):
            stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
            slug = re.sub(r"\W+", "-", stem if dot else suffix)[-60:]
            ending = f".{suffix.lower()}" if is_image(name) else ""
            names.append(f"{folder}/{number:06}-{slug}{ending}")
            (part / folder).mkdir(exist_ok=True)
            if isinstance(content, Path):
                beside.append(_stamp(content))
                content = content.read_bytes()
            (part / names[-1]).write_bytes(content)
        write_json(part / _NOTE, {"of": about, "images": names, "beside": beside})
    return [str(into.resolve() / name) for name in names]


def _stamp(file: Path) -> list[str | int]:
    """Return what tells a file from one that was written anew; of none its name alone."""
    if not file.is_file():
        return [str(file)]
    s = file.stat()
    return [str(file.resolve()), s.st_size, s.st_mtime_ns, s.st_ctime_ns]


def images_in(file: Path, column: str) -> Iterator[Image]:
    """Yield the images of a column of Parquet or Arrow: bytes, or the Hub's `{bytes, path}`, where
    a row without bytes names a file below the folder of the table.

    Raises:
        WiseftError: a row has no image or names a file elsewhere, or the file is damaged.
    """
    with batches_of(file, [column]) as (_, batches):
        values = (value for batch in batches for value in batch.column(column).to_pylist())
        for row, value in enumerate(values, start=1):
            both = value if isinstance(value, dict) else {"bytes": value}
            name, content = both.get("path") or "", both.get("bytes")
            if content is None and name and (place := (file.parent / name).resolve()).is_file():
                if not place.is_relative_to(file.parent.resolve()):
                    raise WiseftError(
                        f"{file}, row {row}: {column} is the file {place}, outside the table's "
                        "folder, which is not read. Save the table with the images inside."
                    )
                content = place
            if not content:
                raise WiseftError(f"{file}, row {row}: {column} holds no image. Fill it in.")
            yield name, content


def samples(shard: Path, pixels: bool = True) -> Iterator[Sample]:
    """Yield the samples of a tar shard: consecutive files of one name up to the first dot.

    Args:
        pixels: False: images are not read, their content is empty.

    Raises:
        WiseftError: the shard is damaged; a member is a link, too large or of an absolute name; a
            sample occurs twice, or has not one image.
    """
    seen: set[str] = set()
    within = tar_members(shard)
    named = ((match, each) for each in within if (match := _SAMPLE.fullmatch(each.name)))
    for key, group in groupby(named, lambda pair: pair[0][1]):
        if key in seen:
            raise WiseftError(f"{shard}: sample {key} occurs twice. Remove one.")
        seen.add(key)
        images, others = list[Image](), dict[str, bytes]()
        for match, member in group:
            if member.kind == "folder":
                continue
            if member.kind != "file" or member.size > LARGEST or _leads_out(member.name):
                raise WiseftError(
                    f"{shard}: {member.name} is a {member.kind} of {member.size:,} bytes, expected "
                    f"a file inside the shard of at most {LARGEST:,}; nothing else is followed"
                )
            if is_image(member.name):
                images.append((member.name, b"".join(member.pieces()) if pixels else b""))
            else:
                others[match[2].lower()] = b"".join(member.pieces())
        if len(images) != 1:
            found = " and ".join(name for name, _ in images) or "none"
            raise WiseftError(f"{shard}: expected one image in sample {key}, found {found}.")
        yield key, images[0], others


def _leads_out(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/")
