"""Tabulate: every metrics and predictions file -> one tidy table with intervals.

The figures are drawn from that table alone; :mod:`wiseft.tabulate.schema` holds its readers.
"""
