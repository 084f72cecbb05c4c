"""Tabulate: every metrics and predictions file -> one tidy table with intervals.

The figures are drawn from that table alone; this package holds its readers.
"""

from wiseft.tabulate.robustness import (
    BaselineFit,
    EffectiveRobustness,
    baseline_fit,
    effective_robustness,
)
from wiseft.tabulate.schema import (
    read_comparisons,
    read_effective,
    read_fits,
    read_selection,
    read_table,
)

__all__ = [
    "BaselineFit",
    "EffectiveRobustness",
    "baseline_fit",
    "effective_robustness",
    "read_comparisons",
    "read_effective",
    "read_fits",
    "read_selection",
    "read_table",
]
