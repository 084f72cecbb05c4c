"""`wiseft zeroshot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command of the stage."""
    app.command()(zeroshot)


def zeroshot(
    weights: Annotated[Path, typer.Option(help="Weights of the zero-shot model, both towers.")],
    dataset: Annotated[Path, typer.Option(help="Manifest of the dataset that names the classes.")],
    prompts: Annotated[str, typer.Option(help='Templates, as JSON: ["a photo of a {c}", ...].')],
    theta_0: Annotated[Path, typer.Option("--theta-0", help="Output: theta_0.")],
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Build the zero-shot head from prompts; with the image tower it is theta_0."""
    from wiseft.runtime import start_torch
    from wiseft.zeroshot import make_theta_0, parse_templates

    templates = parse_templates(prompts)
    make_theta_0(weights, dataset, templates, theta_0, device=start_torch(threads, device))
