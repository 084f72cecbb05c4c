"""A folder as `wiseft sweep` leaves it, without its tables and figures."""

from __future__ import annotations

from pathlib import Path

from wiseft.base.io import sha256_file, write_json
from wiseft.tabulate.intervals import clopper_pearson
from wiseft.tool.record import MODEL, Sweep, write_record

SUM = "ab" * 32
WEIGHTS = bytes(range(256)) * 64
CORRECT = {
    ("reference", "held-out"): (50, {0.0: 40, 0.35: 45, 1.0: 46}),
    ("reference", "test"): (60, {0.0: 47, 0.35: 55, 1.0: 56}),
    ("sketch|es", "test"): (30, {0.0: 20, 0.35: 21, 1.0: 15}),
}


def accuracy() -> list[dict]:
    rows = []
    for (name, split), (n, correct) in CORRECT.items():
        for alpha, count in correct.items():
            low, high = clopper_pearson(count, n)
            row = {"set": name, "split": split, "alpha": alpha, "value": count / n, "n": n}
            rows.append({**row, "n_correct": count, "ci_low": low, "ci_high": high})
    return rows


def image_set(name: str, role: str, n: dict[str, int], labelled: bool = True, split: str = ""):
    given = {"name": name, "path": f"/home/me/{name}", "role": role, "labelled": labelled}
    return {**given, "n": n, "split": split, "sha256": SUM}


def make_sweep(folder: Path, head: bool = True, base_model: str | None = "me/clip") -> Sweep:
    """Write the model and the record of a sweep into a new folder."""
    model = folder / MODEL
    model.mkdir(parents=True)
    (model / "wise.pt").write_bytes(WEIGHTS)
    write_json(model / "classes.json", ["bird", "tail"])
    end = {"path": "/home/me/zeroshot.pt", "kind": "torch", "sha256": {"zeroshot.pt": SUM}}
    record = Sweep.model_validate(
        {
            "versions": {"python": "3.12", "torch": "2.9"},
            "commit": "c" * 40,
            "inputs": SUM,
            "zero_shot": {**end, "base_model": base_model},
            "fine_tuned": {
                "path": "/home/me/tuned",
                "kind": "folder",
                "sha256": {"model.safetensors": "cd" * 32},
                "base_model": "/home/me/tuned",
            },
            "architecture": "ViT-B-32",
            "class_names": ["bird", "tail"],
            "templates": [],
            "head": "From the zero-shot text tower",
            "sets": [
                image_set(
                    "reference", "reference", {"held-out": 50, "test": 60}, split="by seed 0"
                ),
                image_set("sketch|es", "shift", {"test": 30}),
                image_set("camera", "shift", {"test": 9}, labelled=False),
            ],
            "alphas": [0.0, 0.35, 1.0],
            "choices": {"fixed": 0.5, "held-out": 0.6, "held-out-1se": 0.35, "unlabelled": 0.4},
            "unlabelled": {"sketch|es": 0.4, "camera": 0.4},
            "recommended": {"choice": "held-out-1se", "alpha": 0.35, "why": "It is the smallest."},
            "accuracy": accuracy(),
            "model": {
                "loads_with": "open_clip",
                "file": "model/wise.pt",
                "head": head,
                "sha256": {path.name: sha256_file(path) for path in sorted(model.iterdir())},
            },
        }
    )
    write_record(folder, record)
    return record
