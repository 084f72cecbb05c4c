"""Several sweeps with an evaluation of one's own on one page."""

from __future__ import annotations

import re

import pytest
from tests.sweep.own import GRID, ROLES, ends, script
from tests.sweep.test_own_evaluation import counted, rights

import wiseft
from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.tool.record import Result
from wiseft.tool.side_by_side import page_of


def test_two_sweeps_are_compared_sample_by_sample(tmp_path, capsys):
    folders, models = [], []
    for seed in (1, 2):
        root = tmp_path / str(seed)
        root.mkdir()
        models.append(ends(root, seed))
        out = root / f"out-{seed}"
        wiseft.sweep_with(*models[-1], script(root), out, **ROLES, **GRID)
        folders.append(out)
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["page", *map(str, folders), "-o", str(tmp_path / "both.html")])
    page = (tmp_path / "both.html").read_text()
    at = [Result.read(folder).record.recommended.alpha for folder in folders]
    right = [rights(*both, "other", alpha) for both, alpha in zip(models, at, strict=True)]
    gain = 100 * (right[1].mean() - right[0].mean())
    found = re.search(r"out-2 at α = .*? points \[.*?\] on reference, (\S+) points", page)
    assert found and float(found[1].replace("−", "-")) == pytest.approx(gain, abs=0.051)
    assert "the same samples" in page


def test_what_no_page_compares_is_one_line(tmp_path):
    z, f = ends(tmp_path)
    for name in "ab":
        wiseft.sweep_with(z, f, counted(), tmp_path / name, **ROLES, alphas=[])
    with pytest.raises(WiseftError, match="must report samples with scores 0 and 1") as error:
        page_of([tmp_path / "a", tmp_path / "b"], tmp_path / "both.html")
    assert "\n" not in str(error.value)
