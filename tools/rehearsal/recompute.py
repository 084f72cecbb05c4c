"""Cells of a rehearsal's table, computed again from the official archives and the weights.

It decodes and resizes images with Pillow, labels them by `official`'s rules, merges weights and
counts itself. Of wiseft it takes the image towers alone. What a table has in place of the right
numbers is named, where it is one of a few known mistakes.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from tools.rehearsal import official, rendered
from tools.rehearsal.official import Labelled, Picture

from wiseft.base.loading import read_yaml
from wiseft.models import towers
from wiseft.study.targets import Targets

log = logging.getLogger(__name__)

Cell = tuple[str, str, str]
"""A run, a dataset and a split."""
Scores = dict[float, float]
"""Accuracy by alpha."""
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
BATCH = 250
OFF_BY = 1.5
"""Images that rounding may turn beside ties, and a half."""
TIE = 1e-6
"""Between the right class's logit and the best other one, as a share of the largest logit."""
MOST_TIES = 0.01
"""Of a cell's images; a model that tells no class apart is not to hide mistakes."""


@dataclass(frozen=True)
class Told:
    """What models tell of a cell's images.

    Attributes:
        labels: class of each image, (n,).
        classes: how many there are.
        predictions: by alpha, (n,).
        ties: by alpha, images of which rounding alone says whether they are right. ImageNet has two
            missiles and two sunglasses by the paper's names, whose zero-shot logits are equal.
    """

    labels: np.ndarray
    classes: int
    predictions: Mapping[float, np.ndarray]
    ties: Mapping[float, int]

    def scores(self, shift: int = 0, reverse: bool = False) -> Scores:
        """Return the accuracies; with the labels shifted, or alpha reversed, if asked for."""
        labels = (self.labels + shift) % self.classes
        return {
            alpha: float((self.predictions[1 - alpha if reverse else alpha] == labels).mean())
            for alpha in self.predictions
        }

    def macro_f1(self) -> Scores:
        """Return the mean of F1 over the classes that occur."""
        found = {}
        for alpha, told in self.predictions.items():
            f1 = []
            for label in np.unique(self.labels):
                hits = ((told == label) & (self.labels == label)).sum()
                f1.append(2 * hits / ((told == label).sum() + (self.labels == label).sum()))
            found[alpha] = float(np.mean(f1))
        return found


MISTAKES: Mapping[str, Callable[[Told], Scores]] = {
    "alpha reversed": lambda told: told.scores(reverse=True),
    "labels shifted by one": lambda told: told.scores(1),
    "labels shifted by minus one": lambda told: told.scores(-1),
    "macro-F1 instead of accuracy": Told.macro_f1,
}


def differences(targets: Targets, root: Path) -> list[str]:
    """Return a sentence for each cell of a finished rehearsal that this recomputation denies."""
    path = root / targets.files.tables["table_csv"]
    rows = pd.read_csv(path, keep_default_na=False, low_memory=False)
    again = told(targets, root, rows)
    if not again:
        return [f"no cell of {targets.name} was computed again, so nothing says that it is right"]
    log.info("%s: %d cells computed again", targets.name, len(again))
    return findings(table(rows, targets.name), again)


def told(targets: Targets, root: Path, rows: pd.DataFrame) -> dict[Cell, Told]:
    """Return what models tell of a table's cells: those of the first run and of the last.

    Args:
        rows: the tidy table, for which cells there are.
    """
    cells, files = table(rows, targets.name), targets.files
    runs = [run for run in targets.combined or targets.runs if any(run.name == c[0] for c in cells)]
    read = cache(lambda dataset: splits(root, dataset))
    found = {}
    for run in dict.fromkeys([*runs[:1], *runs[-1:]]):
        # In contrastive training a text tower makes the head between the ends.
        alphas = (0.0, 1.0) if run.method_id in targets.contrastive else ALPHAS
        for cell in cells:
            name, dataset, split = cell
            if name == run.name:
                one = files.theta_1(run.model, run.method_id, run.seed, dataset)
                zero = [*files.theta_0(run.model, run.method_id, dataset), one][0]
                found[cell] = predicted(root / zero, root / one, read(dataset)[split], alphas)
    return found


def table(rows: pd.DataFrame, experiment: str) -> dict[Cell, tuple[int, Scores]]:
    """Return number of images and accuracies of those cells of a tidy table that can be checked."""
    known = {
        "source": "measured",
        "experiment": experiment,
        "combination": "weight",
        "selection": "grid",
        "metric": "accuracy",
    }
    rows = rows[np.logical_and.reduce([rows[key] == value for key, value in known.items()])]
    # The first view of a dataset, of iWildCam the second: the first is macro F1.
    rows = rows[rows["view"].isin(("all", "top-1")) & ~rows["dataset"].str.contains(":")]
    cells: dict[Cell, tuple[int, Scores]] = {}
    columns = ["run", "dataset", "split", "n", "alpha", "value"]
    for *where, n, alpha, value in rows[columns].itertuples(index=False, name=None):
        run, dataset, split = where
        if float(alpha) in ALPHAS:
            cells.setdefault((run, dataset, split), (int(n), {}))[1][float(alpha)] = float(value)
    return cells


