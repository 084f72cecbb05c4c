"""The splits of a reference whose test split is itself a shift, as in WILDS (`reference_split`).

Statistics see the split that is in distribution as the reference's test split, and its test split
as a dataset of its own, a shift. The tidy table keeps the names that the splits have.
"""

from __future__ import annotations

import pandas as pd

from wiseft.tabulate.settings import Roles


def renamed(rows: pd.DataFrame, roles: Roles, back: bool = False) -> pd.DataFrame:
    """Return rows with `dataset` and `split` by their roles, or `back` by their own names."""
    if not roles:
        return rows
    names = {role: own for own, role in roles.items()} if back else roles
    pairs = [names.get(at, at) for at in zip(rows["dataset"], rows["split"], strict=True)]
    datasets, splits = zip(*pairs, strict=True) if pairs else ((), ())
    return rows.assign(dataset=list(datasets), split=list(splits))
