"""One experiment's rehearsal: its world, the real workflow, and whether all of it came out."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path

from tools.progress import JOB
from tools.rehearsal import compare, world

from wiseft.base.io import read_json, write_json
from wiseft.errors import WiseftError
from wiseft.study.targets import Targets

FEW = ("digits-smoke", "align", "photos", "transfer-dtd", "few-shot-cars")
"""Experiments that have every family of models and every kind of rule once."""


@dataclass(frozen=True)
class Outcome:
    """What became of a rehearsal.

    Attributes:
        experiment: its name.
        jobs: that were run, here and before a kill.
        seconds: that they took, together.
        figures: files of figures that are there.
        error: the first one; empty where all came out.
        cpu: seconds of the processor, which other work on the machine does not lengthen.
    """

    experiment: str
    jobs: int
    seconds: float
    figures: int
    error: str = ""
    cpu: float = 0.0

    def __str__(self) -> str:
        end = f"FAILED: {self.error}" if self.error else "ok"
        minutes = f"{self.seconds / 60:.1f} min ({self.cpu / 60:.1f} of CPU)"
        return f"{self.experiment}: {self.jobs} jobs, {minutes}, {self.figures} figures, {end}"


def table(outcomes: list[Outcome]) -> str:
    """Return a table of outcomes, with the first error of each that failed."""
    width = max(len(outcome.experiment) for outcome in outcomes)
    lines = [f"{'experiment':{width}}  jobs  minutes  of CPU  figures"]
    for each in outcomes:
        row = f"{each.experiment:{width}}  {each.jobs:4}  {each.seconds / 60:7.1f}"
        row += f"  {each.cpu / 60:6.1f}  {each.figures:7}"
        lines.append(f"{row}  {'FAILED' if each.error else 'ok'}")
    failed = [outcome for outcome in outcomes if outcome.error]
    jobs, minutes = sum(o.jobs for o in outcomes), sum(o.seconds for o in outcomes) / 60
    cpu = sum(o.cpu for o in outcomes) / 60
    lines.append(f"{'all':{width}}  {jobs:4}  {minutes:7.1f}  {cpu:6.1f}  {len(failed)} failed")
    return "\n".join([*lines, *(f"\n{each.experiment}: {each.error}" for each in failed)])


def rehearse(
    project: Path, root: Path, name: str, cores: int, variables: dict[str, str]
) -> Outcome:
    """Rehearse an experiment in `root`; what it lacks of the real plan is an error of its outcome.

    Args:
        project: whose configuration is rehearsed.
        root: of :func:`tools.rehearsal.__main__.prepare`.
        cores: for the workflow.
        variables: by which its shells find the server of commands.
    """
    record = root / "rehearsed" / f"{name}.json"
    before = Outcome(**read_json(record)) if record.is_file() else None
    if before and not before.error:
        return before
    start, used = time.monotonic(), _cpu(root)
    jobs, error = 0, ""
    try:
        real = compare.real_plan(project, name)
        world.build(Targets.read(project, {"experiment": name}), root)
        rehearsed = Targets.read(root, {"experiment": name})
        differences = compare.plan_differences(real, rehearsed)
        if not differences:
            jobs, error = _workflow(root, name, cores, variables)
            error = error or _report(project, root, name)
            differences = [] if error else compare.result_differences(real, rehearsed, root)
            differences += [] if error else _mistakes(rehearsed, root)
        error = error or "\n".join(differences)
    except WiseftError as problem:
        error = str(problem)
    except Exception:  # a mistake in the rehearsal itself must not keep the others from theirs
        error = traceback.format_exc()
    figures = len(list((root / "results" / name / "figures").glob("*.png")))
    seconds, cpu = time.monotonic() - start, _cpu(root) - used
    if before:  # of it, what failed or was killed
        jobs, seconds, cpu = jobs + before.jobs, seconds + before.seconds, cpu + before.cpu
    outcome = Outcome(name, jobs, seconds, figures, error, cpu)
    write_json(record, asdict(outcome))
    return outcome


def _workflow(root: Path, name: str, cores: int, variables: dict[str, str]) -> tuple[int, str]:
    """Run the workflow to its end; return how many jobs ran, and the first error, if any."""
    process = subprocess.Popen(
        _snakemake(name, cores),
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **variables},
        start_new_session=True,
    )
    assert process.stdout is not None
    jobs, last, failure = 0, deque[str](maxlen=12), list[str]()
    log = root / "logs" / "rehearsal" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    try:
        with log.open("w") as file:
            for line in process.stdout:
                file.write(line)
                file.flush()
                last.append(line.rstrip())
                jobs += bool(JOB.match(line))
                if line.startswith("Failed: ") or (failure and line[0] == " "):
                    failure.append(line.rstrip())
                _progress(name, jobs, time.monotonic() - start)
    finally:
        _end(process)
    if not process.returncode:
        return jobs, ""
    others = [number for number, line in enumerate(failure) if number and line[0] != " "]
    said = failure[: others[0] if others else None] or list(last)
    return jobs, "\n".join([*said, f"  all of it: {log}"])


def _end(process: subprocess.Popen[str], seconds: float = 30) -> None:
    """Wait for the workflow; when it is cut short, for so long until its whole group is killed."""
    try:
        if process.poll() is None and sys.exc_info()[0]:
            process.terminate()
            process.wait(seconds)
        process.wait()
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _snakemake(name: str, cores: int) -> list[str]:
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores)]
    return [*command, "--config", f"experiment={name}"]


def _report(project: Path, root: Path, name: str) -> str:
    """Write the HTML report, as `make report` does; return the error, if any."""
    files = [f"results/{name}", f"data/tables/{name}.csv"]
    path = os.pathsep.join([str(project), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "tools.report", *files, "--", *_snakemake(name, 1)],
        cwd=root,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    return done.stderr.strip() or "the report was not written" if done.returncode else ""


def _mistakes(rehearsed: Targets, root: Path) -> list[str]:
    """Return a sentence for every cell that is otherwise when it is computed again. An experiment
    without runs, which shows numbers of others, measures nothing.
    """
    if not rehearsed.runs:
        return []
    from tools.rehearsal import recompute

    return recompute.differences(rehearsed, root)


def _cpu(root: Path) -> float:
    """Return the seconds of CPU that this process, the workflow and its commands have taken."""
    commands = (root / "logs" / "server.log").read_text().splitlines()
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    told = (float(line.split()[0]) for line in commands if " s of CPU, " in line)
    return sum(each.ru_utime + each.ru_stime for each in own) + sum(told)


def _progress(name: str, jobs: int, seconds: float) -> None:
    if sys.stdout.isatty():
        print(f"\r{name}: job {jobs}, {seconds:.0f} s ", end="", flush=True)
