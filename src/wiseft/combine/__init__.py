"""Combining classifiers: in the space of weights, and its twin in the space of outputs."""

from wiseft.combine.ensembles import random_ensemble, softmax_ensemble, uniforms
from wiseft.combine.interpolator import Interpolator
from wiseft.combine.linear import Combination, combine, combine_logits, interpolate

__all__ = [
    "Combination",
    "Interpolator",
    "combine",
    "combine_logits",
    "interpolate",
    "random_ensemble",
    "softmax_ensemble",
    "uniforms",
]
