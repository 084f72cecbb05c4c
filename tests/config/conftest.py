"""A small project: two datasets, a pre-trained model and one brought along, three methods."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ENTRIES: dict[str, dict[str, Any]] = {
    "config.yaml": {"experiment": "mini"},
    "packages.yaml": {
        "packages": {
            "toy-data": {
                "project": "toy-data",
                "version": "1.0",
                "file": "toy_data-1.0-py3-none-any.whl",
                "sha256": "a" * 64,
                "size": 2_000_000,
                "licence": "MIT",
                "why": "images",
            }
        }
    },
    "prompts/plain.yaml": {"name": "plain", "templates": ["a photo of {c}"]},
    "datasets/toy.yaml": {
        "name": "toy",
        "title": "Toy",
        "licence": "MIT",
        "citation": "nobody",
        "builder": "toy",
        "packages": ["toy-data"],
        "suite": "small",
        "class_names": [["0", "zero"], "one"],
        "prompts": "plain",
        "splits": {"train": 100, "held-out": 20, "test": 50},
        "evaluate": ["held-out", "test"],
    },
    "datasets/shift.yaml": {
        "name": "shift",
        "title": "Shift",
        "licence": "MIT",
        "citation": "nobody",
        "builder": "shift",
        "depends": ["toy"],
        "class_names": ["0", "one"],
        "prompts": "plain",
        "splits": {"test": 50},
        "evaluate": ["test"],
    },
    "models/tiny.yaml": {
        "name": "tiny",
        "title": "Tiny",
        "architecture": "tiny.json",
        "preprocessing": {"size": 8, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        "source": "pretrain",
        "pretrain": {"steps": 3},
    },
    "models/brought.yaml": {
        "name": "brought",
        "title": "Brought along",
        "architecture": "tiny.json",
        "preprocessing": {"size": 8, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        "source": "file",
    },
    "methods/tune.yaml": {
        "name": "tune",
        "title": "Tuned",
        "paper": "2",
        "settings": {"train_samples": 60, "warmup_max_fraction": 0.5},
        "variants": {"short": {"epochs": 1}, "whole": {"train_samples": None}},
    },
    "methods/scratch.yaml": {
        "name": "scratch",
        "title": "Scratch",
        "paper": "2",
        "settings": {"init": "random", "batch_norm": "train"},
        "variants": {"n10": {"train_samples": 10}},
    },
    "experiments/mini.yaml": {
        "experiment": "mini",
        "title": "Mini",
        "models": ["tiny-s3", "brought"],
        "reference": "toy",
        "datasets": ["toy", "shift"],
        "methods": ["tune__short"],
        "seeds": [0, 1],
        "baselines": {"model": "tiny", "methods": ["scratch__n10"]},
        "alphas": [0, 0.5, 1],
        "interpolate": [0.5],
        "held_out": {"dataset": "toy", "split": "held-out"},
        "averages": {"shifts": ["shift"]},
        "figures": {"robustness": {"draw": "robustness", "options": {"average": "shifts"}}},
    },
}

Edit = Callable[..., None]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, content in ENTRIES.items():
        path = tmp_path / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False))
    (tmp_path / "config/models/tiny.json").write_text("{}")
    return tmp_path


@pytest.fixture
def edit(project: Path) -> Edit:
    """Set a key of an entry: `edit("experiments/mini", "held_out.split", "val")`."""

    def set_key(entry: str, key: str, value: object) -> None:
        path = project / "config" / f"{entry}.yaml"
        content = yaml.safe_load(path.read_text())
        target = content
        *parents, last = key.split(".")
        for parent in parents:
            target = target[parent]
        target[last] = value
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    return set_key
