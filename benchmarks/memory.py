"""Peak memory of an evaluation of 11 alphas as the dataset grows, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Options, write_record

SIZES = (1_000, 16_000, 64_000)
CLASSES = ["zero", "one", "two", "three"]
ARCHITECTURE = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "layers": 1, "width": 16, "head_width": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 100, "width": 8, "heads": 2, "layers": 1},
}


def run(options: Options) -> None:
    """Write `memory.json`."""
    sizes = (50, 100, 200) if options.quick else SIZES
    megabytes: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        for n in sizes:
            folder = Path(name, str(n))
            folder.mkdir()
            for work in (_write, _peak):  # what writing takes does not count
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    found = pool.apply(work, (folder, n))
            megabytes[str(n)] = round((found or 0) / 976.56, 1)
    # The first size is less than a chunk of pixels, which is held at once whatever the size.
    first, last = sizes[1], sizes[-1]
    growth = 1e6 * (megabytes[str(last)] - megabytes[str(first)]) / (last - first)
    write_record(
        "memory",
        options,
        settings={"alphas": 11, "combinations": 2, "image_size": 32, "batch_size": 500},
        measured={"peak_megabytes": megabytes, "bytes_an_image": round(growth)},
    )


def _write(folder: Path, n: int) -> None:
    """Write two thetas and n images of noise."""
    from benchmarks.inputs import random_thetas
    from wiseft.images.split import PreparedSplit
    from wiseft.study.data.prepared import write_prepared

    pixels: dict[str, Any] = {"size": 32, "mean": [0.5] * 3, "std": [0.25] * 3}
    random_thetas(folder, ARCHITECTURE, pixels, CLASSES)
    images = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), np.uint8)
    ids = [f"noise/test/{number:06d}" for number in range(n)]
    split = PreparedSplit(images, np.arange(n) % len(CLASSES), ids)
    write_prepared(folder / "noise", "noise", {"test": split}, CLASSES)


def _peak(folder: Path, _: int) -> int:
    """Return the peak resident memory in kB of an evaluation: what Linux counts of this process.

    `ru_maxrss` is also of what was before it.
    """
    from benchmarks.sweeping import TENTHS, Task, evaluate
    from wiseft.models.runtime import start_torch

    start_torch(1, "cpu")  # as the command does, which also sets how memory is kept
    theta_0, theta_1 = (folder / f"{name}.safetensors" for name in ("theta_0", "theta_1"))
    manifest = folder / "noise" / "manifest.json"
    evaluate(Task(theta_0, theta_1, TENTHS, [manifest], 500, "cpu"), folder / "evaluate")
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])
