"""The whole of an experiment: jobs, GPU hours and disk space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wiseft.config import (
    Catalogue,
    DatasetEntry,
    ExperimentEntry,
    FinetuneSettings,
    Run,
    experiment_runs,
    model_names,
    trains,
)
from wiseft.errors import WiseftError
from wiseft.plan.hardware import UTILISATION, Peak
from wiseft.plan.towers import TowerCost, tower_cost
from wiseft.plan.work import (
    Work,
    evaluated_images,
    evaluation_passes,
    forward_work,
    training_work,
)

FLOAT = 4  # bytes of a weight
PREDICTION = 12
"""Bytes of one prediction with its two logits in a predictions file (11.2 measured, digits)."""
STATE = 2 * 3
"""A resume state has two generations of weights and two moments each."""
GB = 1e9


@dataclass(frozen=True)
class Assumptions:
    """What turns FLOPs into hours.

    Attributes:
        gpu: name of the GPU.
        peak: of one such GPU.
        utilisation: share of the peak that is reached; None: that of `UTILISATION`.
        training_rates: images/s that were measured on one GPU while a model was trained end to
            end, by model; they replace the estimate.
        evaluation_rates: likewise images/s of forward passes.
    """

    gpu: str
    peak: Peak
    utilisation: float | None = None
    training_rates: Mapping[str, float] = field(default_factory=dict)
    evaluation_rates: Mapping[str, float] = field(default_factory=dict)

    def hours(self, model: str, work: Work, precision: str = "fp32") -> float:
        """Return GPU hours in a precision; evaluations are in fp32."""
        if work.trained_images and model in self.training_rates:
            training = work.trained_images / self.training_rates[model] / 3600
        else:
            training = self._hours(work.training_flops, precision)
        if work.seen_images and model in self.evaluation_rates:
            return training + work.seen_images / self.evaluation_rates[model] / 3600
        return training + self._hours(work.forward_flops, precision)

    def share(self, precision: str) -> float:
        """Return the share of the peak that is reached in a precision."""
        kind = "fp32" if precision == "fp32" else "half"
        return UTILISATION[kind] if self.utilisation is None else self.utilisation

    def _hours(self, flops: float, precision: str) -> float:
        return flops / (self.peak.of(precision) * 1e12 * self.share(precision)) / 3600


@dataclass(frozen=True)
class Row:
    """One model and method, all seeds together; hours are GPU hours."""

    model: str
    method: str
    runs: int
    precision: str
    training_hours: float
    evaluation_hours: float
    measured: bool

    @property
    def hours(self) -> float:
        """Hours of training and evaluation."""
        return self.training_hours + self.evaluation_hours


@dataclass(frozen=True)
class Plan:
    """What an experiment costs.

    Attributes:
        experiment: its name.
        assumptions: what the hours are based on.
        jobs: number of jobs by stage, those that are short included.
        rows: hours by model and method.
        head_hours: GPU hours of all zero-shot heads.
        disk_gb: GB by kind of file; `resume state` is that of one training and goes away.
        notes: sentences about what is left out.
    """

    experiment: str
    assumptions: Assumptions
    jobs: dict[str, int]
    rows: list[Row]
    head_hours: float
    disk_gb: dict[str, float]
    notes: list[str]

    @property
    def hours(self) -> float:
        """All GPU hours."""
        return self.head_hours + sum(row.hours for row in self.rows)


def estimate(catalogue: Catalogue, name: str, assumptions: Assumptions) -> Plan:
    """Return what an experiment costs.

    Raises:
        WiseftError: if the experiment is unknown, a rate names a model that it has not, or what a
            model costs is not known before its weights are fetched.
    """
    experiment = catalogue.experiment(name)
    runs = experiment_runs(experiment)
    of_runs = (run.model for run in runs)
    models = list(dict.fromkeys([*of_runs, *model_names(experiment, catalogue)]))
    for rates in (assumptions.training_rates, assumptions.evaluation_rates):
        if unknown := sorted(rates.keys() - set(models)):
            raise WiseftError(
                f"a rate is given for {unknown[0]}, which {name} has not; it has "
                f"{', '.join(models) or 'no models'}"
            )
    costs = {model: tower_cost(catalogue, model) for model in models}
    notes = _notes(catalogue, experiment)
    return Plan(
        experiment=name,
        assumptions=assumptions,
        jobs=_jobs(catalogue, experiment, runs),
        rows=_rows(catalogue, experiment, runs, costs, assumptions),
        head_hours=_head_hours(catalogue, experiment, costs, assumptions),
        disk_gb=_disk(catalogue, experiment, runs, costs),
        notes=notes,
    )


def _jobs(catalogue: Catalogue, experiment: ExperimentEntry, runs: list[Run]) -> dict[str, int]:
    trained = [run for run in runs if trains(run, catalogue)]
    combined = [run for run in trained if not run.baseline]
    models = model_names(experiment, catalogue)
    searched = [run for run in trained if catalogue.method_settings(run.method_id).search]
    jobs = {
        "datasets": len(catalogue.dataset_closure(experiment.datasets)),
        "weights": len(models),
        "zeroshot": len(models),
        "finetune": sum(not run.baseline for run in trained) - len(searched),
        "search": len(searched),
        "baseline": sum(run.baseline for run in trained),
        "interpolate": len(combined) * len(experiment.interpolate_names),
        "evaluate": len(runs) * len(catalogue.suites(experiment.datasets)),
        "figures": len(experiment.figures),
    }
    return {stage: count for stage, count in jobs.items() if count}


def _settings(catalogue: Catalogue, experiment: ExperimentEntry, run: Run) -> FinetuneSettings:
    return (
        FinetuneSettings()
        if experiment.zero_shot_only
        else catalogue.method_settings(run.method_id)
    )


def _rows(
    catalogue: Catalogue,
    experiment: ExperimentEntry,
    runs: list[Run],
    costs: Mapping[str, TowerCost],
    assumptions: Assumptions,
) -> list[Row]:
    reference = catalogue.dataset(experiment.reference)
    images = sum(
        evaluated_images(experiment, catalogue.dataset(name)) for name in experiment.datasets
    )
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.model, run.method_id), []).append(run)
    rows = []
    for (model, method), members in groups.items():
        settings = _settings(catalogue, experiment, members[0])
        training = Work()
        if trains(members[0], catalogue):
            training = training_work(settings, reference, costs[model])
        passes = evaluation_passes(catalogue, experiment, members[0])
        evaluation = forward_work(passes * images, costs[model])
        other = None if experiment.zero_shot_only else catalogue.independent(method)
        hours = assumptions.hours(model, evaluation)
        if other is not None:
            hours += assumptions.hours(other.model, forward_work(images, costs[other.model]))
        rates = {**assumptions.training_rates, **assumptions.evaluation_rates}
        rows.append(
            Row(
                model=model,
                method=method,
                runs=len(members),
                precision=settings.precision,
                training_hours=len(members)
                * assumptions.hours(model, training, settings.precision),
                evaluation_hours=len(members) * hours,
                measured=model in rates,
            )
        )
    return rows


def _head_hours(
    catalogue: Catalogue,
    experiment: ExperimentEntry,
    costs: Mapping[str, TowerCost],
    assumptions: Assumptions,
) -> float:
    """Return the GPU hours of all zero-shot heads, temperatures of their logits included."""
    reference = catalogue.dataset(experiment.reference)
    prompts = _prompts(catalogue, reference) or 0
    hours = 0.0
    for model in model_names(experiment, catalogue):
        entry, _ = catalogue.model(model)
        hours += assumptions.hours(model, Work(forward_flops=prompts * costs[model].text_flops))
        if entry.calibrate:
            seen = reference.splits.get(entry.calibrate, 0)
            hours += assumptions.hours(model, forward_work(seen, costs[model]))
    return hours


def _prompts(catalogue: Catalogue, reference: DatasetEntry) -> int | None:
    """Return the number of prompts of a head; None before their file is fetched."""
    templates = catalogue.prompts(reference.prompts).ready
    return None if templates is None else len(templates) * reference.class_count


def _disk(
    catalogue: Catalogue,
    experiment: ExperimentEntry,
    runs: list[Run],
    costs: Mapping[str, TowerCost],
) -> dict[str, float]:
    """Return GB by kind of file."""
    classes = catalogue.dataset(experiment.reference).class_count
    entries = [catalogue.dataset(name) for name in catalogue.dataset_closure(experiment.datasets)]

    def theta(model: str) -> float:
        cost = costs[model]
        return (cost.image_parameters + classes * (cost.width + 1)) * FLOAT / GB

    trained = [run for run in runs if trains(run, catalogue)]
    kept = [run for run in trained if not run.baseline]
    models = model_names(experiment, catalogue)
    disk = {
        "datasets": sum(entry.disk_gb or 0 for entry in entries if entry.limit is None),
        "zero-shot weights": sum(
            (costs[model].image_parameters + costs[model].text_parameters) * FLOAT / GB
            for model in models
        ),
        "theta_0": sum(theta(model) for model in models),
        "theta_1": sum(theta(run.model) for run in trained),
        "interpolated": sum(theta(run.model) for run in kept) * len(experiment.interpolate_names),
        "predictions": sum(_predictions(catalogue, experiment, run) for run in runs) / GB,
        "resume state": STATE * max((theta(run.model) for run in trained), default=0.0),
    }
    return {kind: size for kind, size in disk.items() if size}


def _predictions(catalogue: Catalogue, experiment: ExperimentEntry, run: Run) -> float:
    """Return the bytes of a run's predictions."""
    passes = evaluation_passes(catalogue, experiment, run)
    alphas = 1 if run.baseline else len(experiment.alpha_names)
    columns = alphas * (2 if passes > 1 else 1)  # weight space and output space
    images = 0
    for name in experiment.datasets:
        entry = catalogue.dataset(name)
        images += evaluated_images(experiment, entry) * max(1, len(entry.views))
    return images * columns * PREDICTION


def _notes(catalogue: Catalogue, experiment: ExperimentEntry) -> list[str]:
    notes = []
    reference = catalogue.dataset(experiment.reference)
    if experiment.models and _prompts(catalogue, reference) is None:
        notes.append(
            f"prompts of {reference.name} are not fetched yet: the zero-shot heads are left out"
        )
    if any(catalogue.model(model)[0].source == "pretrain" for model in experiment.models):
        notes.append("pre-training runs on the CPU and is left out")
    unknown = [
        name
        for name in catalogue.dataset_closure(experiment.datasets)
        if catalogue.dataset(name).disk_gb is None and catalogue.dataset(name).limit is None
    ]
    if unknown:
        notes.append(f"disk space of {', '.join(unknown)} is not known and left out")
    return notes
