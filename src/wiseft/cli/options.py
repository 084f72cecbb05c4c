"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Root = Annotated[Path, typer.Option(help="The project's root, the folder that holds config/.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto.")]
Precision = Annotated[
    str,
    typer.Option(help="Arithmetic of the tower: fp32, bf16, fp16, or tf32 (fp32 elsewhere)."),
]
Threads = Annotated[int, typer.Option(help="CPU threads; of a team, of each process.")]
ThetaZero = Annotated[Path, typer.Option("--theta-0", help="The zero-shot theta.")]
ThetaOne = Annotated[Path, typer.Option("--theta-1", help="Output: the trained theta.")]
Curve = Annotated[Path, typer.Option(help="Output: the training curve, CSV.")]
Preprocessing = Annotated[str, typer.Option(help="As in config/models: JSON or @file.yaml.")]
Features = Annotated[
    Path | None,
    typer.Option(
        envvar="WISEFT_FEATURES",
        help="Folder that keeps features of frozen image towers for other runs.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        envvar="WISEFT_BATCH_SIZE",
        help="Images in a forward pass. Default: 500; fewer of large images on a CPU, and where a "
        "GPU has no memory for them.",
    ),
]
