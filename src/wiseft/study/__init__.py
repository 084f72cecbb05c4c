"""The reproduction of the paper: experiments of a clone, on top of the library."""

DRAWINGS, OBJECTIVES = "study.drawings", "study.finetune.objectives"
"""Kinds that one file adds to (`wiseft.base.plugins`), by the folder of their files."""
