"""What the page shows, from the tidy table: series over alpha on every dataset, as plain data."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from wiseft.base.alphas import FIXED_ALPHA
from wiseft.base.names import BASELINE_METHOD, SEARCHES
from wiseft.base.templates import signed
from wiseft.errors import WiseftError
from wiseft.figures.labels import FEW, SEPARATOR, name_of, panel_title, variant_names
from wiseft.figures.style import FAMILIES, METHODS, SPARE, title
from wiseft.tabulate.intervals import with_intervals
from wiseft.tabulate.models import (
    VALUES,
    each_run,
    mean_over_runs,
    of_models,
    of_runs,
    prediction_interval,
    without_seed,
)
from wiseft.tabulate.schema import ALL, AVERAGE_PREFIX, MEASURED, PUBLISHED

KEY = ["source", "model", "method", "variant"]
"""Tells lines apart."""
RECOMMENDED = "held-out-1se"
"""The choice that the page recommends, as `wiseft sweep` does: it looks at no shifted image."""
FARTHEST = 12.0
"""Logit at which an end of an interval at 0 or 100 % stands: outside of every panel."""
NEW = ["new_low", "new_high"]
_SHOWN = ("key", "model", "label", "color", "source", "runs", "models", "recommended")
"""What the table has of a line as it is."""
LEAST_ALPHAS = 3
"""A series with fewer alphas has nothing to slide along."""


@dataclass(frozen=True)
class Line:
    """A method applied to a model, from one source.

    Attributes:
        model: the model's entry, without a pre-training seed.
        label: what the legend says.
        color: of the marks.
        runs: how many runs each number is the mean of.
        models: how many models they belong to; intervals of three or more are over these.
        values: by dataset, one row an alpha: alpha, value, ci_low, ci_high (fractions), and of
            three models or more new_low and new_high, where one new pre-training is expected.
        recommended: alpha that held-out images chose, the lower median of the runs'; None: none.
    """

    model: str
    method: str
    variant: str
    source: str
    label: str
    color: str
    runs: int
    models: int
    values: dict[str, pd.DataFrame]
    recommended: float | None = None

    @property
    def key(self) -> str:
        """Identifies the line within the page."""
        return f"{self.model}/{self.method}/{self.variant}/{self.source}"


def lines_of(
    table: pd.DataFrame, reference: str, datasets: list[str], view: str, methods: Sequence[str] = ()
) -> list[Line]:
    """Return the lines of a table, those of the leading method first, published ones last.

    Args:
        table: the tidy table.
        reference: dataset that models were fine-tuned on, and that is on every x axis.
        datasets: what is on the y axes, averages among them.
        view: the view that is shown of every dataset.
        methods: ids of the measured methods that are shown; none for all.

    Raises:
        WiseftError: if there is none.
    """
    grid = _shown_rows(table, "grid", reference, view, methods)
    chosen = _shown_rows(table, RECOMMENDED, reference, view, methods)
    of_reference = chosen[chosen["dataset"] == reference].groupby(KEY)["alpha"]
    medians = of_reference.quantile(interpolation="lower").to_dict()
    lines = []
    for key, part in grid.groupby(KEY, sort=True):
        source, model, method, variant = map(str, key)
        by_dataset = dict(iter(part.groupby("dataset")))
        names = [name for name in [reference, *datasets] if name in by_dataset]
        values = {name: _values(by_dataset[name]) for name in names}
        if len(values.get(reference, ())) < LEAST_ALPHAS or len(values) == 1:
            continue
        runs = len(each_run(of_runs(by_dataset[reference])))
        models = int(max(of_models(by_dataset[reference])["n"], default=1))
        best = medians.get(key)
        lines.append(Line(model, method, variant, source, "", "", runs, models, values, best))
    if not lines:
        raise WiseftError(
            f"the page needs a run with several alphas on {reference} and on a shift, but the "
            "table has none; check the experiment's alphas and datasets"
        )
    rank = {name: place for place, name in enumerate(METHODS)}
    order = {MEASURED: 0, PUBLISHED: 1}
    lines.sort(key=lambda line: (rank.get(line.method, len(rank)), order[line.source]))
    looks = {
        model: _looks([one for one in lines if one.model == model]) for model in models_of(lines)
    }
    return [replace(one, **looks[one.model][one.method, one.variant]) for one in lines]


def _shown_rows(
    table: pd.DataFrame, selection: str, reference: str, view: str, methods: Sequence[str]
) -> pd.DataFrame:
    """Return the sweeps of weights, or what was selected of them, without the models' seeds."""
    grid = table[
        (table["selection"] == selection)
        & (table["combination"] == "weight")
        & (table["reference"] == reference)
        & (table["view"] == view)
        & (table["split"] == "test")
        & ~table["method"].isin([BASELINE_METHOD, *FAMILIES])
        & table["alpha"].notna()
    ]
    if methods:
        ids = grid["method"] + ("__" + grid["variant"]).where(grid["variant"] != "", "")
        grid = grid[(grid["source"] != MEASURED) | ids.isin(methods)]
    grid = grid.assign(model=grid["model"].map(without_seed))
    return with_intervals(_beside_the_papers(grid))


