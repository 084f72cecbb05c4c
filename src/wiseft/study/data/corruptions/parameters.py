"""The published parameters of every corruption at every severity: `parameters.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

import yaml

from wiseft.errors import WiseftError

Row = tuple[float, ...]
Table = tuple[Row, ...]

SEVERITIES = (1, 2, 3, 4, 5)

LIMITS = {32: 48, 64: 128}
"""A table serves images whose shorter side is below its limit; 224 serves all larger ones. The
limits are about the geometric means of neighbouring sides."""

ELASTIC_UNITS = {32: 32, 64: 64, 224: 244}
"""Pixels of a unit of length of elastic-transform in each table; the last is published as 244."""


def select(name: str, severity: int, side: int) -> tuple[Row, float]:
    """Return the parameters for an image whose shorter side is ``side`` pixels, and the factor by
    which lengths in them are to be multiplied.

    The factor is ``side`` / side of the table, so that a photograph at 336 pixels looks like the
    same photograph at 224; it is 1 at the published sides, and never below 1 for the table of 32
    pixels, whose lengths are too short to shrink.

    Raises:
        WiseftError: unknown corruption or severity.
    """
    if name not in PARAMETERS:
        raise WiseftError(f"unknown corruption '{name}'; there are: {', '.join(PARAMETERS)}.")
    if severity not in SEVERITIES or isinstance(severity, bool):
        raise WiseftError(f"the severity of a corruption is 1, 2, 3, 4 or 5, found {severity!r}.")
    reference = next((table for table, limit in LIMITS.items() if side < limit), 224)
    scale = side / reference
    return PARAMETERS[name][reference][severity - 1], max(scale, 1.0) if reference == 32 else scale


def _read() -> dict[str, dict[int, Table]]:
    text = resources.files(__package__).joinpath("parameters.yaml").read_text(encoding="utf-8")
    tables = {
        name: {side: tuple(map(tuple, rows)) for side, rows in by_side.items()}
        for name, by_side in yaml.safe_load(text).items()
    }
    for side, unit in ELASTIC_UNITS.items():
        rows = tables["elastic-transform"][side]
        tables["elastic-transform"][side] = tuple(tuple(unit * n for n in row) for row in rows)
    return tables


PARAMETERS: Mapping[str, Mapping[int, Table]] = _read()
