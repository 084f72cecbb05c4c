"""A grid that grows: what is kept, what is computed, what is thrown away."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tests.evaluate.conftest import (
    Ends,
    evaluation,
    inference,
    prepared_split,
    tiny_header,
    tiny_tensors,
    write_dataset,
)

from wiseft.base.io import sha256_file, write_json
from wiseft.base.messages import shown
from wiseft.base.stages import VERSION
from wiseft.evaluate import chunks, suite
from wiseft.evaluate.passes import WeightSweep
from wiseft.evaluate.request import Request
from wiseft.evaluate.suite import evaluate_suite
from wiseft.study.data.prepared import write_prepared
from wiseft.thetas.damage import with_sum
from wiseft.thetas.theta import save_theta

Build = Callable[..., Request]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The alphas that were asked of a sweep, in order, each once."""
    asked: list[str] = []
    original = WeightSweep.logits

    def recording(self, batches, alphas, numbers=None):
        asked.extend(alpha for alpha in alphas if alpha not in asked)
        return original(self, batches, alphas, numbers)

    monkeypatch.setattr(WeightSweep, "logits", recording)
    return asked


def run(request: Request) -> tuple[dict, pd.DataFrame, list[str]]:
    lines: list[str] = []
    with shown(lines.append):
        (path,) = evaluate_suite(request)
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


