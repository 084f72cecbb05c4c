"""Recipes that work on task vectors: LiNeS, task arithmetic, Model Stock, TIES, DARE, SLERP."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.combine import test_text_towers as texts
from tests.combine.conftest import random_tensors, tiny_header
from torch import Tensor, tensor

from wiseft.cli.options import parse_recipe
from wiseft.combine.files import combine_files
from wiseft.combine.linear_combination import combine, interpolate
from wiseft.combine.recipes import dare, lines, model_stock, slerp, ties
from wiseft.combine.task_vectors import Merged, convex, elected_mean, is_statistic, kth_largest
from wiseft.errors import WiseftError
from wiseft.thetas.theta import Theta, load_theta, save_theta
from wiseft.zeroshot.text_head import HeadBuilder

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("tuned")
    paths = [folder / f"{seed}.safetensors" for seed in range(4)]
    for seed, path in enumerate(paths):
        save_theta(path, random_tensors(seed), tiny_header())
    return paths


def made(recipe: dict[str, Any], thetas: list[Path], folder: Path) -> Theta:
    output = folder / "made.safetensors"
    combine_files(parse_recipe(json.dumps(recipe), {"thetas": thetas}), output)
    return load_theta(output)


def assert_close(found: Tensors, wanted: Tensors) -> None:
    """Whether no entry differs by more than 1e-6 of the tensor's largest."""
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert (found[name] - value).abs().max() <= 1e-6 * value.abs().max(), name


def assert_equal(found: Tensors, wanted: Tensors) -> None:
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []


def by_formula(models: int, scales: list[float], merge: Callable[[str, Tensor], Tensor]) -> Tensors:
    """theta_0 and `merge` of the task vectors, in memory; BatchNorm's statistics are a mean."""
    first, *others = [random_tensors(seed) for seed in range(models + 1)]
    mean = combine([first, *others], convex(scales))
    vectors = {name: torch.stack([each[name] for each in others]) - first[name] for name in first}
    return {
        name: mean[name] if is_statistic(name) else first[name] + merge(name, vectors[name])
        for name in first
    }


# LiNeS


def authors_lines(
    vector: dict[str, Tensor], alpha: float, beta: float, n: int
) -> dict[str, Tensor]:
    """The formula of `line_scaling` in the authors' LiNeS_example.ipynb, on their layer names."""
    blocks = [f".resblocks.{index}." for index in range(n)]
    scales: dict[str, float] = {}
    for name in vector:
        for layer, block in enumerate(blocks):
            if block in name:
                scales[name] = alpha + beta * (layer / (n - 1))
    return {name: scales.get(name, alpha) * value for name, value in vector.items()}


def vision_transformer(seed: int) -> dict[str, Tensor]:
    """The image tower of an open_clip ViT of twelve blocks, and a head of three classes."""
    import open_clip

    torch.manual_seed(seed)
    config = {"image_size": 16, "layers": 12, "width": 8, "head_width": 4, "patch_size": 8}
    text = {"context_length": 4, "vocab_size": 8, "width": 8, "heads": 2, "layers": 1}
    model = open_clip.model.CLIP(embed_dim=8, vision_cfg=config, text_cfg=text)
    tower = {f"image.{name}": value for name, value in model.visual.state_dict().items()}
    return tower | {"head.weight": torch.randn(3, 8), "head.bias": torch.randn(3)}


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 1.0), (0.1, 0.9), (0.25, 0.5)])
def test_lines_are_the_authors(tmp_path: Path, alpha: float, beta: float) -> None:
    paths = [tmp_path / "0", tmp_path / "1"]
    start, end = (vision_transformer(seed) for seed in range(2))
    for path, tensors in zip(paths, (start, end), strict=True):
        save_theta(path, tensors, tiny_header())
    found = made({"kind": "lines", "alpha": alpha, "beta": beta}, paths, tmp_path).tensors
    # Theirs edits an image tower, whose names begin with "model.visual."; the head is apart.
    tower = {name for name in start if name.startswith("image.")}
    vector = {f"model.visual.{n}": end[n] - start[n] for n in tower}
    for name, value in authors_lines(vector, alpha, beta, 12).items():
        ours = name.removeprefix("model.visual.")
        torch.testing.assert_close(found[ours], start[ours] + value, msg=ours)
    assert all(torch.equal(found[name], start[name]) for name in ("head.weight", "head.bias"))


