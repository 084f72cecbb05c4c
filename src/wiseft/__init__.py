"""Robust fine-tuning of zero-shot models (WiSE-FT), as a reproducible pipeline."""

__version__ = "0.1.0"
