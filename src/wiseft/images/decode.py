"""Decoding of image files to squares of uint8: the evaluation transform, up to normalisation.

An image is opened as torchvision's ImageFolder does, RGB first; a camera's note that it is to be
turned (EXIF) is not followed, as it is not there, nor by open_clip and timm. Two things differ: 16
bits a pixel become their higher eight, where Pillow makes them white; and what Pillow holds for an
attack by its size is read up to three times as large. Edges and offsets are those of
torchvision (`Resize`, `CenterCrop`) and, of `longest`, of open_clip (`ResizeKeepRatio`,
`CenterCropOrPad`), which timm and the authors' code call too; with `crop: floor` offsets are
those of transformers: tests compare the pixels. JPEGs are decoded whole: at half size, as libjpeg
can, 38 % of the values of a 1000 x 750 image would differ, by up to 12 of 255.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from wiseft.errors import WiseftError
from wiseft.images.node import near
from wiseft.images.seen import Seen
from wiseft.thetas.preprocessing import Transform

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Those whose files an index takes. Pillow tells a format by the content, and has one (EPS) that it
hands to another program. Several pictures in one (MPO, of cameras) open as JPEG."""
MOST_PIXELS = 178_956_970
"""Of an image that is resized, since a long thin one may grow; and of one that the reference
transform opens (Pillow's own limit)."""
Image.MAX_IMAGE_PIXELS = 2**28
"""Pillow opens up to twice as many: 2 GB in memory, 23,000 x 23,000."""
_LARGE, _ONE_AT_A_TIME = 2**26, threading.Lock()
"""Pixels from which on an image is decoded while no other such is."""
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


Note = Callable[..., None] | None
"""Takes the hash of an open file before it is decoded, and the status of the file that it is a copy
of, if it is one. None: nothing is hashed."""


@dataclass
class FolderImages:
    """An image folder seen as a uint8 array (n, size, size, 3), decoded when indexed.

    Attributes:
        seen: takes the hash of each file that is decoded; None: nothing is hashed.

    Raises (when indexed):
        WiseftError: a file is missing or is not an image; the message names it.
    """

    root: Path
    paths: Sequence[str]
    transform: Transform
    border: int = 0
    seen: Seen | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, size, size, 3)."""
        return len(self.paths), self.transform.size, self.transform.size, 3

    def __getitem__(self, indices: slice | NDArray[np.integer]) -> NDArray[np.uint8]:
        chosen = np.arange(len(self.paths))[indices]
        images = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for row, index in enumerate(chosen):
            note = partial(self.seen.note, index) if self.seen else None
            images[row] = decode(self.root / self.paths[index], self.transform, self.border, note)
        return images


class FittedImages:
    """Stored images seen at another size, uint8 (n, size, size, 3), resized when indexed: those of
    a whole split at once would not fit into memory.
    """

    def __init__(self, stored: NDArray[np.uint8], transform: Transform) -> None:
        self.stored, self.transform = stored, transform

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, size, size, 3)."""
        return len(self.stored), self.transform.size, self.transform.size, 3

    def __getitem__(self, indices: slice | NDArray[np.integer]) -> NDArray[np.uint8]:
        images = np.empty((len(self.stored[indices]), *self.shape[1:]), np.uint8)
        for row, image in enumerate(self.stored[indices]):
            images[row] = fit(Image.fromarray(image), self.transform)
        return images


def decode(
    path: Path, transform: Transform, border: int = 0, note: Note = None
) -> NDArray[np.uint8]:
    """Read one image as uint8 RGB (size, size, 3).

    Args:
        border: pixels that are cropped off every side before that (ObjectNet's red frame).

    Raises:
        WiseftError: the file is missing, is not a readable image, or is so long and thin that it
            would be resized to more pixels than an image may have.
    """
    image = whole_image(path, border, note)
    width, height = _resized(image, transform)
    if width * height > MOST_PIXELS:
        raise WiseftError(
            f"{path} has {image.width} x {image.height} pixels and would be resized to {width} x "
            f"{height}. Crop or remove it, then index the folder again."
        )
    return fit(image, transform)


def whole_image(path: Path, border: int = 0, note: Note = None) -> Image.Image:
    """Read an image file as RGB, without `border` pixels on every side.

    Raises:
        WiseftError: the file is missing or is not a readable image.
    """
    try:
        place, of = near(path)
        with place.open("rb") as stream:
            if note is not None:
                note(stream, of)
            file = Image.open(stream, formats=FORMATS)
            pixels = file.width * file.height
            if pixels > MOST_PIXELS and not border:
                file.draft("RGB", (file.width // 4, file.height // 4))  # of a JPEG, a sixteenth
            with _ONE_AT_A_TIME if pixels > _LARGE else contextlib.nullcontext():
                image = _rgb(file)
        width, height = image.size
        if border and min(width, height) <= 2 * border:
            raise ValueError(f"{width}x{height} pixels leave nothing inside a border of {border}")
        return image.crop((border, border, width - border, height - border)) if border else image
    except FileNotFoundError as error:
        raise WiseftError(
            f"{path} is in the index but not on disk. Index the folder again."
        ) from error
    except Exception as error:  # of a damaged or hostile file almost anything
        raise WiseftError(
            f"{path} is not a readable image ({error}). Replace or remove it, then index the "
            "folder again."
        ) from error


def undecodable(path: Path) -> str | None:
    """Return why a file can't be read as an image, in a sentence; None: it can."""
    try:
        whole_image(path)
    except WiseftError as error:
        return str(error)
    return None


def _rgb(file: ImageFile) -> Image.Image:
    """Return the pixels of an opened file as RGB."""
    if file.mode.startswith("I;16") or (file.mode == "I" and file.format == "PPM"):
        return Image.fromarray((np.asarray(file) >> 8).astype(np.uint8)).convert("RGB")
    if file.mode in ("I", "F"):
        raise ValueError("32 bits a pixel, of which nothing says what is white; save it with 8")
    if file.mode != "RGB":
        return file.convert("RGB")
    file.load()  # a copy, which `convert` makes, would be a second large image
    return file


def fit(image: Image.Image, transform: Transform) -> NDArray[np.uint8]:
    """Return an RGB image as uint8 (size, size, 3)."""
    size, resized = transform.size, _resized(image, transform)
    if resized != image.size:
        image = image.resize(resized, _FILTERS[transform.interpolation])
    left, top = (_offset(edge, size, transform.crop) for edge in image.size)
    # Where the image is smaller than the crop, Pillow puts black around it.
    return np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.uint8)


def _resized(image: Image.Image, transform: Transform) -> tuple[int, int]:
    """Return width and height before the centre is cropped."""
    width, height = image.size
    edge = transform.edge
    if transform.resize_mode == "squash":
        return edge, edge
    if transform.resize_mode == "longest":
        ratio = max(width, height) / edge
        return max(1, round(width / ratio)), max(1, round(height / ratio))
    short = min(width, height)
    return int(edge * width / short), int(edge * height / short)


def _offset(edge: int, size: int, crop: str) -> int:
    """Return where the centre of `size` pixels begins, below zero where there are fewer."""
    if edge < size:
        return -((size - edge) // 2)
    return (edge - size) // 2 if crop == "floor" else round((edge - size) / 2.0)
