"""The claims of the paper, the checks that would refute them, and what today's tables say.

`config/claims.yaml` lists them. A check holds a number to a bound, in percentage points. The number
comes from rows of one table of one experiment: from data/tables or, where the experiment has no
table there, from the copies in git. The check holds if the whole 95 % interval lies within the
bound, it is refuted if the whole interval lies outside, and else it is open.

Intervals of comparisons and of choices of alpha are those of the stage tabulate: over models of
several pre-trainings, or over test images (the mean over runs of their ends). A difference of two
comparisons has the sum of their half widths, which no pairing of the images exceeds. Intervals of
other differences add those of their rows as if no image were in both: they are "unpaired", and
usually too wide. Both add Student's t, of three runs or more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from wiseft.base.loading import load_entry
from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue, ExperimentEntry, paths
from wiseft.study.config.claims import Check, Claim, Claims
from wiseft.tabulate import schema
from wiseft.tabulate.intervals import LEVEL
from wiseft.tabulate.models import FEWEST_MODELS, T_OVER_MODELS, without_seed

FILE = Path("config/claims.yaml")
REHEARSAL = Path(".wiseft/rehearsal")
HOLDS, REFUTED, OPEN, FAILED = "holds", "refuted", "open", "cannot be computed"
TESTED, REHEARSED, NOT_RUN = "has a test", "rehearsed", "not run"
SCHEMAS = {
    "comparisons": schema.COMPARISONS,
    "selection": schema.SELECTION,
    "effective-robustness": schema.EFFECTIVE,
}
USUAL = {"source": "measured", "selection": "grid", "split": "test", "view": "all"}
USUAL |= {"metric": "accuracy", "combination": "weight"}
"""Values of columns, where a table has them and a check names no others."""
Number = tuple[float, float, float, str]
"""A number and the ends of its interval (fractions; no interval: the number), and of what it is."""
Reader = Callable[[str, str], "pd.DataFrame | None"]


class Finding(NamedTuple):
    """A check (or a test) with its state; numbers in points, NaN where nothing is measured."""

    where: str
    check: Check | str
    state: str
    about: str = ""
    number: float = np.nan
    low: float = np.nan
    high: float = np.nan


def judged(root: Path) -> list[tuple[Claim, str, list[Finding]]]:
    """Return every claim with its verdict and findings, from the tables below a project's root.

    Raises:
        WiseftError: if the list of claims is missing or wrong; what keeps a check from being
            computed is in its finding.
    """
    catalogue, found = Catalogue(root), []
    read, rehearsal = (cache(partial(_read, folder)) for folder in (root, root / REHEARSAL))
    for claim in load_entry(Claims, root / FILE, "list of claims").claims:
        findings = [_finding("lab", check, catalogue, read, rehearsal) for check in claim.lab]
        findings += [_finding("small", check, catalogue, read, None) for check in claim.small]
        for test in claim.tests:
            path, _, name = test.partition("::")
            there = (root / path).is_file() and f"def {name}(" in (root / path).read_text()
            state = (TESTED,) if there else (FAILED, "no such test")
            findings.append(Finding("test", test, *state))
        found.append((claim, _verdict(findings), findings))
    return found


def _verdict(findings: list[Finding]) -> str:
    for where, words in (("lab", "by a lab"), ("small", "small here")):
        states = {one.state for one in findings if one.where == where}
        if REFUTED in states:
            return f"contradicted {words}"
        if states == {HOLDS}:
            return f"measured {words}"
        if states & {HOLDS, OPEN}:
            return f"{OPEN} {words}"
    states = {one.state for one in findings}
    return next(state for state in (FAILED, TESTED, REHEARSED, NOT_RUN) if state in states)


def _finding(
    where: str, check: Check, catalogue: Catalogue, read: Reader, rehearsal: Reader | None
) -> Finding:
    """Return what a check finds; without a rehearsal, its table must be there."""
    try:
        _require_named(check, catalogue.experiment_entry(check.experiment))
        if (frame := read(check.experiment, check.table)) is not None:
            *numbers, about = measure(check, frame)
            number, low, high = (round(100 * float(each), 9) for each in numbers)
            least, most = (np.nan if end is None else end for end in check.bound)
            outside = high < least or most < low
            state = REFUTED if outside else OPEN if low < least or most < high else HOLDS
            return Finding(where, check, state, about, number, low, high)
        if rehearsal is None:
            raise WiseftError(f"there is no table of {check.experiment}; run the experiment")
        if (frame := rehearsal(check.experiment, check.table)) is not None:
            measure(check, frame)
            return Finding(where, check, REHEARSED)
    except WiseftError as error:
        return Finding(where, check, FAILED, str(error))
    return Finding(where, check, NOT_RUN)


def _read(root: Path, experiment: str, table: str) -> pd.DataFrame | None:
    """Return a table of an experiment, or its copy in git; None if there is neither."""
    tidy = paths.table_path(experiment, "parquet")
    path = tidy if table == "table" else paths.table_path(experiment, f"{table}.csv")
    if not (root / tidy).is_file():
        tidy, path = (paths.published_path(experiment, each) for each in (tidy, path))
    if not (root / tidy).is_file():
        return None
    if table == "table":
        return schema.read_table(root / path)
    return schema.read(root / path, SCHEMAS[table], table)


def _require_named(check: Check, entry: ExperimentEntry) -> None:
    """Raise WiseftError if a check is about anything that its experiment does not make."""
    known: dict[str, list[Any]] = {
        "model": entry.models,
        "method": entry.methods,
        "dataset": [*entry.datasets, *(schema.AVERAGE_PREFIX + name for name in entry.averages)],
        "alpha": entry.alphas,
        "combination": [*entry.combinations, *(schema.PAIR_PREFIX + one for one, _ in entry.pairs)],
    }
    for rows in (check.rows, check.rows | check.against):
        wanted = {column: _listed(rows.get(column)) for column in known}
        variants = _listed(rows.get("variant"))
        wanted["method"] = [
            f"{m}__{v}" if v else m for m in wanted["method"] for v in variants or [""]
        ]
        for column, names in wanted.items():
            if unknown := [str(name) for name in names if name not in known[column]]:
                raise WiseftError(f"{entry.experiment} has no {column} {', '.join(unknown)}")


def _listed(wanted: Any) -> list[Any]:
    return wanted if isinstance(wanted, list) else [] if wanted is None else [wanted]


def selected(frame: pd.DataFrame, rows: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows with these values of columns, and the usual ones of others.

    Raises:
        WiseftError: if there is no such column or row, or several models or methods are mixed.
    """
    usual = {name: one for name, one in USUAL.items() if name in frame}
    for column, wanted in {**usual, **rows}.items():
        if column not in frame:
            raise WiseftError(f"the table has no column {column}")
        if wanted is not None:
            frame = frame[frame[column].isin(_listed(wanted))]
    if frame.empty:
        raise WiseftError(f"the table has no row with {rows}")
    apart = sorted((frame["model"].map(without_seed) + " " + frame["method"]).unique())
    if len(apart) > 1:
        raise WiseftError(f"name a model and a method: there are {', '.join(apart)}")
    return frame


