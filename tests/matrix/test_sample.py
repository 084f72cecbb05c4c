"""A part of the matrix that needs no further library; `make test-peers` runs the whole."""

from __future__ import annotations

from itertools import cycle

import pytest
from tests.matrix.cells import KINDS, REFUSED, check, documented, needs, opened
from tests.matrix.sources import SOURCES

SLOW = ("wiseft: model of a sweep", "open_clip: of `torch.compile` (`_orig_mod.`)")
FORMS = [source for source in SOURCES if not needs("", source)]
QUICK = [kind for kind in KINDS if kind not in SLOW and not needs(kind, "")]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("matrix")) as made:
        yield made


@pytest.mark.parametrize(("kind", "source"), zip(QUICK, cycle(FORMS), strict=False))
def test_a_cell_of_the_diagonal_is_what_the_library_counts(kind, source, cells):
    check(cells, kind, source)


def test_most_cells_give_the_number():
    assert len(KINDS) * len(SOURCES) == 300 and len(REFUSED) <= 60
    assert not any(source == "class folders" for _, source in REFUSED)
    for source in SOURCES:
        assert sum((kind, source) not in REFUSED for kind in KINDS) >= 5


def test_the_docs_list_kinds_forms_and_the_cells_that_are_refused():
    text = documented()
    rows = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines()]
    assert [row for row in rows if row in KINDS] == list(KINDS)
    assert "; ".join(SOURCES) in " ".join(text.split())
    told, listed = text.split("refused: ")[1].splitlines()[0], set()
    for source in {source for _, source in REFUSED}:
        listed |= {(kind, source) for kind in KINDS if kind in told and source in told}
    assert f"{len(REFUSED)} of {len(KINDS) * len(SOURCES)}" in text and listed == REFUSED.keys()
