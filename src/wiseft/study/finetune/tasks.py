"""What the settings ask to be trained on what: the whole classifier on images, or its head."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
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
from wiseft.models.footprint import usual_batch_size
from wiseft.models.precision import Arithmetic
from wiseft.models.towers import prefixed
from wiseft.study.config import FinetuneSettings
from wiseft.study.finetune.augment import TrainingImages
from wiseft.study.finetune.batches import Part, Samples, joined, read_parts
from wiseft.study.finetune.features import FeatureSamples, FeatureStore
from wiseft.study.finetune.objective import make_objective, tensors_of
from wiseft.study.finetune.schedule import check_classes, draw_samples
from wiseft.study.finetune.state import Follower, make_follower
from wiseft.study.finetune.trained_model import TwoTowers, add_lora, merge_lora, prepare_model
from wiseft.study.finetune.trainer import Execution, Task
from wiseft.thetas.theta import Theta, ThetaHeader

log = logging.getLogger(__name__)

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


def training_samples(material: Material) -> NDArray[np.int64]:
    """Return the sorted indices, among the splits that are trained on, of a run's samples.

    Raises:
        WiseftError: if there are fewer than the settings ask for, or none of a class.
    """
    labels = np.concatenate([material.labels(split) for split in material.train_splits])
    indices = draw_samples(labels, material.settings, material.seed)
    check_classes(labels[indices], material.dataset.class_names)
    return indices


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
    samples = joined([_images(material, split, part) for split, part in material.parts(indices)])
    model: ImageClassifier | TwoTowers = material.classifier
    if settings.objective.trains_text and material.start is not None:
        model = TwoTowers(material.start).to(material.device)
    # Before the model is prepared: its frozen copy has no activations to save.
    objective = make_objective(settings, model, material.start)
    if settings.lora is not None:
        add_lora(material.classifier, settings.lora, material.seed)
    prepare_model(model, execution.how)

    def held_out(split: str) -> Samples:
        plain = replace(material, settings=settings.model_copy(update={"augment": "none"}))
        return _images(plain, split, np.arange(len(material.labels(split))))

    follower = _follower(material, model, lambda: _classifier(model, material), held_out)
    return Task(model, samples, objective, follower)


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
            return feature_samples(material, store, split, chosen)

    samples = joined([of_split(split, part) for split, part in material.parts(indices)])
    objective = make_objective(settings, head, material.start)
    return Task(head, samples, objective, _follower(material, head, lambda: head, of_split))


def feature_samples(
    material: Material, store: FeatureStore, split: str, chosen: NDArray[np.int64] | None = None
) -> FeatureSamples:
    """Return the samples of a split, or the chosen ones, as features on the device that trains."""
    features = store.features(material.dataset, split, chosen).to(material.device)
    labels = material.labels(split)
    return FeatureSamples(features, torch.from_numpy(labels if chosen is None else labels[chosen]))


def fitting_micro_batch(task: Task, settings: FinetuneSettings, share: int) -> int:
    """Return the images to compute on at once, `micro_batch: auto`: the whole share of a
    batch if it fits the device, else a half, a quarter, ... of it.

    By halves, so that a little more or less free memory seldom makes it another number. What is no
    larger than a pass of an evaluation, as in the small experiments, is not counted.

    Args:
        share: images of a batch that this process has.
    """
    example, model = task.samples.read(0, np.zeros(1, np.int64)), task.model
    if example.ndim != 4 or share <= usual_batch_size("cpu", size := example.shape[-1]):
        return share
    if not task.objective.divisible(model, settings):
        log.info(
            f"a batch of this training can't be divided: all {share} images are computed on at once"
        )
        return share
    from wiseft.models.towers.memory import images_that_fit  # takes a second to import

    device = next(model.parameters()).device
    fits = images_that_fit(model, size, settings.precision, device, training=True, **settings.kept)
    micro_batch = share
    while fits is not None and micro_batch > max(1, fits):
        micro_batch = -(-micro_batch // 2)
    return micro_batch


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


def _images(material: Material, split: str, indices: NDArray[np.int64]) -> Samples:
    settings, transform = material.settings, material.header.transform
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


def _follower(
    material: Material,
    model: nn.Module,
    classifier_now: Callable[[], nn.Module],
    samples_of: Callable[[str], Samples],
) -> Follower | None:
    """Return what rides along with the steps of a model; None where nothing does.

    Args:
        classifier_now: returns what maps held-out samples to logits.
        samples_of: returns all samples of a split, as an evaluation shows them.
    """
    settings, accuracy = material.settings, None
    if settings.early_stopping is not None and settings.early_stopping.every is not None:
        held_out = samples_of(settings.early_stopping.split)
        accuracy = _held_out_accuracy(material, classifier_now, held_out)
    return make_follower(settings, model, tensors_of(model, material.start), accuracy)


def _held_out_accuracy(
    material: Material, classifier_now: Callable[[], nn.Module], samples: Samples
) -> Callable[[], float]:
    """Return what computes the accuracy on held-out samples."""
    precision = Arithmetic(material.settings.precision, material.device)
    size = BatchSize(EVALUATION_BATCH)

    def accuracy() -> float:
        right, n, model = 0, len(samples.labels), classifier_now().eval()
        batches = np.split(np.arange(n), range(EVALUATION_BATCH, n, EVALUATION_BATCH))
        plan = (Part(0, 0, chosen, int(chosen[0]), 1.0) for chosen in batches)
        for part, inputs in read_parts(samples, plan, material.device):
            with precision.autocast():
                logits = torch.cat(size.each(model, inputs))
            logits = mask_logits(logits.float(), material.header.never_predicted)
            right += int((logits.argmax(dim=-1).cpu() == samples.labels[part.positions]).sum())
        return right / n

    return accuracy
