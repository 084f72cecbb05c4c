"""Typed models of config/config.yaml: what runs by default, and where and how on this machine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wiseft.base.typed import Count, Entry, Name, Names


class HowSettings(Entry):
    """How a training is carried out on a machine: neither part of a run's name nor of its
    identity. The weights stay the same up to the rounding of sums in another order; the defaults
    change nothing at all.
    """

    gpus: Count = 1
    """Processes that share every batch, one on each GPU; on a CPU: processes."""
    micro_batch: Count | Literal["auto"] | None = "auto"
    """Images at a time in a process: gradients are accumulated until the batch is whole. `auto`:
    the whole batch if it fits the memory of the device, else a half, a quarter, ... of it; null:
    the whole batch. Where memory runs out, it is halved."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, more time."""
    compile: bool = False
    """Compile the image tower with torch.compile."""
    channels_last: bool = True
    """Keep images and weights in channels_last."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Threads of a process that read and augment images ahead of the steps; 0: they are read in
    between. null: as many as the job's threads, ahead of a GPU; on a CPU in between the steps,
    since the cores that read are those that compute."""
    deterministic: bool = False
    """Deterministic algorithms on a GPU too, so that a resumed training ends with the very same
    weights; a CPU always uses them."""
    tensorboard: bool = False
    """Write curves for TensorBoard too; needs the extra `tensorboard`."""
    json_lines: bool = False
    """Write every step at once as a line of JSON, to training.jsonl."""


class DatasetPlaces(Entry):
    """Where datasets lie."""

    folder: str = "datasets"
    """Folder that fetched files and prepared datasets are written to."""
    root: str | None = None
    """Your folder of datasets, `<root>/<dataset>` each; it is only read. What is there is used,
    what is not is fetched."""
    paths: dict[Name, str] = {}
    """Your folder of a single dataset, by its name; it is only read."""
    cache: Names = []
    """Datasets of image files that are decoded once by the model's transform and evaluated from
    there: faster from the second evaluation on, at size x size x 3 bytes an image."""


class Training(Entry):
    """How trainings are carried out here."""

    how: HowSettings = HowSettings()
    """Changes no result but by rounding, is no part of any name, and makes nothing again."""


class EvaluationHow(Entry):
    """How an evaluation is carried out on a machine; no identity goes by it either."""

    batch_size: Count | None = None
    """Images in a forward pass; null: 500, fewer of large images on a CPU and where they do not fit
    the memory of the GPU. Where memory runs out, it is halved."""
    compile: bool = False
    """Compile the image tower with torch.compile."""


class Evaluation(Entry):
    """How evaluations are carried out here."""

    how: EvaluationHow = EvaluationHow()
    """Changes no result but by rounding, and makes nothing again."""


class Config(Entry):
    """What runs by default, and where."""

    experiment: Name = "digits"
    """Experiment that runs: a file in `config/experiments`."""
    datasets: DatasetPlaces = DatasetPlaces()
    """Where datasets lie."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where models run; `auto` takes a GPU where there is one."""
    device_memory_gb: Annotated[float, Field(gt=0)] | None = None
    """Memory of the device that models run on, in GB of 10^9 bytes, which batches are made to fit;
    null: that of the GPU that is there."""
    rehearsal: bool = False
    """Whether this is the configuration of a rehearsal (`make rehearse` writes it): figures and
    pages are then marked, because their numbers mean nothing."""
    training: Training = Training()
    """How trainings are carried out here."""
    evaluation: Evaluation = Evaluation()
    """How evaluations are carried out here."""
