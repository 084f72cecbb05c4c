"""A grid that grows: what is kept, what is computed, what is thrown away."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tests.evaluate.conftest import Ends, evaluation, tiny_header, tiny_tensors, write_dataset

from wiseft.evaluate import Request, evaluate_suite, suite
from wiseft.evaluate.sweep import WeightSweep
from wiseft.stages import VERSION
from wiseft.theta import save_theta

Build = Callable[..., Request]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The alphas that were asked of a sweep, in order, each once."""
    asked: list[str] = []
    original = WeightSweep.logits

    def recording(self, batches, alphas):
        asked.extend(alpha for alpha in alphas if alpha not in asked)
        return original(self, batches, alphas)

    monkeypatch.setattr(WeightSweep, "logits", recording)
    return asked


def run(request: Request) -> tuple[dict, pd.DataFrame, list[str]]:
    lines: list[str] = []
    (path,) = evaluate_suite(request, lines.append)
    metrics = json.loads(path.read_text())
    return metrics, pd.read_parquet(path.with_name("predictions.parquet")), lines


def grid(metrics: dict) -> list[str]:
    return sorted({row["alpha"] for row in metrics["rows"]})


def test_new_alphas_are_added_and_old_ones_kept(
    request_for: Build, computed: list[str], tmp_path: Path
) -> None:
    before, old, _ = run(request_for())
    computed.clear()
    after, new, _ = run(request_for(alphas=["0.250", "0.500"]))
    assert computed == ["0.250"]
    # 0.000 and 1.000 are no longer asked for, but stay.
    assert grid(after) == ["0.000", "0.250", "0.500", "1.000"]
    assert [row for row in after["rows"] if row["alpha"] != "0.250"] == before["rows"]
    pd.testing.assert_frame_equal(new[old.columns], old)
    whole, table, _ = run(
        request_for(alphas=["0", "0.25", "0.5", "1"], output_dir=tmp_path / "at-once")
    )
    assert after == whole
    pd.testing.assert_frame_equal(new, table)


def test_nothing_new_computes_nothing(request_for: Build, computed: list[str]) -> None:
    before, old, _ = run(request_for())
    computed.clear()
    after, new, lines = run(request_for())
    assert computed == []
    assert after == before
    pd.testing.assert_frame_equal(new, old)
    assert "3 kept" in lines[-1]


def other_theta(request_for: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    path = tmp_path / "other.safetensors"
    save_theta(path, tiny_tensors(2), tiny_header("fine-tuned", "finetune"))
    return request_for(alphas=["0.500"], theta_1=path)


def other_data(request_for: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    return request_for(alphas=["0.500"], manifests=[write_dataset(tmp_path / "other", shift=9)])


def other_batch_size(
    request_for: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Request:
    return request_for(alphas=["0.500"], batch_size=7)


def other_views(request_for: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    views = [{"name": "all", "metric": "accuracy", "classes": ["one", "two"]}]
    return request_for(alphas=["0.500"], evaluate=evaluation(views=views))


def other_stage_version(
    request_for: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Request:
    monkeypatch.setitem(VERSION, "evaluate", VERSION["evaluate"] + 1)
    return request_for(alphas=["0.500"])


@pytest.mark.parametrize(
    "change", [other_theta, other_data, other_batch_size, other_views, other_stage_version]
)
def test_another_identity_drops_old_alphas(
    request_for: Build,
    computed: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[..., Request],
) -> None:
    before, _, _ = run(request_for())
    computed.clear()
    request = change(request_for, tmp_path, monkeypatch)
    after, table, lines = run(request)
    assert computed == ["0.500"]
    assert grid(after) == ["0.500"]
    assert after["identity"] != before["identity"]
    assert not any("/0.000/" in column for column in table.columns)
    assert "recomputing" in lines[0]


@pytest.mark.parametrize("name", ["metrics.json", "predictions.parquet"])
@pytest.mark.parametrize("damage", ["truncated", "garbage", "missing", "empty"])
def test_broken_files_are_recomputed(
    request_for: Build, computed: list[str], name: str, damage: str
) -> None:
    request = request_for()
    before, old, _ = run(request)
    path = request.output_dir / "shapes" / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"truncated": content[:200], "garbage": b"\xff[]{", "empty": b""}[damage])
    computed.clear()
    after, new, lines = run(request)
    assert computed == ["0.000", "0.500", "1.000"]
    assert "recomputing" in lines[0]
    assert after == before
    pd.testing.assert_frame_equal(new, old)


@pytest.mark.parametrize("content", ["null", "[]", '{"format": 1}', '{"format": 1, "rows": {}}'])
def test_metrics_of_another_form_are_recomputed(request_for: Build, content: str) -> None:
    request = request_for()
    before, _, _ = run(request)
    (request.output_dir / "shapes" / "metrics.json").write_text(content)
    after, _, lines = run(request)
    assert after == before
    assert "recomputing" in lines[0]


def test_files_of_two_runs_are_not_mixed(
    request_for: Build, ends: Ends, computed: list[str], tmp_path: Path
) -> None:
    """A job that is killed between the two files leaves new predictions and old metrics."""
    request = request_for()
    before, old, _ = run(request)
    run(request_for(theta_1=ends.theta_0, theta_0=ends.theta_1, output_dir=tmp_path / "b"))
    names = [tmp_path / folder / "shapes" / "predictions.parquet" for folder in ("b", "evaluate")]
    shutil.copy(*names)
    computed.clear()
    after, new, _ = run(request)
    assert computed == ["0.000", "0.500", "1.000"]
    assert after == before
    pd.testing.assert_frame_equal(new, old)


def test_a_failed_job_leaves_the_old_files(
    request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for()
    run(request)
    folder = request.output_dir / "shapes"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def broken(split, batch_size):
        raise OSError("the disk is gone")

    monkeypatch.setattr(suite, "batches", broken)
    with pytest.raises(OSError, match="disk"):
        run(request_for(alphas=["0.700"]))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
