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

    def __init__(self, root: Path, paths: Sequence[str], size: int, border: int = 0) -> None:
        self.root, self.paths, self.size, self.border = root, list(paths), size, border

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
            images[row] = decode(self.root / self.paths[index], self.size, self.border)
        return images


def decode(path: Path, size: int, border: int = 0) -> NDArray[np.uint8]:
    """Read one image as uint8 RGB (size, size, 3): shortest side to ``size`` (bicubic), then the
    centre crop.

    This is CLIP's evaluation transform (paper, appendix on preprocessing) up to normalisation.

    Args:
        border: pixels that are cropped off every side before that (ObjectNet's red frame).

    Raises:
        WiseftError: the file is missing or is not a readable image.
    """
    return _fit(whole_image(path, border), size)


def whole_image(path: Path, border: int = 0) -> Image.Image:
    """Read an image file as RGB, without `border` pixels on every side.

    Raises:
        WiseftError: the file is missing or is not a readable image.
    """
    try:
        with Image.open(path) as file:
            return _without_border(file.convert("RGB"), border)
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


def _without_border(image: Image.Image, border: int) -> Image.Image:
    if border == 0:
        return image
    width, height = image.size
    if min(width, height) <= 2 * border:
        raise ValueError(f"{width}x{height} pixels leave nothing inside a border of {border}")
    return image.crop((border, border, width - border, height - border))


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
