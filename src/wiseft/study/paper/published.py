"""Published rows beside measured ones, and the lines through other models.

The line of effective robustness goes through the test bed's models of standard training, a second
one through OpenAI's zero-shot CLIPs (paper, section 2). Where the table has no such models, the
lines that were once fitted to them stand in, and say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue
from wiseft.study.config.experiment_parts import PublishedSettings
from wiseft.study.config.paths import DATASETS_ROOT
from wiseft.study.published.numbers import rows
from wiseft.study.published.successors import successor_rows
from wiseft.study.published.testbed import at_hand, lines, testbed_rows
from wiseft.tabulate.robustness import BaselineFit, fit_points
from wiseft.tabulate.schema import TABLE, conform, frame_of
from wiseft.tabulate.table import sort_table

STANDARD, ZERO_SHOT = "standard", "zero-shot"
BELOW_KNEE, ABOVE_KNEE = "standard-below-knee", "standard-above-knee"
"""Kinds of lines: through all models of standard training; its two pieces, because ImageNet-A's has
a knee; and through zero-shot models.
"""

CLASS_VIEWS = {
    "imagenet-r": "imagenet-r-classes",
    "objectnet": "objectnet-classes",
    "imagenet-a": "imagenet-a-classes",
    "imagenet-vid-robust": "imagenet-vid-robust-classes",
    "ytbb-robust": "ytbb-robust-classes",
}
"""View of ImageNet, restricted to the dataset's classes, that the paper has on the x axis."""

KNEES = {"imagenet-a-classes": (0.75, 0.9186), "all": (0.55, 0.7613)}
"""By view of ImageNet: the lowest accuracy that the test bed's pieces for ImageNet-A start from,
and that of ResNet-50, against which the set was built and where they meet."""


POINT = ["source", "run", "seed", "combination", "alpha", "dataset", "split", "view", "metric"]
POINT += ["selection", "model", "method", "variant"]
"""Columns that tell a number from all others."""


TRANSFERS = ("all-images", "short-warmup-all-images", "", "short-warmup")
"""Variants of end-to-end fine-tuning that stand for the paper's, the first that there is: as it
does, on all training images; on small sets with a warm-up that ends before the training."""


def join(
    measured: Sequence[pd.DataFrame],
    settings: PublishedSettings,
    catalogue: Catalogue,
    root: str | Path = DATASETS_ROOT,
) -> pd.DataFrame:
    """Return published rows, behind measured ones where there are any, as one tidy table.

    Args:
        measured: tidy tables of experiments, whose measured rows are kept; a row that several
            have stands there once.
        settings: the key `published` of the experiment.
        catalogue: where the test samples of the datasets are from.
        root: the folder of the datasets; other models are joined if their files lie there.

    Raises:
        WiseftError: if the paper has no such numbers, a file of the test bed is broken, measured
            tables contradict each other, or no numbers are there at all.
    """
    parts = [table[table["source"] == "measured"] for table in measured]
    if settings.measured and not parts and not settings.tables:  # all are of other experiments
        raise WiseftError(
            f"no table of {', '.join(settings.measured)} is here, which alone are shown; first run "
            f"one, e.g. snakemake --cores all --config experiment={settings.measured[0]}"
        )
    if settings.tables:
        parts.append(conform(rows(settings.tables, settings.models, catalogue), TABLE))
    if settings.successors:
        parts.append(conform(successor_rows(), TABLE))
    if settings.other_models and at_hand(root):
        parts.append(conform(testbed_rows(root, catalogue), TABLE))
    if not parts:
        return frame_of([], TABLE)
    return sort_table(without_repeats(pd.concat(parts, ignore_index=True)))


