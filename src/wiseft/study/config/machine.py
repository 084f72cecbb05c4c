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

    gpus: Count | dict[Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")], Count] = 1
    """Number of processes that share every batch: one per GPU, or this many on a CPU. A mapping
    gives it by model, by method, or by `MODEL/METHOD`, which goes first; other trainings have 1."""
    micro_batch: Count | Literal["auto"] | None = "auto"
    """Images that a process computes at a time; gradients are accumulated until the batch is
    complete. `auto`: the whole batch if it fits the device's memory, else a half, a quarter, ... of
    it. null: the whole batch. If memory runs out, the number is halved."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    compile: bool = False
    """Compile the image tower with torch.compile."""
    channels_last: bool = True
    """Keep images and weights in the memory format channels_last."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Threads per process that read and augment images ahead of the steps. 0: images are read
    between the steps. null: on a GPU, as many as the job has threads; on a CPU, 0, because the same
    cores read and compute."""
    deterministic: bool = False
    """Use deterministic algorithms on a GPU, so that a resumed training ends with exactly the same
    weights. A CPU always uses them."""
    json_lines: bool = False
    """Write each step immediately, as a line of JSON in training.jsonl."""

    def gpus_of(self, *names: str) -> int:
        """Return the number of processes of a training.

        Args:
            names: its model and method.
        """
        if isinstance(self.gpus, int):
            return self.gpus
        found = [key for key in self.gpus if set(key.split("/")) <= set(names)]
        return self.gpus[max(found, key=lambda key: "/" in key)] if found else 1


class DatasetPlaces(Entry):
    """Locations of datasets."""

    folder: str = "datasets"
    """Folder for fetched files and prepared datasets."""
    root: str | None = None
    """Your own folder of datasets, one subfolder `<root>/<dataset>` each; it is only read. Datasets
    that are missing there are fetched."""
    paths: dict[Name, str] = {}
    """Your own folder of a single dataset, by the dataset's name; it is only read."""
    part: Names = []
    """Datasets of which your own folder holds a part. Only their previews can be used; these are
    drawn from the images that are there, so that nothing is counted."""
    cache: Names = []
    """Datasets of image files to decode once, with the model's transform, and keep. Evaluations
    are faster from the second one on; an image takes size x size x 3 bytes of disk space."""
    node: str | None = None
    """Folder on a node's own disk, such as `$TMPDIR/wiseft`. Jobs copy the images that they read to
    it, and read them there from then on. Without room there, they read them where they lie."""


class Training(Entry):
    """How models are trained on this machine."""

    how: HowSettings = HowSettings()
    """These keys change results only by rounding. They are part of no name and trigger no rerun."""


class EvaluationHow(Entry):
    """How an evaluation is carried out on a machine; no identity goes by it either."""

    batch_size: Count | None = None
    """Images in a forward pass. null: 500, and fewer if the images are large on a CPU or do not fit
    the memory of the GPU. If memory runs out, the number is halved."""
    compile: bool = False
    """Compile the image tower with torch.compile."""


class Evaluation(Entry):
    """How models are evaluated on this machine."""

    how: EvaluationHow = EvaluationHow()
    """These keys change results only by rounding and trigger no rerun."""


class Config(Entry):
    """The default experiment, the locations of datasets, and settings of this machine."""

    experiment: Name = "digits"
    """Experiment that runs by default: a file in `config/experiments`."""
    datasets: DatasetPlaces = DatasetPlaces()
    """Locations of datasets."""
    container: str | None = None
    """Container image with `wiseft` in it, for all rules: a file, or an address such as
    `docker://...`. It is used with `snakemake --software-deployment-method apptainer`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device that models run on; `auto` takes a GPU if there is one."""
    device_memory_gb: Annotated[float, Field(gt=0)] | None = None
    """Device memory in GB (10^9 bytes) that batches must fit. null: the memory of the GPU found."""
    rehearsal: bool = False
    """Whether this is the configuration of a rehearsal; `make rehearse` sets it. Figures and pages
    are then marked, because their numbers mean nothing."""
    training: Training = Training()
    """How models are trained on this machine."""
    evaluation: Evaluation = Evaluation()
    """How models are evaluated on this machine."""
