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
from functools import cache
from pathlib import Path
from typing import Any

from wiseft.base.io import sha256_json
from wiseft.study.config import paths
from wiseft.study.config.experiment import COMBINATIONS, ZERO_SHOT
from wiseft.study.targets.data import Data
from wiseft.study.targets.files import Files
from wiseft.study.targets.runs import Runs
from wiseft.study.targets.told import Told

Grid = Mapping[tuple[str, str, str], set[str]]
"""Alphas by dataset, view and combination."""


class Stored:
    """Parameters of an evaluation, by model, method, seed and datasets of its suite."""

    def __init__(self, runs: Runs, data: Data, files: Files, told: Told) -> None:
        self._runs = runs
        self._files = files
        self._data = data
        self._told = told
        self._evaluation = cache(told.evaluation)
        self._grids: dict[Any, Grid] = {}

    def alphas(self, model: str, method: str, seed: str, datasets: Sequence[str]) -> str:
        """All alphas and, where not all of the grid has them, a sum of which has which."""
        grid = self._grid(model, method, seed, datasets)
        text = ",".join(sorted(set().union(*grid.values())))
        if len({frozenset(alphas) for alphas in grid.values()}) > 1:
            rows = sorted([*key, *sorted(grid[key])] for key in grid)
            text += f" {sha256_json(rows)[:16]}"
        return text

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
            evaluation = json.loads(self._evaluation(tuple(datasets)))
            for name, file in zip(datasets, metrics, strict=True):
                for view in evaluation[name]["views"]:
                    for combination in self._wanted(method):
                        grid[name, view["name"], combination].update(self._runs.alphas(method))
                for row in self._rows(file):
                    grid[name, row["view"], row["combination"]].add(row["alpha"])
            self._grids[key] = grid
        return self._grids[key]

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
