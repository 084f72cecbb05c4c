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
            raise ValueError("an array of NumPy is of a type that is not read")
        self.type = np.dtype(code)

    def set_state(self, state: tuple[Any, ...]) -> None:
        """Take what a pickle says of it."""
        self.type = self.type.newbyteorder(state[1])

    def __reduce__(self) -> Any:
        return self.type.__reduce__()


class Array:
    """An array, which is pickled as NumPy's own is."""

    values: NDArray[Any] = np.zeros(0)

    def __init__(self, *of: Any):
        pass

    def set_state(self, state: tuple[Any, ...]) -> None:
        """Take what a pickle says of it."""
        _, shape, dtype, by_columns, content = state
        flat = np.frombuffer(content, dtype.type) if content else np.zeros(0, dtype.type)
        self.values = flat.reshape(shape, order="F" if by_columns else "C")

    def __reduce__(self) -> Any:
        return self.values.__reduce__()


def scalar(dtype: DType, content: bytes) -> Any:
    """Return a number or text of NumPy."""
    return np.frombuffer(content, dtype.type, count=1)[0]


def frombuffer(content: bytes, dtype: DType, shape: tuple[int, ...], order: str) -> Array:
    """Return an array as pickles of protocol 5 hold it."""
    array = Array()
    array.set_state((1, shape, dtype, order == "F", content))
    return array
