"""A sweep that runs of the inner alphas only what the ends of an interval leave open.

Every sample is run at 0, 0.5 and 1. Between two alphas at which its predictions are the same in
every label space, they are taken to be the same; else it is run in the middle, and both halves are
looked at. Of what is so inferred a random share is run all the same: an audit, which says how far
the accuracies may be from those of the exact sweep.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wiseft.base.alphas import ALWAYS_RUN
from wiseft.base.metrics import ACCURACY, OUTSIDE
from wiseft.combine.ensembles import uniforms
from wiseft.evaluate.passes import FIRST, LAST, WEIGHT, Pixels, Sweep, WeightSweep
from wiseft.evaluate.results import Record
from wiseft.evaluate.spaces import Projection
from wiseft.evaluate.views import ResolvedView

log = logging.getLogger(__name__)

AUDITED = 0.02
"""Share of the inferred predictions that are run all the same."""


class Part(NamedTuple):
    """The logits of a chunk of n samples, of one combination at one alpha.

    Attributes:
        logits: (rows, classes).
        rows: int64 (rows,), which of the samples were run; None: all.
        inferred: int32 (n, label spaces), the class that both ends of the interval predict,
            `OUTSIDE` where they differ; None: nothing is inferred.
    """

    combination: str
    alpha: str
    logits: Tensor
    rows: Tensor | None = None
    inferred: Tensor | None = None


def full_alphas(
    record: Record, views: Collection[str], new: Sequence[str], stored: Sequence[str]
) -> frozenset[str]:
    """Return the alphas, of those that are new, at which every sample is run.

    Args:
        record: where a view has exact predictions at an alpha, inferred ones are no substitute.
        stored: alphas whose logits are stored, of all samples.
    """
    exact = {a for c, view, a in record.stored - record.inferred if c == WEIGHT and view in views}
    return frozenset(ALWAYS_RUN) | set(stored) | exact.intersection(new)


def drawn(seed: int, where: str, sample_ids: Sequence[str], alpha: str) -> NDArray[np.bool_]:
    """Return which samples are audited at an alpha: it depends on nothing but these arguments."""
    return uniforms(seed, f"audit/{where}/{alpha}", sample_ids) < AUDITED


def may_infer(sweep: Sweep, views: Mapping[str, ResolvedView]) -> bool:
    """Whether a sweep has passes to save: others than of weights cost two, or one.

    An audit is of accuracies: a dataset with a view of another metric is swept exactly, and told.
    """
    if not isinstance(sweep, WeightSweep) or WEIGHT not in sweep.combinations:
        return False
    others = [name for name, view in views.items() if view.settings.metric != ACCURACY]
    if others:
        log.info(
            f"the sweep is exact: view {others[0]} is of {views[others[0]].settings.metric}, but "
            f"an audit says how far a sparse one is off in {ACCURACY} alone"
        )
    return not others


def sparse_logits(
    sweep: WeightSweep,
    batches: Sequence[Pixels],
    alphas: Sequence[str],
    numbers: Tensor | None,
    full: Collection[str],
    spaces: Sequence[Projection | None],
    audited: Callable[[str], NDArray[np.bool_]],
) -> Iterator[Part]:
    """Yield what `WeightSweep.logits` does, of the combination of weights only what is run.

    Args:
        full: the alphas at which every sample is run.
        spaces: of the views.
        audited: whether each sample is run at an alpha even where its prediction is inferred.
    """

    def predicted(logits: Tensor) -> Tensor:
        seen = [space(logits) if space else logits for space in spaces]
        return torch.stack([each.argmax(dim=1).to(torch.int32) for each in seen], dim=1)

    end_logits = [sweep.at(FIRST, batches), sweep.at(LAST, batches)]
    for alpha in alphas:
        yield from (Part(*each) for each in sweep.ensembles(end_logits, alpha, numbers))
    raw = dict(zip((FIRST, LAST), end_logits, strict=True))
    classes: dict[str, Tensor] = {}  # int32 (samples, label spaces)
    for alpha in sorted(full):
        logits = sweep.mask(raw[alpha] if alpha in raw else sweep.at(alpha, batches))
        classes[alpha] = predicted(logits)
        if alpha in alphas:
            yield Part(WEIGHT, alpha, logits)
    for low, middle, high in bisected(alphas, sorted(full)):
        # What was inferred is the same at both ends of every interval inside, so it stays so.
        left_open = (classes[low] != classes[high]).any(dim=1)
        also = torch.from_numpy(audited(middle)).to(left_open.device)
        rows = (left_open | also).nonzero()[:, 0]
        inferred = classes[low].masked_fill(left_open[:, None], OUTSIDE)
        logits = end_logits[0][:0]
        if len(rows):
            logits = sweep.at(middle, _taken(sweep, batches, rows))[: len(rows)]
        logits = sweep.mask(logits)
        # Of audited samples neighbours are told what was inferred: the audit changes nothing else.
        classes[middle] = classes[low].clone()
        run = left_open[rows]
        classes[middle][rows[run]] = predicted(logits)[run]
        yield Part(WEIGHT, middle, logits, rows, inferred)


def bisected(alphas: Sequence[str], known: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield each alpha that is not known between the two that decide it, which come before it.

    Args:
        alphas: the grid, sorted.
        known: sorted; the first and the last alpha are among them.
    """
    for low, high in pairwise(known):
        inner = [alpha for alpha in alphas if low < alpha < high]
        if inner:
            middle = inner[len(inner) // 2]
            yield low, middle, high
            yield from bisected(inner, [low, middle, high])


def _taken(sweep: WeightSweep, batches: Sequence[Pixels], rows: Tensor) -> Iterator[Pixels]:
    """Yield the pixels of some samples, as many at once as a pass takes.

    A tower is compiled for every number of images that it is given: its last batch is filled up.

    Args:
        rows: int64 (rows,), sorted; at least one.
    """
    size, start, held = sweep.inference.batch_size.size, 0, []
    if sweep.inference.compile:
        rows = torch.cat([rows, rows[-1:].expand(-len(rows) % size)])
    for (pixels,) in batches:
        held.append(pixels[rows[(rows >= start) & (rows < start + len(pixels))] - start])
        start += len(pixels)
        while (n := sum(map(len, held))) >= size or (n and start > int(rows[-1])):
            whole = torch.cat(held)
            part, held = whole[:size], [whole[size:]]
            image = part.dim() == 4  # what frozen layers give may be tokens
            yield (part.contiguous(memory_format=torch.channels_last) if image else part,)
