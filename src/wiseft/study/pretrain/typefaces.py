"""Digits of printed typefaces: TrueType files of packages, and the Hershey stroke fonts."""

from __future__ import annotations

import base64
import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from wiseft.errors import WiseftError
from wiseft.study.data.unpacking.unpack import member_names, read_member, read_members

# Matplotlib ships more files; the others hold no digits or only mathematical symbols.
_MATPLOTLIB = {
    "DejaVuSans": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSansMono": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSerif": ("", "-Bold", "-Italic", "-BoldItalic"),
    "STIXGeneral": ("", "Bol", "Italic", "BolIta"),
    "cm": ("b10", "r10", "ss10", "ti10", "tt10"),
}
_NO_DIGITS = frozenset(
    ["astrology", "japanese", "markers", "mathlow", "mathupp", "meteorology", "music", "symbolic"]
)
_HERSHEY_WIDTHS = (0.04, 0.08, 0.14)  # of the glyph's height
_HERSHEY_MODULE = "HersheyFonts/HersheyFonts.py"
_HERSHEY_BLOB = re.compile(r"__compressed_fonts_base64 = B'''(.*?)'''", re.DOTALL)


@dataclass(frozen=True)
class Glyph:
    """One digit of one face: mask uint8 (size, size), 255 is ink."""

    digit: int
    family: str
    mask: NDArray[np.uint8]


def typeface_glyphs(packages: list[Path], size: int) -> Iterator[Glyph]:
    """Render the ten digits of every face: matplotlib's own, then those of the wheels.

    Raises:
        WiseftError: if a wheel is missing, is not a whole archive, or holds no typeface.
    """
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for family, faces in _MATPLOTLIB.items():
        for face in faces:
            data = (folder / f"{family}{face}.ttf").read_bytes()
            yield from _truetype_glyphs(f"matplotlib/{family}", data, size)
    for package in packages:
        yield from _wheel_glyphs(package, size)


def _wheel_glyphs(package: Path, size: int) -> Iterator[Glyph]:
    names = member_names(package)
    if _HERSHEY_MODULE in names:
        yield from _hershey_glyphs(read_member(package, _HERSHEY_MODULE).decode(), size)
        return
    family = package.name.split("-")[0]
    truetype = [name for name in names if name.endswith(".ttf") and "Variable" not in name]
    faces = truetype or [name for name in names if name.endswith(".otf")]
    if not faces:
        raise WiseftError(f"{package} holds no .ttf or .otf file")
    files = read_members(package, faces)
    for name in faces:
        yield from _truetype_glyphs(family, files[name], size)


def _truetype_glyphs(family: str, data: bytes, size: int) -> Iterator[Glyph]:
    font = ImageFont.truetype(io.BytesIO(data), 3 * size)
    for digit in range(10):
        canvas = Image.new("L", (8 * size, 8 * size))
        ImageDraw.Draw(canvas).text((2 * size, 2 * size), str(digit), font=font, fill=255)
        yield Glyph(digit, family, _fitted(canvas, size))


def _hershey_glyphs(source: str, size: int) -> Iterator[Glyph]:
    """Draw the stroke fonts that the package holds as a base64 archive; it is not imported.

    Fonts with the same digits are one family, named after the first of them: drawn once each, no
    digits weigh more than others, and none are trained on that are held out under another name.
    """
    match = _HERSHEY_BLOB.search(source)
    if match is None:
        raise WiseftError("the Hershey-Fonts package holds no font archive where expected")
    archive = io.BytesIO(base64.b64decode(match[1]))
    faces: dict[tuple[str, ...], str] = {}
    with tarfile.open(fileobj=archive, mode="r:bz2") as fonts:
        for member in sorted(fonts.getmembers(), key=lambda m: m.name):
            name = PurePosixPath(member.name).name
            file = fonts.extractfile(member)
            if file is None or name in _NO_DIGITS:
                continue
            # A line a character, from the space on, behind a header of the font: `#{...}`.
            lines = file.read().decode("latin1").splitlines()
            characters = [line for line in lines if not line.startswith("#{")]
            # Most fonts of an alphabet or a nation share their digits.
            faces.setdefault(tuple(line[8:] for line in characters[ord("0") - 32 :][:10]), name)
    for digits, name in faces.items():
        for width in _HERSHEY_WIDTHS:
            for digit, line in enumerate(digits):
                yield Glyph(digit, f"hershey/{name}", _hershey_mask(line, width, size))


def _hershey_mask(line: str, width: float, size: int) -> NDArray[np.uint8]:
    """Draw a character: two letters for its left and right edge, then two for each point."""
    pairs = line[2:]
    strokes: list[list[tuple[int, int]]] = [[]]
    for x, y in zip(pairs[::2], pairs[1::2], strict=False):
        if (x, y) == (" ", "R"):  # lift the pen
            strokes.append([])
        else:
            strokes[-1].append((ord(x) - ord("R"), ord(y) - ord("R")))
    points = np.array([point for stroke in strokes for point in stroke], dtype=np.float64)
    scale = 4 * size / max(float(np.ptp(points, axis=0).max()), 1.0)
    canvas = Image.new("L", (8 * size, 8 * size))
    draw = ImageDraw.Draw(canvas)
    centre = (points.max(axis=0) + points.min(axis=0)) / 2
    radius = 4 * size * width / 2
    for stroke in filter(None, strokes):
        path = [tuple((np.array(p) - centre) * scale + 4 * size) for p in stroke]
        draw.line(path, fill=255, width=max(1, round(2 * radius)), joint="curve")
        for x, y in path:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return _fitted(canvas, size)


def _fitted(canvas: Image.Image, size: int) -> NDArray[np.uint8]:
    """Crop the ink and put it into the middle of a mask, 36/48 of its height or width."""
    ink = canvas.crop(canvas.getbbox())
    scale = 0.72 * size / max(ink.size)
    width, height = (max(1, round(side * scale)) for side in ink.size)
    small = ink.resize((width, height), Image.Resampling.BOX)
    mask = Image.new("L", (size, size))
    mask.paste(small, ((size - width) // 2, (size - height) // 2))
    return np.asarray(mask, dtype=np.uint8)
