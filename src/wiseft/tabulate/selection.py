"""Ways to choose alpha, and what each loses against the oracle (paper, section 4).

Everything goes by the primary metric. `fixed` is 0.5. `held-out` is the best on the held-out
split; `held-out-1se` is the smallest alpha, i.e. the closest to zero-shot, within one standard
error of that best. `oracle-column` is the paper's "optimal alpha": the best on the test samples
for each dataset and each average separately. `unlabelled` is, for each dataset by itself, the alpha
whose predictions on the test images are most certain, by entropy or confidence. It is transductive:
it looks at the images that are reported, not at their labels. A head that training shrinks makes it
prefer alpha 0 (docs/digits.md, Protocol). `dawin` gives every image an alpha of its own,
by how sure both ends are of it, and has no single one: it is transductive too, and takes several
models at inference (`wiseft.tabulate.predictions.dawin`). `oracle-table13` is the mean of the
per-dataset optima, which only the paper's table 13 uses. Oracles look at test labels: they are no
way to choose. Ties go to the smallest alpha everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from wiseft.base.alphas import format_alpha
from wiseft.base.names import split_run_name
from wiseft.errors import WiseftError
from wiseft.tabulate import schema
from wiseft.tabulate.predictions import ENDS, PER_SAMPLE, WEIGHT, Place, Point
from wiseft.tabulate.study import Study
from wiseft.tabulate.table import average_row

SWEEP = ["run", "seed", "combination"]
_ROUNDING = 1e-12  # equal averages of fractions may differ in their last bit
OUTPUT = "output"


def sweeps(study: Study) -> dict[tuple[str, int, str], list[str]]:
    """Return the alphas of each (run, seed, combination) that was swept.

    A baseline, evaluated at a single alpha, is no sweep.

    Raises:
        WiseftError: if a sweep lacks the fixed alpha, or one in weight space an end.
    """
    grids: dict[tuple[str, int, str], list[str]] = {}
    for point in study.points:
        grids.setdefault((point.run, point.seed, point.combination), []).append(point.alpha)
    swept = {key: grid for key, grid in grids.items() if len(grid) > 1}
    for (run, seed, combination), grid in swept.items():
        ends = ENDS if combination == WEIGHT else ()
        for alpha in (format_alpha(study.settings.fixed_alpha), *ends):
            if alpha not in grid:
                raise WiseftError(
                    f"alpha {alpha} is needed for the selections and comparisons, but the grid "
                    f"of run {run}, seed {seed}, combination {combination} is {', '.join(grid)}; "
                    "add it to the alphas of the experiment"
                )
    return swept


def best_alpha(values: pd.Series) -> float:
    """Return the alpha (index) of the largest value, the smallest if there are several."""
    return float(min(values.index[values == values.max()]))


def one_standard_error_alpha(values: pd.Series, standard_error: float) -> float:
    """Return the smallest alpha (index) whose value is within one standard error of the best."""
    bound = float(values.max()) - standard_error
    return float(min(values.index[values >= bound - _ROUNDING]))


def binomial_error(share: float, n: int) -> float:
    """Return the standard error of a share of n samples."""
    return float(np.sqrt(share * (1 - share) / n))


def choose_alpha(
    accuracy: Mapping[float, float] | Mapping[str, float], n: int, rule: str = "held-out-1se"
) -> float:
    """Choose alpha by accuracies on held-out images of the reference, never on reported ones.

    Args:
        accuracy: in [0, 1], by alpha.
        n: number of those images.
        rule: `held-out` or `held-out-1se`, as above.

    Raises:
        WiseftError: if there are no accuracies or images, one is no fraction, or the rule is none.
    """
    values = pd.Series({float(format_alpha(alpha)): value for alpha, value in accuracy.items()})
    if values.empty or n < 1 or not values.between(0, 1).all():
        raise WiseftError(f"accuracies in [0, 1] on n > 0 images are needed, not {accuracy}, {n}")
    if rule not in ("held-out", "held-out-1se"):
        raise WiseftError(f"rule is {rule!r}, but must be held-out or held-out-1se")
    error = binomial_error(float(values.max()), n) if rule == "held-out-1se" else 0.0
    return one_standard_error_alpha(values, error)


def selection_rows(grid: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Return copies of grid rows under the selections that chose them.

    Args:
        grid: the table's rows of selection `grid`, averages included.
    """
    settings = study.settings
    parts: list[pd.DataFrame] = []
    by_sweep = dict(iter(grid.groupby(SWEEP, sort=True)))
    for key in sweeps(study):
        rows = by_sweep[key]
        chosen = {"fixed": settings.fixed_alpha, **_held_out_alphas(key, rows, study)}
        parts.extend(
            rows[rows["alpha"] == alpha].assign(selection=name) for name, alpha in chosen.items()
        )
        test = rows[rows["split"] == settings.test_split]
        parts.append(_oracle_column(test))
        primary = test[test["view"] == [settings.view_of(dataset) for dataset in test["dataset"]]]
        best = _oracle_column(primary)
        optimal = dict(zip(best["dataset"], best["alpha"].astype(float), strict=True))
        certain = _unlabelled_alphas(key, study)
        picked = primary["alpha"] == primary["dataset"].map(certain)
        parts.append(primary[picked].assign(selection="unlabelled"))
        each = {"unlabelled": certain, "oracle-table13": optimal}
        at = {name: {d: format_alpha(a) for d, a in of.items()} for name, of in each.items()}
        if key[2] == WEIGHT:
            parts.append(_dawin_rows(key, primary[primary["alpha"] == 0], study))
            own = Point(*key, PER_SAMPLE)
            at["dawin"] = {name: PER_SAMPLE for name in study.places if study.has(own, name)}
        parts += [_averages_at(key, alphas, name, study) for name, alphas in at.items()]
    if not parts:
        return grid.iloc[:0]
    return schema.conform(pd.concat(parts, ignore_index=True), schema.TABLE)


