"""Fitted lines of other models, for where their accuracies are not at hand."""

from __future__ import annotations

from functools import cache

import pandas as pd

from wiseft.study.published.addresses import shipped


def lines() -> pd.DataFrame:
    """Return the logit-logit least-squares lines through the models of :mod:`.testbed`.

    They were computed from those files by :mod:`wiseft.study.paper.published`; a test holds them to
    it. Columns: `kind` (`standard`, `standard-below-knee`, `standard-above-knee`, `zero-shot`),
    `dataset`, `x_view` (view of ImageNet on the x axis), `slope`, `intercept`, `r2`,
    `residual_se`, `n` (models), `x_min` and `x_max` (fractions), `x_mean` and `x_ss` (logits).
    """
    return _lines().copy()


@cache
def _lines() -> pd.DataFrame:
    return shipped("lines.csv")
