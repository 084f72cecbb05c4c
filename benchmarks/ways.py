"""The ways to cover a grid of alphas that are compared: ours and the naive one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from wiseft.combine.linear_combination import interpolate
from wiseft.evaluate import passes
from wiseft.evaluate.request import Request
from wiseft.evaluate.suite import evaluate_suite
from wiseft.evaluate.views import SuiteEvaluation
from wiseft.images.store import batches, open_manifest, open_split
from wiseft.models.classifier import ImageClassifier, build_classifier
from wiseft.thetas.preprocessing import Transform
from wiseft.thetas.theta import open_theta

SPLIT = "test"
ABOUT = {"model": "m", "reference": "r", "method": "m", "variant": "", "run": "r", "seed": 0}

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


def ours(task: Task, folder: Path) -> Path:
    """The whole grid in one pass; returns the folder with metrics and predictions."""
    one = {"splits": [SPLIT], "views": [{"name": "all", "metric": "accuracy"}]}
    names = [open_manifest(path).dataset for path in task.manifests]
    for name in names:
        for file in (folder / name).glob("*"):
            file.unlink()  # nothing may be kept from an earlier run
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
    return folder


def check_equal(
    task: Task, theirs: Predictions, folder: Path, margin: float = 0.0
) -> dict[str, Any]:
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


class ForwardClock:
    """Adds up the time inside image towers and heads of models that a sweep builds."""

    def __init__(self, device: str):
        self.seconds = 0.0
        self._start = 0.0
        self._device = device

    def _now(self) -> float:
        if self._device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def watch(self, model: ImageClassifier) -> ImageClassifier:
        """Count the time of this model's forward passes."""

        def before(*_: Any) -> None:
            self._start = self._now()

        def after(*_: Any) -> None:
            self.seconds += self._now() - self._start

        for part in (model.image, model.head):
            part.register_forward_pre_hook(before)
            part.register_forward_hook(after)
        return model


@contextlib.contextmanager
def forward_clock(device: str) -> Iterator[ForwardClock]:
    """Watch every model that a sweep builds within this block."""
    clock = ForwardClock(device)
    original = passes.build_classifier
    passes.build_classifier = lambda *arguments: clock.watch(original(*arguments))
    try:
        yield clock
    finally:
        passes.build_classifier = original
