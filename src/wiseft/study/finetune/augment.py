"""What is done to a training image: a random crop, a flip, colour jitter, inversion.

Every draw depends on (seed, epoch, sample) alone. Crops are taken of the whole image where it is a
file; the evaluation's centre crop, or a cache of it, is not what they start from.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torch import Tensor

from wiseft.errors import WiseftError
from wiseft.images.decode import whole_image
from wiseft.images.index import read_index
from wiseft.images.manifest import Manifest
from wiseft.images.store import open_split
from wiseft.study.config import FinetuneSettings
from wiseft.study.finetune.schedule import random_half, sample_generator
from wiseft.thetas.preprocessing import Transform

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Recipe:
    """A random crop of a share of the area, resized to a square; maybe flipped and jittered.

    Attributes:
        area: smallest and largest share of the image's area.
        filter: Pillow's resampling.
        flip: probability of a horizontal flip.
        jitter: brightness, contrast and saturation change by a factor of 1 - jitter to 1 + jitter.
    """

    area: tuple[float, float]
    filter: Image.Resampling
    flip: float = 0.0
    jitter: float = 0.0


RECIPES = {
    # The authors' training transform (paper D.2). Of a photograph of 3:2 nothing of this area fits
    # within `RATIO`: it is then shown by its middle, squeezed, always the same.
    "crop": Recipe((0.9, 1.0), Image.Resampling.BICUBIC),
    # The crop of the Inception networks, as in the paper's fine-tuning of ALIGN (C.7.1).
    "inception": Recipe((0.05, 1.0), Image.Resampling.BILINEAR),
    # timm's defaults for training, which the paper's study of stronger augmentation names.
    "strong": Recipe((0.08, 1.0), Image.Resampling.BILINEAR, flip=0.5, jitter=0.4),
}
RATIO = (3 / 4, 4 / 3)
"""Smallest and largest width over height of a crop."""
ATTEMPTS = 10
"""Crops that are drawn until one lies inside the image; then it is the largest central one."""


def augmented(
    image: Image.Image | NDArray[np.uint8],
    kind: Literal["crop", "inception", "strong"],
    size: int,
    *,
    seed: int,
    epoch: int,
    sample: int,
) -> NDArray[np.uint8]:
    """Return a training image as uint8 (size, size, 3).

    Args:
        image: RGB, uint8 (height, width, 3) if an array.
        kind: of augmentation.
        size: edge of the result in pixels.
        seed: of the run.
        epoch: counted from 0.
        sample: index of the image in the train split.
    """
    recipe, random = RECIPES[kind], sample_generator(seed, epoch, sample)
    whole = image if isinstance(image, Image.Image) else Image.fromarray(image)
    crop = whole.crop(draw_box(whole.width, whole.height, recipe.area, random))
    result = crop.resize((size, size), recipe.filter)
    if recipe.flip and random.random() < recipe.flip:
        result = result.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if recipe.jitter:
        result = _jittered(result, recipe.jitter, random)
    return np.asarray(result, dtype=np.uint8)


def draw_box(
    width: int, height: int, area: tuple[float, float], random: np.random.Generator
) -> Box:
    """Return left, top, right and bottom of a random crop, as RandomResizedCrop draws them."""
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    for _ in range(ATTEMPTS):
        pixels = width * height * random.uniform(*area)
        ratio = math.exp(random.uniform(low, high))
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            left = int(random.integers(width - w + 1))
            top = int(random.integers(height - h + 1))
            return left, top, left + w, top + h
    ratio = min(max(width / height, RATIO[0]), RATIO[1])
    w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _jittered(image: Image.Image, jitter: float, random: np.random.Generator) -> Image.Image:
    """Change brightness, contrast and saturation in a random order."""
    enhancers = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
    factors = random.uniform(1 - jitter, 1 + jitter, len(enhancers))
    for i in random.permutation(len(enhancers)):
        image = enhancers[i](image).enhance(float(factors[i]))
    return image


class TrainingImages:
    """The training samples of a split as an epoch shows them (`Samples` of the training loop).

    Args:
        manifest: of the dataset.
        split: name of the split.
        indices: the samples that are trained on, by their place in the split.
        settings: of the training; `augment` says what is done to them.
        transform: what an image goes through that is not cropped at random, and the size of all.
        seed: of the run.

    Raises:
        WiseftError: if the split or the folder of the images is not there, or (when read) an
            image can't be.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        indices: NDArray[np.int64],
        settings: FinetuneSettings,
        transform: Transform,
        seed: int,
    ):
        self._augment, self._size, self._seed = settings.augment, transform.size, seed
        self._indices = indices
        self._files: list[Path] | None = None
        self._border = manifest.border
        # What is cropped at random is read as it is stored.
        stored = settings.augment in RECIPES and manifest.layout == "arrays"
        if settings.augment in RECIPES and not stored:
            self._files = _files(manifest, split)
        self._split = open_split(manifest.path, split, None if stored else transform)
        self.labels = torch.from_numpy(self._split.labels[indices])

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(size, size, 3)."""
        return self._size, self._size, 3

    def read(self, epoch: int, positions: NDArray[np.int64]) -> Tensor:
        """Return the images of samples in an epoch, uint8 (n, 3, size, size), channels_last.

        Args:
            epoch: counted from 0.
            positions: of the samples among `indices`.
        """
        chosen = self._indices[positions]
        augment, draws = self._augment, {"seed": self._seed, "epoch": epoch}
        if augment in ("crop", "inception", "strong"):
            images = np.empty((len(chosen), self._size, self._size, 3), np.uint8)
            for row, sample in enumerate(chosen.tolist()):
                if self._files is not None:
                    image = whole_image(self._files[sample], self._border)
                else:
                    image = self._split.read([sample])[0]
                images[row] = augmented(image, augment, self._size, sample=sample, **draws)
        else:
            images = self._split.read(chosen)
        if augment in ("polarity", "flip"):
            half = _halves(len(self._split), **draws)[chosen]
            changed = images[half]
            images[half] = changed[:, :, ::-1] if augment == "flip" else 255 - changed
        # (n, S, S, 3) in memory is (n, 3, S, S) in channels_last: a view, no copy.
        return torch.from_numpy(images).permute(0, 3, 1, 2)


_halves = functools.lru_cache(maxsize=4)(random_half)


def _files(manifest: Manifest, split: str) -> list[Path]:
    if manifest.root is None or not manifest.root.is_dir():
        raise WiseftError(
            f"the images of {manifest.dataset} were indexed in {manifest.root}, which is not "
            "there, and random crops are taken of the files themselves. Mount that folder, index "
            "the images again, or set augment to none."
        )
    return [manifest.root / path for path in read_index(manifest, split)["path"].tolist()]
