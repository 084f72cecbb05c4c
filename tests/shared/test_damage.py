"""Damaged files: found by their sums, set aside where a rule makes them again, and said."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from wiseft.base.io import sha256_file, write_json
from wiseft.cli import main
from wiseft.errors import DamagedFile, StaleArtifact, WiseftError
from wiseft.study.config import paths
from wiseft.study.plan.failures import set_aside
from wiseft.thetas.damage import (
    check_sum,
    damage_of,
    read_checked,
    read_metrics,
    sum_path,
    with_sum,
    write_sum,
)
from wiseft.thetas.theta import make_header, save_theta


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's root, in which commands run."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("datasets: {folder: pictures}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_what_rules_make_is_set_aside_together_and_said(project: Path) -> None:
    files = [write(Path("data/runs/r") / name, name) for name in ("metrics.json", "p.parquet")]
    text = set_aside(DamagedFile("the two contradict each other", *files))
    assert text.startswith("the two contradict each other. Set aside: data/runs/r/metrics.json.dam")
    assert "Run the experiment again (make run EXPERIMENT=...): what it needs" in text
    assert not any(path.exists() for path in files)
    assert Path("data/runs/r/p.parquet.damaged").read_text() == "p.parquet"


def test_prepared_datasets_are_set_aside_where_the_configuration_has_them(project: Path) -> None:
    image = write(Path("pictures/mnist/test/images.npy"))
    assert "images.npy.damaged" in set_aside(DamagedFile("it differs", image))
    other = write(Path("datasets/mnist/test/images.npy"))
    assert "Set aside" not in set_aside(DamagedFile("it differs", other))
    Path("config/config.yaml").write_text("datasets: [")
    assert "images.npy.damaged" in set_aside(DamagedFile("it differs", other))


@pytest.mark.parametrize(
    "place",
    [
        "mine/theta.safetensors",
        "../outside.safetensors",
        "data.csv",
        "pictures/.archives/d/labels.json",
    ],
)
def test_files_of_the_user_stay_where_they_are(project: Path, place: str) -> None:
    path = write(project / place)
    error = DamagedFile(f"{path} is damaged", path)
    assert set_aside(error) == str(error)
    assert str(error).endswith("make it again, or get it again from where it came from")
    assert path.exists()


def test_a_link_is_set_aside_and_not_what_it_leads_to(project: Path) -> None:
    target = write(project / "cache" / "ab")
    link = Path("data/theta.safetensors")
    link.parent.mkdir()
    link.symlink_to(target)
    assert "Set aside: data/theta.safetensors.damaged" in set_aside(DamagedFile("damaged", link))
    assert target.exists() and not os.path.lexists(link)


def test_of_two_jobs_that_meet_it_the_second_finds_nothing_to_rename(project: Path) -> None:
    path = write(Path("data/theta.safetensors"))
    assert "Set aside" in set_aside(DamagedFile("damaged", path))
    assert set_aside(DamagedFile("damaged", path)).startswith("damaged; delete it")


def test_an_older_one_that_was_set_aside_is_replaced(project: Path) -> None:
    path = write(Path("data/a.json"), "new")
    write(Path("data/a.json.damaged"), "old")
    set_aside(DamagedFile("damaged", path))
    assert Path("data/a.json.damaged").read_text() == "new"


def test_the_command_line_sets_aside_what_it_reads(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thetas = [paths.theta_0_path("m", "d"), paths.theta_1_path("m__d__x", 0)]
    header = make_header(
        "fine-tuned",
        "finetune",
        architecture={},
        preprocessing={"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3},
        class_names=["0", "1"],
        parents={},
    )
    tensors = {"head.weight": torch.ones(2, 3), "head.bias": torch.ones(2)}
    for path in thetas:
        save_theta(path, tensors | {"image.a": torch.ones(9)}, header)
    whole = thetas[1].read_bytes()
    thetas[1].write_bytes(whole[:-40] + bytes(40))
    command = ["interpolate", "--theta-0", str(thetas[0]), "--theta-1", str(thetas[1])]
    command += ["--alpha", "0.5", "--output", str(paths.theta_path("m__d__x", 0, "0.500"))]
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {thetas[1]} is damaged: expected tensors with SHA-256 ")
    assert f"Set aside: {thetas[1]}.damaged. Run the experiment again" in said
    assert thetas[0].exists() and not thetas[1].exists()
    thetas[1].write_bytes(whole)  # as its rule makes it again
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 0


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (WiseftError("wrong"), DamagedFile),
        (StaleArtifact("old"), StaleArtifact),
        (DamagedFile("found", Path("b")), DamagedFile),
        (KeyError("a bug"), KeyError),
    ],
)
def test_what_is_wrong_with_content_is_damage(raised: Exception, becomes: type) -> None:
    with pytest.raises(becomes) as found, damage_of(Path("a")):
        raise raised
    assert type(found.value) is becomes
    if isinstance(raised, DamagedFile):
        assert found.value.files == [Path("b")]
    elif becomes is DamagedFile:
        assert (found.value.found, found.value.files) == ("wrong", [Path("a")])


def test_every_byte_of_json_with_a_sum_is_told(tmp_path: Path) -> None:
    """A byte that changes is told, unless the content is the same."""
    path, content = tmp_path / "a.json", {"name": "é", "rows": [{"value": 0.1, "n": None}]}
    write_json(path, with_sum(content))
    whole = path.read_bytes()
    assert read_checked(path, "file") == content
    for place in range(len(whole)):
        for flip in (0x01, 0x20):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            try:
                found = read_checked(path, "file")
            except DamagedFile as error:
                assert error.files == [path]
            else:  # a space is another white space, or the sum has another name
                assert found in (content, json.loads(path.read_bytes())), place
                assert found == content or "sha256" not in path.read_text(), place


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"7", b'{"a": NaN, "sha256": "b"}'])
def test_json_of_another_form(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"a\.json"):
        read_checked(path, "file")


def test_a_missing_file_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(WiseftError, match="does not exist") as found:
        read_checked(tmp_path / "a.json", "file")
    assert not isinstance(found.value, DamagedFile)


def test_metrics_have_the_sum_of_the_predictions(tmp_path: Path) -> None:
    metrics, predictions = tmp_path / "metrics.json", write(tmp_path / "predictions.parquet")
    write_json(metrics, with_sum({"a": 1}, predictions_sha256=sha256_file(predictions)))
    assert read_metrics(metrics, predictions)["a"] == 1
    predictions.write_text("y")
    with pytest.raises(DamagedFile, match=r"predictions\.parquet is damaged: expected") as found:
        read_metrics(metrics, predictions)
    assert found.value.files == [metrics, predictions]
    write_json(metrics, {"a": 1})  # of an earlier version, without sums
    assert read_metrics(metrics, predictions) == {"a": 1}


def test_the_sum_of_a_table_is_what_sha256sum_reads(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "a\n1\n")
    write_sum(table, 1)
    assert check_sum(table, "table") == 1
    command = ["sha256sum", "--check", "--strict", sum_path(table).name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "t.csv: OK\n")
    write(table, "a\n2\n")
    with pytest.raises(DamagedFile, match="1 rows were written"):
        check_sum(table, "table")
