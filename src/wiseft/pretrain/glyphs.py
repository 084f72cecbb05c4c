"""The glyph file: every mask that pre-training draws from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wiseft.errors import StaleArtifact, WiseftError
from wiseft.pretrain.pens import draw_pen_glyph
from wiseft.pretrain.typefaces import typeface_glyphs
from wiseft.stages import VERSION
from wiseft.tensor_file import read_tensors, tensor_writer

KIND = "glyphs"
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
    """Render all typefaces, then `pen_glyphs` pen digits (the ten digits in turn)."""
    rng = np.random.default_rng(_PEN_SEED)
    masks, digits, families = [], [], []
    for glyph in typeface_glyphs(packages, size):
        masks.append(glyph.mask)
        digits.append(glyph.digit)
        families.append(glyph.family)
    for index in range(pen_glyphs):
        masks.append(draw_pen_glyph(index % 10, size, rng))
        digits.append(index % 10)
        families.append(PEN_FAMILY)
    names = tuple(sorted(set(families)))
    return Glyphs(
        np.stack(masks),
        np.array(digits, dtype=np.uint8),
        np.array([names.index(family) for family in families], dtype=np.int32),
        names,
    )


def save_glyphs(path: Path, glyphs: Glyphs) -> None:
    """Write the glyph file atomically."""
    arrays = {
        name: torch.from_numpy(getattr(glyphs, name)) for name in ("masks", "digits", "families")
    }
    header = {"kind": KIND, "names": glyphs.names, "stage_version": VERSION["pretrain"]}
    with tensor_writer(path, arrays, header) as file:
        for name, array in arrays.items():
            file.write(name, array)


def load_glyphs(path: Path) -> Glyphs:
    """Read the glyph file.

    Raises:
        WiseftError: if it is missing, damaged or no glyph file.
        StaleArtifact: if an older version of the stage wrote it.
    """
    tensors, header = read_tensors(path, "glyph file")
    if header.get("kind") != KIND:
        raise WiseftError(f"{path} holds {header.get('kind')}, no glyphs; delete it and rerun")
    if header["stage_version"] != VERSION["pretrain"]:
        raise StaleArtifact(f"{path} is of an older version of pretrain; delete it and rerun")
    return Glyphs(
        **{name: tensor.numpy() for name, tensor in tensors.items()}, names=tuple(header["names"])
    )
