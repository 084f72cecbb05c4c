"""data/MANIFEST.sha256: the SHA-256 of every shared file, in the form that `sha256sum` reads.

DVC's own list is not in git and holds MD5 sums of what was added, not of what arrived. The copies
in published/tables have a list of the same form.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from wiseft.base.io import require_file, sha256_file, write_text
from wiseft.errors import WiseftError

NAME = "MANIFEST.sha256"
_COMMENT = f"# To check by hand: cd data && sha256sum --check --quiet {NAME}\n"


def shared_files(folder: Path) -> list[Path]:
    """Return the files below `data/` that DVC would share, sorted; the manifest is left out.

    What `.dvcignore` names is not shared.
    """
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        with Repo(str(folder.parent)) as repo:
            fs, path = repo.fs, str(folder.resolve())
            tracked = sorted(Path(name) for name in repo.dvcignore.find(fs, path))
    except NotDvcRepoError as error:
        raise WiseftError(f"{folder.parent.resolve()} is not under DVC ({error})") from None
    here = [folder / path.relative_to(folder.resolve()) for path in tracked]
    return [path for path in here if path != folder / NAME]


def write_manifest(folder: Path, files: list[Path], comment: str = _COMMENT) -> dict[str, str]:
    """Write the manifest, below a comment, and return the sums by path, relative to the folder."""
    sums = {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}
    text = comment + "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
    target = folder / NAME
    # An equal file stays, so that publishing twice is publishing once.
    if not target.is_file() or target.read_text(encoding="utf-8") != text:
        write_text(target, text)
    return sums


def read_manifest(folder: Path) -> dict[str, str]:
    """Return the sums by path, relative to the folder.

    Raises:
        WiseftError: if there is no manifest or a line is of another form.
    """
    path = require_file(folder / NAME, "manifest")
    sums = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("#"):
            continue
        match = re.fullmatch(r"([0-9a-f]{64})  (\S.*)", line)
        if match is None or Path(match[2]).is_absolute() or ".." in Path(match[2]).parts:
            raise WiseftError(
                f"{path}, line {number}: expected 64 hex digits, two spaces and a path below "
                f"{folder}, found {line[:100]!r}; pull it again"
            )
        sums[match[2]] = match[1]
    return sums


def verify(folder: Path, sums: dict[str, str]) -> None:
    """Check every file against its sum.

    Raises:
        WiseftError: naming the first file that is missing or differs, with both sums, and how
            many there are.
    """
    problems = []
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{path} is missing (expected SHA-256 {expected})")
        elif (digest := sha256_file(path)) != expected:
            problems.append(f"{path} has SHA-256 {digest}, expected {expected}")
    if problems:
        raise WiseftError(
            f"{problems[0]}; {len(problems)} of {len(sums)} files are not those that were "
            f"published. Remove them ({os.fspath(folder)}/...) and the DVC cache's copies "
            "(.dvc/cache), and pull again; if that does not help, the remote is damaged."
        )
