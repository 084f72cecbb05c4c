"""`wiseft finetune` and `wiseft baseline`."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wiseft.cli.options import (
    Curve,
    Device,
    Features,
    Preprocessing,
    ThetaOne,
    ThetaZero,
    Threads,
)

if TYPE_CHECKING:
    import torch

    from wiseft.study.config.machine import HowSettings
    from wiseft.study.finetune.trainer import Execution

Dataset = Annotated[Path, typer.Option(help="Manifest of the dataset whose train split is used.")]
Settings = Annotated[str, typer.Option(help="Fine-tuning settings, as JSON or @file.yaml.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the subset, the order and random weights.")]
State = Annotated[
    Path, typer.Option(help="Folder of the resume state; what is in it is removed at the end.")
]
How = Annotated[
    str,
    typer.Option(
        envvar="WISEFT_HOW",
        help="How it is carried out on this machine, as JSON or @file.yaml: gpus, micro_batch, "
        "workers, compile, ... (training.how in config/README.md).",
    ),
]
Record = Annotated[
    Path | None, typer.Option(help="Output: time, images/s and peak memory, JSON (optional).")
]
TensorBoard = Annotated[
    Path | None,
    typer.Option(
        "--tensorboard-dir",
        help="Folder for TensorBoard, with tensorboard: true in --how; beside the curve if not "
        "given.",
    ),
]


def finetune(
    context: typer.Context,
    theta_0: ThetaZero,
    dataset: Dataset,
    settings: Settings,
    seed: Seed,
    state: State,
    theta_1: ThetaOne,
    curve: Curve,
    how: How = "{}",
    record: Record = None,
    tensorboard_dir: TensorBoard = None,
    features: Features = None,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Fine-tune theta_0 on the reference dataset, end to end or the head alone.

    A killed run goes on from its state where the same command is given again. Under torchrun, or
    with gpus in --how, several processes share every batch.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.study.config import FinetuneSettings
    from wiseft.study.config.machine import HowSettings
    from wiseft.study.finetune import finetune as stage
    from wiseft.study.finetune.search import found_settings

    chosen = found_settings(parse_settings(FinetuneSettings, settings))
    outputs = stage.Outputs(theta_1, curve, state, record, tensorboard_dir, features)

    def train(execution: Execution, where: torch.device) -> None:
        stage.finetune(theta_0, dataset, chosen, seed, outputs, device=where, execution=execution)

    _carry_out(context, train, parse_settings(HowSettings, how, "--how"), device, threads)


def baseline(
    context: typer.Context,
    architecture: Annotated[Path, typer.Option(help="open_clip model config, JSON.")],
    preprocessing: Preprocessing,
    dataset: Dataset,
    settings: Settings,
    seed: Seed,
    state: State,
    theta_1: ThetaOne,
    curve: Curve,
    how: How = "{}",
    record: Record = None,
    tensorboard_dir: TensorBoard = None,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Train the image tower with a new head from scratch, without any zero-shot model."""
    from wiseft.base.loading import parse_settings
    from wiseft.models.towers.open_clip_models import architecture_from_json
    from wiseft.study import config
    from wiseft.study.config import FinetuneSettings
    from wiseft.study.config.machine import HowSettings
    from wiseft.study.finetune import finetune as stage

    chosen = parse_settings(FinetuneSettings, settings)
    pixels = parse_settings(config.Preprocessing, preprocessing, "--preprocessing")
    outputs = stage.Outputs(theta_1, curve, state, record, tensorboard_dir)
    layers = architecture_from_json(architecture)

    def train(execution: Execution, where: torch.device) -> None:
        stage.train_from_scratch(
            layers, pixels, dataset, chosen, seed, outputs, device=where, execution=execution
        )

    _carry_out(context, train, parse_settings(HowSettings, how, "--how"), device, threads)


def _carry_out(
    context: typer.Context,
    train: Callable[[Execution, torch.device], None],
    how: HowSettings,
    device: str,
    threads: int,
) -> None:
    """Run a training in this process, in the team that torchrun started, or in a new team."""
    from wiseft.models.runtime import start_torch
    from wiseft.study.finetune.parallel import launch, team, under_torchrun
    from wiseft.study.finetune.state import Interrupted
    from wiseft.study.finetune.trainer import Execution

    # Processes of a team share what the one that started them has taken.
    gpus = 0 if under_torchrun() else how.gpus
    where = start_torch(threads, device, how.deterministic, gpus)
    if how.gpus > 1 and not under_torchrun():
        code = launch(_arguments(context), how.gpus, threads)
        if code:
            raise typer.Exit(code)
        return
    try:
        with team(where) as (of, mine):
            _traced(train, of.size > 1)(Execution(how, of), mine)
    except Interrupted as end:
        if end.leads:
            print(end, file=sys.stderr, flush=True)
        raise typer.Exit(128 + end.signum) from None


def _arguments(context: typer.Context) -> list[str]:
    """Return the command that is being run, and its options, for other processes to run."""
    given = [str(context.command.name)]
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        if value is not None:
            given += [parameter.opts[0], str(value)]
    return given


def _traced(train: Callable[..., None], shared: bool) -> Callable[..., None]:
    """Return the training such that an error in one of several processes is told in full.

    torchrun repeats, at the end, the error of the process that failed first.
    """
    if not shared:
        return train
    from torch.distributed.elastic.multiprocessing.errors import record

    from wiseft.errors import WiseftError
    from wiseft.study.finetune.state import Interrupted

    def told(*arguments: Any) -> None:
        try:
            train(*arguments)
        except (WiseftError, Interrupted):
            raise
        except Exception:
            traceback.print_exc()
            raise

    return record(told)
