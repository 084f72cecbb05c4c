"""Whether results are whole, and made with the present configuration."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tools.sharing.complete import (
    _ends,
    _settings,
    artifact_problems,
    check_content,
    missing_files,
)

from wiseft.base.io import sha256_file, write_json
from wiseft.base.stages import VERSION
from wiseft.errors import DamagedFile
from wiseft.study.config import Catalogue, paths
from wiseft.study.finetune.search import Trial, draw_trial, write_trials
from wiseft.study.targets import Targets
from wiseft.tabulate.schema import EFFECTIVE, TABLE, frame_of, write_csv, write_parquet
from wiseft.thetas.damage import with_sum
from wiseft.thetas.tensor_file import read_file_header
from wiseft.thetas.theta import identity, make_header, save_theta, save_weights

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
    metrics.parent.mkdir(parents=True)
    metrics.with_name("predictions.parquet").write_bytes(b"predictions")
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


def write_theta(path: Path, value: float, parents: dict[str, str], kind: str = "combined") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = make_header(
        kind,
        "combine",
        architecture={},
        preprocessing={"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3},
        class_names=["0", "1"],
        parents=parents,
    )
    tensors = {"head.weight": torch.full((2, 3), value), "head.bias": torch.zeros(2)}
    return save_theta(path, tensors | {"image.a": torch.zeros(1)}, header)


def test_the_zero_shot_end_that_an_evaluation_is_about_is_compared_too(project: Path) -> None:
    zero_shot = project / paths.theta_0_path("digits-rn-smoke-s0", "mnist")
    theta_1 = project / paths.theta_1_path(RUN, 0)
    end = identity(read_file_header(write_theta_1(project, settings_of(project)), "theta"))
    start = write_theta(zero_shot, 1.0, {"weights": "w"})
    combined = project / paths.theta_path(RUN, 0, "0.500")
    write_theta(combined, 0.5, {"theta_0": start, "theta_1": end})
    metrics = project / paths.metrics_path(RUN, 0, "mnist")
    metrics.parent.mkdir(parents=True)
    metrics.with_name("predictions.parquet").write_bytes(b"predictions")
    recorded = {"stage_version": VERSION["evaluate"], "theta_0": start, "theta_1": end}
    write_json(metrics, {"identity": recorded})
    assert artifact_problems(smoke(project)) == []
    other = write_theta(zero_shot, 2.0, {"weights": "w"})  # whole, but not the one that was used
    problems = artifact_problems(smoke(project))
    assert len(problems) == 2
    assert f"is about weights with identity {start}" in problems[0]
    assert problems[0].endswith(f"has {other}")
    assert f"theta_0.500.safetensors was made from theta_0 {start}" in problems[1]
    assert theta_1.is_file()


def test_weights_that_the_zero_shot_model_was_not_made_from_are_named(project: Path) -> None:
    weights = project / paths.weights_path("digits-rn-smoke-s0")
    settings = smoke(project).entry("digits-rn-smoke-s0").pretrain.model_dump(mode="json")
    header = {"architecture": {}, "preprocessing": {}, "settings": settings}
    made = save_weights(weights, {"visual.a": torch.ones(3)}, header)
    zero_shot = project / paths.theta_0_path("digits-rn-smoke-s0", "mnist")
    write_theta(zero_shot, 1.0, {"weights": made})
    assert artifact_problems(smoke(project)) == []
    write_theta(zero_shot, 1.0, {"weights": "0" * 64})
    (problem,) = artifact_problems(smoke(project))
    assert f"was made from weights {'0' * 64}, but" in problem and problem.endswith(f"has {made}")


@pytest.mark.parametrize("name", ["theta_0.safetensors", "metrics.json", "predictions.parquet"])
def test_every_file_that_is_published_is_read_whole(project: Path, name: str) -> None:
    """Of whatever experiment it is: all of data/ is published."""
    folder = project / "data" / "runs" / "other"
    write_theta(folder / "theta_0.safetensors", 1.0, {})
    (folder / "predictions.parquet").write_bytes(b"predictions")
    of_predictions = sha256_file(folder / "predictions.parquet")
    write_json(folder / "metrics.json", with_sum({"a": "b"}, predictions_sha256=of_predictions))
    table = project / paths.table_path("paper", "parquet")
    write_parquet(table, frame_of([], TABLE), TABLE)
    write_csv(table.with_suffix(".csv"), frame_of([], TABLE), TABLE)
    files = [path for path in (project / "data").rglob("*") if path.is_file()]
    targets = Targets.read(project, {"experiment": "paper"})
    effective = [project / path for path in targets.files.effective()]
    for path in effective:
        write_csv(path, frame_of([], EFFECTIVE), EFFECTIVE)
    check_content(targets, files)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    with pytest.raises(DamagedFile, match=f"{name} is damaged"):
        check_content(targets, files)
    (folder / name).write_bytes(whole)
    table.with_suffix(".csv").write_text("cut")
    with pytest.raises(DamagedFile, match=r"paper\.csv is damaged"):
        check_content(targets, files)


def test_each_video_set_is_about_the_end_with_a_head_of_its_own_names(project: Path) -> None:
    targets = Targets.read(project, {"experiment": "further-shifts-video"})
    (run,) = targets.runs
    ends = {n: _ends(targets, run, n)["theta_0"] for n in targets.experiment.datasets}
    assert ends.pop("imagenet") == paths.theta_0_path(run.model, "imagenet")
    assert ends == {n: paths.theta_0_own_head_path(run.model, "imagenet", n) for n in ends}


def test_settings_that_a_search_found_are_those_that_a_training_must_have(project: Path) -> None:
    targets = Targets.read(project, {"experiment": "few-shot-cars"})
    taking = next(run for run in targets.runs if run.method_id.endswith("-all-images"))
    assert _settings(targets, taking) == {}, "no search has run"
    (trials,) = targets.trials(taking.model, taking.method_id, "0")
    trial = Trial(0, draw_trial(targets.catalogue.method_settings(targets.searched[-1]), 0, 0), 0.5)
    write_trials(project / trials, {0: trial}, trial)
    found = _settings(targets, taking)
    for key, value in trial.settings.items():
        assert found.get(key, 0.0) == value
    assert found["train_on_held_out"]
    assert "from_search" not in found
