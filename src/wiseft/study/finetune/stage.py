"""From files to files: fine-tuning of a theta_0, and baselines trained from scratch."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wiseft.base.io import sha256_json, write_json
from wiseft.base.locks import alone
from wiseft.base.progress import Progress, quiet
from wiseft.base.stages import VERSION
from wiseft.errors import WiseftError, some
from wiseft.images.store import open_manifest
from wiseft.models.classifier import build_classifier
from wiseft.models.precision import Arithmetic
from wiseft.models.runtime import check_writable
from wiseft.models.towers import image_size
from wiseft.study.config import FinetuneSettings
from wiseft.study.finetune.lbfgs import fit_lbfgs
from wiseft.study.finetune.micro_batch import fitting_micro_batch, share_of_batch
from wiseft.study.finetune.probe import start_head
from wiseft.study.finetune.record import Board, JsonLines, run_record, write_curve
from wiseft.study.finetune.sampling import check_classes, draw_samples
from wiseft.study.finetune.schedule import training_steps
from wiseft.study.finetune.tasks import Material, make_task, trained_tensors
from wiseft.study.finetune.trainer import Execution, Report, fit
from wiseft.thetas.preprocessing import Preprocessing
from wiseft.thetas.resume_state import Checkpoints
from wiseft.thetas.theta import ThetaHeader, load_theta, make_header, save_theta
from wiseft.zeroshot.text_head import Prompts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outputs:
    """Where a training writes.

    Attributes:
        theta_1: the trained theta.
        curve: CSV of step, epoch, loss, learning_rate; no times, so that it is reproducible.
        state: folder of the resume state, removed at the end.
        record: JSON of time, speed and peak memory; None for none.
        tensorboard: folder of event files, with `how.tensorboard`; None: beside the curve.
        features: folder in which features of frozen towers are kept for other trainings; None:
            they are not kept.
    """

    theta_1: Path
    curve: Path
    state: Path
    record: Path | None = None
    tensorboard: Path | None = None
    features: Path | None = None


def finetune(
    theta_0: Path,
    manifest: Path,
    settings: FinetuneSettings,
    seed: int,
    outputs: Outputs,
    *,
    device: str | torch.device = "cpu",
    execution: Execution | None = None,
) -> str | None:
    """Fine-tune theta_0 on the train split of a dataset.

    With `trainable: head` features are computed once and the image tower of theta_1 is that of
    theta_0 bit for bit (the paper's linear classifier); else everything is trained (end to end).

    Args:
        execution: how it is carried out, by which processes; None: plainly, by this one.

    Returns:
        the identity of theta_1; None in a process that does not lead, which writes nothing.

    Raises:
        WiseftError: if an input is broken or does not fit the others, a class has no training
            sample, an output can't be written, training diverges, or memory runs out.
        Interrupted: if a signal asked for an end; the state is saved then.
    """
    execution = execution or Execution()
    _check_start(settings, "zero-shot", "wiseft finetune")
    if settings.search is not None:
        raise WiseftError(
            "the settings ask for a search over settings; that is what `wiseft search` does"
        )
    if settings.from_search:
        raise WiseftError("from_search is left in the settings; `found_settings` resolves it")
    _check_outputs(outputs, execution)
    material = open_material(theta_0, manifest, settings, seed, device)
    return _train(material, outputs, execution)


def open_material(
    theta_0: Path,
    manifest: Path,
    settings: FinetuneSettings,
    seed: int,
    device: str | torch.device = "cpu",
) -> Material:
    """Return what a fine-tuning is made of.

    Raises:
        WiseftError: if an input is broken or does not fit the other.
    """
    start = load_theta(theta_0)
    dataset = open_manifest(manifest)
    if dataset.class_names != start.header.class_names:
        raise WiseftError(
            f"theta_0 has the classes {some(start.header.class_names)}, but dataset "
            f"{dataset.dataset} has {some(dataset.class_names)}; make theta_0 for this dataset"
        )
    recorded = settings.model_dump(mode="json")
    if settings.objective.trains_text:
        # What the head is built from anew, wherever the text tower is another.
        recorded["prompts"] = Prompts.of(start.header).settings()
    header = make_header(
        "fine-tuned",
        "finetune",
        architecture=start.header.architecture,
        preprocessing=start.header.preprocessing,
        class_names=dataset.class_names,
        parents={"theta_0": str(start.identity), "dataset": dataset.sha256},
        seed=seed,
        settings=recorded,
        never_predicted=start.header.never_predicted,
    )
    _check_size(header)
    classifier = build_classifier(header, start.tensors).to(device)
    return Material(classifier, header, start, dataset, settings)


def train_from_scratch(
    architecture: Mapping[str, Any],
    preprocessing: Preprocessing,
    manifest: Path,
    settings: FinetuneSettings,
    seed: int,
    outputs: Outputs,
    *,
    device: str | torch.device = "cpu",
    execution: Execution | None = None,
) -> str | None:
    """Train the image tower of an architecture with a new head, both from random weights.

    The seed draws the weights too. Returns and raises as `finetune` does.
    """
    execution = execution or Execution()
    _check_start(settings, "random", "wiseft baseline")
    _check_outputs(outputs, execution)
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
    _check_size(header)
    classifier = build_classifier(header, seed=seed).to(device)
    return _train(Material(classifier, header, None, dataset, settings), outputs, execution)


def training_samples(material: Material) -> NDArray[np.int64]:
    """Return the sorted indices, among the splits that are trained on, of a run's samples.

    Raises:
        WiseftError: if there are fewer than the settings ask for, or none of a class.
    """
    labels = np.concatenate([material.labels(split) for split in material.train_splits])
    indices = draw_samples(labels, material.settings, material.seed)
    check_classes(labels[indices], material.dataset.class_names)
    return indices


def _train(material: Material, outputs: Outputs, execution: Execution) -> str | None:
    if not execution.team.leads:  # the states are the leader's
        with quiet():
            return _train_alone(material, outputs, execution)
    with alone(outputs.state):
        return _train_alone(material, outputs, execution)


def _train_alone(material: Material, outputs: Outputs, execution: Execution) -> str | None:
    settings, features = material.settings, outputs.features
    indices = training_samples(material)
    task = make_task(material, indices, execution, features)
    share = share_of_batch(settings, len(indices), execution.team.size)
    if execution.how.micro_batch == "auto":
        fitting = fitting_micro_batch(task.model, task.objective, task.samples, settings, share)
        execution = replace(execution, fitting=fitting)
    steps = training_steps(len(indices), settings)
    log.info(f"training on {len(indices)} images of {material.dataset.dataset}: {steps} steps")
    log.info(_batch_sentence(settings, execution, len(indices), material.device))
    key = identity(material.header)
    checkpoints = Checkpoints(outputs.state, key)
    of_probing = Checkpoints(outputs.state / "probing", key)

    def begin() -> None:
        start_head(material, indices, execution, of_probing, features)

    progress = Progress(steps)  # those of processes that don't lead are not shown
    with _told(progress, outputs, execution) as report:
        train = fit_lbfgs if settings.optimiser == "lbfgs" else fit
        curve = train(task, settings, material.seed, checkpoints, report, execution, begin)
    record = run_record(settings, execution, progress, material.device, len(curve))
    if not execution.team.leads:
        return None
    write_curve(outputs.curve, curve)
    if outputs.record is not None:
        write_json(outputs.record, record)
    made = save_theta(outputs.theta_1, trained_tensors(material, task), material.header)
    of_probing.clear()
    checkpoints.clear()
    return made


@contextlib.contextmanager
def _told(progress: Progress, outputs: Outputs, execution: Execution) -> Iterator[Report]:
    """Yield what is told of every step: the progress, and TensorBoard or JSON where wanted."""
    boards: list[Board | JsonLines] = []
    if execution.how.tensorboard and execution.team.leads:
        boards.append(Board(outputs.tensorboard or outputs.curve.parent / "tensorboard"))
    if execution.how.json_lines and execution.team.leads:
        boards.append(JsonLines(outputs.curve.with_suffix(".jsonl")))

    def report(step: int, loss: float, learning_rate: float, images: int) -> None:
        progress(step, loss, learning_rate, images)
        for board in boards:
            board.add(step, loss, learning_rate, progress.images_per_second)

    try:
        yield report
    finally:
        progress.close()
        for board in boards:
            board.close()


def _batch_sentence(
    settings: FinetuneSettings, execution: Execution, samples: int, device: torch.device
) -> str:
    """Say how many images an optimiser step takes, and how they are computed on."""
    size, team = min(settings.batch_size, samples), execution.team.size
    share = share_of_batch(settings, samples, team)
    parts = -(-share // (execution.micro_batch or share))
    ways = [f"{team} processes of {share} each"] if team > 1 else []
    if parts > 1:
        ways.append(f"{parts} micro-batches of {execution.micro_batch} at most")
    arithmetic = str(Arithmetic(settings.precision, device))
    return f"an optimiser step takes {size} images ({', '.join([*ways, arithmetic])})"


def identity(header: ThetaHeader) -> str:
    """Return a hash of all that the weights depend on, in which a resume state must agree."""
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
    expected, size = image_size(header.architecture), header.preprocessing["size"]
    if expected not in (size, None):
        raise WiseftError(
            f"preprocessing makes images of {size} pixels, but the architecture reads {expected}; "
            "make image_size of the architecture and size of preprocessing agree"
        )


def _check_outputs(outputs: Outputs, execution: Execution) -> None:
    if not execution.team.leads:
        return
    for path in (outputs.theta_1, outputs.curve, outputs.state / "state", outputs.record):
        if path is not None:
            check_writable(path)
