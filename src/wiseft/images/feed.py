"""Reads batches of images in order, by threads that work beside the device.

Threads, not processes: Pillow lets other threads run while it decodes and resizes, so that images
are read on several cores at once (benchmarks/feeding.py measures how well). Nothing is copied
between processes, and nothing can outlive a job that is killed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

AHEAD_BYTES = 64 * 2**20
"""Of images that are read ahead, or one batch if that is more: twice what an evaluation has on the
device at once (`footprint.CHUNK_BYTES`, in fp32), so that the next chunk is there in time."""

_PART = 8  # images that a thread reads at a time; more, and the others wait for it at the end

Key = TypeVar("Key")


@dataclass(frozen=True)
class Reading:
    """Who reads, and when.

    Attributes:
        threads: that read; 0: the one that asks for batches.
        ahead: batches that are read while one is computed on; 0: reading is in between.
    """

    threads: int
    ahead: int


def usual_reading(device: torch.device, batch_bytes: int = AHEAD_BYTES // 2) -> Reading:
    """Return how batches are read for a device: by as many threads as the job has.

    On a CPU the cores that read are those that compute. There, all of a job's threads read in
    between the passes, so that it never takes more cores than it was given.

    Args:
        batch_bytes: of the images of a batch, which bound how many are read ahead.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu":
        return Reading(threads if threads > 1 else 0, 0)
    return Reading(threads, max(1, AHEAD_BYTES // batch_bytes))


def in_order(
    plan: Iterable[tuple[Key, NDArray[np.int64]]],
    read: Callable[[Key, NDArray[np.int64]], Tensor],
    shape: tuple[int, int, int],
    device: torch.device,
    reading: Reading,
) -> Iterator[tuple[Key, Tensor]]:
    """Yield the batches of a plan on the device: uint8 (n, 3, H, W), channels_last.

    Args:
        plan: of every batch a name of any kind, and which images it has.
        read: given the name of a batch and some of its images, returns these as uint8
            (n, 3, H, W); called by several threads at once.
        shape: (H, W, 3).

    Raises:
        Whatever `read` does, in place of the first batch that it does it for.
    """
    pin = device.type == "cuda"
    if reading.threads == 0:
        for key, chosen in plan:
            images = read(key, chosen)
            yield key, (images.pin_memory() if pin else images).to(device, non_blocking=pin)
        return
    waiting: deque[tuple[Key, Tensor, list[Future[None]]]] = deque()

    def first() -> tuple[Key, Tensor]:
        key, images, coming = waiting.popleft()
        for future in coming:
            future.result()
        return key, images.to(device, non_blocking=pin)

    with ThreadPoolExecutor(reading.threads, "read") as pool:
        try:
            for key, chosen in plan:
                whole = torch.empty((len(chosen), *shape), dtype=torch.uint8, pin_memory=pin)
                images = whole.permute(0, 3, 1, 2)
                size = max(1, min(_PART, -(-len(chosen) // reading.threads)))
                parts = [slice(start, start + size) for start in range(0, len(chosen), size)]
                rows = images.numpy()
                coming = [pool.submit(_fill, rows[at], read, key, chosen[at]) for at in parts]
                waiting.append((key, images, coming))
                if len(waiting) > reading.ahead:
                    yield first()
            while waiting:
                yield first()
        finally:
            pool.shutdown(cancel_futures=True)


def _fill(
    rows: NDArray[np.uint8],
    read: Callable[[Key, NDArray[np.int64]], Tensor],
    key: Key,
    chosen: NDArray[np.int64],
) -> None:
    # By numpy: an operation of torch would start threads of its own in each of these.
    rows[:] = read(key, chosen).numpy()
