"""The runs that an experiment selects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wiseft.config.catalogue import Catalogue
from wiseft.config.experiment import ZERO_SHOT, ExperimentEntry
from wiseft.config.paths import run_name, theta_0_path, theta_1_path


@dataclass(frozen=True)
class Run:
    """One model, fine-tuned (or, as a baseline, trained from scratch) by one method and seed."""

    model: str
    reference: str
    method_id: str
    seed: int
    baseline: bool

    @property
    def name(self) -> str:
        """`<model>__<reference>__<method>[__<variant>]`."""
        return run_name(self.model, self.reference, self.method_id)


def experiment_runs(experiment: ExperimentEntry) -> list[Run]:
    """Return all runs of an experiment, one for every seed: fine-tuned models first, then
    baselines; or the zero-shot models, where these are all it is about.
    """
    if experiment.zero_shot_only:
        return [
            Run(model, experiment.reference, ZERO_SHOT, 0, baseline=False)
            for model in experiment.models
        ]
    runs = [
        Run(model, experiment.reference, method_id, seed, baseline=False)
        for model in experiment.models
        for method_id in experiment.methods
        for seed in experiment.seeds
    ]
    baselines = experiment.baselines
    if baselines:
        runs += [
            Run(baselines.model, experiment.reference, method_id, seed, baseline=True)
            for method_id in baselines.methods
            for seed in baselines.seeds
        ]
    return runs


def model_names(experiment: ExperimentEntry, catalogue: Catalogue) -> list[str]:
    """Return the models whose theta_0 an experiment needs: its own, and those that were trained
    independently and are combined with them.
    """
    others = [catalogue.independent(method_id) for method_id in experiment.methods]
    independent = [other.model for other in others if other and other.baseline is None]
    return list(dict.fromkeys([*experiment.models, *independent]))


def trains(run: Run, catalogue: Catalogue) -> bool:
    """Whether a run has a theta_1 of its own, trained here or imported."""
    return run.method_id != ZERO_SHOT and catalogue.independent(run.method_id) is None


def theta_1_of(run: Run, catalogue: Catalogue) -> Path:
    """Return the other end of a run: theta_1 or, where none is made for it, another classifier.

    Where nothing is trained, that is the zero-shot end again; for an ensemble with a model that was
    trained independently, it is that model.
    """
    if run.method_id == ZERO_SHOT:
        return theta_0_path(run.model, run.reference)
    other = catalogue.independent(run.method_id)
    if other is None:
        return theta_1_path(run.name, run.seed)
    if other.baseline is None:
        return theta_0_path(other.model, run.reference)
    return theta_1_path(run_name(other.model, run.reference, other.baseline), run.seed)
