"""The whole workflow: wall time and peak memory of one experiment, from nothing to the figures.

Runs in a copy of the working tree. Packages that were fetched before are linked, so that the
network is not measured.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.common import ROOT, Options, copy_tree, write_record
from wiseft.errors import WiseftError

INTERVAL = 0.5  # seconds between two looks at the memory


def run(options: Options) -> None:
    """Write `workflow.json`: one run, because it takes minutes."""
    experiment = "digits-smoke" if options.quick else "digits"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_tree(folder)
        packages = ROOT / "datasets" / ".packages"
        if packages.is_dir():
            (folder / "datasets").mkdir()
            (folder / "datasets" / ".packages").symlink_to(packages)
        # `-m` with this interpreter: the environment is not part of what is measured.
        command = [sys.executable, "-m", "snakemake", "--cores", "all", "--quiet", "all"]
        command += ["--config", f"experiment={experiment}"]
        seconds, peak = _watch(command, folder, folder / "workflow.log")
    write_record(
        "workflow",
        options,
        settings={"experiment": experiment, "packages_fetched_before": packages.is_dir()},
        measured={"wall_seconds": round(seconds, 1), "peak_memory_gb": round(peak / 2**30, 2)},
        goals={"wall_seconds": 420, "peak_memory_gb": 4},
    )


def _watch(command: list[str], folder: Path, log: Path) -> tuple[float, int]:
    """Run a command and return its seconds and the peak memory of all its processes, in bytes.

    Memory is the proportional set size, in which shared pages count once.
    """
    scripts = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    start, peak = time.perf_counter(), 0
    with log.open("w") as stream:
        process = psutil.Popen(
            command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT, env=environment
        )
        while process.poll() is None:
            peak = max(peak, _memory(process))
            time.sleep(INTERVAL)
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        tail = "\n".join(log.read_text().splitlines()[-20:])
        raise WiseftError(f"the workflow failed with exit code {process.returncode}:\n{tail}")
    return seconds, peak


def _memory(process: psutil.Popen) -> int:
    total = 0
    try:
        members = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in members:
        try:
            info = member.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        total += getattr(info, "pss", info.rss)
    return total
