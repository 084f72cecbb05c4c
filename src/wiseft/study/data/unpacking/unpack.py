"""Unpacking of archives that nobody vouches for: checked as a whole first, then unpacked beside the
target and renamed."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wiseft.base.io import read_json, require_file, require_space, room, write_json
from wiseft.base.locks import exclusive
from wiseft.base.progress import Meter
from wiseft.base.tar import LARGEST, Member, Members, nested_members, shortened
from wiseft.errors import WiseftError
from wiseft.study.data.unpacking.members import members
from wiseft.study.data.unpacking.plan import MARKER, Plan, refusal, safe_parts

log = logging.getLogger(__name__)


def unpack(
    archive: Path, target: Path, *, sha256: str | None = None, password: str | None = None
) -> int:
    """Unpack a .tar, .tar.gz, .tar.bz2, .tar.xz or .zip archive into the new folder `target`.

    The whole list of members is checked before anything is written. Refused are absolute paths,
    ``..``, links out of the archive, to folders and to nothing, device files and pipes, two members
    of one name, and archives that unpack to more than 200 times their size and over 1 GiB in all.
    Links between files of the archive become hard links, or copies where the file system has none.
    Files get mode 0644 and folders 0755, less the umask.

    An interrupted run leaves nothing under `target`. A target that a finished run made is left as
    it is; it also serves if the archive was deleted since and `sha256` is given.

    Args:
        sha256: of the archive, if the caller has checked it; kept in ``.unpacked.json``.
        password: of an encrypted zip archive.

    Returns:
        The number of files.

    Raises:
        WiseftError: the archive is refused, damaged or of another format, there is too little
            space, or `target` exists and is no whole copy of this archive (it is not touched).
    """
    return _Unpacking(archive, target, sha256, password).run(_extract)


def unpack_nested_tars(archive: Path, target: Path, *, sha256: str | None = None) -> int:
    """Unpack an archive of ``<class>.tar`` files to ``target/<class>/``, as ImageNet's training
    images come.

    The inner archives are read on the way and never written. They must be plain tar archives of
    files and folders; everything else is as for :func:`unpack`.

    Returns:
        The number of files in the inner archives.

    Raises:
        WiseftError: as :func:`unpack`; a member is no ``<class>.tar``.
    """
    return _Unpacking(archive, target, sha256, None).run(_extract_nested)


@dataclass(frozen=True)
class _Unpacking:
    archive: Path
    target: Path
    sha256: str | None
    password: str | None

    def run(self, extract: Callable[[_Unpacking, Plan, Path, Meter], int]) -> int:
        """Plan, extract into a temporary folder and rename it, unless all that was done."""
        with exclusive(self.target.with_name(f".{self.target.name}.lock")):
            done = self.done()
            if done is not None:
                return done
            folder = self.target.with_name(f".{self.target.name}.unpacking")
            # Nobody else works there while the lock is held.
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                raise WiseftError(f"{folder} is in the way: expected a folder or nothing. Move it.")
            if folder.exists():
                log.info(f"removing {folder}, which an interrupted run left")
                shutil.rmtree(folder)
            plan = Plan(self.archive)
            plan.read(self.members())
            require_space(self.target.parent, plan.on_disk, f"unpacking {self.archive.name}")
            what = f"{self.archive.name}: unpacking"
            try:
                with _writing(self.archive, folder), Meter(desc=what, total=plan.total) as meter:
                    folder.mkdir(mode=0o755)
                    n = extract(self, plan, folder, meter)
                    write_json(folder / MARKER, {**self.identity(), "files": n})
                    os.sync()  # the marker must not outlive files that a crash cut short
                    folder.rename(self.target)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            return n

    def members(self) -> Members:
        return members(self.archive, self.password)

    def identity(self) -> dict[str, Any]:
        return {
            "archive": self.archive.name,
            "size": self.archive.stat().st_size if self.archive.is_file() else None,
            "sha256": self.sha256,
            "strip": 0,  # no leading folder is dropped; part of the marker's form
        }

    def done(self) -> int | None:
        """Return the number of files of a finished target, None where there is no target."""
        if not os.path.lexists(self.target):
            if not self.archive.is_file():
                raise WiseftError(f"the archive {self.archive} does not exist.")
            return None
        if not (self.target / MARKER).is_file():
            raise WiseftError(
                f"{self.target} exists, and no {MARKER} in it says that it is a whole copy of "
                f"{self.archive.name}. It was not touched: move it away and run again."
            )
        marker = read_json(self.target / MARKER, "the marker")
        for key, value in self.identity().items():
            if value is not None and marker.get(key) not in (None, value):
                raise WiseftError(
                    f"{self.target} was unpacked from another archive: expected {key} {value}, "
                    f"found {marker[key]} in {MARKER}. It was not touched: move it away and run "
                    "again."
                )
        if not self.archive.is_file() and None in (self.sha256, marker.get("sha256")):
            raise WiseftError(
                f"{self.archive} does not exist, so nothing can tell whether {self.target} is a "
                "copy of it. Put the archive back, or move the folder away."
            )
        return int(marker["files"])


@contextlib.contextmanager
def _writing(archive: Path, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = str(error.filename or folder)[:200]
        raise WiseftError(
            f"{archive}: {where} cannot be written ({error.strerror}); "
            f"{room(folder.parent)}. Nothing was unpacked; mend that and run the same command "
            "again."
        ) from error


def _extract(job: _Unpacking, plan: Plan, folder: Path, meter: Meter) -> int:
    folders = _Folders(folder)
    with closing(job.members()) as content:
        for member in content:
            name = plan.name(member)
            if member.kind == "folder":
                folders.make(name)
            elif member.kind == "file":
                if plan.files.get(name) != member.size:
                    raise WiseftError(f"{job.archive} changed while it was unpacked.")
                folders.make(name.rpartition("/")[0])
                _write(member, folder / name, job, meter)
    for name in plan.links:
        folders.make(name.rpartition("/")[0])
        source = folder / plan.resolve(name)
        try:
            (folder / name).hardlink_to(source)
        except OSError:  # a file system without hard links
            shutil.copyfile(source, folder / name)
        meter.update(source.stat().st_size)
    return len(plan.files) + len(plan.links)


def _extract_nested(job: _Unpacking, plan: Plan, folder: Path, meter: Meter) -> int:
    n = 0
    classes: set[str] = set()
    folders = _Folders(folder)
    with closing(job.members()) as archives:
        for outer in archives:
            if outer.kind == "folder":
                continue
            name = plan.name(outer).rpartition("/")[2]
            if outer.kind != "file" or not name.endswith(".tar") or name in classes:
                why = "is no <class>.tar, or the second one of its name"
                raise refusal(job.archive, outer.name, why)
            classes.add(name)
            n += _extract_class(job, outer, name.removesuffix(".tar"), folders, meter)
    return n


def _extract_class(
    job: _Unpacking, outer: Member, name: str, folders: _Folders, meter: Meter
) -> int:
    n = 0
    folders.make(name)
    for member in nested_members(job.archive, outer):
        inside = "/".join([name, *safe_parts(job.archive, member)])
        if member.kind == "folder":
            folders.make(inside)
        elif member.kind == "file" and inside != name:
            folders.make(inside.rpartition("/")[0])
            _write(member, folders.root / inside, job, meter)
            n += 1
        else:
            why = f"in {shortened(outer.name)!r} is a {member.kind}"
            raise refusal(job.archive, member.name, why)
    return n


class _Folders:
    """Makes folders, each once."""

    def __init__(self, root: Path):
        self.root = root
        self.made = {""}

    def make(self, name: str) -> None:
        if name in self.made:
            return
        self.make(name.rpartition("/")[0])
        (self.root / name).mkdir(mode=0o755, exist_ok=True)
        self.made.add(name)


def _write(member: Member, path: Path, job: _Unpacking, meter: Meter) -> None:
    """Write a new file; never over another, never more than the declared size."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        handle = os.open(path, flags, 0o644)
    except FileExistsError:
        why = "would overwrite another file, on this file system or because it comes twice"
        raise refusal(job.archive, member.name, why) from None
    left = member.size
    with os.fdopen(handle, "wb") as file:
        for piece in member.pieces():
            left -= len(piece)
            if left < 0:
                why = f"is longer than the {member.size} declared"
                raise refusal(job.archive, member.name, why)
            file.write(piece)
            meter.update(len(piece))
    if left:
        raise refusal(job.archive, member.name, f"is {left} bytes shorter than declared")


def member_names(package: Path) -> list[str]:
    """Return the names of a package's members, sorted.

    Raises:
        WiseftError: the file is missing or is not a whole archive.
    """
    with contextlib.closing(members(require_file(package, "the package"))) as content:
        return sorted(member.name for member in content)


def read_member(package: Path, name: str) -> bytes:
    """Return the content of one file. Errors: `read_members`."""
    return read_members(package, [name])[name]


def read_members(package: Path, names: Collection[str]) -> dict[str, bytes]:
    """Return the content of some files, in one pass over the package, whose checksums are compared.

    Raises:
        WiseftError: the package is missing, is not a whole archive, lacks one of the files, or one
            is larger than 256 MiB.
    """
    contents = {}
    with contextlib.closing(members(require_file(package, "the package"))) as archive:
        for member in archive:
            if member.name in names and member.kind == "file":
                if member.size > LARGEST:
                    raise WiseftError(
                        f"{package}: {member.name} has {member.size} bytes, expected at most "
                        f"{LARGEST}."
                    )
                contents[member.name] = b"".join(member.pieces())
    if missing := sorted(set(names) - set(contents)):
        raise WiseftError(
            f"{package} has no member {missing[0]}: it is another package or version than the "
            "entry pins."
        )
    return contents
