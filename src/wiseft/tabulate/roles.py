"""The splits of a reference whose test split is itself a shift, as in WILDS (`reference_split`).

Statistics see the split that is in distribution as the reference's test split, and its test split
as a dataset of its own, a shift. The tidy table keeps the names that the splits have.
"""

from __future__ import annotations

import pandas as pd

from wiseft.tabulate.settings import Roles, own_shift, split_roles

WITHOUT_LABELS = ["unlabelled", "dawin"]
"""Choices that are made of what is reported alone, so that they tell what that is."""


def renamed(rows: pd.DataFrame, roles: Roles, back: bool = False) -> pd.DataFrame:
    """Return rows with `dataset` and `split` by their roles, or `back` by their own names."""
    if not roles:
        return rows
    names = {role: own for own, role in roles.items()} if back else roles
    pairs = [names.get(at, at) for at in zip(rows["dataset"], rows["split"], strict=True)]
    datasets, splits = zip(*pairs, strict=True) if pairs else ((), ())
    return rows.assign(dataset=list(datasets), split=list(splits))


def by_role(table: pd.DataFrame, test_split: str = "test") -> tuple[pd.DataFrame, str]:
    """Return a tidy table by roles, and the reference's split in distribution; empty: the test one.

    The reference's own shift has rows of its primary view alone, under the reference's view.
    """
    mine = table[table["dataset"] == table["reference"]]
    mine = mine[mine["selection"].isin(WITHOUT_LABELS)]
    near, far = (mine[(mine["split"] == test_split) == is_test] for is_test in (False, True))
    if near.empty or far.empty:
        return table, ""
    reference, split, view = near[["dataset", "split", "view"]].iloc[0]
    rows = renamed(table, split_roles(reference, split, test_split))
    shift = rows["dataset"] == own_shift(reference, test_split)
    rows = rows[~shift | (rows["view"] == far["view"].iloc[0])]
    return rows.assign(view=rows["view"].mask(shift, view)), str(split)
