"""Combinations in the space of outputs, and stored logits, out of the one pass."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from tests.evaluate.conftest import (
    CLASSES,
    METADATA,
    Ends,
    N,
    inference,
    tiny_header,
    tiny_tensors,
)

from wiseft.combine.ensembles import softmax_ensemble, uniforms
from wiseft.combine.linear_combination import combine_logits
from wiseft.errors import WiseftError
from wiseft.evaluate.passes import COMBINATIONS, EnsembleSweep, WeightSweep, make_sweep
from wiseft.evaluate.request import Request
from wiseft.evaluate.suite import evaluate_suite
from wiseft.images.store import open_split
from wiseft.models.classifier import build_classifier, classifier_tensors
from wiseft.thetas.tensor_file import StoredTensors, read_file_header
from wiseft.thetas.theta import load_theta, save_theta

Build = Callable[..., Request]
GRID = ["0.000", "0.300", "0.700", "1.000"]


def run(request: Request) -> tuple[dict, pd.DataFrame]:
    (path,) = evaluate_suite(request)
    return json.loads(path.read_text()), pd.read_parquet(path.with_name("predictions.parquet"))


def direct(theta: Path, manifest: Path) -> torch.Tensor:
    """The logits of one file, over both splits, computed without the sweep."""
    loaded = load_theta(theta)
    model = build_classifier(loaded.header, loaded.tensors)
    parts = []
    for name in N:
        split = open_split(manifest, name, loaded.header.transform)
        images = torch.from_numpy(split.read(slice(None)))
        with torch.no_grad():
            parts += [model(each.permute(0, 3, 1, 2)) for each in images.split(10)]
    return torch.cat(parts)


def column(table: pd.DataFrame, combination: str, alpha: str, what: str) -> NDArray:
    return table[f"{combination}/all/{alpha}/{what}"].to_numpy()


def test_softmax_averages_probabilities(request_for: Build, ends: Ends, manifest: Path) -> None:
    _, table = run(request_for(alphas=GRID, combinations=("softmax",)))
    both = [direct(ends.theta_0, manifest), direct(ends.theta_1, manifest)]
    for alpha in GRID:
        wanted = softmax_ensemble(both, (1 - float(alpha), float(alpha)))
        assert np.array_equal(column(table, "softmax", alpha, "prediction"), wanted.argmax(dim=1))
        top = wanted.topk(2, dim=1).values
        np.testing.assert_allclose(column(table, "softmax", alpha, "top1"), top[:, 0], rtol=1e-5)
        np.testing.assert_allclose(column(table, "softmax", alpha, "top2"), top[:, 1], rtol=1e-5)
        shares = wanted.double().exp()
        entropy, confidence = torch.special.entr(shares).sum(dim=1), shares.amax(dim=1)
        found = {what: column(table, "softmax", alpha, what) for what in ("entropy", "confidence")}
        np.testing.assert_allclose(found["entropy"], entropy, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["confidence"], confidence, rtol=1e-5)
    assert not any(name.startswith(("weight/", "output/")) for name in table.columns)


def test_random_takes_each_sample_from_one_end(
    request_for: Build, ends: Ends, manifest: Path
) -> None:
    metrics, table = run(request_for(alphas=GRID, combinations=COMBINATIONS))
    numbers = np.concatenate(
        [
            uniforms(METADATA["seed"], f"shapes/{name}", open_split(manifest, name).sample_ids)
            for name in N
        ]
    )
    first, last = (column(table, "weight", alpha, "prediction") for alpha in ("0.000", "1.000"))
    assert (first != last).any()
    for alpha in GRID:
        found = column(table, "random", alpha, "prediction")
        assert np.array_equal(found, np.where(numbers < float(alpha), last, first))
    assert {row["combination"] for row in metrics["rows"]} == set(COMBINATIONS)


@pytest.mark.parametrize("alpha", ["0.000", "1.000"])
def test_all_combinations_agree_at_the_ends(request_for: Build, alpha: str) -> None:
    metrics, table = run(request_for(alphas=GRID, combinations=COMBINATIONS))
    wanted = column(table, "weight", alpha, "prediction")
    values = {r["value"] for r in metrics["rows"] if (r["alpha"], r["split"]) == (alpha, "test")}
    assert len(values) == 1
    for combination in COMBINATIONS:
        assert np.array_equal(column(table, combination, alpha, "prediction"), wanted)


def test_linear_classifier_has_no_output_space_of_its_own(request_for: Build, ends: Ends) -> None:
    metrics, table = run(request_for(theta_1=ends.linear, alphas=GRID, combinations=COMBINATIONS))
    assert {row["combination"] for row in metrics["rows"]} == {"weight", "softmax", "random"}
    found = column(table, "random", "0.700", "prediction")
    parts = [column(table, "weight", alpha, "prediction") for alpha in ("0.000", "1.000")]
    assert ((found == parts[0]) | (found == parts[1])).all()
    with pytest.raises(WiseftError, match="output space is weight space there"):
        run(request_for(theta_1=ends.linear, combinations=("output",)))


def test_standard_combinations_are_those_of_before(request_for: Build) -> None:
    metrics, _ = run(request_for())
    assert {row["combination"] for row in metrics["rows"]} == {"weight", "output"}


def test_a_combination_that_is_added_keeps_the_others(request_for: Build, tmp_path: Path) -> None:
    before, _ = run(request_for(alphas=GRID))
    after, table = run(request_for(alphas=GRID, combinations=COMBINATIONS))
    whole, fresh = run(
        request_for(alphas=GRID, combinations=COMBINATIONS, output_dir=tmp_path / "fresh")
    )
    assert after == whole
    assert table.equals(fresh)
    kept = [row for row in after["rows"] if row["combination"] in ("weight", "output")]
    assert kept == before["rows"]


def test_without_weights_only_the_ends_are_run(
    request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    original = WeightSweep.at

    def recording(self, alpha, batches):
        asked.append(alpha)
        return original(self, alpha, batches)

    monkeypatch.setattr(WeightSweep, "at", recording)
    run(request_for(alphas=GRID, combinations=("output", "softmax", "random")))
    assert set(asked) == {"0.000", "1.000"}


@pytest.mark.parametrize("combinations", [(), ("weights",)])
def test_unknown_combination(request_for: Build, combinations: tuple[str, ...]) -> None:
    with pytest.raises(WiseftError, match="is not one of weight, output, softmax, random"):
        run(request_for(combinations=combinations))


def test_stored_logits(request_for: Build, ends: Ends, manifest: Path, tmp_path: Path) -> None:
    request = request_for(alphas=GRID, logits=["0.000", "1.000"])
    metrics, table = run(request)
    path = tmp_path / "evaluate" / "shapes" / "logits.safetensors"
    stored = StoredTensors(path)
    assert list(stored) == ["weight/0.000", "weight/1.000"]
    header = read_file_header(path, "logits")
    assert (header["dataset"], header["identity"]) == ("shapes", metrics["identity"])
    both = [direct(ends.theta_0, manifest), direct(ends.theta_1, manifest)]
    for name, wanted in zip(stored, both, strict=True):
        assert stored[name].dtype == torch.float16
        assert torch.equal(stored[name], wanted.half())
    # An ensemble without another pass.
    mixed = combine_logits([each.float() for each in stored.values()], [0.7, 0.3])
    np.testing.assert_allclose(
        column(table, "output", "0.300", "top1"), mixed.max(dim=1).values, rtol=2e-3, atol=8e-3
    )  # logits up to 16, in fp16


def test_stored_logits_are_written_once(
    request_for: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "evaluate" / "shapes" / "logits.safetensors"
    run(request_for(alphas=GRID))
    assert not path.exists()
    before, _ = run(request_for(alphas=GRID, logits=["0.000", "1.000"]))
    first = path.read_bytes()

    def forbidden(*_):
        raise AssertionError("nothing is left to compute")

    with monkeypatch.context() as patch:
        patch.setattr(WeightSweep, "at", forbidden)
        run(request_for(alphas=GRID, logits=["1.000"]))
        assert path.read_bytes() == first
    path.write_bytes(first[:1000])
    after, _ = run(request_for(alphas=GRID, logits=["0.000", "1.000"]))
    assert path.read_bytes() == first
    assert after == before


def test_stored_logits_must_be_of_the_grid_and_of_weights_or_outputs(request_for: Build) -> None:
    with pytest.raises(WiseftError, match=r"stored at alpha 0\.123, but the grid is"):
        run(request_for(alphas=GRID, logits=["0.123"]))
    with pytest.raises(WiseftError, match="add one to the combinations"):
        run(request_for(alphas=GRID, logits=["1.000"], combinations=("softmax",)))


def test_logits_beyond_half_precision(request_for: Build, ends: Ends, tmp_path: Path) -> None:
    theta = load_theta(ends.theta_1)
    huge = theta.tensors | {"head.bias": torch.tensor([1e6, 0.0, 0.0, 0.0])}
    save_theta(tmp_path / "huge", huge, theta.header)
    with pytest.raises(WiseftError, match="fp16 holds"):
        run(request_for(theta_1=tmp_path / "huge", logits=["1.000"]))
    assert not (tmp_path / "evaluate" / "shapes" / "logits.safetensors").exists()


@pytest.mark.parametrize("shared", [False, True])
def test_class_that_is_never_predicted(
    request_for: Build, manifest: Path, tmp_path: Path, shared: bool
) -> None:
    never = CLASSES.index("two")
    start, end = tiny_tensors(0), tiny_tensors(1)
    if shared:
        end = start | {name: end[name] for name in ("head.weight", "head.bias")}
    paths = [tmp_path / f"{i}.safetensors" for i in range(2)]
    for path, tensors in zip(paths, (start, end), strict=True):
        save_theta(path, tensors, tiny_header(never_predicted=[never]))
    _, table = run(
        request_for(
            theta_0=paths[0],
            theta_1=paths[1],
            alphas=GRID,
            combinations=COMBINATIONS,
            logits=["0.000"],
        )
    )
    found = {name for name in table.columns if name.endswith("/prediction")}
    assert len(found) == len(GRID) * (3 if shared else 4)
    assert not any((table[name] == never).any() for name in found)
    wanted = direct(paths[1], manifest)
    assert np.array_equal(column(table, "weight", "1.000", "prediction"), wanted.argmax(dim=1))
    stored = StoredTensors(tmp_path / "evaluate" / "shapes" / "logits.safetensors")
    assert bool(stored["weight/0.000"][:, never].isneginf().all())
    softmax = softmax_ensemble([direct(path, manifest) for path in paths], (0.7, 0.3))
    assert np.array_equal(column(table, "softmax", "0.300", "prediction"), softmax.argmax(dim=1))


OTHER = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 12, "patch_size": None},
    "text_cfg": {"context_length": 16, "vocab_size": 100, "width": 12, "heads": 2, "layers": 1},
}


@pytest.fixture
def independent(tmp_path: Path) -> Callable[..., Path]:
    """Write a classifier of another architecture, size of images and normalisation."""

    def write(**changes) -> Path:
        preprocessing = {"size": 64, "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
        header = tiny_header(architecture=OTHER, preprocessing=preprocessing, **changes)
        model = build_classifier(header, seed=5)
        torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(5))
        path = tmp_path / "independent.safetensors"
        save_theta(path, {k: v.detach() for k, v in classifier_tensors(model).items()}, header)
        return path

    return write


def test_outputs_of_two_architectures_are_combined(
    request_for: Build, ends: Ends, independent: Callable[..., Path], manifest: Path
) -> None:
    other, outputs = independent(), ("output", "softmax", "random")
    request = request_for(theta_1=other, alphas=GRID, combinations=outputs, logits=["1.000"])
    metrics, table = run(request)
    raw = [direct(ends.theta_0, manifest), direct(other, manifest)]
    classes = [logits.argmax(dim=1) for logits in raw]
    assert (classes[0] != classes[1]).any()
    for alpha in GRID:
        mixed = (1 - float(alpha)) * raw[0] + float(alpha) * raw[1]
        assert np.array_equal(column(table, "output", alpha, "prediction"), mixed.argmax(dim=1))
        top = mixed.topk(2, dim=1).values
        np.testing.assert_allclose(column(table, "output", alpha, "top1"), top[:, 0], rtol=1e-4)
        probable = softmax_ensemble(raw, (1 - float(alpha), float(alpha))).argmax(dim=1)
        assert np.array_equal(column(table, "softmax", alpha, "prediction"), probable)
        drawn = column(table, "random", alpha, "prediction")
        assert np.all((drawn == classes[0].numpy()) | (drawn == classes[1].numpy()))
    assert {row["combination"] for row in metrics["rows"]} == set(outputs)
    stored = StoredTensors(request.output_dir / "shapes" / "logits.safetensors")
    np.testing.assert_allclose(stored["output/1.000"], raw[1], rtol=2e-3, atol=1e-3)
    again, _ = run(request)
    assert again == metrics


def test_a_class_that_one_of_two_models_never_predicts(
    request_for: Build, independent: Callable[..., Path]
) -> None:
    never = CLASSES.index("two")
    request = request_for(
        theta_1=independent(never_predicted=[never]),
        alphas=GRID,
        combinations=("output", "softmax"),
    )
    _, table = run(request)
    predicted = {alpha: column(table, "output", alpha, "prediction") for alpha in GRID}
    assert (predicted["0.000"] == never).any(), "the zero-shot end predicts every class"
    assert not any((predicted[alpha] == never).any() for alpha in GRID[1:])
    assert (column(table, "softmax", "0.300", "prediction") == never).any()


def test_weights_of_two_architectures_are_not_combined(
    request_for: Build, independent: Callable[..., Path]
) -> None:
    with pytest.raises(WiseftError, match="different architectures"):
        run(request_for(theta_1=independent(), combinations=("weight", "output")))
    other = independent(class_names=list(reversed(CLASSES)))
    with pytest.raises(WiseftError, match="differ in class_names"):
        run(request_for(theta_1=other, combinations=("output",)))


def test_equal_tensors_of_another_activation_are_not_mixed(
    request_for: Build, ends: Ends, tmp_path: Path
) -> None:
    theta = load_theta(ends.theta_1)
    header = dataclasses.replace(
        theta.header, architecture=theta.header.architecture | {"quick_gelu": True}
    )
    save_theta(tmp_path / "other", theta.tensors, header)
    with pytest.raises(WiseftError, match=r"differ in architecture\.quick_gelu: None and True"):
        run(request_for(theta_1=tmp_path / "other"))
    sides = load_theta(ends.theta_0), load_theta(tmp_path / "other")
    # Each is run as the model that it is, where outputs alone are combined.
    assert isinstance(make_sweep(*sides, inference(), ("output",)), EnsembleSweep)
