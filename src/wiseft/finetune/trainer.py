"""The training loop (paper appendix D.2): AdamW, cross-entropy, clipping, in fp32.

Weight decay is on all parameters, in one group, as in the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from wiseft.checkpoints import Checkpoints, load_optimiser, optimiser_tensors
from wiseft.config import FinetuneSettings
from wiseft.errors import WiseftError
from wiseft.finetune.sampling import step_seed
from wiseft.finetune.schedule import learning_rate, warmup_length
from wiseft.progress import Progress


@dataclass(frozen=True)
class Task:
    """What is trained on what.

    Attributes:
        model: maps inputs to logits; its parameters that require a gradient are trained.
        samples: number of training samples.
        batches: called with an epoch and the first batch wanted (both counted from 0), yields
            inputs and int64 labels of the rest of the epoch.
    """

    model: nn.Module
    samples: int
    batches: Callable[[int, int], Iterator[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Step:
    """A row of the training curve; step and epoch are counted from 1."""

    step: int
    epoch: int
    loss: float
    learning_rate: float


def steps_per_epoch(samples: int, settings: FinetuneSettings) -> int:
    """Return the number of batches; the last one of an epoch may be smaller."""
    return math.ceil(samples / settings.batch_size)


def fit(
    task: Task,
    settings: FinetuneSettings,
    seed: int,
    checkpoints: Checkpoints,
    progress: Progress,
) -> list[Step]:
    """Train the model of the task in place, from its last checkpoint if there is one.

    Returns:
        the training curve, with the steps before a resumption.

    Raises:
        WiseftError: if the loss is not finite.
    """
    model, per_epoch = task.model, steps_per_epoch(task.samples, settings)
    steps = per_epoch * settings.epochs
    warmup = warmup_length(steps, settings.warmup_steps, settings.warmup_max_fraction)
    rates = [learning_rate(step, steps, warmup, settings.learning_rate) for step in range(steps)]
    optimiser = _optimiser(model, settings)
    losses = _restore(checkpoints, model, optimiser)
    _train_mode(model, settings)
    while len(losses) < steps:
        for inputs, labels in task.batches(*divmod(len(losses), per_epoch)):
            step = len(losses)
            torch.manual_seed(step_seed(seed, step))
            loss = _train_step(model, optimiser, inputs, labels, rates[step], settings)
            if not math.isfinite(loss):
                raise _diverged(loss, step, rates[step])
            losses.append(loss)
            progress(step + 1, loss, rates[step], len(labels))
            if (step + 1) % settings.checkpoint_every == 0 and step + 1 < steps:
                checkpoints.save(step + 1, _state(model, optimiser, losses))
    model.eval()
    return [
        Step(i + 1, i // per_epoch + 1, loss, rate)
        for i, (loss, rate) in enumerate(zip(losses, rates, strict=True))
    ]


def _train_step(
    model: nn.Module,
    optimiser: torch.optim.AdamW,
    inputs: Tensor,
    labels: Tensor,
    rate: float,
    settings: FinetuneSettings,
) -> float:
    logits = model(inputs)
    loss = functional.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
    optimiser.zero_grad()
    loss.backward()
    if settings.clip_norm is not None:
        nn.utils.clip_grad_norm_(_trained(model), settings.clip_norm)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    return loss.item()


def _optimiser(model: nn.Module, settings: FinetuneSettings) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        _trained(model),
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _train_mode(model: nn.Module, settings: FinetuneSettings) -> None:
    model.train()
    if settings.batch_norm == "eval":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                # Running statistics stay those of theta_0; scale and shift are trained.
                module.eval()


def _state(
    model: nn.Module, optimiser: torch.optim.AdamW, losses: list[float]
) -> dict[str, Tensor]:
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    tensors |= optimiser_tensors(optimiser)
    return tensors | {"losses": torch.tensor(losses, dtype=torch.float64)}


def _restore(
    checkpoints: Checkpoints, model: nn.Module, optimiser: torch.optim.AdamW
) -> list[float]:
    """Put the last checkpoint into model and optimiser; return the losses of the steps so far."""
    tensors = checkpoints.load()
    if tensors is None:
        return []
    model.load_state_dict({key: tensors[f"model.{key}"] for key in model.state_dict()})
    load_optimiser(optimiser, tensors)
    losses: list[float] = tensors["losses"].tolist()
    checkpoints.log(f"resuming after step {len(losses)}")
    return losses


def _diverged(loss: float, step: int, rate: float) -> WiseftError:
    return WiseftError(
        f"the loss is {loss} in step {step + 1}, at a learning rate of {rate:.3g}: training "
        "diverged; lower learning_rate, raise warmup_steps or lower clip_norm"
    )
