"""Every cell of the paper's tables is measured by an experiment, or has a reason why none can."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tools import cells

from wiseft.study.config import Catalogue

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found() -> pd.DataFrame:
    return cells.sources(Catalogue(REPOSITORY))


def test_every_cell_has_an_experiment_or_a_reason(found: pd.DataFrame) -> None:
    neither = found[(found["by"] == "") & (found["why"] == "")]
    both = found[(found["by"] != "") & (found["why"] != "")]
    assert neither.empty and both.empty
    assert set(found[found["table"].isin([9, 10, 11, 12])]["by"]) == {""}
    assert set(found[found["table"] == 4]["by"]) == {
        "`imagenet`, `independent-ensembles`",
        "`imagenet`",
    }


def test_the_page_is_that_list(found: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails: python -m tools.cells > docs/cells.md"""
    monkeypatch.setattr(cells, "sources", lambda catalogue: found)
    text = (REPOSITORY / "docs" / "cells.md").read_text()
    assert cells.page(Catalogue(REPOSITORY)) == text
