"""Thetas and other files of tensors: read, checked, written, viewed under other names."""
