"""What the settings ask to be trained on what: the whole classifier on images, or its head."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wiseft.errors import WiseftError
from wiseft.images.index import read_index
from wiseft.images.store import Manifest
from wiseft.models.batch_size import BatchSize
from wiseft.models.classifier import ImageClassifier, classifier_tensors, mask_logits
from wiseft.models.towers import prefixed
from wiseft.study.config import FinetuneSettings
from wiseft.study.finetune.augment import TrainingImages
from wiseft.study.finetune.batch import Samples, joined
from wiseft.study.finetune.ema import make_follower
from wiseft.study.finetune.features import FeatureSamples, FeatureStore
from wiseft.study.finetune.how import prepare_model
from wiseft.study.finetune.loader import Part, read_parts
from wiseft.study.finetune.lora import add_lora, merge_lora
from wiseft.study.finetune.objective import make_objective, tensors_of
from wiseft.study.finetune.precision import Precision
from wiseft.study.finetune.trainer import Execution, Task
from wiseft.study.finetune.two_towers import TwoTowers
from wiseft.thetas.theta import Theta, ThetaHeader

TRAIN_SPLIT, HELD_OUT_SPLIT = "train", "held-out"

EVALUATION_BATCH = 128
"""Held-out images in a forward pass; fixed, so that no setting of the machine changes a choice."""


@dataclass(frozen=True)
class Material:
    """What a training is made of.

    Attributes:
        classifier: with the weights that training starts from, on the device that trains.
        header: of the theta it becomes.
        start: theta_0; None where training starts from random weights.
    """

    classifier: ImageClassifier
    header: ThetaHeader
    start: Theta | None
    dataset: Manifest
    settings: FinetuneSettings

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.header.seed or 0)

    @property
    def device(self) -> torch.device:
        """The device that trains."""
        return self.classifier.head.weight.device

    @property
    def train_splits(self) -> list[str]:
        """The splits whose samples, one after the other, are the training samples."""
        held_out = [HELD_OUT_SPLIT] if self.settings.train_on_held_out else []
        return [TRAIN_SPLIT, *held_out]

    def parts(self, indices: NDArray[np.int64]) -> list[tuple[str, NDArray[np.int64]]]:
        """Return the places in each split of sorted training samples, by the split's name."""
        parts, first = [], 0
        for split in self.train_splits:
            n = self.dataset.split_files(split).n
            low, high = np.searchsorted(indices, [first, first + n])
            parts.append((split, indices[low:high] - first))
            first += n
        return parts

    def labels(self, split: str) -> NDArray[np.int64]:
        """Return the labels of a split."""
        return read_index(self.dataset, split)["label"].to_numpy(dtype=np.int64, copy=True)


def make_task(
    material: Material, indices: NDArray[np.int64], execution: Execution, features: Path | None
) -> Task:
    """Return the task that the settings ask for.

    Args:
        indices: of the training samples (`Material.train_splits`), sorted.
        features: folder in which features are kept for other trainings; None: they are not kept.

    Raises:
        WiseftError: if the images are not there, the settings make no sense together, or the image
            tower cannot do what `execution` asks for.
    """
    if material.settings.trainable == "head":
        return head_task(material, indices, execution, features)
    return image_task(material, indices, execution)


def image_task(material: Material, indices: NDArray[np.int64], execution: Execution) -> Task:
    """Return the task of training everything on images: the classifier, or both towers."""
    settings = material.settings
    samples = joined(
        [_images(material, split, part, settings) for split, part in material.parts(indices)]
    )
    model: ImageClassifier | TwoTowers = material.classifier
    start = tensors_of(model, material.start)
    if settings.objective.trains_text and material.start is not None:
        model = TwoTowers(material.start).to(material.device)
        start = model.own_names(material.start.tensors)
    # Before the model is prepared: its frozen copy has no activations to save.
    objective = make_objective(settings, model, material.start)
    if settings.lora is not None:
        add_lora(material.classifier, settings.lora, material.seed)
    prepare_model(model, execution.how)

    def held_out(split: str) -> Samples:
        everyone = np.arange(len(material.labels(split)))
        plain = settings.model_copy(update={"augment": "none"})
        return _images(material, split, everyone, plain)

    accuracy = _held_out_accuracy(material, lambda: _classifier(model, material), held_out)
    follower = make_follower(settings, model, start, accuracy)
    return Task(model, samples, objective, [follower] if follower else [])


