"""Restore data/ from a copy of the remote's files, with nothing but Python: no DVC, no wiseft.

`python tools/sharing/restore.py REMOTE`, run in the project's root. REMOTE is the folder that DVC
pushed to, or a copy of it. It holds every file under its MD5 sum, `files/md5/ab/cdef...`, and a
list of names and sums under the sum in data.dvc. Files that are there already are kept.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path


def restore(root: Path, remote: Path) -> int:
    """Restore what data.dvc names; return the number of files.

    Raises:
        SystemExit: a file is missing in the remote, or its content is another.
    """
    sums = re.findall(r"^- md5: (\w+\.dir)$", (root / "data.dvc").read_text(), re.MULTILINE)
    names = _stored(remote, sums[0])
    if f"{_md5(names)}.dir" != sums[0]:
        sys.exit(f"error: {names} is damaged. It should list what data.dvc names.")
    entries = json.loads(names.read_text())
    for entry in entries:
        target = root / "data" / entry["relpath"]
        if ".." in target.parts or not target.is_relative_to(root / "data"):
            sys.exit(f"error: {remote} lists {entry['relpath']}, which is not below data/.")
        if target.is_file() and _md5(target) == entry["md5"]:
            continue
        source = _stored(remote, entry["md5"])
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        shutil.copyfile(source, part)
        if _md5(part) != entry["md5"]:
            part.unlink()
            sys.exit(f"error: {source} is damaged. It should be data/{entry['relpath']}.")
        part.replace(target)
    return len(entries)


def _stored(remote: Path, md5: str) -> Path:
    path = remote / "files" / "md5" / md5[:2] / md5[2:]
    if not path.is_file():
        sys.exit(f"error: {path} does not exist. Is {remote} the folder that was published to?")
    return path


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/sharing/restore.py REMOTE")
    print(f"{restore(Path(), Path(sys.argv[1]))} files are in data/")
