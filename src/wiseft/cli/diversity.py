"""`wiseft diversity`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def diversity(
    second: Annotated[
        Path,
        typer.Option(
            help="Folder of a run's evaluation (`<dataset>/predictions.parquet` and, from "
            "`wiseft evaluate --logits 0.000,1.000`, `logits.safetensors`); its fine-tuned end."
        ),
    ],
    dataset: Annotated[list[Path], typer.Option(help="A dataset's manifest; repeatable.")],
    reference: Annotated[
        Path, typer.Option(help="Manifest of the dataset whose classes the heads predict.")
    ],
    output_dir: Annotated[Path, typer.Option(help="Files go to <output-dir>/<dataset>.json.")],
    first: Annotated[
        Path | None,
        typer.Option(
            help="The same of another run; without it the zero-shot end of --second, and the "
            "ensemble of both is looked at too."
        ),
    ] = None,
    alpha: Annotated[str, typer.Option(help="Of that ensemble.")] = "0.500",
    split: Annotated[str, typer.Option(help="Split that is compared.")] = "test",
    views: Annotated[
        str, typer.Option(help="View of a dataset by its name, as JSON; `all` where it is not.")
    ] = "{}",
) -> None:
    """Measure how differently two classifiers predict the same samples."""
    from pydantic import RootModel

    from wiseft.base.loading import parse_settings
    from wiseft.study.diversity.pairs import Pair, measure_pair

    chosen = parse_settings(RootModel[dict[str, str]], views, "--views").root
    measure_pair(Pair(second, first, alpha), dataset, chosen, reference, split, output_dir)
