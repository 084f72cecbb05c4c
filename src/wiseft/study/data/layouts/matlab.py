"""Variables of MATLAB files up to version 7."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

from wiseft.errors import WiseftError

READ = """
import io, resource, sys
from scipy.io import loadmat
content = sys.stdin.buffer.read()
resource.setrlimit(resource.RLIMIT_DATA, [2**30 + 64 * len(content)] * 2)
try:
    loadmat(io.BytesIO(content), squeeze_me=True, variable_names=[sys.argv[1]])
except MemoryError:
    sys.exit(3)
"""
"""Tries a file within a memory that a whole one stays far below."""


def read_variable(content: bytes, variable: str, path: Path) -> Any:
    """Return a variable, squeezed: of structs a record array.

    scipy's reader is written in C; of a damaged file it may crash, or ask for any memory. Another
    process tries it first, so that this is said, and this one goes on.

    Args:
        content: of the file; only this variable is read of it: made of structs, cells, text and
            numbers, nothing that could run.
        path: of the file, for messages.

    Raises:
        WiseftError: if it is no such file, or has no such variable.
    """
    from scipy.io import loadmat

    advice = "Fetch it again."
    tried = subprocess.run(
        [sys.executable, "-c", READ, variable], input=content, capture_output=True, check=False
    )
    if tried.returncode < 0:
        raise WiseftError(f"{path} is damaged: reading it crashes scipy. {advice}")
    if tried.returncode == 3:
        raise WiseftError(f"{path} is damaged: it asks for far more memory than its size. {advice}")
    file: Any = io.BytesIO(content)  # which scipy's types do not know
    try:
        variables = loadmat(file, squeeze_me=True, variable_names=[variable])
    except Exception as error:  # a broken file may raise almost anything in scipy's reader
        raise WiseftError(
            f"{path} is not a readable MATLAB file of version 7 or older ({error}). {advice}"
        ) from error
    if variable not in variables:
        raise WiseftError(f"{path}: expected a variable `{variable}`, which is not there. {advice}")
    return variables[variable]
