"""How many images go through which model how often: the work of every run, from the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wiseft.study.config import DatasetEntry, FinetuneSettings
from wiseft.study.finetune.schedule import made_steps, training_samples
from wiseft.study.plan.towers import TowerCost
from wiseft.study.targets import Run, Targets

BACKWARD = 2
"""A backward pass costs twice its forward pass."""


@dataclass(frozen=True)
class Work:
    """What a job computes.

    Attributes:
        trained_images: images times epochs through forward and backward passes.
        training_flops: of these passes.
        seen_images: images through a forward pass alone.
        forward_flops: of these passes.
    """

    trained_images: float = 0.0
    training_flops: float = 0.0
    seen_images: float = 0.0
    forward_flops: float = 0.0


def training_work(settings: FinetuneSettings, reference: DatasetEntry, cost: TowerCost) -> Work:
    """Return the work of one training.

    A linear classifier computes every feature once; its own steps are left out, because they cost
    a thousandth of that. So does a linear probe ahead of a training.
    """
    samples = training_samples(settings, reference)
    stopping = settings.early_stopping
    if settings.trainable == "head":
        return forward_work(sum(kept_features(settings, reference).values()), cost)
    steps = made_steps(samples, settings)
    images = steps * min(settings.batch_size, samples)
    if settings.steps is None and not (stopping and stopping.after):
        images = settings.epochs * samples
    passes = 1 + BACKWARD + bool(settings.distillation) + bool(settings.lipsum)
    flops = images * passes * cost.image_flops
    if settings.objective.trains_text:  # a prompt an image, both towers trained
        flops += images * (1 + BACKWARD) * cost.text_flops
    if settings.lipsum:  # an upper bound: the texts are shorter than the context
        flops += steps * settings.lipsum.texts * cost.text_flops
    seen = samples if settings.linear_probe and settings.linear_probe.epochs else 0
    if stopping and stopping.every:
        seen += (steps // stopping.every) * held_out_images(settings, reference)
    return Work(images, flops, seen, seen * cost.image_flops)


def kept_features(
    settings: FinetuneSettings, reference: DatasetEntry, seed: int = 0
) -> dict[tuple[Any, ...], int]:
    """Return the images whose features a linear classifier takes, by what tells them apart: those
    of a model are kept, and computed once for all of its linear classifiers.
    """
    drawn = settings.samples_per_class, settings.train_samples, settings.half
    samples = training_samples(settings, reference)
    whole = settings.model_copy(update={"train_on_held_out": False})
    train = training_samples(whole, reference)
    held_out = held_out_images(settings, reference) + samples - train
    return {("train", *drawn, seed if any(drawn) else None): train, ("held-out",): held_out}


def held_out_images(settings: FinetuneSettings, reference: DatasetEntry) -> int:
    """Return the images that choose among settings or steps; 0 where nothing is chosen."""
    chosen = settings.search or settings.early_stopping
    return reference.splits.get(chosen.split, 0) if chosen else 0


def prompts_of(targets: Targets, reference: DatasetEntry) -> int | None:
    """Return the number of prompts of a head; None before their file is fetched."""
    templates = targets.catalogue.prompts(reference.prompts).ready
    return None if templates is None else len(templates) * reference.class_count


def evaluated_images(targets: Targets, dataset: DatasetEntry) -> int:
    """Return how many images of a dataset a run is evaluated on."""
    return sum(dataset.splits[split] for split in targets.data.evaluated_splits(dataset))


def evaluation_passes(targets: Targets, run: Run) -> int:
    """Return how often an image goes through the image tower of a run: once an alpha, or once in
    all where the tower is the same at every alpha.
    """
    if run.baseline or not targets.has_theta_1(run):
        return 1
    if targets.catalogue.method_settings(run.method_id).trainable == "head":
        return 1
    return len(set(targets.experiment.alpha_names) | {"0.000", "1.000"})


def forward_work(images: float, cost: TowerCost) -> Work:
    """Return the work of forward passes of images."""
    return Work(seen_images=images, forward_flops=images * cost.image_flops)
