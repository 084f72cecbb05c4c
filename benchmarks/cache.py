"""The decoded cache against decoding: images per second of a set that is evaluated often.

JPEG crops of 500 x 375 pixels (ImageNet's usual size) of scikit-learn's two sample photographs,
read at 224 pixels in batches, as an evaluation does. Both ways give the same bytes.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.common import Options, ratio, timed, write_record
from benchmarks.inputs import photo_crops, write_image_folder
from wiseft.errors import WiseftError
from wiseft.images.cache import cache_folder, write_cache
from wiseft.images.store import batches, open_split
from wiseft.thetas.preprocessing import Transform

SIZE = 224
BATCH_SIZE = 250


def run(options: Options) -> None:
    """Write `cache.json`."""
    n = 20 if options.quick else 1000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labels = [index % 10 for index in range(n)]
        names = [f"class {index}" for index in range(10)]
        crops = photo_crops(n, 375, 500)
        decoded = write_image_folder(folder, "decoded", crops, labels, names, ".jpg")
        cached = write_image_folder(folder, "cached", crops, labels, names, ".jpg")
        start = time.perf_counter()
        write_cache(cached, Transform(size=SIZE), ["test"], options.threads)
        writing = time.perf_counter() - start
        seconds, results = timed(
            {"decoded": lambda: _read(decoded), "cached": lambda: _read(cached)}, options.repeats
        )
        if results["decoded"] != results["cached"]:
            raise WiseftError("the cache gives other pixels than decoding")
        size = (cache_folder(cached, Transform(size=SIZE)) / "test.npy").stat().st_size
    write_record(
        "cache",
        options,
        seconds=seconds,
        ratios={"cache": ratio(seconds, "decoded", "cached")},
        measured={
            "images": n,
            "decoded_images_per_s": round(n / seconds["decoded"]["median"]),
            "cached_images_per_s": round(n / seconds["cached"]["median"]),
            "writing_s": round(writing, 2),
            "bytes": size,
        },
    )


def _read(manifest: Path) -> int:
    """Read every image in batches; return a sum of all pixels, so that each is really read."""
    split = open_split(manifest, "test", Transform(size=SIZE))
    return sum(
        int(np.sum(images.numpy(), dtype=np.int64)) for images, _ in batches(split, BATCH_SIZE)
    )
