"""The runs that an experiment selects, and the models and methods behind them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wiseft.study.config import Catalogue, Config, ExperimentEntry, ModelEntry, paths
from wiseft.study.config.experiment import ZERO_SHOT


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
        for seed in experiment.seeds_of(method_id, model)
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

    Attributes:
        name: of the experiment.
        reference: its dataset for fine-tuning.
        runs: all runs.
        methods: fine-tuning methods, those included that only combine models.
        independent: of these, those that combine a model with one that was trained independently.
        merged: those that make a model of others, with how; methods that train only those others
            are among the four that follow.
        checkpoints: methods whose fine-tuned model is brought along, with its file.
        searched: those whose settings are searched for.
        finetuned: those that are trained with the settings as they stand.
        contrastive: those that train the text tower too.
        reading_text: those whose training needs the text tower.
        trained_on_held_out: methods that see the held-out images, so that alpha can't be chosen.
        two_ended: methods of runs that have a zero-shot end: all but baselines.
        baselines: methods of the models from scratch.
        models: models that are made into a theta_0: those that are fine-tuned, and those that were
            trained independently and are combined with them.
        baseline_models: models that are trained from scratch.
        all_models: those of runs, and those that are made into a theta_0.
        pretrained: models that are pre-trained here.
        fetched: models whose weights come from elsewhere.
        calibrated: models whose zero-shot head takes images of the reference besides prompts.
        supervised: models whose zero-shot head takes no prompts, but a label set of their own.
        prompted: models whose zero-shot head is made of prompts alone.
        combined: runs whose two ends may be mixed into one theta.
        fine_tuned: fine-tuned models, trained here or brought along, as runs; those that are only
            merged are no runs of the experiment.
        trainings: of these, those that are trained here, and baselines.
        published_only: whether there are no runs, and numbers of the paper are shown; the datasets
            are only named then.
    """

    def __init__(self, settings: Config, catalogue: Catalogue, experiment: ExperimentEntry) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self.experiment = experiment
        self._alpha_names = experiment.alpha_names
        self.name = experiment.experiment
        self.reference = experiment.reference
        self.runs = experiment_runs(experiment)
        self.published_only = not self.runs and experiment.published is not None

        self.methods = experiment.methods
        self._sort_methods()
        self._sort_runs()
        others = [other for m in self.independent if (other := catalogue.independent(m))]
        combined = [other.model for other in others if other.baseline is None]
        self.models = models = list(dict.fromkeys([*experiment.models, *combined]))
        self.all_models = list(dict.fromkeys([*(run.model for run in self.runs), *models]))
        self.pretrained = [m for m in models if self.entry(m).source == "pretrain"]
        self.fetched = [m for m in models if self.entry(m).fetched]
        self.calibrated = [m for m in models if self.entry(m).calibrate]
        self.supervised = [m for m in models if self.entry(m).source == "timm"]
        self.prompted = [m for m in models if m not in {*self.calibrated, *self.supervised}]

    def _sort_methods(self) -> None:
        methods, catalogue = self.methods, self.catalogue
        self.independent = [m for m in methods if catalogue.independent(m)]
        self.merged = {m: merged for m in methods if (merged := catalogue.merged(m))}
        listed = dict.fromkeys([*methods, *(merged.of for merged in self.merged.values())])
        tuned = [m for m in listed if m not in {*self.independent, *self.merged}]
        settings = {m: catalogue.method_settings(m) for m in listed}
        self.checkpoints = {m: path for m in tuned if (path := catalogue.checkpoint(m))}
        self.searched = [m for m in tuned if settings[m].search]
        apart = {*self.checkpoints, *self.searched}
        self.finetuned = [m for m in tuned if m not in apart]
        self.contrastive = [m for m in listed if settings[m].objective.trains_text]
        self.reading_text = [m for m in tuned if settings[m].reads_text]
        self.trained_on_held_out = [m for m in methods if settings[m].train_on_held_out]
        self.two_ended = [ZERO_SHOT] if self.experiment.zero_shot_only else methods

    def _sort_runs(self) -> None:
        scratch = [run for run in self.runs if run.baseline]
        self.baselines = list(dict.fromkeys(run.method_id for run in scratch))
        self.baseline_models = sorted({run.model for run in scratch})
        self.combined = [run for run in self.runs if not run.baseline and self.has_theta_1(run)]
        own = [run for run in self.combined if run.method_id not in self.merged]
        ingredients = (each for run in self.combined for each in self.ingredients(run))
        self.fine_tuned = list(dict.fromkeys([*own, *ingredients]))
        here = [run for run in self.fine_tuned if run.method_id not in self.checkpoints]
        self.trainings = [*here, *scratch]

    def entry(self, model: str) -> ModelEntry:
        """Return the entry of a model such as `digits-rn-s10`."""
        return self.catalogue.model(model)[0]

    def methods_in_full(self) -> dict[str, Any]:
        """Return how each method trains, or which other model it combines, as plain data."""
        methods = dict.fromkeys([*self.methods, *(m.of for m in self.merged.values())])
        methods |= dict.fromkeys(self.baselines)
        combined = {m: self.catalogue.independent(m) or self.merged.get(m) for m in methods}
        entries = {m: combined[m] or self.catalogue.method_settings(m) for m in methods}
        return {m: entry.model_dump(mode="json") for m, entry in entries.items()}

    def resident(self, model: str, method: str) -> list[str]:
        """Return the models that an evaluation runs images through."""
        other = self.catalogue.independent(method) if method in self.independent else None
        return [model, other.model] if other else [model]

    def architecture(self, model: str) -> Path:
        """Return the file with a model's architecture."""
        return self.catalogue.architecture_path(self.entry(model))

    def label_map(self, model: str) -> list[Path]:
        """Return the file that maps the reference's classes to a model's label set, if any."""
        name = self.entry(model).label_map
        return [self.catalogue.folder / "models" / name] if name else []

    def trials(self, model: str, method: str, seed: str) -> list[Path]:
        """Return what searches wrote whose settings a training takes, if it does."""
        searches = self.catalogue.method_settings(method).from_search
        ids = [f"{method.partition('__')[0]}__{variant}" for variant in searches]
        runs = [paths.run_name(model, self.reference, each) for each in ids]
        return [paths.trials_path(run, seed) for run in runs]

    def ingredients(self, run: Run) -> list[Run]:
        """Return the fine-tuned models that a merged one is made of; none of other runs."""
        merged = self.merged.get(run.method_id)
        seeds = (merged.seeds or [run.seed]) if merged else []
        of = merged.of if merged else ""
        return [replace(run, method_id=of, seed=seed) for seed in seeds]

    def has_theta_1(self, run: Run) -> bool:
        """Whether a run has a theta_1 of its own: trained here, imported or merged."""
        return run.method_id not in (ZERO_SHOT, *self.independent)

    def alphas(self, method: str) -> list[str]:
        """Return the grid of a method's runs; a model from scratch has no end to combine with."""
        return self._alpha_names if method in self.two_ended else ["1.000"]

    def theta_0(self, model: str, method: str) -> Path:
        """Return the zero-shot end of a run; where the text tower is trained, with that tower."""
        path = paths.theta_0_with_text_path if method in self.contrastive else paths.theta_0_path
        return path(model, self.reference)

    def start(self, model: str, method: str) -> Path:
        """Return the zero-shot model that a training starts from, with the text tower if it needs
        that one.
        """
        path = paths.theta_0_with_text_path if method in self.reading_text else paths.theta_0_path
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
