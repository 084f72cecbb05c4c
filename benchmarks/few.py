"""What is lost by a few evaluations: the choice among 5, 7 or 9 against the whole grid's own.

Regret is the test value at the alpha that held-out values of the whole grid choose, minus that at
the alpha chosen among those evaluated, in percentage points; it is negative where the few happen
to choose better. It is taken on the reference and on the average of the shifts, for the best
held-out value and for the smallest alpha within one standard error. Nothing is interpolated: a
grid of 11 stays one of 11.

Curves are all sweeps of `published/tables` that have an average `shifts`; of a sweep that stands in
several tables, the finest grid counts. The paper's tables 4, 5 and 9 to 12 have no held-out values:
ImageNet's own are used, once as they are, with the error of 50,000 images, and in `drawn` with
independent binomial noise of 5,000 images in 20 draws. Real errors of neighbouring alphas are made
on the same images and go together, so this is the harder case.

Runs whose name has an even CRC-32 are `settings`: by the mean size of their regrets with 5 and 7
evaluations it was chosen which curve is drawn (a monotone cubic or straight lines), which rule
comes first, and which side of a gap is taken. The others are `report`.

Ways: `even` spaces the evaluations evenly and knows the budget beforehand; `ours` is
`wiseft.tabulate.few_evaluations`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.common import ROOT, Options, write_record
from wiseft.study.published.numbers import numbers
from wiseft.tabulate.few_evaluations import Measured, Score, choices, next_alpha
from wiseft.tabulate.schema import AVERAGE_PREFIX

BUDGETS = (5, 7, 9)
GOAL = 0.2
SHIFTS = f"{AVERAGE_PREFIX}shifts"
PAPER_TABLES = (4, 5, 9, 10, 11, 12)
PAPER_IMAGES, DRAWN_IMAGES, DRAWS = 50_000, 5_000, 20
SET = "held-out"
SWEEP = ["run", "seed", "combination"]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One sweep.

    Attributes:
        source: `tables`, `paper` or `drawn`.
        run: by which halves are made.
        space: `weight`, or `other`: outputs and the like.
        held_out: by alpha; `reference` and `shifts` are on test samples.
        n: held-out samples.
    """

    source: str
    run: str
    space: str
    held_out: dict[float, float]
    reference: dict[float, float]
    shifts: dict[float, float]
    n: int

    def measured(self, alphas: Iterable[float]) -> dict[float, dict[str, Score]]:
        """Return what an evaluation would find at these alphas."""
        found = {}
        for alpha in alphas:
            value = self.held_out[alpha]
            found[alpha] = {SET: Score(value, float(np.sqrt(value * (1 - value) / self.n)))}
        return found


def even(curve: Curve, budget: int) -> list[float]:
    """Return evenly spaced alphas."""
    grid = sorted(curve.held_out)
    return [grid[i] for i in np.linspace(0, len(grid) - 1, budget).round().astype(int)]


def ours(curve: Curve, budget: int) -> list[float]:
    """Return what `next_alpha` asks for, one after the other."""
    measured: Measured = {}
    while (alpha := next_alpha(list(curve.held_out), measured, SET, budget)) is not None:
        measured = {**measured, **curve.measured([alpha])}
    return list(measured)


WAYS: Mapping[str, Callable[[Curve, int], list[float]]] = {"even": even, "ours": ours}


def table_curves() -> tuple[list[Curve], int]:
    """Return the sweeps of the published tables, and how many had no shifts or held-out values."""
    found: dict[tuple[Any, ...], Curve] = {}
    left_out = 0
    for path in sorted((ROOT / "published" / "tables").glob("*/*.parquet")):
        table = pd.read_parquet(path)
        table = table[(table["selection"] == "grid") & table["seed"].notna()]
        table = table[table["view"] == "all"]
        for key, rows in table.groupby(SWEEP):
            if rows["alpha"].nunique() < 3:
                continue  # a baseline
            own = rows[rows["dataset"] == rows["reference"]]
            held_out = own[own["split"] == "held-out"]
            test = own[own["split"] == "test"]
            shifts = rows[(rows["dataset"] == SHIFTS) & (rows["split"] == "test")]
            parts = [
                dict(zip(p["alpha"], p["value"], strict=True)) for p in (held_out, test, shifts)
            ]
            if not parts[0] or any(part.keys() != parts[0].keys() for part in parts):
                left_out += 1
                continue
            space = "weight" if key[2] == "weight" else "other"
            n = int(held_out["n"].iloc[0])
            curve = Curve("tables", str(key[0]), space, parts[0], parts[1], parts[2], n)
            if key not in found or len(curve.held_out) > len(found[key].held_out):
                found[key] = curve
    return list(found.values()), left_out