def _held_out_alphas(
    key: tuple[str, int, str], rows: pd.DataFrame, study: Study
) -> dict[str, float]:
    settings, chosen = study.settings, study.settings.held_out
    if "__".join(filter(None, split_run_name(key[0])[2:])) in settings.trained_on_held_out:
        return {}
    if chosen is None:
        raise WiseftError(
            f"run {key[0]} has a sweep, but held_out is null; name the dataset and split in which "
            "alpha may be chosen"
        )
    place = Place(chosen.dataset, chosen.split, settings.view_of(chosen.dataset))
    held_out = rows[(rows[list(place._fields)] == list(place)).all(axis=1)]
    swept = set(rows.loc[rows["split"] == settings.test_split, "alpha"])
    missing = sorted(swept - set(held_out["alpha"]))
    if missing:
        raise WiseftError(
            f"alpha is chosen in {place.dataset}, split {place.split}, but run {key[0]}, "
            f"seed {key[1]}, combination {key[2]} has no {place.view} there at "
            f"{', '.join(map(format_alpha, missing))}; evaluate that split"
        )
    values = held_out.set_index("alpha")["value"]
    best = best_alpha(values)
    if study.bootstrapped(place):
        draws = study.draws(Point(*key, format_alpha(best)), place)
        error = float(np.nan_to_num(draws.std()))  # unknown: none
    else:
        error = binomial_error(float(values.max()), int(held_out["n"].iloc[0]))
    return {"held-out": best, "held-out-1se": one_standard_error_alpha(values, error)}


def _oracle_column(test: pd.DataFrame) -> pd.DataFrame:
    key = ["dataset", "view"]
    best = test.groupby(key)["value"].transform("max")
    ties = test[test["value"] >= best - _ROUNDING].sort_values([*key, "alpha"], kind="stable")
    return ties.drop_duplicates(key).assign(selection="oracle-column")


def _unlabelled_alphas(key: tuple[str, int, str], study: Study) -> dict[str, float]:
    """Return for each dataset the alpha whose predictions are most certain, whatever its labels."""
    sign = 1 if study.settings.unlabelled == "entropy" else -1
    chosen = {}
    for dataset, place in study.places.items():
        certainty = study.cells[place].certainty if place in study.cells else {}
        if ranked := [(sign * certainty[p], float(p.alpha)) for p in certainty if p[:3] == key]:
            chosen[dataset] = min(ranked)[1]
    return chosen


def _dawin_rows(key: tuple[str, int, str], at_start: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Return a row for each dataset of a sweep whose samples have an alpha each.

    Args:
        at_start: the primary rows of its zero-shot end.
    """
    rows: list[dict[Any, Any]] = []
    point = Point(*key, PER_SAMPLE)
    for row in at_start.to_dict("records"):
        if not study.has(point, row["dataset"]):
            continue  # an average
        found = study.cells[study.places[row["dataset"]]].measure(point)
        row |= {"alpha": PER_SAMPLE, "value": found.value, "n_correct": found.n_correct}
        interval = study.interval_of(row)
        rows.append(row | interval._asdict() | {"alpha": None, "selection": "dawin"})
    return schema.frame_of(rows, schema.TABLE)


def _averages_at(
    key: tuple[str, int, str], alphas: Mapping[str, str], selection: str, study: Study
) -> pd.DataFrame:
    """Return a row for each average all of whose datasets have an alpha, which intervals take as
    given.
    """
    averages = []
    for name, members in study.averages.items():
        if set(members) <= alphas.keys():
            points = {member: Point(*key, alphas[member]) for member in members}
            row = average_row(name, points, study)
            averages.append(row | {"alpha": None, "selection": selection})
    return schema.frame_of(averages, schema.TABLE)