def test_lines_of_a_resnet_count_blocks_through_all_stages(
    files: list[Path], tmp_path: Path
) -> None:
    theta = made({"kind": "lines", "alpha": 0.25, "beta": 0.6}, files[:2], tmp_path)
    scales = {"stem": 0.25, "blocks.0": 0.25, "blocks.1": 0.45, "blocks.2": 0.65, "blocks.3": 0.85}
    assert theta.header.settings["scales"] == pytest.approx(scales | {"tail": 0.25, "head": 0.0})
    start, end = random_tensors(0), random_tensors(1)
    for name, scale in {
        "image.conv1.weight": 0.25,
        "image.layer2.0.conv1.weight": 0.45,
        "image.layer4.0.bn1.running_mean": 0.85,
        "image.attnpool.positional_embedding": 0.25,
        "head.bias": 0.0,
    }.items():
        wanted = start[name] + scale * (end[name] - start[name])
        torch.testing.assert_close(theta.tensors[name], wanted)


def test_lines_end_at_the_fine_tuned_block() -> None:
    with pytest.raises(ValueError, match=r"alpha \+ beta is 1\.3, but must be at most 1"):
        lines.Options(kind="lines", alpha=0.5, beta=0.8)


def test_lines_refuse_a_tensor_of_unknown_depth(tmp_path: Path) -> None:
    paths = [tmp_path / "0", tmp_path / "1"]
    for path in paths:
        save_theta(path, random_tensors(0) | {"image.novel.weight": torch.ones(1)}, tiny_header())
    with pytest.raises(WiseftError, match=r"that of tensor image\.novel\.weight is not known"):
        made({"kind": "lines"}, paths, tmp_path)


# Task arithmetic


def test_task_arithmetic(files: list[Path], tmp_path: Path) -> None:
    scales = [0.4, -0.2, 0.9]
    theta = made({"kind": "task-arithmetic", "scale": scales}, files, tmp_path)
    weights = tensor(scales)
    wanted = by_formula(3, scales, lambda _, vectors: torch.tensordot(weights, vectors, dims=1))
    assert_close(theta.tensors, wanted)
    assert theta.header.settings["recipe"] == {"kind": "task-arithmetic", "scale": scales}


@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0])
def test_task_arithmetic_of_one_model_is_the_interpolation(
    files: list[Path], tmp_path: Path, scale: float
) -> None:
    found = made({"kind": "task-arithmetic", "scale": scale}, files[:2], tmp_path).tensors
    assert_equal(found, interpolate(random_tensors(0), random_tensors(1), scale))


# Model Stock


def test_ratio_of_the_stock() -> None:
    cosine = math.sqrt(0.5)
    pair = tensor([[1.0, 0.0], [3.0, 3.0]])
    assert model_stock.ratio(pair) == pytest.approx(2 * cosine / (1 + cosine))
    mean = (cosine + cosine + 0.0) / 3
    three = tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 5.0]])
    assert model_stock.ratio(three) == pytest.approx(3 * mean / (1 + 2 * mean))
    assert model_stock.ratio(tensor([[1.0, 2.0], [2.0, 4.0]])) == pytest.approx(1.0)
    for apart in ([[1.0, 0.0], [0.0, 1.0]], [[1.0], [-1.0]], [[0.0, 0.0], [1.0, 2.0]]):
        assert model_stock.ratio(tensor(apart)) == 0.0


def test_model_stock(files: list[Path], tmp_path: Path) -> None:
    found = made({"kind": "model-stock"}, files, tmp_path).tensors
    first, *others = [random_tensors(seed) for seed in range(4)]
    name = "image.layer2.0.conv2.weight"
    vectors = [(each[name] - first[name]).flatten() for each in others]
    pairs = [(0, 1), (0, 2), (1, 2)]
    cosine = sum(float(torch.cosine_similarity(vectors[i], vectors[j], 0)) for i, j in pairs) / 3
    t = 3 * cosine / (1 + 2 * cosine)
    assert 0.2 < t < 0.9
    mean = torch.stack([each[name] for each in others]).mean(0)
    torch.testing.assert_close(found[name], t * mean + (1 - t) * first[name])
    # What the models agree in is kept whole, and where they have nothing in common theta_0 is.
    same = made({"kind": "model-stock"}, [files[0], files[1], files[1]], tmp_path).tensors
    assert_close(same, others[0])


# TIES


def test_elected_mean() -> None:
    vectors = tensor(
        [
            [3.0, -1.0, 0.0, 2.0, 0.0, -4.0],
            [1.0, -2.0, 5.0, -2.0, 0.0, 1.0],
            [-2.0, 4.0, 0.0, 0.0, 0.0, 1.0],
        ]
    )
    # Signs: + by 2, + by 1, +, + (a sum of 0), +, - by 2.
    assert elected_mean(vectors).tolist() == [2.0, 4.0, 5.0, 2.0, 0.0, -4.0]


