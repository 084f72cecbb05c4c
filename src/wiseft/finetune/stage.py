"""From files to files: fine-tuning of a theta_0, and baselines trained from scratch."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wiseft.checkpoints import Checkpoints
from wiseft.classifier import ImageClassifier, build_classifier, classifier_tensors
from wiseft.config import FinetuneSettings, Preprocessing
from wiseft.data.store import Manifest, Split, batches, open_manifest, open_split
from wiseft.errors import WiseftError
from wiseft.finetune.sampling import check_classes, draw_subset, epoch_order, inverted
from wiseft.finetune.trainer import Step, Task, fit, steps_per_epoch
from wiseft.io import atomic_path, sha256_json
from wiseft.progress import Progress, print_line
from wiseft.runtime import check_writable
from wiseft.stages import VERSION
from wiseft.theta import ThetaHeader, load_theta, make_header, save_theta

TRAIN_SPLIT = "train"


@dataclass(frozen=True)
class Outputs:
    """Where a training writes.

    Attributes:
        theta_1: the trained theta.
        curve: CSV of step, epoch, loss, learning_rate; no times, so that it is reproducible.
        state: folder of the resume state, removed at the end.
    """

    theta_1: Path
    curve: Path
    state: Path


def finetune(
    theta_0: Path,
    manifest: Path,
    settings: FinetuneSettings,
    seed: int,
    outputs: Outputs,
    *,
    device: str | torch.device = "cpu",
    log: Callable[[str], None] = print_line,
) -> str:
    """Fine-tune theta_0 on the train split of a dataset; return the SHA-256 of theta_1.

    With `trainable: head` features are computed once and the image tower of theta_1 is that of
    theta_0 bit for bit (the paper's linear classifier); else everything is trained (end to end).

    Raises:
        WiseftError: if an input is broken or does not fit the others, a class has no training
            sample, an output can't be written, or training diverges.
    """
    _check_start(settings, "zero-shot", "wiseft finetune")
    _check_outputs(outputs)
    start = load_theta(theta_0)
    dataset = open_manifest(manifest)
    if dataset.class_names != start.header.class_names:
        raise WiseftError(
            f"theta_0 has the classes {_some(start.header.class_names)}, but dataset "
            f"{dataset.dataset} has {_some(dataset.class_names)}; make theta_0 for this dataset"
        )
    header = make_header(
        "fine-tuned",
        "finetune",
        architecture=start.header.architecture,
        preprocessing=start.header.preprocessing,
        class_names=dataset.class_names,
        parents={"theta_0": str(start.sha256), "dataset": dataset.sha256},
        seed=seed,
        settings=settings.model_dump(mode="json"),
    )
    classifier = build_classifier(header, start.tensors).to(device)
    return _train(classifier, header, start.tensors, dataset, settings, outputs, log)


def train_from_scratch(
    architecture: Mapping[str, Any],
    preprocessing: Preprocessing,
    manifest: Path,
    settings: FinetuneSettings,
    seed: int,
    outputs: Outputs,
    *,
    device: str | torch.device = "cpu",
    log: Callable[[str], None] = print_line,
) -> str:
    """Train the image tower of an architecture with a new head, both from random weights.

    The seed draws the weights too. Returns and raises as `finetune` does.
    """
    _check_start(settings, "random", "wiseft baseline")
    _check_outputs(outputs)
    dataset = open_manifest(manifest)
    header = make_header(
        "from-scratch",
        "finetune",
        architecture=dict(architecture),
        preprocessing=preprocessing.model_dump(mode="json"),
        class_names=dataset.class_names,
        parents={"dataset": dataset.sha256},
        seed=seed,
        settings=settings.model_dump(mode="json"),
    )
    classifier = build_classifier(header, seed=seed).to(device)
    return _train(classifier, header, {}, dataset, settings, outputs, log)


def _train(
    classifier: ImageClassifier,
    header: ThetaHeader,
    start: Mapping[str, Tensor],
    dataset: Manifest,
    settings: FinetuneSettings,
    outputs: Outputs,
    log: Callable[[str], None],
) -> str:
    _check_size(header)
    seed = int(header.seed or 0)
    split = open_split(dataset.path, TRAIN_SPLIT, size=header.preprocessing["size"])
    indices = draw_subset(len(split), settings.train_samples, seed)
    check_classes(split.labels[indices], dataset.class_names)
    if settings.trainable == "head":
        task = _head_task(classifier, split, indices, settings, seed)
    else:
        task = _image_task(classifier, split, indices, settings, seed)
    steps = steps_per_epoch(task.samples, settings) * settings.epochs
    log(f"training on {task.samples} images of {dataset.dataset}: {steps} steps")
    checkpoints = Checkpoints(outputs.state, _identity(header), log)
    curve = fit(task, settings, seed, checkpoints, Progress(steps, log=log))
    trained = classifier_tensors(classifier)
    if settings.trainable == "head":
        trained = {key: trained[key] if key.startswith("head.") else start[key] for key in trained}
    _write_curve(outputs.curve, curve)
    sha256 = save_theta(outputs.theta_1, trained, header)
    checkpoints.clear()
    return sha256


def _image_task(
    classifier: ImageClassifier,
    split: Split,
    indices: NDArray[np.int64],
    settings: FinetuneSettings,
    seed: int,
) -> Task:
    """Return the task of training everything on images: uint8 (n, 3, S, S)."""
    device = classifier.head.weight.device

    def epoch_batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = epoch_order(indices, seed, epoch)[first * settings.batch_size :]
        flip = np.zeros(len(split), dtype=np.bool_)
        if settings.augment == "polarity":
            flip = inverted(len(split), seed, epoch)
        flips = torch.from_numpy(flip[order]).split(settings.batch_size)
        for (images, labels), of_batch in zip(
            batches(split, settings.batch_size, order), flips, strict=True
        ):
            images[of_batch] = 255 - images[of_batch]
            yield images.to(device), labels.to(device)

    return Task(classifier, len(indices), epoch_batches)


def _head_task(
    classifier: ImageClassifier,
    split: Split,
    indices: NDArray[np.int64],
    settings: FinetuneSettings,
    seed: int,
) -> Task:
    """Return the task of training the head on features that are computed once, here."""
    if settings.augment != "none":
        raise WiseftError(
            f"augment is {settings.augment}, but a head is trained on features that are computed "
            "once; set augment to none, or trainable to all"
        )
    device = classifier.head.weight.device
    with torch.no_grad():
        pairs = [
            (classifier.features(images.to(device)), labels.to(device))
            for images, labels in batches(split, settings.batch_size, indices)
        ]
    features, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))

    def epoch_batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = epoch_order(np.arange(len(indices)), seed, epoch)[first * settings.batch_size :]
        for rows in torch.from_numpy(order).to(device).split(settings.batch_size):
            yield features[rows], labels[rows]

    return Task(classifier.head, len(indices), epoch_batches)


def _identity(header: ThetaHeader) -> str:
    """Return what a resume state must agree in: all that the weights depend on."""
    settings = {k: v for k, v in header.settings.items() if k != "checkpoint_every"}
    return sha256_json(
        {
            "kind": header.kind,
            "stage_version": VERSION["finetune"],
            "architecture": header.architecture,
            "preprocessing": header.preprocessing,
            "parents": header.parents,
            "seed": header.seed,
            "settings": settings,
        }
    )


def _check_start(settings: FinetuneSettings, init: str, command: str) -> None:
    if settings.init != init:
        raise WiseftError(
            f"{command} starts from {init} weights, but the settings say init: {settings.init}; "
            "`wiseft finetune` is for init: zero-shot, `wiseft baseline` for init: random"
        )


def _check_size(header: ThetaHeader) -> None:
    expected = header.architecture["vision_cfg"].get("image_size", 224)  # open_clip's default
    size = header.preprocessing["size"]
    if expected not in (size, [size, size]):
        raise WiseftError(
            f"preprocessing makes images of {size} pixels, but the architecture reads {expected}; "
            "make image_size of vision_cfg and size of preprocessing agree"
        )


def _check_outputs(outputs: Outputs) -> None:
    for path in (outputs.theta_1, outputs.curve, outputs.state / "state"):
        check_writable(path)


def _write_curve(path: Path, curve: list[Step]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "epoch", "loss", "learning_rate"])
        for row in curve:
            writer.writerow([row.step, row.epoch, f"{row.loss:.9g}", f"{row.learning_rate:.9g}"])


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" ... ({len(names)} in all)" if names[5:] else "")
