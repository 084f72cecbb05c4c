"""Features of a frozen image tower, computed once and kept.

They are kept under a hash of all that they depend on: the tower's weights and architecture, the
preprocessing, the dataset, the samples. So another model, or another preparation of the dataset,
never meets them, and the seeds and trials of one model share them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wiseft.classifier import ImageClassifier, classifier_tensors
from wiseft.data.manifest import Manifest
from wiseft.data.store import Split, batches, open_split
from wiseft.errors import WiseftError
from wiseft.finetune.precision import Precision
from wiseft.io import atomic_path, read_json, sha256_file, sha256_json, write_json
from wiseft.theta import ThetaHeader

BATCH_SIZE = 128
"""Images in a forward pass, whatever the training's batch size: all trainings share features."""

_FORMAT = 1
_INTERVAL = 30.0  # seconds between two lines of progress


@dataclass(frozen=True)
class FeatureSamples:
    """Training samples that are features (`Samples` of the training loop).

    Attributes:
        features: fp32 (n, width).
        labels: int64 (n,), on the CPU.
    """

    features: Tensor
    labels: Tensor

    def read(self, epoch: int, positions: NDArray[np.int64]) -> Tensor:
        """Return the features of samples, (n, width); every epoch shows the same."""
        return self.features[torch.from_numpy(positions).to(self.features.device)]


class FeatureStore:
    """The features of one image tower.

    Args:
        classifier: with the tower, on the device that computes.
        header: of its theta.
        folder: where features are kept; None: nowhere.
        precision: `fp32`, `bf16` or `fp16`: the arithmetic of the forward pass.
        log: called with a sentence.
    """

    def __init__(
        self,
        classifier: ImageClassifier,
        header: ThetaHeader,
        folder: Path | None,
        precision: str,
        log: Callable[[str], None],
    ):
        self._classifier = classifier
        self._device = classifier.head.weight.device
        self._folder = folder
        self._precision = Precision(precision, self._device)
        self._log = log
        self._transform = header.transform
        self._of_tower = {
            "format": _FORMAT,
            "architecture": header.architecture,
            "preprocessing": header.preprocessing,
            "tower": tensors_sha256(classifier_tensors(classifier), "image.") if folder else None,
            "augment": "none",
            "precision": precision,
            "device": self._device.type,
            "batch_size": BATCH_SIZE,
        }

    def features(
        self, manifest: Manifest, split: str, indices: NDArray[np.int64] | None = None
    ) -> Tensor:
        """Return what the head gets of these images: fp32 (n, width), on the CPU.

        Args:
            indices: of the samples; None: the whole split.

        Raises:
            WiseftError: if the split is not there or an image can't be read.
        """
        images = open_split(manifest.path, split, self._transform)
        chosen = np.arange(len(images)) if indices is None else indices
        if len(chosen) == len(images) and np.array_equal(chosen, np.arange(len(images))):
            indices = None
        if self._folder is None:
            return torch.from_numpy(np.concatenate(list(self._compute(images, chosen))))
        whole = self._describe(manifest, split, None)
        if indices is not None and (kept := self._load(whole)) is not None:
            return kept[torch.from_numpy(indices)]
        wanted = self._describe(manifest, split, indices)
        if (kept := self._load(wanted)) is None:
            self._save(wanted, images, chosen)
            kept = self._load(wanted)
        if kept is None:
            raise WiseftError(f"{self._file(wanted)} vanished; is its folder cleaned by another?")
        return kept

    def _describe(
        self, manifest: Manifest, split: str, indices: NDArray[np.int64] | None
    ) -> dict[str, Any]:
        samples = None if indices is None else hashlib.sha256(indices.tobytes()).hexdigest()
        of_split = {"dataset": manifest.identity([split]), "split": split, "samples": samples}
        return self._of_tower | of_split

    def _file(self, described: Mapping[str, Any]) -> Path:
        assert self._folder is not None
        return self._folder / f"{sha256_json(described)}.npy"

    def _load(self, described: Mapping[str, Any]) -> Tensor | None:
        """Return features that are kept and whole; None otherwise."""
        file = self._file(described)
        record = file.with_suffix(".json")
        if not file.is_file() or not record.is_file():
            return None
        try:
            if read_json(record)["sha256"] == sha256_file(file):
                # Copy-on-write: nothing is read before it is used, and nothing written back.
                kept: NDArray[np.float32] = np.load(file, mmap_mode="c", allow_pickle=False)
                return torch.from_numpy(kept)
        except (WiseftError, OSError, ValueError, KeyError, TypeError):
            pass
        self._log(f"the kept features {file} are damaged; computing them again")
        return None

    def _save(self, described: Mapping[str, Any], images: Split, chosen: NDArray[np.int64]) -> None:
        file = self._file(described)
        with atomic_path(file) as part:
            out, row = None, 0
            for batch in self._compute(images, chosen):
                if out is None:
                    shape = (len(chosen), batch.shape[1])
                    out = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=shape)
                out[row : row + len(batch)] = batch
                row += len(batch)
            if out is not None:
                out.flush()
        write_json(file.with_suffix(".json"), {"sha256": sha256_file(file), "of": dict(described)})

    @torch.no_grad()
    def _compute(self, images: Split, chosen: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
        self._log(f"features of {len(chosen)} images of {images.dataset}, split {images.name}")
        began = shown = time.monotonic()
        done = 0
        for batch, _ in batches(images, BATCH_SIZE, chosen):
            with self._precision.autocast(), self._precision.kernels(deterministic=True):
                features = self._classifier.features(batch.to(self._device))
            yield features.float().cpu().numpy()
            done += len(batch)
            if (now := time.monotonic()) - shown > _INTERVAL:
                shown, rate = now, done / (now - began)
                left = (len(chosen) - done) / rate
                self._log(f"{done}/{len(chosen)} images  {rate:.0f} images/s  {left:.0f} s left")


def tensors_sha256(tensors: Mapping[str, Tensor], prefix: str) -> str:
    """Return a hash of names, types, shapes and values of the tensors named `prefix...`."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if name.startswith(prefix):
            tensor = tensors[name].detach().cpu().contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
