"""The runs that an experiment selects."""

from __future__ import annotations

from dataclasses import dataclass

from wiseft.config.experiment import ZERO_SHOT, ExperimentEntry
from wiseft.config.paths import run_name


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
