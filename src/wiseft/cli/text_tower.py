"""`wiseft text-tower`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wiseft.cli.options import ThetaZero


def text_tower(
    theta_0: ThetaZero,
    weights: Annotated[Path, typer.Option(help="The zero-shot model that it was made of.")],
    output: Annotated[Path, typer.Option(help="Output: theta_0 with the text tower.")],
) -> None:
    """Put the text tower into theta_0, which contrastive fine-tuning trains too.

    Both ends of an interpolation must have it: give the output as theta_0 wherever the fine-tuned
    end is of `loss: contrastive`.
    """
    from wiseft.models.runtime import check_writable
    from wiseft.zeroshot.text_tower import add_text_tower

    check_writable(output)
    add_text_tower(theta_0, weights, output)
