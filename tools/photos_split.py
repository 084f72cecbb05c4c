"""The two sides of CIFAR-10 that the experiment `photos` is about, computed again.

    python -m tools.photos_split     # about 4 CPU minutes; a killed run goes on

For every class, the first principal component of the features of EfficientNet-Lite1, another
network than the one that is fine-tuned: an image is above or below the median of its class along
it. Component and median are fitted on training images alone, and applied unchanged to held-out and
test images. Written to `config/datasets/cifar10-sides.json`, whose hash stands in the
entries of the datasets. CIFAR-10 must be prepared (`wiseft data fetch`, `wiseft data prepare`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wiseft.base.io import atomic_path, sha256_file, write_text
from wiseft.images.manifest import open_manifest
from wiseft.images.store import batches, open_split
from wiseft.models import towers
from wiseft.models.classifier import ImageClassifier
from wiseft.models.runtime import start_torch
from wiseft.study.data.builders.sides import side_record
from wiseft.thetas.preprocessing import parse_preprocessing
from wiseft.thetas.theta import load_weights

MODEL = "efficientnet-lite1"
MANIFEST = Path("datasets/cifar10/manifest.json")
WORK = Path(".wiseft/photos")
WEIGHTS = WORK / MODEL / "weights.safetensors"
OUTPUT = Path("config/datasets/cifar10-sides.json")
FITTED, SPLITS = "train", ("train", "held-out", "test")
CHUNK, BATCH = 1000, 32

Floats = NDArray[np.float64]


class Side(NamedTuple):
    """A direction in the space of features, unit length, and the median along it."""

    component: Floats
    median: float


def fit(features: Floats) -> Side:
    """Return the first principal component of features (n, width), and their median along it.

    Its sign, which is arbitrary, is that with which its largest absolute loading is positive.
    """
    _, vectors = np.linalg.eigh(np.cov(features, rowvar=False))
    component = vectors[:, -1]
    component *= np.sign(component[np.abs(component).argmax()])
    return Side(component, float(np.median(features @ component)))


def is_above(features: Floats, labels: NDArray[np.int64], sides: list[Side]) -> NDArray[np.bool_]:
    """Return which images are above the median of their class, bool (n,).

    Args:
        features: (n, width).
        labels: (n,).
        sides: of every class.
    """
    along = np.stack([features @ side.component > side.median for side in sides])
    return along[labels, np.arange(len(labels))]


def features_of(split: str, pool: ProcessPoolExecutor) -> Floats:
    """Return the features (n, width) of all images of a split."""
    starts = range(0, open_manifest(MANIFEST).splits[split].n, CHUNK)
    return np.concatenate(list(pool.map(chunk_of, [split] * len(starts), starts))).astype(float)


def chunk_of(split: str, start: int) -> NDArray[np.float32]:
    """Return the features of the images from one on, which are kept: a killed run goes on."""
    file = WORK / f"{split}-{start}.npy"
    if not file.exists():
        start_torch(1, "cpu")
        classifier, transform = open_classifier()
        images = open_split(MANIFEST, split, transform)
        chosen = range(start, min(start + CHUNK, len(images)))
        # Twice as fast as fp32; which side an image is on is fixed by the file, not by rounding.
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            parts = [classifier.features(batch) for batch, _ in batches(images, BATCH, chosen)]
        with atomic_path(file) as part, part.open("wb") as stream:
            np.save(stream, torch.cat(parts).float().numpy())
    found: NDArray[np.float32] = np.load(file)
    return found


def fetch_network() -> None:
    """Bring the network, if it is not there."""
    if not WEIGHTS.exists():
        command = [sys.executable, "-m", "wiseft.cli", "weights", MODEL, "--output", str(WEIGHTS)]
        WEIGHTS.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(command, check=True)


def open_classifier() -> tuple[ImageClassifier, Any]:
    """Return the network and its transform."""
    tensors, header = load_weights(WEIGHTS)
    model = towers.load(header["architecture"], tensors, str(WEIGHTS))
    width = towers.embed_dim(header["architecture"])
    pixels = header["preprocessing"]
    classifier = ImageClassifier(model.image, nn.Linear(width, 1), pixels, model.normalise)
    classifier.to(memory_format=torch.channels_last)
    return classifier.eval(), parse_preprocessing(pixels).transform


def main() -> None:
    """Compute the sides, write them, and print what the entries need."""
    fetch_network()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        features = {split: features_of(split, pool) for split in SPLITS}
    stored = {split: open_split(MANIFEST, split) for split in SPLITS}
    classes = range(int(stored[FITTED].labels.max()) + 1)
    sides = [fit(features[FITTED][stored[FITTED].labels == label]) for label in classes]
    records = {}
    for split in SPLITS:
        labels = stored[split].labels
        chosen = is_above(features[split], labels, sides)
        records[split] = side_record(stored[split].sample_ids, chosen)
        shares = [f"{chosen[labels == label].mean():.3f}" for label in classes]
        print(f"{split}: {chosen.sum()} above, {(~chosen).sum()} below; {' '.join(shares)}")
    write_text(OUTPUT, json.dumps(records, indent=0) + "\n")
    print(f"{OUTPUT}: sha256 {sha256_file(OUTPUT)}")


if __name__ == "__main__":
    main()