@pytest.mark.parametrize("density", [0.001, 0.2, 0.5, 0.77, 1.0])
def test_threshold_is_exact(density: float) -> None:
    generator = torch.Generator().manual_seed(3)
    tensors = [torch.randn(shape, generator=generator) for shape in ((7, 11), (400,), (), (3, 5))]
    tensors.append(torch.randn(60, generator=generator) * 1e-42)  # denormal
    tensors.append(tensors[1][:50].clone())  # as large as others
    tensors.append(tensor([0.0, -0.0, 3.4e38, -3.4e38]))
    magnitudes = torch.cat([each.flatten() for each in tensors]).abs().sort(descending=True).values
    k = max(1, int(density * len(magnitudes)))
    assert kth_largest(lambda: iter(tensors), k) == magnitudes[k - 1].item()


def authors_bound(magnitudes: Tensor, share: float) -> Tensor:
    """`topk_values_mask` of the authors' merge_utils.py: what is at least as large is kept."""
    return magnitudes.kthvalue(len(magnitudes) - int(len(magnitudes) * share)).values


def trimmed(vectors: Tensor, bounds: Tensor) -> Tensor:
    """As in the paper's code: what is kept, its sign, and the mean of what has it."""
    kept = torch.where(vectors.abs() >= bounds, vectors, 0.0)
    positive = kept.sum(0) >= 0
    agree = torch.where(positive, kept > 0, kept < 0)
    return (kept * agree).sum(0) / agree.sum(0).clamp(min=1)


def test_ties_trims_the_whole_task_vector(files: list[Path], tmp_path: Path) -> None:
    recipe = {"kind": "ties", "density": 0.3, "scale": 0.7}
    found = made(recipe, files, tmp_path).tensors
    first, *others = [random_tensors(seed) for seed in range(4)]
    names = [name for name in first if not is_statistic(name)]
    whole = [torch.cat([(of[n] - first[n]).flatten() for n in names]).abs() for of in others]
    bounds = tensor([authors_bound(each, 0.3) for each in whole])

    def merge(name: str, vectors: Tensor) -> Tensor:
        return 0.7 * trimmed(vectors, bounds.reshape(-1, *[1] * (vectors.ndim - 1)))

    assert_close(found, by_formula(3, [0.7 / 3] * 3, merge))
    for each, bound in zip(whole, bounds, strict=True):
        assert int((each >= bound).sum()) == int(0.3 * len(each)) + 1
    # Tensor by tensor something else is kept.
    tensors = made({**recipe, "trim": "tensor"}, files, tmp_path).tensors
    assert not torch.allclose(tensors["head.bias"], found["head.bias"])


def test_ties_trims_each_tensor(files: list[Path], tmp_path: Path) -> None:
    found = made({"kind": "ties", "density": 0.3, "trim": "tensor"}, files, tmp_path).tensors

    def merge(name: str, vectors: Tensor) -> Tensor:
        flat = vectors.reshape(3, -1).abs().sort(dim=1, descending=True).values
        bounds = flat[:, max(1, int(0.3 * flat.shape[1])) - 1]
        return trimmed(vectors, bounds.reshape(-1, *[1] * (vectors.ndim - 1)))

    assert_close(found, by_formula(3, [1 / 3] * 3, merge))


def test_ties_of_equal_models_that_are_not_trimmed_is_that_model(
    files: list[Path], tmp_path: Path
) -> None:
    same = [files[0], files[1], files[1]]
    assert_close(made({"kind": "ties", "density": 1}, same, tmp_path).tensors, random_tensors(1))


# DARE


def test_dare_on_its_masks(files: list[Path], tmp_path: Path) -> None:
    recipe = {"kind": "dare", "density": 0.4, "scale": 0.5, "seed": 7}
    masks = {
        name: torch.stack([dare.mask(7, place, name, of.shape, 0.4) for place in (1, 2, 3)])
        for name, of in random_tensors(0).items()
    }
    found = made(recipe, files, tmp_path).tensors
    wanted = by_formula(3, [0.5] * 3, lambda name, of: 0.5 * (of * masks[name] / 0.4).sum(0))
    assert_close(found, wanted)
    elected = made({**recipe, "merge": "ties"}, files, tmp_path).tensors
    wanted = by_formula(
        3, [0.5 / 3] * 3, lambda name, of: 0.5 * elected_mean(of * masks[name] / 0.4)
    )
    assert_close(elected, wanted)
    assert_equal(made(recipe, files, tmp_path).tensors, found)
    other = made({**recipe, "seed": 8}, files, tmp_path).tensors
    assert not torch.equal(other["image.conv1.weight"], found["image.conv1.weight"])


