"""Temporary files: those of killed processes go, those of live ones stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.processes import environment

from wiseft.base.io import atomic_path, write_text
from wiseft.base.temporary import remove_leftovers, temporary_folder
from wiseft.errors import WiseftError

HALF_WRITTEN = """
import sys, time
from pathlib import Path
from wiseft.base.io import atomic_path
from wiseft.base.temporary import temporary_folder

target = Path(sys.argv[1])
with atomic_path(target) as file, temporary_folder("work", target.parent) as folder:
    file.write_bytes(b"half")
    (folder / "weights").write_bytes(b"half")
    print(file, folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def writer(tmp_path: Path):
    """Another process that is writing `tmp_path/table.csv`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HALF_WRITTEN, str(tmp_path / "table.csv")],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    file, folder = map(Path, process.stdout.readline().split())
    yield process, file, folder
    process.kill()
    process.wait()
    process.stdout.close()


def test_what_a_killed_process_left_goes_when_the_same_is_written_again(writer, tmp_path: Path):
    process, file, folder = writer
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert file.exists()
    assert (folder / "weights").exists()
    write_text(tmp_path / "other.csv", "x")
    write_text(tmp_path / "table.json", "x")
    assert file.exists(), "it is a leftover of another file"
    write_text(tmp_path / "table.csv", "whole")
    with temporary_folder("work", tmp_path):
        assert not folder.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"other.csv", "table.json", "table.csv"}


def test_what_a_live_process_writes_stays(writer, tmp_path: Path):
    _, file, folder = writer
    write_text(tmp_path / "table.csv", "whole")
    remove_leftovers(tmp_path, "work")
    assert file.read_bytes() == b"half"
    assert (folder / "weights").exists()


def test_nothing_else_is_ever_removed(tmp_path: Path):
    kept = tmp_path / "kept"
    kept.mkdir()
    names = [
        "table.csv",
        ".table.tmp-short.csv",
        ".table.tmp-aaaaaaaa.txt",
        ".tablX.tmp-aaaaaaaa.csv",
    ]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".table.tmp-bbbbbbbb.csv").symlink_to(kept)
    (tmp_path / ".[t]able.tmp-cccccccc.csv").touch()
    write_text(tmp_path / "table.csv", "x")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*names, "kept", ".table.tmp-bbbbbbbb.csv", ".[t]able.tmp-cccccccc.csv"}
    assert kept.is_dir()


def test_writers_of_one_file_do_not_take_each_other_for_dead(tmp_path: Path):
    """The lock comes a moment after the file: whoever loses it in between tries again."""
    failed: list[BaseException] = []

    def write() -> None:
        try:
            for _ in range(50):
                with atomic_path(tmp_path / "state") as temporary:
                    temporary.write_bytes(b"whole")
                    os.sched_yield()
        except BaseException as error:  # pytest sees none of a thread
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_without_locks_files_are_written_and_nothing_is_removed(tmp_path: Path, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("wiseft.base.temporary.fcntl.flock", no_locks)
    leftover = tmp_path / ".table.tmp-aaaaaaaa.csv"
    leftover.touch()
    write_text(tmp_path / "table.csv", "x")
    assert leftover.exists()
    assert (tmp_path / "table.csv").read_text() == "x"


def test_where_no_temporary_folder_can_be_written_it_is_said(monkeypatch):
    def nowhere() -> None:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("wiseft.base.temporary.tempfile.gettempdir", nowhere)
    with pytest.raises(WiseftError, match="TMPDIR"), temporary_folder("work"):
        pass
