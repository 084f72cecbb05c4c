"""`wiseft sweep --evaluate --part NAME=REGEX`: groups of tensors with alphas of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import transformers
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_tensors
from scipy.stats import binomtest

import wiseft
from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.tabulate.few_evaluations import Score
from wiseft.tool.own_plan import Plan, point_of, shown, split_point
from wiseft.tool.summary import summary

N = 200
BEST = {"val": (0.2, 0.8), "test": (0.3, 0.7), "other": (0.1, 0.9), "flat": (0.5, 0.5)}
"""Alphas of both parts that do best on each set."""
ROLES = {"held_out": "val", "reference": "test", "shifts": ["other"]}
GRID = {"alphas": [0.2, 0.3, 0.7, 0.8]}
PARTS = {"vision": r"^vision\.", "language": r"^language\."}


def ends(folder: Path) -> tuple[Path, Path]:
    """Write two models of which an interpolation's values are the alphas themselves."""
    paths = folder / "z.safetensors", folder / "f.safetensors"
    for value, path in enumerate(paths):
        names = "vision.a", "vision.b", "language.a", "head"
        tensors = {name: np.full(3, value, np.float32) for name in names}
        save_file(tensors | {"steps": np.array([7])}, path, {"format": "pt"})
    return paths


class Evaluation:
    """Samples are right by how near both parts are to their best; counts its calls."""

    def __init__(self):
        self.seen = []

    def __call__(self, model):
        found = load_file(model)
        at = [round(float(found[name][0]), 3) for name in ("vision.a", "language.a")]
        assert found["vision.a"][0] == found["vision.b"][0]
        self.seen.append((round(float(found["head"][0]), 3), *at))
        for name, best in BEST.items():
            right = N * (0.9 - sum((a - b) ** 2 for a, b in zip(at, best, strict=True)))
            order = np.random.default_rng(len(name)).permutation(N)
            for place, number in enumerate(order):
                yield {"set": name, "id": int(number), "score": int(place < right)}


def rights(name: str, vision: float, language: float) -> int:
    """Return how many samples of a set are right."""
    a, b = BEST[name]
    return int(np.ceil(N * (0.9 - (vision - a) ** 2 - (language - b) ** 2)))


