"""Checkpoints of other programs: read as data, without running anything that they name."""
