"""Feeding a device with images: how that scales, how long the device waits, how others do it.

JPEG crops of 500 x 375 pixels (ImageNet's usual size) of scikit-learn's two sample photographs,
read at 224 pixels. The pretend device takes a fixed time for an image and needs no core meanwhile,
as a GPU does: eight tenths of the speed at which two of our threads were found to decode.
open_clip and CLIP_benchmark read by torch's DataLoader, with as many processes as we have threads.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from benchmarks.common import Options, ratio, summary, timed, write_record
from benchmarks.inputs import CLIP_PREPROCESSING, photo_crops, write_image_folder
from wiseft.images import feed
from wiseft.images.store import Split, batches, open_split
from wiseft.thetas.preprocessing import Transform

SIZE = 224
BATCH_SIZE = 16
CLASSES = [f"class {index}" for index in range(10)]
SPEED = 0.8  # of the pretend device, over that of decoding


def run(options: Options) -> None:
    """Write `feeding.json`."""
    n = 48 if options.quick else 640
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        crops = photo_crops(n, 375, 500)
        split, root = _images(folder, "photos", crops)
        seconds = _scaling(split, root, options.repeats)
        speed = SPEED * n / seconds["threads_2"]["median"]
        idle = _idle(split, root, speed, options.repeats)
    write_record(
        "feeding",
        options,
        settings={
            "images": n,
            "jpeg": "500 x 375, quality 90, decoded to 224 x 224",
            "batch_size": BATCH_SIZE,
            "pretend_device_images_per_s": round(speed),
        },
        seconds=seconds,
        ratios={
            "two_threads_over_one": ratio(seconds, "threads_1", "threads_2"),
            "two_processes_over_one": ratio(seconds, "processes_1", "processes_2"),
            "reading_open_clip_over_ours": ratio(seconds, "processes_2", "threads_2"),
        },
        measured={
            "images_per_s": {name: round(n / each["median"]) for name, each in seconds.items()},
            "idle_share_of_pretend_device": idle,
        },
    )


def _images(folder: Path, name: str, crops: list[NDArray[np.uint8]]) -> tuple[Split, Path]:
    labels = [index % len(CLASSES) for index in range(len(crops))]
    manifest = write_image_folder(folder, name, crops, labels, CLASSES, ".jpg")
    return open_split(manifest, "test", Transform(size=SIZE)), folder / name / "test"


@contextlib.contextmanager
def _reading(threads: int, ahead: int) -> Iterator[None]:
    """Have images read so, whatever the device is."""
    usual = feed.usual_reading
    feed.usual_reading = lambda *_: feed.Reading(threads, ahead)
    try:
        yield
    finally:
        feed.usual_reading = usual


def _threads(split: Split, threads: int, ahead: int, device: Callable[[Tensor], Any]) -> None:
    with _reading(threads, ahead):
        for images, _ in batches(split, BATCH_SIZE):
            device(images)


def _loader(root: Path, workers: int) -> DataLoader[Any]:
    """As `open_clip_train.data.get_imagenet` and CLIP_benchmark's command make it."""
    pixels = {name: CLIP_PREPROCESSING[name] for name in ("mean", "std")}
    transform = open_clip.image_transform(SIZE, is_train=False, **pixels)
    dataset = ImageFolder(root, transform=transform)
    return DataLoader(dataset, batch_size=BATCH_SIZE, num_workers=workers)


def _processes(root: Path, workers: int, device: Callable[[Tensor], Any]) -> None:
    for images, _ in _loader(root, workers):
        device(images)


def _scaling(split: Split, root: Path, repeats: int) -> dict[str, Any]:
    ways: dict[str, Callable[[], Any]] = {}
    for count in (1, 2):
        ways[f"threads_{count}"] = lambda count=count: _threads(split, count, 4, len)
        ways[f"processes_{count}"] = lambda count=count: _processes(root, count, len)
    seconds, _ = timed(ways, repeats)
    return seconds


class Pretend:
    """A device that takes a fixed time for an image.

    Attributes:
        busy: seconds so far.
    """

    def __init__(self, images_per_s: float):
        self._speed, self.busy = images_per_s, 0.0

    def __call__(self, images: Tensor) -> None:
        start = time.perf_counter()
        time.sleep(len(images) / self._speed)
        self.busy += time.perf_counter() - start


def _idle(split: Split, root: Path, speed: float, repeats: int) -> dict[str, Any]:
    """Return the share of its time that the pretend device waits, the first batch included."""
    ways: dict[str, Callable[[Pretend], Any]] = {
        "one thread in between": lambda device: _threads(split, 0, 0, device),
        "two threads beside": lambda device: _threads(split, 2, 4, device),
        "DataLoader, two processes": lambda device: _processes(root, 2, device),
    }
    shares: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            device, start = Pretend(speed), time.perf_counter()
            way(device)
            shares[name].append(1 - device.busy / (time.perf_counter() - start))
    return {name: summary(values) for name, values in shares.items()}
