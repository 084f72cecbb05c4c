"""The tables of the paper (arXiv 2109.01903 v3) as tidy data."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache

import pandas as pd

from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue
from wiseft.study.config.folder import UnknownName
from wiseft.study.published.addresses import shipped

_HEADINGS = shipped("headings.csv", index_col=["kind", "of"])["heading"]
TABLES: dict[int, str] = {int(table): text for table, text in _HEADINGS["table"].items()}
"""What each table of the paper shows, by its number."""

COLUMNS: dict[str, str] = _HEADINGS["column"].to_dict()
"""Headings of the columns that the tables about ImageNet have, by dataset, in their order."""

DIFFERENCE = "difference"
"""The metric of table 3: percentage points between two selections, no accuracy."""

ROW_COLUMNS = (
    *("source", "experiment", "model", "reference", "method", "variant", "run", "seed"),
    *("combination", "alpha", "dataset", "view", "split", "metric", "value", "n", "n_correct"),
    *("ci_low", "ci_high", "ci_method", "selection"),
)
"""The columns of the tidy table, which stand in :mod:`wiseft.tabulate.schema`."""

QUOTED = "radford"
"""Variant of the rows that table 1 quotes from Radford et al. (2021), who measured them."""

FIXED_ALPHA = 0.5
_TEXT = ["row", "column", "model", "reference", "method", "variant", "combination", "selection"]
_TEXT += ["dataset", "split", "view", "metric"]
_KEY = ["run", "combination", "alpha", "dataset", "split", "view", "metric", "selection"]


def numbers() -> pd.DataFrame:
    """Return every number of tables 1 to 13, in the paper's order, one a row.

    Columns: `table` (int), `row` and `column` (headings), `model`, `reference`, `method`,
    `variant`, `combination`, `alpha` (null where several alphas stand behind a row), `selection`,
    `dataset`, `split`, `view`, `metric`, `percent`. In table 3 `metric` is `difference` and
    `percent` are percentage points. Names are those of the catalogue's entries, where there is
    one; `method` is `end-to-end`, `linear-classifier`, `coop` or `independent-ensemble`.

    The zero-shot row of table 1 is that of the linear classifiers (table 4), the zero-shot rows
    of table 8 are those of end-to-end fine-tuning: they differ by up to 0.8 points.
    """
    return _numbers().copy()


@cache
def _numbers() -> pd.DataFrame:
    frame = pd.concat([_imagenet_tables(), _read("other_tables.csv")], ignore_index=True)
    frame["alpha"] = frame["alpha"].astype(float).round(3)
    return frame.sort_values("table", kind="stable", ignore_index=True)


def _imagenet_tables() -> pd.DataFrame:
    wide = _read("imagenet_tables.csv")
    headings = [name for name in wide.columns if name not in COLUMNS]
    long = wide.melt(headings, list(COLUMNS), "dataset", "percent", ignore_index=False)
    long = long.sort_index(kind="stable").dropna(subset="percent")
    long["column"] = long["dataset"].map(COLUMNS)
    # Table 13 alone averages the optima of the datasets; elsewhere an average has its own optimum.
    averaged = (long["table"] == 13) & long["dataset"].str.startswith("avg:")
    optimal = averaged & (long["selection"] == "oracle-column")
    long.loc[optimal, "selection"] = "oracle-table13"
    metric = long["table"].map({3: DIFFERENCE}).fillna("accuracy")
    return long.assign(reference="imagenet", split="test", view="all", metric=metric)


def _read(name: str) -> pd.DataFrame:
    head = shipped(name, nrows=0).columns
    texts = {column: "str" for column in _TEXT if column in head}
    blank = {column: [""] for column in head if column not in texts}
    return shipped(name, dtype=texts, keep_default_na=False, na_values=blank)


def contradictions() -> pd.DataFrame:
    """Return the zero-shot numbers of which the paper gives two: `model`, `dataset`, `low`, `high`.

    The tables of linear classifiers and those of end-to-end fine-tuning start from the same
    zero-shot model, and still differ there, by up to 0.8 points. Numbers that table 1 quotes from
    Radford et al. are another model's and do not count.
    """
    printed = _numbers()
    ours = printed[(printed["alpha"] == 0) & (printed["variant"] != QUOTED)]
    key = ["model", "dataset", "split", "view", "metric"]
    spread = ours.groupby(key)["percent"].agg(["min", "max"]).reset_index()
    spread = spread[spread["max"] > spread["min"]].reset_index(drop=True)
    spread = spread.rename(columns={"min": "low", "max": "high"})
    return spread[["model", "dataset", "low", "high"]]


def rows(
    tables: Iterable[int] | None = None,
    models: Collection[str] = (),
    catalogue: Catalogue | None = None,
) -> pd.DataFrame:
    """Return numbers of the paper as rows of the tidy table (see `ROW_COLUMNS`).

    `source` is `published`, `experiment` the table (`table-4`), `run` the name that a measured run
    of the same model, reference, method and variant has. Values are fractions. `seed`, `n_correct`
    and the interval are null: the paper gives none. As in a measured table, alpha 0.5 stands
    under the selections `grid` and `fixed`; `alpha` is null for the oracles, because the paper
    does not say it. A number that several tables have stands under the first of them.

    Args:
        tables: numbers of tables, in order of precedence; None for all but 3, whose differences
            have no place in the tidy table.
        models: only these models; none for all.
        catalogue: where `n` is from, the test samples of each dataset; None leaves it null.

    Raises:
        WiseftError: if nothing is left, as of table 3.
    """
    chosen = list(tables) if tables is not None else [table for table in TABLES if table != 3]
    printed = _numbers()
    printed = printed[printed["table"].isin(chosen) & (printed["metric"] != DIFFERENCE)]
    if models:
        printed = printed[printed["model"].isin(list(models))]
    if printed.empty:
        raise WiseftError(
            f"table {', '.join(map(str, chosen))} of the paper has no row of the model "
            f"{', '.join(models) or 'that was asked for'}"
        )
    rank = {table: place for place, table in enumerate(chosen)}
    printed = printed.sort_values("table", key=lambda column: column.map(rank), kind="stable")
    frame = _in_tidy_columns(printed, catalogue)
    fixed = frame[frame["alpha"] == FIXED_ALPHA].assign(selection="fixed")
    frame = pd.concat([frame, fixed], ignore_index=True)
    return frame.drop_duplicates(_KEY, ignore_index=True)


def _in_tidy_columns(printed: pd.DataFrame, catalogue: Catalogue | None) -> pd.DataFrame:
    run = printed["model"] + "__" + printed["reference"] + "__" + printed["method"]
    run = run.where(printed["variant"] == "", run + "__" + printed["variant"])
    places = printed[["dataset", "split", "view"]].itertuples(index=False)
    counts = [sample_count(catalogue, *place) if catalogue else None for place in places]
    n = pd.Series(counts, index=printed.index, dtype="Int64")
    experiment = "table-" + printed["table"].astype(str)
    frame = printed.assign(experiment=experiment, run=run, value=printed["percent"] / 100, n=n)
    return published_rows(frame.assign(n_correct=None))


def published_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return published numbers in `ROW_COLUMNS`: without seeds and intervals, which none has."""
    nan = float("nan")
    frame = frame.assign(source="published", seed=None, ci_low=nan, ci_high=nan, ci_method="")
    return frame[list(ROW_COLUMNS)].astype(dict.fromkeys(("seed", "n", "n_correct"), "Int64"))


def sample_count(catalogue: Catalogue, dataset: str, split: str, view: str) -> int | None:
    """Return the samples of a dataset's split in a view, as its entry has them.

    None where the entry does not say: for averages, for a dataset without an entry, and for the
    worst region of FMoW, whose size is part of the result.
    """
    try:
        entry = catalogue.dataset(dataset)
    except UnknownName:
        return None
    settings = next((each for each in entry.views if each.name == view), None)
    if settings is None or settings.group is not None:
        return None
    if settings.where == "anchor":
        return int(entry.options["anchors"])
    return entry.splits.get(split)
