"""`wiseft diversity`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def diversity(
    second: Annotated[Path, typer.Option()],
    dataset: Annotated[list[Path], typer.Option()],
    reference: Annotated[Path, typer.Option()],
    output_dir: Annotated[Path, typer.Option()],
    first: Path | None = None,
    alpha: str = "0.500",
    split: str = "test",
    views: str = "{}",
) -> None:
    """Measure how differently two classifiers predict the same samples.

    Args:
        second: Folder of a run's evaluation (`<dataset>/predictions.parquet` and, from `wiseft
            evaluate --logits 0.000,1.000`, `logits.safetensors`); its fine-tuned end.
        dataset: A dataset's manifest; repeatable.
        reference: Manifest of the dataset whose classes the heads predict.
        output_dir: Files go to <output-dir>/<dataset>.json.
        first: The same of another run; without it the zero-shot end of --second, and the ensemble
            of both is looked at too.
        alpha: Of that ensemble.
        split: Split that is compared.
        views: View of a dataset by its name, as JSON; `all` where it is not.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.study.diversity.pairs import Pair, measure_pair

    chosen = parse_settings(dict[str, str], views, "--views")
    measure_pair(Pair(second, first, alpha), dataset, chosen, reference, split, output_dir)