def test_parts_are_found_and_compared_with_plain_interpolation(tmp_path):
    z, f = ends(tmp_path)
    evaluate, out = Evaluation(), tmp_path / "out"
    plain = wiseft.sweep_with(z, f, evaluate, tmp_path / "plain", **ROLES, **GRID)
    assert len(evaluate.seen) == 7
    evaluate.seen.clear()
    found = wiseft.sweep_with(z, f, evaluate, out, **ROLES, **GRID, parts=PARTS)
    assert len(evaluate.seen) == len(set(evaluate.seen)) == 7 + 6 + 6
    assert {head for head, *_ in evaluate.seen[7:]} == {0.5}, "the rest follows the plain alpha"
    about = json.loads((out / "parts.json").read_text())
    assert (about["plain"], about["best"]) == ("0.5", "0.5 language=0.8 vision=0.2")
    assert about["held_out"]["0.5 vision=0.3"] == rights("val", 0.3, 0.5) / N
    model = load_file(out / "parts" / "f.safetensors")
    values = {name: round(float(tensor[0]), 3) for name, tensor in model.items()}
    assert values == {
        "vision.a": 0.2,
        "vision.b": 0.2,
        "language.a": 0.8,
        "head": 0.5,
        "steps": 7,
    }
    rows = pd.DataFrame(about["differences"]).set_index("dataset")
    for name, dataset in (("test", "reference"), ("other", "other")):
        gain = rights(name, 0.2, 0.8) - rights(name, 0.5, 0.5)
        row = rows.loc[dataset]
        assert row["difference"] == pytest.approx(gain / N)
        assert row["ci_low"] < gain / N < row["ci_high"]
        # The right samples of one are among those of the other, so the spread is known.
        share = abs(gain) / N
        width = 2 * 1.96 * np.sqrt(share * (1 - share) / N)
        assert row["ci_high"] - row["ci_low"] == pytest.approx(width, rel=0.15)
        assert row["p_value"] == pytest.approx(binomtest(0, abs(gain)).pvalue)
    said = f"With parts at 0.5 language=0.8 vision=0.2, {'the best on held-out data'}"
    assert said in summary(found) and said in found.page.read_text()
    for name in ("table.csv", "gains.csv", "model/f.safetensors"):  # beside, not in their place
        assert (out / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert found.choices == plain.choices
    # Where no part gains, the folder goes; of what it asks for, the plain alphas are kept.
    evaluate.seen.clear()
    turned = {**ROLES, **GRID, "held_out": "flat"}
    other = wiseft.sweep_with(z, f, evaluate, out, **turned, parts=PARTS)
    assert "no better alphas of parts than plain interpolation at 0.5" in summary(other)
    assert not (out / "parts").exists()
    assert all(len(set(each)) > 1 for each in evaluate.seen)
    evaluate.seen.clear()
    wiseft.sweep_with(z, f, evaluate, out, **ROLES, **GRID)
    assert not evaluate.seen and not (out / "parts.json").exists()


def test_a_budget_is_shared_by_plain_alphas_and_parts(tmp_path):
    z, f = ends(tmp_path)
    evaluate = Evaluation()
    wiseft.sweep_with(z, f, evaluate, tmp_path / "out", **ROLES, parts=PARTS, budget=13)
    assert len(evaluate.seen) == len(set(evaluate.seen)) == 13
    assert all(len(set(each)) == 1 for each in evaluate.seen[:7])
    moved = [[a != plain for a in own] for plain, *own in evaluate.seen[7:]]
    assert all(vision for vision, _ in moved[:3]) and all(language for _, language in moved[3:])
    about = json.loads((tmp_path / "out" / "parts.json").read_text())
    best = max(about["held_out"], key=about["held_out"].get)
    assert about["best"] == best and "vision" in best and "language" in best


def test_of_a_loss_the_search_goes_down():
    plan = Plan(["0.000", "0.500", "1.000"], [], {"a": "a"}, None, "val", ())
    losses = {"0.000": 3.0, "0.500": 2.0, "1.000": 2.5, "0.500 a=0.000": 1.5, "0.500 a=1.000": 1.0}
    scores = {point: Score(value, None, False) for point, value in losses.items()}
    assert plan.searched(scores) == (None, "0.500", "0.500 a=1.000")


def test_points_have_one_name():
    point = point_of("0.500", {"b": "0.500", "c": "1.000", "a": "0.250"})
    assert point == "0.500 a=0.250 c=1.000"
    assert split_point(point) == ("0.500", {"a": "0.250", "c": "1.000"})
    assert shown(point) == "0.5 a=0.25 c=1"


@pytest.mark.parametrize(
    ("parts", "more", "message"),
    [
        (
            {"a": "audio"},
            {},
            r"--part a=audio matches none of 4 tensors, such as head, language\.a",
        ),
        (
            {"a": "vision", "b": r"\.b"},
            {},
            r"--part a and --part b both match vision\.b; a tensor has one alpha",
        ),
        ({"a": "("}, {}, r"--part a=\(: no regular expression"),
        ({"a b": "vision"}, {}, "call it by letters"),
        (PARTS, {"jobs": 2}, "--part chooses by the results before; leave out --jobs"),
        (PARTS, {"budget": 4}, "too small for the alphas 0, 1, 0.5 and one more for each of 2"),
    ],
)
def test_what_is_wrong_is_one_line(parts, more, message, tmp_path):
    z, f = ends(tmp_path)
    evaluate = Evaluation()
    with pytest.raises(WiseftError, match=message):
        wiseft.sweep_with(z, f, evaluate, tmp_path / "out", **ROLES, parts=parts, **more)
    assert not evaluate.seen


def test_two_names_of_one_tensor_have_one_alpha(tmp_path):
    config = transformers.GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=9, n_positions=4)
    paths = tmp_path / "z", tmp_path / "f"
    for path in paths:
        model = transformers.GPT2LMHeadModel(config)
        model.save_pretrained(path)
        tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        assert "lm_head.weight" in tensors
        save_tensors(tensors, path / "model.safetensors", {"format": "pt"})
    own = {"parts": {"head": "^lm_head"}}
    with pytest.raises(WiseftError, match=r"lm_head.weight and transformer.wte.weight are one"):
        wiseft.sweep_with(*paths, Evaluation(), tmp_path / "out", **ROLES, **own)


@pytest.mark.parametrize("given", [["vision"], ["a=b", "a=c"]])
def test_the_command_line_asks_for_name_and_expression(given, tmp_path, capsys):
    sets = ["--held-out", "val", "--reference", "test", "--shift", "other", "-o", str(tmp_path)]
    parts = [word for each in given for word in ("--part", each)]
    with pytest.raises(SystemExit):
        main(["sweep", "z", "f", "--evaluate", "x {model}", *sets, *parts])
    assert "give each --part once, as NAME=REGEX" in capsys.readouterr().err
