"""All figures of an experiment in one go: the paper's, from published numbers and measured ones.

The workflow draws one figure a job. Without runs there is no workflow, and figures take a second
each, so here they are drawn side by side from one table that is put together once.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from wiseft.base.io import write_text
from wiseft.errors import WiseftError
from wiseft.figures.saving import METADATA
from wiseft.study.config import Catalogue
from wiseft.study.config.experiment import ExperimentEntry
from wiseft.study.config.experiment_parts import FigureSettings
from wiseft.study.paper.context import figure_context
from wiseft.study.paper.figure import make_figure
from wiseft.study.paper.published import join, with_zero_shot

CAPTIONS = "captions.md"
PROCESSES = 2


def draw_all(
    experiment: ExperimentEntry,
    catalogue: Catalogue,
    measured: Sequence[pd.DataFrame],
    datasets_root: Path,
    folder: Path,
    zero_shot: Sequence[pd.DataFrame] = (),
) -> list[Path]:
    """Draw the figures of an experiment as PDF, PNG and SVG, and write their captions.

    Args:
        experiment: its `published` says which numbers of the paper are drawn.
        catalogue: entries of datasets, for names and sample counts.
        measured: tidy tables, whose measured rows are drawn as well.
        datasets_root: where `wiseft testbed` puts other models' accuracies.
        folder: where the figures are written.
        zero_shot: tidy tables through whose zero-shot models the line in figures goes.

    Returns:
        The PNG files.

    Raises:
        WiseftError: if the experiment has no published numbers, or a figure cannot be drawn.
    """
    if experiment.published is None:
        raise WiseftError(
            f"experiment {experiment.experiment} has no key `published`; its figures are drawn by "
            f"the workflow: snakemake --cores all --config experiment={experiment.experiment}"
        )
    joined = join(measured, experiment.published, catalogue, datasets_root)
    table = with_zero_shot(joined, zero_shot)
    context = figure_context(experiment, catalogue)
    with ProcessPoolExecutor(max_workers=PROCESSES) as pool:
        jobs = [
            pool.submit(_draw, name, settings, table, context, folder)
            for name, settings in experiment.figures.items()
        ]
        drawn = [job.result() for job in jobs]
    write_text(folder / CAPTIONS, captions(experiment))
    return drawn


def _draw(
    name: str, settings: FigureSettings, table: pd.DataFrame, context: dict[str, Any], folder: Path
) -> Path:
    paths = [folder / f"{name}{suffix}" for suffix in METADATA]
    make_figure(name, settings.draw, table, settings.options, paths, context)
    return folder / f"{name}.png"


def captions(experiment: ExperimentEntry) -> str:
    """Return the captions of an experiment's figures as Markdown."""
    parts = [f"# {experiment.title}: figures\n"]
    for name, settings in experiment.figures.items():
        parts.append(f"## {name}\n\n![{name}]({name}.png)\n\n{settings.caption}\n")
    return "\n".join(parts)
