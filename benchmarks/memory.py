"""Peak memory of an evaluation of 11 alphas as the dataset grows, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Options, write_record

SIZES = (1_000, 16_000, 64_000)
CLASSES = ["zero", "one", "two", "three"]
ALPHAS = [f"{step / 10:.3f}" for step in range(11)]
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
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                megabytes[str(n)] = round(pool.apply(_peak, (Path(name), n)) / 1e6, 1)
    # The first size is less than a chunk of pixels, which is held at once whatever the size.
    first, last = sizes[1], sizes[-1]
    growth = 1e6 * (megabytes[str(last)] - megabytes[str(first)]) / (last - first)
    write_record(
        "memory",
        options,
        settings={"alphas": len(ALPHAS), "combinations": 2, "image_size": 32, "batch_size": 500},
        measured={"peak_megabytes": megabytes, "bytes_an_image": round(growth)},
    )


def _peak(folder: Path, n: int) -> int:
    """Return the peak resident memory in bytes of an evaluation of n images."""
    from wiseft.evaluate.request import Request
    from wiseft.evaluate.suite import evaluate_suite
    from wiseft.evaluate.views import SuiteEvaluation
    from wiseft.models.runtime import start_torch

    start_torch(1, "cpu")  # as the command does, which also sets how memory is kept
    view = {"name": "all", "metric": "accuracy"}
    evaluate = {"noise": {"splits": ["test"], "views": [view]}}
    about = {"model": "tiny", "reference": "noise", "method": "none", "variant": "", "run": "one"}
    thetas = [_theta(folder / f"theta_{seed}.safetensors", seed) for seed in (0, 1)]
    request = Request(
        theta_0=thetas[0],
        theta_1=thetas[1],
        alphas=ALPHAS,
        manifests=[_dataset(folder / str(n) / "noise", n)],
        evaluate=SuiteEvaluation.model_validate(evaluate),
        output_dir=folder / str(n) / "evaluate",
        metadata={**about, "seed": 0},
    )
    evaluate_suite(request)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _theta(path: Path, seed: int) -> Path:
    from wiseft.models.classifier import build_classifier, classifier_tensors
    from wiseft.thetas.theta import make_header, save_theta

    pixels: dict[str, Any] = {"size": 32, "mean": [0.5] * 3, "std": [0.25] * 3}
    header = make_header(
        "zero-shot",
        "zeroshot",
        architecture=ARCHITECTURE,
        preprocessing=pixels,
        class_names=CLASSES,
        parents={},
    )
    save_theta(path, classifier_tensors(build_classifier(header, seed=seed)), header)
    return path


def _dataset(folder: Path, n: int) -> Path:
    """Write n images piece by piece, so that writing them takes less than evaluating them."""
    from wiseft.base.io import sha256_file
    from wiseft.images.index import write_index
    from wiseft.images.manifest import write_manifest

    (folder / "test").mkdir(parents=True)
    images = folder / "test" / "images.npy"
    rng = np.random.default_rng(0)
    with images.open("wb") as file:
        shape = {"descr": "|u1", "fortran_order": False, "shape": (n, 32, 32, 3)}
        np.lib.format.write_array_header_1_0(file, shape)
        for start in range(0, n, 1_000):
            file.write(rng.integers(0, 256, (min(1_000, n - start), 32, 32, 3), np.uint8).tobytes())
    ids = [f"noise/test/{number:06d}" for number in range(n)]
    labels = np.arange(n) % len(CLASSES)
    columns = {"sample_id": ids, "base_id": ids, "label": labels.astype(np.int64)}
    files = write_index(folder, "test", columns) | {"images": "test/images.npy"}
    files["sha256"]["images"] = sha256_file(images)
    return write_manifest(
        folder / "manifest.json",
        dataset="noise",
        layout="arrays",
        class_names=CLASSES,
        prompt_names=None,
        image_size=32,
        splits={"test": files},
        sources=[],
    )