def head_task(
    material: Material, indices: NDArray[np.int64], execution: Execution, features: Path | None
) -> Task:
    """Return the task of training the head on features that are computed once, here."""
    settings, head = material.settings, material.classifier.head
    if settings.augment != "none":
        raise WiseftError(
            f"augment is {settings.augment}, but a head is trained on features that are computed "
            "once; set augment to none, or trainable to all"
        )
    store = FeatureStore(material.classifier, material.header, features, settings.precision)

    def of_split(split: str, chosen: NDArray[np.int64] | None = None) -> Samples:
        # What the leader keeps, the others find; otherwise each computes its own.
        with execution.team.leader_first() if features else contextlib.nullcontext():
            inputs = store.features(material.dataset, split, chosen).to(material.device)
        labels = material.labels(split)
        return FeatureSamples(
            inputs, torch.from_numpy(labels if chosen is None else labels[chosen])
        )

    samples = joined([of_split(split, part) for split, part in material.parts(indices)])
    objective = make_objective(settings, head, material.start)
    accuracy = _held_out_accuracy(material, lambda: head, of_split)
    follower = make_follower(settings, head, tensors_of(head, material.start), accuracy)
    return Task(head, samples, objective, [follower] if follower else [])


def trained_tensors(material: Material, task: Task) -> dict[str, Tensor]:
    """Return the tensors of theta_1 once the task is done.

    With `trainable: head` the image tower is that of theta_0 bit for bit.
    """
    if isinstance(task.model, TwoTowers):
        return task.model.theta()
    if material.settings.lora is not None:
        merge_lora(material.classifier)
    trained = classifier_tensors(material.classifier)
    if material.settings.trainable == "head" and material.start is not None:
        frozen = [name for name in trained if not name.startswith("head.")]
        trained |= {name: material.start.tensors[name] for name in frozen}
    return trained


def _images(
    material: Material, split: str, indices: NDArray[np.int64], settings: FinetuneSettings
) -> Samples:
    transform = material.header.transform
    return TrainingImages(material.dataset, split, indices, settings, transform, material.seed)


def _classifier(model: ImageClassifier | TwoTowers, material: Material) -> ImageClassifier:
    """Return the classifier that two towers are now; a classifier is one."""
    if isinstance(model, ImageClassifier):
        return model
    built = prefixed(model.head(), "head.")
    classes, width = built["weight"].shape
    head = nn.Linear(width, classes)
    head.load_state_dict(built)
    return ImageClassifier(model.image, head, material.header.preprocessing).to(material.device)


def _held_out_accuracy(
    material: Material, model_now: Callable[[], nn.Module], samples_of: Callable[[str], Samples]
) -> Callable[[], float] | None:
    """Return what computes the accuracy on held-out samples; None where nothing asks for it."""
    stopping = material.settings.early_stopping
    if stopping is None or stopping.every is None:
        return None
    samples = samples_of(stopping.split)
    precision = Precision(material.settings.precision, material.device)
    size = BatchSize(EVALUATION_BATCH)

    def accuracy() -> float:
        right, n, model = 0, len(samples.labels), model_now().eval()
        batches = np.split(np.arange(n), range(EVALUATION_BATCH, n, EVALUATION_BATCH))
        plan = (Part(0, 0, chosen, int(chosen[0]), 1.0) for chosen in batches)
        for part, inputs in read_parts(samples, plan, material.device):
            with precision.autocast():
                logits = torch.cat(size.each(model, inputs))
            logits = mask_logits(logits.float(), material.header.never_predicted)
            right += int((logits.argmax(dim=-1).cpu() == samples.labels[part.positions]).sum())
        return right / n

    return accuracy
