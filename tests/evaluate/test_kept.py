"""What image towers retain: the head of another theta in the place of those of both ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.combine import test_text_towers as text
from tests.evaluate.conftest import Ends, N, evaluation, prepared_split, tiny_header, tiny_tensors
from tests.evaluate.test_suite import Build, assert_columns, direct_logits, run

from wiseft.combine.linear_combination import interpolate
from wiseft.errors import WiseftError
from wiseft.study.data.prepared import write_prepared
from wiseft.thetas.theta import load_theta, make_header, save_theta
from wiseft.zeroshot.text_head import HeadBuilder

COLOURS = ["red", "green", "blue", "grey", "pink"]


def kept(folder: Path, classes: list[str]) -> Path:
    """A dataset of other classes than the thetas'."""
    splits = {name: prepared_split(n, 50 + n, np.arange(n) % len(classes)) for name, n in N.items()}
    return write_prepared(folder / "kept", "kept", splits, classes)


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """A theta of the same architecture with another tower, and a head of five colours."""
    tensors = tiny_tensors(2)
    rows = torch.randn(5, 8, generator=torch.Generator().manual_seed(3)) * 9
    new = {"head.weight": rows, "head.bias": torch.linspace(-1, 1, 5)}
    save_theta(tmp_path / "head", tensors | new, tiny_header(class_names=COLOURS))
    return tmp_path / "head"


def test_towers_between_the_ends_under_a_head_that_stays(
    request_for: Build, ends: Ends, head: Path, tmp_path: Path
) -> None:
    manifest, grid = kept(tmp_path, COLOURS), ["0.000", "0.300", "1.000"]
    seen = {"manifests": [manifest], "evaluate": evaluation(("kept",)), "alphas": grid}
    metrics, table = run(request_for(**seen, head=head))
    other = load_theta(head)
    logits = {}
    for alpha in grid:
        paths = (ends.theta_0, ends.theta_1)
        between = interpolate(*(load_theta(path).tensors for path in paths), alpha)
        whole = between | {k: v for k, v in other.tensors.items() if k.startswith("head.")}
        save_theta(tmp_path / alpha, whole, other.header)
        logits[alpha] = direct_logits(tmp_path / alpha, manifest)
        assert_columns(table, f"weight/all/{alpha}", logits[alpha])
    assert not np.array_equal(logits["0.000"], logits["1.000"])
    mean = torch.lerp(*(torch.from_numpy(logits[end]) for end in (grid[0], grid[-1])), 0.3)
    assert_columns(table, "output/all/0.300", mean.numpy())
    ends_alone, _ = run(request_for(output_dir=tmp_path / "own"))
    assert metrics["identity"]["theta_1"] == ends_alone["identity"]["theta_1"]
    assert metrics["identity"]["head"] == other.identity
    assert "head" not in ends_alone["identity"]


def test_a_linear_classifier_loses_nothing(
    request_for: Build, ends: Ends, head: Path, tmp_path: Path
) -> None:
    seen = {"manifests": [kept(tmp_path, COLOURS)], "evaluate": evaluation(("kept",))}
    _, table = run(request_for(**seen, head=head, theta_1=ends.linear))
    for part in ("prediction", "top1"):
        columns = [table[f"weight/all/{alpha}/{part}"] for alpha in ("0.000", "0.500", "1.000")]
        assert columns[0].equals(columns[1]) and columns[0].equals(columns[2])


def test_another_head_is_another_evaluation(request_for: Build, head: Path, tmp_path: Path) -> None:
    seen = {"manifests": [kept(tmp_path, COLOURS)], "evaluate": evaluation(("kept",))}
    first, before = run(request_for(**seen, head=head))
    theta = load_theta(head)
    theta.tensors["head.bias"] += torch.tensor([0.0, 9.0, 0.0, 0.0, 0.0])
    save_theta(head, theta.tensors, theta.header)
    second, after = run(request_for(**seen, head=head))
    assert first["identity"]["theta_0"] == second["identity"]["theta_0"]
    assert not before["weight/all/0.500/top1"].equals(after["weight/all/0.500/top1"])


def test_a_head_follows_from_a_trained_text_tower(request_for: Build, tmp_path: Path) -> None:
    """Contrastive fine-tuning: the kept classes are prompted anew at every alpha."""
    paths = [tmp_path / f"theta_{end}" for end in (0, 1)]
    for seed, path in enumerate(paths):
        save_theta(path, text.theta(seed), text.header())
    prompts = {"prompt_names": [[name] for name in COLOURS], "templates": ["a {c} thing."]}
    same = {name: getattr(text.header(), name) for name in ("architecture", "preprocessing")}
    header = make_header(
        "zero-shot", "zeroshot", class_names=COLOURS, parents={}, settings=prompts, **same
    )
    image = {k: v for k, v in text.theta(0).items() if k.startswith("image.")}
    of_prompts = HeadBuilder(header, text.theta(0)).head(text.theta(0))
    save_theta(tmp_path / "head", image | of_prompts, header)
    manifest, grid = kept(tmp_path, COLOURS), ["0.000", "0.300", "1.000"]
    seen = {"manifests": [manifest], "evaluate": evaluation(("kept",)), "alphas": grid}
    ends = {"theta_0": paths[0], "theta_1": paths[1]}
    _, table = run(request_for(**seen, **ends, head=tmp_path / "head"))
    for alpha in grid:
        mixed = interpolate(text.theta(0), text.theta(1), alpha)
        whole = mixed | HeadBuilder(header, mixed).head(mixed)
        save_theta(tmp_path / alpha, whole, header)
        assert_columns(table, f"weight/all/{alpha}", direct_logits(tmp_path / alpha, manifest))


def test_a_head_of_another_architecture_is_refused(
    request_for: Build, ends: Ends, tmp_path: Path
) -> None:
    theta = load_theta(ends.theta_0)
    other = {"size": 32, "mean": [0.1, 0.1, 0.1], "std": [0.3, 0.2, 0.25]}
    save_theta(tmp_path / "head", theta.tensors, tiny_header(preprocessing=other))
    with pytest.raises(WiseftError, match=r"differ in preprocessing.mean\[0\]"):
        run(request_for(head=tmp_path / "head"))
