"""Combining classifiers: in the space of weights, and its twin in the space of outputs."""
