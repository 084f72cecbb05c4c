"""A pull that finds no remote says so, and what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.processes import run_module
from tools.sharing.pull import _get, absent_remote

from wiseft.errors import WiseftError


def test_a_pull_without_a_remote_is_one_sentence(shared: Path):
    done = run_module(shared, "dvc", "add", "--quiet", "data")
    assert done.returncode == 0, done.stdout
    shutil.rmtree(shared / "data")
    shutil.rmtree(shared / ".dvc" / "cache")
    with pytest.raises(
        WiseftError, match=r"the folder .*remote, does not exist.*make figures"
    ) as e:
        _get(shared)
    assert "\n" not in str(e.value) and "dvc remote modify --local default url" in str(e.value)
    (shared.parent / "remote").mkdir()
    assert absent_remote(shared) == ""
    done = run_module(shared, "dvc", "remote", "remove", "default")
    assert done.returncode == 0, done.stdout
    assert absent_remote(shared) == "DVC has no remote"
