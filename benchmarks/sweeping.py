"""The sweep against the naive way: for every alpha load, mix, save, decode and evaluate.

Crops of scikit-learn's two sample photographs, as PNGs of 32 pixels with the ResNet of the digits,
and as JPEGs of 500 x 375 (ImageNet's usual size) at 224 pixels with ViT-B-32. Weights are random
and labels have no meaning, only time and the equality of predictions do.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from benchmarks.common import ROOT, Options, ratio, timed, write_record
from benchmarks.inputs import CLIP_PREPROCESSING, photo_crops, random_thetas, write_image_folder
from wiseft.combine.linear_combination import interpolate
from wiseft.evaluate.request import Request
from wiseft.evaluate.suite import evaluate_suite
from wiseft.evaluate.views import SuiteEvaluation
from wiseft.images.store import batches, open_manifest, open_split
from wiseft.models.classifier import ImageClassifier, build_classifier
from wiseft.models.towers.open_clip_models import architecture_from_json
from wiseft.thetas.preprocessing import Transform
from wiseft.thetas.theta import open_theta

SPLIT = "test"
ABOUT = {"model": "m", "reference": "r", "method": "m", "variant": "", "run": "r", "seed": 0}
CLASSES = [f"class {index}" for index in range(10)]
TENTHS = [f"{tenth / 10:.3f}" for tenth in range(11)]

Predictions = dict[str, dict[str, NDArray[np.int32]]]
"""by dataset and alpha"""


@dataclass(frozen=True)
class Task:
    """Two thetas, a grid and the manifests of image folders."""

    theta_0: Path
    theta_1: Path
    alphas: list[str]
    manifests: list[Path]
    batch_size: int
    device: str


@dataclass(frozen=True)
class Case:
    """A model, and so many sets of so many images of its size."""

    name: str
    architecture: dict[str, Any]
    preprocessing: dict[str, Any]
    sets: int
    images_per_set: int
    alphas: list[str]
    batch_size: int


def run(options: Options) -> None:
    """Write `sweep-digits.json` and `sweep-photos.json`, on a GPU with `-cuda` in their names."""
    few, gpu = options.quick, options.device == "cuda"
    digits = architecture_from_json(ROOT / "config" / "models" / "digits-rn.json") or {}
    pixels = {"size": 32, "mean": [0.5] * 3, "std": [0.25] * 3}
    small = (2, 40, TENTHS[::5]) if few else (9, 1000, TENTHS)
    vit, n = open_clip.get_model_config("ViT-B-32"), 10 if few else 2000 if gpu else 48
    alphas = [f"{quarter / 4:.3f}" for quarter in range(5)][:: 2 if few else 1]
    for case in (
        Case("digits", digits, pixels, *small, 500),
        Case("photos", vit, CLIP_PREPROCESSING, 1, n, alphas, 250 if gpu else 16),
    ):
        with tempfile.TemporaryDirectory() as folder:
            _measure(case, options, Path(folder))


def _write(case: Case, folder: Path, device: str) -> Task:
    """Write thetas and images; return the sweep between the first two."""
    thetas = random_thetas(folder, case.architecture, case.preprocessing, CLASSES)
    labels = [index % len(CLASSES) for index in range(case.images_per_set)]
    size, suffix = ((375, 500), ".jpg") if case.name == "photos" else ((32, 32), ".png")
    manifests = []
    for seed in range(case.sets):
        crops = photo_crops(len(labels), *size, seed=seed)
        name = f"{case.name}-{seed}"
        manifests.append(write_image_folder(folder, name, crops, labels, CLASSES, suffix))
    ends = thetas["theta_0"], thetas["theta_1"]
    return Task(*ends, case.alphas, manifests, case.batch_size, device)


def _measure(case: Case, options: Options, folder: Path) -> None:
    task = _write(case, folder, options.device)
    linear = replace(task, theta_1=folder / "linear.safetensors")
    evaluate(linear, folder / "warm-up")
    ways = {
        "naive": lambda: naive(task, folder),
        "sweep": lambda: evaluate(task, folder / "sweep"),
        "linear_naive": lambda: naive(linear, folder),
        "linear_sweep": lambda: evaluate(linear, folder / "linear"),
    }
    seconds, results = timed(ways, options.repeats)
    write_record(
        f"sweep-{case.name}" + ("-cuda" if options.device == "cuda" else ""),
        options,
        settings=asdict(case),
        seconds=seconds,
        ratios={
            "sweep": ratio(seconds, "naive", "sweep"),
            "linear_classifier": ratio(seconds, "linear_naive", "linear_sweep"),
        },
        checks={
            "end_to_end": check_equal(results["naive"], folder / "sweep"),
            "linear_classifier": check_equal(results["linear_naive"], folder / "linear", 1e-4),
        },
    )


def naive(task: Task, folder: Path) -> Predictions:
    """One alpha after the other: load both thetas, save the mixture, load it, decode everything.

    The module itself is built once and outside of the loop, in favour of this way.
    """
    header = open_theta(task.theta_1).header
    model = build_classifier(header).to(task.device)
    found: Predictions = {}
    for alpha in task.alphas:
        file = folder / f"naive_{alpha}.safetensors"
        save_file(interpolate(load_file(task.theta_0), load_file(task.theta_1), alpha), file)
        model.load_state_dict(load_file(file), strict=False)
        for path in task.manifests:
            name = open_manifest(path).dataset
            predictions = _predict(model, path, header.transform, task)
            found.setdefault(name, {})[alpha] = predictions
        file.unlink()
    return found


@torch.inference_mode()
def _predict(
    model: ImageClassifier, manifest: Path, transform: Transform, task: Task
) -> NDArray[np.int32]:
    split = open_split(manifest, SPLIT, transform)
    flags = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    with flags:
        parts = [
            model(images.to(task.device)).argmax(dim=1).to(torch.int32).cpu().numpy()
            for images, _ in batches(split, task.batch_size)
        ]
    return np.concatenate(parts)


def evaluate(task: Task, folder: Path) -> None:
    """The whole grid in one pass; writes metrics and predictions, and keeps nothing of before."""
    one = {"splits": [SPLIT], "views": [{"name": "all", "metric": "accuracy"}]}
    names = [open_manifest(path).dataset for path in task.manifests]
    for name in names:
        for file in (folder / name).glob("*"):
            file.unlink()
    request = Request(
        theta_0=task.theta_0,
        theta_1=task.theta_1,
        alphas=task.alphas,
        manifests=task.manifests,
        evaluate=SuiteEvaluation.model_validate(dict.fromkeys(names, one)),
        output_dir=folder,
        metadata=ABOUT,
        batch_size=task.batch_size,
        device=task.device,
    )
    evaluate_suite(request)


def check_equal(theirs: Predictions, folder: Path, margin: float = 0.0) -> dict[str, Any]:
    """Check that both ways predict the same, and return what was compared.

    Args:
        margin: samples with a smaller difference of the top two logits are not compared.
    """
    compared = differing = 0
    for name, by_alpha in theirs.items():
        table = pd.read_parquet(folder / name / "predictions.parquet")
        for alpha, predictions in by_alpha.items():
            column = f"weight/all/{alpha}"
            clear = (table[f"{column}/top1"] - table[f"{column}/top2"]).to_numpy() >= margin
            differs = table[f"{column}/prediction"].to_numpy() != predictions
            if bool((differs & clear).any()):
                raise AssertionError(f"{name} at alpha {alpha}: the two ways predict differently")
            compared += int(clear.sum())
            differing += int(differs.sum())
    return {"predictions_compared": compared, "equal": True, "differing_below_margin": differing}
