"""Commands of the finetune stage: `finetune`, `baseline` and `search`."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wiseft.cli.options import Curve, Device, Features, Preprocessing, ThetaOne, ThetaZero, Threads

if TYPE_CHECKING:
    from wiseft.study.config.machine import HowSettings

Dataset = Annotated[Path, typer.Option(help="Manifest of the dataset to train on (split train).")]
Settings = Annotated[str, typer.Option(help="Fine-tuning settings, as JSON or @file.yaml.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of subset, order and random weights.")]
State = Annotated[Path, typer.Option(help="Folder for the resume state; emptied at the end.")]
How = Annotated[
    str,
    typer.Option(
        envvar="WISEFT_HOW",
        help="How to train on this machine, as JSON or @file.yaml: gpus, micro_batch, workers, "
        "compile, ... (training.how in config/README.md).",
    ),
]
Record = Annotated[
    Path | None, typer.Option(help="JSON file to write: time, images/s and peak memory.")
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
    features: Features = None,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Fine-tune theta_0 on the reference dataset, end to end or the head alone.

    Give the same command again to resume a killed run from its state. Under torchrun, or with gpus
    in --how, several processes share every batch.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.study.config import FinetuneSettings
    from wiseft.study.finetune import finetune as stage
    from wiseft.study.finetune.search import found_settings

    chosen = found_settings(parse_settings(FinetuneSettings, settings))
    outputs = stage.Outputs(theta_1, curve, state, record, features)
    train = partial(stage.finetune, theta_0, dataset, chosen, seed, outputs)
    _carry_out(context, train, how, device, threads)


def baseline(
    context: typer.Context,
    architecture: Annotated[Path, typer.Option()],
    preprocessing: Preprocessing,
    dataset: Dataset,
    settings: Settings,
    seed: Seed,
    state: State,
    theta_1: ThetaOne,
    curve: Curve,
    how: How = "{}",
    record: Record = None,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Train the image tower with a new head from scratch, without any zero-shot model.

    Args:
        architecture: JSON file with an open_clip model configuration.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.models.towers.open_clip_models import architecture_from_json
    from wiseft.study.config import FinetuneSettings
    from wiseft.study.finetune import finetune as stage
    from wiseft.thetas import preprocessing as pixel_settings

    chosen = parse_settings(FinetuneSettings, settings)
    pixels = parse_settings(pixel_settings.Preprocessing, preprocessing, "--preprocessing")
    outputs = stage.Outputs(theta_1, curve, state, record)
    layers = architecture_from_json(architecture)
    train = partial(stage.train_from_scratch, layers, pixels, dataset, chosen, seed, outputs)
    _carry_out(context, train, how, device, threads)


def search(
    theta_0: ThetaZero,
    dataset: Annotated[Path, typer.Option()],
    settings: Annotated[str, typer.Option()],
    seed: Annotated[int, typer.Option(min=0)],
    state: Annotated[Path, typer.Option()],
    theta_1: Annotated[Path, typer.Option()],
    curve: Annotated[Path, typer.Option()],
    trials: Annotated[Path, typer.Option()],
    features: Features = None,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Search the settings of a linear classifier at random, as the paper does, and keep the best.

    The best trial has the highest accuracy on held-out images of the reference. Give the same
    command again to resume an interrupted search with the remaining trials.

    Args:
        dataset: Manifest of the reference dataset.
        settings: Fine-tuning settings with `trainable: head` and `search`: JSON or @file.yaml.
        seed: Seed of trials, subset, order and head.
        state: Folder of finished trials; emptied at the end.
        theta_1: Theta file to write: the classifier of the best trial.
        curve: CSV file to write: the training curve of the best trial.
        trials: CSV file to write: every trial with its held-out accuracy.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.cli.options import start_job
    from wiseft.study.config import FinetuneSettings
    from wiseft.study.finetune.finetune import Outputs
    from wiseft.study.finetune.search import run_search
    from wiseft.study.finetune.state import Interrupted

    chosen = parse_settings(FinetuneSettings, settings)
    outputs = Outputs(theta_1, curve, state, features=features)
    where = start_job(threads, device)
    try:
        run_search(theta_0, dataset, chosen, seed, outputs, trials, device=where)
    except Interrupted as end:
        typer.echo(str(end), err=True)
        raise typer.Exit(128 + end.signum) from None


def _carry_out(
    context: typer.Context, train: Callable[..., object], how: str, device: str, threads: int
) -> None:
    """Run a training in this process, in the team that torchrun started, or in a new team."""
    from wiseft.base.loading import parse_settings
    from wiseft.cli.options import start_job
    from wiseft.study.config.machine import HowSettings
    from wiseft.study.finetune.parallel import launch, team, under_torchrun
    from wiseft.study.finetune.state import Interrupted
    from wiseft.study.finetune.trainer import Execution

    chosen = parse_settings(HowSettings, how, "--how")
    count = _gpus(chosen, context.params["theta_1"])
    chosen = chosen.model_copy(update={"gpus": count})
    # Processes of a team share what the one that started them has taken.
    gpus = 0 if under_torchrun() else count
    where = start_job(threads, device, chosen.deterministic, gpus)
    if count > 1 and not under_torchrun():
        code = launch(_arguments(context), count, threads)
        if code:
            raise typer.Exit(code)
        return
    try:
        with team(where) as (of, mine):
            _traced(train, of.size > 1)(device=mine, execution=Execution(chosen, of))
    except Interrupted as end:
        if end.leads:
            print(end, file=sys.stderr, flush=True)
        raise typer.Exit(128 + end.signum) from None


def _gpus(how: HowSettings, theta_1: Path) -> int:
    """Return the processes of a training, which a mapping has by the run that the file is of."""
    from wiseft.base.names import split_run_name
    from wiseft.errors import WiseftError

    if isinstance(how.gpus, int):
        return how.gpus
    try:
        model, _, *method = split_run_name(theta_1.absolute().parents[1].name)
    except (WiseftError, IndexError, ValueError):
        raise WiseftError(
            f"gpus in --how is a mapping by model or method, and {theta_1} lies in no folder of a "
            "run that would tell them; give a number"
        ) from None
    return how.gpus_of(model, "__".join(filter(None, method)))


def _arguments(context: typer.Context) -> list[str]:
    """Return the command that is being run, and its options, for other processes to run."""
    given = [str(context.command.name)]
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        if value is not None:
            given += [parameter.opts[0], str(value)]
    return given


def _traced(train: Callable[..., object], shared: bool) -> Callable[..., object]:
    """Return the training such that an error in one of several processes is told in full.

    torchrun repeats, at the end, the error of the process that failed first.
    """
    if not shared:
        return train
    from torch.distributed.elastic.multiprocessing.errors import record

    from wiseft.errors import WiseftError
    from wiseft.study.finetune.state import Interrupted

    def told(**how: Any) -> None:
        try:
            train(**how)
        except (WiseftError, Interrupted):
            raise
        except Exception:
            traceback.print_exc()
            raise

    return record(told)