def test_masks_follow_from_seed_place_and_name() -> None:
    shape, first = (40, 50), dare.mask(0, 1, "image.a", (40, 50), 0.3)
    assert first.dtype == torch.bool
    assert float(first.float().mean()) == pytest.approx(0.3, abs=0.04)
    assert torch.equal(first, dare.mask(0, 1, "image.a", shape, 0.3))
    others = [(1, 1, "image.a"), (0, 2, "image.a"), (0, 1, "image.b")]
    for other in others:
        agree = float((first == dare.mask(*other, shape, 0.3)).float().mean())
        assert agree == pytest.approx(0.3**2 + 0.7**2, abs=0.05)  # as independent ones


def test_dare_that_drops_nothing_is_task_arithmetic(files: list[Path], tmp_path: Path) -> None:
    found = made({"kind": "dare", "density": 1, "scale": 0.3}, files, tmp_path).tensors
    wanted = made({"kind": "task-arithmetic", "scale": 0.3}, files, tmp_path).tensors
    assert_close(found, wanted)


# SLERP


def on_arc(a: list[float], b: list[float], alpha: float) -> list[float]:
    start = tensor(a)
    return (start + slerp.added(start, tensor([b]) - start, alpha)).tolist()


def test_slerp_is_on_the_arc() -> None:
    half = math.sqrt(0.5)
    assert on_arc([1.0, 0.0], [0.0, 1.0], 0.5) == pytest.approx([half, half])
    assert on_arc([2.0, 0.0], [0.0, 1.0], 1 / 3) == pytest.approx([math.sqrt(3), 0.5])
    assert on_arc([1.0, 0.0], [2.0, 0.001], 0.25) == pytest.approx([1.25, 0.00025])  # on a line
    assert on_arc([1.0, 2.0], [-1.0, -2.0], 0.25) == pytest.approx([0.5, 1.0])
    assert on_arc([0.0, 0.0], [0.0, 3.0], 0.5) == pytest.approx([0.0, 3 * half])
    assert on_arc([0.0, 0.0], [0.0, 0.0], 0.5) == [0.0, 0.0]


@pytest.mark.parametrize("alpha", [0, 1])
def test_ends_of_slerp_are_copies(files: list[Path], tmp_path: Path, alpha: int) -> None:
    found = made({"kind": "slerp", "alpha": alpha}, files[:2], tmp_path).tensors
    assert_equal(found, random_tensors(alpha))


def test_slerp(files: list[Path], tmp_path: Path) -> None:
    found = made({"kind": "slerp", "alpha": 0.3}, files[:2], tmp_path).tensors
    name = "image.layer1.0.conv2.weight"
    start, end = (random_tensors(seed)[name] for seed in (0, 1))
    units = (start / start.norm(), end / end.norm())
    angle = torch.acos((units[0] * units[1]).sum())
    wanted = (torch.sin(0.7 * angle) * start + torch.sin(0.3 * angle) * end) / torch.sin(angle)
    torch.testing.assert_close(found[name], wanted)
    mean = interpolate(random_tensors(0), random_tensors(1), 0.3)
    assert torch.equal(found["image.bn1.running_var"], mean["image.bn1.running_var"])


# All of them

RECIPES = [
    ({"kind": "lines"}, 2),
    ({"kind": "slerp", "alpha": 0.4}, 2),
    ({"kind": "task-arithmetic", "scale": 1.0}, 3),
    ({"kind": "task-arithmetic", "scale": -1.0}, 3),
    ({"kind": "model-stock"}, 3),
    ({"kind": "ties", "scale": 4.0}, 3),
    ({"kind": "ties", "scale": 4.0, "trim": "tensor"}, 3),
    ({"kind": "dare", "density": 0.3, "scale": 1.0}, 3),
    ({"kind": "dare", "density": 0.3, "scale": 3.0, "merge": "ties"}, 3),
]


