"""Diversity: the stored predictions and logits of two classifiers -> measures of their difference.

Figures 5 and 27 to 30 of the paper are drawn from them.
"""
