"""A pull that finds no remote says so, and what to do; without DVC, files are enough."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.processes import run_module
from tools.sharing.pull import _get, absent_remote

from wiseft.errors import WiseftError

RESTORE = Path(__file__).parents[2] / "tools" / "sharing" / "restore.py"


def test_a_pull_without_a_remote_is_one_sentence(shared: Path):
    done = run_module(shared, "dvc", "add", "--quiet", "data")
    assert done.returncode == 0, done.stdout
    shutil.rmtree(shared / "data")
    shutil.rmtree(shared / ".dvc" / "cache")
    with pytest.raises(
        WiseftError, match=r"the folder .*remote, does not exist.*published tables\. Weights"
    ) as e:
        _get(shared)
    assert "\n" not in str(e.value) and "dvc remote modify --local default url" in str(e.value)
    assert "(2 files, 0.0 GB)" in str(e.value) and "restore.py FOLDER" in str(e.value)
    (shared / "published" / "tables" / "digits").mkdir(parents=True)
    with pytest.raises(WiseftError, match="tables of digits; `make figures EXPERIMENT=NAME` draws"):
        _get(shared)
    (shared.parent / "remote").mkdir()
    assert absent_remote(shared) == ""
    done = run_module(shared, "dvc", "remote", "remove", "default")
    assert done.returncode == 0, done.stdout
    assert absent_remote(shared) == "DVC has no remote"


def test_data_is_restored_from_the_remotes_files_without_dvc(shared: Path):
    """With a Python that sees no installed package, and what DVC itself pushed."""

    def restore() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", RESTORE, "../remote"]
        return subprocess.run(command, cwd=shared, capture_output=True, text=True, check=False)

    (shared / "data" / "runs" / "a" / "half.part").unlink()  # which is never shared
    for arguments in (["add", "--quiet", "data"], ["push", "--quiet"]):
        done = run_module(shared, "dvc", *arguments)
        assert done.returncode == 0, done.stdout
    (shared / "data").rename(shared / "before")
    shutil.rmtree(shared / ".dvc")
    done = restore()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 files are in data/\n"

    def contents(folder: str) -> dict[str, bytes]:
        files = [path for path in (shared / folder).rglob("*") if path.is_file()]
        return {path.relative_to(shared / folder).as_posix(): path.read_bytes() for path in files}

    assert contents("data") == contents("before") != {}

    table = shared / "data" / "tables" / "x.csv"
    published = table.read_bytes()
    table.write_text("changed")
    stored = next(p for p in (shared.parent / "remote").rglob("*") if _holds(p, published))
    stored.chmod(0o644)
    stored.write_text("damaged")
    done = restore()
    assert done.returncode == 1 and "is damaged. It should be data/tables/x.csv" in done.stderr
    assert table.read_text() == "changed"
    stored.unlink()
    done = restore()
    assert done.returncode == 1 and f"{stored.name} does not exist" in done.stderr
    names = next((shared.parent / "remote").rglob("*.dir"))
    names.chmod(0o644)
    names.write_text(names.read_text().replace("tables/x.csv", str(shared.parent / "elsewhere")))
    done = restore()
    assert done.returncode == 1 and "It should list what data.dvc names" in done.stderr
    assert not (shared.parent / "elsewhere").exists()


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
