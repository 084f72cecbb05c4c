"""The whole of an experiment: jobs, GPU hours and disk space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wiseft.config import DatasetEntry, FinetuneSettings
from wiseft.errors import WiseftError
from wiseft.plan.hardware import UTILISATION, Peak
from wiseft.plan.towers import TowerCost, tower_cost
from wiseft.plan.work import (
    Work,
    evaluated_images,
    evaluation_passes,
    forward_work,
    kept_features,
    training_work,
)
from wiseft.targets import Run, Targets

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


def estimate(targets: Targets, assumptions: Assumptions) -> Plan:
    """Return what an experiment costs.

    Raises:
        WiseftError: if a rate names a model that the experiment has not, or what a model costs is
            not known before its weights are fetched.
    """
    models = targets.all_models
    for rates in (assumptions.training_rates, assumptions.evaluation_rates):
        if unknown := sorted(rates.keys() - set(models)):
            raise WiseftError(
                f"a rate is given for {unknown[0]}, which {targets.name} has not; it has "
                f"{', '.join(models) or 'no models'}"
            )
    costs = {model: tower_cost(targets.catalogue, model) for model in models}
    return Plan(
        experiment=targets.name,
        assumptions=assumptions,
        jobs=targets.jobs.by_stage(),
        rows=_rows(targets, costs, assumptions),
        head_hours=_head_hours(targets, costs, assumptions),
        disk_gb=_disk(targets, costs),
        notes=_notes(targets),
    )


def _seen(targets: Targets, run: Run) -> list[DatasetEntry]:
    """Return the datasets that a run is evaluated on."""
    return [targets.data.entries[name] for name in targets.files.datasets_of(run)]


def _settings(targets: Targets, run: Run) -> FinetuneSettings:
    if targets.experiment.zero_shot_only:
        return FinetuneSettings()
    return targets.catalogue.method_settings(run.method_id)


def _rows(targets: Targets, costs: Mapping[str, TowerCost], assumptions: Assumptions) -> list[Row]:
    groups: dict[tuple[str, str], list[Run]] = {}
    runs, trained = set(targets.runs), set(targets.trainings)
    for run in dict.fromkeys([*targets.runs, *targets.trainings]):
        groups.setdefault((run.model, run.method_id), []).append(run)
    rows, kept = [], set[tuple[Any, ...]]()
    for (model, method), members in groups.items():
        settings, here = _settings(targets, members[0]), [run for run in members if run in trained]
        images = sum(evaluated_images(targets, entry) for entry in _seen(targets, members[0]))
        evaluation = forward_work(evaluation_passes(targets, members[0]) * images, costs[model])
        hours = assumptions.hours(model, evaluation)
        for other in targets.resident(model, method)[1:]:
            hours += assumptions.hours(other, forward_work(images, costs[other]))
        rates = {**assumptions.training_rates, **assumptions.evaluation_rates}
        rows.append(
            Row(
                model=model,
                method=method,
                runs=len(members),
                precision=settings.precision,
                training_hours=_training_hours(
                    targets, here, settings, costs[model], kept, assumptions
                ),
                evaluation_hours=sum(run in runs for run in members) * hours,
                measured=model in rates,
            )
        )
    return rows


def _training_hours(
    targets: Targets,
    members: list[Run],
    settings: FinetuneSettings,
    cost: TowerCost,
    kept: set[tuple[Any, ...]],
    assumptions: Assumptions,
) -> float:
    """Return the hours of trainings of one model and method.

    Args:
        kept: features that linear classifiers before them have left; theirs join them.
    """
    reference, hours = targets.data.entries[targets.reference], 0.0
    for run in members:
        work = training_work(settings, reference, cost)
        if settings.trainable == "head":
            features = kept_features(settings, reference, run.seed).items()
            # A model that differs in the names in its prompts has the same image tower.
            same = {"name": "", "title": "", "names_of": None}
            tower = targets.entry(run.model).model_copy(update=same).model_dump_json()
            new = {(tower, *key): n for key, n in features if (tower, *key) not in kept}
            kept.update(new)
            work = forward_work(sum(new.values()), cost)
        hours += assumptions.hours(run.model, work, settings.precision)
    return hours


def _head_hours(
    targets: Targets, costs: Mapping[str, TowerCost], assumptions: Assumptions
) -> float:
    """Return the GPU hours of all zero-shot heads, temperatures of their logits included."""
    reference, hours = targets.data.entries[targets.reference], 0.0
    heads = [*((model, reference.name) for model in targets.models), *targets.files.kept_heads]
    for model, name in heads:
        prompts = _prompts(targets, targets.data.entries[name]) or 0
        hours += assumptions.hours(model, Work(forward_flops=prompts * costs[model].text_flops))
    for model in targets.models:
        if split := targets.entry(model).calibrate:
            seen = reference.splits.get(split, 0)
            hours += assumptions.hours(model, forward_work(seen, costs[model]))
    return hours


def _prompts(targets: Targets, reference: DatasetEntry) -> int | None:
    """Return the number of prompts of a head; None before their file is fetched."""
    templates = targets.catalogue.prompts(reference.prompts).ready
    return None if templates is None else len(templates) * reference.class_count


def _disk(targets: Targets, costs: Mapping[str, TowerCost]) -> dict[str, float]:
    """Return GB by kind of file."""
    classes = targets.data.entries[targets.reference].class_count
    entries = [targets.data.entries[name] for name in targets.data.prepared]

    def theta(model: str) -> float:
        cost = costs[model]
        return (cost.image_parameters + classes * (cost.width + 1)) * FLOAT / GB

    kept = dict.fromkeys([*targets.combined, *targets.fine_tuned, *targets.trainings])
    further = [*targets.files.own_heads, *targets.files.kept_heads]
    grid = len(targets.experiment.interpolate_names)
    disk = {
        "datasets": sum(entry.disk_gb or 0 for entry in entries if entry.limit is None),
        "zero-shot weights": sum(
            (costs[model].image_parameters + costs[model].text_parameters) * FLOAT / GB
            for model in targets.models
        ),
        "theta_0": sum(theta(m) for m in [*targets.models, *(m for m, _ in further)]),
        "theta_1": sum(theta(run.model) for run in kept),
        "interpolated": sum(theta(run.model) for run in targets.combined) * grid,
        "predictions": sum(_predictions(targets, run) for run in targets.runs) / GB,
        "resume state": STATE * max((theta(r.model) for r in targets.trainings), default=0.0),
    }
    return {kind: size for kind, size in disk.items() if size}


def _predictions(targets: Targets, run: Run) -> float:
    """Return the bytes of a run's predictions."""
    # Weight space and output space, but where they are the same.
    spaces = 2 if evaluation_passes(targets, run) > 1 else 1
    columns = len(targets.alphas(run.method_id)) * spaces
    images = 0
    for entry in _seen(targets, run):
        images += evaluated_images(targets, entry) * max(1, len(entry.views))
    return images * columns * PREDICTION


def _notes(targets: Targets) -> list[str]:
    notes = targets.jobs.long_warmups()
    reference = targets.data.entries[targets.reference]
    if targets.experiment.models and _prompts(targets, reference) is None:
        notes.append(
            f"prompts of {reference.name} are not fetched yet: the zero-shot heads are left out"
        )
    if targets.pretrained:
        notes.append("pre-training runs on the CPU and is left out")
    entries = [targets.data.entries[name] for name in targets.data.prepared]
    unknown = [entry.name for entry in entries if entry.disk_gb is None and entry.limit is None]
    if unknown:
        notes.append(f"disk space of {', '.join(unknown)} is not known and left out")
    return notes
