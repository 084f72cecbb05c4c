"""The paper's random search over the settings of a linear classifier (appendix D.3).

Trials are drawn from the seed and their number, so a killed search goes on with the same ones; the
finished ones stand in a file of JSON lines in the state folder.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from wiseft.base.io import atomic_path, sha256_json, write_text
from wiseft.base.locks import alone
from wiseft.errors import WiseftError
from wiseft.models.runtime import check_writable
from wiseft.study.config import FinetuneSettings
from wiseft.study.finetune.features import FeatureSamples, FeatureStore
from wiseft.study.finetune.finetune import Outputs, finetune, identity, open_material
from wiseft.study.finetune.head import draw_head
from wiseft.study.finetune.objective import make_objective, tensors_of
from wiseft.study.finetune.schedule import trial_generator
from wiseft.study.finetune.tasks import TRAIN_SPLIT, Material, feature_samples, training_samples
from wiseft.study.finetune.trainer import Task, fit
from wiseft.thetas.resume_state import Checkpoints

log = logging.getLogger(__name__)

BATCH_SIZES = (64, 128, 256)
LEARNING_RATE = (0.0, 6.0)
"""The learning rate is 10^-b with b uniform between these."""
STRENGTH = {"weight_decay": (0.0, 4.0), "l1": (4.0, 8.0)}
"""Weight decay and the coefficient of L1 are 10^-l with l uniform between these."""
SMOOTHING = 0.25
"""Label smoothing is uniform between 0 and this."""

SEARCHED = ("batch_size", "learning_rate", "weight_decay", "l1", "label_smoothing", "epochs")
TRIALS = "trials.jsonl"


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: from 0.
        settings: those of `SEARCHED`.
        accuracy: the share of held-out samples that is right; None where training diverged.
    """

    number: int
    settings: dict[str, Any]
    accuracy: float | None


def draw_trial(settings: FinetuneSettings, seed: int, number: int) -> dict[str, Any]:
    """Return the settings of a trial: those of `SEARCHED`.

    Batch size and learning rate of a trial are the same for every regulariser.
    """
    search = settings.search
    assert search is not None
    random = trial_generator(seed, number)
    drawn: dict[str, Any] = {
        "batch_size": int(random.choice(BATCH_SIZES)),
        "learning_rate": float(10 ** -random.uniform(*LEARNING_RATE)),
        "weight_decay": 0.0,
        "l1": 0.0,
        "label_smoothing": 0.0,
        "epochs": settings.epochs,
    }
    share = random.random()
    key = search.regulariser.replace("-", "_")
    if key in STRENGTH:
        low, high = STRENGTH[key]
        drawn[key] = float(10 ** -(low + share * (high - low)))
    elif key == "label_smoothing":
        drawn[key] = SMOOTHING * share
    if search.max_epochs is not None:
        drawn["epochs"] = int(random.integers(1, search.max_epochs + 1))
    return drawn


def with_trial(settings: FinetuneSettings, drawn: Mapping[str, Any]) -> FinetuneSettings:
    """Return the settings of a training with those of a trial."""
    return FinetuneSettings.model_validate({**settings.model_dump(), **drawn, "search": None})


def run_search(
    theta_0: Path,
    manifest: Path,
    settings: FinetuneSettings,
    seed: int,
    outputs: Outputs,
    trials: Path,
    *,
    device: str | torch.device = "cpu",
) -> str | None:
    """Train every trial on the train split, choose by held-out accuracy, write the winner.

    theta_1 is what `finetune` makes with the settings that won; of equals the earlier trial wins.

    Args:
        outputs: the state has the finished trials too, and is emptied at the end.
        trials: CSV with a row a trial: its settings, its held-out accuracy, whether it won.

    Returns:
        the identity of theta_1.

    Raises:
        WiseftError: as `finetune` does, and if the settings ask for no search or no trial has
            finite weights.
        Interrupted: if a signal asked for an end; the state is saved then.
    """
    if settings.search is None:
        raise WiseftError(
            "the settings ask for no search; give them a key `search`, or use `wiseft finetune`"
        )
    for path in (outputs.theta_1, outputs.curve, trials, outputs.state / TRIALS):
        check_writable(path)
    material = open_material(theta_0, manifest, settings, seed, device)
    indices, key = training_samples(material), identity(material.header)
    file = outputs.state / TRIALS
    with alone(outputs.state):
        finished = read_trials(file, key)
        # Computed once, for all trials.
        store = FeatureStore(
            material.classifier, material.header, outputs.features, settings.precision
        )
        samples = feature_samples(material, store, TRAIN_SPLIT, indices)
        held_out = feature_samples(material, store, settings.search.split)
        for number in range(settings.search.trials):
            if number not in finished:
                checkpoints = Checkpoints(outputs.state / "trial", sha256_json([key, number]))
                finished[number] = _run_trial(material, number, samples, held_out, checkpoints)
                write_text(file, "".join(_line(key, each) for _, each in sorted(finished.items())))
            _tell(finished[number], settings.search.trials)
        best = winner(finished)
        write_trials(trials, finished, best)
        chosen = with_trial(settings, best.settings)
        final = dataclasses.replace(outputs, state=outputs.state / "winner")
        made = finetune(theta_0, manifest, chosen, seed, final, device=device)
        file.unlink(missing_ok=True)
        return made


