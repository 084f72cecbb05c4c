"""Commands of the zeroshot stage: `zeroshot` and `text-tower`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wiseft.cli.options import Device, Precision, ThetaZero, Threads


def zeroshot(
    weights: Annotated[Path, typer.Option()],
    dataset: Annotated[Path, typer.Option()],
    theta_0: Annotated[Path, typer.Option()],
    prompts: str | None = None,
    spread_over: Path | None = None,
    names_of: Path | None = None,
    label_map: Path | None = None,
    calibrate: str | None = None,
    precision: Precision = "fp32",
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Build the zero-shot head from prompts, and write it with the image tower as theta_0.

    For a supervised model (timm) the head is made of rows of its classifier, matched by class id.

    Args:
        weights: Weights file of the zero-shot model, with both towers.
        dataset: Manifest of the dataset with the class names.
        theta_0: Theta file to write.
        prompts: Prompt templates, as JSON (["a photo of a {c}", ...]) or @file. A supervised model
            without a text tower needs none.
        spread_over: Manifest of the dataset to which the label map of --dataset leads. The head is
            spread over its classes, so that it can be interpolated with a head for them.
        names_of: Manifest of a dataset whose label map leads to --dataset. The prompts then use its
            class names for the classes that the label map connects.
        label_map: For a supervised model: JSON object that maps the dataset's class ids (or names)
            to ids of its pre-training classes. Several ids are an object of ids and names. Default:
            equal ids match.
        calibrate: Split of --dataset on which the temperature of the logits is fitted. The head is
            divided by the temperature, as the paper does for ALIGN.
    """
    from wiseft.cli.options import parse_templates, start_job
    from wiseft.models.precision import settled
    from wiseft.zeroshot.theta_0 import make_theta_0

    on = start_job(threads, device)
    make_theta_0(
        weights,
        dataset,
        parse_templates(prompts) if prompts is not None else None,
        theta_0,
        spread_over=spread_over,
        names_of=names_of,
        label_map=label_map,
        calibrate=calibrate,
        precision=settled(precision, on),
        device=on,
    )


def text_tower(
    theta_0: ThetaZero,
    weights: Annotated[Path, typer.Option()],
    output: Annotated[Path, typer.Option()],
) -> None:
    """Add the text tower to theta_0, because contrastive fine-tuning trains it too.

    Both ends of an interpolation need it. If the fine-tuned model has `loss: contrastive`, give
    this output as theta_0 to every command.

    Args:
        weights: Weights file of the zero-shot model from which theta_0 was made.
        output: Theta file to write: theta_0 with the text tower.
    """
    from wiseft.models.runtime import check_writable
    from wiseft.zeroshot.text_tower import add_text_tower

    check_writable(output)
    add_text_tower(theta_0, weights, output)
