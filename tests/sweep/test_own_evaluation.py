"""`wiseft sweep Z F --evaluate ...`: any two checkpoints, evaluated by a program of the user's."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file

import wiseft
from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.tabulate.intervals import clopper_pearson
from wiseft.tool.hub import write_card
from wiseft.tool.record import Result
from wiseft.tool.show import summary

N = {"val": 40, "test": 50, "other": 60}
SCRIPT = """
import json, sys
from safetensors.numpy import load_file
weights = load_file(sys.argv[1])
print("evaluating", len(weights), "tensors")
for name in ("val", "test", "other"):
    for number, value in enumerate(weights[name]):
        print(json.dumps({"set": name, "id": f"s{number}", "score": int(value > 0)}))
"""
ROLES = {"held_out": "val", "reference": "test", "shifts": ["other"]}
GRID = {"alphas": [0.25, 0.75]}


def ends(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Write two models whose weights are their scores: right where they are positive."""
    generator = np.random.default_rng(seed)
    paths = folder / "z.safetensors", folder / "f.safetensors"
    for path, means in zip(paths, ((0.2, 0.2, 0.8), (0.9, 0.9, 0.1)), strict=True):
        values = {
            name: generator.normal(mean, 1, n).astype(np.float32)
            for (name, n), mean in zip(N.items(), means, strict=True)
        }
        save_file(values, path, {"format": "pt"})
    return paths


def script(folder: Path, text: str = SCRIPT) -> str:
    """Return the command of a script, which also notes every run."""
    path, log = folder / "my_eval.py", folder / "runs.txt"
    path.write_text(f"open({str(log)!r}, 'a').write('x')\n{text}")
    return f"{sys.executable} {path} {{model}}"


def runs(folder: Path) -> int:
    path = folder / "runs.txt"
    return len(path.read_text()) if path.exists() else 0


def rights(z: Path, f: Path, name: str, alpha: float) -> np.ndarray:
    both = load_file(z)[name], load_file(f)[name]
    return np.float32(1 - alpha) * both[0] + np.float32(alpha) * both[1] > 0


def row(result: Result, name: str, alpha: float, split: str = "test"):
    table = result.table
    rows = table[(table["dataset"] == name) & (table["split"] == split)]
    return rows[(rows["alpha"] == alpha) & (rows["selection"] == "grid")].iloc[0]


def test_accuracies_choices_and_files(tmp_path):
    z, f = ends(tmp_path)
    result = wiseft.sweep_with(z, f, script(tmp_path), tmp_path / "out", **ROLES, **GRID)
    assert result.record.alphas == [0, 0.25, 0.5, 0.75, 1]
    assert runs(tmp_path) == 5
    for alpha in result.record.alphas:
        for name, dataset in (("test", "reference"), ("other", "other")):
            right = rights(z, f, name, alpha)
            found = row(result, dataset, alpha)
            assert (found["n_correct"], found["n"]) == (right.sum(), N[name])
            low, high = clopper_pearson(right.sum(), N[name])
            assert (found["ci_low"], found["ci_high"]) == (low, high)
    held = [rights(z, f, "val", alpha).mean() for alpha in result.record.alphas]
    assert result.choices["held-out"] == result.record.alphas[int(np.argmax(held))]
    assert result.recommended == result.choices["held-out-1se"]
    wrote, alpha = load_file(result.model_path), result.recommended
    assert result.model_path.name == "f.safetensors"
    for name, value in wrote.items():
        expected = (1 - alpha) * load_file(z)[name] + alpha * load_file(f)[name]
        np.testing.assert_allclose(value, expected, atol=1e-6)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"index.html", "curve.png", "gains.csv", "table.csv", "scores.parquet"} < names
    page = result.page.read_text()
    assert "Samples that flip" in page and str(tmp_path) not in page
    assert not list((tmp_path / "out" / ".work").glob("*point*.tmp*")), "no scratch is left"
    assert "recommended: alpha" in summary(result)
    card = write_card(tmp_path / "out", "mit", None).read_text()
    assert "task_type" not in card or "image-classification" not in card
