"""Readers of layouts: from the files of a dataset to its samples.

A dataset entry names its reader in ``layout:``; `wiseft.study.config.layouts` types its options.
All readers scan names, lists and metadata, and decode no image; none needs network or torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from wiseft.images.split import Indexed, LayoutInputs
from wiseft.study.config.layouts import LAYOUTS

__all__ = ["Indexed", "LayoutInputs", "reader"]


def reader(layout: str) -> Callable[[LayoutInputs], Indexed]:
    """Return the function `read` of a layout's module; the module carries the layout's name."""
    assert layout in LAYOUTS, layout
    # Class folders are those of the library, which reads a user's own.
    room = "images" if layout == "image-folder" else "study.data.layouts"
    module = importlib.import_module(f"wiseft.{room}.{layout.replace('-', '_')}")
    read: Callable[[LayoutInputs], Indexed] = module.read
    return read
