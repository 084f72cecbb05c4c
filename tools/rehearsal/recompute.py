"""Some cells of a rehearsal's table, computed again from the official files and the weights.

It decodes images with Pillow, labels them by its own rules, and merges weights itself. Of wiseft
it takes the image towers alone. `findings` names what a table has in place of the right numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors import safe_open
from scipy.io import loadmat

from wiseft.models import towers
from wiseft.study.targets import Targets

Labelled = list[tuple[Path, int]]
Cell = tuple[str, str]
"""A dataset and a split."""
Scores = dict[float, float]
"""Accuracy by alpha."""
ALPHAS = (0.0, 0.25, 0.75, 1.0)
OFF_BY = 1.5
"""Images that rounding may turn, and a half."""


def dtd(datasets: Path, split: str) -> Labelled:
    """Partition 1: lists of `<class>/<file>`; classes are the sorted folders."""
    top = datasets / "dtd" / "files" / "dtd"
    classes = sorted(folder.name for folder in (top / "images").iterdir())
    lines = (top / "labels" / f"{ {'test': 'test1', 'held-out': 'val1'}[split] }.txt").read_text()
    return [(top / "images" / n, classes.index(n.partition("/")[0])) for n in lines.split()]


def cars(datasets: Path, split: str) -> Labelled:
    """Annotations count classes from 1."""
    if split == "test":
        table = datasets / ".archives" / "cars" / "cars_test_annos_withlabels.mat"
        images = datasets / "cars" / "files" / "cars_test" / "cars_test"
    else:
        table = datasets / "cars" / "files" / "devkit" / "devkit" / "cars_train_annos.mat"
        images = datasets / "cars" / "files" / "cars_train" / "cars_train"
    rows = loadmat(table, squeeze_me=True)["annotations"]
    return [(images / str(row["fname"]), int(row["class"]) - 1) for row in rows]


RULES: dict[str, Callable[[Path, str], Labelled]] = {"dtd": dtd, "cars": cars}
"""Datasets whose cells are computed again. Of `cars` the test images alone: others are drawn."""
SPLITS = {"dtd": ("held-out", "test"), "cars": ("test",)}


def seen(image: Image.Image, how: Mapping[str, Any]) -> np.ndarray:
    """Return the centre (S, S, 3) of an image whose shortest side is resized, as CLIP sees it."""
    edge, size = how.get("resize_size") or how["size"], how["size"]
    width, height = image.size
    short = min(width, height)
    scaled = image.convert("RGB").resize(
        (int(edge * width / short), int(edge * height / short)), Image.Resampling.BICUBIC
    )
    left, top = (round((side - size) / 2) for side in scaled.size)
    return np.asarray(scaled.crop((left, top, left + size, top + size)))


def predictions(ends: Sequence[Path], alpha: float, images: Sequence[Path]) -> np.ndarray:
    """Return the classes (n,) that (1 - alpha) theta_0 + alpha theta_1 tells."""
    zero, one = (safe_open(path, "pt") for path in ends)
    header = json.loads(zero.metadata()["wiseft"])
    weights = {
        name: (1 - alpha) * zero.get_tensor(name) + alpha * one.get_tensor(name)
        for name in zero.keys()  # noqa: SIM118 (it is no mapping)
    }
    tower = towers.build_image(header["architecture"]).eval()
    own = {k.removeprefix("image."): v for k, v in weights.items() if k.startswith("image.")}
    tower.load_state_dict(own, strict=False)
    how = header["preprocessing"]
    pixels = np.stack([seen(Image.open(path), how) for path in images]) / 255.0
    given = torch.tensor((pixels - how["mean"]) / how["std"], dtype=torch.float32)
    with torch.inference_mode():
        features = tower(given.permute(0, 3, 1, 2))
        if towers.normalises(header["architecture"]):
            features = features / features.norm(dim=-1, keepdim=True)
        logits = features @ weights["head.weight"].T + weights["head.bias"]
    return logits.argmax(dim=1).numpy()


def macro_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of F1 over the classes that occur."""
    scores = []
    for label in np.unique(labels):
        hits = ((predicted == label) & (labels == label)).sum()
        scores.append(2 * hits / ((predicted == label).sum() + (labels == label).sum()))
    return float(np.mean(scores))


