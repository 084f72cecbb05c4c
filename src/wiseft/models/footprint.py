"""How much memory a model and its images take, and how many images fit: arithmetic without torch.

What an image takes is counted by `wiseft.models.towers.memory`.
"""

from __future__ import annotations

from dataclasses import dataclass

FLOAT, HALF = 4, 2
"""Bytes of a number: weights, gradients and moments are fp32, what autocast makes of them half."""
SPARE, CONTEXT = 0.1, 500_000_000
"""Share of a memory, and bytes of it, that are left to what is not counted: workspaces of
convolutions, what torch reserves and does not use, what CUDA itself takes."""
CHUNK_BYTES = 128 * 2**20
"""Normalised pixels that an evaluation holds at once, if more than one batch fits."""


@dataclass(frozen=True)
class Footprint:
    """What a model and an image take, in bytes.

    Attributes:
        weights: of image tower and head in fp32.
        parameters: numbers that are trained.
        saved: of an image in training: what is saved for the backward pass and what that needs
            beside it.
        peak: of an image in a forward pass without gradients, its pixels included.
        attention: the kernel that was assumed; None where there is no attention.
        cast: of the weights in half precision, whatever the batch; 0 in fp32.
        pixels: of a normalised image.
    """

    weights: int
    parameters: int
    saved: int
    peak: int
    attention: str | None
    cast: int = 0
    pixels: int = 0


def evaluation_bytes(footprint: Footprint, batch: int, *, copies: int = 3) -> int:
    """Return what an evaluation holds on its device, without what is to be spared.

    Args:
        batch: images in a forward pass.
        copies: of the weights: a sweep over alpha has both ends and what is in between.
    """
    chunk = max(CHUNK_BYTES, batch * footprint.pixels)
    return copies * footprint.weights + footprint.cast + chunk + batch * footprint.peak


def training_bytes(footprint: Footprint, batch: int, *, moments: int = 2, copies: int = 0) -> int:
    """Return what a training holds on its device, without what is to be spared.

    Args:
        batch: images in a forward and backward pass: `batch_size`, or `micro_batch`.
        moments: numbers that the optimiser keeps of each parameter: Adam 2, SGD with momentum 1.
        copies: of the weights beside the model: an average of them, those where training began.
    """
    of_parameters = (1 + moments) * FLOAT * footprint.parameters  # gradients are accumulated
    fixed = (1 + copies) * footprint.weights + footprint.cast + of_parameters
    return fixed + batch * footprint.saved


def images_that_fit(
    footprint: Footprint,
    available_bytes: int,
    *,
    training: bool,
    moments: int = 2,
    copies: int | None = None,
) -> int:
    """Return the images of the largest batch that fits a memory; 0 if not even one does.

    A tenth of the memory and 0.5 GB are left to what is not counted.

    Args:
        available_bytes: of the device, others' use taken off.
        copies: as `training_bytes` and `evaluation_bytes` take them; None: as they do by default.
    """
    usable = available_bytes - spared(available_bytes)
    given = {} if copies is None else {"copies": copies}
    if training:
        left = usable - training_bytes(footprint, 0, moments=moments, **given)
        return max(0, left // footprint.saved)
    left = usable - evaluation_bytes(footprint, 0, **given)
    batch = left // footprint.peak
    if batch * footprint.pixels > CHUNK_BYTES:  # a batch is then all that is held at once
        batch = (left + CHUNK_BYTES) // (footprint.peak + footprint.pixels)
    return max(0, batch)


def spared(available_bytes: int) -> int:
    """Return the bytes of a device's memory that are left to what is not counted."""
    return int(SPARE * available_bytes) + CONTEXT


def usual_batch_size(device: str, size: int) -> int:
    """Return the images of a forward pass: 500 or, on a CPU, as many as have the pixels of 500
    digits. Of more, what a layer makes does not stay in its cache: 96 pixels take twice the time.

    Args:
        device: `cpu` or `cuda`.
        size: edge of an image in pixels.
    """
    return 500 if device != "cpu" else max(1, min(500, 500 * 32**2 // size**2))
