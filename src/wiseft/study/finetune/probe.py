"""Where the head starts: as theta_0 has it, at random, or trained alone first (LP-FT)."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wiseft.base.progress import Progress
from wiseft.models.towers import seeded
from wiseft.study.config import FinetuneSettings
from wiseft.study.finetune.schedule import training_steps
from wiseft.study.finetune.tasks import Material, head_task
from wiseft.study.finetune.trainer import Execution, Step, fit
from wiseft.thetas.resume_state import Checkpoints

log = logging.getLogger(__name__)


def start_head(
    material: Material,
    indices: NDArray[np.int64],
    execution: Execution,
    checkpoints: Checkpoints,
    features: Path | None,
) -> list[Step]:
    """Put the head of a training in its place, as `head_init` and `linear_probe` say.

    Linear probing is a linear classifier's training on the features of theta_0; the image tower
    stays as it is.

    Args:
        indices: of the samples in the train split.
        checkpoints: of the probing; cleared at its end.
        features: folder in which features are kept for other trainings; None: they are not kept.

    Returns:
        the curve of the probing; no steps where there is none.

    Raises:
        WiseftError: as `head_task` and `fit` do.
    """
    settings = material.settings
    if settings.head_init == "random":
        draw_head(material.classifier.head, material.seed)
    if settings.linear_probe is None or settings.linear_probe.epochs == 0:
        return []
    probing = dataclasses.replace(material, settings=probe_settings(settings))
    task = head_task(probing, indices, execution, features)
    steps = training_steps(len(indices), probing.settings)
    log.info(f"linear probing first: {steps} steps")
    progress = Progress(steps)
    curve = fit(task, probing.settings, material.seed, checkpoints, progress, execution)
    progress.close()
    if execution.team.leads:
        checkpoints.clear()
    return curve


def probe_settings(settings: FinetuneSettings) -> FinetuneSettings:
    """Return the settings of the linear classifier that LP-FT begins with."""
    probe = settings.linear_probe
    assert probe is not None
    changes = {
        "trainable": "head",
        "epochs": probe.epochs,
        "learning_rate": probe.learning_rate,
        "augment": "none",
        "steps": None,
        "linear_probe": None,
        "ema": None,
        "early_stopping": None,
    }
    return FinetuneSettings.model_validate(settings.model_dump() | changes)


def draw_head(head: nn.Linear, seed: int) -> None:
    """Draw a head anew, as torch initialises a linear layer; the same one on every device."""
    with seeded(seed), torch.no_grad():
        drawn = nn.Linear(head.in_features, head.out_features)
        head.weight.copy_(drawn.weight)
        head.bias.copy_(drawn.bias)
