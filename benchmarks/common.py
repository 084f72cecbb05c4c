"""What all benchmarks share: timing, the record they write, and the machine they ran on."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from wiseft.base.io import write_json
from wiseft.base.provenance import cores, cpu, git_commit, versions
from wiseft.errors import WiseftError

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
QUICK_RESULTS = ROOT / "build" / "benchmarks"
PEERS = ("peft>=0.17", "mergekit>=0.1.5")
# What a process was before it began to run counts in its peak: that of this small one.
_MEASURED = """
import json, os, sys, time
began = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(child, 0)
print(json.dumps({"wall_seconds": time.perf_counter() - began,
    "cpu_seconds": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 976.56}))
sys.exit(os.waitstatus_to_exitcode(status))
"""


Used = dict[str, float]
"""`wall_seconds`, `cpu_seconds` and `peak_mb` of a command."""


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        quick: tiny inputs and random weights: shows that a benchmark works, measures nothing.
        repeats: runs of everything that is timed; the median is reported.
    """

    quick: bool
    repeats: int
    device: str
    threads: int


def timed(
    ways: Mapping[str, Callable[[], Any]], repeats: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run every way `repeats` times, in turns so that a change of load meets all of them.

    Returns for each way `{median, runs}` in seconds, and what its last run returned.
    """
    runs: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            results[name] = way()
            runs[name].append(time.perf_counter() - start)
    return {name: summary(values) for name, values in runs.items()}, results


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Return the median and all values, rounded to four digits behind the point."""
    return {"median": round(statistics.median(values), 4), "runs": [round(v, 4) for v in values]}


def ratio(seconds: dict[str, Any], slow: str, fast: str) -> float:
    """Return how many times longer one way takes than another, by their medians."""
    return round(seconds[slow]["median"] / seconds[fast]["median"], 2)


def write_record(name: str, options: Options, **content: Any) -> Path:
    """Write the record of a benchmark and return its path."""
    folder = QUICK_RESULTS if options.quick else RESULTS
    record = {
        "benchmark": name,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "versions": versions() | {"open_clip_torch": importlib.metadata.version("open_clip_torch")},
        "machine": machine(),
        "quick": options.quick,
        "repeats": options.repeats,
        "threads": options.threads,
        "device": _device_name(options.device),
        **content,
    }
    path = folder / f"{name}.json"
    write_json(path, record)
    numbers = {key: content[key] for key in ("ratios", "measured") if key in content}
    print(f"{name}: {json.dumps(numbers)} -> {path.relative_to(ROOT)}", flush=True)
    return path


def on_top(name: str, *packages: str) -> Path:
    """Return the programs of `build/NAME`: these packages, installed on top of this environment."""
    subprocess.run([ROOT / "tools" / "on_top.sh", sys.prefix, name, *packages], check=True)
    return ROOT / "build" / name / "bin"


def measured(command: Sequence[str], threads: int, root: Path = ROOT) -> tuple[Used, str]:
    """Run a command in a process of its own, in a root whose modules are used.

    Returns its seconds and its peak of memory, and all that it said. Raises WiseftError if it
    fails.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(root / "src")}
    done = subprocess.run(
        [sys.executable, "-S", "-c", _MEASURED, *command],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise WiseftError(f"{command[0]} failed:\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}")
    said, _, used = done.stdout.rstrip().rpartition("\n")
    return json.loads(used), said + done.stderr


def compared(runs: Mapping[str, Sequence[Used]]) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the medians and values of what the runs of each command took, and those medians of the
    first command as parts of the last one's.
    """
    used = {
        name: {key: summary([each[key] for each in taken]) for key in taken[0]}
        for name, taken in runs.items()
    }
    ours, *_, theirs = [*used.values()] * 2
    return used, {key: round(ours[key]["median"] / theirs[key]["median"], 3) for key in ours}


def peers() -> Path:
    """Return where the programs of the environment `build/peers` are."""
    return on_top("peers", *PEERS)


def differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], above: float
) -> dict[str, float]:
    """Return the largest difference of two sets of tensors, in parts of a tensor's largest entry,
    and how many of the elements differ by more than so many parts.
    """
    assert ours.keys() == theirs.keys()
    largest, elements = 0.0, 0
    for name in ours:
        one, other = ours[name].float(), theirs[name].float()
        found = (one - other).abs() / other.abs().max()
        largest = max(largest, float(found.max()))
        elements += int((found > above).sum())
    return {"largest": largest, "elements": elements}


def machine() -> dict[str, Any]:
    """Return the CPU, its cores, the memory and how busy it was."""
    return {
        "cpu": cpu(),
        "cores": cores(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }


def _device_name(device: str) -> str:
    if device == "cpu":
        return device
    import torch

    return f"{device}: {torch.cuda.get_device_name()}"
