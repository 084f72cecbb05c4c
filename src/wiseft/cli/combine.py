"""Commands of the combine stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command `interpolate`."""
    app.command("interpolate")(interpolate)


def interpolate(
    theta_0: Annotated[Path, typer.Option(help="The zero-shot end, alpha 0.")],
    theta_1: Annotated[Path, typer.Option(help="The fine-tuned end, alpha 1.")],
    alpha: Annotated[str, typer.Option(help="Three decimals in [0, 1], e.g. 0.500.")],
    output: Annotated[Path, typer.Option(help="The theta file to write.")],
) -> None:
    """Write the weights between two models: (1 - alpha) theta_0 + alpha theta_1."""
    from wiseft.combine.files import interpolate_files

    sha256 = interpolate_files(theta_0, theta_1, alpha, output)
    typer.echo(f"interpolate: wrote {output} (alpha {alpha}, sha256 {sha256[:12]})", err=True)
