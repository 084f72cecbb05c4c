"""Evaluation of the whole alpha grid on a suite of datasets, in one pass over the images."""
