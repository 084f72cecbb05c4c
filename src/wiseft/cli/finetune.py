"""`wiseft finetune` and `wiseft baseline`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Dataset = Annotated[Path, typer.Option(help="Manifest of the dataset whose train split is used.")]
Settings = Annotated[str, typer.Option(help="Fine-tuning settings, as JSON or @file.yaml.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the subset, the order and random weights.")]
State = Annotated[Path, typer.Option(help="Folder of the resume state; removed at the end.")]
ThetaOne = Annotated[Path, typer.Option("--theta-1", help="Output: the trained theta.")]
Curve = Annotated[Path, typer.Option(help="Output: the training curve, CSV.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto.")]
Threads = Annotated[int, typer.Option(help="CPU threads.")]


def register(app: typer.Typer) -> None:
    """Add the commands of the stage."""
    app.command()(finetune)
    app.command()(baseline)


def finetune(
    theta_0: Annotated[Path, typer.Option("--theta-0", help="The zero-shot theta.")],
    dataset: Dataset,
    settings: Settings,
    seed: Seed,
    state: State,
    theta_1: ThetaOne,
    curve: Curve,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Fine-tune theta_0 on the reference dataset, end to end or the head alone."""
    from wiseft import finetune as stage
    from wiseft.config import FinetuneSettings, parse_settings
    from wiseft.runtime import start_torch

    chosen = parse_settings(FinetuneSettings, settings)
    outputs = stage.Outputs(theta_1, curve, state)
    where = start_torch(threads, device)
    stage.finetune(theta_0, dataset, chosen, seed, outputs, device=where)


def baseline(
    architecture: Annotated[Path, typer.Option(help="open_clip model config, JSON.")],
    preprocessing: Annotated[str, typer.Option(help="size, mean and std, as JSON or @file.yaml.")],
    dataset: Dataset,
    settings: Settings,
    seed: Seed,
    state: State,
    theta_1: ThetaOne,
    curve: Curve,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Train the image tower with a new head from scratch, without any zero-shot model."""
    from wiseft import finetune as stage
    from wiseft.classifier import architecture_from_json
    from wiseft.config import FinetuneSettings, Preprocessing, parse_settings
    from wiseft.runtime import start_torch

    chosen = parse_settings(FinetuneSettings, settings)
    pixels = parse_settings(Preprocessing, preprocessing, "--preprocessing")
    outputs = stage.Outputs(theta_1, curve, state)
    layers = architecture_from_json(architecture)
    where = start_torch(threads, device)
    stage.train_from_scratch(layers, pixels, dataset, chosen, seed, outputs, device=where)
