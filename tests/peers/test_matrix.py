"""25 kinds of checkpoints by 12 forms of images: every number is the library's, or is refused."""

import pytest
from tests.matrix.cells import KINDS, REFUSED, check, documented, opened, refused
from tests.matrix.sources import SOURCES

from wiseft.errors import WiseftError

for library, shown in [
    ("datasets", "datasets"),
    ("webdataset", "webdataset"),
    ("lightning", "Lightning"),
    ("peft", "PEFT"),
]:
    pytest.importorskip(library, reason=f"{shown} is not installed; make test-peers installs it")

ADAPTERS = [kind for kind in KINDS if kind.startswith("PEFT")]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("matrix")) as made:
        yield made


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ADAPTERS])
def test_a_cell_is_what_the_library_counts_or_is_refused(kind, source, cells):
    check(cells, kind, source)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_an_adapter_is_an_end_of_a_sweep_of_every_form(kind, cells):
    more = {}
    for said, asked in [REFUSED[kind, source] for source in SOURCES if (kind, source) in REFUSED]:
        with pytest.raises(WiseftError, match=rf"^the labels of [^\n]* {said}[^\n]*$"):
            cells.swept(kind)
        more |= asked
    for source, counts in cells.swept(kind, **more).items():
        expected = cells.expected(kind, source)
        assert counts == (32, sum(n for (own, best), n in expected.items() if own == best)), source
    with pytest.raises(WiseftError, match=r"wiseft merge MODEL .* --alpha 1"):
        cells.found(kind, "CSV")


@pytest.mark.parametrize("kind", KINDS)
def test_the_docs_name_what_a_user_must_say_of_a_checkpoint(kind, cells):
    options = ", ".join(f"`--{name}`" for name in sorted(cells.model(kind).options))
    said = "Z, its model" if kind in ADAPTERS else options or "nothing"
    assert f"| {kind} | {said} | {refused(kind)} |" in documented()
