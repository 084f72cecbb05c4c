"""A part of the matrix that needs no further library; `make test-peers` runs the whole."""

from __future__ import annotations

from collections import Counter
from itertools import cycle

import pytest
import torch
from tests.matrix.cells import KINDS, REFUSED, check, documented, needs, opened, refused
from tests.matrix.checkpoints import said, timm_logits, timm_model
from tests.matrix.sources import HEAD, SOURCES, folders, rows

from wiseft.evaluate.score import score_folder

SLOW = ("wiseft: model of a sweep", "open_clip: of `torch.compile` (`_orig_mod.`)")
FORMS = [source for source in SOURCES if not needs("", source)]
QUICK = [kind for kind in KINDS if kind not in SLOW and not needs(kind, "")]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("matrix")) as made:
        yield made


@pytest.mark.parametrize(("kind", "source"), list(zip(QUICK, cycle(FORMS), strict=False)))
def test_a_cell_of_the_diagonal_is_what_the_library_counts(kind, source, cells):
    check(cells, kind, source)


def test_most_cells_give_the_number():
    assert len(KINDS) * len(SOURCES) == 300 and len(REFUSED) <= 60
    assert not any(source == "class folders" for _, source in REFUSED)
    for source in SOURCES:
        assert sum((kind, source) not in REFUSED for kind in KINDS) >= 5


def test_the_docs_list_kinds_forms_and_the_cells_that_are_refused():
    text = documented()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [row[::2] for row in rows[1:]] == [[kind, refused(kind)] for kind in KINDS]
    assert "; ".join(SOURCES) in " ".join(text.split())
    assert f"{len(REFUSED)} of the {len(KINDS) * len(SOURCES)} cells are refused" in text


def test_a_head_behind_the_prefix_of_a_module_is_no_part_of_the_tower(tmp_path):
    model, listed = timm_model(), rows(0)
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": weights, "epoch": 1}, tmp_path / "last.ckpt")
    scored = score_folder(tmp_path / "last.ckpt", folders(tmp_path / "d", listed), **said(model))
    with torch.no_grad():
        best = timm_logits(model, [row.image for row in listed]).argmax(dim=1).tolist()
    expected = zip([row.name for row in listed], [HEAD[k] for k in best], strict=True)
    assert Counter(scored.images.values()) == Counter(expected)
