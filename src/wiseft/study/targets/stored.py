"""What evaluations hold, or will when they are done: parameters of their rules.

Experiments share evaluations, and each asks for alphas and combinations of its own. Snakemake makes
an output again whose parameters are others than when it was made. Were they what an experiment asks
for, two experiments would make each other's evaluations again in turn; so they are what is there
*and* what is asked for. What one adds is there for the next, to which nothing is new then.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from wiseft.base.alphas import ALWAYS_RUN
from wiseft.base.io import sha256_json
from wiseft.study.config import paths
from wiseft.study.config.experiment import COMBINATIONS, ZERO_SHOT
from wiseft.study.targets.data import Data
from wiseft.study.targets.files import Files
from wiseft.study.targets.runs import Runs
from wiseft.study.targets.told import Told

Grid = Mapping[tuple[str, str, str], set[str]]
"""Alphas by dataset, view and combination."""


def _sum(grid: Grid) -> str:
    return sha256_json(sorted([*key, *sorted(grid[key])] for key in grid))[:16]


class Stored:
    """Parameters of an evaluation, by model, method, seed and datasets of its suite."""

    def __init__(self, runs: Runs, data: Data, files: Files, told: Told) -> None:
        self._runs = runs
        self._files = files
        self._data = data
        self._told = told
        self._grids: dict[Any, Grid] = {}
        self._inferred: dict[Any, Grid] = {}

    def alphas(self, model: str, method: str, seed: str, datasets: Sequence[str]) -> str:
        """All alphas and, where not all of the grid has them, a sum of which has which; of sparse
        sweeps another of those at which predictions are inferred.
        """
        grid = self._grid(model, method, seed, datasets)
        text = ",".join(sorted(set().union(*grid.values())))
        if len({frozenset(alphas) for alphas in grid.values()}) > 1:
            text += f" {_sum(grid)}"
        inferred = self._inferred[model, method, seed, datasets[0]]
        return f"{text} inferred {_sum(inferred)}" if inferred else text

    def combinations(self, model: str, method: str, seed: str, datasets: Sequence[str]) -> str:
        """All combinations; that of outputs, too, where it is one with that of weights."""
        found = {name for _, _, name in self._grid(model, method, seed, datasets)}
        if "weight" in found and self._is_linear(method):
            found.add("output")
        return ",".join(name for name in COMBINATIONS if name in found)

    def logits(self, model: str, method: str, seed: str, datasets: Sequence[str]) -> str:
        """Logits that are stored."""
        run = paths.run_name(model, self._runs.reference, method)
        if any(map(self._data.keeps, datasets)):
            return ""
        there = all(self._data.there(paths.logits_path(run, seed, name)) for name in datasets)
        return self._told.logits(method) if there or self._runs.experiment.pairs else ""

    def _grid(self, model: str, method: str, seed: str, datasets: Sequence[str]) -> Grid:
        key = model, method, seed, datasets[0]
        if key not in self._grids:
            run = paths.run_name(model, self._runs.reference, method)
            metrics = self._files.of_evaluation(paths.metrics_path, run, seed, datasets)
            grid: dict[Any, set[str]] = defaultdict(set)
            inferred: dict[Any, set[str]] = {}
            for name, file in zip(datasets, metrics, strict=True):
                for view in self._views[name]:
                    for combination in self._wanted(method):
                        grid[name, view, combination].update(self._runs.alphas(method))
                rows = self._rows(file)
                for row in rows:
                    grid[name, row["view"], row["combination"]].add(row["alpha"])
                inferred |= self._to_be_inferred(name, method, rows)
            self._grids[key], self._inferred[key] = grid, inferred
        return self._grids[key]

    def _to_be_inferred(self, dataset: str, method: str, rows: list[dict[str, Any]]) -> Grid:
        """Return where predictions are inferred or will be: an exact sweep makes those exact that
        it asks for, a sparse one takes them as they are.
        """
        views, asked = self._views[dataset], set(self._runs.alphas(method))
        weights = [row for row in rows if row["combination"] == "weight"]
        found = defaultdict(set)
        for row in weights:
            wanted = row["view"] in views and row["alpha"] in asked
            if "audit" in row and (self._told.sparse or not wanted):
                found[dataset, row["view"], "weight"].add(row["alpha"])
        accuracies = set(views.values()) == {"accuracy"}
        if self._told.sparse and accuracies and not self._is_linear(method):
            exact = {row["alpha"] for row in weights if row["view"] in views and "audit" not in row}
            for view in views if "weight" in self._wanted(method) else ():
                found[dataset, view, "weight"] |= asked - exact - set(ALWAYS_RUN)
        return {key: alphas for key, alphas in found.items() if alphas}

    @cached_property
    def _views(self) -> dict[str, dict[str, str]]:
        """Metrics by dataset and view."""
        experiment = self._runs.experiment
        evaluation = json.loads(self._told.evaluation([*experiment.datasets, *experiment.keep]))
        return {
            name: {view["name"]: view["metric"] for view in of["views"]}
            for name, of in evaluation.items()
        }

    def _wanted(self, method: str) -> list[str]:
        if method in self._runs.baselines:
            return ["weight"]
        names = self._told.combinations(method).split(",")
        return [name for name in names if name != "output" or not self._is_linear(method)]

    def _is_linear(self, method: str) -> bool:
        """Whether there is one image tower, so that outputs are combined as weights are."""
        if method in (ZERO_SHOT, *self._runs.baselines):
            return True
        return self._runs.catalogue.method_settings(method).trainable == "head"

    def _rows(self, path: Path) -> list[dict[str, Any]]:
        """Return the rows of metrics; none where they are not there, or not readable."""
        try:
            rows = json.loads((self._runs.catalogue.root / path).read_bytes())["rows"]
            return [row for row in rows if {"view", "combination", "alpha"} <= row.keys()]
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return []
