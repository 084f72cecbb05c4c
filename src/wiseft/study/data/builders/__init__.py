"""One function a dataset: packages and prepared datasets in, splits of uint8 RGB images out.

A dataset entry names its function in ``builder:``. They make square images, those of digits
and icons of ``SIDE`` pixels, and need neither network nor torch. One whose entry says `class_names:
files` returns the names too.
"""

from __future__ import annotations

from collections.abc import Callable

from wiseft.images.split import Indexed, PreparedSplit
from wiseft.study.data.builders import corruptions, fonts, handwritten, icons, renditions, sides
from wiseft.study.data.builders.digit_images import Inputs

BUILDERS: dict[str, Callable[[Inputs], dict[str, PreparedSplit] | Indexed]] = {
    "mnist": handwritten.build_mnist,
    "optdigits": handwritten.build_optdigits,
    "mfeat": handwritten.build_mfeat,
    "pendigits": handwritten.build_pendigits,
    "fonts": fonts.build,
    "inverted": renditions.build_inverted,
    "mnist-m": renditions.build_mnist_m,
    "colour": renditions.build_colour,
    "corrupt": renditions.build_corrupt,
    "corruptions": corruptions.build,
    "sides": sides.build,
    "icons": icons.build,
}

__all__ = ["BUILDERS", "Inputs"]
