"""Fine-tuning against the plain loop: fp32, no tricks, images read in between the steps.

On a CPU: the digits model on stored images of 32 pixels, and ViT-B-32 on JPEG photographs at 224
pixels, cropped at random as in the paper. On a GPU: ViT-B-32 and ViT-B-16 on stored images of 224
pixels, in bf16, also compiled, beside a step as open_clip makes it. Weights are random: time does
not depend on them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch.nn import functional

from benchmarks.common import ROOT, Options, ratio, timed, write_record
from benchmarks.inputs import CLIP_PREPROCESSING, photo_crops, write_image_folder
from wiseft.images.split import PreparedSplit
from wiseft.images.store import open_manifest
from wiseft.models.classifier import ImageClassifier, build_classifier
from wiseft.models.towers.open_clip_models import architecture_from_json
from wiseft.study.config import FinetuneSettings
from wiseft.study.config.machine import HowSettings
from wiseft.study.data.prepared import write_prepared
from wiseft.study.finetune.augment import TrainingImages
from wiseft.study.finetune.objective import make_objective
from wiseft.study.finetune.schedule import epoch_order, learning_rate
from wiseft.study.finetune.trained_model import prepare_model
from wiseft.study.finetune.trainer import Execution, Task, fit
from wiseft.thetas.resume_state import Checkpoints
from wiseft.thetas.theta import ThetaHeader, make_header

SPLIT = "test"
PEAK = 1e-4  # so large that losses show every step
CLASSES = [str(index) for index in range(10)]
DIGITS_PREPROCESSING = {"size": 32, "mean": [0.5] * 3, "std": [0.25] * 3}
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 224, "patch_size": 56, "layers": 1, "width": 16, "head_width": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 8, "heads": 2, "layers": 1},
}


@dataclass(frozen=True)
class Case:
    """A model, images and how long it is trained on them.

    Attributes:
        workers: threads that read images ahead of our loop.
    """

    name: str
    header: ThetaHeader
    manifest: Path
    batch_size: int
    steps: int
    augment: str
    workers: int
    device: str

    def settings(self, precision: str = "fp32") -> FinetuneSettings:
        """The paper's recipe but for its warm-up, for so many steps, without state on disk."""
        return FinetuneSettings(
            batch_size=self.batch_size,
            steps=self.steps,
            augment=self.augment,
            learning_rate=PEAK,
            warmup_steps=0,
            checkpoint_every=10**6,
            precision=precision,
        )

    def model(self) -> ImageClassifier:
        """The model, with the same random weights every time."""
        return build_classifier(self.header, seed=0).to(self.device)

    def samples(self) -> TrainingImages:
        """The images, as training sees them."""
        manifest = open_manifest(self.manifest)
        n = manifest.split_files(SPLIT).n
        transform = self.header.transform
        return TrainingImages(manifest, SPLIT, np.arange(n), self.settings(), transform, 0)


def run(options: Options) -> None:
    """Write `training.json`, or `training-cuda.json` on a GPU."""
    with tempfile.TemporaryDirectory() as name:
        make = _gpu_cases if options.device == "cuda" else _cpu_cases
        found = {case.name: _measure(case, options, Path(name)) for case in make(options, name)}
    write_record(
        "training" + ("-cuda" if options.device == "cuda" else ""),
        options,
        settings={name: result.pop("settings") for name, result in found.items()},
        seconds={name: result["seconds"] for name, result in found.items()},
        images_per_second={name: result["images_per_second"] for name, result in found.items()},
        ratios={name: result["ratios"] for name, result in found.items()},
        checks={name: result["checks"] for name, result in found.items()},
    )


def _measure(case: Case, options: Options, folder: Path) -> dict[str, Any]:
    ways: dict[str, Callable[[], list[float]]] = {
        "plain": _plain(case),
        "wiseft": _ours(case, folder, "fp32"),
        "wiseft_bf16": _ours(case, folder, "bf16"),
    }
    if case.device == "cuda":
        ways["wiseft_bf16_compiled"] = _ours(case, folder, "bf16", compiled=True)
        ways["open_clip_bf16"] = _open_clip(case)
    first = {name: way() for name, way in ways.items()}  # finds memory, compiles
    largest = _largest_difference(first["plain"], first["wiseft"])
    if largest > 1e-3:
        raise AssertionError(f"{case.name}: the losses of the two ways differ by {largest}")
    seconds, _ = timed(ways, options.repeats)
    images = case.batch_size * case.steps
    return {
        "settings": {
            "size": case.header.preprocessing["size"],
            "batch_size": case.batch_size,
            "steps": case.steps,
            "augment": case.augment,
            "threads_that_read_ahead": case.workers,
        },
        "seconds": seconds,
        "images_per_second": {
            name: round(images / found["median"], 1) for name, found in seconds.items()
        },
        "ratios": {name: ratio(seconds, "plain", name) for name in ways if name != "plain"},
        "checks": {
            "largest_relative_difference_of_losses": {
                name: _largest_difference(first["plain"], losses)
                for name, losses in first.items()
                if name != "plain"
            }
        },
    }


