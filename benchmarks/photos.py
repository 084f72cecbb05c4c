"""The sweep against the naive way on JPEG photographs at 224 pixels with a random ViT-B-32.

The photographs are crops of 500 x 375 pixels (ImageNet's usual size) of scikit-learn's two sample
images; labels have no meaning, only time and the equality of predictions do.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import open_clip

from benchmarks.common import Options, ratio, timed, write_record
from benchmarks.inputs import CLIP_PREPROCESSING, photo_crops, random_thetas, write_image_folder
from benchmarks.ways import Task, check_equal, forward_clock, naive, ours

MODEL = "ViT-B-32"
IMAGES = {"cpu": 48, "cuda": 2000}
ALPHAS = ["0.000", "0.250", "0.500", "0.750", "1.000"]
BATCH_SIZE = {"cpu": 16, "cuda": 250}


def run(options: Options) -> None:
    """Write `sweep-photos.json`, or `sweep-photos-cuda.json` on a GPU."""
    n = 6 if options.quick else IMAGES[options.device]
    alphas = ALPHAS[::2] if options.quick else ALPHAS
    classes = [f"class {index}" for index in range(10)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labels = [index % len(classes) for index in range(n)]
        classes = classes[: max(labels) + 1]
        thetas = random_thetas(
            folder, open_clip.get_model_config(MODEL), CLIP_PREPROCESSING, classes
        )
        manifest = write_image_folder(
            folder, "photos", photo_crops(n, 375, 500), labels, classes, ".jpg"
        )
        task = Task(
            thetas["theta_0"],
            thetas["theta_1"],
            alphas,
            [manifest],
            BATCH_SIZE[options.device],
            options.device,
        )
        _measure(options, task, replace(task, theta_1=thetas["linear"]), folder, n)


def _measure(options: Options, task: Task, linear: Task, folder: Path, n: int) -> None:
    ways = {
        "naive": lambda: naive(task, folder),
        "sweep": lambda: ours(task, folder / "sweep"),
        "linear_naive": lambda: naive(linear, folder),
        "linear_sweep": lambda: ours(linear, folder / "linear"),
    }
    ours(linear, folder / "warm-up")
    seconds, results = timed(ways, options.repeats)
    with forward_clock(options.device) as clock:
        once, _ = timed({"sweep": lambda: ours(task, folder / "share")}, 1)
    write_record(
        "sweep-photos" + ("-cuda" if options.device == "cuda" else ""),
        options,
        settings={
            "model": f"{MODEL}, random weights",
            "images": n,
            "jpeg": "500 x 375, quality 90, decoded to 224 x 224",
            "alphas": task.alphas,
            "batch_size": task.batch_size,
        },
        seconds=seconds,
        ratios={
            "sweep": ratio(seconds, "naive", "sweep"),
            "linear_classifier": ratio(seconds, "linear_naive", "linear_sweep"),
        },
        checks={
            "end_to_end": check_equal(task, results["naive"], folder / "sweep"),
            "linear_classifier": check_equal(
                linear, results["linear_naive"], folder / "linear", margin=1e-4
            ),
        },
        measured={"forward_share": round(clock.seconds / once["sweep"]["median"], 4)},
    )
