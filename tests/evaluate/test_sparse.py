"""A sparse sweep: what is run, what is inferred, and what its audit says."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.evaluate.conftest import CLASSES, evaluation, prepared_split

from wiseft.base.metrics import Truth
from wiseft.base.progress import shown
from wiseft.evaluate import audit, chunks, sparse, suite
from wiseft.evaluate.request import Request
from wiseft.evaluate.suite import evaluate_suite
from wiseft.images.store import write_prepared
from wiseft.thetas.partial_tensors import PartialTensors

Build = Callable[..., Request]
GRID = [f"{step / 16:.3f}" for step in range(17) if step % 2 == 0] + ["0.100", "0.900"]
GRID = sorted(GRID)
FULL = ("0.000", "0.500", "1.000")
N = 300
FILES = ("predictions.parquet", "metrics.json")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    split = prepared_split(N, 0)
    folder = tmp_path_factory.mktemp("many")
    return write_prepared(folder / "shapes", "shapes", {"test": split}, CLASSES)


@pytest.fixture
def build(request_for: Build, many: Path) -> Build:
    wanted = evaluation(splits=["test"])
    return lambda **changes: request_for(
        **{"manifests": [many], "alphas": GRID, "evaluate": wanted, "batch_size": 64} | changes
    )


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "AUDITED", 0.4)


def frame(request: Request) -> pd.DataFrame:
    return pd.read_parquet(request.output_dir / "shapes" / "predictions.parquet")


def rows(request: Request, combination: str = "weight") -> dict[str, dict]:
    content = json.loads((request.output_dir / "shapes" / "metrics.json").read_text())
    return {row["alpha"]: row for row in content["rows"] if row["combination"] == combination}


def contents(request: Request) -> dict[str, bytes]:
    return {name: (request.output_dir / "shapes" / name).read_bytes() for name in FILES}


def inferred_by_hand(exact: pd.DataFrame) -> pd.DataFrame:
    """What bisection infers from the predictions of an exact sweep; -1 where it runs."""
    found = pd.DataFrame(-1, index=exact.index, columns=GRID)

    def between(low: int, high: int, rows: np.ndarray) -> None:
        if high - low < 2:
            return
        ends = exact[[f"weight/all/{GRID[at]}/prediction" for at in (low, high)]].to_numpy()
        agree = rows & (ends[:, 0] == ends[:, 1])
        for at in range(low + 1, high):
            found.loc[agree, GRID[at]] = ends[agree, 0]
        middle = (low + 1 + high) // 2
        between(low, middle, rows & ~agree)
        between(middle, high, rows & ~agree)

    half = GRID.index("0.500")
    everyone = np.ones(len(exact), dtype=bool)
    between(0, half, everyone)
    between(half, len(GRID) - 1, everyone)
    return found


@pytest.fixture
def both(build: Build, tmp_path: Path) -> tuple[Request, Request]:
    requests = build(output_dir=tmp_path / "exact"), build(output_dir=tmp_path / "a", sparse=True)
    for request in requests:
        evaluate_suite(request)
    return requests


def test_what_is_run_has_the_exact_predictions_and_the_rest_those_of_both_ends(both) -> None:
    exact, found = map(frame, both)
    expected = inferred_by_hand(exact)
    assert (expected.to_numpy() >= 0).any(axis=1).mean() > 0.3
    assert ((expected.to_numpy() == -1).sum(axis=1) > len(FULL)).mean() > 0.1
    for alpha in GRID:
        column = f"weight/all/{alpha}"
        if alpha in FULL:
            assert f"{column}/inferred" not in found
            pd.testing.assert_frame_equal(
                found.filter(like=column), exact.filter(like=column), rtol=1e-5
            )
            continue
        assert found[f"{column}/inferred"].tolist() == expected[alpha].tolist()
        ran = found[f"{column}/top1"].notna()
        for name in ("top2", "entropy", "confidence"):
            assert (found[f"{column}/{name}"].notna() == ran).all()
        prediction = found[f"{column}/prediction"]
        assert (prediction[ran] == exact.loc[ran, f"{column}/prediction"]).all()
        assert (prediction[~ran] == expected.loc[~ran, alpha]).all()
        # Audited: inferred and run; their share is that of what is drawn.
        drawn = sparse.drawn(0, "shapes/test", found["sample_id"].tolist(), alpha)
        assert (ran == (drawn | (expected[alpha] == -1))).all()
    output = [name for name in exact if name.startswith("output/")]
    pd.testing.assert_frame_equal(found[output], exact[output])


def test_metrics_say_what_was_audited(both) -> None:
    exact, found = both
    predictions, metrics, expected = frame(found), rows(found), rows(exact)
    assert "audit" not in json.dumps([expected, rows(found, "output")])
    audited = better = worse = 0
    for alpha in sorted(set(GRID) - set(FULL)):
        column = predictions.filter(like=f"weight/all/{alpha}/")
        column.columns = [name.rsplit("/")[-1] for name in column]
        there, ran = column["inferred"] >= 0, column["entropy"].notna()
        right = column["prediction"] == predictions["label"]
        before = column["inferred"] == predictions["label"]
        counts = metrics[alpha]["audit"]
        assert counts["skipped"] == (there & ~ran).sum() > 0
        assert counts["audited"] == (there & ran).sum() > 0
        assert counts["better"] == (there & right & ~before).sum()
        assert counts["worse"] == (there & ~right & before).sum()
        audited, better, worse = (
            total + counts[name]
            for total, name in ((audited, "audited"), (better, "better"), (worse, "worse"))
        )
        assert metrics[alpha]["n_correct"] == right.sum()
    for alpha in sorted(set(GRID) - set(FULL)):
        one = metrics[alpha]["audit"]
        share = one["skipped"] / N
        assert one["error"] == pytest.approx(share * (better - worse) / audited)
        assert one["ci_low"] < one["error"] < one["ci_high"]
        difference = expected[alpha]["value"] - metrics[alpha]["value"]
        assert one["ci_low"] <= difference <= one["ci_high"]
    run = sum(
        (N - row["audit"]["skipped"]) / N if "audit" in row else 1 for row in metrics.values()
    )
    content = json.loads((found.output_dir / "shapes" / "metrics.json").read_text())
    assert content["how"]["passes"] == pytest.approx(run, abs=1e-3) and run < len(GRID) - 1


def test_the_same_is_audited_whatever_the_batches(
    build: Build, tmp_path: Path, monkeypatch
) -> None:
    request = build(sparse=True)
    evaluate_suite(request)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1)
    other = build(sparse=True, output_dir=tmp_path / "other", batch_size=7)
    evaluate_suite(other)
    compared = 0
    for alpha in sorted(set(GRID) - set(FULL)):
        column = f"weight/all/{alpha}"
        # Rounding, which batches change, decides a few ties of these logits.
        both = [each[each[f"{column}/inferred"] >= 0] for each in (frame(request), frame(other))]
        ran = [each.set_index("sample_id")[f"{column}/top1"].notna() for each in both]
        same = ran[0].index.intersection(ran[1].index)
        assert ran[0][same].tolist() == ran[1][same].tolist()
        compared += len(same)
    assert compared > N


def test_exact_replaces_inferred_and_sparse_keeps_exact(both) -> None:
    exact, found = both
    before = contents(exact)
    evaluate_suite(dataclasses.replace(exact, sparse=True))
    assert contents(exact) == before
    evaluate_suite(dataclasses.replace(found, sparse=False))
    now, then = frame(found), frame(exact)
    assert list(now) == list(then)
    pd.testing.assert_frame_equal(now, then, rtol=1e-5)
    assert rows(found) == rows(exact)


def test_exact_columns_of_a_grid_that_grows_stay(build: Build) -> None:
    first = build(alphas=["0.000", "0.125", "0.500", "1.000"])
    evaluate_suite(first)
    before = frame(first)
    evaluate_suite(dataclasses.replace(first, alphas=GRID, sparse=True))
    now = frame(first)
    pd.testing.assert_frame_equal(now[list(before)], before)
    assert "weight/all/0.125/inferred" not in now and "weight/all/0.250/inferred" in now
    assert "audit" not in rows(first)["0.125"]


def test_a_new_view_takes_no_exact_predictions_away(build: Build) -> None:
    request = build()
    evaluate_suite(request)
    views = [{"name": name, "metric": "accuracy"} for name in ("all", "again")]
    wanted = evaluation(splits=["test"], views=views)
    evaluate_suite(dataclasses.replace(request, evaluate=wanted, sparse=True))
    assert not [name for name in frame(request) if name.endswith("/inferred")]


def test_killed_it_ends_with_the_same_bytes(build: Build, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1)
    monkeypatch.setenv("WISEFT_SAVE_SECONDS", "0")
    whole = build(sparse=True, output_dir=tmp_path / "whole")
    evaluate_suite(whole)
    request = build(sparse=True, state=tmp_path / "state")
    save = PartialTensors.save

    def killed(self, count: int) -> None:
        save(self, count)
        if count >= 128:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PartialTensors, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate_suite(request)
    lines: list[str] = []
    with shown(lines.append):
        evaluate_suite(request)
    assert any("resuming after 128 samples" in line for line in lines)
    assert contents(request) == contents(whole)


def test_an_exact_one_does_not_go_on_from_a_sparse_one(build: Build, tmp_path: Path) -> None:
    request = build(sparse=True, state=tmp_path / "state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_BYTES", 1)
        patch.setenv("WISEFT_SAVE_SECONDS", "0")
        patch.setattr(suite, "conclude", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            evaluate_suite(request)
    lines: list[str] = []
    with shown(lines.append):
        evaluate_suite(dataclasses.replace(request, sparse=False))
    assert any("begun anew" in line for line in lines)
    assert "audit" not in json.dumps(rows(request))


def test_progress_and_what_is_said(build: Build) -> None:
    counts: list[int] = []
    lines: list[str] = []
    request = build(sparse=True, progress=counts.append, combinations=("weight",))
    with shown(lines.append):
        evaluate_suite(request)
    assert sum(counts) == N * len(GRID)
    said = "\n".join(lines)
    assert f"passes for {len(GRID)} alphas" in said and "audit of test, view all: of" in said


def test_alphas_of_stored_logits_are_run_in_full(build: Build) -> None:
    request = build(sparse=True, logits=["0.125"])
    evaluate_suite(request)
    assert "weight/all/0.125/inferred" not in frame(request)


def test_views_of_other_metrics_are_swept_exactly(build: Build) -> None:
    lines: list[str] = []
    wanted = evaluation(splits=["test"], views=[{"name": "all", "metric": "macro-f1"}])
    request = build(sparse=True, evaluate=wanted)
    with shown(lines.append):
        evaluate_suite(request)
    assert any("the sweep is exact: view all is of macro-f1" in line for line in lines)
    assert not [name for name in frame(request) if name.endswith("/inferred")]


def test_a_linear_classifier_is_swept_exactly(build: Build, ends) -> None:
    request = build(sparse=True, theta_1=ends.linear)
    evaluate_suite(request)
    assert not [name for name in frame(request) if name.endswith("/inferred")]


def test_bisection_has_the_ends_of_an_interval_before_its_middle() -> None:
    known = set(FULL)
    for low, middle, high in sparse.bisected(GRID, FULL):
        assert low < middle < high and {low, high} <= known and middle not in known
        known.add(middle)
    assert known == set(GRID)


def test_what_an_audit_counts() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2, 0])
    truth = Truth(labels, labels.astype(str), np.array([[6, 3]]))  # 3 is right of the last, too
    prediction = np.array([0, 1, 0, 0, 2, 1, 3])
    inferred = np.array([0, -1, 2, 1, 2, 0, 1])
    ran = np.array([False, True, True, True, False, True, True])
    counts = audit._counts(truth, prediction, inferred, ran)
    # The third became wrong, the fourth and the last right; the sixth is wrong either way.
    assert counts == {"skipped": 2, "audited": 4, "better": 2, "worse": 1}


def test_the_estimate_has_no_bias_and_its_interval_holds() -> None:
    """Errors of 1 % here and 0.4 % there at half of the alphas, twice that at one of them."""
    rng = np.random.default_rng(0)
    n, alphas = 2000, 8
    better, worse = np.full(alphas, 10), np.full(alphas, 4)
    better[0], worse[1], better[2:5], worse[2:5] = 20, 8, 5, 2
    errors, inside = [], []
    for _ in range(2000):
        rows, true = [], []
        for b, w in zip(better, worse, strict=True):
            drawn = rng.random(n) < 0.02
            counts = {
                "skipped": int((~drawn).sum()),
                "audited": int(drawn.sum()),
                "better": int(drawn[:b].sum()),
                "worse": int(drawn[b : b + w].sum()),
            }
            true.append((b - w - counts["better"] + counts["worse"]) / n)
            rows.append({"n": n, "audit": counts})
        audit._add_errors(rows)
        found = [row["audit"] for row in rows]
        errors.append(np.mean([one["error"] for one in found]) - np.mean(true))
        inside += [
            one["ci_low"] <= value <= one["ci_high"] for one, value in zip(found, true, strict=True)
        ]
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(len(errors))
    assert np.mean(inside) >= 0.95
