"""`wiseft search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wiseft.cli.options import Device, Features, ThetaZero, Threads


def search(
    theta_0: ThetaZero,
    dataset: Annotated[Path, typer.Option(help="Manifest of the reference dataset.")],
    settings: Annotated[
        str,
        typer.Option(
            help="Fine-tuning settings with `trainable: head` and `search`, as JSON or @file.yaml."
        ),
    ],
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the trials, the subset, the order, the head.")
    ],
    state: Annotated[Path, typer.Option(help="Folder of finished trials; emptied at the end.")],
    theta_1: Annotated[
        Path, typer.Option("--theta-1", help="Output: the classifier of the trial that won.")
    ],
    curve: Annotated[Path, typer.Option(help="Output: its training curve, CSV.")],
    trials: Annotated[
        Path, typer.Option(help="Output: every trial with its held-out accuracy, CSV.")
    ],
    features: Features = None,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Search the settings of a linear classifier at random, as the paper does, and keep the best.

    Trials are chosen among by their accuracy on held-out images of the reference. A search that is
    interrupted goes on with the trials that are left.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.models.runtime import start_torch
    from wiseft.study.config import FinetuneSettings
    from wiseft.study.finetune.search import SearchOutputs, run_search
    from wiseft.study.finetune.state import Interrupted

    chosen = parse_settings(FinetuneSettings, settings)
    outputs = SearchOutputs(theta_1, curve, trials, state, features)
    where = start_torch(threads, device)
    try:
        run_search(theta_0, dataset, chosen, seed, outputs, device=where)
    except Interrupted as end:
        typer.echo(str(end), err=True)
        raise typer.Exit(128 + end.signum) from None