def _plain(case: Case) -> Callable[[], list[float]]:
    """The recipe as one writes it down: default formats, default optimiser, fp32.

    The model stays in eval mode, in which no tower here differs but by its batch normalisation,
    whose statistics our loop keeps too.
    """
    model = case.model().to(memory_format=torch.contiguous_format)
    model.memory_format = torch.contiguous_format
    return _bare_loop(case, model, lambda inputs: model(inputs))


def _open_clip(case: Case) -> Callable[[], list[float]]:
    """The same, with open_clip's autocast and its loss scale for bf16, which is none."""
    from open_clip_train.precision import get_autocast

    model = case.model().to(memory_format=torch.contiguous_format)
    model.memory_format = torch.contiguous_format
    autocast = get_autocast("amp_bf16", device_type=case.device)

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        with autocast():
            return model(inputs)

    return _bare_loop(case, model, forward)


def _bare_loop(
    case: Case, model: ImageClassifier, forward: Callable[[torch.Tensor], torch.Tensor]
) -> Callable[[], list[float]]:
    settings, samples = case.settings(), case.samples()
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK, weight_decay=settings.weight_decay)
    per_epoch = -(-len(samples) // case.batch_size)

    def train() -> list[float]:
        losses = []
        for step in range(case.steps):
            epoch, index = divmod(step, per_epoch)
            order = epoch_order(np.arange(len(samples)), 0, epoch)
            rows = order[index * case.batch_size : (index + 1) * case.batch_size]
            inputs = samples.read(epoch, rows).to(case.device)
            labels = samples.labels[torch.from_numpy(rows)].to(case.device)
            loss = functional.cross_entropy(forward(inputs), labels)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm or float("inf"))
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, case.steps, 0, PEAK)
            optimiser.step()
            losses.append(loss.item())
        _finish(case)
        return losses

    return train


def _ours(
    case: Case, folder: Path, precision: str, compiled: bool = False
) -> Callable[[], list[float]]:
    settings, model = case.settings(precision), case.model()
    way = Execution(HowSettings(workers=case.workers, compile=compiled))
    task = Task(model, case.samples(), make_objective(settings, model, None))
    prepare_model(model, way.how)
    checkpoints = Checkpoints(folder / "state", "benchmark")

    def train() -> list[float]:
        curve = fit(task, settings, 0, checkpoints, lambda *row: None, way)
        _finish(case)
        return [row.loss for row in curve]

    return train


def _finish(case: Case) -> None:
    if case.device == "cuda":
        torch.cuda.synchronize()


def _largest_difference(a: list[float], b: list[float]) -> float:
    return max(abs(x - y) / abs(x) for x, y in zip(a, b, strict=True))


def _cpu_cases(options: Options, folder: str) -> list[Case]:
    digits = architecture_from_json(ROOT / "config" / "models" / "digits-rn.json")
    n = 64 if options.quick else 2560
    arrays = _arrays(Path(folder), "digits", n, 32)
    first = Case(
        name="digits-32px",
        header=_header(digits, DIGITS_PREPROCESSING),
        manifest=arrays,
        batch_size=16 if options.quick else 128,
        steps=2 if options.quick else 20,
        augment="none",
        workers=1,
        device="cpu",
    )
    photos = photo_crops(8 if options.quick else 64, 375, 500)
    labels = [index % 4 for index in range(len(photos))]
    manifest = write_image_folder(Path(folder), "photos", photos, labels, CLASSES[:4], ".jpg")
    tower = TINY if options.quick else open_clip.get_model_config("ViT-B-32")
    second = replace(
        first,
        name="vit-b-32-224px",
        header=_header(tower, CLIP_PREPROCESSING, CLASSES[:4]),
        manifest=manifest,
        batch_size=4 if options.quick else 16,
        steps=2 if options.quick else 4,
        augment="crop",
    )
    return [first, second]


def _gpu_cases(options: Options, folder: str) -> list[Case]:
    arrays = _arrays(Path(folder), "noise", 32 if options.quick else 4096, 224)
    names = ["ViT-B-32"] if options.quick else ["ViT-B-32", "ViT-B-16"]
    return [
        Case(
            name=f"{name.lower()}-224px",
            header=_header(open_clip.get_model_config(name), CLIP_PREPROCESSING),
            manifest=arrays,
            batch_size=16 if options.quick else 512,
            steps=2 if options.quick else 16,
            augment="none",
            workers=4,
            device=options.device,
        )
        for name in names
    ]


def _header(
    architecture: dict[str, Any] | None, preprocessing: dict[str, Any], classes: list[str] = CLASSES
) -> ThetaHeader:
    return make_header(
        "from-scratch",
        "finetune",
        architecture=dict(architecture or {}),
        preprocessing=preprocessing,
        class_names=classes,
        parents={},
    )


def _arrays(folder: Path, name: str, n: int, size: int) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    ids = [str(index) for index in range(n)]
    split = PreparedSplit(images, np.arange(n) % len(CLASSES), ids)
    return write_prepared(folder / "prepared" / name, name, {SPLIT: split}, CLASSES)
