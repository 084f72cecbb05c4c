"""What a builder hands over to the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PreparedSplit:
    """One split as a builder hands it over.

    Attributes:
        images: uint8 (n, H, W, 3), square.
        labels: int64 (n,), indices into the dataset's class names.
        sample_ids: n unique names.
        base_ids: n names; renditions of one source image share theirs. None: the sample ids.
        groups: further columns by name (without the prefix ``group_``), n values each.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    sample_ids: Sequence[str]
    base_ids: Sequence[str] | None = None
    groups: Mapping[str, Sequence[Any]] = field(default_factory=dict)
