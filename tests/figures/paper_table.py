"""A made-up tidy table in the shape of the paper's experiments, and the paper's own numbers.

Every measured number here is invented by a formula; nothing was measured.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import beta

from wiseft.base.names import split_run_name
from wiseft.study.config import Catalogue
from wiseft.study.published.numbers import rows
from wiseft.study.targets import experiment_runs
from wiseft.tabulate.schema import TABLE, conform

ROOT = Path(__file__).parents[2]
COARSE = (0.1, 0.9)
GRID = [round(0.05 * step, 3) for step in range(21)]
SHIFTS = ["imagenet-v2", "imagenet-r", "imagenet-sketch", "objectnet", "imagenet-a"]
VIEWS = {"imagenet-r": 0.14, "objectnet": 0.08, "imagenet-a": 0.11}
"""Datasets through whose classes the reference is seen, and how much easier it is then."""
SIZES = {
    "imagenet": 50_000,
    "imagenet-v2": 10_000,
    "imagenet-r": 30_000,
    "imagenet-sketch": 50_889,
    "objectnet": 18_574,
    "imagenet-a": 7_500,
}
START = {
    "imagenet": 0.76,
    "imagenet-v2": 0.70,
    "imagenet-r": 0.88,
    "imagenet-sketch": 0.60,
    "objectnet": 0.68,
    "imagenet-a": 0.77,
}


def published(tables: Iterable[int] | None = None) -> pd.DataFrame:
    """Return the paper's numbers as rows of the tidy table."""
    return _published(None if tables is None else tuple(tables)).copy()


@functools.cache
def _published(tables: tuple[int, ...] | None) -> pd.DataFrame:
    return conform(rows(tables, catalogue=Catalogue(ROOT)), TABLE)


@functools.cache  # of which a curve has hundreds
def interval(k: int, n: int) -> tuple[float, float]:
    """Return the ends of the Clopper-Pearson interval of k of n, neither none nor all."""
    return float(beta.ppf(0.025, k, n - k + 1)), float(beta.ppf(0.975, k + 1, n - k))


def accuracy(dataset: str, alpha: float, strength: float = 1.0) -> float:
    """Return an invented accuracy: ends that differ, and a bow between them."""
    gain = 0.10 if dataset == "imagenet" else -0.04
    return START[dataset] + strength * (gain * alpha + 0.20 * alpha * (1 - alpha))


def row(**values: Any) -> dict[str, Any]:
    """Return a measured row: an accuracy with its count and interval, unless values say else."""
    found: dict[str, Any] = {
        "source": "measured",
        "experiment": "made-up",
        "model": "clip-vit-l-14-336",
        "reference": "imagenet",
        "method": "end-to-end",
        "variant": "",
        "seed": 0,
        "combination": "weight",
        "alpha": 1.0,
        "dataset": "imagenet",
        "view": "all",
        "split": "test",
        "metric": "accuracy",
        "n": None,
        "n_correct": None,
        "ci_low": None,
        "ci_high": None,
        "ci_method": "",
        "selection": "grid",
    }
    found |= values
    parts = [found[name] for name in ("model", "reference", "method", "variant") if found[name]]
    found.setdefault("run", "__".join(parts))
    n = found["n"]
    if n is not None and found["ci_low"] is None:
        k = round(found["value"] * n)
        found["n_correct"], found["value"] = k, k / n
        found["ci_low"], found["ci_high"] = interval(k, n)
        found["ci_method"] = "clopper-pearson"
    return found


def sweep(
    strength: float = 1.0,
    alphas: Iterable[float] = GRID,
    subsampled: bool = True,
    **about: Any,
) -> list[dict[str, Any]]:
    """Return the rows of one run: ImageNet, its class-subsampled views, shifts and average."""
    found = []
    for alpha in alphas:
        values = {name: accuracy(name, alpha, strength) for name in SIZES}
        at = {"alpha": alpha, **about}
        for name, value in values.items():
            found.append(row(dataset=name, value=value, n=SIZES[name], **at))
        for name, easier in VIEWS.items() if subsampled else ():
            view, value = f"{name}-classes", min(values["imagenet"] + easier, 0.995)
            found.append(row(dataset="imagenet", view=view, value=value, n=10_000, **at))
        mean = float(np.mean([values[name] for name in SHIFTS]))
        ends = {"ci_low": mean - 0.004, "ci_high": mean + 0.004, "ci_method": "cluster-bootstrap"}
        found.append(row(dataset="avg:shifts", value=mean, **ends, **at))
    return found


def table(*parts: list[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a tidy table."""
    return conform(pd.DataFrame([row for part in parts for row in part]), TABLE)


def measured(**about: Any) -> pd.DataFrame:
    """Return an end-to-end and a linear-classifier sweep of the paper's main model."""
    return table(
        sweep(**about),
        sweep(strength=0.7, method="linear-classifier", **about),
    )


def of_experiment(name: str) -> pd.DataFrame:
    """Return an invented tidy table of all runs of an experiment, in the form of the stage."""
    catalogue = Catalogue(ROOT)
    entry = catalogue.experiment(name)
    places = [place for dataset in entry.datasets for place in _places(catalogue, entry, dataset)]
    kept = [(name, "test", "kept", "accuracy") for name in entry.keep]
    found = []
    for number, run in enumerate(experiment_runs(entry)):
        model, reference, method, variant = split_run_name(run.name)
        about = {"experiment": name, "model": model, "reference": reference, "method": method}
        about |= {"variant": variant, "run": run.name, "seed": run.seed}
        grid = [1.0] if run.baseline else [a for a in entry.alphas if a in COARSE or not a % 0.25]
        there = ["weight"] if run.baseline else entry.combinations
        # Of a linear classifier output space is weight space.
        hidden = {"output"} if method == "linear-classifier" else set()
        for combination in [name for name in there if name not in hidden]:
            for alpha in grid:
                about |= {"combination": combination, "alpha": round(alpha, 3)}
                seen = [*places, *([] if run.baseline else kept)]
                found += _rows_of(entry, seen, number, about)
    return conform(pd.DataFrame(found), TABLE)


def _places(catalogue: Catalogue, entry: Any, dataset: str) -> list[tuple[str, str, str, str]]:
    """Return dataset, split, view and metric of everything that is evaluated."""
    known = catalogue.dataset(dataset)
    found = []
    for split in known.evaluate:
        found += [(dataset, split, view.name, view.metric) for view in known.views]
        if dataset == entry.reference:
            through = [other for other in entry.datasets if catalogue.dataset(other).label_map]
            found += [(dataset, split, f"{other}-classes", "accuracy") for other in through]
    return found


def _rows_of(
    entry: Any, places: list[tuple[str, str, str, str]], number: int, about: dict[str, Any]
) -> list[dict[str, Any]]:
    found = []
    for place, (dataset, split, view, metric) in enumerate(places):
        alpha = about["alpha"]
        value = 0.6 + 0.004 * place + 0.1 * alpha * (1 - alpha) + 0.002 * (number % 9) * alpha
        value += 0.08 * alpha if dataset == entry.reference else -0.04 * alpha
        at = {"dataset": dataset, "split": split, "view": view, "metric": metric, "value": value}
        ends = {"ci_low": value - 0.01, "ci_high": value + 0.01}
        found.append(row(**about, **at, **ends))
    primary = {each["dataset"]: each["value"] for each in found if each["split"] == "test"}
    for name, members in entry.averages.items():
        mean = float(np.mean([primary[member] for member in members]))
        found.append(row(**about, dataset=f"avg:{name}", value=mean))
    return found
