"""How many days an experiment takes on several GPUs: its jobs, scheduled, and what shortens them.

List scheduling (Graham 1966): whenever GPUs are free, the ready job with the longest way to the
end begins, of those that fit. The hours are those of `wiseft.study.plan.estimate`.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from pathlib import Path

import yaml

from wiseft.base.io import write_text
from wiseft.errors import WiseftError
from wiseft.study.config import paths
from wiseft.study.plan.estimate import Assumptions, Plan, estimate
from wiseft.study.plan.work import evaluated_images
from wiseft.study.targets import Run, Targets
from wiseft.study.targets.training_how import whole_batches

GAIN = 0.97
"""What is named must shorten the whole to this share of it: teams lose time, which is not counted.
"""
WIDENED = 5
"""Trainings, the longest, of which a wider one is tried at each step."""


@dataclass(frozen=True)
class Job:
    """A job that takes GPUs.

    Attributes:
        name: unique among the jobs.
        hours: that it takes.
        gpus: that it holds meanwhile.
        after: names of jobs that must end before.
        of: key of `training.how.gpus` that widens it; empty if none does.
    """

    name: str
    hours: float
    gpus: int = 1
    after: tuple[str, ...] = ()
    of: str = ""

    def on(self, gpus: int) -> Job:
        """Return the same work on another number of GPUs, as if n were n times as fast."""
        return replace(self, hours=self.hours * self.gpus / gpus, gpus=gpus)


@dataclass(frozen=True)
class Schedule:
    """When jobs begin, in hours.

    Attributes:
        gpus: that there are.
        jobs: all of them.
        start: hour at which each begins, by name.
        path: the longest chain of jobs that wait for each other.
    """

    gpus: int
    jobs: list[Job]
    start: dict[str, float]
    path: list[Job]

    @property
    def hours(self) -> float:
        """Hours until the last job ends."""
        return max((self.start[job.name] + job.hours for job in self.jobs), default=0.0)

    @property
    def used(self) -> float:
        """Share of the GPUs' time that jobs hold."""
        held = sum(job.hours * job.gpus for job in self.jobs)
        return held / (self.hours * self.gpus) if self.hours else 0.0


def schedule(jobs: Sequence[Job], gpus: int) -> Schedule:
    """Return a schedule of jobs on so many GPUs.

    Raises:
        WiseftError: if a job wants more GPUs than there are.
    """
    named = {job.name: job for job in jobs}
    if wide := [job for job in jobs if job.gpus > gpus]:
        raise WiseftError(
            f"{wide[0].name} takes {wide[0].gpus} GPUs (training.how.gpus), and --gpus is {gpus}"
        )
    graph = {job.name: job.after for job in jobs}
    way: dict[str, float] = {}  # to the end, the job itself included
    then: dict[str, str] = {}
    for name in reversed([*TopologicalSorter(graph).static_order()]):
        way[name] = named[name].hours + way.get(then.get(name, ""), 0.0)
        for before in graph[name]:
            if way[name] > way.get(then.get(before, ""), -1.0):
                then[before] = name
    order, start = TopologicalSorter(graph), dict[str, float]()
    order.prepare()
    ready: list[str] = []
    running: list[tuple[float, str]] = []
    now, free = 0.0, gpus
    while order.is_active():
        ready = sorted([*ready, *order.get_ready()], key=lambda name: -way[name])
        for name in list(ready):
            if named[name].gpus <= free:
                ready.remove(name)
                free -= named[name].gpus
                start[name] = now
                heapq.heappush(running, (now + named[name].hours, name))
        now = running[0][0]
        while running and running[0][0] <= now:
            _, ended = heapq.heappop(running)
            free += named[ended].gpus
            order.done(ended)
    path = [max(way, key=lambda name: way[name])] if way else []
    while path and path[-1] in then:
        path.append(then[path[-1]])
    return Schedule(gpus, list(jobs), start, [named[name] for name in path])


def jobs_of(targets: Targets, plan: Plan) -> list[Job]:
    """Return the jobs of an experiment that run a model, each after those that make its inputs."""
    reference = targets.reference
    rows = {(row.model, row.method): row for row in plan.rows}
    jobs = [Job(f"zeroshot {model}", hours) for model, hours in plan.heads.items()]
    made: dict[Path, tuple[str, ...]] = {
        paths.theta_0_path(model, reference): (job.name,)
        for model, job in zip(plan.heads, jobs, strict=True)
    }
    trained = list(dict.fromkeys(targets.trainings))
    alike = Counter((run.model, run.method_id) for run in trained)
    # Searches first: a training may take the settings that they find.
    for run in sorted(trained, key=lambda run: run.method_id not in targets.searched):
        pair, seed = (run.model, run.method_id), str(run.seed)
        start = [paths.theta_0_path(run.model, reference)] * (not run.baseline)
        needed = _makers(made, [*start, *targets.trials(*pair, seed)])
        jobs.append(_training(targets, run, rows[pair].training_hours / alike[pair], needed))
        for path in (paths.theta_1_path, paths.trials_path):
            made[path(run.name, seed)] = (jobs[-1].name,)
    for run in (run for run in targets.combined if run.method_id in targets.merged):
        of = [paths.theta_1_path(one.name, one.seed) for one in targets.ingredients(run)]
        made[paths.theta_1_path(run.name, run.seed)] = _makers(made, of)
    evaluated = Counter((run.model, run.method_id) for run in targets.runs)
    for run in targets.runs:
        pair = run.model, run.method_id
        start = [paths.theta_0_path(run.model, reference)] * (not run.baseline)
        needed = _makers(made, [*start, targets.theta_1(*pair, run.seed)])
        hours = rows[pair].evaluation_hours / evaluated[pair]
        jobs += [
            Job(f"{rule} {run.model} {run.method_id} seed {run.seed}", hours * share, 1, needed)
            for rule, share in _suites(targets, run).items()
        ]
    return jobs


