"""From two evaluations to their measures, with label maps, views and what may be wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.evaluate.conftest import METADATA, N, prepared_split

from wiseft.base.io import sha256_file
from wiseft.cli import main
from wiseft.errors import DamagedFile, WiseftError
from wiseft.evaluate.request import Request
from wiseft.evaluate.suite import evaluate_suite
from wiseft.study.data.prepared import write_prepared
from wiseft.study.diversity import measures
from wiseft.study.diversity.pairs import Pair, measure_pair
from wiseft.tabulate.stage import diversity_rows
from wiseft.thetas.damage import with_sum
from wiseft.thetas.tensor_file import StoredTensors

Build = Callable[..., Request]
GRID = ["0.000", "0.500", "1.000"]
STORED = ["0.000", "1.000"]
N_TEST = N["test"]


@pytest.fixture
def linear(request_for: Build, head_only: Path, tmp_path: Path) -> Path:
    """The evaluation of a linear classifier with its logits."""
    metadata = METADATA | {
        "method": "linear-classifier",
        "run": "tiny-s0__shapes__linear-classifier",
    }
    folder = tmp_path / "linear"
    request = request_for(theta_1=head_only, alphas=GRID, logits=STORED, metadata=metadata)
    evaluate_suite(replace(request, output_dir=folder))
    return folder


def measured(pair: Pair, manifest: Path, tmp_path: Path, **views: str) -> dict[str, Any]:
    (path,) = measure_pair(pair, [manifest], views, manifest, "test", tmp_path / "out")
    return json.loads(path.read_text())


def by_metric(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["metric"]: row for row in content["rows"]}


def stored(folder: Path, alpha: str) -> np.ndarray:
    """Logits of the test split, whose rows come last."""
    tensor = StoredTensors(folder / "shapes" / "logits.safetensors")[f"weight/{alpha}"]
    return tensor[-N_TEST:].float().numpy()


def column(folder: Path, name: str) -> np.ndarray:
    table = pd.read_parquet(folder / "shapes" / "predictions.parquet")
    return table.loc[table["split"] == "test", name].to_numpy()


def test_both_ends_of_a_run(linear: Path, manifest: Path, tmp_path: Path) -> None:
    content = measured(Pair(linear), manifest, tmp_path)
    assert content["first"] == "zero-shot"
    assert (content["method"], content["seed"], content["split"]) == (
        "linear-classifier",
        0,
        "test",
    )
    rows = by_metric(content)
    labels = column(linear, "label")
    f, g, both = (column(linear, f"weight/all/{alpha}/prediction") for alpha in (*STORED, "0.500"))
    assert (f != g).any()
    one_right = int(((f == labels) != (g == labels)).sum())
    assert rows["prediction-diversity"]["n_correct"] == one_right
    assert rows["prediction-diversity"]["value"] == one_right / N_TEST
    assert rows["kappa-complement"]["value"] == measures.kappa_complement(f, g)
    logits = [stored(linear, alpha) for alpha in STORED]
    assert rows["kl-divergence"]["value"] == pytest.approx(measures.kl_divergence(*logits))
    assert rows["cka-complement"]["value"] == pytest.approx(measures.cka_complement(*logits))
    assert rows["overrides"]["n"] == int((f != g).sum())
    assert rows["overrides"]["n_correct"] == int(((f != g) & (both == f)).sum())
    assert rows["overridden"]["n_correct"] == int(((f != g) & (both == g)).sum())
    assert rows["overrides"]["alpha"] == "0.500"
    tops = [np.sort(each, axis=1) for each in logits]
    margins = [float((top[:, -1] - top[:, -2]).mean()) for top in tops]
    assert rows["margin-difference"]["value"] == pytest.approx(margins[0] - margins[1], abs=0.02)


def test_two_runs(
    linear: Path,
    manifest: Path,
    request_for: Build,
    tmp_path: Path,
) -> None:
    tuned = tmp_path / "tuned"
    request = request_for(alphas=GRID, logits=STORED, metadata=METADATA | {"variant": "x"})
    evaluate_suite(replace(request, output_dir=tuned))
    content = measured(Pair(linear, tuned), manifest, tmp_path)
    assert content["first"] == "end-to-end__x"
    rows = by_metric(content)
    assert "overrides" not in rows
    f, g = stored(tuned, "1.000"), stored(linear, "1.000")
    assert rows["kl-divergence"]["value"] == pytest.approx(measures.kl_divergence(f, g))
    found = diversity_rows([tmp_path / "out" / "shapes.json"], "e")
    assert set(found["combination"]) == {"pair-with-end-to-end__x"}
    assert set(found["selection"]) == {""}
    share = found[found["metric"] == "prediction-diversity"].iloc[0]
    assert share["ci_low"] < share["value"] < share["ci_high"]
    assert share["ci_method"] == "clopper-pearson"
    assert found[found["metric"] == "kl-divergence"]["ci_low"].isna().all()


def test_a_run_against_itself_has_no_diversity(
    linear: Path,
    manifest: Path,
    tmp_path: Path,
) -> None:
    rows = by_metric(measured(Pair(linear, linear), manifest, tmp_path))
    for metric in ("prediction-diversity", "kappa-complement", "kl-divergence"):
        assert rows[metric]["value"] == 0
    assert rows["cka-complement"]["value"] == pytest.approx(0, abs=1e-9)
    assert rows["margin-difference"]["value"] == 0


def test_logits_are_seen_through_the_label_map(
    request_for: Build,
    head_only: Path,
    manifest: Path,
    tmp_path: Path,
) -> None:
    """Classes `a` (three and one), `b` (zero); `two` is never predicted."""
    members = [[3, 1], [0]]
    split = prepared_split(40, 7, np.arange(40) % 2)
    optional = {"label_map": {"reference": "shapes", "members": members}}
    path = write_prepared(tmp_path / "ab", "ab", {"test": split}, ["a", "b"], optional=optional)
    request = request_for(theta_1=head_only, alphas=GRID, logits=STORED, manifests=[path])
    view = {"splits": ["test"], "views": [{"name": "all", "metric": "accuracy"}]}
    evaluate = type(request.evaluate).model_validate({"ab": view})
    folder = tmp_path / "mapped"
    evaluate_suite(replace(request, evaluate=evaluate, output_dir=folder))
    measure_pair(Pair(folder), [path], {}, manifest, "test", tmp_path / "out")
    rows = by_metric(json.loads((tmp_path / "out" / "ab.json").read_text()))
    tensors = StoredTensors(folder / "ab" / "logits.safetensors")
    both = [tensors[f"weight/{alpha}"].float() for alpha in STORED]
    seen = [torch.stack([e[:, [3, 1]].amax(1), e[:, 0]], dim=1).numpy() for e in both]
    assert rows["kl-divergence"]["value"] == pytest.approx(measures.kl_divergence(*seen))
    assert rows["cka-complement"]["value"] == pytest.approx(measures.cka_complement(*seen))


@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        (lambda folder: (folder / "logits.safetensors").unlink(), "--logits 0.000,1.000"),
        (lambda folder: (folder / "predictions.parquet").unlink(), "predictions.parquet does not"),
        (lambda folder: _other_identity(folder / "metrics.json"), "evaluation beside it"),
    ],
)
def test_what_is_missing_is_said(
    linear: Path,
    manifest: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    part: str,
) -> None:
    spoil(linear / "shapes")
    with pytest.raises(WiseftError, match=part):
        measured(Pair(linear), manifest, tmp_path)
    assert not (tmp_path / "out" / "shapes.json").exists()


def _other_identity(path: Path) -> None:
    content = json.loads(path.read_text())
    content["identity"]["theta_1"] = "0" * 64
    del content["sha256"]
    path.write_text(json.dumps(with_sum(content)))


def test_alpha_of_the_ensemble_must_have_been_evaluated(
    linear: Path,
    manifest: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(WiseftError, match=r"lacks weight/all/0\.300/prediction"):
        measured(Pair(linear, alpha="0.300"), manifest, tmp_path)


def test_other_samples_are_refused(linear: Path, manifest: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(linear, other)
    path = other / "shapes" / "predictions.parquet"
    table = pd.read_parquet(path)
    table["sample_id"] = "x" + table["sample_id"]
    table.to_parquet(path)
    with pytest.raises(DamagedFile, match=r"predictions\.parquet is damaged: expected SHA-256"):
        measured(Pair(linear, other), manifest, tmp_path)
    metrics = json.loads(path.with_name("metrics.json").read_text())
    del metrics["sha256"]
    whole = with_sum(metrics, predictions_sha256=sha256_file(path))
    path.with_name("metrics.json").write_text(json.dumps(whole))
    with pytest.raises(DamagedFile, match="other samples of shapes") as found:
        measured(Pair(linear, other), manifest, tmp_path)
    assert len(found.value.files) == 4


def test_damaged_logits_are_made_again(linear: Path, manifest: Path, tmp_path: Path) -> None:
    path = linear / "shapes" / "logits.safetensors"
    whole = path.read_bytes()
    for place, what in ((len(whole) - 3, "tensors"), (whole.index(b"shapes"), "header")):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DamagedFile, match=f"is damaged: expected {what}") as found:
            measured(Pair(linear), manifest, tmp_path)
        assert found.value.files == [path]


def test_command(linear: Path, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "measures"
    options = ["--second", str(linear), "--dataset", str(manifest), "--reference", str(manifest)]
    with pytest.raises(SystemExit) as done:
        main(["diversity", *options, "--output-dir", str(out)])
    assert done.value.code == 0
    assert len(json.loads((out / "shapes.json").read_text())["rows"]) == 7
