"""The accuracy of thetas on held-out samples, by which a recipe may choose among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from wiseft.base.metrics import Truth, pairs_of
from wiseft.errors import WiseftError
from wiseft.images.manifest import Manifest
from wiseft.images.store import batches, open_split
from wiseft.models.batch_size import BatchSize
from wiseft.models.classifier import build_classifier, classifier_tensors
from wiseft.models.towers import IMAGE, for_weights
from wiseft.thetas.tensor_file import examples
from wiseft.thetas.theta import ThetaHeader

HELD_OUT = "held-out"
"""The split that ingredients are chosen by: training samples of the reference that no training
saw. Never a test split."""


class HeldOutAccuracy:
    """The accuracy of thetas of one architecture on the held-out split of their reference.

    One model is resident. Images are decoded once if they fit; features are computed once for
    thetas that follow one another with the same image tower.

    Args:
        manifest: of the reference.
        header: of one of the thetas.
        like: the tensors of one, or only their shapes (meta tensors).
        keep: bytes of images that may be held.

    Raises:
        WiseftError: if the reference has other classes or no held-out split, or the header is of a
            far larger model than the tensors.
    """

    def __init__(
        self,
        manifest: Manifest,
        header: ThetaHeader,
        like: Mapping[str, Tensor],
        device: torch.device | str = "cpu",
        batch_size: int = 256,
        keep: int = 2 * 2**30,
    ):
        if manifest.class_names != header.class_names:
            raise WiseftError(
                f"dataset {manifest.dataset} has {len(manifest.class_names)} classes other than "
                f"the {len(header.class_names)} of the thetas; choose by their reference"
            )
        self._split = split = open_split(manifest.path, HELD_OUT, header.transform)
        base_ids = np.asarray(split.base_ids, dtype=str)
        self._truth = Truth(split.labels, base_ids, pairs_of(split.other_labels))
        self._device = torch.device(device)
        with for_weights(header.architecture, examples(like)):
            model = build_classifier(header, seed=0)
        self._model = model.to(self._device)
        self._live = classifier_tensors(self._model)
        self._size = BatchSize(batch_size)
        fits = len(split) * 3 * header.transform.size**2 <= keep
        self._images = list(self._batches()) if fits else None
        self._features: list[Tensor] = []
        self.samples = len(split)

    @torch.no_grad()
    def __call__(self, tensors: Mapping[str, Tensor]) -> float:
        """Return the share of samples that a theta predicts right."""
        new_tower = False
        for name, live in self._live.items():
            tensor = tensors[name].to(self._device, live.dtype)
            if name.startswith(IMAGE) and not torch.equal(live, tensor):
                new_tower = True
            live.copy_(tensor)
        if new_tower or not self._features:
            self._features = [
                features
                for images in self._images or self._batches()
                for features in self._size.each(
                    lambda part: self._model.features(part.to(self._device)), images
                )
            ]
        logits = [self._model.logits(features) for features in self._features]
        prediction = torch.cat([each.argmax(dim=-1) for each in logits]).cpu().numpy()
        return float(self._truth.right(prediction).mean())

    def _batches(self) -> Iterable[Tensor]:
        return (images for images, _ in batches(self._split, self._size.size))
