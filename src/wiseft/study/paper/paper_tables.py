"""Tables 1 to 13 of the paper: what was measured beside what is published.

A cell is the measured number with the published one and the difference behind it, as in
`86.5 (86.8, -0.3)`; what was not measured is `(86.8)`. No cell is ever filled in: a number comes
from a measured table, or from the paper, or is not there. The two averages of measured rows are
computed here from the measured cells of their datasets, by the paper's own definitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from wiseft.base.names import SEARCHES
from wiseft.errors import WiseftError
from wiseft.study.config.experiment import ZERO_SHOT
from wiseft.study.paper.published import TRANSFERS, without_repeats
from wiseft.study.published.numbers import (
    COLUMNS,
    DIFFERENCE,
    FIXED_ALPHA,
    QUOTED,
    TABLES,
    contradictions,
    numbers,
)

SHIFTS_AVERAGE, BOTH_AVERAGE = "avg:shifts", "avg:reference-and-shifts"
SHIFTS = ("imagenet-v2", "imagenet-r", "imagenet-sketch", "objectnet", "imagenet-a")

TOLERANCES = {
    "zero-shot": 0.5,
    "zero-shot, where the paper gives two numbers": 0.8,
    "trained": 1.0,
    "macro F1 and worst region": 2.0,
}
"""Percentage points that a measured number may be off before it is flagged. Zero-shot models are
the same weights, so only decoding and resizing differ; two trainings with the same settings differ
by about a point; the last two metrics hang on few samples. The paper's own two zero-shot numbers
of a model differ by up to 0.8."""

DECIMALS = {7: 2}
"""Decimals of a table's numbers; 1 where none is given."""

NOT_COMPARABLE = ("objectnet", "avg:shifts")
"""Datasets whose zero-shot accuracies open_clip has by other class names: ObjectNet's own, which
raise it by about two points."""

FLAG = "†"
CELLS = (
    *("table", "row", "column", "published", "measured", "difference", "tolerance", "flagged"),
    "run",
)
"""Columns of :func:`cells`; numbers in percent, `run` is where the measured number is from."""

Run = tuple[str, ...]
"""Model, reference, method, variant and combination of a curve."""
Place = tuple[str, ...]
"""Dataset, split, view and metric of a curve."""

_RUN = ["model", "reference", "method", "variant", "combination"]
_PLACE = ["dataset", "split", "view", "metric"]


@dataclass(frozen=True)
class Curves:
    """Measured values in percent: for each run and place a curve over alpha, means over seeds."""

    values: Mapping[tuple[str, ...], pd.Series]

    def at(self, run: Run, place: Place, optima: bool = False) -> pd.Series | None:
        """Return values by alpha, or their optimum alone; None where there are none.

        Averages are those of the datasets' values at each alpha that all of them have; an average
        of optima is that of each dataset's own (table 13's definition).
        """
        if place[0] not in (SHIFTS_AVERAGE, BOTH_AVERAGE):
            curve = self.values.get((*run, *place))
            if not optima:
                return curve
            best = _swept_best(curve)
            return None if best is None else pd.Series([best])
        parts = [self.at(run, (name, *place[1:]), optima) for name in SHIFTS]
        there = [part for part in parts if part is not None]
        if len(there) < len(parts):
            return None
        shifts = pd.concat(there, axis=1).dropna().mean(axis=1)
        if place[0] == SHIFTS_AVERAGE:
            return shifts
        reference = self.at(run, ("imagenet", *place[1:]), optima)
        return None if reference is None else ((reference + shifts) / 2).dropna()


def curves(measured: Iterable[pd.DataFrame]) -> Curves:
    """Return the measured curves of tidy tables; several may hold the same runs.

    Raises:
        WiseftError: if two tables have different values of the same run.
    """
    parts = [frame[frame["source"] == "measured"] for frame in measured]
    parts = [frame[frame["selection"] == "grid"] for frame in parts]
    if not parts:
        return Curves({})
    grid = pd.concat(parts, ignore_index=True)
    grid = without_repeats(grid[~grid["dataset"].str.startswith("avg:")])
    names = [*_RUN, *_PLACE]
    percent = grid.assign(percent=100 * grid["value"])
    values = {}
    for _, part in percent.groupby(names, sort=False):
        key = tuple(str(part[name].iloc[0]) for name in names)
        values[key] = part.groupby("alpha")["percent"].mean()
    return Curves(values)


def _swept_best(curve: pd.Series | None) -> float | None:
    """Return the best value of a sweep; an end alone has no optimum."""
    return float(curve.max()) if curve is not None and len(curve) > 2 else None


def _grid(curve: pd.Series | None, alpha: float) -> float | None:
    return float(curve[alpha]) if curve is not None and alpha in curve.index else None


def _value(curves: Curves, run: Run, line: Mapping[str, Any]) -> float | None:
    place = tuple(line[name] for name in _PLACE)
    if line["metric"] == DIFFERENCE:
        curve = curves.at(run, (*place[:3], "accuracy"))
        best, fixed = _swept_best(curve), _grid(curve, FIXED_ALPHA)
        return None if best is None or fixed is None else best - fixed
    if line["selection"] == "oracle-table13":
        optimum = curves.at(run, place, optima=True)
        return None if optimum is None else float(optimum.iloc[0])
    curve = curves.at(run, place)
    if line["selection"] == "oracle-column":
        return _swept_best(curve)
    return _grid(curve, line["alpha"])


