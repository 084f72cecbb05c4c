"""Tiny classifiers, a dataset of two splits and requests for them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.random_models import batch, blobs, deciding_head, telling_tensors

from wiseft.evaluate.passes import Inference
from wiseft.evaluate.request import Request
from wiseft.evaluate.views import SuiteEvaluation
from wiseft.images.split import PreparedSplit
from wiseft.models.batch_size import BatchSize
from wiseft.models.classifier import build_classifier
from wiseft.models.precision import Arithmetic
from wiseft.study.data.prepared import write_prepared
from wiseft.thetas.theta import make_header, save_theta

ARCHITECTURE = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "text_cfg": {"context_length": 16, "vocab_size": 100, "width": 8, "heads": 2, "layers": 1},
}
CLASSES = ["zero", "one", "two", "three"]
N = {"held-out": 17, "test": 46}
BATCH = 10
METADATA = {
    "model": "tiny-s0",
    "reference": "shapes",
    "method": "end-to-end",
    "variant": "",
    "run": "tiny-s0__shapes__end-to-end",
    "seed": 0,
}


@functools.cache
def tiny_tensors(seed: int) -> dict[str, torch.Tensor]:
    """Random weights, running statistics included, that predict every class now and then."""
    tensors = telling_tensors(tiny_header(), seed)
    model = build_classifier(tiny_header(), tensors)
    return tensors | deciding_head(model, batch(blobs(200, seed)))


def tiny_header(kind: str = "zero-shot", stage: str = "zeroshot", **changes: Any):
    arguments: dict[str, Any] = {
        "architecture": ARCHITECTURE,
        "preprocessing": {"size": 32, "mean": [0.5, 0.4, 0.3], "std": [0.3, 0.2, 0.25]},
        "class_names": CLASSES,
        "parents": {},
    }
    return make_header(kind, stage, **(arguments | changes))


@dataclasses.dataclass(frozen=True)
class Ends:
    theta_0: Path
    theta_1: Path
    linear: Path  # theta_0's image tower with the head of theta_1


@pytest.fixture(scope="session")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Ends:
    folder = tmp_path_factory.mktemp("thetas")
    paths = Ends(*(folder / f"{name}.safetensors" for name in ("theta_0", "theta_1", "linear")))
    start, end = tiny_tensors(0), tiny_tensors(1)
    save_theta(paths.theta_0, start, tiny_header())
    save_theta(paths.theta_1, end, tiny_header("fine-tuned", "finetune"))
    head = {name: tensor for name, tensor in end.items() if name.startswith("head.")}
    save_theta(paths.linear, start | head, tiny_header("fine-tuned", "finetune"))
    return paths


def prepared_split(n: int, seed: int, labels: NDArray[np.int64] | None = None) -> PreparedSplit:
    rng = np.random.default_rng(seed)
    return PreparedSplit(
        images=blobs(n, seed),
        labels=rng.integers(0, len(CLASSES), n) if labels is None else labels,
        sample_ids=[f"s{seed}-{i}" for i in range(n)],
        base_ids=[f"b{i // 2}" for i in range(n)],
        groups={"writer": [f"w{i % 3}" for i in range(n)]},
    )


def write_dataset(folder: Path, name: str = "shapes", shift: int = 0) -> Path:
    splits = {s: prepared_split(n, shift + i) for i, (s, n) in enumerate(N.items())}
    return write_prepared(folder / name, name, splits, CLASSES)


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("datasets"))


def evaluation(names: tuple[str, ...] = ("shapes",), **changes: Any) -> SuiteEvaluation:
    one = {"splits": list(N), "views": [{"name": "all", "metric": "accuracy"}]} | changes
    return SuiteEvaluation.model_validate(dict.fromkeys(names, one))


def inference(size: int = 500) -> Inference:
    """Plain passes on the CPU."""
    cpu = torch.device("cpu")
    return Inference(cpu, Arithmetic("fp32", cpu), BatchSize(size))


@pytest.fixture
def request_for(ends: Ends, manifest: Path, tmp_path: Path) -> Callable[..., Request]:
    def build(**changes: Any) -> Request:
        standard = Request(
            theta_0=ends.theta_0,
            theta_1=ends.theta_1,
            alphas=["0.000", "0.500", "1.000"],
            manifests=[manifest],
            evaluate=evaluation(),
            output_dir=tmp_path / "evaluate",
            metadata=METADATA,
            batch_size=BATCH,
        )
        return dataclasses.replace(standard, **changes)

    return build
