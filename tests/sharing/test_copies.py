"""Copies of the published tables in git are those that were published, and figures take them."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from tests.sharing.conftest import ROOT
from tools.sharing import copies
from tools.sharing.commands import OUTS
from tools.sharing.copies import write_copies
from tools.sharing.manifest import NAME, read_manifest, write_manifest

from wiseft.base.io import sha256_file, write_json, write_text
from wiseft.errors import WiseftError
from wiseft.study.config import paths
from wiseft.study.targets import Targets
from wiseft.tabulate import schema
from wiseft.thetas.damage import SUM, write_sum

SMOKE = "digits-smoke"
AGAIN = "write them again: make publish, or python -m tools.sharing copies where data/ is published"


def copies_problems(root: Path) -> list[str]:
    """Return a sentence for all in which copies, their list, data.dvc and data/ differ."""
    folder, data = root / paths.PUBLISHED, root / paths.DATA
    sums = read_manifest(folder)
    listed = re.search(
        f"^{copies._VERSION}([0-9a-f]{{64}})$", (folder / NAME).read_text(), re.MULTILINE
    )
    problems = []
    if listed is None or listed[1] != sha256_file(root / OUTS):
        problems.append(f"{OUTS} is not the one that {folder / NAME} names; {AGAIN}")
    original = read_manifest(data) if (data / NAME).is_file() else {}
    present = {path.relative_to(folder).as_posix() for path in copies._present(folder)}
    for name in sorted(present | sums.keys()):
        table = f"tables/{Path(name).name.removesuffix('.gz')}"
        if name not in sums or name not in present:
            problems.append(f"{folder / name} is {'missing' if name in sums else 'not listed'}")
        elif sha256_file(folder / name) != sums[name]:
            problems.append(f"{folder / name} is not as it is listed; {AGAIN}")
        elif (
            original
            and not name.endswith(f".{SUM}")
            and original.get(table) != sum_of(folder / name)
        ):
            problems.append(f"{folder / name} is not {data / table} as published; {AGAIN}")
    return problems


def sum_of(copy: Path) -> str:
    return sha256(copies._content(copy)).hexdigest()


def test_the_copies_of_this_repository_are_what_was_published():
    assert copies_problems(ROOT) == []


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A project with tables of one experiment, as `make publish` leaves it, copies included."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    files = Targets.read(tmp_path, {"experiment": SMOKE}).files
    kinds = [schema.TABLE, schema.TABLE, schema.COMPARISONS, schema.SELECTION, schema.FITS]
    tabulated = [path for name, path in files.tabulated.items() if name != "made_with"]
    for path, kind in zip(tabulated, kinds, strict=True):
        write = schema.write_parquet if path.suffix == ".parquet" else schema.write_csv
        write(tmp_path / path, schema.frame_of([], kind), kind)
    for path in files.effective():
        schema.write_csv(tmp_path / path, schema.frame_of([], schema.EFFECTIVE), schema.EFFECTIVE)
    write_json(tmp_path / paths.made_with_path(SMOKE), {"evaluations": []})
    write_sum(tmp_path / paths.made_with_path(SMOKE), 0)
    publish(tmp_path, "0" * 32)
    return tmp_path


def publish(root: Path, version: str) -> None:
    data = root / "data"
    write_manifest(data, [path for path in sorted(data.rglob("*")) if path.is_file()])
    write_text(root / "data.dvc", f"outs:\n- md5: {version}.dir\n  path: data\n")
    write_copies(root)


def test_copies_hold_what_figures_read(published: Path):
    folder = published / paths.PUBLISHED / SMOKE
    names = {path.name for path in folder.iterdir() if path.suffix != ".sha256"}
    texts = ("comparisons", "selection", "fits", "effective-robustness")
    read_as_it_is = {f"{SMOKE}.parquet", f"{SMOKE}.made-with.json"}
    assert names == read_as_it_is | {f"{SMOKE}.{text}.csv.gz" for text in texts}
    for name in names:
        table, copy = published / "data/tables" / name.removesuffix(".gz"), folder / name
        content = gzip.decompress(copy.read_bytes()) if name.endswith("gz") else copy.read_bytes()
        assert content == table.read_bytes()
    assert copies_problems(published) == []
    selection = folder / f"{SMOKE}.selection.csv.gz"
    assert list(schema.read(selection, schema.SELECTION, "choices").columns) == [*schema.SELECTION]


def edit_copy(root: Path) -> None:
    path = root / paths.PUBLISHED / SMOKE / f"{SMOKE}.fits.csv.gz"
    path.write_bytes(gzip.compress(b"other"))


def remove_copy(root: Path) -> None:
    (root / paths.PUBLISHED / SMOKE / f"{SMOKE}.fits.csv.gz").unlink()


def add_copy(root: Path) -> None:
    (root / paths.PUBLISHED / SMOKE / "new.csv").touch()


def publish_without_copies(root: Path) -> None:
    write_text(root / "data.dvc", "outs:\n- md5: 1.dir\n  path: data\n")


def publish_other_tables(root: Path) -> None:
    write_text(root / "data/tables" / f"{SMOKE}.fits.csv", "other")
    data = root / "data"
    write_manifest(data, [path for path in sorted(data.rglob("*.*")) if path.name != NAME])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (edit_copy, "is not as it is listed"),
        (remove_copy, "is missing"),
        (add_copy, "new.csv is not listed"),
        (publish_without_copies, "data.dvc is not the one that"),
        (publish_other_tables, "fits.csv as published; write them again: make publish"),
    ],
)
def test_any_difference_is_found_and_mended(published: Path, change: Callable, sentence: str):
    change(published)
    (problem,) = copies_problems(published)
    assert sentence in problem
    if change is not publish_other_tables:  # whose sum beside it would be wrong too
        write_copies(published)
        assert copies_problems(published) == []


def test_tables_that_were_never_published_are_not_copied(published: Path):
    before = (published / paths.PUBLISHED / NAME).read_bytes()
    table = published / paths.table_path(SMOKE, "fits.csv")
    schema.write_csv(table, schema.frame_of([{"n": 1}], schema.FITS), schema.FITS)
    with pytest.raises(WiseftError, match=r"fits\.csv is not as .*MANIFEST\.sha256 lists it"):
        write_copies(published)
    assert (published / paths.PUBLISHED / NAME).read_bytes() == before


def test_tables_of_before_have_no_record_and_are_copied(published: Path):
    record = published / paths.made_with_path(SMOKE)
    for path in (record, record.with_name(f"{record.name}.sha256")):
        path.unlink()
    publish(published, "1" * 32)
    copies = published / paths.PUBLISHED / SMOKE
    assert not list(copies.glob("*.json*")) and (copies / f"{SMOKE}.parquet").is_file()
    assert copies_problems(published) == []


def test_figures_take_the_copies_only_where_there_are_no_tables(published: Path):
    def source() -> tuple[str, set[Path]]:
        files = Targets.read(published, {"experiment": SMOKE}).files
        said = files.take_copies()
        read = [*files.tables.values(), *files.effective()]
        return said, {p.parent for p in read if p.name != f"{SMOKE}.csv"}

    assert source() == (
        f"The figures of {SMOKE} are drawn from the tables in data/tables.",
        {paths.DATA / "tables"},
    )
    shutil.rmtree(published / "data")
    said, folders = source()
    assert folders == {paths.PUBLISHED / SMOKE} and f"in published/tables/{SMOKE}." in said
    shutil.rmtree(published / paths.PUBLISHED)
    with pytest.raises(WiseftError, match=rf"no tables of {SMOKE} .*make run EXPERIMENT={SMOKE}"):
        source()


def test_the_workflow_itself_never_takes_copies(published: Path):
    shutil.rmtree(published / "data")
    files = Targets.read(published, {"experiment": SMOKE}).files
    assert {path.parent for path in files.table_files()} == {paths.DATA / "tables"}
