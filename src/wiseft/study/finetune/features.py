"""Features of a frozen image tower, computed once and kept.

They are kept under a hash of all that they depend on: the tower's weights and architecture, the
preprocessing, the dataset, the bytes of its image files, the samples. So another model, or another
preparation of the dataset, never meets them, and the seeds and trials of one model share them. Of
jobs that want the same at a time one computes and the others wait; killed, it goes on where it was.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wiseft.base.io import sha256_json
from wiseft.base.locks import alone
from wiseft.base.progress import Meter
from wiseft.errors import WiseftError
from wiseft.images.manifest import Manifest
from wiseft.images.store import Split, batches, open_split
from wiseft.models.batch_size import BatchSize
from wiseft.models.classifier import ImageClassifier, classifier_tensors
from wiseft.models.precision import Arithmetic
from wiseft.models.towers import IMAGE
from wiseft.thetas.partial_tensors import partial_tensors
from wiseft.thetas.tensor_file import read_tensors, tensors_sha256
from wiseft.thetas.theta import ThetaHeader

log = logging.getLogger(__name__)

BATCH_SIZE = 128
"""Images in a forward pass, whatever the training's batch size: all trainings share features."""

_NAME = "features"


@dataclass(frozen=True)
class FeatureSamples:
    """Training samples that are features (`Samples` of the training loop).

    Attributes:
        features: fp32 (n, width).
        labels: int64 (n,), on the CPU.
    """

    features: Tensor
    labels: Tensor
    image_shape: None = None

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
    """

    def __init__(
        self, classifier: ImageClassifier, header: ThetaHeader, folder: Path | None, precision: str
    ):
        self._classifier = classifier
        self._device = classifier.head.weight.device
        self._folder = folder
        self._precision = Arithmetic(precision, self._device)
        self._transform = header.transform
        tensors = classifier_tensors(classifier)
        tower = {name: each for name, each in tensors.items() if name.startswith(IMAGE)}
        self._of_tower: dict[str, Any] = {
            "architecture": header.architecture,
            "preprocessing": header.preprocessing,
            "tower": tensors_sha256(tower) if folder else None,
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
        everyone = np.arange(len(images))
        chosen = everyone if indices is None else indices
        if self._folder is None:
            return torch.cat(list(self._compute(images, chosen)))
        of_split = {"dataset": manifest.identity([split]), "split": split, "samples": None}
        wanted = self._of_tower | of_split
        if images.seen and (content := images.seen.look()):
            # Of a user's own image files, which may change under the same names and sizes.
            wanted["images"] = content
        if not np.array_equal(chosen, everyone):
            if (kept := self._load(wanted)) is not None:
                return kept[torch.from_numpy(chosen)]
            wanted["samples"] = hashlib.sha256(chosen.tobytes()).hexdigest()
        if (kept := self._load(wanted)) is None:
            with alone(self._file(wanted)):
                if (kept := self._load(wanted)) is None:  # nobody made them while we waited
                    self._save(wanted, images, chosen)
                    kept = self._load(wanted)
        if kept is None:
            raise WiseftError(f"{self._file(wanted)} vanished; is its folder cleaned by another?")
        return kept

    def _file(self, described: Mapping[str, Any]) -> Path:
        assert self._folder is not None
        return self._folder / f"{sha256_json(described)}.safetensors"

    def _load(self, described: Mapping[str, Any]) -> Tensor | None:
        """Return features that are kept and whole, mapped from their file; None otherwise."""
        file = self._file(described)
        if not file.is_file():
            return None
        try:
            return read_tensors(file, "features")[0][_NAME]
        except WiseftError as error:
            log.info(f"{error}; computing the features again")
            return None

    def _save(self, described: Mapping[str, Any], images: Split, chosen: NDArray[np.int64]) -> None:
        shape = (len(chosen), self._classifier.head.in_features)
        example = {_NAME: torch.empty(shape, dtype=torch.float32, device="meta")}
        header = {"kind": "features", "of": dict(described)}
        path = self._file(described)
        with partial_tensors(path.with_suffix(".partial"), example, header) as file:
            row = file.rows  # a whole number of batches, so that those to come are the same
            for batch in self._compute(images, chosen[row:]):
                file.write(_NAME, batch, row)
                row += len(batch)
                file.save(row)
            file.become(path)

    @torch.no_grad()
    def _compute(self, images: Split, chosen: NDArray[np.int64]) -> Iterator[Tensor]:
        log.info(f"features of {len(chosen)} images of {images.dataset}, split {images.name}")
        size = BatchSize(BATCH_SIZE)
        with Meter(desc="features", total=len(chosen), unit=" images") as meter:
            for batch, _ in batches(images, BATCH_SIZE, chosen, self._device):
                with self._precision.autocast(), self._precision.kernels(deterministic=True):
                    parts = size.each(self._of_part, batch)
                yield torch.cat(parts).float().cpu()
                meter.update(len(batch))

    def _of_part(self, images: Tensor) -> Tensor:
        return self._classifier.features(images.to(self._device))
