"""The glyph file: every mask that pre-training draws from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment

from wiseft.base.stages import VERSION
from wiseft.errors import StaleArtifact, WiseftError
from wiseft.study.pretrain.pens import draw_pen_glyph
from wiseft.study.pretrain.typefaces import Glyph, typeface_glyphs
from wiseft.thetas.tensor_file import read_tensors, tensor_writer

PEN_FAMILY = "pen"
_PEN_SEED = 20_241  # of the drawing; the pre-training seed decides what is drawn from the file


@dataclass(frozen=True)
class Glyphs:
    """Masks uint8 (n, size, size), digits uint8 (n,), families: index into `names` (n,)."""

    masks: NDArray[np.uint8]
    digits: NDArray[np.uint8]
    families: NDArray[np.int32]
    names: tuple[str, ...]

    def select(self, names: Sequence[str], *, invert: bool = False) -> NDArray[np.intp]:
        """Return the indices of the glyphs of these families (or of all others).

        Raises:
            WiseftError: if a family is unknown.
        """
        unknown = sorted(set(names) - set(self.names))
        if unknown:
            raise WiseftError(
                f"no glyphs of {', '.join(unknown)}; the families are {', '.join(self.names)}"
            )
        wanted = np.isin(self.families, [self.names.index(name) for name in names])
        return np.flatnonzero(~wanted if invert else wanted)


def build_glyphs(packages: list[Path], size: int, pen_glyphs: int) -> Glyphs:
    """Render all typefaces, then `pen_glyphs` pen digits (the ten digits in turn).

    Raises:
        WiseftError: if a package holds no typeface, or the digits of one look like other digits.
    """
    rng = np.random.default_rng(_PEN_SEED)
    printed = list(typeface_glyphs(packages, size))
    _check_labels(printed)
    digits = [index % 10 for index in range(pen_glyphs)]
    drawn = [Glyph(digit, PEN_FAMILY, draw_pen_glyph(digit, size, rng)) for digit in digits]
    glyphs = [*printed, *drawn]
    names, families = np.unique([glyph.family for glyph in glyphs], return_inverse=True)
    return Glyphs(
        np.stack([glyph.mask for glyph in glyphs]),
        np.array([glyph.digit for glyph in glyphs], dtype=np.uint8),
        families.astype(np.int32),
        tuple(names.tolist()),
    )


def _check_labels(glyphs: Sequence[Glyph]) -> None:
    """Compare every family with the first face, whose labels are right.

    Blurred masks of a family are matched one to one with the ten digits of that face so that they
    look most alike; a family whose labels are right has them matched with themselves. (A whole
    file that is read one character off has none, a decorated face at least six.)
    """
    masks = np.stack([glyph.mask for glyph in glyphs])
    digits = np.array([glyph.digit for glyph in glyphs])
    families = np.array([glyph.family for glyph in glyphs])
    blurred = gaussian_filter(masks.astype(np.float32), (0, *[masks.shape[1] / 16] * 2))
    flat = blurred.reshape(len(masks), -1)
    flat -= flat.mean(1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    alike = flat @ flat[:10].T
    for family in np.unique(families):
        of_family = families == family
        mean = np.stack([alike[of_family & (digits == digit)].mean(0) for digit in range(10)])
        matched = linear_sum_assignment(mean, maximize=True)[1]
        if (matched == np.arange(10)).sum() < 5:
            raise WiseftError(
                f"the digits 0 to 9 of the typeface {family} look like "
                f"{', '.join(map(str, matched))} of {families[0]}: its labels are wrong, or it is "
                "no typeface of digits; leave its package out of font_packages"
            )


def save_drawings(path: Path, drawn: Any) -> None:
    """Write what pre-training draws from, glyphs or icons, atomically."""
    arrays = {name: value for name, value in vars(drawn).items() if name != "names"}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    told = {"kind": _kind(type(drawn)), "names": drawn.names, "stage_version": VERSION["pretrain"]}
    with tensor_writer(path, tensors, told) as file:
        for name, tensor in tensors.items():
            file.write(name, tensor)


def load_drawings(path: Path, what: Any) -> Any:
    """Read what `save_drawings` wrote, of class `what`.

    Raises:
        WiseftError: if it is missing, damaged or of another kind.
        StaleArtifact: if an older version of the stage wrote it.
    """
    tensors, header = read_tensors(path, "glyph file")
    kind = _kind(what)
    if header.get("kind") != kind:
        raise WiseftError(f"{path} holds {header.get('kind')}, no {kind}; delete it and rerun")
    if header.get("stage_version") != VERSION["pretrain"]:
        raise StaleArtifact(f"{path} is of an older version of pretrain; delete it and rerun")
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return what(**arrays, names=tuple(header["names"]))


def _kind(what: Any) -> str:
    return what.__name__.lower()
