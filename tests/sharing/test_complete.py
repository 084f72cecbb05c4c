"""Whether results are whole, and made with the present configuration."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tools.sharing.complete import artifact_problems, missing_files

from wiseft.config import Catalogue, paths
from wiseft.io import write_json
from wiseft.stages import VERSION
from wiseft.targets import Targets
from wiseft.tensor_file import read_file_header
from wiseft.theta import identity, make_header, save_theta

from .conftest import ROOT

SMOKE = "digits-smoke"
METHOD = "end-to-end__digits-smoke"
RUN = f"digits-rn-smoke-s0__mnist__{METHOD}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    return tmp_path


def smoke(project: Path) -> Targets:
    return Targets.read(project, {"experiment": SMOKE})


def write_theta_1(project: Path, settings: dict) -> Path:
    """Write theta_1 of the smoke run with some settings in its header."""
    path = project / paths.theta_1_path(RUN, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = make_header(
        "fine-tuned",
        "finetune",
        architecture={},
        preprocessing={"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3},
        class_names=["0", "1"],
        parents={},
        settings=settings,
    )
    tensors = {"head.weight": torch.zeros(2, 3), "head.bias": torch.zeros(2)}
    save_theta(path, tensors | {"image.a": torch.zeros(1)}, header)
    return path


def settings_of(project: Path) -> dict:
    return Catalogue(project).method_settings(METHOD).model_dump(mode="json")


def test_weights_of_the_present_settings_are_no_problem(project: Path) -> None:
    write_theta_1(project, settings_of(project))
    assert artifact_problems(smoke(project)) == []


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"epochs": 9}, "was made with epochs: 9, but the configuration says 4"),
        # A key that was given then and has its default now is in no dump of today's settings.
        ({"l1": 0.5}, "was made with l1: 0.5, but the configuration says nothing of it"),
        ({"optimiser": "sgd"}, "was made with optimiser: sgd, but the configuration says nothing"),
    ],
)
def test_other_settings_are_named(project: Path, found: dict, sentence: str) -> None:
    write_theta_1(project, settings_of(project) | found)
    (problem,) = artifact_problems(smoke(project))
    assert sentence in problem


def test_a_setting_that_was_not_given_then_is_named(project: Path) -> None:
    given = settings_of(project)
    del given["batch_size"]
    write_theta_1(project, given)
    (problem,) = artifact_problems(smoke(project))
    assert "was made with batch_size: None, but the configuration says 64" in problem


def test_how_often_a_state_is_written_is_no_difference(project: Path) -> None:
    write_theta_1(project, settings_of(project) | {"checkpoint_every": 7})
    assert artifact_problems(smoke(project)) == []


def test_an_imported_checkpoint_has_no_settings_to_compare(project: Path) -> None:
    method = "name: mine\ntitle: Mine\npaper: none\ncheckpoint: mine.pt\n"
    (project / "config" / "methods" / "mine.yaml").write_text(method)
    experiment = project / "config" / "experiments" / f"{SMOKE}.yaml"
    experiment.write_text(experiment.read_text().replace(METHOD, "mine"))
    source = write_theta_1(project, {"anything": 1})
    target = project / paths.theta_1_path(RUN.replace(METHOD, "mine"), 0)
    target.parent.mkdir(parents=True)
    source.rename(target)
    assert "mine" in smoke(project).methods
    assert artifact_problems(smoke(project)) == []


def test_an_evaluation_of_other_weights_is_named(project: Path) -> None:
    theta = identity(read_file_header(write_theta_1(project, settings_of(project)), "theta"))
    metrics = project / paths.metrics_path(RUN, 0, "mnist")
    recorded = {"stage_version": VERSION["evaluate"], "theta_1": theta}
    write_json(metrics, {"identity": recorded})
    assert artifact_problems(smoke(project)) == []
    write_json(metrics, {"identity": recorded | {"theta_1": "a" * 64}})
    (problem,) = artifact_problems(smoke(project))
    assert "is about weights with identity aaaa" in problem
    assert problem.endswith(f"has {theta}")
    write_json(metrics, {"identity": recorded | {"stage_version": 0}})
    (problem,) = artifact_problems(smoke(project))
    assert "is of version 0 of the stage evaluate" in problem


def test_missing_files_are_those_of_runs_and_of_models_that_are_only_combined(
    project: Path,
) -> None:
    found = missing_files(Targets.read(project, {"experiment": "independent-ensembles"}))
    runs = [line for line in found if "independent-ensemble__" in line]
    assert not any("theta_1" in line for line in runs), "nothing is trained for them"
    assert len(runs) == 2 * 6 * 2, "metrics and predictions of two runs on six datasets"
    for model in ("clip-vit-l-14-336", "ns-efficientnet-b6", "ns-efficientnet-l2"):
        assert f"{paths.theta_0_path(model, 'imagenet')} is missing" in found
