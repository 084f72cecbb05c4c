"""Drawings, one file each: `draw(table, style, *, ...)`, whose keywords are the options.

What several drawings have in common stands in `wiseft.figures`.
"""