def cells(
    measured: Iterable[pd.DataFrame] = (), tables: Iterable[int] | None = None
) -> pd.DataFrame:
    """Return every cell of the paper's tables, in the paper's order; columns `CELLS`.

    An optimum is the best of the measured alphas in its own column; of seeds, values are means.

    Args:
        measured: tidy tables; rows of source `measured` count.
        tables: numbers of tables; None for all.

    Raises:
        WiseftError: if there is no such table, or measured tables contradict each other.
    """
    chosen = list(tables) if tables is not None else list(TABLES)
    unknown = [str(table) for table in chosen if table not in TABLES]
    if unknown:
        raise WiseftError(f"the paper has no table {', '.join(unknown)}; it has 1 to {max(TABLES)}")
    by_run = curves(measured)
    printed = numbers()
    printed = printed[printed["table"].isin(chosen)]
    twofold = {(str(one.model), str(one.dataset)) for one in contradictions().itertuples()}
    records = [_cell(by_run, line, twofold) for line in _records(printed)]
    return pd.DataFrame(records, columns=list(CELLS))


def zero_shot_cells(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return zero-shot accuracies that are both published and measured of a model, as cells.

    Args:
        tables: tidy tables; published rows are those of `wiseft testbed`, open_clip's numbers.

    Returns:
        Columns `CELLS`, where `table` is 0.

    Raises:
        WiseftError: as :func:`cells`.
    """
    by_run = curves(tables)
    measured = {key[:2] for key in by_run.values}
    records = {}
    for table in tables:
        published = table[(table["source"] == "published") & (table["method"] == ZERO_SHOT)]
        for line in _records(published):
            model, dataset = line["model"], line["dataset"]
            if (model, line["reference"]) not in measured or dataset in NOT_COMPARABLE:
                continue
            line |= {"table": 0, "row": model, "column": COLUMNS.get(dataset, dataset)}
            line["percent"] = round(100 * line["value"], 2)
            records[model, line["column"]] = _cell(by_run, line, set())
    return pd.DataFrame(list(records.values()), columns=list(CELLS))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in one.items()} for one in frame.to_dict("records")]


def _cell(curves: Curves, line: Mapping[str, Any], twofold: set[tuple[str, str]]) -> dict[str, Any]:
    value, run = None, ""
    for parts in _stand_ins(curves, line):
        value = _value(curves, parts, line)
        if value is not None:
            run = "__".join(part for part in parts[:4] if part)
            break
    published = float(line["percent"])
    digits = DECIMALS.get(line["table"], 1)
    difference = None if value is None else round(round(value, digits) - published, digits)
    tolerance = _tolerance(line, twofold)
    return {
        **{name: line[name] for name in ("table", "row", "column")},
        "published": published,
        "measured": value,
        "difference": difference,
        "tolerance": tolerance,
        "flagged": difference is not None and abs(difference) > tolerance,
        "run": run,
    }


def _stand_ins(curves: Curves, line: Mapping[str, Any]) -> list[Run]:
    """Return the measured runs that may stand for a row of the paper, the best choice first."""
    model, reference, method, variant, combination = (line[name] for name in _RUN)
    if variant == QUOTED:
        return []
    variants = [variant]
    if method == "end-to-end" and variant == "":
        variants = list(TRANSFERS)
    if method == "linear-classifier" and variant == "":
        runs = [(model, reference, method, each, combination) for each in SEARCHES]
        scores = [_held_out(curves, run) for run in runs]
        if max(scores) >= 0:
            variants.insert(0, SEARCHES[scores.index(max(scores))])
    chosen: list[Run] = [(model, reference, method, each, combination) for each in variants]
    if line["alpha"] == 0:  # all runs of a model start from the same zero-shot one
        same = {key[: len(_RUN)] for key in curves.values}
        others = (
            run for run in same if (run[0], run[1], run[4]) == (model, reference, combination)
        )
        chosen += sorted(others, key=lambda run: (run[2] != ZERO_SHOT, run))
    return chosen


def _held_out(curves: Curves, run: Run) -> float:
    """Return the reference's held-out accuracy of the fine-tuned end; -1 where there is none."""
    value = _grid(curves.values.get((*run, run[1], "held-out", "all", "accuracy")), 1.0)
    return -1.0 if value is None else value


def _tolerance(line: Mapping[str, Any], twofold: set[tuple[str, str]]) -> float:
    if line["metric"] in ("macro-f1", "worst-group-accuracy"):
        return TOLERANCES["macro F1 and worst region"]
    if line["alpha"] != 0:
        return TOLERANCES["trained"]
    if (line["model"], line["dataset"]) in twofold:
        return TOLERANCES["zero-shot, where the paper gives two numbers"]
    return TOLERANCES["zero-shot"]


def cell_text(cell: Mapping[str, Any], digits: int = 1) -> str:
    """Return e.g. `86.5 (86.8, -0.3)`, `(86.8)`, with `†` where the difference is too large."""
    published = f"{cell['published']:.{digits}f}"
    if pd.isna(cell["measured"]):
        return f"({published})"
    difference = cell["difference"] + 0.0  # no minus before a zero
    flag = FLAG if cell["flagged"] else ""
    return f"{cell['measured']:.{digits}f} ({published}, {difference:+.{digits}f}){flag}"


def layout(all_cells: pd.DataFrame, table: int) -> pd.DataFrame:
    """Return one table of the paper as texts: its rows by its columns, empty where it has none.

    Args:
        all_cells: of :func:`cells`.
        table: its number.
    """
    mine = all_cells[all_cells["table"] == table]
    digits = DECIMALS.get(table, 1)
    texts = [cell_text(cell, digits) for cell in _records(mine)]
    wide = mine.assign(text=texts).pivot(index="row", columns="column", values="text")
    wide = wide.loc[mine["row"].unique(), mine["column"].unique()].fillna("")
    wide.index.name = wide.columns.name = None
    return wide
