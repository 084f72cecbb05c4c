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
        second: Folder of a run's evaluation, whose fine-tuned model is compared. It holds
            <dataset>/predictions.parquet and, from `wiseft evaluate --logits 0.000,1.000`,
            logits.safetensors.
        dataset: Manifest of a dataset. Repeatable.
        reference: Manifest of the dataset whose classes the heads predict.
        output_dir: Folder for the results, <dataset>.json.
        first: Evaluation folder of another run, to compare with. Default: the zero-shot model of
            --second; then the ensemble of both is measured too.
        alpha: Alpha of the ensemble.
        split: Split to compare.
        views: JSON object that maps a dataset's name to one of its views. Default: `all` for each.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.study.diversity.pairs import Pair, measure_pair

    chosen = parse_settings(dict[str, str], views, "--views")
    measure_pair(Pair(second, first, alpha), dataset, chosen, reference, split, output_dir)
