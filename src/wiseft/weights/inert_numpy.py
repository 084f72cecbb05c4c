"""What stands of NumPy in files of torch, made of nothing but the values that a file holds.

NumPy's own functions believe a pickle: one that says other sizes than it has data for would show
what else lies in memory.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CODE = re.compile(r"[biufSU][1-9][0-9]{0,8}")
"""Of booleans, integers, floats and texts; of objects nothing is read."""


class DType:
    """A type, by its code; of its state the order of the bytes counts alone. It is pickled as
    NumPy's own is.
    """

    def __init__(self, code: str, align: bool = False, copy: bool = True):
        if not _CODE.fullmatch(code):
            raise ValueError(f"arrays of NumPy's type {code!r} are not read")
        self.type = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.type = self.type.newbyteorder(state[1])

    def __reduce__(self) -> Any:
        return self.type.__reduce__()


class Array:
    """An array, which is pickled as NumPy's own is."""

    values: NDArray[Any] = np.zeros(0)

    def __init__(self, *of: Any):
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_columns, content = state
        flat = np.frombuffer(content, dtype.type)
        self.values = flat.reshape(shape, order="F" if by_columns else "C")

    def __reduce__(self) -> Any:
        return self.values.__reduce__()


def scalar(dtype: DType, content: bytes) -> Any:
    """Return a number or text of NumPy."""
    return np.frombuffer(content, dtype.type, count=1)[0]


SAFE: list[Any] = [
    (DType, "numpy.dtype"),
    (Array, "numpy.ndarray"),
    *(
        (made, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for made, name in ((scalar, "scalar"), (Array, "_reconstruct"))
    ),
]
"""What takes the place of names in a pickle, as `torch.serialization.safe_globals` wants it."""
