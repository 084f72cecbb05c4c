"""Running of DVC, Snakemake and git, as a user would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wiseft.errors import WiseftError
from wiseft.study.config import paths

OUTS = "data.dvc"
"""What DVC tracks of this project, and all that it tracks."""


def run(root: Path, *command: str, show: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command in the project's root.

    Args:
        show: pass its output on; else it is in `stdout` and `stderr` of what is returned.
    """
    pipe = None if show else subprocess.PIPE
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    sys.stdout.flush()
    return subprocess.run(
        command, cwd=root, env=environment, stdout=pipe, stderr=pipe, text=True, check=False
    )


def dvc(root: Path, *arguments: str, show: bool = False) -> subprocess.CompletedProcess[str]:
    """Run DVC of this environment."""
    return run(root, sys.executable, "-m", "dvc", *arguments, show=show)


def data_status(root: Path) -> dict[str, Any]:
    """Return what `dvc data status` says of single files: `uncommitted`, `not_in_cache`, ...

    Raises:
        WiseftError: if DVC fails.
    """
    done = dvc(root, "data", "status", "--granular", "--json")
    if done.returncode:
        raise WiseftError(f"dvc data status failed: {last_lines(done.stderr)}")
    status: dict[str, Any] = json.loads(done.stdout or "{}")
    return status


def snakemake(
    root: Path, experiment: str, cores: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake on an experiment; its output comes together in `stdout`."""
    command = [sys.executable, "-m", "snakemake", "--cores", cores, *arguments]
    command += ["--config", f"experiment={experiment}"]
    return subprocess.run(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def planned(root: Path, experiment: str, targets: Iterable[str]) -> dict[str, int]:
    """Return the jobs that Snakemake would run for these targets, by rule.

    Raises:
        WiseftError: if it can't plan.
    """
    done = snakemake(root, experiment, "1", "--dry-run", *targets)
    if done.returncode:
        raise WiseftError(f"snakemake cannot plan {experiment}: {last_lines(done.stdout, 20)}")
    table = re.search(r"Job stats:\njob +count\n[- ]+\n(.*?)\ntotal ", done.stdout, re.DOTALL)
    if table is None:
        return {}
    counts = (line.split() for line in table[1].splitlines())
    return {rule: int(count) for rule, count in counts}


def git_state(root: Path) -> str:
    """Return the commit of the project, with `-dirty` behind it if files differ; else `unknown`."""
    commit = run(root, "git", "rev-parse", "HEAD")
    if commit.returncode:
        return "unknown"
    changed = run(root, "git", "status", "--porcelain", "--untracked-files=no")
    # What publishing itself changes says nothing about the code.
    own = (OUTS, "dvc.yaml", f"{paths.PUBLISHED}/")
    lines = [line for line in changed.stdout.splitlines() if not line[3:].startswith(own)]
    return commit.stdout.strip() + ("-dirty" if lines else "")


def last_lines(text: str, count: int = 5) -> str:
    """Return the end of a program's output."""
    return "\n".join(text.strip().splitlines()[-count:])


def some(names: list[str], most: int = 3) -> str:
    """Return the first names and the number of the others."""
    more = f" and {len(names) - most} others" if len(names) > most else ""
    return ", ".join(names[:most]) + more
