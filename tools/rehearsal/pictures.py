"""Made-up pictures that tiny models can learn, different in every dataset, split and file.

A picture has 3 x 4 cells. How bright they are follows from the letters of its class's name. So a
text tower that knows letters can tell pictures that it never saw, and one class looks alike
wherever it occurs. Dataset and split give a tint, a contrast, and how far each picture strays.
"""

from __future__ import annotations

import io
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = (64, 48)
"""Width and height of a picture in pixels."""
GRID = (3, 4)
CELLS = 12
RED = (255, 0, 0)
"""The border of ObjectNet's pictures."""
STRAY = (0.05, 0.25)
"""Standard deviation of a cell from one picture of a class to the next, where those of classes
differ by 1: that of the easiest dataset, and of the hardest."""

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]


@cache
def cells(name: str) -> Floats:
    """Return how bright the cells of a class are, (12,) of mean square 1."""
    mean = letters(name)
    return mean / np.sqrt(np.mean(mean**2))


def letters(text: str) -> Floats:
    """Return the mean (12,) of a fixed random vector for each letter or digit of a text."""
    vectors = [_letter(letter) for letter in text.lower() if letter.isalnum()]
    return np.asarray(np.mean(vectors or [_letter("a")], axis=0))


@cache
def _letter(letter: str) -> Floats:
    return np.random.default_rng(ord(letter)).standard_normal(CELLS)


@cache
def _style(look: str) -> tuple[Floats, float, float]:
    """Return the tint (3,), the contrast and the stray of the pictures of `<dataset>/<split>`."""
    dataset = np.random.default_rng(zlib.crc32(look.partition("/")[0].encode()))
    split = np.random.default_rng(zlib.crc32(look.encode()))
    tint = dataset.uniform(-20, 20, 3) + split.uniform(-5, 5, 3)
    return tint, dataset.uniform(25, 45), dataset.uniform(*STRAY) + split.uniform(0, 0.05)


def pixels(
    name: str, look: str, file: str, size: tuple[int, int] = SIZE, times: float = 1.0
) -> Pixels:
    """Return a picture (height, width, 3).

    Args:
        name: of the class.
        look: `<dataset>/<split>`.
        file: tells a picture from others of its class and look.
        size: width and height.
        times: how much farther than usual pictures of a class stray.
    """
    tint, contrast, stray = _style(look)
    noise = np.random.default_rng(zlib.crc32(f"{look} {name} {file}".encode()))
    bright = cells(name) + times * stray * noise.standard_normal(CELLS)
    colours = 128 + contrast * bright.reshape(*GRID, 1) + tint
    small = Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))
    return np.asarray(small.resize(size, Image.Resampling.BILINEAR))


def picture(
    path: Path, of: object, look: str = "", size: tuple[int, int] = SIZE, border: int = 0
) -> None:
    """Write a picture of a class in the format of the file's name, red at its border."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels(str(of), look, path.name, size).copy()
    if border:
        inside = image[border:-border, border:-border].copy()
        image[:] = RED
        image[border:-border, border:-border] = inside
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, Image.registered_extensions()[path.suffix.lower()])
    path.write_bytes(stream.getvalue())


def word(number: int) -> str:
    """Return a made-up word of seven letters, another one for each number."""
    letters = np.random.default_rng(number).integers(0, 26, 7)
    return "".join(chr(ord("a") + letter) for letter in letters)
