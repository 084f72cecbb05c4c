"""Metrics and predictions as the stage evaluate writes them, of models that are made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from wiseft.base.metrics import Truth, measure, pairs_of
from wiseft.tabulate.settings import TabulateSettings

GRID = ("0.000", "0.250", "0.500", "0.750", "1.000")
N_CLASSES = 10

Right = Mapping[tuple[str, str], Iterable[bool]]  # (combination, alpha) -> is it right?


@dataclass(frozen=True)
class Files:
    """What a command line gets."""

    metrics: list[Path]
    predictions: list[Path]


class Bench:
    """Writes the files of one dataset, run and seed after the other below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.metrics: list[Path] = []
        self.predictions: list[Path] = []

    @property
    def files(self) -> Files:
        return Files(list(self.metrics), list(self.predictions))

    def add(
        self,
        dataset: str,
        splits: Mapping[str, Right],
        *,
        model: str = "tiny-s0",
        reference: str = "ref",
        method: str = "end-to-end",
        variant: str = "",
        seed: int = 0,
        base_ids: Mapping[str, list[str]] | None = None,
    ) -> Path:
        """Write metrics.json and predictions.parquet; returns their folder.

        `splits` says for each split which predictions of which column are right.
        """
        method_id = f"{method}__{variant}" if variant else method
        run = f"{model}__{reference}__{method_id}"
        folder = self.root / run / f"seed-{seed}" / "evaluate" / dataset
        folder.mkdir(parents=True)
        parts, rows = [], []
        for split, columns in splits.items():
            n = len(list(next(iter(columns.values()))))
            labels = np.arange(n) % N_CLASSES
            ids = [f"{dataset}/{split}/{index}" for index in range(n)]
            frame = pd.DataFrame(
                {
                    "split": split,
                    "sample_id": ids,
                    "base_id": (base_ids or {}).get(split, ids),
                    "label": labels,
                }
            )
            for (combination, alpha), right in columns.items():
                good = np.array(list(right), dtype=bool)
                name = f"{combination}/all/{alpha}"
                frame[f"{name}/prediction"] = np.where(
                    good, labels, (labels + 1) % N_CLASSES
                ).astype(np.int32)
                add_certainty(frame, name)
                rows.append(
                    {
                        "split": split,
                        "view": "all",
                        "combination": combination,
                        "alpha": alpha,
                        "metric": "accuracy",
                        "value": int(good.sum()) / n,
                        "n": n,
                        "n_correct": int(good.sum()),
                        "groups": None,
                    }
                )
            parts.append(frame)
        pd.concat(parts).to_parquet(folder / "predictions.parquet", index=False)
        content = {
            "format": 1,
            "dataset": dataset,
            "model": model,
            "reference": reference,
            "method": method,
            "variant": variant,
            "run": run,
            "seed": seed,
            "identity": {"thetas": {}},
            "rows": rows,
        }
        (folder / "metrics.json").write_text(json.dumps(content))
        self.metrics.append(folder / "metrics.json")
        self.predictions.append(folder / "predictions.parquet")
        return folder

    def add_views(
        self,
        dataset: str,
        samples: pd.DataFrame,
        views: Mapping[str, Mapping[str, Any]],
        predictions: Mapping[tuple[str, str], npt.NDArray[np.integer]],
        *,
        model: str = "tiny-s0",
        method: str = "end-to-end",
        seed: int = 0,
    ) -> Path:
        """Write both files of a dataset with views of any metric; return their folder.

        Args:
            samples: `split`, `label` and, where wanted, `base_id`, `group_*`, `other_labels` and
                `<view>/label`.
            views: their definitions, as metrics.json has them.
            predictions: per combination and alpha the same for all views; a view with labels of
                its own covers what has one.
        """
        folder = self.root / f"{model}__ref__{method}" / f"seed-{seed}" / "evaluate" / dataset
        folder.mkdir(parents=True)
        frame = samples.reset_index(drop=True)
        frame["sample_id"] = [f"{dataset}/{index}" for index in range(len(frame))]
        if "base_id" not in frame:
            frame["base_id"] = frame["sample_id"]
        rows = []
        for view, settings in views.items():
            labels = frame[f"{view}/label" if settings.get("like") else "label"]
            for (combination, alpha), found in predictions.items():
                name = f"{combination}/{view}/{alpha}/prediction"
                frame[name] = np.where(labels >= 0, found, -1).astype(np.int32)
                add_certainty(frame, name.removesuffix("/prediction"))
                for split, part in frame[labels >= 0].groupby("split"):
                    row = {"split": split, "view": view, "combination": combination, "alpha": alpha}
                    outcome = measure(
                        settings["metric"],
                        part[name].to_numpy(),
                        truth_of(part, labels[part.index], settings.get("group")),
                        settings.get("ignore", ()),
                    )
                    rows.append({**row, "metric": settings["metric"], **asdict(outcome)})
        frame.to_parquet(folder / "predictions.parquet", index=False)
        about = {"model": model, "reference": "ref", "method": method, "variant": ""}
        content = {
            "format": 1,
            "dataset": dataset,
            **about,
            "run": f"{model}__ref__{method}",
            "seed": seed,
            "identity": {},
            "views": views,
            "rows": rows,
        }
        (folder / "metrics.json").write_text(json.dumps(content))
        self.metrics.append(folder / "metrics.json")
        self.predictions.append(folder / "predictions.parquet")
        return folder

    @staticmethod
    def first_right(n: int, count: int) -> list[bool]:
        """Return n flags, of which the first `count` are True."""
        return [index < count for index in range(n)]

    @classmethod
    def curve(
        cls, n: int, counts: Iterable[int], combination: str = "weight", grid: Iterable[str] = GRID
    ) -> Right:
        """Return columns with the given numbers of right predictions."""
        return {
            (combination, alpha): cls.first_right(n, count)
            for alpha, count in zip(grid, counts, strict=True)
        }

    def add_small(self, **about: Any) -> None:
        """Add a run whose counts are easy to follow by hand.

        alpha           0    .25  .5   .75  1
        ref held-out    80   90   95   96   96   of 100
        ref test        40   45   48   50   49   of 50
        one test        30   36   34   20   10   of 40
        two test        10   12   16   18   14   of 20
        """
        self.add(
            "ref",
            {
                "held-out": self.curve(100, (80, 90, 95, 96, 96)),
                "test": self.curve(50, (40, 45, 48, 50, 49)),
            },
            **about,
        )
        self.add("one", {"test": self.curve(40, (30, 36, 34, 20, 10))}, **about)
        self.add("two", {"test": self.curve(20, (10, 12, 16, 18, 14))}, **about)

    def add_baseline(self, variant: str, ref: int, one: int, two: int, seed: int = 0) -> None:
        """Add a from-scratch model with the given right predictions of 50, 40 and 20."""
        about = {"model": "tiny", "method": "from-scratch", "variant": variant, "seed": seed}
        for dataset, n, count in (("ref", 50, ref), ("one", 40, one), ("two", 20, two)):
            self.add(dataset, {"test": self.curve(n, [count], grid=["1.000"])}, **about)


