"""What is said at the end of a run in which jobs failed: which ones, and how their logs end."""

import os


def failure_summary(shown=8):
    """Return a summary of the jobs that failed for good, with the last lines of their logs."""
    lines = []
    for failed in sorted(workflow.scheduler.failed, key=str):
        for job in failed.jobs if failed.is_group() else [failed]:
            if failed.is_group() and all(Path(path).exists() for path in job.output):
                continue  # a member of the group that had ended before
            lines += ["", f"Failed: {job.message or job.rule.name}"]
            for log in job.log:
                lines += [f"  last lines of {log}:", *last_lines(log, shown)]
        lines += slurm_messages(failed)
    return "\n".join(lines)


def last_lines(path, shown, only=""):
    """Return the last lines of a log that begin with `only`, indented."""
    try:
        lines = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return ["    (it was not written)"]
    return [f"    {line}" for line in lines if line.startswith(only)][-shown:] or ["    (empty)"]


def slurm_messages(job):
    """Return what Slurm itself says about a job, where it ran on a cluster: why it was killed."""
    kind = "group" if job.is_group() else "rule"
    wildcards = "" if job.is_group() else "_".join(job.wildcards).replace(os.sep, "_")
    logs = Path("logs", "slurm", f"{kind}_{job.name}", wildcards).glob("*.log")
    newest = max(logs, key=lambda log: log.stat().st_mtime, default=None)
    if newest is None:
        return []
    return [f"  Slurm's own log: {newest}:", *last_lines(newest, 2, only="slurmstepd:")]


onerror:
    print(failure_summary(), file=sys.stderr, flush=True)
