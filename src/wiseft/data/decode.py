"""Decoding of image files to squares of uint8."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wiseft.errors import WiseftError


class FolderImages:
    """An image folder seen as a uint8 array (n, size, size, 3), decoded when indexed.

    Raises (when indexed):
        WiseftError: a file is missing or is not an image; the message names it.
    """

    def __init__(self, root: Path, paths: Sequence[str], size: int) -> None:
        self.root, self.paths, self.size = root, list(paths), size

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, size, size, 3)."""
        return len(self.paths), self.size, self.size, 3

    def __getitem__(self, indices: slice | NDArray[np.integer]) -> NDArray[np.uint8]:
        chosen = np.arange(len(self.paths))[indices]
        images = np.empty((len(chosen), self.size, self.size, 3), np.uint8)
        for row, index in enumerate(chosen):
            images[row] = decode(self.root / self.paths[index], self.size)
        return images


def decode(path: Path, size: int) -> NDArray[np.uint8]:
    """Read one image as uint8 RGB (size, size, 3): shortest side to ``size`` (bicubic), then the
    centre crop.

    This is CLIP's evaluation transform (paper, appendix on preprocessing) up to normalisation.

    Raises:
        WiseftError: the file is missing or is not a readable image.
    """
    try:
        with Image.open(path) as image:
            return _fit(image.convert("RGB"), size)
    except FileNotFoundError as error:
        raise WiseftError(
            f"{path} is in the index but not on disk. Index the folder again."
        ) from error
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise WiseftError(
            f"{path} is not a readable image ({error}). Replace or remove it, then index the "
            "folder again."
        ) from error


def resize_images(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize uint8 (n, H, H, 3) to (n, size, size, 3), bicubic."""
    return np.stack([_fit(Image.fromarray(image), size) for image in images])


def _fit(image: Image.Image, size: int) -> NDArray[np.uint8]:
    width, height = image.size
    if min(width, height) != size:
        scale = size / min(width, height)
        image = image.resize(
            (max(size, round(width * scale)), max(size, round(height * scale))),
            Image.Resampling.BICUBIC,
        )
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.uint8)
