"""What a whole run of an experiment roughly takes, after installation, in a few words.

The page of experiments, `wiseft doctor` and `make run` say this; `wiseft plan` has the parts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import fmean

from wiseft.study.plan.estimate import Assumptions, Plan, estimate
from wiseft.study.plan.hardware import PEAKS, Peak
from wiseft.study.plan.resources import ASSUMED_GPU, CPU, Resources
from wiseft.study.plan.towers import tower_cost
from wiseft.study.plan.work import BACKWARD
from wiseft.study.targets import Targets

CORES = 2
LONG_HOURS = 10
"""An experiment that would take longer on the cores is one for a GPU."""
JOB_SECONDS = 3.0
"""Processor time until a job has begun: its process, and the libraries that it loads."""
_BY_WHAT_IS_HERE = ("figure", "pretrain_samples")
"""Jobs that depend on files that are here or not; what is said does not."""


@dataclass(frozen=True)
class Needs:
    """What a run takes where nothing is there yet; downloads take their time besides.

    Attributes:
        minutes: on `machine`.
        machine: `two CPU cores` or `one A100`; the latter counted from floating-point operations.
        memory_gb: of the job that asks for the most; 0 where no job runs a model that was counted.
        disk_gb: packages, datasets, weights and results.
        runs_models: whether there is more to it than to fetch and prepare data.
    """

    minutes: float
    machine: str
    memory_gb: float
    disk_gb: float
    runs_models: bool

    def __str__(self) -> str:
        if not self.runs_models:
            return self._disk
        if self.minutes > 60 * LONG_HOURS:
            return f"{self.minutes / 60:.0f} h on {self.machine}"
        return f"{max(self.minutes, 1):.0f} min on {self.machine}"

    @property
    def _disk(self) -> str:
        return f"{self.disk_gb:.{0 if self.disk_gb > 10 else 1}f} GB of disk"

    @property
    def in_full(self) -> str:
        """The same with memory and disk space."""
        memory = f", {self.memory_gb:.1f} GB of memory for the largest job"
        disk = f", {self._disk}" if self.runs_models and self.disk_gb else ""
        return f"about {self}{memory if self.memory_gb else ''}{disk}"


def needs_of(targets: Targets) -> Needs:
    """Return what a run takes, counted from the configuration alone.

    Raises:
        WiseftError: if what a model costs is not known before its weights are fetched.
    """
    peak = Peak(CORES * CPU.fp32, CORES * CPU.half)
    plan = estimate(targets, Assumptions("two CPU cores", peak, utilisation=1.0))
    experiment = targets.experiment
    runs_models = not experiment.data_only or experiment.published is not None
    disk, hours = sum(plan.disk_gb.values()), _hours_on_cores(targets, plan)
    machine = "two CPU cores"
    if hours > LONG_HOURS:
        machine = "one A100"
        hours = estimate(targets, Assumptions(ASSUMED_GPU, PEAKS[ASSUMED_GPU])).hours
    resources = Resources(targets, assume_gpu=machine == "one A100")
    job = resources.hungriest()
    memory = resources.mem_mb(*job) / 1000 if job else 0.0
    return Needs(60 * hours, machine, memory, disk, runs_models)


def job_seconds(targets: Targets) -> dict[str, float]:
    """Return the seconds of one job on one CPU core, of the rules that run a model: the mean of a
    rule under its name, a single job under `<rule>: <model>, <method>`.

    This is counted, not measured: the ratios between jobs hold better than the times themselves.
    """
    resources, found = Resources(targets), dict[str, list[float]]()
    seeds = Counter[tuple[str, ...]]((run.model, run.method_id) for run in targets.runs)
    for rule, *of in resources.jobs():
        if need := resources.need(rule, *of):
            name = "evaluate" if rule in targets.jobs.evaluations else rule
            seconds = JOB_SECONDS + 3600 * need.hours
            found[f"{name}: {', '.join(of)}"] = [seconds]
            found.setdefault(name, []).extend([seconds] * max(seeds[tuple(of)], 1))
    if targets.pretrained:
        found["pretrain"] = [_pretraining_seconds(targets) / len(targets.pretrained)]
    return {job: fmean(seconds) for job, seconds in found.items()}


def _hours_on_cores(targets: Targets, plan: Plan) -> float:
    """Return the hours of all jobs, side by side, with pre-training and the start of each."""
    jobs = sum(count for stage, count in plan.jobs.items() if stage not in _BY_WHAT_IS_HERE)
    seconds = _pretraining_seconds(targets) + jobs * JOB_SECONDS
    return plan.hours + seconds / CORES / 3600


def _pretraining_seconds(targets: Targets) -> float:
    flops = 0.0
    for model in targets.pretrained:
        cost, pretrain = tower_cost(targets.catalogue, model), targets.entry(model).pretrain
        images = pretrain.steps * pretrain.batch_size if pretrain else 0
        flops += images * (1 + BACKWARD) * (cost.image_flops + cost.text_flops)
    return flops / (CPU.fp32 * 1e12)
