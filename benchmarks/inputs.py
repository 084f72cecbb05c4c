"""Inputs of the benchmarks: image folders and random thetas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from wiseft.images.index_folder import index_folder
from wiseft.models.classifier import build_classifier, classifier_tensors
from wiseft.thetas.theta import make_header, save_theta

CLIP_PREPROCESSING = {
    "size": 224,
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
}


def write_image_folder(
    folder: Path,
    name: str,
    images: list[NDArray[np.uint8]],
    labels: list[int],
    class_names: list[str],
    suffix: str,
) -> Path:
    """Write `<folder>/<name>/test/<class>/<image>` and return the manifest beside it.

    The class folders are numbered, so that labels follow their sorted names.
    """
    root = folder / name
    for label in range(len(class_names)):
        (root / "test" / f"{label:04d}").mkdir(parents=True, exist_ok=True)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = root / "test" / f"{label:04d}" / f"{index:05d}{suffix}"
        Image.fromarray(image).save(path, quality=90)  # PNG has none, and does not mind
    manifest = folder / "manifests" / name / "manifest.json"
    return index_folder(root, manifest, name, ["test"], [[c] for c in class_names])


def random_thetas(
    folder: Path, architecture: dict[str, Any], preprocessing: dict[str, Any], classes: list[str]
) -> dict[str, Path]:
    """Write a random theta_0, one near it (`theta_1`), and one with its image tower (`linear`).

    The weights are those of an untrained model: time does not depend on their values.
    """
    shared: dict[str, Any] = {
        "architecture": architecture,
        "preprocessing": preprocessing,
        "class_names": classes,
        "parents": {},
    }
    start_header = make_header("zero-shot", "zeroshot", **shared)
    end_header = make_header("fine-tuned", "finetune", **shared)
    model = build_classifier(start_header, seed=0)
    start = {name: t.detach().contiguous() for name, t in classifier_tensors(model).items()}
    generator = torch.Generator().manual_seed(1)
    end = {
        # Multiples keep running variances positive.
        name: tensor * (1 + 0.2 * torch.rand(tensor.shape, generator=generator))
        for name, tensor in start.items()
    }
    head = {name: tensor for name, tensor in end.items() if name.startswith("head.")}
    paths = {name: folder / f"{name}.safetensors" for name in ("theta_0", "theta_1", "linear")}
    save_theta(paths["theta_0"], start, start_header)
    save_theta(paths["theta_1"], end, end_header)
    save_theta(paths["linear"], start | head, end_header)
    return paths


def photo_crops(n: int, height: int, width: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Return n crops, uint8 (height, width, 3), of scikit-learn's two sample photographs."""
    from sklearn.datasets import load_sample_images

    photos = load_sample_images().images
    rng = np.random.default_rng(seed)
    crops = []
    for index in range(n):
        photo = photos[index % len(photos)]
        top = int(rng.integers(0, photo.shape[0] - height + 1))
        left = int(rng.integers(0, photo.shape[1] - width + 1))
        crops.append(np.ascontiguousarray(photo[top : top + height, left : left + width]))
    return crops
