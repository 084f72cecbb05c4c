"""Digits of typefaces whose families are held out from pre-training."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wiseft.errors import WiseftError
from wiseft.images.split import PreparedSplit
from wiseft.study.data.builders.digit_images import SIDE, Images, Inputs, grey_to_rgb
from wiseft.study.data.unpacking.unpack import member_names, read_members

OVERSAMPLING = 8
HEIGHTS = (17.0, 23.0)
"""Range of a digit's height in pixels: MNIST's box, 15 % up or down."""

SHIFT = 1.5
"""Largest distance in pixels of the digit's box from the centre, along each axis."""


@dataclass(frozen=True)
class Face:
    """One font file of a package; ``family`` is the key of the package."""

    family: str
    name: str
    data: bytes


def build(inputs: Inputs) -> dict[str, PreparedSplit]:
    """Draw every digit equally often in every family, black on white, by the option ``draw_seed``.

    The faces of a family take turns; height and position are drawn. Renderings of one digit in one
    face share their base id: they are one glyph, so an interval must not count them as independent.
    """
    families = [_faces(inputs, key) for key in inputs.packages]
    if not families:
        raise WiseftError(
            f"dataset {inputs.dataset} is built from packages of fonts: name their files."
        )
    each, rest = divmod(inputs.count("test"), 10 * len(families))
    if rest or not each:
        raise WiseftError(
            f"{inputs.dataset}: its number of images must be a multiple of 10 digits x "
            f"{len(families)} families."
        )
    rng = np.random.default_rng(inputs.option("draw_seed"))
    images, labels, ids, bases, groups = [], [], [], [], []
    for digit in range(10):
        for faces in families:
            for k in range(each):
                face = faces[k % len(faces)]
                shift = rng.uniform(-SHIFT, SHIFT, 2)
                images.append(draw_digit(face, digit, rng.uniform(*HEIGHTS), (shift[0], shift[1])))
                labels.append(digit)
                bases.append(f"{inputs.dataset}/{face.name}/{digit}")
                ids.append(f"{bases[-1]}/{k // len(faces):02d}")
                groups.append(face.family)
    return {
        "test": PreparedSplit(
            images=grey_to_rgb(np.stack(images)),
            labels=np.array(labels, np.int64),
            sample_ids=ids,
            base_ids=bases,
            groups={"family": groups},
        )
    }


def draw_digit(face: Face, digit: int, height: float, shift: tuple[float, float]) -> Images:
    """Draw one digit as uint8 (SIDE, SIDE), black on white, anti-aliased.

    Args:
        height: of the digit's bounding box in pixels.
        shift: of that box from the centre in pixels, right and down.
    """
    text = str(digit)
    em = SIDE * OVERSAMPLING
    box = ImageFont.truetype(io.BytesIO(face.data), em).getbbox(text)
    font = ImageFont.truetype(io.BytesIO(face.data), em * height * OVERSAMPLING / (box[3] - box[1]))
    box = font.getbbox(text)
    x = (em - box[0] - box[2]) / 2 + shift[0] * OVERSAMPLING
    y = (em - box[1] - box[3]) / 2 + shift[1] * OVERSAMPLING
    canvas = Image.new("L", (em, em), 255)
    ImageDraw.Draw(canvas).text((x, y), text, fill=0, font=font)
    return np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.uint8)


def _faces(inputs: Inputs, key: str) -> list[Face]:
    path = inputs.package(key)
    # A face that comes as .ttf and as .otf is one face.
    fonts = [name for name in member_names(path) if name.endswith((".otf", ".ttf"))]
    stems = {PurePosixPath(name).stem: name for name in fonts}
    if not stems:
        raise WiseftError(f"{path} holds no .ttf or .otf font.")
    files = read_members(path, stems.values())
    return [Face(key, stem, files[name]) for stem, name in sorted(stems.items())]