def another_commit(request_for: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    header = tiny_header("fine-tuned", "finetune", seed=3)
    path = tmp_path / "again.safetensors"
    save_theta(path, tiny_tensors(1), dataclasses.replace(header, commit="f" * 40))
    assert path.read_bytes() != request_for().theta_1.read_bytes()
    return request_for(theta_1=path)


def another_batch_size(
    request_for: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Request:
    return request_for(batch_size=7)


def another_device(request_for: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    build = suite.make_sweep
    monkeypatch.setattr(
        suite, "make_sweep", lambda t0, t1, _, names: build(t0, t1, inference(), names)
    )
    return request_for(device="cuda")


@pytest.mark.parametrize("change", [another_commit, another_batch_size, another_device])
def test_what_changes_nothing_but_rounding_computes_nothing(
    request_for: Build,
    computed: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[..., Request],
) -> None:
    before, old, _ = run(request_for())
    computed.clear()
    after, new, lines = run(change(request_for, tmp_path, monkeypatch))
    assert computed == []
    assert after == before  # with how it was computed
    pd.testing.assert_frame_equal(new, old)
    assert "3 kept" in lines[-1]


def other_theta(request_for: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    path = tmp_path / "other.safetensors"
    save_theta(path, tiny_tensors(2), tiny_header("fine-tuned", "finetune"))
    return request_for(alphas=["0.500"], theta_1=path)


def other_data(request_for: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    return request_for(alphas=["0.500"], manifests=[write_dataset(tmp_path / "other", shift=9)])


def other_stage_version(
    request_for: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Request:
    monkeypatch.setitem(VERSION, "evaluate", VERSION["evaluate"] + 1)
    return request_for(alphas=["0.500"])


def other_precision(request_for: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    return request_for(alphas=["0.500"], precision="bf16")


@pytest.mark.parametrize("change", [other_theta, other_data, other_precision, other_stage_version])
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
    assert any("recomputing" in line for line in lines)


def views_of(metrics: dict) -> set[str]:
    assert {row["view"] for row in metrics["rows"]} == set(metrics["views"])
    return set(metrics["views"])


ALL = {"name": "all"}
PAIRS = {"name": "pairs-classes", "like": "pairs"}


@pytest.fixture
def view_request(request_for: Build, tmp_path: Path) -> Build:
    """Requests with views, one of which is like `pairs`, a dataset with these members."""

    def build(views: list[dict], members: list[list[int]] | None = None, **changes: Any):
        folder = tmp_path / f"like-{members}"
        mapping = {"reference": "shapes", "members": members or [[0, 1], [2, 3]]}
        names = [f"class {index}" for index in range(len(mapping["members"]))]
        split = prepared_split(4, 0, labels=np.zeros(4, dtype=np.int64))
        like = write_prepared(
            folder, "pairs", {"test": split}, names, optional={"label_map": mapping}
        )
        return request_for(evaluate=evaluation(views=views), like=[like], **changes)

    return build


def test_views_of_other_experiments_are_kept(
    view_request: Build, computed: list[str], tmp_path: Path
) -> None:
    before, old, _ = run(view_request([ALL, PAIRS]))
    computed.clear()
    after, new, lines = run(view_request([ALL]))
    assert computed == []
    assert after == before
    pd.testing.assert_frame_equal(new, old)
    assert not any("recomputing" in line for line in lines)
    # And a grid that grows in one experiment grows for its views only.
    more, table, _ = run(view_request([ALL], alphas=["0.250"]))
    assert computed == ["0.250"]
    grids = {v: {r["alpha"] for r in more["rows"] if r["view"] == v} for v in views_of(more)}
    assert grids["pairs-classes"] == {"0.000", "0.500", "1.000"}
    assert grids["all"] == {"0.000", "0.250", "0.500", "1.000"}
    pd.testing.assert_frame_equal(table[old.columns], old)


def test_a_further_view_is_added(view_request: Build, computed: list[str], tmp_path: Path) -> None:
    run(view_request([ALL]))
    computed.clear()
    after, new, _ = run(view_request([ALL, PAIRS]))
    assert computed == ["0.000", "0.500", "1.000"]
    assert views_of(after) == {"all", "pairs-classes"}
    whole, table, _ = run(view_request([ALL, PAIRS], output_dir=tmp_path / "at-once"))
    assert after == whole
    pd.testing.assert_frame_equal(new, table)
    computed.clear()
    again, _, _ = run(view_request([PAIRS]))  # and now neither is computed
    assert (computed, again) == ([], whole)


@pytest.mark.parametrize(
    ("views", "members"),
    [
        ([ALL, PAIRS | {"metric": "macro-f1"}], None),
        ([ALL, PAIRS], [[0, 2], [1, 3]]),
        ([ALL, {"name": "pairs-classes"}], None),
    ],
)
def test_a_changed_view_is_computed_again(
    view_request: Build,
    computed: list[str],
    tmp_path: Path,
    views: list[dict],
    members: list[list[int]] | None,
) -> None:
    before, _, _ = run(view_request([ALL, PAIRS]))
    computed.clear()
    after, table, lines = run(view_request(views, members, alphas=["0.500"]))
    assert computed == ["0.500"]
    assert "view pairs-classes is another" in lines[0]
    assert after["views"]["pairs-classes"] != before["views"]["pairs-classes"]
    kept = [row for row in after["rows"] if row["view"] == "all"]
    assert kept == [row for row in before["rows"] if row["view"] == "all"]
    changed = [row for row in after["rows"] if row["view"] == "pairs-classes"]
    assert {row["alpha"] for row in changed} == {"0.500"}
    assert not any("pairs-classes/0.000" in column for column in table.columns)
    fresh, new, _ = run(
        view_request(views, members, alphas=["0.500"], output_dir=tmp_path / "fresh")
    )
    assert changed == [row for row in fresh["rows"] if row["view"] == "pairs-classes"]
    pd.testing.assert_frame_equal(table[new.columns], new)


def test_views_that_differ_between_the_two_files_are_computed_again(
    view_request: Build, computed: list[str], tmp_path: Path
) -> None:
    """A job that is killed between the two files leaves new predictions and old metrics."""
    request = view_request([ALL, PAIRS])
    before, old, _ = run(request)
    run(view_request([ALL, PAIRS], [[0, 2], [1, 3]], output_dir=tmp_path / "b"))
    names = [tmp_path / folder / "shapes" / "predictions.parquet" for folder in ("b", "evaluate")]
    shutil.copy(*names)
    computed.clear()
    after, new, _ = run(request)
    assert computed == ["0.000", "0.500", "1.000"]
    assert after == before
    pd.testing.assert_frame_equal(new, old)


def test_the_manifests_place_and_other_splits_change_nothing(
    request_for: Build, computed: list[str], manifest: Path, tmp_path: Path
) -> None:
    wanted = {"evaluate": evaluation(splits=["test"])}
    before, _, _ = run(request_for(**wanted))
    moved = Path(shutil.copytree(manifest.parent, tmp_path / "moved")) / "manifest.json"
    record = json.loads(moved.read_text())
    del record["splits"]["held-out"], record["sha256"]
    write_json(moved, with_sum(record, sources=[{"url": "elsewhere"}]))
    computed.clear()
    after, _, _ = run(request_for(manifests=[moved], **wanted))
    assert (computed, after) == ([], before)


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


def test_files_of_a_sparse_sweep_are_recomputed(request_for: Build, computed: list[str]) -> None:
    """There were such sweeps once, whose predictions were inferred in part."""
    request = request_for()
    before, old, _ = run(request)
    path = request.output_dir / "shapes" / "predictions.parquet"
    table = pq.read_table(path)
    inferred = table.column("weight/all/0.500/prediction")
    pq.write_table(table.append_column("weight/all/0.500/inferred", inferred), path)
    content = {key: value for key, value in before.items() if not key.endswith("sha256")}
    write_json(
        path.with_name("metrics.json"), with_sum(content, predictions_sha256=sha256_file(path))
    )
    computed.clear()
    after, new, lines = run(request)
    assert computed == ["0.000", "0.500", "1.000"]
    assert "they are of a sparse sweep" in lines[0]
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

    def broken(*arguments):
        raise OSError("the disk is gone")

    monkeypatch.setattr(chunks, "batches", broken)
    with pytest.raises(OSError, match="disk"):
        run(request_for(alphas=["0.700"]))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