def _training(targets: Targets, run: Run, hours: float, needed: tuple[str, ...]) -> Job:
    settings = targets.catalogue.method_settings(run.method_id)
    pair, searched = (run.model, run.method_id), run.method_id in targets.searched
    rule = "search" if searched else "baseline" if run.baseline else "finetune"
    whole = settings.trainable == "head" or whole_batches(settings, run.model, targets.catalogue)
    of = "" if whole else "/".join(pair)
    job = Job(f"{rule} {' '.join(pair)} seed {run.seed}", hours, 1, needed, of)
    return job.on(targets.jobs.processes(rule, *pair))


def _makers(made: Mapping[Path, tuple[str, ...]], files: Iterable[Path]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for file in files for name in made.get(file, ())))


def _suites(targets: Targets, run: Run) -> dict[str, float]:
    """Return the evaluations of a run, with the share of its images that each has."""
    data, seen = targets.data, set(targets.files.datasets_of(run))
    images = {
        f"evaluate_{suite}": sum(evaluated_images(targets, data.entries[name]) for name in members)
        for suite, members in data.evaluations.items()
        if seen.issuperset(members)
    }
    return {rule: n / sum(images.values()) for rule, n in images.items()}


# --------------------------------------------------------------------------------- what shortens it


def widened(jobs: Sequence[Job], gpus: int) -> Schedule:
    """Return a shorter schedule in which trainings take more GPUs, where that shortens it."""
    best = schedule(jobs, gpus)
    while True:
        hours = {job.of: job.hours for job in best.jobs if job.of and job.gpus < gpus}
        longest = sorted(hours, key=lambda of: -hours[of])
        tries = [[of] for of in longest[:WIDENED]] + [longest]
        found = min(
            (schedule([_wider(job, some, gpus) for job in best.jobs], gpus) for some in tries),
            key=lambda found: found.hours,
        )
        if found.hours >= GAIN * best.hours:
            return best
        best = found


def _wider(job: Job, some: list[str], gpus: int) -> Job:
    return job.on(max(job.gpus, min(2 * job.gpus, gpus))) if job.of in some else job


def choices(targets: Targets, given: Assumptions, gpus: int) -> dict[str, Schedule]:
    """Return the schedule of an experiment, and those of settings that shorten it, by their text.

    Raises:
        WiseftError: if a training is to take more GPUs than there are.
    """
    jobs = jobs_of(targets, estimate(targets, given))
    found = {"as configured": schedule(jobs, gpus), "training.how.gpus": widened(jobs, gpus)}
    for precision in ("tf32", "bf16"):
        others = jobs_of(targets, estimate(targets, replace(given, precision=precision)))
        found[f"precision: {precision}"] = schedule(others, gpus)
        found[f"precision: {precision}, training.how.gpus"] = widened(others, gpus)
    most = GAIN * found["as configured"].hours
    return {
        text: each for text, each in found.items() if each.hours < most or text == "as configured"
    }


def gpus_key(found: Schedule) -> dict[str, int]:
    """Return `training.how.gpus` of a schedule."""
    return {job.of: job.gpus for job in found.jobs if job.of and job.gpus > 1}


def write_config(path: Path, targets: Targets, found: Schedule) -> None:
    """Write a file for `snakemake --configfile` with this machine's `training` and a schedule's
    GPUs.

    Raises:
        WiseftError: if the file is there and says something else.
    """
    training = targets.settings.training.model_dump(mode="json", exclude_defaults=True)
    training["how"] = training.get("how", {}) | {"gpus": gpus_key(found)}
    text = (
        f"# Written by `wiseft plan {targets.name} --gpus {found.gpus} --write`; about "
        f"{found.hours / 24:.1f} days. Replaces `training` of config/config.yaml:\n"
        f"# snakemake --cores all --resources gpu={found.gpus} --configfile {path} --config "
        f"experiment={targets.name}\n{yaml.safe_dump({'training': training}, sort_keys=False)}"
    )
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise WiseftError(
            f"{path} is there and says something else, so it is left as it is; remove it, or give "
            "another name to --write"
        )
    write_text(path, text)
