"""What papers after WiSE-FT print for CLIP ViT-B/16 on ImageNet and its shifts, cell by cell.

A letter behind a name says which paper prints the number (docs/paper.md).
"""

import pandas as pd

from wiseft.study.published.addresses import shipped
from wiseft.study.published.numbers import published_rows
from wiseft.study.published.testbed import SHIFTS

SUCCESSORS, SECOND_HAND = "successors", "successors-second-hand"
"""`experiment` of their rows: read where the number is printed, or in a summary of that."""
_SAME = {"model": "clip-vit-b-16", "reference": "imagenet", "alpha": None, "combination": ""}
_SAME |= {"selection": "", "split": "test", "view": "all", "metric": "accuracy"}
_SAME |= {"n": None, "n_correct": None}


def successor_rows() -> pd.DataFrame:
    """Return these numbers as rows of the tidy table, none of them a point of a sweep.

    `method` is what is done (`post-hoc`, `training`, `quoted` for WiSE-FT as another paper prints
    it, `baseline`, `zero-shot`), `variant` the name; `selection` is empty and `alpha` null.
    """
    wide = shipped("successors.csv").rename(columns={"kind": "method", "name": "variant"})
    about = ["variant", "method", "confirmed"]
    cells = wide.melt(about, ["imagenet", *SHIFTS], "dataset", "percent").dropna(subset="percent")
    source = cells["confirmed"].map({"yes": SUCCESSORS, "no": SECOND_HAND})
    of_run = {"run": "clip-vit-b-16__imagenet__" + cells["variant"], "experiment": source}
    return published_rows(cells.assign(**_SAME, **of_run, value=cells["percent"] / 100))
