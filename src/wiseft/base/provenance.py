"""What made an artifact: versions of the libraries, commit of the code, and machine."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

LIBRARIES = ("wiseft", "torch", "torchvision", "open_clip_torch", "numpy", "safetensors")
EVALUATION = (*LIBRARIES, "Pillow", "timm", "transformers")
"""Those that images and models of an evaluation go through."""


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


@functools.cache
def cpu() -> str:
    """Return the name of the CPU and, on Linux, its maker and model, by which libraries choose."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().partition("\n\n")[0].splitlines() if info.exists() else []
    pairs = (line.partition(":") for line in lines)
    found = {key.strip(): value.strip() for key, _, value in pairs}
    names = [found[key] for key in ("model name", "vendor_id") if key in found]
    numbered = ("cpu family", "model", "CPU implementer", "CPU part")
    names += [f"{key} {found[key]}" for key in numbered if key in found]
    return ", ".join(names) or platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Return what rounding depends on besides the code. Imports torch."""
    import torch

    return {
        "cpu": cpu(),
        "vector_extension": torch.backends.cpu.get_cpu_capability(),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
    }


def made_with() -> dict[str, Any]:
    """Return versions, commit and machine, which stand under `how` in metrics. Imports torch."""
    return {"versions": versions(EVALUATION), "commit": git_commit(), "machine": machine()}


def cores() -> int:
    """Return the CPU cores that this process may use."""
    limited = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if limited else os.cpu_count() or 1
