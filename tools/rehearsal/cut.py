"""What a rehearsal cuts of the configuration: seeds, trials, steps; never a variant.

Methods, alphas, datasets, models and figures stay, so that rules, rows and points are those of the
real plan.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from tools.rehearsal.world import SHOTS, TRAIN_SAMPLES

from wiseft.base.loading import read_yaml
from wiseft.study.config import ExperimentEntry
from wiseft.study.config.methods import FinetuneSettings

LINKED = ("Snakefile", "workflow", "src", "profiles", "environment.yml")
STEPS = 30
WARMUP = 10
SAVED = 20
"""Steps after which a state of a training is kept."""
TRIALS = 2
EPOCHS = 3
"""Of a trial, at most."""
BATCH = 16
FASTER = 100.0
"""Times the learning rates of the paper's recipes, for so few steps of so small models."""
SMALL = ("digits", "photos", "icons")
"""Begin of variants, and `from-scratch` a method, whose learning rates are for small models."""
PRETRAIN = {
    "steps": STEPS,
    "batch_size": BATCH,
    "pen_glyphs": 60,
    "min_held_out_accuracy": 0.0,
    "checkpoint_every": SAVED,
}


def link_project(project: Path, root: Path) -> None:
    """Make a folder that looks like a project: its code by links, its configuration a copy."""
    root.mkdir(parents=True)
    for name in LINKED:
        (root / name).symlink_to(project / name)
    shutil.copytree(project / "config", root / "config")


def copy_again(project: Path, root: Path) -> None:
    """Cut experiments and methods as they are now; what was made up stays."""
    for kind in ("experiments", "methods"):
        shutil.rmtree(root / "config" / kind)
        shutil.copytree(project / "config" / kind, root / "config" / kind)
    write_config(root, ("experiments", "methods"))


def write_config(root: Path, kinds: Sequence[str] = ("experiments", "methods", "models")) -> None:
    """Cut the configuration that lies in `root`."""
    target = root / "config"
    cuts: list[tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = [
        ("experiments", cut_experiment),
        ("methods", cut_method),
        ("models", cut_model),
    ]
    for kind, cut in [each for each in cuts if each[0] in kinds]:
        for path in (target / kind).glob("*.yaml"):
            write_yaml(path, cut(read_yaml(path)))
    write_yaml(target / "config.yaml", {"rehearsal": True, "device": "cpu"})


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    """Write an entry."""
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000))


def cut_experiment(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an experiment with one seed of everything, and as few resamples as there may be."""
    cut = {**entry, "seeds": entry.get("seeds", [0])[:1], "bootstrap": {"resamples": 100}}
    cut.pop("method_seeds", None)
    if own := entry.get("model_seeds"):
        cut["model_seeds"] = {model: seeds[:1] for model, seeds in own.items()}
    if baselines := entry.get("baselines"):
        cut["baselines"] = {**baselines, "seeds": baselines.get("seeds", [0])[:1]}
    return cut


def one_seed(experiment: ExperimentEntry) -> ExperimentEntry:
    """Return an experiment of the real plan with one seed: what a rehearsal is compared with."""
    entry = experiment.model_dump(mode="json", exclude_unset=True)
    return ExperimentEntry.model_validate(cut_experiment(entry))


def cut_method(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a method whose trainings, those of all variants, have few steps and images."""
    cut, trains_text = dict(entry), False
    large = entry["name"] != "from-scratch"
    if "settings" in entry:
        trains_text = FinetuneSettings.model_validate(entry["settings"]).objective.trains_text
        settings = _training(entry["settings"], large)
        cut["settings"] = {**settings, "steps": STEPS, "batch_size": BATCH}
    if "variants" in entry:
        cut["variants"] = {
            name: _training(variant or {}, large and not name.startswith(SMALL))
            for name, variant in entry["variants"].items()
        }
        if trains_text:  # images of every class are needed, and there are few of each
            for variant in cut["variants"].values():
                variant.pop("train_samples", None)
    return cut


def _training(settings: dict[str, Any], large: bool) -> dict[str, Any]:
    """Return a training's settings with few steps; `large`: they are for large models."""
    cut = {**settings}
    if large and cut.get("learning_rate"):
        cut["learning_rate"] *= FASTER
    if cut.get("half"):  # of few images a half may lack a class
        cut.pop("train_samples", None)
    for key, most in (
        ("steps", STEPS),
        ("batch_size", BATCH),
        ("train_samples", TRAIN_SAMPLES),
        ("samples_per_class", SHOTS),
        ("warmup_steps", WARMUP),
        ("checkpoint_every", SAVED),
    ):
        if cut.get(key):
            cut[key] = min(cut[key], most)
    if stopping := cut.get("early_stopping"):
        cut["early_stopping"] = {
            k: min(v, SAVED) if isinstance(v, int) else v for k, v in stopping.items()
        }
    if cut.get("linear_probe"):
        cut["linear_probe"] = {**cut["linear_probe"], "epochs": 1, "learning_rate": 0.1}
    if search := cut.get("search"):
        epochs = {"max_epochs": EPOCHS} if search.get("max_epochs") else {}
        cut["search"] = {**search, "trials": TRIALS, **epochs}
    return cut


def cut_model(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a model whose pre-training, if it is pre-trained here, has few steps."""
    if not entry.get("pretrain"):
        return entry
    return {**entry, "pretrain": {**entry["pretrain"], **PRETRAIN}}
