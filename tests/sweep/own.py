"""Two models that are their own scores, and a program that evaluates them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

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
