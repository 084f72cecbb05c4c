"""The one way to save a figure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from wiseft.base.io import atomic_path
from wiseft.base.rehearsal import mark
from wiseft.errors import WiseftError

# No format may hold a date: the same table gives the same bytes.
METADATA: dict[str, dict[str, Any]] = {
    ".pdf": {"CreationDate": None},
    ".png": {},
    ".svg": {"Date": None},
}


def save_figure(figure: Figure, paths: Iterable[Path]) -> None:
    """Save a figure as PDF, PNG or SVG by each path's suffix, within the active style.

    Raises:
        WiseftError: if a suffix is another one.
    """
    targets = [Path(path) for path in paths]
    for path in targets:
        if path.suffix not in METADATA:
            raise WiseftError(f"{path}: expected a file that ends in {', '.join(METADATA)}.")
    mark(figure)
    for path in targets:
        with atomic_path(path) as temporary:
            figure.savefig(temporary, metadata=METADATA[path.suffix])
