"""How a stage that uses torch runs: threads, device, and outputs that can be written."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import resource
import sys

import torch

from wiseft.base.io import check_writable as check_writable
from wiseft.errors import WiseftError

log = logging.getLogger(__name__)


def start_torch(
    threads: int, device: str, deterministic: bool = False, mps: bool = False
) -> torch.device:
    """Set the number of threads, ask for deterministic algorithms on a CPU, return the device.

    Args:
        threads: of one operation; results are bitwise reproducible for one number of threads.
        device: `cpu`, `cuda`, or `auto` for a GPU if there is one.
        deterministic: ask for deterministic algorithms on a GPU as well.
        mps: whether the command takes the GPU of a Mac too, on which nothing was ever tested.

    Raises:
        WiseftError: if the number or the device makes no sense, or there is no such device.
    """
    if threads < 1:
        raise WiseftError(f"threads is {threads}; give at least 1")
    known = ("auto", "cpu", "cuda", *(["mps"] if mps else []))
    if device not in known:
        raise WiseftError(f"device {device!r} is not one of {', '.join(known)}")
    if device == "mps":
        if not torch.backends.mps.is_available():
            raise WiseftError("device is mps, but torch finds no GPU of a Mac; use cpu or auto")
        log.info("device mps is untested: compare with --device cpu before you rely on it")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise WiseftError("device is cuda, but torch finds no GPU; use cpu or auto")
    _keep_freed_memory()
    torch.set_num_threads(threads)
    if deterministic:
        # cuBLAS reads it when it starts; without it deterministic algorithms are an error.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Of two names of one switch the one that does not import torch's compiler (1.4 s, 77 MB).
    torch.set_deterministic_debug_mode("error" if device == "cpu" or deterministic else "default")
    # Deterministic mode would also fill every fresh tensor; nothing here reads one unwritten.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return torch.device(device)


def _keep_freed_memory() -> None:
    """Let the C library (glibc) keep up to 1 GiB that was freed: every pass over a batch takes and
    frees the same tensors, and a sixth of an evaluation's time went into getting their pages again.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, the largest that it takes


def release_memory() -> None:
    """Give what was freed back to the system (glibc), once a chunk of images: what one leaves does
    not quite fit the next, and a process grew by half over its first chunks.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def device_names(device: torch.device | str) -> dict[str, str]:
    """Return `device`, the name of a GPU or of the machine's architecture, and `device_type`."""
    device = torch.device(device)
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else platform.machine()
    return {"device": name, "device_type": device.type}


def peak_memory_mb(device: torch.device) -> dict[str, float | None]:
    """Return the most memory that this process has held, in MB: `rss` and, on a GPU, `cuda`."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    cuda = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {
        "rss": round(most * unit / 1e6, 1),
        "cuda": None if cuda is None else round(cuda / 1e6, 1),
    }
