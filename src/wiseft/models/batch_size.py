"""How many images are computed on at once: as many as fit, and half of them where they did not.

Passes in smaller parts give the same results but for rounding, so no name and no identity goes by
these numbers.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from wiseft.errors import WiseftError

log = logging.getLogger(__name__)

DEVICE_MEMORY = "WISEFT_DEVICE_MEMORY_GB"
"""Environment variable: GB of the device that may be used, `device_memory_gb` of the
configuration; without it, what is free."""

_EXHAUSTED = (
    "DefaultCPUAllocator",
    "could not create a primitive",  # all that oneDNN says of it, on a CPU
    "MPS backend out of memory",
    "STATUS_ALLOC_FAILED",  # of cuDNN and cuBLAS
)
_Result = TypeVar("_Result")


class BatchSize:
    """The images that are computed on at once, halved where memory runs out.

    Args:
        size: to begin with.
        unit: what they are called.
        least: fewer than that are not tried: a batch that can't be divided is its own least.
        advice: what else a user can do.

    Attributes:
        size: as it is now.
    """

    def __init__(
        self,
        size: int,
        *,
        unit: str = "images",
        least: int = 1,
        advice: str = "give it a device with more memory, or free what others hold of this one",
    ):
        self.size = size
        self._unit, self._least, self._advice = unit, least, advice
        self._failed = 0

    def each(self, run: Callable[..., _Result], *images: Tensor) -> list[_Result]:
        """Return what `run` gives for all images, part by part.

        Args:
            run: takes a part of each of the tensors.
            images: tensors of one length.

        Raises:
            WiseftError: if memory runs out for the smallest part.
        """
        results: list[_Result] = []
        done = 0
        while done < len(images[0]):
            parts = [each[done : done + self.size] for each in images]
            with self.attempt(len(parts[0])):
                results.append(run(*parts))
                done += len(parts[0])
        return results

    @contextlib.contextmanager
    def attempt(self, n: int) -> Iterator[None]:
        """Within this context n images are computed on; where memory runs out, it ends early and
        quietly, `size` is smaller, and the caller tries again.

        Raises:
            WiseftError: if memory runs out for the smallest part.
        """
        try:
            yield
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if n <= self._least:
                raise WiseftError(
                    f"out of memory with {n} {self._unit} at a time, and fewer are not possible "
                    f"({str(error).splitlines()[0][:100]}); {self._advice}"
                ) from error
            self._failed = self._failed or n
            self.size = max(self._least, -(-n // 2))
        else:
            if self._failed:
                log.info(
                    f"out of memory with {self._failed} {self._unit} at a time; going on with "
                    f"{self.size} at a time, results are the same but for rounding"
                )
                self._failed = 0
            return
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # blocks of the size that was tried are of no use any more


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that a device has no memory left; a CPU is one too."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        text in str(error) for text in _EXHAUSTED
    )


def available_bytes(device: torch.device) -> int | None:
    """Return the bytes of a device that are this process's or free; None where it is not known.

    Raises:
        WiseftError: if `DEVICE_MEMORY` is no number.
    """
    known = []
    if device.type == "cuda":
        known = [torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)]
    elif device.type == "cpu":
        known = _free_on_cpu()
    if given := os.environ.get(DEVICE_MEMORY):
        try:
            known.append(int(float(given) * 1e9))
        except ValueError:
            raise WiseftError(f"{DEVICE_MEMORY} is {given}; give a number of GB") from None
    return min(known, default=None)


def _free_on_cpu() -> list[int]:
    """Return the bytes that Linux says are available, of the machine and of this container."""
    known = []
    with contextlib.suppress(OSError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        known = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    with contextlib.suppress(OSError, ValueError):  # ValueError: there is no limit, "max"
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / f"memory.{name}").read_text() for name in ("max", "current"))
        known.append(int(limit) - int(used))
    return known
