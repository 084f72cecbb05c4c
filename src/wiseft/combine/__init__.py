"""Combining classifiers: in the space of weights, and its twin in the space of outputs."""

from wiseft.combine.interpolator import Interpolator
from wiseft.combine.linear import combine, combine_logits, interpolate

__all__ = ["Interpolator", "combine", "combine_logits", "interpolate"]
