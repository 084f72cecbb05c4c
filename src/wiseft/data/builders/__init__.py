"""One function a dataset: packages and prepared datasets in, splits of uint8 RGB images out.

A dataset entry names its function in ``builder:``. They make square images, those of digits
of ``SIDE`` pixels, and need neither network nor torch.
"""

from __future__ import annotations

from collections.abc import Callable

from wiseft.data.builders import (
    collections,
    corruptions,
    fonts,
    mnist,
    pendigits,
    renditions,
    sides,
)
from wiseft.data.builders.common import SIDE, Inputs
from wiseft.data.prepared.split import PreparedSplit

Builder = Callable[[Inputs], dict[str, PreparedSplit]]

BUILDERS: dict[str, Builder] = {
    "mnist": mnist.build,
    "optdigits": collections.build_optdigits,
    "mfeat": collections.build_mfeat,
    "pendigits": pendigits.build,
    "fonts": fonts.build,
    "inverted": renditions.build_inverted,
    "mnist-m": renditions.build_mnist_m,
    "colour": renditions.build_colour,
    "corrupt": renditions.build_corrupt,
    "corruptions": corruptions.build,
    "sides": sides.build,
}

__all__ = ["BUILDERS", "SIDE", "Builder", "Inputs"]
