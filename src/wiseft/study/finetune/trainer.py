"""The training loop (paper appendix D.2): batches, gradients, clipping, a step of the optimiser.

In the plain case, one process that takes every batch whole in fp32, nothing is added to the bare
arithmetic of the recipe. Parts of a batch, in turn or in several processes, have their gradients
summed, each weighted by its share of the batch.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from wiseft.base.training_progress import Report
from wiseft.errors import WiseftError
from wiseft.models.batch_size import BatchSize, out_of_memory
from wiseft.models.classifier import compilation_failed, compile_tower
from wiseft.study.config import FinetuneSettings
from wiseft.study.config.machine import HowSettings
from wiseft.study.finetune import schedule
from wiseft.study.finetune.batches import Batch, Loader, Part, Samples, divided
from wiseft.study.finetune.objective import Objective
from wiseft.study.finetune.parallel import Team, handled
from wiseft.study.finetune.state import (
    Follower,
    Interrupted,
    Precision,
    State,
    Watch,
    make_optimiser,
    trained_parameters,
)
from wiseft.study.finetune.trained_model import follows_batches, set_train_mode
from wiseft.thetas.resume_state import Checkpoints


@dataclass(frozen=True)
class Task:
    """What is trained on what.

    Attributes:
        model: what the objective is given; its parameters that require a gradient are trained.
        samples: the training samples.
        objective: what is minimised.
        follower: what rides along with the steps; None for nothing.
    """

    model: nn.Module
    samples: Samples
    objective: Objective
    follower: Follower | None = None


@dataclass(frozen=True)
class Execution:
    """How a training is carried out; it is the same one, up to rounding, whatever is here.

    Attributes:
        how: settings of the machine.
        team: the processes that share it.
        micro_batch: images at a time in a process, which `finetune` finds where `how` says
            `auto`; None: all that it has of a batch.
    """

    how: HowSettings = field(default_factory=HowSettings)
    team: Team = field(default_factory=Team)
    micro_batch: int | None = None


@dataclass(frozen=True)
class Step:
    """A row of the training curve; step and epoch are counted from 1."""

    step: int
    epoch: int
    loss: float
    learning_rate: float


def fit(
    task: Task,
    settings: FinetuneSettings,
    seed: int,
    checkpoints: Checkpoints,
    report: Report = lambda *step: None,
    execution: Execution | None = None,
    begin: Callable[[], Any] | None = None,
) -> list[Step]:
    """Train the model of the task in place, from its last checkpoint if there is one.

    Args:
        report: is told of every step, in each of several processes.
        begin: puts the weights where training begins; called if there is no checkpoint.

    Returns:
        the training curve, with the steps before a resumption.

    Raises:
        WiseftError: if the loss is not finite, memory runs out, or the task cannot be executed so.
        Interrupted: if SIGTERM or SIGUSR1 asked for an end; the state is saved then.
    """
    loop = _Loop(task, settings, seed, execution or Execution())
    if not loop.state.load(checkpoints, loop.team) and begin is not None:
        begin()
    watch = Watch()
    with loop.running(), handled(watch):
        for step in loop.steps(watch):
            made = step + 1
            report(made, loop.state.losses[step], loop.rates[step], loop.loader.length(step))
            if made == loop.total or loop.finished:
                break
            due = made % settings.checkpoint_every == 0 or loop.interrupted
            if due and loop.team.leads:
                loop.state.save(checkpoints)
            if loop.interrupted:
                raise Interrupted(loop.interrupted, made, loop.total, loop.team.leads)
    task.model.eval()
    if task.follower is not None:
        task.model.load_state_dict(dict(task.follower.result()), strict=False)
    per_epoch = schedule.steps_per_epoch(len(task.samples.labels), settings.batch_size)
    return [
        Step(i + 1, i // per_epoch + 1, loss, loop.rates[i])
        for i, loss in enumerate(loop.state.losses)
    ]


class _Loop:
    """The steps of one training.

    Attributes:
        finished: whether a follower ended the training.
        interrupted: the signal that asks for an end, in any of the processes; 0 for none.
    """

    def __init__(self, task: Task, settings: FinetuneSettings, seed: int, execution: Execution):
        self.team, self._how = execution.team, execution.how
        self._task, self._settings, self._seed = task, settings, seed
        self._parameters = trained_parameters(task.model)
        device = self._parameters[0].device
        self._samples = len(task.samples.labels)
        self.total = schedule.training_steps(self._samples, settings)
        warmup = schedule.warmup_length(
            self.total, settings.warmup_steps, settings.warmup_max_fraction
        )
        peak = settings.learning_rate
        self.rates = [
            schedule.learning_rate(step, self.total, warmup, peak) for step in range(self.total)
        ]
        self._precision = Precision(settings.precision, device)
        optimiser = make_optimiser(task.model, settings)
        share = schedule.share_of_batch(settings, self._samples, self.team.size)
        self._divisible = task.objective.divisible(task.model, settings)
        self._micro_batch = BatchSize(
            execution.micro_batch or share,
            least=1 if self._divisible else share,
            advice=self._advice(),
        )
        own = self._micro_batch if self._how.micro_batch == "auto" else None
        self.state = State(task.model, optimiser, self._precision, task.follower, own)
        how = self._how.model_copy(update={"micro_batch": execution.micro_batch})
        self.loader = Loader(task.samples, settings.batch_size, seed, device, how, self.team)
        self.finished, self.interrupted = False, 0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Within this context the model is in train mode and its outputs are fp32."""
        model = self._task.model
        set_train_mode(model, self._settings.batch_norm)
        self._check()
        if self._how.compile:
            compile_tower(model)
        hook = model.register_forward_hook(_as_fp32)
        try:
            with self._precision.kernels(self._how.deterministic):
                yield
        finally:
            hook.remove()

    def steps(self, watch: Watch) -> Iterator[int]:
        """Make the steps that are left; yield the index of each when it is made."""
        parts, follower = self.loader.parts(len(self.state.losses), self.total), self._task.follower
        for step, of_step in groupby(parts, key=lambda pair: pair[0].step):
            try:
                loss = self._step(step, of_step, watch)
            except RuntimeError as error:
                if out_of_memory(error):  # not while images were computed on, where it is seen to
                    raise WiseftError(
                        f"out of memory for weights, gradients and the optimiser; {self._advice()}"
                    ) from error
                if self._how.compile and (why := compilation_failed(error)):
                    raise WiseftError(
                        f"the image tower cannot be compiled ({why}); switch training.how.compile "
                        "off"
                    ) from error
                raise
            self.state.losses.append(loss)
            if follower is not None:
                self.finished = self.team.sum(float(follower.update(step + 1)))[0] > 0
            yield step

    def _step(self, step: int, parts: Iterable[tuple[Part, Batch]], watch: Watch) -> float:
        """Make one optimiser step; return the loss of the whole batch."""
        optimiser, settings = self.state.optimiser, self._settings
        optimiser.zero_grad()
        losses = self._losses(parts)
        own = torch.stack(losses).sum().item() if losses else 0.0
        signum = watch.signum
        # Before the gradients are: a process that died is noticed here, and not on the GPU.
        loss, asked = self.team.sum(own, float(signum))
        if asked:  # in any process: all end after the same step
            self.interrupted = signum or Watch.DEFAULT
        loss += self._penalty_gradients()
        if not math.isfinite(loss):
            other = ", or set precision to bf16" if settings.precision == "fp16" else ""
            raise WiseftError(
                f"the loss is {loss} in step {step + 1}, at a learning rate of "
                f"{self.rates[step]:.3g}: training diverged; lower learning_rate, raise "
                f"warmup_steps or lower clip_norm{other}"
            )
        self._precision.unscale(optimiser)
        if settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, settings.clip_norm)
        for group in optimiser.param_groups:
            group["lr"] = self.rates[step]
        self._precision.step(optimiser)
        return loss

    def _losses(self, parts: Iterable[tuple[Part, Batch]]) -> list[Tensor]:
        """Add the gradients of all parts; return their shares of the loss.

        Where memory runs out, those that were added are of no use: some layers have them, others
        not. The parts so far are divided and begun with anew.
        """
        held: list[tuple[Part, Batch]] = []
        losses: list[Tensor] = []
        for part, batch in parts:
            if not len(batch):
                continue
            held.append((part, batch))
            due = held[-1:]
            while due:
                largest = min(self._micro_batch.size, max(len(batch) for _, batch in due))
                with self._micro_batch.attempt(largest):
                    parted = divided(due, self._micro_batch.size)
                    losses += [self._gradients(*each) for each in parted]
                    due = []
                if due:
                    self.state.optimiser.zero_grad()
                    due, losses = list(held), []
        return losses

    def _gradients(self, part: Part, batch: Batch) -> Tensor:
        """Add the gradients of a part; return its share of the loss."""
        torch.manual_seed(schedule.step_seed(self._seed, part.step) + part.first)
        with self._precision.autocast():
            loss = self._task.objective.loss(self._task.model, batch)
        if part.share != 1.0:
            loss = loss * part.share
        self._precision.backward(loss)
        return loss.detach()

    def _penalty_gradients(self) -> float:
        """Sum the gradients over the processes, and add those of the penalty once."""
        batch = self.loader.length(len(self.state.losses))
        self.team.sum_gradients(self._parameters, some_idle=batch < self.team.size)
        penalty = self._task.objective.penalty()
        if penalty is None:
            return 0.0
        self._precision.backward(penalty)
        return float(penalty.item())

    def _check(self) -> None:
        n, size = self._samples, self._settings.batch_size
        bound = min(size, self._micro_batch.size)
        parted = self.team.size > 1 or bound < min(size, n)
        keys = f"training.how.micro_batch is {self._how.micro_batch} and gpus is {self.team.size}"
        if parted and not self._task.objective.separable:
            raise WiseftError(
                f"{keys}, but the {self._settings.loss} loss compares all samples of a batch with "
                "each other; set micro_batch to null and gpus to 1 (activation_checkpointing "
                "saves memory too)"
            )
        if not follows_batches(self._task.model, self._settings.batch_norm):
            return
        if parted:
            raise WiseftError(
                f"{keys}, but with batch_norm: train the statistics are those of a whole batch; "
                "set micro_batch to null and gpus to 1, or batch_norm to eval"
            )
        if 1 in (size, n % size, n):
            raise WiseftError(
                f"{n} training samples in batches of {size} leave a batch of one sample, whose "
                "statistics mean nothing with batch_norm: train; choose another batch_size or "
                "train_samples, or set batch_norm to eval"
            )

    def _advice(self) -> str:
        lower = "" if self._divisible else "lower batch_size, or "
        return (
            f"{lower}switch training.how.activation_checkpointing on, or train on a device with "
            f"more memory (batch_size {self._settings.batch_size}, training.how.gpus "
            f"{self.team.size}, training.how.micro_batch {self._how.micro_batch or 'null'})"
        )


def _as_fp32(module: nn.Module, inputs: Any, output: Any) -> Any:
    """Losses are computed in fp32, whatever the model computes in."""
    if isinstance(output, Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, tuple):
        return tuple(_as_fp32(module, inputs, part) for part in output)
    return output
