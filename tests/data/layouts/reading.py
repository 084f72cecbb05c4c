"""Reading a generated dataset with its layout's reader, and comparing with what was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tools.rehearsal.folders import Written

from wiseft.study.config.layouts import LAYOUTS
from wiseft.study.data.layouts import Indexed, LayoutInputs, reader


def read(
    layout: str,
    root: Path,
    splits: Sequence[str],
    options: Mapping[str, Any] | None = None,
    **inputs: Any,
) -> Indexed:
    """Read a root with the reader of a layout, as the data stage does."""
    typed = LAYOUTS[layout].model_validate(dict(options or {}))
    given = {"dataset": "made-up", "files": {}, **inputs}
    return reader(layout)(LayoutInputs(root=root, splits=splits, options=typed, **given))


def check(indexed: Indexed, written: Written, split: str, top: str = "") -> None:
    """Assert that a split has exactly the written images, in order, with labels and sizes.

    Args:
        top: the folder that was read, relative to the written root; empty: the root.
    """
    found = indexed.splits[split]
    expected = written.splits[split]
    prefix = f"{top}/" if top else ""
    assert [f"{prefix}{path}" for path in found.paths] == list(expected)
    assert found.labels.tolist() == list(expected.values())
    assert found.labels.dtype == np.int64
    sizes = [(written.root / path).stat().st_size for path in expected]
    assert found.bytes.tolist() == sizes
