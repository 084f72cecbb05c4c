"""What rounding alpha to a grid costs DaWin: each image by weights of its own, against the grid.

    python -m tools.dawin                  # 400 test images of each dataset: five CPU minutes

Of every model and every seed of the experiment's first method, images that are spread evenly over
the test split are classified three times: at both ends, and by weights interpolated for each image
alone at its own alpha; and at every alpha of some grids, of which each image takes the nearest
(`wiseft.tabulate.predictions.dawin`). Theta files and datasets must be there. Printed are, over all
images, the accuracies and on how many images the two differ, and the largest difference in a set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from wiseft.evaluate.views import predict
from wiseft.images.store import open_split
from wiseft.models.classifier import ImageClassifier, build_classifier
from wiseft.study.targets import Run, Targets
from wiseft.tabulate.predictions import ENDS, PER_SAMPLE, WEIGHT, Point, dawin
from wiseft.thetas.theta import load_theta

FINEST = 20
GRIDS = {"0.2": 4, "0.1": 2, "0.05": 1}
"""By the width of a grid, which of the finest's alphas it has: each fourth, second, or all."""
BATCH = 100


class Counted(NamedTuple):
    """Of one model and dataset: what is right exactly and on a grid, and where the two differ."""

    dataset: str
    grid: str
    n: int
    exact: int
    rounded: int
    differ: int


class Between:
    """The classifier between two thetas at any alpha."""

    def __init__(self, theta_0: Path, theta_1: Path) -> None:
        first, last = load_theta(theta_0), load_theta(theta_1)
        self.header = first.header
        self._model, other = (build_classifier(t.header, t.tensors, seed=0) for t in (first, last))
        self._ends = [_floating(model) for model in (self._model, other)]

    def logits(self, images: Tensor, alpha: float) -> Tensor:
        """Return logits (n, classes) of uint8 images (n, 3, size, size)."""
        weights = {
            name: torch.lerp(w, self._ends[1][name], alpha) for name, w in self._ends[0].items()
        }
        found: Tensor = functional_call(self._model, weights, (images,))
        return found


def _floating(model: ImageClassifier) -> dict[str, Tensor]:
    return {name: t for name, t in model.state_dict().items() if t.is_floating_point()}


@torch.inference_mode()
def count(targets: Targets, run: Run, dataset: str, images: int) -> Iterator[Counted]:
    """Yield what a model does on one dataset, on each grid."""
    root = targets.catalogue.root
    paths = (
        targets.theta_0(run.model, run.method_id),
        targets.theta_1(run.model, run.method_id, run.seed),
    )
    between = Between(*(root / path for path in paths))
    split = open_split(
        root / targets.data.manifests([dataset])[0],
        targets.experiment.test_split,
        between.header.transform,
    )
    places = np.unique(np.linspace(0, len(split) - 1, min(images, len(split))).astype(np.int64))
    pixels = torch.from_numpy(split.read(places)).permute(0, 3, 1, 2)
    labels = np.asarray(split.labels)[places]
    entropies = {alpha: at(between, pixels, float(alpha))[1] for alpha in ENDS}
    wanted = 1 / (1 + np.exp(entropies[ENDS[1]] - entropies[ENDS[0]]))
    exact = np.concatenate(
        [at(between, image[None], a)[0] for image, a in zip(pixels, wanted, strict=True)]
    )
    alphas = [f"{step / FINEST:.3f}" for step in range(FINEST + 1)]
    predictions = {alpha: at(between, pixels, float(alpha))[0] for alpha in alphas}
    for grid, each in GRIDS.items():
        rounded = on_grid({alpha: predictions[alpha] for alpha in alphas[::each]}, entropies)
        yield Counted(
            dataset,
            grid,
            len(labels),
            int((exact == labels).sum()),
            int((rounded == labels).sum()),
            int((exact != rounded).sum()),
        )


def at(
    between: Between, pixels: Tensor, alpha: float
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return predictions and entropies of images at one alpha."""
    found = [predict(between.logits(part, alpha)) for part in pixels.split(BATCH)]
    entropies = np.concatenate([each.entropy for each in found]).astype(float)
    return np.concatenate([each.prediction for each in found]), entropies


def on_grid(
    predictions: Mapping[str, NDArray[np.int32]], entropies: Mapping[str, NDArray[np.float64]]
) -> NDArray[np.int32]:
    """Return what the tables take of predictions on a grid."""
    sweep = {Point("", 0, WEIGHT, alpha): each for alpha, each in predictions.items()}
    ends = {Point("", 0, WEIGHT, alpha): each for alpha, each in entropies.items()}
    return dawin(sweep, ends)[Point("", 0, WEIGHT, PER_SAMPLE)]


def shown(rows: Sequence[Counted]) -> Iterator[str]:
    """Yield a line for each grid."""
    for grid in GRIDS:
        mine = [row for row in rows if row.grid == grid]
        n, exact, rounded, differ = (
            sum(getattr(row, name) for row in mine) for name in ("n", "exact", "rounded", "differ")
        )
        errors = np.array([100 * (row.rounded - row.exact) / row.n for row in mine])
        yield (
            f"grid of {grid}: {n} images x models, exact {100 * exact / n:.2f} %, rounded "
            f"{100 * rounded / n:.2f} %, {differ} predictions differ ({100 * differ / n:.2f} %); "
            f"by model and dataset {np.abs(errors).mean():.2f} points on average, "
            f"{np.abs(errors).max():.2f} at most"
        )


def main(
    experiment: Annotated[str, typer.Option()] = "digits",
    images: Annotated[int, typer.Option(min=1, help="Of each dataset.")] = 400,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Measure and print."""
    torch.set_num_threads(threads)
    targets, rows = Targets.read(".", {"experiment": experiment}), list[Counted]()
    for run in targets.runs:
        if run.method_id == targets.methods[0]:
            for dataset in targets.experiment.datasets:
                rows += count(targets, run, dataset, images)
            print(f"{run.model}, seed {run.seed}", flush=True)
    print("\n".join(shown(rows)))


if __name__ == "__main__":
    typer.run(main)
