"""`make X VENV=/elsewhere` changes no environment that is another clone's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDED = ("Makefile", "pyproject.toml", "requirements.lock", "requirements-torch.txt")


def make(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Of `make test`, which may run this, and of a developer's shell.
    around = {"PYTHONPATH", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VENV"}
    environment = {key: value for key, value in os.environ.items() if key not in around}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=clone, env=environment, text=True, capture_output=True)


@pytest.fixture
def clones(tmp_path: Path) -> tuple[Path, Path]:
    """Return this clone and another one, whose environment is older than what this one locks."""
    for name in ("this", "an other"):
        (tmp_path / name / "tools").mkdir(parents=True)
        script = "tools/owner_of_environment.py"
        shutil.copy(ROOT / script, tmp_path / name / script)
        for file in NEEDED:
            shutil.copy(ROOT / file, tmp_path / name)
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    installed = packages / "wiseft-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: wiseft\nVersion: 0.1.0\n")
    address = {"url": (tmp_path / "an other").as_uri(), "dir_info": {"editable": True}}
    (installed / "direct_url.json").write_text(json.dumps(address))
    (environment / ".installed").touch()
    os.utime(environment / ".installed", (0, 0))
    return tmp_path / "this", tmp_path / "an other"


def test_an_environment_of_another_clone_is_used_and_never_changed(clones: tuple[Path, Path]):
    this, other = clones
    venv = this.parent / "venv"
    ran = make(this, "--dry-run", "venv", "lock", f"VENV={venv}")
    assert ran.returncode == 0 and "pip" not in ran.stdout and "touch" not in ran.stdout
    assert f"{venv} is the environment of {other}: it is used as it is" in ran.stderr
    (this / "more.mk").write_text('include Makefile\nsay:\n\t@echo "$$PYTHONPATH"\n')
    assert make(this, "-f", "more.mk", "say", f"VENV={venv}").stdout == f"{this}/src\n"
    ran = make(this, "clean-venv", f"VENV={venv}")
    assert ran.returncode and f"the environment of {other}; remove it there" in ran.stderr
    assert venv.is_dir()


def test_its_own_clone_installs_there_and_so_does_one_without_an_environment(
    clones: tuple[Path, Path],
):
    this, other = clones
    venv = this.parent / "venv"
    for clone, where in ((other, venv), (this, this.parent / "new")):
        ran = make(clone, "--dry-run", "venv", "lock", f"VENV={where}")
        assert ran.returncode == 0 and ran.stderr == ""
        assert "--no-build-isolation -e ." in ran.stdout
        assert f"touch {where}/.installed" in ran.stdout
