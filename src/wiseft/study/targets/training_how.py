"""Whether trainings can be carried out on this machine as `training.how` says."""

from __future__ import annotations

from collections.abc import Callable

from wiseft.base.io import read_json
from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue, FinetuneSettings
from wiseft.study.config.machine import HowSettings
from wiseft.study.targets.runs import Runs


def how_problems(runs: Runs) -> list[str]:
    """Return a sentence for every training whose batches can't be divided, but would be.

    The training itself refuses too; here it is known before anything runs.
    """
    how, catalogue = runs.settings.training.how, runs.catalogue
    problems = _unknown(how, catalogue)
    for model, method_id in dict.fromkeys((run.model, run.method_id) for run in runs.trainings):
        settings = catalogue.method_settings(method_id)
        reason = whole_batches(settings, model, catalogue)
        if reason and (key := _divides(how, settings, model, method_id)):
            problems.append(
                f"config/config.yaml or --config: training.how.{key}, but {method_id} of {model} "
                f"needs whole batches, because {reason}; set gpus to 1 and micro_batch to null, "
                "or leave it out"
            )
    return problems


def _unknown(how: HowSettings, catalogue: Catalogue) -> list[str]:
    """Return a sentence for every name of the mapping `gpus` that the catalogue has not."""
    keys = how.gpus if isinstance(how.gpus, dict) else ()
    return [
        f"config/config.yaml or --config: training.how.gpus names {name}, which is neither a model "
        "nor a method; write MODEL, METHOD or MODEL/METHOD"
        for key in keys
        for name in key.split("/")
        if not (_found(catalogue.model, name) or _found(catalogue.method_settings, name))
    ]


def _found(entry: Callable[[str], object], name: str) -> bool:
    try:
        return bool(entry(name))
    except WiseftError:
        return False


def _divides(how: HowSettings, settings: FinetuneSettings, *of: str) -> str:
    """Return the key that divides batches, with its value; empty where none does."""
    if (gpus := how.gpus_of(*of)) > 1:
        return f"gpus is {gpus}"
    samples = min(settings.batch_size, settings.train_samples or settings.batch_size)
    if isinstance(how.micro_batch, int) and how.micro_batch < samples:
        return f"micro_batch is {how.micro_batch}"
    return ""


def whole_batches(settings: FinetuneSettings, model: str, catalogue: Catalogue) -> str:
    """Return why a training needs whole batches; empty where it does not, or it is not known."""
    if settings.trainable == "head":
        return ""
    if not settings.objective.separable:
        return "its loss compares all samples of a batch with each other"
    if settings.batch_norm == "train" and _is_resnet(model, catalogue):
        return "with batch_norm: train the statistics are those of a batch"
    return ""


def _is_resnet(model: str, catalogue: Catalogue) -> bool:
    """Whether a model's architecture is a file that describes a ResNet of open_clip's."""
    try:
        path = catalogue.architecture_path(catalogue.model(model)[0])
        vision = read_json(path, "architecture").get("vision_cfg", {})
    except WiseftError:
        return False
    return isinstance(vision.get("layers"), list)