def add_certainty(frame: pd.DataFrame, column: str) -> None:
    """Add entropies that are lowest near alpha 0.25, and confidences highest near 0.75."""
    alpha = float(column.rsplit("/", 1)[1])
    frame[f"{column}/entropy"] = np.float32(abs(alpha - 0.25))
    frame[f"{column}/confidence"] = np.float32(1 - abs(alpha - 0.75))


def truth_of(frame: pd.DataFrame, labels: pd.Series, group: str | None) -> Truth:
    return Truth(
        labels.to_numpy(np.int64),
        frame["base_id"].to_numpy(dtype=str),
        pairs_of(frame["other_labels"]) if "other_labels" in frame else None,
        np.array(frame[f"group_{group}"].tolist(), dtype=object) if group else None,
    )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "runs")


@pytest.fixture
def make_settings() -> Callable[..., TabulateSettings]:
    def make(**changes: Any) -> TabulateSettings:
        defaults: dict[str, Any] = {
            "averages": {"shifts": ["one", "two"]},
            "held_out": {"dataset": "ref", "split": "held-out"},
            "test_split": "test",
            "reference": "ref",
            "bootstrap": {"resamples": 200, "seed": 0},
        }
        return TabulateSettings.model_validate(defaults | changes)

    return make


@pytest.fixture
def small(bench: Bench) -> Files:
    bench.add_small()
    return bench.files
