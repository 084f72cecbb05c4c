"""The whole of an experiment: jobs, GPU hours and disk space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wiseft.study.config import DatasetEntry, FinetuneSettings
from wiseft.study.plan.hardware import UTILISATION, Peak
from wiseft.study.plan.towers import TowerCost, tower_cost
from wiseft.study.plan.work import (
    Work,
    evaluated_images,
    evaluation_passes,
    forward_work,
    kept_features,
    prompts_of,
    training_work,
)
from wiseft.study.targets import Run, Targets
from wiseft.study.targets.data import Data

FLOAT, HALF = 4, 2  # bytes of a weight, and of a stored logit
PREDICTION = 12
"""Bytes of one prediction with its two logits in a predictions file (11.2 measured, digits)."""
STATE = 2 * 3
"""A resume state has two generations of weights and two moments each."""
GB = 1e9
Features = dict[tuple[Any, ...], float]
"""GB of the features that linear classifiers keep, by what tells them apart."""


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
        precision: of trainings end to end, whatever their methods say; None: as they say.
    """

    gpu: str
    peak: Peak
    utilisation: float | None = None
    training_rates: Mapping[str, float] = field(default_factory=dict)
    evaluation_rates: Mapping[str, float] = field(default_factory=dict)
    precision: str | None = None

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
        # Without tensor cores TensorFloat-32 is fp32.
        full = precision == "fp32" or (precision == "tf32" and not self.peak.tf32)
        kind = "fp32" if full else "half"
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
        heads: GPU hours of zero-shot heads by model, temperatures of their logits included.
        disk_gb: GB by kind of file; `resume state` is that of one training and goes away.
        notes: sentences about what is left out.
    """

    experiment: str
    assumptions: Assumptions
    jobs: dict[str, int]
    rows: list[Row]
    heads: dict[str, float]
    disk_gb: dict[str, float]
    notes: list[str]

    @property
    def head_hours(self) -> float:
        """GPU hours of all zero-shot heads."""
        return sum(self.heads.values())

    @property
    def hours(self) -> float:
        """All GPU hours."""
        return self.head_hours + sum(row.hours for row in self.rows)


def estimate(targets: Targets, assumptions: Assumptions) -> Plan:
    """Return what an experiment costs.

    Raises:
        WiseftError: if what a model costs is not known before its weights are fetched.
    """
    costs = {model: tower_cost(targets.catalogue, model) for model in targets.all_models}
    features: Features = {}  # `_rows` fills it
    return Plan(
        experiment=targets.name,
        assumptions=assumptions,
        jobs=targets.jobs.by_stage(),
        rows=_rows(targets, costs, assumptions, features),
        heads=_head_hours(targets, costs, assumptions),
        disk_gb=_disk(targets, costs, features),
        notes=_notes(targets),
    )


def _seen(targets: Targets, run: Run) -> list[DatasetEntry]:
    """Return the datasets that a run is evaluated on."""
    return [targets.data.entries[name] for name in targets.files.datasets_of(run)]


def _settings(targets: Targets, run: Run) -> FinetuneSettings:
    if targets.experiment.zero_shot_only:
        return FinetuneSettings()
    return targets.catalogue.method_settings(run.method_id)


def _rows(
    targets: Targets, costs: Mapping[str, TowerCost], assumptions: Assumptions, features: Features
) -> list[Row]:
    groups: dict[tuple[str, str], list[Run]] = {}
    runs, trained = set(targets.runs), set(targets.trainings)
    for run in dict.fromkeys([*targets.runs, *targets.trainings]):
        groups.setdefault((run.model, run.method_id), []).append(run)
    rows = []
    for (model, method), members in groups.items():
        settings, here = _settings(targets, members[0]), [run for run in members if run in trained]
        if assumptions.precision and settings.trainable != "head":
            settings = settings.model_copy(update={"precision": assumptions.precision})
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
                    targets, here, settings, costs[model], features, assumptions
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
    features: Features,
    assumptions: Assumptions,
) -> float:
    """Return the hours of trainings of one model and method.

    Args:
        features: what linear classifiers before them have kept; theirs join it.
    """
    reference, hours = targets.data.entries[targets.reference], 0.0
    for run in members:
        work = training_work(settings, reference, cost)
        if settings.trainable == "head":
            # A model that differs in the names in its prompts has the same image tower.
            same = {"name": "", "title": "", "names_of": None}
            tower = targets.entry(run.model).model_copy(update=same).model_dump_json()
            kept = kept_features(settings, reference, run.seed).items()
            new = {(tower, *key): n for key, n in kept if (tower, *key) not in features}
            features.update({key: n * cost.width * FLOAT / GB for key, n in new.items()})
            work = forward_work(sum(new.values()), cost)
        hours += assumptions.hours(run.model, work, settings.precision)
    return hours


def _head_hours(
    targets: Targets, costs: Mapping[str, TowerCost], assumptions: Assumptions
) -> dict[str, float]:
    reference, hours = targets.data.entries[targets.reference], dict.fromkeys(targets.models, 0.0)
    heads = [*((model, reference.name) for model in targets.models), *targets.files.kept_heads]
    for model, name in heads:
        prompts = prompts_of(targets, targets.data.entries[name]) or 0
        work = Work(forward_flops=prompts * costs[model].text_flops)
        hours[model] += assumptions.hours(model, work)
    for model in targets.models:
        if split := targets.entry(model).calibrate:
            seen = reference.splits.get(split, 0)
            hours[model] += assumptions.hours(model, forward_work(seen, costs[model]))
    return hours


def _disk(targets: Targets, costs: Mapping[str, TowerCost], features: Features) -> dict[str, float]:
    """Return GB by kind of file."""
    classes = targets.data.entries[targets.reference].class_count

    def theta(model: str) -> float:
        cost = costs[model]
        return (cost.image_parameters + classes * (cost.width + 1)) * FLOAT / GB

    kept = dict.fromkeys([*targets.combined, *targets.fine_tuned, *targets.trainings])
    further = [*targets.files.own_heads, *targets.files.kept_heads]
    grid = len(targets.experiment.interpolate_names)
    # Of a linear classifier the state is that of a head.
    whole = [r.model for r in targets.trainings if _settings(targets, r).trainable != "head"]
    disk = {
        **of_datasets(targets.data, targets.data.prepared),
        "zero-shot weights": sum(
            (costs[model].image_parameters + costs[model].text_parameters) * FLOAT / GB
            for model in targets.models
        ),
        "theta_0": sum(theta(m) for m in [*targets.models, *(m for m, _ in further)]),
        "theta_1": sum(theta(run.model) for run in kept),
        "interpolated": sum(theta(run.model) for run in targets.combined) * grid,
        "predictions": sum(_predictions(targets, run) for run in targets.runs) / GB,
        "logits": sum(_logits(targets, run) for run in targets.runs) / GB,
        "kept features": sum(features.values()),
        "resume state": STATE * max(map(theta, whole), default=0.0),
    }
    return {kind: size for kind, size in disk.items() if size}


def of_datasets(data: Data, names: Iterable[str]) -> dict[str, float]:
    """Return GB of the images of datasets, of what splits are needed, and of the archives that they
    are unpacked from, which stay until somebody deletes them.
    """
    images, archives = 0.0, dict[str, int]()
    for entry in (data.entries[name] for name in names):
        packed = [file for file in entry.files if file.unpack]
        # An archive whose size is not published is taken to be as large as its images.
        unknown = 0 if any(file.size for file in packed) else int((entry.disk_gb or 0) * GB)
        sizes = {file.file: file.size or unknown for file in packed}
        needed = {file.file for split in data.splits(entry.name) for file in entry.files_of(split)}
        wanted = {file: size for file, size in sizes.items() if file in needed}
        if entry.limit is None:
            archives |= wanted
            whole = sum(sizes.values())
            images += (entry.disk_gb or 0) * (sum(wanted.values()) / whole if whole else 1)
    return {"datasets": images, "archives": sum(archives.values()) / GB}


def _predictions(targets: Targets, run: Run) -> float:
    """Return the bytes of a run's predictions."""
    # Weight space and output space, but where they are the same.
    spaces = 2 if evaluation_passes(targets, run) > 1 else 1
    columns = len(targets.alphas(run.method_id)) * spaces
    images = 0
    for entry in _seen(targets, run):
        images += evaluated_images(targets, entry) * max(1, len(entry.views))
    return images * columns * PREDICTION


def _logits(targets: Targets, run: Run) -> float:
    """Return the bytes of the logits that are stored of a run, where pairs are compared: fp16."""
    if not targets.experiment.pairs:
        return 0
    seen = [entry for entry in _seen(targets, run) if not targets.data.keeps(entry.name)]
    images = sum(evaluated_images(targets, entry) for entry in seen)
    ends = 1 if run.baseline else 2
    return ends * HALF * images * targets.data.entries[targets.reference].class_count


def _notes(targets: Targets) -> list[str]:
    notes = targets.jobs.long_warmups()
    reference = targets.data.entries[targets.reference]
    if targets.experiment.models and prompts_of(targets, reference) is None:
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
