"""Evaluation of the whole alpha grid on a suite of datasets, in one pass over the images."""

from wiseft.evaluate.suite import Request, evaluate_suite

__all__ = ["Request", "evaluate_suite"]
