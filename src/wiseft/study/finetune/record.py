"""What a training leaves besides theta_1: its curve, in other forms too, and how it went."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
import torch

from wiseft.base.io import atomic_path, write_text
from wiseft.base.progress import Progress
from wiseft.models.precision import Arithmetic
from wiseft.models.runtime import device_names, peak_memory_mb
from wiseft.study.config import FinetuneSettings
from wiseft.study.finetune.schedule import share_of_batch
from wiseft.study.finetune.trainer import Execution, Report, Step

_FORMAT = 1


def write_curve(path: Path, curve: list[Step]) -> None:
    """Write the training curve as CSV, without times: the same training, the same file."""
    with atomic_path(path) as temporary:
        pd.DataFrame(curve).to_csv(temporary, index=False, float_format="%.9g", lineterminator="\n")


def run_record(
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
        "format": _FORMAT,
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


def batch_sentence(
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


@contextlib.contextmanager
def steps_told(progress: Progress, execution: Execution, curve: Path) -> Iterator[Report]:
    """Yield what is told of every step: the progress, and JSON where wanted.

    Args:
        curve: file of the training curve, beside which the lines lie.
    """
    wanted = execution.how.json_lines and execution.team.leads
    lines = JsonLines(curve.with_suffix(".jsonl")) if wanted else None

    def report(step: int, loss: float, learning_rate: float, images: int) -> None:
        progress(step, loss, learning_rate, images)
        if lines:
            lines.add(step, loss, learning_rate, progress.images_per_second)

    try:
        yield report
    finally:
        progress.close()
        if lines:
            lines.close()


class JsonLines:
    """Writes each step at once, as a line; the first replaces what an earlier process, which was
    killed or whose training was another, wrote from that step on.
    """

    def __init__(self, path: Path):
        self._path = path
        self._file: TextIO | None = None

    def add(self, step: int, loss: float, learning_rate: float, images_per_second: float) -> None:
        """Write a step, counted from 1."""
        if self._file is None:
            there = self._path.read_text(errors="replace") if self._path.is_file() else ""
            found = [re.match(r'{"step": (\d+),.*}\n', line) for line in there.splitlines(True)]
            write_text(self._path, "".join(one[0] for one in found if one and int(one[1]) < step))
            self._file = self._path.open("a", encoding="utf-8")
        values = {"loss": loss, "learning_rate": learning_rate}
        line = {"step": step, **values, "images_per_second": round(images_per_second, 2)}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