def splits(root: Path, dataset: str) -> dict[str, Labelled]:
    """Return a dataset's official splits, and the held-out images that its entry draws."""
    entry = read_yaml(root / "config" / "datasets" / f"{dataset}.yaml")
    if entry["layout"] == "arrays":
        return rendered.splits(root, entry)
    found = official.READERS[dataset](root / "datasets" / ".archives")
    if draw := entry.get("held_out"):
        whole = found.pop(draw["of"])
        rng = np.random.default_rng(draw["seed"])
        found["held-out"] = whole.taken(rng.choice(len(whole.labels), draw["count"], replace=False))
    return found


def predicted(theta_0: Path, theta_1: Path, given: Labelled, alphas: Sequence[float]) -> Told:
    """Return the classes that (1 - alpha) theta_0 + alpha theta_1 tells of images."""
    zero, one, header = load_file(theta_0), load_file(theta_1), _header(theta_0)
    pixels = np.stack(
        [seen(image, header["preprocessing"], given.border) for image in given.images]
    )
    images = torch.tensor(pixels, dtype=torch.float32).permute(0, 3, 1, 2)
    towers_equal = all(zero[name].equal(one[name]) for name in zero if name.startswith("image."))
    members = given.members or tuple((label,) for label in range(len(header["class_names"])))
    features, predictions, ties = None, {}, {}
    labels = torch.tensor(np.array(given.labels))
    for alpha in alphas:
        weights = {name: (1 - alpha) * zero[name] + alpha * one[name] for name in zero}
        if features is None or not towers_equal:
            features = features_of(header["architecture"], weights, images)
        logits = features @ weights["head.weight"].T + weights["head.bias"]
        padded = torch.nn.functional.pad(logits, (0, 1), value=-torch.inf)  # a class may have none
        best = [padded[:, [*each, -1]].max(dim=1).values for each in members]
        scores = torch.stack(best, dim=1)
        predictions[alpha] = scores.argmax(dim=1).numpy()
        ties[alpha] = tied(scores, labels)
    return Told(labels.numpy(), len(members), predictions, ties)


def tied(scores: torch.Tensor, labels: torch.Tensor) -> int:
    """Return how many of n images are right or wrong by rounding; scores are (n, classes)."""
    finite = scores[scores.isfinite()]
    right = scores.gather(1, labels[:, None])
    others = scores.scatter(1, labels[:, None], -torch.inf).amax(dim=1, keepdim=True)
    return int(((right - others).abs() < TIE * finite.abs().max()).sum())


def _header(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        header: dict[str, Any] = json.loads(file.metadata()["wiseft"])
    return header


def seen(picture: Picture, how: Mapping[str, Any], border: int) -> np.ndarray:
    """Return an image as a tower is given it, (S, S, 3): resized, the centre cropped, scaled."""
    if isinstance(picture, bytes):
        image = Image.open(io.BytesIO(picture)).convert("RGB")
    else:
        image = Image.fromarray(picture).convert("RGB")
    width, height = image.size
    image = image.crop((border, border, width - border, height - border))
    size, edge = how["size"], how.get("resize_size") or how["size"]
    short = min(image.size)
    sides = [edge if how.get("resize_mode") else int(edge * side / short) for side in image.size]
    bilinear = how.get("interpolation") == "bilinear"
    kind = Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC
    image = image.resize((sides[0], sides[1]), kind)
    floor = how.get("crop") == "floor"
    left, top = ((s - size) // 2 if floor else round((s - size) / 2) for s in sides)
    pixels = np.asarray(image.crop((left, top, left + size, top + size))) / 255
    return np.asarray((pixels - how["mean"]) / how["std"])


def features_of(
    architecture: Mapping[str, Any], weights: Mapping[str, torch.Tensor], images: torch.Tensor
) -> torch.Tensor:
    """Return what the head of a model is given, (n, width)."""
    tower = towers.build_image(architecture).eval()
    own = {k.removeprefix("image."): v for k, v in weights.items() if k.startswith("image.")}
    missing, unknown = tower.load_state_dict(own, strict=False)
    assert not unknown and all(name.endswith("num_batches_tracked") for name in missing)
    with torch.inference_mode():
        features = torch.cat([tower(batch) for batch in images.split(BATCH)])
    if towers.normalises(architecture):
        features = features / features.norm(dim=-1, keepdim=True)
    return features


def findings(cells: Mapping[Cell, tuple[int, Scores]], told: Mapping[Cell, Told]) -> list[str]:
    """Return a sentence for each cell that has not the right numbers, with what it has instead."""
    sentences = []
    for cell, each in told.items():
        n, scores = cells[cell]
        right = each.scores()
        scores = {alpha: value for alpha, value in scores.items() if alpha in right}
        if n == len(each.labels) and _equal(scores, n, right, each.ties):
            continue
        numbers = {f"the numbers of {' '.join(c)}": told[c].scores() for c in told if c != cell}
        numbers |= {name: mistaken(each) for name, mistaken in MISTAKES.items()}
        names = [name for name, other in numbers.items() if _equal(scores, n, other, {})]
        values = ", ".join(f"{a:g}: {v:.3f} for {right[a]:.3f}" for a, v in scores.items())
        images = f"{n} images for {len(each.labels)}; " if n != len(each.labels) else ""
        sentences.append(f"{' '.join(cell)}: {' or '.join(names) or 'unknown'} ({images}{values})")
    return sentences


def _equal(one: Scores, n: int, other: Scores, ties: Mapping[float, int]) -> bool:
    return all(
        abs(value - other.get(alpha, np.nan)) * n < OFF_BY + min(ties.get(alpha, 0), MOST_TIES * n)
        for alpha, value in one.items()
    )