def paper_curves() -> list[Curve]:
    """Return the curves of the paper; ImageNet's own values stand for held-out ones."""
    table = numbers()
    table = table[table["table"].isin(PAPER_TABLES) & (table["selection"] == "grid")]
    curves = []
    for (number, _), rows in table.groupby(["table", "method"]):
        wide = rows.pivot(index="alpha", columns="dataset", values="percent") / 100
        own, shifts = (dict(zip(wide.index, wide[x], strict=True)) for x in ("imagenet", SHIFTS))
        curves.append(Curve("paper", f"table {number}", "weight", own, own, shifts, PAPER_IMAGES))
    return curves


def drawn(curves: Iterable[Curve], draws: int) -> list[Curve]:
    """Return each curve with drawn held-out values."""
    found = []
    for index, curve in enumerate(curves):
        for draw in range(draws):
            random = np.random.default_rng([index, draw])
            right = random.binomial(DRAWN_IMAGES, list(curve.held_out.values())) / DRAWN_IMAGES
            values = dict(zip(curve.held_out, right.tolist(), strict=True))
            found.append(replace(curve, source="drawn", held_out=values, n=DRAWN_IMAGES))
    return found


def halves(curves: list[Curve]) -> dict[str, list[Curve]]:
    """Return the curves on which settings were chosen, and the others."""
    even_sums = [zlib.crc32(curve.run.encode()) % 2 == 0 for curve in curves]
    return {
        "settings": [curve for curve, even in zip(curves, even_sums, strict=True) if even],
        "report": [curve for curve, even in zip(curves, even_sums, strict=True) if not even],
    }


def regrets(curves: Iterable[Curve], name: str, budget: int) -> list[dict[str, Any]]:
    """Return a row for each rule: the share of equal choices, and regrets in points."""
    found: dict[str, list[tuple[float, float, bool]]] = {}
    for curve in curves:
        whole = choices(curve.measured(curve.held_out), SET)
        alphas = WAYS[name](curve, budget)
        if len(set(alphas)) != budget:
            raise AssertionError(f"{name} evaluated {alphas}, not {budget} alphas")
        few = choices(curve.measured(alphas), SET)
        for rule, alpha in whole.items():
            lost = [100 * (of[alpha] - of[few[rule]]) for of in (curve.reference, curve.shifts)]
            found.setdefault(rule, []).append((lost[0], lost[1], alpha == few[rule]))
    return [{"way": name, "rule": rule} | _summary(np.array(found[rule])) for rule in found]


def _summary(rows: Floats) -> dict[str, float]:
    """Return means, signed and of the size, and the largest of both regrets."""
    about = {"equal_choices": rows[:, 2].mean()}
    for column, name in enumerate(("reference", "shifts")):
        lost = rows[:, column]
        about |= {f"{name}_mean": lost.mean(), f"{name}_mean_size": np.abs(lost).mean()}
        about[f"{name}_largest"] = lost.max()
    return {key: round(float(value), 3) for key, value in about.items()}


def run(options: Options) -> None:
    """Compare the ways on all curves, by source, size of the grid and half."""
    tables, left_out = table_curves()
    paper = paper_curves()
    everything = [*tables, *paper, *drawn(paper, 1 if options.quick else DRAWS)]
    kinds: dict[tuple[str, str, int], list[Curve]] = {}
    for curve in everything:
        kinds.setdefault((curve.source, curve.space, len(curve.held_out)), []).append(curve)
    rows: list[dict[str, Any]] = []
    for (source, space, size), kind in sorted(kinds.items(), key=lambda item: item[0]):
        for half, curves in halves(kind).items():
            about = {"source": source, "space": space, "alphas": size, "half": half}
            for budget in [b for b in BUDGETS if b < size and curves]:
                about |= {"budget": budget, "curves": len(curves)}
                rows += [about | row for name in WAYS for row in regrets(curves, name, budget)]
    sevens = [r for r in rows if (r["half"], r["space"], r["budget"]) == ("report", "weight", 7)]
    measured: dict[str, dict[str, list[float]]] = {}
    for row in sevens:
        of = measured.setdefault(f"{row['source']}, 7 of {row['alphas']}", {})
        of.setdefault(row["way"], []).extend([row["reference_mean"], row["shifts_mean"]])
    most = max(value for of in measured.values() for value in of["ours"])
    write_record(
        "few",
        options,
        measured=measured | {"goal": GOAL, "reached": most <= GOAL},
        sweeps_left_out=left_out,
        columns=",".join(rows[0]),
        rows=[",".join(map(str, row.values())) for row in rows],
    )
