"""Makes `tools`, which is no installed package, importable, and small projects under DVC."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


def run_in(folder: Path, *command: str) -> str:
    """Run a command in a folder and return its output; fails loudly."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def run() -> Callable[..., str]:
    return run_in


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with results in data/, under git and DVC; nothing is published yet."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    folder = tmp_path / "project"
    (folder / "data" / "tables").mkdir(parents=True)
    (folder / "data" / "runs" / "a").mkdir(parents=True)
    (folder / "data" / "tables" / "x.csv").write_text("value\n0.5\n")
    (folder / "data" / "runs" / "a" / "metrics.json").write_text('{"value": 0.5}\n')
    (folder / "data" / "runs" / "a" / "half.part").write_text("left behind")
    for name in (".dvcignore", ".gitignore"):
        (folder / name).write_text((ROOT / name).read_text())
    run_in(folder, "git", "init", "--quiet")
    run_in(folder, sys.executable, "-m", "dvc", "init", "--quiet")
    run_in(folder, sys.executable, "-m", "dvc", "remote", "add", "-d", "default", "../remote")
    return folder
