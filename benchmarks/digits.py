"""The sweep against the naive way on the digits of the workflow, 32 pixels, one small ResNet.

Real thetas and images of a finished `make run`; the images are written as folders of PNGs, from
which both ways start. Prepared arrays, which the workflow itself uses, are timed beside them.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.common import ROOT, Options, ratio, summary, timed, write_record
from benchmarks.inputs import random_thetas, write_image_folder
from benchmarks.ways import SPLIT, Task, check_equal, forward_clock, naive, ours
from wiseft.errors import WiseftError
from wiseft.images.split import PreparedSplit
from wiseft.images.store import open_manifest, open_split
from wiseft.models.towers.open_clip_models import architecture_from_json
from wiseft.study.config import Catalogue, paths
from wiseft.study.data.prepared import write_prepared
from wiseft.thetas.preprocessing import Transform

EXPERIMENT = "digits"
IMAGES = 1000  # of each set
BATCH_SIZE = 500


def run(options: Options) -> None:
    """Write `sweep-digits.json`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        thetas, prepared, alphas = quick_inputs(folder) if options.quick else _real()
        n = 40 if options.quick else IMAGES
        folders, arrays = zip(*(_copies(folder, path, n) for path in prepared), strict=True)
        task = Task(
            thetas["theta_0"],
            thetas["theta_1"],
            alphas,
            list(folders),
            BATCH_SIZE,
            options.device,
        )
        _measure(options, task, replace(task, theta_1=thetas["linear"]), list(arrays), folder)


def _measure(options: Options, task: Task, linear: Task, arrays: list[Path], folder: Path) -> None:
    ways = {
        "naive": lambda: naive(task, folder),
        "sweep": lambda: ours(task, folder / "sweep"),
        "sweep_from_arrays": lambda: ours(
            replace(task, manifests=arrays), folder / "sweep-from-arrays"
        ),
        "linear_naive": lambda: naive(linear, folder),
        "linear_sweep": lambda: ours(linear, folder / "linear"),
    }
    seconds, results = timed(ways, options.repeats)
    checks = {
        "end_to_end": check_equal(task, results["naive"], folder / "sweep"),
        "end_to_end_from_arrays": check_equal(
            task, _renamed(results["naive"]), folder / "sweep-from-arrays"
        ),
        "linear_classifier": check_equal(
            linear, results["linear_naive"], folder / "linear", margin=1e-4
        ),
    }
    write_record(
        "sweep-digits",
        options,
        settings={
            "images_per_set": len(open_split(task.manifests[0], SPLIT, Transform(size=32))),
            "sets": len(task.manifests),
            "alphas": task.alphas,
            "batch_size": task.batch_size,
        },
        seconds=seconds,
        ratios={
            "sweep": ratio(seconds, "naive", "sweep"),
            "sweep_from_arrays": ratio(seconds, "naive", "sweep_from_arrays"),
            "linear_classifier": ratio(seconds, "linear_naive", "linear_sweep"),
        },
        checks=checks,
        measured={"forward_share": _forward_share(options, task, arrays, folder)},
        goals={"forward_share": 0.9},
    )


def _forward_share(options: Options, task: Task, arrays: list[Path], folder: Path) -> dict:
    """The share of a whole evaluate job, as the workflow runs it, that is forward passes."""
    shares = []
    for _ in range(options.repeats):
        with forward_clock(options.device) as clock:
            start = time.perf_counter()
            ours(replace(task, manifests=arrays), folder / "share")
            shares.append(clock.seconds / (time.perf_counter() - start))
    return summary(shares)


def _copies(folder: Path, manifest: Path, n: int) -> tuple[Path, Path]:
    """Write n images of a set as a folder of PNGs and, in the same order, as arrays."""
    source = open_manifest(manifest)
    split = open_split(manifest, SPLIT)
    # At random: some sets lie sorted by class, and a folder without images is an error.
    rows = np.random.default_rng(0).permutation(len(split))[:n]
    images, labels = split.read(rows), split.labels[rows]
    order = np.argsort(labels, kind="stable")  # image folders are read class by class
    images, labels = images[order], labels[order]
    name = source.dataset
    png = write_image_folder(
        folder / "png", name, list(images), labels.tolist(), source.class_names, ".png"
    )
    ids = [str(i) for i in range(len(labels))]
    splits = {SPLIT: PreparedSplit(images, labels, ids)}
    arrays = write_prepared(folder / "arrays" / name, f"{name}-arrays", splits, source.class_names)
    return png, arrays


def _renamed(predictions: dict) -> dict:
    return {f"{name}-arrays": by_alpha for name, by_alpha in predictions.items()}


def _real() -> tuple[dict[str, Path], list[Path], list[str]]:
    catalogue = Catalogue(ROOT)
    experiment = catalogue.experiment(EXPERIMENT)
    model, seed = experiment.models[0], experiment.seeds[0]
    by_method = {method.split("__")[0]: method for method in experiment.methods}
    runs = {
        key: paths.run_name(model, experiment.reference, by_method[method])
        for key, method in (("theta_1", "end-to-end"), ("linear", "linear-classifier"))
    }
    thetas = {key: ROOT / paths.theta_1_path(run, seed) for key, run in runs.items()}
    thetas["theta_0"] = ROOT / paths.theta_0_path(model, experiment.reference)
    manifests = [ROOT / paths.manifest_path(name) for name in experiment.datasets]
    missing = [path for path in [*thetas.values(), *manifests] if not path.is_file()]
    if missing:
        raise WiseftError(
            f"this benchmark needs what `make run` leaves, but {missing[0]} does not exist; "
            "type `make run` first, or use --quick"
        )
    return thetas, manifests, experiment.alpha_names


def quick_inputs(folder: Path) -> tuple[dict[str, Path], list[Path], list[str]]:
    classes = [str(digit) for digit in range(10)]
    architecture = architecture_from_json(ROOT / "config" / "models" / "digits-rn.json")
    preprocessing = {"size": 32, "mean": [0.5] * 3, "std": [0.25] * 3}
    thetas = random_thetas(folder, architecture, preprocessing, classes)
    rng = np.random.default_rng(0)
    manifests = []
    for name in ("first", "second"):
        split = PreparedSplit(
            rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8),
            np.arange(40) % 10,
            [str(i) for i in range(40)],
        )
        manifests.append(write_prepared(folder / "prepared" / name, name, {SPLIT: split}, classes))
    return thetas, manifests, ["0.000", "0.500", "1.000"]
