"""The figures stage: the tidy table in, figures and the summary out.

A figure is drawn by one file of :mod:`wiseft.study.drawings`.
"""
