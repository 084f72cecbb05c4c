"""Drawings, one file each: `draw(table, style, *, ...)`, whose keywords are the options.

`wiseft.figures` holds the code that several drawings share.
"""
