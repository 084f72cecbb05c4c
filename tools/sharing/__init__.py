"""Sharing of results: `make publish` and `make pull`. DVC moves files; here is what is checked.

Not part of the package `wiseft`, which knows neither DVC nor Snakemake.
"""
