"""Views through the whole stage, each against its rule done naively from the logits of a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score
from tests.evaluate.conftest import (
    BATCH,
    CLASSES,
    METADATA,
    Ends,
    blobs,
    evaluation,
    tiny_header,
    tiny_tensors,
    write_dataset,
)
from typer.testing import CliRunner

from wiseft.base.io import sha256_file, write_json
from wiseft.cli import app
from wiseft.errors import WiseftError
from wiseft.evaluate import chunks
from wiseft.evaluate.request import Request
from wiseft.evaluate.suite import evaluate_suite
from wiseft.evaluate.views import SuiteEvaluation, predict
from wiseft.images.split import PreparedSplit
from wiseft.images.store import batches, open_split
from wiseft.models.classifier import build_classifier
from wiseft.study.data.prepared import write_prepared
from wiseft.tabulate.settings import TabulateSettings
from wiseft.tabulate.stage import tabulate
from wiseft.thetas.damage import with_sum
from wiseft.thetas.preprocessing import Transform
from wiseft.thetas.theta import load_theta, save_theta

Build = Callable[..., Request]
N_MAPPED = 40
MEMBERS = [[2, 0], [], [3]]  # one is of no class, and a class has none


def write_mapped(
    folder: Path,
    name: str = "mapped",
    members: Sequence[Sequence[int]] = MEMBERS,
    reference: str = "shapes",
    groups: Mapping[str, Sequence[Any]] | None = None,
) -> Path:
    """A dataset of three classes of its own, five samples a base id."""
    split = PreparedSplit(
        images=blobs(N_MAPPED, 77),
        labels=np.arange(N_MAPPED) % len(members),
        sample_ids=[f"m{index}" for index in range(N_MAPPED)],
        base_ids=[f"video{index // 5}" for index in range(N_MAPPED)],
        groups=groups or {},
    )
    mapping = {"reference": reference, "members": [list(places) for places in members]}
    names = [f"class {index}" for index in range(len(members))]
    return write_prepared(
        folder / name, name, {"test": split}, names, optional={"label_map": mapping}
    )


def add_other_labels(manifest: Path, split: str, values: Sequence[Sequence[int]]) -> None:
    index = manifest.parent / split / "index.parquet"
    pd.read_parquet(index).assign(other_labels=list(values)).to_parquet(index, index=False)
    record = json.loads(manifest.read_text())
    record["splits"][split]["sha256"]["index"] = sha256_file(index)
    write_json(manifest, with_sum(without_sum(record)))


def without_sum(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "sha256"}


def run(request: Request) -> tuple[dict, pd.DataFrame]:
    path = evaluate_suite(request)[0]
    return json.loads(path.read_text()), pd.read_parquet(path.with_name("predictions.parquet"))


def logits_of(theta_path: Path, manifest: Path, splits: Sequence[str] = ("test",)) -> np.ndarray:
    theta = load_theta(theta_path)
    model = build_classifier(theta.header, theta.tensors)
    with torch.inference_mode():
        parts = [
            model(images).numpy()
            for split in splits
            for images, _ in batches(open_split(manifest, split, Transform(size=32)), BATCH)
        ]
    return np.concatenate(parts)


def project(logits: np.ndarray, members: Sequence[Sequence[int]]) -> np.ndarray:
    columns = [
        np.max([logits[:, place] for place in places], axis=0)
        if places
        else np.full(len(logits), -np.inf, dtype=np.float32)
        for places in members
    ]
    return np.stack(columns, axis=1)


def row_of(metrics: dict, view: str, split: str = "test", alpha: str = "1.000") -> dict:
    found = [
        row
        for row in metrics["rows"]
        if (row["view"], row["split"], row["alpha"], row["combination"])
        == (view, split, alpha, "weight")
    ]
    assert len(found) == 1
    return found[0]


def view(name: str = "all", **settings: Any) -> dict[str, Any]:
    return {"name": name, **settings}


@pytest.fixture
def mapped_request(request_for: Build, tmp_path: Path) -> Build:
    """Requests for the mapped dataset; `groups` and `views` as given."""

    def build(views: list[dict], groups: Mapping[str, Sequence[Any]] | None = None, **changes: Any):
        manifest = write_mapped(tmp_path / "datasets", groups=groups)
        wanted = evaluation(("mapped",), splits=["test"], views=views)
        return request_for(manifests=[manifest], evaluate=wanted, **changes)

    return build


def test_a_label_map_takes_the_largest_of_the_members(mapped_request: Build, ends: Ends) -> None:
    request = mapped_request([view()])
    metrics, table = run(request)
    logits = project(logits_of(ends.theta_1, request.manifests[0]), MEMBERS)
    ordered = np.sort(logits, axis=1)
    assert np.array_equal(table["weight/all/1.000/prediction"], logits.argmax(axis=1))
    assert np.array_equal(table["weight/all/1.000/top1"], ordered[:, -1])
    assert np.array_equal(table["weight/all/1.000/top2"], ordered[:, -2])
    # The class without members is never predicted, and its samples are errors.
    assert set(table["weight/all/1.000/prediction"]) == {0, 2}
    right = table["weight/all/1.000/prediction"] == table["label"]
    assert not right[table["label"] == 1].any()
    row = row_of(metrics, "all")
    assert (row["n"], row["n_correct"]) == (N_MAPPED, int(right.sum()))
    assert 0 < row["n_correct"] < N_MAPPED
    assert list(table.columns[:4]) == ["split", "sample_id", "base_id", "label"]
    assert not any(name.endswith("/label") for name in table.columns)


def test_output_space_is_projected_after_mixing(mapped_request: Build, ends: Ends) -> None:
    request = mapped_request([view()])
    _, table = run(request)
    both = [
        torch.from_numpy(logits_of(end, request.manifests[0]))
        for end in (ends.theta_0, ends.theta_1)
    ]
    expected = project(torch.lerp(both[0], both[1], 0.5).numpy(), MEMBERS)
    assert np.array_equal(table["output/all/0.500/top1"], expected.max(axis=1))


def test_a_linear_classifier_is_projected_too(mapped_request: Build, ends: Ends) -> None:
    request = mapped_request([view()], theta_1=ends.linear)
    _, table = run(request)
    expected = project(logits_of(ends.linear, request.manifests[0]), MEMBERS)
    assert np.array_equal(table["weight/all/1.000/top1"], expected.max(axis=1))


def test_the_reference_seen_like_a_dataset(
    request_for: Build, ends: Ends, manifest: Path, tmp_path: Path
) -> None:
    like = write_mapped(tmp_path / "datasets")
    views = [view(), view("mapped-classes", like="mapped")]
    request = request_for(evaluate=evaluation(views=views), like=[like])
    metrics, table = run(request)
    owner = np.array([0, -1, 0, 2])
    labels = owner[table["label"]]
    assert str(table["mapped-classes/label"].dtype) == "int32"
    assert table["mapped-classes/label"].tolist() == labels.tolist()
    covered = labels >= 0
    logits = project(logits_of(ends.theta_1, manifest, ("held-out", "test")), MEMBERS)
    found = table["weight/mapped-classes/1.000/prediction"]
    assert np.array_equal(found[covered], logits.argmax(axis=1)[covered])
    assert (found[~covered] == -1).all()
    assert table["weight/mapped-classes/1.000/top1"][~covered].isna().all()
    assert np.array_equal(
        table["weight/mapped-classes/1.000/top2"][covered], np.sort(logits, axis=1)[covered, -2]
    )
    for split in ("held-out", "test"):
        here = (covered & (table["split"] == split)).to_numpy()
        row = row_of(metrics, "mapped-classes", split)
        assert row["n"] == here.sum() < (table["split"] == split).sum()
        assert row["n_correct"] == int((found[here] == labels[here]).sum())
    # The view beside it is what it is without.
    alone, _ = run(request_for(output_dir=tmp_path / "alone"))
    assert [row for row in metrics["rows"] if row["view"] == "all"] == alone["rows"]
    assert metrics["views"]["mapped-classes"]["like"] == "mapped"
    assert metrics["views"]["all"] == alone["views"]["all"]


def test_anchors_and_all_frames(mapped_request: Build, ends: Ends) -> None:
    anchor = [index % 5 == 2 for index in range(N_MAPPED)]
    views = [view("pm-0", where="anchor"), view("pm-10", metric="all-frames-accuracy")]
    request = mapped_request(views, groups={"anchor": anchor})
    metrics, table = run(request)
    logits = project(logits_of(ends.theta_1, request.manifests[0]), MEMBERS)
    right = logits.argmax(axis=1) == table["label"].to_numpy()
    row = row_of(metrics, "pm-0")
    assert row["metric"] == "accuracy"
    assert (row["n"], row["n_correct"]) == (8, int(right[anchor].sum()))
    assert (table.loc[~np.array(anchor), "weight/pm-0/1.000/prediction"] == -1).all()
    assert np.array_equal(table["weight/pm-10/1.000/prediction"], logits.argmax(axis=1))
    row = row_of(metrics, "pm-10")
    frames = right.reshape(8, 5).all(axis=1)
    assert (row["n"], row["n_correct"], row["value"]) == (8, int(frames.sum()), frames.mean())


def test_all_frames_are_those_that_the_view_covers(mapped_request: Build) -> None:
    near = [index % 5 < 2 and index >= 10 for index in range(N_MAPPED)]
    views = [view("pm-1", metric="all-frames-accuracy", where="near")]
    metrics, table = run(mapped_request(views, groups={"near": near}))
    here = table[near]
    right = here["weight/pm-1/1.000/prediction"] == here["label"]
    frames = right.groupby(here["base_id"]).all()
    row = row_of(metrics, "pm-1")
    assert (row["n"], row["n_correct"]) == (6, int(frames.sum()))


def test_worst_group(mapped_request: Build) -> None:
    region = ["Asia", "Europe", "Other", "Asia"] * (N_MAPPED // 4)
    views = [view(metric="worst-group-accuracy", group="region", ignore=["Other"])]
    metrics, table = run(mapped_request(views, groups={"region": region}))
    right = table["weight/all/1.000/prediction"] == table["label"]
    expected = right.groupby(table["group_region"]).mean().drop("Other")
    row = row_of(metrics, "all")
    assert row["value"] == pytest.approx(expected.min())
    assert row["groups"] == {
        name: {"n": n, "n_correct": int(right[table["group_region"] == name].sum())}
        for name, n in (("Asia", 20), ("Europe", 10))
    }
    worst = row["groups"][expected.idxmin()]
    assert (row["n"], row["n_correct"]) == (worst["n"], worst["n_correct"])


def test_macro_f1(mapped_request: Build) -> None:
    metrics, table = run(mapped_request([view(metric="macro-f1")]))
    label, found = table["label"], table["weight/all/1.000/prediction"]
    expected = f1_score(label, found, average="macro", labels=np.unique(label), zero_division=0)
    row = row_of(metrics, "all")
    assert row["value"] == pytest.approx(expected, abs=1e-12)
    assert (row["n"], row["n_correct"], row["groups"]) == (N_MAPPED, None, None)


def test_further_labels_count_as_right(mapped_request: Build, ends: Ends) -> None:
    request = mapped_request([view(), view("pm-10", metric="all-frames-accuracy")])
    others = [[2] if index % 2 else [] for index in range(N_MAPPED)]
    add_other_labels(request.manifests[0], "test", others)
    metrics, table = run(request)
    found = project(logits_of(ends.theta_1, request.manifests[0]), MEMBERS).argmax(axis=1)
    right = (found == table["label"]) | ((found == 2) & (np.arange(N_MAPPED) % 2 == 1))
    assert right.sum() > (found == table["label"]).sum()
    assert row_of(metrics, "all")["n_correct"] == right.sum()
    frames = right.to_numpy().reshape(8, 5).all(axis=1)
    assert row_of(metrics, "pm-10")["n_correct"] == frames.sum()
    assert [list(each) for each in table["other_labels"]] == others


def test_classes_that_share_a_name_are_two(
    request_for: Build, ends: Ends, manifest: Path, tmp_path: Path
) -> None:
    names = ["zero", "one", "one", "three"]
    theta = tmp_path / "twice.safetensors"
    save_theta(theta, tiny_tensors(1), tiny_header("fine-tuned", "finetune", class_names=names))
    record = without_sum(json.loads(manifest.read_text())) | {"class_names": names}
    twin = write_dataset(tmp_path / "twin")
    write_json(twin, with_sum(record))
    wanted = {"theta_0": None, "theta_1": theta, "alphas": ["1.000"], "manifests": [twin]}
    _, table = run(request_for(**wanted))
    expected = logits_of(ends.theta_1, manifest, ("held-out", "test")).argmax(axis=1)
    assert np.array_equal(table["weight/all/1.000/prediction"], expected)
    assert {1, 2} <= set(expected)


@pytest.mark.parametrize(
    ("views", "groups", "message"),
    [
        ([view(where="anchor")], {}, r"view all of mapped, split test goes by group anchor, but"),
        ([view(where="anchor")], {"anchor": ["yes"] * N_MAPPED}, "anchor is true, but one is 'yes"),
        ([view(where="anchor")], {"anchor": [False] * N_MAPPED}, "covers no sample"),
        (
            [view(metric="worst-group-accuracy", group="region")],
            {"continent": ["Asia"] * N_MAPPED},
            "goes by group region, but the samples' groups are continent",
        ),
        (
            [view(metric="worst-group-accuracy", group="region", ignore=["Asia"])],
            {"region": ["Asia"] * N_MAPPED},
            "no sample has a group but Asia",
        ),
        ([view(like="mapped")], {}, r"may be like are none"),
    ],
)
def test_views_that_do_not_fit(
    mapped_request: Build,
    monkeypatch: pytest.MonkeyPatch,
    views: list[dict],
    groups: dict[str, Sequence[Any]],
    message: str,
) -> None:
    monkeypatch.setattr(chunks, "batches", lambda *_: pytest.fail("it worked before it looked"))
    request = mapped_request(views, groups=groups)
    with pytest.raises(WiseftError, match=message):
        run(request)
    assert not request.output_dir.exists()


def test_several_right_labels_have_no_macro_f1(mapped_request: Build) -> None:
    request = mapped_request([view(metric="macro-f1")])
    add_other_labels(request.manifests[0], "test", [[1]] * N_MAPPED)
    with pytest.raises(WiseftError, match="one right label a sample"):
        run(request)


def test_several_right_labels_cannot_be_seen_like_another(
    request_for: Build, tmp_path: Path
) -> None:
    like, shapes = write_mapped(tmp_path / "datasets"), write_dataset(tmp_path / "more")
    add_other_labels(shapes, "test", [[1]] * 46)
    views = [view("mapped-classes", like="mapped")]
    wanted = evaluation(views=views, splits=["test"])
    with pytest.raises(WiseftError, match="several right labels"):
        run(request_for(manifests=[shapes], evaluate=wanted, like=[like]))


def test_a_head_of_another_reference(mapped_request: Build) -> None:
    request = mapped_request([view()], metadata=METADATA | {"reference": "letters"})
    with pytest.raises(
        WiseftError, match=r"a label map to shapes, but the head predicts 4 classes"
    ):
        run(request)


def test_command_takes_what_views_are_like(ends: Ends, manifest: Path, tmp_path: Path) -> None:
    like = [write_mapped(tmp_path / "d", name) for name in ("mapped", "other")]
    views = [view(), view("mapped-classes", like="mapped"), view("other-classes", like="other")]
    options = {
        "--theta-1": ends.theta_1,
        "--alphas": "1.000",
        "--dataset": manifest,
        "--evaluate": json.dumps({"shapes": {"splits": ["test"], "views": views}}),
        "--output-dir": tmp_path / "evaluate",
        "--batch-size": BATCH,
        "--device": "cpu",
        **{f"--{name}": value for name, value in METADATA.items()},
    }
    arguments = [str(item) for pair in options.items() for item in pair]
    arguments += [str(item) for path in like for item in ("--like", path)]
    result = CliRunner().invoke(app, ["evaluate", *arguments])
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "evaluate" / "shapes" / "metrics.json").read_text())
    assert {row["view"] for row in metrics["rows"]} == {"all", "mapped-classes", "other-classes"}
    assert len(CLASSES) == 4  # of which the map names three


def test_the_tables_confirm_every_metric(
    request_for: Build, manifest: Path, tmp_path: Path
) -> None:
    """What the stage evaluate writes is what the stage tabulate recomputes."""
    groups = {
        "region": ["Asia", "Europe", "Other", None] * (N_MAPPED // 4),
        "anchor": [index % 5 == 2 for index in range(N_MAPPED)],
    }
    mapped = write_mapped(tmp_path / "datasets", groups=groups)
    add_other_labels(mapped, "test", [[2] if index % 7 == 0 else [] for index in range(N_MAPPED)])
    views = [
        view("pm-0", where="anchor"),
        view("pm-10", metric="all-frames-accuracy"),
        view("worst", metric="worst-group-accuracy", group="region", ignore=["Other"]),
    ]
    seen = [view(), view("mapped-classes", like="mapped"), view("f1", metric="macro-f1")]
    wanted = {
        "shapes": {"splits": ["held-out", "test"], "views": seen},
        "mapped": {"splits": ["test"], "views": views},
    }
    written = evaluate_suite(
        request_for(
            manifests=[manifest, mapped],
            evaluate=SuiteEvaluation.model_validate(wanted),
            like=[mapped],
        ),
    )
    settings = TabulateSettings.model_validate(
        {
            "averages": {"shifts": ["mapped"]},
            "held_out": {"dataset": "shapes", "split": "held-out"},
            "test_split": "test",
            "reference": "shapes",
            "bootstrap": {"resamples": 100, "seed": 0},
            "views": {"mapped": "worst"},
        }
    )
    beside = [path.with_name("predictions.parquet") for path in written]
    table = tabulate("demo", settings, written, beside).table
    rows = [row for path in written for row in json.loads(path.read_text())["rows"]]
    grid = table[(table["selection"] == "grid") & ~table["dataset"].str.startswith("avg:")]
    grid = grid[~grid["view"].str.contains("/")]  # single clusters, where there are few
    assert len(grid) == len(rows) == 6 * (3 + 3 + 3)
    assert sorted(grid["value"]) == sorted(row["value"] for row in rows)
    assert (grid["ci_low"].isna() == (grid["ci_method"] == "too-few-clusters")).all()
    average = table[(table["dataset"] == "avg:shifts") & (table["selection"] == "grid")]
    worst = grid[grid["view"] == "worst"]
    assert sorted(average["value"]) == sorted(worst["value"])
    assert set(average["metric"]) == {"mean"}


def test_entropy_and_confidence_are_of_the_softmax_over_the_classes() -> None:
    logits = 8 * torch.randn(200, 7, generator=torch.Generator().manual_seed(0))
    logits[:, 3] = -torch.inf  # a class that can't be predicted
    for given in (logits, logits.log_softmax(dim=1), logits + 50):
        found, shares = predict(given), logits.double().softmax(dim=1)
        np.testing.assert_allclose(
            found.entropy, torch.special.entr(shares).sum(dim=1), rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(found.confidence, shares.amax(dim=1), rtol=1e-5)
    assert found.entropy.dtype == found.confidence.dtype == np.float32


def test_entropy_of_certainty_is_zero_and_of_ignorance_the_most() -> None:
    found = predict(torch.tensor([[3e38, -3e38, 0.0], [2.0, 2.0, 2.0], [0.0, 0.0, -torch.inf]]))
    np.testing.assert_allclose(found.entropy, np.log([1.0, 3.0, 2.0]), rtol=1e-6)
    np.testing.assert_allclose(found.confidence, [1, 1 / 3, 1 / 2], rtol=1e-6)
