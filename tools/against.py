"""Methods against plain interpolation, at the same choice of alpha, with paired intervals.

    python -m tools.against digits-studies [--base end-to-end__digits]

Of every method of an experiment that was evaluated and swept: accuracy on the reference, and the
mean of an average's datasets, at the alpha that held-out images choose, at 0.5, and at the best one
for that mean (which looks at test labels: no way to choose, but what a method can reach). Beside
them, the mean's difference to the base method's at its own alpha of that choice, with the 95 %
interval of a bootstrap over test images, paired, for these models: of several seeds means are
taken, of a model that is made of several seeds the base's mean of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray

from wiseft.study.config import paths
from wiseft.study.targets import Run, Targets
from wiseft.tabulate.inputs import read_inputs
from wiseft.tabulate.intervals import percentile_interval
from wiseft.tabulate.predictions import Point
from wiseft.tabulate.schema import AVERAGE_PREFIX, read_table
from wiseft.tabulate.settings import TabulateSettings
from wiseft.tabulate.study import Study

CHOICES = ("held-out", "fixed", "oracle-column")


def main(
    experiment: Annotated[str, typer.Argument(help="Its table must be there.")],
    base: Annotated[str, typer.Option(help="Method that all are held against; first one.")] = "",
    average: Annotated[str, typer.Option(help="One of its averages.")] = "shifts",
) -> None:
    """Print a table in Markdown."""
    targets = Targets.read(Path(), {"experiment": experiment})
    base = base or targets.methods[0]
    runs = [run for run in targets.combined if run.model in targets.experiment.models]
    settings = TabulateSettings.model_validate_json(targets.told.statistics())
    places = [(run, name) for run in runs for name in targets.experiment.datasets]
    metrics = [paths.metrics_path(run.name, run.seed, name) for run, name in places]
    predictions = [paths.predictions_path(run.name, run.seed, name) for run, name in places]
    weights = settings.model_copy(update={"combinations": ["weight"], "kept": []})
    study = Study(experiment, weights, read_inputs(metrics, predictions, weights))
    table = read_table(targets.files.tables["table_parquet"])
    chosen = table[(table["dataset"] == AVERAGE_PREFIX + average) & (table["seed"].notna())]
    chosen = chosen[(chosen["combination"] == "weight") & (chosen["source"] == "measured")]
    print("| method | " + " | ".join(f"{each}: alpha, accuracies, over base" for each in CHOICES))
    print("|---" * (1 + len(CHOICES)) + "|")
    for method in targets.methods:
        mine = [run for run in runs if run.method_id == method]
        if mine:
            cells = (_cell(choice, mine, base, average, study, chosen) for choice in CHOICES)
            print(f"| {method} | " + " | ".join(cells) + " |")


def _cell(
    choice: str, runs: Sequence[Run], base: str, average: str, study: Study, chosen: pd.DataFrame
) -> str:
    reference, members = runs[0].reference, study.averages[average]

    def points(of: Sequence[tuple[str, int]]) -> list[Point]:
        rows = chosen[chosen["selection"] == choice].set_index(["run", "seed"])["alpha"]
        return [Point(*key, "weight", f"{rows.loc[key]:.3f}") for key in of]

    theirs = [run for run in chosen["run"].unique() if run.endswith(f"__{base}")]
    seeds = {run.seed for run in runs} if len(runs) > 1 else set(chosen["seed"])
    there = chosen[chosen["run"].isin(theirs) & chosen["seed"].isin(seeds)]
    of_base = points(list(there[["run", "seed"]].drop_duplicates().itertuples(False, None)))
    mine = points([(run.name, run.seed) for run in runs])

    def mean(of: list[Point]) -> float:
        return float(np.mean([study.average(dict.fromkeys(members, point)) for point in of]))

    def draws(of: list[Point]) -> NDArray[np.float64]:
        return np.mean([study.average_draws(dict.fromkeys(members, point)) for point in of], axis=0)

    low, high = (100 * float(end) for end in percentile_interval(draws(mine) - draws(of_base)))
    own = 100 * np.mean([study.value(point, reference) for point in mine])
    alphas = "/".join(dict.fromkeys(f"{float(point.alpha):g}" for point in mine))
    gain = 100 * (mean(mine) - mean(of_base))
    between = f"{low:+.1f} to {high:+.1f}"
    return f"{alphas}: {own:.1f} / {100 * mean(mine):.1f}, {gain:+.1f} ({between})"


if __name__ == "__main__":
    typer.run(main)
