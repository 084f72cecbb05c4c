"""A copy of the project without data, and one that looks as if the small experiment had run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.targets.planning import finish
from tests.workflow.conftest import SMOKE, copy_project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read it, don't change it."""
    return copy_project(tmp_path_factory.mktemp("targets") / "project")


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_project(tmp_path_factory.mktemp("targets") / "finished")
    finish(folder, SMOKE)
    return folder


@pytest.fixture
def finished(_finished: Path, tmp_path: Path) -> Path:
    """Every file of the small experiment is there, and empty."""
    return Path(shutil.copytree(_finished, tmp_path / "finished"))
