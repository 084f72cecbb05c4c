"""The figures stage: the tidy table in, figures and the summary out.

A figure is one module with one function ``draw(table, style, **options) -> Figure`` and one entry
in :data:`wiseft.figures.registry.FIGURES`.
"""
