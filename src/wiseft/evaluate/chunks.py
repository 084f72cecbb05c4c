"""Passes over the images of a split: in chunks, over a sample of them, and of one theta alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wiseft.evaluate.passes import LAST, Inference, Pixels, SingleSweep, Sweep
from wiseft.evaluate.spaces import Head, Projection, own_projection
from wiseft.evaluate.views import check_logits
from wiseft.images.store import Manifest, Split, batches, open_split
from wiseft.models.batch_size import BatchSize
from wiseft.models.footprint import CHUNK_BYTES, usual_batch_size
from wiseft.models.fused import use_onednn
from wiseft.models.precision import Arithmetic
from wiseft.thetas.theta import Theta

log = logging.getLogger(__name__)

SAMPLE = 512
"""Images of a split on which another arithmetic is compared; all of a smaller one."""


def images_of_a_pass(sweep: Sweep) -> int:
    """Return the usual images of a pass or, on a GPU, as many as its memory has room for."""
    device = sweep.inference.device.type
    usual = usual_batch_size(device, max(transform.size for transform in sweep.transforms))
    fits = None if device == "cpu" else sweep.images_that_fit()
    if fits is None or fits >= usual:
        return usual
    log.info(f"{max(1, fits)} images at a time, as many as the memory of the device has room for")
    return max(1, fits)


def chunks(
    sweep: Sweep, splits: Sequence[Split], start: int = 0, together: bool = True
) -> Iterator[list[Pixels]]:
    """Yield normalised batches on the device, as many as `CHUNK_BYTES` holds.

    Within such a chunk the outer loop is over alpha, so that weights are set once a chunk and
    images decoded once in all.

    Args:
        splits: one split, after each transform of the sweep.
        start: the first sample; where chunks end, those to come are the same as from 0 on.
        together: False: one at a time, for a sweep of one alpha.
    """
    held: list[Pixels] = []
    most = CHUNK_BYTES if together else 0
    size, order = sweep.inference.batch_size, np.arange(start, len(splits[0]))
    read = (batches(split, size.size, order, sweep.inference.device) for split in splits)
    for same in zip(*read, strict=True):
        images = (batch for batch, _ in same)
        held += size.each(lambda *parts: sweep.pixels(parts), *images)
        if (len(held) + 1) * sum(pixels.nbytes for pixels in held[0]) > most:
            yield _taken(held)
    if held:
        yield held


def _taken(held: list[Pixels]) -> list[Pixels]:
    """Empty a list and return what was in it, which only who asked for it holds then."""
    taken = held.copy()
    held.clear()
    return taken


@torch.inference_mode()
def logits_of(
    theta: Theta, manifest: Manifest, split: str, batch_size: int | None, device: str
) -> Iterator[Tensor]:
    """Yield the logits of one theta on one split, fp32 (n, classes of the dataset), in order, as an
    evaluation computes them, up to 1e-5 of the largest on a CPU; nothing is written.

    Raises:
        WiseftError: as `evaluate_suite`.
    """
    target = torch.device(device)
    inference = Inference(target, Arithmetic("fp32", target), BatchSize(batch_size or 1))
    sweep = SingleSweep(theta, inference)
    if device == "cpu":
        use_onednn(sweep.model.image)
    if batch_size is None:
        inference.batch_size.size = images_of_a_pass(sweep)
    images = open_split(manifest.path, split, *sweep.transforms)
    projection = own_projection(manifest, Head(theta.header.class_names, "head"))
    with inference.arithmetic.kernels(deterministic=True):
        for pixels in chunks(sweep, [images], together=False):
            for _, _, logits in sweep.logits(pixels, [LAST]):
                check_logits(logits, sweep.never_predicted)
                yield projection(logits) if projection else logits


@torch.inference_mode()
def changed_predictions(
    sweep: Sweep,
    splits: Sequence[Sequence[Split]],
    projection: Projection | None,
    alphas: Sequence[str],
) -> dict[str, Any]:
    """Return the share of predictions that are others than in fp32, and of how many images.

    Both passes are made here, on images that are spread evenly over each split, at the first, the
    middle and the last alpha.

    Args:
        splits: each of them after every transform of the sweep.
        projection: from the head's logits to those of the dataset's classes; None: the same.
    """
    chosen = sorted({alphas[0], alphas[len(alphas) // 2], alphas[-1]})
    own, device = sweep.inference.arithmetic, sweep.inference.device
    combination, changed, images = sweep.combinations[0], dict.fromkeys(chosen, 0), 0
    for same in splits:
        rows = np.unique(np.linspace(0, len(same[0]) - 1, SAMPLE).astype(np.int64))
        images += len(rows)
        size = sweep.inference.batch_size.size
        for read in zip(*(batches(split, size, rows) for split in same), strict=True):
            found = []
            for arithmetic in (own, Arithmetic("fp32", device)):
                sweep.inference.arithmetic = arithmetic
                pixels = sweep.pixels([batch for batch, _ in read])
                half = torch.full((len(pixels[0]),), 0.5, dtype=torch.float64)
                with arithmetic.kernels(deterministic=True):
                    logits = {
                        alpha: projection(each) if projection else each
                        for name, alpha, each in sweep.logits([pixels], chosen, half)
                        if name == combination
                    }
                found.append({alpha: each.argmax(dim=1) for alpha, each in logits.items()})
            sweep.inference.arithmetic = own
            for alpha in chosen:
                changed[alpha] += int((found[0][alpha] != found[1][alpha]).sum())
    share = {alpha: count / images for alpha, count in changed.items()}
    told = ", ".join(f"{100 * value:.2f} % at alpha {alpha}" for alpha, value in share.items())
    log.info(f"{own.name}: of {images} images, predicted otherwise than in fp32: {told}")
    return {"images": images, "combination": combination, "share": share}
