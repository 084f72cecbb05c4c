"""Recipes of task vectors give mergekit's tensors, to a millionth of the largest entry."""

import json

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file
from tests.combine.conftest import tiny_header
from tests.combine.test_parts import VIT

from wiseft.cli.options import parse_recipe
from wiseft.combine.files import combine_files
from wiseft.combine.recipes import dare
from wiseft.combine.recipes.model_stock import ratio
from wiseft.models.classifier import build_classifier, classifier_tensors
from wiseft.thetas.theta import load_theta, save_theta

raw = pytest.importorskip(
    "mergekit.scripts.merge_raw_pytorch",
    reason="mergekit is not installed; make test-peers installs it",
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """theta_0 and three models that went from it in directions that have something in common."""
    folder = tmp_path_factory.mktemp("thetas")
    header = tiny_header(architecture=VIT)
    theta_0 = classifier_tensors(build_classifier(header, seed=0))
    torch.manual_seed(9)
    shared = {name: torch.randn(value.shape) for name, value in theta_0.items()}
    paths = [folder / f"{place}.safetensors" for place in range(4)]
    for place, path in enumerate(paths):
        torch.manual_seed(place)
        change = 0.02 if place else 0.0
        tensors = {
            name: (value + change * (shared[name] + 0.5 * torch.randn(value.shape)))
            .detach()
            .contiguous()
            for name, value in theta_0.items()
        }
        save_theta(path, tensors, header)
    return paths


def ours(recipe, thetas, folder):
    combine_files(parse_recipe(json.dumps(recipe), {"thetas": thetas}), folder / "ours")
    return load_theta(folder / "ours").tensors


def mergekits(method, thetas, folder, of_each=None, **parameters):
    first, *others = map(str, thetas)
    config = {
        "merge_method": method,
        "base_model": first,
        "models": [{"model": each, "parameters": of_each or {}} for each in others],
        "parameters": parameters,
        "dtype": "float32",
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    CliRunner().invoke(
        raw.main, [str(folder / "config.yaml"), str(folder / "theirs")], catch_exceptions=False
    )
    return load_file(folder / "theirs" / "model.safetensors")


def assert_same(found, wanted, start):
    """Also that something was merged at all."""
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert (found[name] - value).abs().max() <= 1e-6 * value.abs().max(), name
        assert not torch.equal(value, start[name]), name


@pytest.mark.parametrize("density", [0.2, 0.7, 1.0])
def test_ties(files, tmp_path, density):
    recipe = {"kind": "ties", "trim": "tensor", "density": density, "scale": 0.8}
    of_each = {"weight": 1.0, "density": density}
    theirs = mergekits("ties", files, tmp_path, of_each, **{"lambda": 0.8})
    assert_same(ours(recipe, files, tmp_path), theirs, load_theta(files[0]).tensors)


def test_task_arithmetic(files, tmp_path):
    theirs = mergekits("task_arithmetic", files, tmp_path, {"weight": 0.4})
    recipe = {"kind": "task-arithmetic", "scale": 0.4}
    assert_same(ours(recipe, files, tmp_path), theirs, load_theta(files[0]).tensors)


@pytest.mark.parametrize("models", [2, 3])
def test_model_stock(files, tmp_path, models):
    """Where the models have something in common: else mergekit goes away from them."""
    chosen = files[: models + 1]
    start, *tuned = (load_theta(path).tensors for path in chosen)
    ratios = {n: ratio(torch.stack([each[n] for each in tuned]) - start[n]) for n in start}
    assert all(0.05 < each < 1 for each in ratios.values())
    found = ours({"kind": "model-stock"}, chosen, tmp_path)
    assert_same(found, mergekits("model_stock", chosen, tmp_path), start)


@pytest.mark.parametrize("alpha", [0.25, 0.5])
def test_slerp(files, tmp_path, alpha):
    # A model that is far from theta_0, so that there is an arc.
    tensors = load_theta(files[1]).tensors
    far = tmp_path / "far.safetensors"
    torch.manual_seed(9)
    save_theta(
        far,
        {name: value + 0.1 * torch.randn(value.shape) for name, value in tensors.items()},
        tiny_header(architecture=VIT),
    )
    theirs = mergekits("slerp", [files[0], far], tmp_path, t=alpha)
    found = ours({"kind": "slerp", "alpha": alpha}, [files[0], far], tmp_path)
    assert_same(found, theirs, load_theta(files[0]).tensors)
    line = ours({"kind": "linear", "coefficients": [1 - alpha, alpha]}, [files[0], far], tmp_path)
    assert not torch.allclose(found["image.proj"], line["image.proj"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("merge", "method", "options"),
    [
        ("sum", "dare_linear", {"normalize": False}),
        ("ties", "dare_ties", {"normalize": True}),
    ],
)
def test_dare_on_the_same_masks(files, tmp_path, monkeypatch, merge, method, options):
    """mergekit draws by chance: here it draws ours, tensor by tensor in its own order."""
    density, drawn, start = 0.4, [], load_theta(files[0]).tensors
    original = raw.ExecuteMergeMethodTask.execute

    def execute(task, *arguments, **keywords):
        name = task.output_weight.name
        masks = [dare.mask(5, place, name, start[name].shape, density) for place in (1, 2, 3)]
        drawn.extend(mask.float() for mask in masks)
        return original(task, *arguments, **keywords)

    monkeypatch.setattr(raw.ExecuteMergeMethodTask, "execute", execute)
    monkeypatch.setattr(torch, "bernoulli", lambda _: drawn.pop(0))
    # mergekit rescales by norms, where it does: the paper divides by the share that is kept.
    options = {**options, "rescale": False, "lambda": 0.5 / density}
    of_each = {"weight": 1.0, "density": density}
    theirs = mergekits(method, files, tmp_path, of_each, **options)
    assert drawn == []
    recipe = {"kind": "dare", "merge": merge, "density": density, "scale": 0.5, "seed": 5}
    assert_same(ours(recipe, files, tmp_path), theirs, start)