def computed(
    ends: Sequence[Path], cells: Sequence[Cell], datasets: Path
) -> dict[Cell, dict[str, Scores]]:
    """Return the accuracies of cells, and what they would be after each mistake, by its name."""
    found: dict[Cell, dict[str, Scores]] = {}
    for dataset, split in cells:
        paths, given = zip(*RULES[dataset](datasets, split), strict=True)
        labels, classes = np.array(given), max(given) + 1
        told = {alpha: predictions(ends, alpha, paths) for alpha in ALPHAS}
        right = {alpha: float((told[alpha] == labels).mean()) for alpha in ALPHAS}
        found[dataset, split] = {
            "": right,
            "alpha reversed": {alpha: right[1 - alpha] for alpha in ALPHAS},
            "macro-F1 instead of accuracy": {a: macro_f1(told[a], labels) for a in ALPHAS},
            **{
                f"labels shifted by {by:+}": {
                    a: float((told[a] == (labels + by) % classes).mean()) for a in ALPHAS
                }
                for by in (-1, 1)
            },
        }
    return found


def findings(
    table: Mapping[Cell, Scores], right: Mapping[Cell, Mapping[str, Scores]], n: Mapping[Cell, int]
) -> list[str]:
    """Return a sentence for each cell that has not the right numbers, with what it has instead."""
    sentences = []
    for cell, scores in table.items():
        equal = partial(_equal, scores, n[cell])
        if equal(right[cell][""]):
            continue
        others = [" ".join(each) for each in right if each != cell and equal(right[each][""])]
        names = [f"the numbers of {other}" for other in others]
        names += [name for name, values in right[cell].items() if name and equal(values)]
        told = ", ".join(f"{a:g}: {v:.3f} for {right[cell][''][a]:.3f}" for a, v in scores.items())
        sentences.append(f"{' '.join(cell)} ({' or '.join(names) or 'unknown'}; {told})")
    return sentences


def _equal(one: Scores, n: int, other: Scores) -> bool:
    return all(abs(value - other[alpha]) * n < OFF_BY for alpha, value in one.items())


def cells_of(
    targets: Targets, root: Path
) -> tuple[list[Path], dict[Cell, Scores], dict[Cell, int]]:
    """Return the ends of an experiment's first run, its cells in the table, and their images."""
    run = targets.combined[0]
    ends = [
        root / targets.theta_0(run.model, run.method_id),
        root / targets.theta_1(run.model, run.method_id, run.seed),
    ]
    rows = pd.read_csv(root / targets.files.tables["table_csv"], keep_default_na=False)
    rows = rows[(rows["source"] == "measured") & (rows["experiment"] == targets.name)]
    rows = rows[(rows["run"] == run.name) & (rows["combination"] == "weight")]
    rows = rows[(rows["selection"] == "grid") & (rows["metric"] == "accuracy")]
    table: dict[Cell, Scores] = {}
    images: dict[Cell, int] = {}
    for row in rows.itertuples():
        if row.split in SPLITS.get(row.dataset, ()) and float(row.alpha) in ALPHAS:
            table.setdefault((row.dataset, row.split), {})[float(row.alpha)] = float(row.value)
            images[row.dataset, row.split] = int(row.n)
    return ends, table, images


def differences(targets: Targets, root: Path) -> list[str]:
    """Return a sentence for each cell of a finished rehearsal that a recomputation denies."""
    contrastive = {*targets.contrastive}
    if not targets.combined or targets.combined[0].method_id in contrastive:
        return []
    ends, table, images = cells_of(targets, root)
    return findings(table, computed(ends, list(table), root / "datasets"), images)