@pytest.mark.parametrize(("recipe", "n"), RECIPES)
def test_variances_stay_positive(recipe: dict[str, Any], n: int, tmp_path: Path) -> None:
    """Also where the sum of the task vectors is as far below zero as theta_0 is above."""
    paths = [tmp_path / str(seed) for seed in range(n)]
    for seed, path in enumerate(paths):
        tensors = random_tensors(seed)
        changed = {
            name: value * (10.0 if seed == 0 else 0.1)
            for name, value in tensors.items()
            if name.endswith("running_var")
        }
        save_theta(path, tensors | changed, tiny_header())
    found = made(recipe, paths, tmp_path).tensors
    variances = {name: value for name, value in found.items() if name.endswith("running_var")}
    assert len(variances) > 3
    assert [name for name, value in variances.items() if not bool((value > 0).all())] == []


def test_coefficients_of_statistics() -> None:
    assert convex([0.25, 0.5]) == [0.25, 0.25, 0.5]
    assert convex([1.0, 1.0, 2.0]) == [0.0, 0.25, 0.25, 0.5]
    assert convex([-0.5, 0.5]) == [0.5, 0.0, 0.5]


@pytest.mark.parametrize(("recipe", "n"), RECIPES)
def test_head_follows_from_the_text_tower(recipe: dict[str, Any], n: int, tmp_path: Path) -> None:
    paths = [tmp_path / str(seed) for seed in range(n)]
    for seed, path in enumerate(paths):
        save_theta(path, texts.theta(seed), texts.header())
    theta = made(recipe, paths, tmp_path)
    head = HeadBuilder(texts.header(), theta.tensors).head(theta.tensors)
    assert_equal({name: theta.tensors[name] for name in head}, head)
    assert theta.header.settings["prompts"] == texts.PROMPTS
    if recipe["kind"] == "lines":
        name = "text.transformer.resblocks.0.ln_1.weight"
        assert torch.equal(theta.tensors[name], texts.theta(0)[name])
        assert theta.header.settings["scales"]["text"] == 0.0


def test_head_that_follows_is_not_part_of_what_is_trimmed() -> None:
    start, end = texts.theta(0), texts.theta(1)
    far = end | {"head.weight": end["head.weight"] + 1000.0}
    assert ties.threshold(start, far, 0.001) == ties.threshold(start, end, 0.001)


@pytest.mark.parametrize(
    ("recipe", "n", "message"),
    [
        ({"kind": "lines"}, 3, "collection of at most 2"),
        ({"kind": "lines", "beta": 1.5}, 2, "key `beta` is 1.5, but must be at most 1"),
        ({"kind": "slerp", "alpha": 0.5}, 3, "collection of at most 2"),
        ({"kind": "slerp", "alpha": 0.1234}, 2, "more than three decimals"),
        ({"kind": "task-arithmetic", "scale": 1}, 1, "collection of at least 2"),
        ({"kind": "task-arithmetic", "scale": [1, 2]}, 4, "2 scales were given for 3 models; give"),
        ({"kind": "task-arithmetic"}, 4, "key `scale` is missing"),
        ({"kind": "model-stock"}, 2, "only 2 were given; give theta_0 and, after it, at least two"),
        ({"kind": "ties"}, 2, "only 2 were given; give theta_0 and, after it, at least two"),
        ({"kind": "ties", "density": 0}, 3, "key `density` is 0, but must be greater than 0"),
        (
            {"kind": "ties", "trim": "layer"},
            3,
            "`trim` is .layer., but must be one of 'model'",
        ),
        ({"kind": "dare", "density": 0.5}, 1, "collection of at least 2"),
        ({"kind": "dare", "density": 1.5}, 3, "key `density` is 1.5, but must be at most 1"),
    ],
)
def test_refusals(
    files: list[Path], tmp_path: Path, recipe: dict[str, Any], n: int, message: str
) -> None:
    with pytest.raises(WiseftError, match=message):
        made(recipe, files[:n], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_finite_is_named() -> None:
    start = {"a": torch.zeros(2), "b": torch.zeros(2)}
    broken = start | {"b": tensor([1.0, math.nan])}
    merged = Merged([start, broken], lambda name, theta_0, vectors: vectors[0])
    assert torch.equal(merged["a"], torch.zeros(2))
    with pytest.raises(WiseftError, match="tensor b holds a NaN"):
        merged["b"]
    far = Merged([start, start], lambda name, theta_0, vectors: vectors[0] + math.inf)
    with pytest.raises(WiseftError, match="the combination of tensor a holds a NaN or an inf"):
        far["a"]
    with pytest.raises(WiseftError, match="of different architectures"):
        Merged([start, {"a": torch.zeros(2)}], lambda name, theta_0, vectors: vectors[0])
