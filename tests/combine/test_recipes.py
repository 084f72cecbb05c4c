"""The commands `combine` and `fisher`: from files to a theta file, or a sentence and no file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.combine.conftest import random_tensors, tiny_header
from torch import Tensor
from typer.testing import CliRunner

from wiseft.cli import app
from wiseft.cli.options import parse_recipe
from wiseft.combine.files import interpolate_files
from wiseft.combine.held_out import HELD_OUT
from wiseft.combine.linear_combination import combine, interpolate
from wiseft.combine.recipes import linear
from wiseft.combine.recipes.patching import patched
from wiseft.errors import WiseftError
from wiseft.images.store import open_manifest
from wiseft.thetas.tensor_file import FORMAT, StoredTensors, read_file_header, tensors_sha256
from wiseft.thetas.theta import Theta, identity, load_theta, save_theta


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("many")
    paths = [folder / f"{seed}.safetensors" for seed in range(4)]
    for seed, path in enumerate(paths):
        save_theta(path, random_tensors(seed), tiny_header("fine-tuned", "finetune", seed=seed))
    return paths


def run(*arguments: object) -> None:
    """Run a command; an error is raised."""
    CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


def identity_of(theta: Path) -> str:
    return identity(read_file_header(theta, "theta"))


def combined(recipe: dict[str, Any], thetas: list[Path], output: Path, *options: object) -> Theta:
    run("combine", "--recipe", json.dumps(recipe), *thetas, "--output", output, *options)
    return load_theta(output)


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_linear(files: list[Path], tmp_path: Path) -> None:
    recipe = {"kind": "linear", "coefficients": [0.5, 0.3, 0.4, -0.2]}
    theta = combined(recipe, files, tmp_path / "theta")
    assert_equal(
        theta.tensors, combine([random_tensors(s) for s in range(4)], [0.5, 0.3, 0.4, -0.2])
    )
    header = theta.header
    assert (header.kind, header.stage, header.seed) == ("combined", "combine", None)
    assert header.parents == {f"theta_{i}": identity_of(path) for i, path in enumerate(files)}
    assert header.settings == {"combination": "weight", "recipe": recipe}
    assert header.class_names == ["zero", "one", "two"]


@pytest.mark.parametrize("alpha", ["0.000", "0.420", "1.000"])
def test_linear_of_two_is_what_interpolate_writes(
    files: list[Path], tmp_path: Path, alpha: str
) -> None:
    interpolate_files(files[0], files[1], alpha, tmp_path / "interpolated")
    weights = [float(f"{1 - float(alpha):.3f}"), float(alpha)]
    theta = combined({"kind": "linear", "coefficients": weights}, files[:2], tmp_path / "theta")
    assert_equal(theta.tensors, load_theta(tmp_path / "interpolated").tensors)


def test_uniform_soup(files: list[Path], tmp_path: Path) -> None:
    theta = combined({"kind": "soup-uniform"}, files, tmp_path / "theta")
    assert_equal(theta.tensors, combine([random_tensors(s) for s in range(4)], [0.25] * 4))


def test_recipe_from_a_file(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("kind: linear\ncoefficients: [0.7, 0.3]\n")
    run("combine", "--recipe", f"@{tmp_path}/recipe.yaml", *files[:2], "--output", tmp_path / "t")
    wanted = interpolate(random_tensors(0), random_tensors(1), 0.3)
    assert_equal(load_theta(tmp_path / "t").tensors, wanted)


def test_patching_with_the_head_of_another(files: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    head = {"head.weight": torch.ones(2, 8), "head.bias": torch.zeros(2)}
    save_theta(other, random_tensors(9) | head, tiny_header(class_names=["a", "b"]))
    recipe = {"kind": "patching", "alpha": [0.2, 0.3, 0.4]}
    theta = combined(recipe, files, tmp_path / "theta", "--input", f"head={other}")
    tensors = [random_tensors(s) for s in range(4)]
    assert_equal(theta.tensors, dict(patched(tensors, [0.2, 0.3, 0.4], tensors[0] | head)))
    assert theta.header.class_names == ["a", "b"]
    assert theta.header.parents["head"] == identity_of(other)


def test_patching_with_one_alpha_for_all(files: list[Path], tmp_path: Path) -> None:
    theta = combined({"kind": "patching", "alpha": 0.3}, files, tmp_path / "theta")
    tensors = [random_tensors(s) for s in range(4)]
    assert_equal(theta.tensors, dict(patched(tensors, [0.3], tensors[0])))
    assert theta.header.settings["recipe"] == {"kind": "patching", "alpha": [0.3]}


@pytest.mark.parametrize(
    ("recipe", "variances", "way_out"),
    [
        ({"kind": "linear", "coefficients": [2.0, -1.0]}, [0.1, 1.0], -1.0),
        ({"kind": "patching", "alpha": 0.9}, [1.0, 0.1, 0.1], 0.9),
    ],
)
def test_variances_below_zero_are_refused(
    recipe: dict[str, Any], variances: list[float], way_out: float, tmp_path: Path
) -> None:
    name, paths = "image.bn1.running_var", []
    for seed, variance in enumerate(variances):
        paths.append(tmp_path / f"{seed}.safetensors")
        tensors = random_tensors(seed)
        tensors[name] = torch.full_like(tensors[name], variance)
        save_theta(paths[-1], tensors, tiny_header())
    output = tmp_path / "made"
    with pytest.raises(WiseftError) as refused:
        combined(recipe, paths, output)
    assert f"combination of tensor {name} is negative, but it holds variances" in str(refused.value)
    assert "no negative coefficient; for patching, alphas that sum to at most 1" in str(
        refused.value
    )
    assert not output.exists()
    # The way out that the message names.
    found = combined({"kind": "task-arithmetic", "scale": way_out}, paths, output).tensors[name]
    assert float(found.min()) >= 0.1 - 1e-6 and float(found.max()) <= 1.0


def test_greedy_soup(files: list[Path], manifest: Path, tmp_path: Path) -> None:
    theta = combined(
        {"kind": "soup-greedy"}, files, tmp_path / "theta", "--input", f"dataset={manifest}"
    )
    found = theta.header.settings
    assert found["held_out"] == {
        "dataset": "shapes",
        "split": "held-out",
        "samples": 40,
        "identity": open_manifest(manifest).identity([HELD_OUT]),
    }
    assert found["accuracy"] >= max(found["accuracies"])
    assert theta.header.parents["dataset"] == open_manifest(manifest).sha256
    chosen = [random_tensors(seed) for seed in found["ingredients"]]
    wanted = combine(chosen, [1 / len(chosen)] * len(chosen))
    torch.testing.assert_close(theta.tensors, wanted, rtol=1e-5, atol=1e-6)


def test_fisher(files: list[Path], manifest: Path, tmp_path: Path) -> None:
    fishers = [tmp_path / f"fisher-{i}" for i in range(2)]
    for path, fisher in zip(files, fishers, strict=False):
        options = ["--samples", 10, "--seed", 3, "--labels", "labels"]
        run("fisher", path, "--dataset", manifest, "--output", fisher, *options)
    header = read_file_header(fishers[1], "Fisher information")
    assert header == {
        "format": FORMAT,
        "tensors_sha256": tensors_sha256(StoredTensors(fishers[1])),
        "kind": "fisher",
        "theta": identity_of(files[1]),
        "dataset": "shapes",
        "manifest": open_manifest(manifest).identity(["train"]),
        "split": "train",
        "samples": 10,
        "labels": "labels",
        "seed": 3,
    }
    options = [each for fisher in fishers for each in ("--input", f"fisher={fisher}")]
    theta = combined({"kind": "fisher"}, files[:2], tmp_path / "theta", *options)
    start, end = random_tensors(0)["head.bias"], random_tensors(1)["head.bias"]
    low, high = torch.minimum(start, end), torch.maximum(start, end)
    assert bool(((low <= theta.tensors["head.bias"]) & (theta.tensors["head.bias"] <= high)).all())
    assert not torch.equal(theta.tensors["head.bias"], (start + end) / 2)
    assert theta.header.parents["fisher_1"] == header["tensors_sha256"]
    with pytest.raises(WiseftError, match="in one order"):
        combined({"kind": "fisher"}, files[1::-1], tmp_path / "other", *options)
    with pytest.raises(WiseftError, match="30 samples are asked for, but shapes, split train, has"):
        run("fisher", files[0], "--dataset", manifest, "--output", tmp_path / "f", "--samples", 30)


@pytest.mark.parametrize(
    ("recipe", "n", "options", "message"),
    [
        ({"kind": "soup-uniform"}, 1, [], "collection of at least 2"),
        ({"kind": "lines"}, 3, [], "collection of at most 2"),
        ({"kind": "linear", "coefficients": [0.5, 0.5]}, 3, [], "3 inputs but 2 coefficients"),
        ({"kind": "patching", "alpha": [0.5, 0.5, 0.5]}, 2, [], "3 alphas were given for 1 tasks"),
        ({"kind": "soup-greedy"}, 2, [], "soup-greedy, --input: key `dataset` is missing, but .*M"),
        ({"kind": "soup-greedy"}, 2, ["dataset=a", "dataset=b"], "several times, but there can be"),
        ({"kind": "fisher"}, 2, [], "fisher, --input: key `fisher` is missing, but .*`wiseft fish"),
        ({"kind": "fisher"}, 2, ["fisher=x"], "2 thetas but 1 Fisher files"),
        ({"kind": "soup-uniform"}, 2, ["dataset=x"], "unknown key `dataset`; valid: thetas"),
        ({"kind": "patching", "alpha": 0.5}, 2, ["hed=x"], "`hed`; did you mean head"),
    ],
)
def test_inputs_must_be_those_of_the_recipe(
    files: list[Path], tmp_path: Path, recipe: dict, n: int, options: list[str], message: str
) -> None:
    with pytest.raises(WiseftError, match=message):
        inputs = [each for option in options for each in ("--input", option)]
        combined(recipe, files[:n], tmp_path / "theta", *inputs)
    assert list(tmp_path.iterdir()) == []


def test_theta_that_does_not_fit_is_named(files: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_theta(other, random_tensors(9), tiny_header(class_names=["one", "zero", "two"]))
    with pytest.raises(
        WiseftError, match=r"0\.safetensors and .*other\.safetensors: .*class_names"
    ):
        combined({"kind": "soup-uniform"}, [*files, other], tmp_path / "theta")
    preprocessing = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3}
    save_theta(other, random_tensors(9), tiny_header(preprocessing=preprocessing))
    with pytest.raises(WiseftError, match=r"other\.safetensors: .*preprocessing\.mean"):
        combined({"kind": "patching", "alpha": 0.5}, [files[0], other], tmp_path / "theta")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "--recipe is not valid JSON"),
        ("{}", "--recipe: key `kind` is missing"),
        ('{"kind": "average"}', "there is no recipe 'average'; choose one of dare, fisher, linear"),
        ('{"kind": "linear"}', "key `coefficients` is missing"),
        ('{"kind": "linear", "coefficients": [0.5, 0.4]}', "sum to 0.9, but must sum to 1"),
        ('{"kind": "linear", "coefficients": []}', "must sum to 1"),
        ('{"kind": "soup-uniform", "alpha": 1}', "unknown key `alpha`"),
        ('{"kind": "fisher", "floor": 0}', "key `floor` is 0, but must be greater than 0"),
        ('{"kind": "fisher", "coefficients": [-0.5, 1.5]}', "must be at least 0"),
        ('{"kind": "patching", "alpha": 1.5}', "key `alpha.0` is 1.5, but must be at most 1"),
        ('{"kind": "patching", "alpha": 0.1234}', "more than three decimals"),
        (
            '{"kind": "task-arithmetic", "scale": 1e308}',
            "`scale.0` is 1e.308, but must be at",
        ),
        ('{"kind": "ties", "scale": -101}', "key `scale` is -101, but must be at least -100"),
    ],
)
def test_wrong_recipe(text: str, message: str) -> None:
    with pytest.raises(WiseftError, match=message):
        parse_recipe(text, {"thetas": [Path("a"), Path("b")]})


def test_recipes() -> None:
    text = '{"kind": "linear", "coefficients": [1, 0]}'
    options, inputs = parse_recipe(text, {"thetas": [Path("a"), Path("b")]})
    assert isinstance(options, linear.Options)
    assert options.coefficients == [1.0, 0.0]
    assert inputs.thetas == [Path("a"), Path("b")]


@pytest.mark.parametrize(
    ("recipe", "n"),
    [
        ({"kind": "soup-uniform"}, 3),
        ({"kind": "patching", "alpha": 0.3}, 2),
        ({"kind": "lines"}, 2),
        ({"kind": "slerp", "alpha": 0.3}, 2),
        ({"kind": "task-arithmetic", "scale": 0.3}, 3),
        ({"kind": "model-stock"}, 3),
        ({"kind": "ties", "trim": "tensor"}, 3),
        ({"kind": "dare", "density": 0.3}, 3),
    ],
)
def test_every_tensor_is_read_once_and_checked_before(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: dict, n: int
) -> None:
    """So that memory is one tensor of every theta, and no file is read more than twice over."""
    reads: list[tuple[Path, str]] = []
    original = StoredTensors.__getitem__

    def counting(self, name: str) -> Tensor:
        reads.append((self._path, name))
        return original(self, name)

    monkeypatch.setattr(StoredTensors, "__getitem__", counting)
    run("combine", "--recipe", json.dumps(recipe), *files[:n], "--output", tmp_path / "theta")
    of_heads = {"head.weight", "head.bias"} if recipe["kind"] == "patching" else set()
    names = set(random_tensors(0)) - of_heads
    images = [read for read in reads if read[1] not in of_heads]
    assert sorted(images) == sorted(2 * [(path, name) for path in files[:n] for name in names])