def with_zero_shot(table: pd.DataFrame, measured: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return a table with the zero-shot models of other experiments as rows of method `zero-shot`.

    A model, which several methods start from, is there once. Through these models a line goes on
    the classes of each shift as well, where open_clip publishes nothing.
    """
    if not measured:
        return table
    ends = pd.concat(measured, ignore_index=True)
    ends = ends[(ends["alpha"] == 0) & (ends["combination"] == "weight")]
    ends = ends[(ends["source"] == "measured") & (ends["selection"] == "grid")]
    place = ["model", "reference", "dataset", "split", "view", "metric"]
    ends = ends.drop_duplicates(place).assign(method=ZERO_SHOT, variant="")
    return pd.concat([table, ends], ignore_index=True)


def without_repeats(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of several tables, the number that two of them have once.

    Raises:
        WiseftError: if two tables have different values of the same run.
    """
    kept = rows.drop_duplicates([*POINT, "value"])
    # Choices of alpha depend on an experiment's own grid and averages; points of a grid do not.
    points = kept[kept["selection"] == "grid"]
    twice = points[points.duplicated(POINT)]
    if len(twice):
        first = twice.iloc[0]
        raise WiseftError(
            f"the tables have different values of run {first['run']}, seed {first['seed']}, on "
            f"{first['dataset']} ({first['split']}, {first['view']}) at alpha {first['alpha']}; "
            "one of them is out of date: rerun the stage tabulate"
        )
    return kept


def model_points(
    table: pd.DataFrame, dataset: str, method: str = STANDARD, x_view: str = "all"
) -> pd.DataFrame:
    """Return other models that are in the table: `model`, `x` and `y`, fractions.

    Args:
        table: the tidy table.
        dataset: what is on the y axis; `avg:shifts` is the average of the five shifts.
        method: `standard`, `robustness-intervention`, `lp-adversarial`, `more-data`, `zero-shot`,
            of which measured ones take the place of published ones (:func:`other_source`).
        x_view: view of ImageNet on the x axis; see `CLASS_VIEWS`.
    """
    other = table[
        (table["source"] == other_source(table, method))
        & (table["method"] == method)
        & (table["reference"] == "imagenet")
        & (table["split"] == "test")
    ]
    x = other[(other["dataset"] == "imagenet") & (other["view"] == x_view)]
    y = other[(other["dataset"] == dataset) & (other["view"] == "all")]
    joined = x[["model", "value"]].merge(y[["model", "value"]], on="model", suffixes=("_x", "_y"))
    return joined.rename(columns={"value_x": "x", "value_y": "y"})


def other_source(table: pd.DataFrame, method: str) -> str:
    """Return whether models of a method are measured (:func:`with_zero_shot`) or published."""
    measured = (table["source"] == "measured") & (table["method"] == ZERO_SHOT)
    return "measured" if method == ZERO_SHOT and measured.any() else "published"


def line_kinds(method: str, dataset: str, x_view: str = "all") -> list[str]:
    """Return the kinds of the lines through other models: none, one, or the two pieces of one."""
    known = lines()
    kinds = set(known[(known["dataset"] == dataset) & (known["x_view"] == x_view)]["kind"])
    pieces = [BELOW_KNEE, ABOVE_KNEE]
    if method == STANDARD and kinds.issuperset(pieces):
        return pieces
    return [method] if method in kinds else []


def model_line(
    table: pd.DataFrame, dataset: str, kind: str = STANDARD, x_view: str = "all"
) -> BaselineFit:
    """Return the line through other models: of those in the table, else the package's.

    The pieces for ImageNet-A are the test bed's: ResNet-50, which has 0 %, and models that were
    trained on fewer images or in smaller batches are in neither.

    Args:
        table: the tidy table.
        dataset: what is on the y axis, e.g. `imagenet-r` or `avg:shifts`.
        kind: of line, e.g. `standard`.
        x_view: view of ImageNet on the x axis; see `CLASS_VIEWS`.

    Raises:
        WiseftError: if neither the table nor the package has such models.
    """
    fit = fit_points(dataset, kind_points(table, dataset, kind, x_view))
    if fit is not None:
        return fit
    known = lines()
    known = known[known["kind"] == kind]
    stored = known[(known["dataset"] == dataset) & (known["x_view"] == x_view)]
    if stored.empty:
        raise WiseftError(
            f"there is no line of kind {kind} for {dataset} over ImageNet's view {x_view}; of that "
            f"kind there is {', '.join(sorted(known['dataset'].unique())) or 'none'}, and the "
            "views are all and each dataset's own"
        )
    (numbers,) = stored.drop(columns=["kind", "dataset", "x_view"]).to_dict("records")
    return BaselineFit(average=dataset, **{str(name): n for name, n in numbers.items()})


def kind_points(table: pd.DataFrame, dataset: str, kind: str, x_view: str) -> pd.DataFrame:
    """Return the models in the table that a line goes through: `model`, `x` and `y`, fractions."""
    if kind not in (BELOW_KNEE, ABOVE_KNEE):
        return model_points(table, dataset, kind, x_view)
    points = model_points(table, dataset, STANDARD, x_view)
    if dataset != "imagenet-a" or x_view not in KNEES:
        return points.iloc[:0]
    start, knee = KNEES[x_view]
    left_out = points["model"].str.lower().str.contains("subsample|aws|batch64|^resnet50$")
    points = points[~left_out & (points["x"] >= start)]
    return points[points["x"] < knee if kind == BELOW_KNEE else points["x"] >= knee]
