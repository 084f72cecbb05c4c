"""Small projects under DVC."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.processes import run_module

ROOT = Path(__file__).parents[2]


def run_in(folder: Path, *command: str) -> str:
    """Run a command in a folder and return its output; fails loudly."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def unshared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `shared` is a copy of."""
    folder = tmp_path_factory.mktemp("unshared") / "project"
    (folder / "data" / "tables").mkdir(parents=True)
    (folder / "data" / "runs" / "a").mkdir(parents=True)
    (folder / "data" / "tables" / "x.csv").write_text("value\n0.5\n")
    (folder / "data" / "runs" / "a" / "metrics.json").write_text('{"value": 0.5}\n')
    (folder / "data" / "runs" / "a" / "half.part").write_text("left behind")
    for name in (".dvcignore", ".gitignore"):
        (folder / name).write_text((ROOT / name).read_text())
    run_in(folder, "git", "init", "--quiet")
    for arguments in (["init"], ["remote", "add", "-d", "default", "../remote"]):
        done = run_module(folder, "dvc", *arguments, "--quiet")
        assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture
def shared(unshared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with results in data/, under git and DVC; nothing is published yet."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    return Path(shutil.copytree(unshared, tmp_path / "project"))
