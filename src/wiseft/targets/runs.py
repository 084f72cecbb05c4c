"""The runs that an experiment selects, and the models and methods behind them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from wiseft.config import Catalogue, Config, ExperimentEntry, ModelEntry, paths
from wiseft.config.experiment import ZERO_SHOT


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
        return paths.run_name(self.model, self.reference, self.method_id)


def experiment_runs(experiment: ExperimentEntry) -> list[Run]:
    """Return all runs of an experiment, one for every seed: fine-tuned models first, then
    baselines; or the zero-shot models, where these are all it is about.
    """
    reference = experiment.reference
    if experiment.zero_shot_only:
        return [Run(model, reference, ZERO_SHOT, 0, baseline=False) for model in experiment.models]
    runs = [
        Run(model, reference, method_id, seed, baseline=False)
        for model in experiment.models
        for method_id in experiment.methods
        for seed in experiment.seeds
    ]
    if baselines := experiment.baselines:
        runs += [
            Run(baselines.model, reference, method_id, seed, baseline=True)
            for method_id in baselines.methods
            for seed in baselines.seeds
        ]
    return runs


class Runs:
    """An experiment with the entries that its runs are made of.

    Args:
        settings: the configuration of this machine.
        catalogue: all entries; its root is the folder that every path is relative to.
        experiment: one of its experiments.
    """

    def __init__(self, settings: Config, catalogue: Catalogue, experiment: ExperimentEntry) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self.experiment = experiment
        self.name = experiment.experiment
        self.reference = experiment.reference
        self.runs = experiment_runs(experiment)

    @property
    def methods(self) -> list[str]:
        """The fine-tuning methods, those included that only combine models."""
        return self.experiment.methods

    @cached_property
    def independent(self) -> list[str]:
        """Methods that combine a model with one that was trained independently."""
        return [m for m in self.methods if self.catalogue.independent(m)]

    @cached_property
    def checkpoints(self) -> dict[str, str]:
        """Methods whose fine-tuned model is brought along, with its file."""
        found = {m: self.catalogue.checkpoint(m) for m in self.methods}
        return {m: path for m, path in found.items() if path}

    @cached_property
    def searched(self) -> list[str]:
        """Methods whose settings are searched for."""
        return [m for m in self.methods if self.catalogue.method_settings(m).search]

    @cached_property
    def finetuned(self) -> list[str]:
        """Methods that are trained with the settings as they stand."""
        others = {*self.independent, *self.checkpoints, *self.searched}
        return [m for m in self.methods if m not in others]

    @cached_property
    def contrastive(self) -> list[str]:
        """Methods that train the text tower too."""
        return [m for m in self.methods if self.catalogue.method_settings(m).loss == "contrastive"]

    @cached_property
    def baselines(self) -> list[str]:
        """Methods of the models from scratch."""
        return list(dict.fromkeys(run.method_id for run in self.runs if run.baseline))

    @cached_property
    def augmented_baselines(self) -> list[str]:
        """Baselines that no fit goes through: augmentation is an intervention."""
        return [m for m in self.baselines if self.catalogue.method_settings(m).augment != "none"]

    @cached_property
    def two_ended(self) -> list[str]:
        """Methods of runs that have a zero-shot end: all but baselines."""
        return [ZERO_SHOT] if self.experiment.zero_shot_only else self.methods

    def methods_in_full(self) -> dict[str, Any]:
        """Return how each method trains, or which other model it combines, as plain data."""
        methods = dict.fromkeys([*self.methods, *self.baselines])
        combined = {m: self.catalogue.independent(m) for m in methods}
        found = {m: combined[m] or self.catalogue.method_settings(m) for m in methods}
        return {m: entry.model_dump(mode="json") for m, entry in found.items()}

    @cached_property
    def models(self) -> list[str]:
        """Models that are made into a theta_0: those that are fine-tuned, and those that were
        trained independently and are combined with them.
        """
        others = [self.catalogue.independent(m) for m in self.methods]
        independent = [other.model for other in others if other and other.baseline is None]
        return list(dict.fromkeys([*self.experiment.models, *independent]))

    @cached_property
    def baseline_models(self) -> list[str]:
        """Models that are trained from scratch."""
        return sorted({run.model for run in self.runs if run.baseline})

    def entry(self, model: str) -> ModelEntry:
        """Return the entry of a model such as `digits-rn-s10`."""
        return self.catalogue.model(model)[0]

    @cached_property
    def pretrained(self) -> list[str]:
        """Models that are pre-trained here."""
        return [m for m in self.models if self.entry(m).source == "pretrain"]

    @cached_property
    def fetched(self) -> list[str]:
        """Models whose weights come from elsewhere."""
        return [m for m in self.models if self.entry(m).fetched]

    @cached_property
    def calibrated(self) -> list[str]:
        """Models whose zero-shot head takes images of the reference besides prompts."""
        return [m for m in self.models if self.entry(m).calibrate]

    @cached_property
    def supervised(self) -> list[str]:
        """Models whose zero-shot head takes no prompts: they have a label set of their own."""
        return [m for m in self.models if self.entry(m).source == "timm"]

    @cached_property
    def prompted(self) -> list[str]:
        """Models whose zero-shot head is made of prompts alone."""
        return [m for m in self.models if m not in {*self.calibrated, *self.supervised}]

    def resident(self, model: str, method: str) -> list[str]:
        """Return the models that an evaluation runs images through."""
        other = self.catalogue.independent(method) if method in self.independent else None
        return [model, other.model] if other else [model]

    @property
    def published_only(self) -> bool:
        """Whether it has no runs and shows numbers of the paper; its datasets are only named."""
        return not self.runs and self.experiment.published is not None

    def trains(self, run: Run) -> bool:
        """Whether a run has a theta_1 of its own, trained here or imported."""
        return run.method_id not in (ZERO_SHOT, *self.independent)

    @cached_property
    def combined(self) -> list[Run]:
        """Runs whose two ends may be mixed into one theta."""
        return [run for run in self.runs if not run.baseline and self.trains(run)]

    def alphas(self, method: str) -> list[str]:
        """Return the grid of a method's runs; a model from scratch has no end to combine with."""
        return self.experiment.alpha_names if method in self.two_ended else ["1.000"]

    def theta_0(self, model: str, method: str) -> Path:
        """Return the zero-shot end of a run; where the text tower is trained, with that tower."""
        path = paths.theta_0_with_text_path if method in self.contrastive else paths.theta_0_path
        return path(model, self.reference)

    def theta_1(self, model: str, method: str, seed: int | str) -> Path:
        """Return the other end of a run: theta_1 or, where none is made for it, another classifier.

        Where nothing is trained, that is the zero-shot end again; for an ensemble with a model that
        was trained independently, it is that model.
        """
        if method == ZERO_SHOT:
            return paths.theta_0_path(model, self.reference)
        # A baseline's method is none of those that combine.
        other = self.catalogue.independent(method) if method in self.independent else None
        if other is None:
            return paths.theta_1_path(paths.run_name(model, self.reference, method), seed)
        if other.baseline is None:
            return paths.theta_0_path(other.model, self.reference)
        run = paths.run_name(other.model, self.reference, other.baseline)
        return paths.theta_1_path(run, seed)
