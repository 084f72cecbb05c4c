"""The project's own list of what was published, and what it says of what arrived."""

from __future__ import annotations

import pytest
from tests.sharing.conftest import run_in
from tools.sharing.manifest import NAME, read_manifest, shared_files, verify, write_manifest

from wiseft.base.io import sha256_file
from wiseft.errors import WiseftError

FILES = ["runs/a/metrics.json", "tables/x.csv"]


def test_manifest_lists_what_dvc_would_share(shared):
    data = shared / "data"
    files = shared_files(data)
    assert [path.relative_to(data).as_posix() for path in files] == FILES
    sums = write_manifest(data, files)
    assert sums == {name: sha256_file(data / name) for name in FILES}
    assert read_manifest(data) == sums
    assert shared_files(data) == files, "the manifest lists itself"
    assert run_in(data, "sha256sum", "--check", NAME).splitlines() == [
        f"{name}: OK" for name in FILES
    ]


def test_an_equal_manifest_is_not_written_again(shared):
    data = shared / "data"
    write_manifest(data, shared_files(data))
    before = (data / NAME).stat()
    write_manifest(data, shared_files(data))
    after = (data / NAME).stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_changed_and_missing_files_are_named(shared):
    data = shared / "data"
    sums = write_manifest(data, shared_files(data))
    verify(data, sums)
    (data / "tables" / "x.csv").write_text("value\n0.6\n")
    found = sha256_file(data / "tables" / "x.csv")
    with pytest.raises(
        WiseftError, match=rf"x\.csv has SHA-256 {found}, expected {sums[FILES[1]]}"
    ):
        verify(data, sums)
    (data / FILES[0]).unlink()
    with pytest.raises(WiseftError, match=r"metrics\.json is missing .*; 2 of 2 files are not"):
        verify(data, sums)


@pytest.mark.parametrize("line", ["nonsense", f"{'0' * 64}  /etc/passwd", f"{'0' * 64}  ../x.csv"])
def test_a_manifest_that_leads_elsewhere_is_refused(shared, line):
    (shared / "data" / NAME).write_text(f"# comment\n{line}\n")
    with pytest.raises(WiseftError, match=r"MANIFEST\.sha256, line 2: expected 64 hex digits"):
        read_manifest(shared / "data")


def test_a_folder_without_dvc_is_one_sentence(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(WiseftError, match="is not under DVC"):
        shared_files(tmp_path / "data")
