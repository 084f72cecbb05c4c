"""The images of an evaluation, as its passes take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from wiseft.evaluate.passes import Pixels, Sweep
from wiseft.images.store import Split, batches
from wiseft.models.footprint import CHUNK_BYTES


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
