"""Training of the head by itself: where it starts, probing before all is trained, and L-BFGS.

The head starts as theta_0 has it, at random, or trained alone first (LP-FT). L-BFGS on all samples
at once makes the linear classifiers of ALIGN and ViT-H/14 (paper appendix C.7).
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wiseft.base.training_progress import Progress, Report
from wiseft.errors import WiseftError
from wiseft.models.towers import seeded
from wiseft.study.config import FinetuneSettings
from wiseft.study.finetune.batches import Batch
from wiseft.study.finetune.schedule import training_steps
from wiseft.study.finetune.state import trained_parameters
from wiseft.study.finetune.tasks import Material, head_task
from wiseft.study.finetune.trainer import Execution, Step, Task, fit
from wiseft.thetas.resume_state import Checkpoints

log = logging.getLogger(__name__)

CHUNK = 2**14
"""Samples whose gradients are computed at once; they are summed, so that memory does not grow."""
HISTORY = 10
"""Steps that are remembered (scipy's default)."""
TOLERANCE = 2.2e-9
"""Change of the function at which it ends (scipy's `ftol`)."""


def start_head(
    material: Material,
    indices: NDArray[np.int64],
    execution: Execution,
    checkpoints: Checkpoints,
    features: Path | None,
) -> None:
    """Put the head of a training in its place, as `head_init` and `linear_probe` say.

    Linear probing is a linear classifier's training on the features of theta_0; the image tower
    stays as it is.

    Args:
        indices: of the samples in the train split.
        checkpoints: of the probing; cleared at its end.
        features: folder in which features are kept for other trainings; None: they are not kept.

    Raises:
        WiseftError: as `head_task` and `fit` do.
    """
    settings = material.settings
    if settings.head_init == "random":
        draw_head(material.classifier.head, material.seed)
    if settings.linear_probe is None or settings.linear_probe.epochs == 0:
        return
    probing = dataclasses.replace(material, settings=probe_settings(settings))
    task = head_task(probing, indices, execution, features)
    steps = training_steps(len(indices), probing.settings)
    log.info(f"linear probing first: {steps} steps")
    progress = Progress(steps)
    fit(task, probing.settings, material.seed, checkpoints, progress, execution)
    progress.close()
    if execution.team.leads:
        checkpoints.clear()


def probe_settings(settings: FinetuneSettings) -> FinetuneSettings:
    """Return the settings of the linear classifier that LP-FT begins with."""
    probe = settings.linear_probe
    assert probe is not None
    changes = {
        **dict.fromkeys(("steps", "linear_probe", "ema", "early_stopping")),
        "trainable": "head",
        "augment": "none",
        "epochs": probe.epochs,
        "learning_rate": probe.learning_rate,
    }
    return FinetuneSettings.model_validate(settings.model_dump() | changes)


def draw_head(head: nn.Linear, seed: int) -> None:
    """Draw a head anew, as torch initialises a linear layer; the same one on every device."""
    with seeded(seed):
        head.load_state_dict(nn.Linear(head.in_features, head.out_features).state_dict())


def fit_lbfgs(
    task: Task,
    settings: FinetuneSettings,
    seed: int,
    checkpoints: Checkpoints,
    report: Report = lambda *step: None,
    execution: Execution | None = None,
    begin: Callable[[], Any] = lambda: None,
) -> list[Step]:
    """Minimise the mean loss, plus half of `weight_decay` times the squared norm, in place.

    Arguments and errors are those of `trainer.fit`; a step of the curve is a pass over all samples.
    On kept features that is half a second for ImageNet on a GPU, so a killed training begins anew.
    """
    begin()
    task.model.train()
    total, values = settings.steps or 0, list[float]()
    parameters = trained_parameters(task.model)
    optimiser = torch.optim.LBFGS(
        parameters,
        max_iter=total,
        max_eval=total,
        history_size=HISTORY,
        tolerance_grad=0.0,
        tolerance_change=TOLERANCE,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        values.append(_gradients(task, settings, parameters))
        if not math.isfinite(values[-1]):
            raise WiseftError(f"the loss is {values[-1]} in step {len(values)}; raise weight_decay")
        report(min(len(values), total), values[-1], 1.0, len(task.samples.labels))
        return torch.tensor(values[-1], dtype=torch.float64)

    optimiser.step(closure)
    task.model.eval()
    return [Step(step, step, value, 1.0) for step, value in enumerate(values, start=1)]


def _gradients(task: Task, settings: FinetuneSettings, parameters: list[Any]) -> float:
    """Add the gradients of the whole function; return its value, summed in fp64."""
    samples, device, value = task.samples, parameters[0].device, 0.0
    everyone = np.arange(len(samples.labels))
    for first in range(0, len(everyone), CHUNK):
        chosen = everyone[first : first + CHUNK]
        places = torch.from_numpy(chosen)
        inputs, labels = samples.read(0, chosen), samples.labels[places]
        batch = Batch(inputs.to(device), labels.to(device), places.to(device))
        loss = task.objective.loss(task.model, batch) * (len(chosen) / len(everyone))
        loss.backward()
        value += loss.item()
    towards = task.objective.penalty()
    decay = settings.weight_decay / 2 * sum(p.square().sum() for p in parameters)
    penalty = decay if towards is None else decay + towards
    penalty.backward()
    return value + float(penalty.item())