def _beside_the_papers(grid: pd.DataFrame) -> pd.DataFrame:
    """Let the one searched linear classifier of a model stand beside the published one, which is
    the best of several searches.
    """
    measured = grid["source"] == MEASURED
    searched = measured & grid["variant"].isin(SEARCHES)
    names = grid["variant"].copy()
    for (model, method), part in grid[searched].groupby(["model", "method"]):
        same = (grid["model"] == model) & (grid["method"] == method) & (grid["variant"] == "")
        alone = part["variant"].nunique() == 1 and not (same & measured).any()
        if alone and (same & ~measured).any():
            names[part.index] = ""
    return grid.assign(variant=names)


def _looks(lines: list[Line]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return label and colour by method and variant of one model: a method that the style knows
    has its own, which its first variant gets; all else gets spare ones in turn.
    """
    ids = dict.fromkeys((line.method, line.variant) for line in lines)
    variants: dict[str, list[str]] = {}
    for method, variant in ids:
        variants.setdefault(method, []).append(variant)
    spare = itertools.cycle(look.color for look in SPARE)
    looks = {}
    for method, variant in ids:
        words = variant_names(variants[method])[variant]
        known = METHODS.get(method) if variant == variants[method][0] else None
        label = title(SEPARATOR.join(filter(None, [method, words])))
        looks[method, variant] = {"label": label, "color": known.color if known else next(spare)}
    return looks


def _values(rows: pd.DataFrame) -> pd.DataFrame:
    if len(means := of_models(rows)):
        means = means[["alpha", *VALUES]].sort_values("alpha", ignore_index=True)
        each = of_runs(rows).groupby(["alpha", "run"])["value"].mean().groupby("alpha")
        new = pd.DataFrame(each.apply(prediction_interval).to_dict(), index=NEW).T
        return means.join(new, on="alpha")
    unique = rows.drop_duplicates(["run", "model", "variant", "seed", "alpha", "value"])
    return mean_over_runs(unique[["alpha", *VALUES]])


def models_of(lines: list[Line]) -> list[str]:
    """Return the models in the order of their lines."""
    return list(dict.fromkeys(line.model for line in lines))


def records(
    lines: list[Line], reference: str, datasets: list[str], titles: dict[str, str]
) -> list[dict[str, Any]]:
    """Return a record for each point of the chart: positions in logits, and texts in percent.

    Points at 0 or 1, where the logit is infinite, are left out of the chart; the table has them.
    """
    points = []
    first = {line.model: line for line in reversed(lines)}
    for line in lines:
        for dataset in [name for name in datasets if name in line.values]:
            at = line.values[dataset].merge(line.values[reference], on="alpha", suffixes=("", "_x"))
            at = at[(at[["value", "value_x"]].gt(0) & at[["value", "value_x"]].lt(1)).all(axis=1)]
            points += [
                {
                    "dataset": dataset,
                    "title": panel_title(dataset, titles),
                    "line": line.key,
                    "model": line.model,
                    "series": line.label,
                    "source": line.source,
                    "alpha": row["alpha"],
                    "joined": len(line.values[dataset]) > FEW,
                    "recommended": row["alpha"] == line.recommended,
                    "first": line is first[line.model],
                    "name": _name(row["alpha"], line) if line is first[line.model] else "",
                    **_positions("x", row, "_x"),
                    **_positions("y", row),
                    "reference accuracy": percent_interval(row, "_x"),
                    "accuracy": percent_interval(row),
                }
                for row in at.to_dict("records")
            ]
    return points


def _name(alpha: float, line: Line) -> str:
    """Return what a point is called where there is room: an end, or the chosen alpha."""
    chosen = f"α = {alpha:g}" if alpha == line.recommended else ""
    return ", ".join(filter(None, [{0.0: "zero-shot", 1.0: "fine-tuned"}.get(alpha, ""), chosen]))


def _positions(axis: str, row: Any, suffix: str = "") -> dict[str, float | None]:
    """Return where a point and the ends of its interval stand, in logits; null: it has none."""
    value, low, high = (row[f"{name}{suffix}"] for name in VALUES)
    inside = np.clip([value, low, high], 1e-9, 1 - 1e-9)
    places = logit(inside).clip(-FARTHEST, FARTHEST).round(5).tolist()
    names = (axis, f"{axis}_low", f"{axis}_high")
    return {k: None if np.isnan(v) else v for k, v in zip(names, places, strict=True)}


def percent_interval(row: Any, axis: str = "") -> str:
    """Return an accuracy in percent with its interval where it has one; `axis` ends the columns."""
    value, low, high = (row[f"{name}{axis}"] for name in VALUES)
    ends = "" if pd.isna(low) else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * value:.1f} %{ends}"


def table_data(
    lines: list[Line], reference: str, datasets: list[str], titles: dict[str, str]
) -> dict[str, Any]:
    """Return the numbers of the table: by line, dataset and alpha, in percent."""
    return {
        "reference": reference,
        "datasets": [
            {"name": name, "title": panel_title(name, titles), "kind": _kind(name, reference)}
            for name in [reference, *datasets]
        ],
        "lines": [
            {
                **{name: getattr(line, name) for name in _SHOWN},
                "pair": f"{line.model}/{line.method}/{line.variant}",
                "values": {
                    dataset: {
                        f"{row['alpha']:.3f}": [
                            None if pd.isna(row[name]) else round(100 * row[name], 3)
                            for name in [*VALUES, *NEW]
                            if name in row
                        ]
                        for row in frame.to_dict("records")
                    }
                    for dataset, frame in line.values.items()
                },
            }
            for line in lines
        ],
    }


def answer(
    line: Line,
    datasets: tuple[str, str],
    alpha: float,
    titles: dict[str, str],
    comparisons: pd.DataFrame | None,
    who: str = "",
    samples: str = "images",
) -> list[str]:
    """Return what an alpha gains on a shift and costs on the reference: a sentence for each end.

    Args:
        datasets: the reference, and a shift or an average of several.
        who: names the line, where it is not alone.
        samples: what was evaluated.
        comparisons: paired differences of this alpha with the ends, which have intervals; None:
            there are none.
    """
    reference, shift = datasets
    where = _where(shift, titles)
    at = ", ".join(filter(None, [who, f"α = {alpha:g}"]))
    own = "the reference" if reference == "reference" else name_of(reference, titles)
    said = []
    known = set(line.values[reference]["alpha"]) & set(line.values[shift]["alpha"])
    for end, name in ((1.0, "fine-tuned"), (0.0, "zero-shot")):
        if not {alpha, end} <= known:
            continue
        if end == alpha:
            said.append(f"{at}, the {name} model itself, is what is chosen here.")
            continue
        (gain, text), (_, cost) = (
            _difference(line, dataset, alpha, end, comparisons) for dataset in (shift, reference)
        )
        none = f"no gain that these {samples} can show, "
        kind = {-1: "a loss of accuracy, ", 0: none, 1: ""}[gain]
        price = f"{'for' if gain > 0 else 'and'} {cost} on {own}"
        said.append(f"{at}: {kind}{text} {where}, {price}, compared with the {name} model.")
    return said or [f"Accuracy {where} and on {own} by α; both ends are not known."]


def over_settings(
    rows: pd.DataFrame, model: str, datasets: tuple[str, str], titles: dict[str, str]
) -> list[str]:
    """Return a sentence about all settings of a recipe that held-out images admit, if several are.

    Args:
        rows: of `schema.TUNING`.
        model: whose settings they are.
        datasets: the reference, and a shift or an average of several.
    """
    reference, shift = datasets
    rows = rows[(rows["admissible"] == 1) & (rows["quantity"] == "over-fine-tuned")]
    rows = rows[rows["model"] == model].sort_values("value")
    gains = {name: rows[rows["dataset"] == name] for name in datasets}
    n = len(gains[shift])
    if n < 2:
        return []
    gained, paid = (
        " to ".join(map(_points, gains[name].iloc[[0, -1]].to_dict("records")))
        for name in (shift, reference)
    )
    return [
        f"α = {float(FIXED_ALPHA):g}: {gained} points {_where(shift, titles)}, for {paid} on "
        f"{name_of(reference, titles)}, compared with the fine-tuned model, over the {n} settings "
        "that held-out images admit."
    ]


def _points(row: Mapping[Hashable, Any]) -> str:
    """Return a difference in points, with its interval where it has one."""
    ends = [signed(100 * row[end]) for end in ("ci_low", "ci_high") if not np.isnan(row[end])]
    return signed(100 * row["value"]) + (f" [{', '.join(ends)}]" if ends else "")


def _where(shift: str, titles: dict[str, str]) -> str:
    if shift.startswith(AVERAGE_PREFIX):
        return f"under shift (average of {name_of(shift, titles)})"
    return f"on {panel_title(shift, titles)}"


def _difference(
    line: Line, dataset: str, alpha: float, end: float, comparisons: pd.DataFrame | None
) -> tuple[int, str]:
    """Return the sign of a difference in accuracy, 0 where its interval has both, and its text."""
    values = line.values[dataset].set_index("alpha")["value"]
    points = 100 * (values[alpha] - values[end])
    text = f"{signed(points)} points"
    if comparisons is None:
        return (-1 if points < 0 else 1), text
    rows = comparisons[
        (comparisons["model"].map(without_seed) == line.model)
        & (comparisons["method"] == line.method)
        & (comparisons["variant"] == line.variant)
        & (comparisons["contrast"] == f"{alpha:.3f}-vs-{end:.3f}")
        & (comparisons["dataset"] == dataset)
        & (comparisons["seed"] != ALL)
    ]
    if len(rows) == 1 and rows["ci_low"].notna().all():
        low, high = 100 * rows["ci_low"].iloc[0], 100 * rows["ci_high"].iloc[0]
        text += f" [{low:.1f}, {high:.1f}]".replace("-", "−")
    elif len(rows) == 1 and rows["ci_low"].isna().all():
        text, low, high = f"{text} (without an interval)", -np.inf, np.inf
    elif len(rows):
        low, high = 100 * rows["difference"].min(), 100 * rows["difference"].max()
        text += f" ({signed(low)} to {signed(high)} in {len(rows)} runs)"
    else:
        low = high = points
    return (1 if low > 0 else -1 if high < 0 else 0), text


def _kind(dataset: str, reference: str) -> str:
    if dataset == reference:
        return "reference"
    return "average" if dataset.startswith(AVERAGE_PREFIX) else "shift"


def part(name: str) -> str:
    """Return the text of a file that the page is made of."""
    return (files("wiseft.figures.page") / name).read_text(encoding="utf-8")
