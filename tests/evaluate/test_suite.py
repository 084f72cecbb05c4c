"""The sweep against models evaluated one by one, and the two files it writes."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import PIL
import pytest
import torch
from scipy import special
from tests.evaluate.conftest import (
    BATCH,
    CLASSES,
    METADATA,
    Ends,
    N,
    evaluation,
    prepared_split,
    tiny_header,
    tiny_tensors,
    write_dataset,
)
from typer.testing import CliRunner

from wiseft.base.messages import shown
from wiseft.base.provenance import made_with
from wiseft.base.stages import VERSION
from wiseft.cli import app
from wiseft.combine.files import interpolate_files
from wiseft.errors import WiseftError
from wiseft.evaluate import chunks, suite
from wiseft.evaluate.request import Request
from wiseft.evaluate.suite import evaluate_suite
from wiseft.images import feed
from wiseft.images.store import batches, open_manifest, open_split
from wiseft.models.classifier import build_classifier
from wiseft.models.footprint import usual_batch_size
from wiseft.study.data.prepared import write_prepared
from wiseft.thetas.preprocessing import Transform
from wiseft.thetas.theta import load_theta, save_theta

Build = Callable[..., Request]
PARTS = ("prediction", "top1", "top2", "entropy", "confidence")


def run(request: Request) -> tuple[dict, pd.DataFrame]:
    (path,) = evaluate_suite(request)
    return json.loads(path.read_text()), pd.read_parquet(path.with_name("predictions.parquet"))


def direct_logits(theta_path: Path, manifest: Path) -> np.ndarray:
    """The logits of one file, over both splits, computed without the sweep."""
    theta = load_theta(theta_path)
    model = build_classifier(theta.header, theta.tensors)
    with torch.inference_mode():
        parts = [
            model(images).numpy()
            for split in N
            for images, _ in batches(open_split(manifest, split, Transform(size=32)), BATCH)
        ]
    return np.concatenate(parts)


def assert_columns(table: pd.DataFrame, prefix: str, logits: np.ndarray) -> None:
    ordered = np.sort(logits, axis=1)
    assert np.array_equal(table[f"{prefix}/prediction"], logits.argmax(axis=1))
    assert np.array_equal(table[f"{prefix}/top1"], ordered[:, -1])
    assert np.array_equal(table[f"{prefix}/top2"], ordered[:, -2])
    assert_softmax(table, prefix, logits)


def assert_softmax(table: pd.DataFrame, prefix: str, logits: np.ndarray) -> None:
    shares = special.softmax(logits.astype(np.float64), axis=1)
    entropy, confidence = special.entr(shares).sum(axis=1), shares.max(axis=1)
    np.testing.assert_allclose(table[f"{prefix}/entropy"], entropy, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(table[f"{prefix}/confidence"], confidence, rtol=1e-5)
    assert table[f"{prefix}/entropy"].dtype == table[f"{prefix}/confidence"].dtype == np.float32


@pytest.mark.parametrize("chunk_bytes", [1, 128 * 2**20])
def test_sweep_equals_evaluating_the_written_file(
    request_for: Build,
    ends: Ends,
    manifest: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chunk_bytes: int,
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", chunk_bytes)
    grid = ["0.000", "0.100", "0.500", "1.000"]
    metrics, table = run(request_for(alphas=grid))
    distinct = set()
    for alpha in grid:
        file = tmp_path / f"{alpha}.safetensors"
        interpolate_files(ends.theta_0, ends.theta_1, alpha, file)
        alone = request_for(
            theta_0=None, theta_1=file, alphas=["1.000"], output_dir=tmp_path / alpha
        )
        other_metrics, other = run(alone)
        for part in PARTS:
            assert table[f"weight/all/{alpha}/{part}"].equals(other[f"weight/all/1.000/{part}"])
        assert_columns(table, f"weight/all/{alpha}", direct_logits(file, manifest))
        counts = {
            row["split"]: row["n_correct"]
            for row in metrics["rows"]
            if (row["combination"], row["alpha"]) == ("weight", alpha)
        }
        assert counts == {row["split"]: row["n_correct"] for row in other_metrics["rows"]}
        distinct.add(tuple(table[f"weight/all/{alpha}/top1"]))
    assert len(distinct) == len(grid)  # otherwise equality would show nothing


def test_output_space_mixes_the_logits_of_the_ends(
    request_for: Build, ends: Ends, manifest: Path
) -> None:
    _, table = run(request_for(alphas=["0.300", "1.000"]))
    start = torch.from_numpy(direct_logits(ends.theta_0, manifest))
    end = torch.from_numpy(direct_logits(ends.theta_1, manifest))
    assert_columns(table, "output/all/0.300", torch.lerp(start, end, 0.3).numpy())
    assert_columns(table, "output/all/1.000", end.numpy())
    differs = table["output/all/0.300/prediction"] != table["weight/all/0.300/prediction"]
    assert differs.any()
    assert not any("/0.000/" in column for column in table.columns)


def test_linear_classifier_takes_one_feature_pass(
    request_for: Build,
    ends: Ends,
    manifest: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    original = suite.make_sweep

    def counting(*arguments):
        sweep = original(*arguments)
        sweep.model.image.register_forward_hook(lambda *_: calls.append(1))
        return sweep

    monkeypatch.setattr(suite, "make_sweep", counting)
    grid = ["0.000", "0.250", "0.500", "1.000"]
    metrics, table = run(request_for(theta_1=ends.linear, alphas=grid))
    assert len(calls) == sum(-(-n // BATCH) for n in N.values())
    assert {row["combination"] for row in metrics["rows"]} == {"weight"}
    start, end = direct_logits(ends.theta_0, manifest), direct_logits(ends.linear, manifest)
    assert_columns(table, "weight/all/0.000", start)
    assert_columns(table, "weight/all/1.000", end)
    compared = 0
    for alpha in ("0.250", "0.500"):
        file = tmp_path / f"{alpha}.safetensors"
        interpolate_files(ends.theta_0, ends.linear, alpha, file)
        logits = direct_logits(file, manifest)
        np.testing.assert_allclose(table[f"weight/all/{alpha}/top1"], logits.max(axis=1), rtol=1e-4)
        clear = table[f"weight/all/{alpha}/top1"] - table[f"weight/all/{alpha}/top2"] > 1e-4
        found = table[f"weight/all/{alpha}/prediction"]
        assert np.array_equal(found[clear], logits.argmax(axis=1)[clear])
        compared += int(clear.sum())
    assert compared > sum(N.values())


def test_a_pass_on_a_cpu_has_the_pixels_of_500_digits_at_most(request_for: Build) -> None:
    """Those of the digits, 32 pixels each, are what they were."""
    sizes = {size: usual_batch_size("cpu", size) for size in (16, 32, 96, 224, 800)}
    assert sizes == {16: 500, 32: 500, 96: 55, 224: 10, 800: 1}
    assert usual_batch_size("cuda", 336) == 500
    metrics, _ = run(dataclasses.replace(request_for(), batch_size=None))
    assert metrics["how"]["batch_size"] == 500


def test_the_batch_size_changes_predictions_by_rounding_alone(
    request_for: Build, tmp_path: Path
) -> None:
    large = write_prepared(tmp_path / "d", "shapes", {"test": prepared_split(520, 3)}, CLASSES)
    ends = [tmp_path / "theta_0", tmp_path / "theta_1"]
    for seed, path in enumerate(ends):
        save_theta(path, tiny_tensors(seed), tiny_header())
    request = request_for(
        theta_0=ends[0],
        theta_1=ends[1],
        manifests=[large],
        evaluate=evaluation(splits=["test"]),
    )
    found = {}
    for size in (500, 64, 7):
        here = dataclasses.replace(request, batch_size=size, output_dir=tmp_path / str(size))
        metrics, found[size] = run(here)
        assert metrics["how"]["batch_size"] == size
    whole, compared = found.pop(500), 0
    columns = {name.rpartition("/")[0] for name in whole if name.endswith("/prediction")}
    assert len(columns) == 2 * 3
    for other in found.values():
        for column in columns:
            clear = whole[f"{column}/top1"] - whole[f"{column}/top2"] > 1e-4
            here, there = (table[f"{column}/prediction"][clear] for table in (whole, other))
            assert here.equals(there)
            compared += int(clear.sum())
            for part in PARTS[1:]:
                np.testing.assert_allclose(
                    other[f"{column}/{part}"], whole[f"{column}/{part}"], rtol=1e-4, atol=1e-4
                )
    assert all(whole[f"{column}/prediction"].nunique() > 1 for column in columns)
    assert compared > 0.9 * 2 * len(columns) * len(whole)


def test_metrics_against_counts_by_hand(request_for: Build, ends: Ends, manifest: Path) -> None:
    metrics, table = run(request_for())
    of_content = ["format", "dataset", *METADATA, "identity", "how", "views", "rows"]
    assert list(metrics) == [*of_content, "predictions_sha256", "sha256"]
    assert metrics["format"] == 1
    assert metrics["dataset"] == "shapes"
    assert {name: metrics[name] for name in METADATA} == METADATA
    assert len(metrics["rows"]) == len(N) * 2 * 3
    for row in metrics["rows"]:
        here = table[table["split"] == row["split"]]
        prefix = f"{row['combination']}/{row['view']}/{row['alpha']}"
        correct = sum(
            int(label == guess)
            for label, guess in zip(here["label"], here[f"{prefix}/prediction"], strict=True)
        )
        assert row["n"] == N[row["split"]] == len(here)
        assert row["n_correct"] == correct
        assert row["value"] == correct / row["n"]
        assert (row["metric"], row["groups"]) == ("accuracy", None)
    logits = direct_logits(ends.theta_1, manifest)
    labels = np.concatenate([open_split(manifest, split).labels for split in N])
    right = int((logits.argmax(axis=1) == labels)[N["held-out"] :].sum())
    key = ("test", "weight", "1.000")
    (row,) = [r for r in metrics["rows"] if (r["split"], r["combination"], r["alpha"]) == key]
    assert row["n_correct"] == right
    assert 0 < right < N["test"]


def test_identity_and_predictions_format(request_for: Build, ends: Ends, manifest: Path) -> None:
    metrics, table = run(request_for())
    identity = metrics["identity"]
    assert identity["theta_0"] == load_theta(ends.theta_0).identity
    assert identity["theta_1"] == load_theta(ends.theta_1).identity
    assert identity["manifest"] == open_manifest(manifest).identity(list(N))
    assert identity["splits"] == list(N)
    assert "views" not in identity
    assert metrics["views"]["all"]["metric"] == "accuracy"
    assert identity["precision"] == "fp32"
    assert identity["stage_version"] == VERSION["evaluate"]
    assert len(identity) == 6
    how = {"batch_size": 10, "threads": torch.get_num_threads(), "device_type": "cpu"}
    assert metrics["how"] == how | {"device": platform.machine()} | made_with()
    libraries = {"torch", "Pillow", "timm", "transformers", "open_clip_torch"}
    assert libraries < metrics["how"]["versions"].keys()
    assert metrics["how"]["versions"]["Pillow"] == PIL.__version__
    assert metrics["how"]["machine"]["cpu"]
    first = ["split", "sample_id", "base_id", "label", "group_writer"]
    assert list(table.columns[:5]) == first
    wanted = [
        f"{combination}/all/{alpha}/{part}"
        for combination in ("weight", "output")
        for alpha in ("0.000", "0.500", "1.000")
        for part in PARTS
    ]
    assert list(table.columns[5:]) == wanted
    assert str(table["label"].dtype) == "int64"
    assert str(table["weight/all/0.500/prediction"].dtype) == "int32"
    assert str(table["weight/all/0.500/top1"].dtype) == "float32"
    held_out, test = open_split(manifest, "held-out"), open_split(manifest, "test")
    assert table["sample_id"].tolist() == held_out.sample_ids + test.sample_ids
    assert table["base_id"].tolist() == held_out.base_ids + test.base_ids
    assert table["label"].tolist() == [*held_out.labels, *test.labels]


def test_a_grid_that_grew_names_the_software_of_its_earlier_passes(
    request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = run(request_for(alphas=["0", "1"]))
    again, _ = run(request_for(alphas=["0", "1", "0.25"]))
    assert "earlier" not in again["how"], "nothing changed in between"
    newer = {key: first["how"][key] for key in ("commit", "machine")}
    newer["versions"] = first["how"]["versions"] | {"Pillow": "99"}
    monkeypatch.setattr(suite, "made_with", lambda: newer)
    grown, _ = run(request_for(alphas=["0", "1", "0.25", "0.75"]))
    assert grown["how"]["versions"]["Pillow"] == "99"
    (earlier,) = grown["how"]["earlier"]
    assert earlier == {key: first["how"][key] for key in ("versions", "commit", "machine")}
    again, _ = run(request_for(alphas=["0", "0.1", "1", "0.25", "0.75"]))
    assert again["how"]["earlier"] == [earlier], "once"


def test_suite_of_two(request_for: Build, manifest: Path, tmp_path: Path) -> None:
    second = write_dataset(tmp_path / "datasets", "blobs", shift=5)
    lines: list[str] = []
    with shown(lines.append):
        paths = evaluate_suite(
            request_for(manifests=[manifest, second], evaluate=evaluation(("blobs", "shapes"))),
        )
    assert [path.parent.name for path in paths] == ["shapes", "blobs"]
    assert [line.split(":")[0] for line in lines] == ["evaluate 1/2 shapes", "evaluate 2/2 blobs"]
    assert all("63 images x 3 alphas" in line and "/s)" in line for line in lines)
    assert {json.loads(path.read_text())["dataset"] for path in paths} == {"shapes", "blobs"}
    alone, _ = run(request_for(output_dir=tmp_path / "alone"))
    assert json.loads(paths[0].read_text()) == alone


@pytest.mark.parametrize(
    ("alphas", "message"),
    [
        (["1.5"], "outside"),
        (["0.1234"], "three decimals"),
        (["0.5", "0.500"], "more than once"),
        (["half"], "not a number"),
        ([], "empty"),
    ],
)
def test_bad_alphas(request_for: Build, alphas: list[str], message: str) -> None:
    request = request_for(alphas=alphas)
    with pytest.raises(WiseftError, match=message):
        evaluate_suite(request)
    assert not request.output_dir.exists()


def test_one_theta_has_alpha_one_only(request_for: Build) -> None:
    with pytest.raises(WiseftError, match="without theta_0 only alpha 1"):
        run(request_for(theta_0=None, alphas=["0.500", "1.000"]))
    metrics, _ = run(request_for(theta_0=None, alphas=["1"]))
    assert {(row["combination"], row["alpha"]) for row in metrics["rows"]} == {("weight", "1.000")}
    assert metrics["identity"]["theta_0"] is None


def test_misfits(request_for: Build, manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(WiseftError, match="must name the same datasets"):
        run(request_for(evaluate=evaluation(("other",))))
    with pytest.raises(WiseftError, match="must name the same datasets"):
        run(request_for(manifests=[manifest, manifest]))
    with pytest.raises(WiseftError, match="no split"):
        run(request_for(evaluate=evaluation(splits=["validation"])))
    with pytest.raises(WiseftError, match="batch size"):
        run(request_for(batch_size=0))
    names = ["one", "zero", "two", "three"]
    swapped = write_prepared(tmp_path / "d", "shapes", {"test": prepared_split(9, 0)}, names)
    with pytest.raises(WiseftError, match="the same order"):
        run(request_for(manifests=[swapped], evaluate=evaluation(splits=["test"])))
    other = tmp_path / "other.safetensors"
    header = tiny_header("fine-tuned", "finetune", class_names=names)
    save_theta(other, tiny_tensors(1), header)
    with pytest.raises(WiseftError, match="differ in class_names"):
        run(request_for(theta_1=other))
    assert not (tmp_path / "evaluate").exists()


def test_images_that_are_read_ahead_change_no_byte(
    request_for: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(request_for(output_dir=tmp_path / "plain"))
    monkeypatch.setattr(feed, "usual_reading", lambda *_: feed.Reading(3, 2))
    run(request_for(output_dir=tmp_path / "ahead"))
    for file in ("metrics.json", "predictions.parquet"):
        plain, ahead = (tmp_path / way / "shapes" / file for way in ("plain", "ahead"))
        assert plain.read_bytes() == ahead.read_bytes()


def test_short_split_is_an_error(request_for: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*arguments):
        yield from list(batches(*arguments))[:-1]

    monkeypatch.setattr(chunks, "batches", short)
    request = request_for()
    with pytest.raises(
        WiseftError, match="held-out: evaluated 10 samples, but the manifest has 17"
    ):
        run(request)
    assert not list(request.output_dir.glob("*/*"))


def test_logits_that_are_not_finite(request_for: Build, tmp_path: Path) -> None:
    sound = tiny_tensors(1)
    weight = sound["head.weight"] * (3e38 / sound["head.weight"].abs().max())
    huge = sound | {"head.weight": weight, "head.bias": torch.full((4,), 3.3e38)}
    path = tmp_path / "huge.safetensors"
    save_theta(path, huge, tiny_header("fine-tuned", "finetune"))
    with pytest.raises(WiseftError, match="NaN or an infinity"):
        run(request_for(theta_0=None, theta_1=path, alphas=["1.000"]))


def test_command(ends: Ends, manifest: Path, tmp_path: Path) -> None:
    one = {"splits": ["test"], "views": [{"name": "all", "metric": "accuracy"}]}
    options = {
        "--theta-0": ends.theta_0,
        "--theta-1": ends.theta_1,
        "--alphas": "0.000,0.500,1.000",
        "--dataset": manifest,
        "--evaluate": json.dumps({"shapes": one}),
        "--output-dir": tmp_path / "evaluate",
        "--batch-size": 10,
        "--device": "cpu",
        **{f"--{name}": value for name, value in METADATA.items()},
    }
    arguments = [str(item) for pair in options.items() for item in pair]
    result = CliRunner().invoke(app, ["evaluate", *arguments])
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "evaluate" / "shapes" / "metrics.json").read_text())
    assert {name: metrics[name] for name in METADATA} == METADATA
    assert [row["alpha"] for row in metrics["rows"]] == 2 * ["0.000", "0.500", "1.000"]

    broken = {"shapes": one | {"split": ["test"]}}
    arguments[arguments.index("--evaluate") + 1] = json.dumps(broken)
    result = CliRunner().invoke(app, ["evaluate", *arguments])
    assert isinstance(result.exception, WiseftError)
    assert "split" in str(result.exception)


def test_unwritable_output_is_found_before_the_work(
    request_for: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "batches", lambda *_: pytest.fail("it worked before it looked"))
    (tmp_path / "file").write_text("")
    with pytest.raises(WiseftError, match="cannot write"):
        run(request_for(output_dir=tmp_path / "file" / "evaluate"))
