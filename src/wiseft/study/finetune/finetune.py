"""Stage finetune: theta_0 and a prepared dataset give theta_1; a baseline starts from nothing.

`_train` is a training, from data to theta_1. `trainer.fit`, which it calls, is the loop of the
steps: a batch, its loss and gradients, a step of the optimiser, now and then a checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from wiseft.base.io import atomic_path, sha256_json, write_json
from wiseft.base.locks import alone
from wiseft.base.messages import quiet
from wiseft.base.stages import VERSION
from wiseft.base.training_progress import Progress, steps_told
from wiseft.errors import WiseftError, some
from wiseft.images.store import open_manifest
from wiseft.models.classifier import build_classifier
from wiseft.models.precision import Arithmetic
from wiseft.models.runtime import check_writable, device_names, peak_memory_mb
from wiseft.models.towers import image_size
from wiseft.study.config import FinetuneSettings
from wiseft.study.finetune import head, schedule, tasks
from wiseft.study.finetune.tasks import Material
from wiseft.study.finetune.trainer import Execution, Step, fit
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
        features: folder in which features of frozen towers are kept for other trainings; None:
            they are not kept.
    """

    theta_1: Path
    curve: Path
    state: Path
    record: Path | None = None
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
    return _train(open_material(theta_0, manifest, settings, seed, device), outputs, execution)


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
    classifier = build_classifier(_sized(header), start.tensors).to(device)
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
    classifier = build_classifier(_sized(header), seed=seed).to(device)
    return _train(Material(classifier, header, None, dataset, settings), outputs, execution)


def _train(material: Material, outputs: Outputs, execution: Execution) -> str | None:
    """Train, from data to theta_1, and return its identity; None in a process that does not lead.

    A training that was killed goes on from its last checkpoint; then no head is started.
    """
    settings, team, features = material.settings, execution.team, outputs.features
    key = identity(material.header)
    checkpoints = Checkpoints(outputs.state, key)
    of_probing = Checkpoints(outputs.state / "probing", key)
    with alone(outputs.state) if team.leads else quiet():  # the states are the leader's
        # The data: which samples, what the model gets of them, and the loss of a batch.
        indices = tasks.training_samples(material)
        task = tasks.make_task(material, indices, execution, features)
        micro_batch = execution.how.micro_batch
        if micro_batch == "auto":
            share = schedule.share_of_batch(settings, len(indices), team.size)
            micro_batch = tasks.fitting_micro_batch(task, settings, share)
        execution = replace(execution, micro_batch=micro_batch)
        steps = schedule.training_steps(len(indices), settings)
        log.info(f"training on {len(indices)} images of {material.dataset.dataset}: {steps} steps")
        log.info(_batch_sentence(settings, execution, len(indices), material.device))

        # The steps: a batch, its loss and gradients, a step of the optimiser, a checkpoint.
        def begin() -> None:
            head.start_head(material, indices, execution, of_probing, features)

        progress = Progress(steps)  # those of processes that don't lead are not shown
        wanted = execution.how.json_lines and team.leads
        lines = outputs.curve.with_suffix(".jsonl") if wanted else None
        with steps_told(progress, lines) as report:
            train = head.fit_lbfgs if settings.optimiser == "lbfgs" else fit
            curve = train(task, settings, material.seed, checkpoints, report, execution, begin)
        measured = _run_record(settings, execution, progress, material.device, len(curve))
        if not team.leads:
            return None

        # theta_1, and only then an end of the checkpoints.
        _write_curve(outputs.curve, curve)
        if outputs.record is not None:
            write_json(outputs.record, measured)
        made = save_theta(outputs.theta_1, tasks.trained_tensors(material, task), material.header)
        of_probing.clear()
        checkpoints.clear()
        return made


def _batch_sentence(
    settings: FinetuneSettings, execution: Execution, samples: int, device: torch.device
) -> str:
    """Say how many images an optimiser step takes, and how they are computed on."""
    size, team = min(settings.batch_size, samples), execution.team.size
    share = schedule.share_of_batch(settings, samples, team)
    parts = -(-share // (execution.micro_batch or share))
    ways = [f"{team} processes of {share} each"] if team > 1 else []
    if parts > 1:
        ways.append(f"{parts} micro-batches of {execution.micro_batch} at most")
    arithmetic = str(Arithmetic(settings.precision, device))
    return f"an optimiser step takes {size} images ({', '.join([*ways, arithmetic])})"


def _run_record(
    settings: FinetuneSettings,
    execution: Execution,
    progress: Progress,
    device: torch.device,
    steps: int,
) -> dict[str, Any]:
    """Return time, speed and memory of a training; to be called in each of several processes.

    `peak_memory_mb` is that of the process with the most. `seconds` and `images_per_second` are
    about the steps made here, `steps_before` those before a resumption.

    Args:
        steps: of the training, those before a resumption included.
    """
    peak = peak_memory_mb(device)
    most = execution.team.largest(*(value or 0.0 for value in peak.values()))
    return {
        "format": 1,
        "steps": steps,
        "steps_before": steps - progress.done,
        "seconds": round(progress.seconds, 3),
        "images_per_second": round(progress.images_per_second, 2),
        "peak_memory_mb": {
            name: None if value is None else largest
            for (name, value), largest in zip(peak.items(), most, strict=True)
        },
        **device_names(device),
        "processes": execution.team.size,
        "threads": torch.get_num_threads(),
        "batch_size": settings.batch_size,
        "micro_batch": execution.micro_batch,
        "precision": settings.precision,
        "how": execution.how.model_dump(mode="json"),
        "torch": torch.__version__,
    }


def _write_curve(path: Path, curve: list[Step]) -> None:
    """Write the training curve as CSV, without times: the same training, the same file."""
    with atomic_path(path) as temporary:
        pd.DataFrame(curve).to_csv(temporary, index=False, float_format="%.9g", lineterminator="\n")


def identity(header: ThetaHeader) -> str:
    """Return a hash of all that the weights depend on, in which a resume state must agree."""
    settings = {k: v for k, v in header.settings.items() if k != "checkpoint_every"}
    own = ("kind", "architecture", "preprocessing", "parents", "seed")
    found = {name: getattr(header, name) for name in own}
    return sha256_json(found | {"stage_version": VERSION["finetune"], "settings": settings})


def _check_start(settings: FinetuneSettings, init: str, command: str) -> None:
    if settings.init != init:
        raise WiseftError(
            f"{command} starts from {init} weights, but the settings say init: {settings.init}; "
            "`wiseft finetune` is for init: zero-shot, `wiseft baseline` for init: random"
        )


def _sized(header: ThetaHeader) -> ThetaHeader:
    """Return a header whose architecture reads images of the size that preprocessing makes."""
    expected, size = image_size(header.architecture), header.preprocessing["size"]
    if expected not in (size, None):
        raise WiseftError(
            f"preprocessing makes images of {size} pixels, but the architecture reads {expected}; "
            "make image_size of the architecture and size of preprocessing agree"
        )
    return header


def _check_outputs(outputs: Outputs, execution: Execution) -> None:
    if not execution.team.leads:
        return
    for path in (outputs.theta_1, outputs.curve, outputs.state / "state", outputs.record):
        if path is not None:
            check_writable(path)
