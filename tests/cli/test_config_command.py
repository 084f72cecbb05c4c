"""`wiseft config show` and `wiseft config check`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from wiseft.cli import main

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    return int(left.value.code or 0)


def test_show_prints_the_experiment_with_what_it_refers_to(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("config", "show", "--experiment", "digits-smoke", "--root", str(project)) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["config"]["experiment"] == "digits-smoke"
    assert shown["suites"] == {"digits": shown["experiment"]["datasets"]}
    assert shown["methods"]["end-to-end__digits-smoke"]["train_samples"] == 512
    assert set(shown["models"]) == {"digits-rn-smoke-s0", "digits-rn-smoke"}
    assert len(shown["runs"]) == 2 * 2 + 2
    assert shown["prompts"]["digits"]


def test_show_takes_the_default_experiment(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("config", "show", "--root", str(project)) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    default = yaml.safe_load((project / "config/config.yaml").read_text())["experiment"]
    assert shown["experiment"]["experiment"] == default


def test_check_accepts_this_project(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "check", "--root", str(project)) == 0
    assert capsys.readouterr().out.startswith("ok: ")
    assert run("config", "check", "--experiment", "digits", "--root", str(project)) == 0
    assert capsys.readouterr().out == "ok: experiment digits\n"


def test_check_names_all_problems_of_all_files(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (project / "config/config.yaml").open("a") as file:
        file.write("devise: cpu\n")
    with (project / "config/methods/end-to-end.yaml").open("a") as file:
        file.write("variant: {}\n")
    assert run("config", "check", "--root", str(project)) == 1
    text = capsys.readouterr().err
    assert "config.yaml: unknown key `devise`; did you mean device?" in text
    assert "end-to-end.yaml: unknown key `variant`; did you mean variants?" in text
    # Three experiments use the method; its problem is told once.
    assert text.count("`variant`") == 1
    assert "Traceback" not in text


@pytest.mark.parametrize("command", ["show", "check"])
def test_an_unknown_experiment(
    project: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert run("config", command, "--experiment", "digit", "--root", str(project)) == 1
    assert "error: unknown experiment digit; did you mean digits" in capsys.readouterr().err


def test_outside_of_a_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "show", "--root", str(tmp_path)) == 1
    assert "are in a clone of the repository" in capsys.readouterr().err