def _run_trial(
    material: Material,
    number: int,
    samples: FeatureSamples,
    held_out: FeatureSamples,
    checkpoints: Checkpoints,
) -> Trial:
    """Train one trial, from the head of theta_0 or a random one, and return how good it is."""
    head = material.classifier.head
    drawn = draw_trial(material.settings, material.seed, number)
    settings = with_trial(material.settings, drawn)
    head.load_state_dict(tensors_of(head, material.start))
    if settings.head_init == "random":
        draw_head(head, material.seed)
    task = Task(head, samples, make_objective(settings, head, material.start))
    try:
        fit(task, settings, material.seed, checkpoints)
    except WiseftError as error:
        log.info(f"trial {number + 1}: {error}")
        return Trial(number, drawn, None)
    checkpoints.clear()
    with torch.no_grad():
        logits = material.classifier.eval().logits(held_out.features)
    right = logits.argmax(dim=-1).cpu() == held_out.labels
    return Trial(number, drawn, right.double().mean().item())


def winner(trials: Mapping[int, Trial]) -> Trial:
    """Return the most accurate trial, of equals the earlier one.

    Raises:
        WiseftError: if all diverged.
    """
    able = [trial for trial in trials.values() if trial.accuracy is not None]
    if not able:
        raise WiseftError(
            f"all of the {len(trials)} trials diverged; lower clip_norm or raise warmup_steps"
        )
    return max(able, key=lambda trial: (trial.accuracy or 0.0, -trial.number))


def found_settings(settings: FinetuneSettings) -> FinetuneSettings:
    """Return settings with those that searches found: of the most accurate trial of all of them,
    of equals the first. Others are returned as they are.

    Args:
        settings: where `from_search` lists, in place of variants, the trials that they wrote, CSV.

    Raises:
        WiseftError: if a file is not that of a search.
    """
    if not settings.from_search:
        return settings
    best: tuple[float, dict[str, Any]] = (-1.0, {})
    for path in map(Path, settings.from_search):
        try:
            with path.open(newline="", encoding="utf-8") as file:
                chosen = next(row for row in csv.DictReader(file) if row["chosen"] == "1")
            found = {name: json.loads(chosen[name]) for name in SEARCHED}
            accuracy = float(chosen["held_out_accuracy"])
        except (OSError, ValueError, KeyError, StopIteration) as error:
            raise WiseftError(f"{path} has no trial that was chosen ({error!r})") from None
        best = max(best, (accuracy, found), key=lambda pair: pair[0])
    return with_trial(settings, {**best[1], "from_search": []})


def read_trials(path: Path, key: str) -> dict[int, Trial]:
    """Return the finished trials by number, from a file of JSON lines.

    Lines of a search with other settings, seed or inputs, and damaged ones, are left out.

    Args:
        key: identity of the search.
    """
    finished = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
                if record.pop("key") == key:
                    finished[int(record["number"])] = Trial(**record)
            except (ValueError, KeyError, TypeError, AttributeError):
                log.info(f"{path} has a damaged line; that trial is made again")
        log.info(f"{len(finished)} trials are finished already")
    return finished


def _line(key: str, trial: Trial) -> str:
    return json.dumps({"key": key} | dataclasses.asdict(trial)) + "\n"


def write_trials(path: Path, trials: Mapping[int, Trial], best: Trial) -> None:
    """Write a row for every trial as CSV; an accuracy that is missing is of one that diverged."""
    rows = [
        {
            "trial": number + 1,
            **{name: trial.settings[name] for name in SEARCHED},
            "held_out_accuracy": "" if trial.accuracy is None else f"{trial.accuracy:.9g}",
            "chosen": int(trial is best),
        }
        for number, trial in sorted(trials.items())
    ]
    with atomic_path(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False, lineterminator="\n")


def _tell(trial: Trial, of: int) -> None:
    shown = {k: v for k, v in trial.settings.items() if v}
    text = ", ".join(f"{k} {v:.3g}" for k, v in shown.items())
    result = "diverged" if trial.accuracy is None else f"{trial.accuracy:.4f} right"
    log.info(f"trial {trial.number + 1}/{of}: {text}: {result}")
