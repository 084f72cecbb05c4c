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
    """Build the zero-shot head from prompts; with the image tower it is theta_0.

    The head of a supervised model (timm) is made of its classifier's rows, by the ids of the
    classes.

    Args:
        weights: Weights of the zero-shot model, both towers.
        dataset: Manifest of the dataset that names the classes.
        theta_0: Output: theta_0.
        prompts: Templates, as JSON: ["a photo of a {c}", ...], or @ and the name of a file. A
            supervised model without a text tower has none.
        spread_over: Manifest of the dataset that the label map of --dataset is to; the head is
            spread over its classes, so that it can be interpolated with a head of that one.
        names_of: Manifest of a dataset whose label map is to --dataset: its class names stand in
            the prompts of the classes that its own are made of.
        label_map: For a supervised model: JSON object of the dataset's class ids (or names) to the
            ids of the classes it was pre-trained on; of several classes to an object of ids and
            names. Default: equal ids match.
        calibrate: Split of --dataset on which the temperature of the logits is fitted; the head is
            divided by it, as the paper does for ALIGN.
    """
    from wiseft.models.precision import settled
    from wiseft.models.runtime import start_torch
    from wiseft.zeroshot.prompts import parse_templates
    from wiseft.zeroshot.theta_0 import make_theta_0

    on = start_torch(threads, device)
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
    """Put the text tower into theta_0, which contrastive fine-tuning trains too.

    Both ends of an interpolation must have it: give the output as theta_0 wherever the fine-tuned
    end is of `loss: contrastive`.

    Args:
        weights: The zero-shot model that it was made of.
        output: Output: theta_0 with the text tower.
    """
    from wiseft.models.runtime import check_writable
    from wiseft.zeroshot.text_tower import add_text_tower

    check_writable(output)
    add_text_tower(theta_0, weights, output)
