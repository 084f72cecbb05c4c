"""How many predictions an arithmetic makes other than fp32 does, on a sample of the images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from wiseft.evaluate.passes import Sweep
from wiseft.evaluate.spaces import Projection
from wiseft.images.store import Split, batches
from wiseft.models.precision import Arithmetic

log = logging.getLogger(__name__)

SAMPLE = 512
"""Images of a split; all of a smaller one."""


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
        projection: from the head's logits to those of the dataset's classes.
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
