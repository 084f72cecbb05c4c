"""What made an artifact: versions of the libraries and the commit of the code."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path

LIBRARIES = ("wiseft", "torch", "torchvision", "open_clip_torch", "numpy", "safetensors")


@functools.cache
def versions(names: tuple[str, ...] = LIBRARIES) -> dict[str, str]:
    """Return the versions of Python and of libraries, by default those that numbers depend on."""
    installed = {"python": platform.python_version()}
    for name in names:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed[name] = "absent"
    return installed


@functools.cache
def git_commit() -> str:
    """Return the commit of the source tree, with `-dirty` if it has changes; else `unknown`."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit
