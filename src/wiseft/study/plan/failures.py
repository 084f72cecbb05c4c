"""What is said at the end of a run in which jobs failed: which ones, and how their logs end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wiseft.base.io import is_full
from wiseft.errors import DamagedFile, WiseftError, some
from wiseft.study.config import load_config, paths
from wiseft.thetas.damage import rename_damaged


def set_aside(error: DamagedFile) -> str:
    """Rename damaged files that rules make; return the sentence that says so, and what to do.

    Files elsewhere are the user's own: they stay, and the sentence is the error's.
    """
    renamed = rename_damaged(filter(_made_by_a_rule, error.files))
    if not renamed:
        return str(error)
    return (
        f"{error.found}. Set aside: {some(renamed)}. Run the experiment again (make run "
        "EXPERIMENT=...): what it needs of these is made anew; or pull again what was pulled"
    )


def _made_by_a_rule(path: Path) -> bool:
    datasets = Path(paths.DATASETS_ROOT)
    with contextlib.suppress(WiseftError):
        datasets = Path(load_config("config/config.yaml").datasets.folder)
    folder = path.parent.resolve()  # of a link, where the link is
    if folder.parent.name == paths.archives_folder("", datasets).name:
        return False  # what a user may have put there
    return any(folder.is_relative_to(place.resolve()) for place in (paths.DATA, datasets))


def failure_summary(failed: Iterable[Any], shown: int = 8) -> str:
    """Return a summary of the jobs that failed for good, with the last lines of their logs.

    Args:
        failed: jobs, or groups of jobs, as the workflow engine has them.
        shown: lines of each log.
    """
    lines: list[str] = []
    for job in sorted(failed, key=str):
        for member in job.jobs if job.is_group() else [job]:
            if job.is_group() and all(Path(path).exists() for path in member.output):
                continue  # a member of the group that had ended before
            lines += ["", f"Failed: {member.message or member.rule.name}"]
            for log in member.log:
                lines += [f"  last lines of {log}:", *_last_lines(log, shown)]
        lines += _slurm_messages(job)
    if is_full(Path.cwd()):  # what the jobs said of it may not have found room in their logs
        lines += ["", f"The disk of {Path.cwd()} is full: make room, then run the same again."]
    return "\n".join(lines)


def _last_lines(path: str | Path, shown: int, only: str = "") -> list[str]:
    """Return the last lines of a log that begin with `only`, indented."""
    try:
        lines = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return ["    (it was not written)"]
    return [f"    {line}" for line in lines if line.startswith(only)][-shown:] or ["    (empty)"]


def _slurm_messages(job: Any) -> list[str]:
    """Return what Slurm itself says about a job, where it ran on a cluster: why it was killed."""
    kind = "group" if job.is_group() else "rule"
    wildcards = "" if job.is_group() else "_".join(job.wildcards).replace(os.sep, "_")
    logs = Path("logs", "slurm", f"{kind}_{job.name}", wildcards).glob("*.log")
    newest = max(logs, key=lambda log: log.stat().st_mtime, default=None)
    if newest is None:
        return []
    return [f"  Slurm's own log: {newest}:", *_last_lines(newest, 2, only="slurmstepd:")]