def measure(check: Check, frame: pd.DataFrame) -> Number:
    """Return the number of a check with its interval. Raises WiseftError if it has none."""
    if check.curve:
        return _above(check, frame)
    if check.against:
        return _difference(check, frame)
    rows = selected(frame, check.rows)
    means, runs = rows[rows["run"] == schema.ALL], rows[rows["seed"].astype(str) != schema.ALL]
    shown, prefix = runs if means.empty else means, f"{check.value}_"
    ends = [f"{prefix if f'{prefix}ci_low' in shown else ''}ci_{end}" for end in ("low", "high")]
    number, low, high = shown[[check.value, *ends]].mean(skipna=False)
    if np.isnan(low):
        return number, number, number, "no interval"
    models = [] if means.empty else [f"{means['n'].iloc[0]} pre-trainings"]
    images = [] if shown["ci_method"].eq(T_OVER_MODELS).any() else ["test images"]
    return number, low, high, " and ".join(models + images)


def _difference(check: Check, frame: pd.DataFrame) -> Number:
    on = [name for name in ("model", "seed") if name not in check.against]
    runs = frame[frame["seed"].notna() & (frame["seed"].astype(str) != schema.ALL)]
    runs = runs.rename(columns={check.value: "value"})
    runs = runs.assign(half=(runs["ci_high"] - runs["ci_low"]) / 2)
    first, second = (
        selected(runs, rows).groupby(on)[["value", "half"]].mean()
        for rows in (check.rows, check.rows | check.against)
    )
    each, name = (first["value"] - second["value"]).dropna(), "seeds"
    if each.empty:
        raise WiseftError("no run has both the rows and those of `against`")
    if "model" in on and each.index.get_level_values("model").nunique() > 1:
        each, name = each.groupby("model").mean(), "pre-trainings"
    paired = "contrast" in frame  # both are of the same images: at worst they add up
    half = (np.add if paired else np.hypot)(first["half"], second["half"]).mean()
    about = [] if np.isnan(half) else ["test images" if paired else "test images, unpaired"]
    number, half = each.mean(), np.nan_to_num(half)
    if len(each) >= FEWEST_MODELS:
        spread = np.std(each.to_numpy(float), ddof=1) / np.sqrt(len(each))
        spread *= student_t.ppf((1 + LEVEL) / 2, len(each) - 1)
        half, about = np.hypot(half, spread), [f"{len(each)} {name}", *about]
    return number, number - half, number + half, " and ".join(about) or "no interval"


def _above(check: Check, frame: pd.DataFrame) -> Number:
    def points(rows: Mapping[str, Any]) -> pd.DataFrame:
        both = selected(frame, {**rows, "dataset": [check.curve, check.rows["dataset"]]})
        both = both.assign(half=(both["ci_high"] - both["ci_low"]) / 2)
        wide = both.pivot_table([check.value, "half"], ["variant", "alpha"], "dataset").dropna()
        x, y = wide[check.value, check.curve], wide[check.value, check.rows["dataset"]]
        half = wide["half", check.rows["dataset"]]
        return pd.DataFrame({"x": x, "y": y, "half": half}).reset_index("alpha")

    high, curve = points(check.rows), points(check.rows | check.against)
    fine = np.linspace(0, 1, 1001)
    x, y = (np.interp(fine, curve["alpha"], curve[name]) for name in ("x", "y"))
    gains = high["y"] - [y[x >= min(at, x.max())].max() for at in high["x"]]
    number, half = gains.max(), np.hypot(high["half"].iloc[gains.argmax()], curve["half"].mean())
    return number, number - half, number + half, "test images, unpaired"
