"""`wiseft sweep --evaluate --recipe`: what a recipe makes, beside plain interpolation."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.combine.conftest import tiny_header
from tests.combine.test_parts import VIT
from tests.sweep.own import ROLES

import wiseft
from wiseft.cli import main
from wiseft.combine.files import combine_files
from wiseft.combine.recipe_settings import make_recipe
from wiseft.errors import WiseftError
from wiseft.models.classifier import build_classifier, classifier_tensors
from wiseft.tabulate.few_evaluations import Score
from wiseft.thetas.theta import load_theta, save_theta
from wiseft.tool.api import merge_files
from wiseft.tool.own_plan import Plan, points_made, shown
from wiseft.tool.summary import summary

N = 100
GRID = {"alphas": [0.25]}
TIES = {"kind": "ties", "density": 0.4}
LINES = {"kind": "lines", "alpha": 0.1, "beta": 0.8}
SLERP = {"kind": "slerp"}
DARE = {"kind": "dare", "density": 0.5, "scale": 0.4, "merge": "ties", "seed": 3}


def models(folder: Path) -> list[dict[str, torch.Tensor]]:
    """Write a zero-shot model and two fine-tuned ones, as thetas and as files of others."""
    header, found = tiny_header(architecture=VIT), []
    start = classifier_tensors(build_classifier(header, seed=0))
    for place, name in enumerate("zfg"):
        torch.manual_seed(place)
        change = 0.5 if place else 0.0
        own = {
            n: (v + change * torch.randn(v.shape)).detach().contiguous() for n, v in start.items()
        }
        save_theta(folder / f"{name}.theta", own, header)
        save_file(own | {"steps": torch.tensor([7])}, folder / f"{name}.safetensors")
        found.append(own)
    return found


class Evaluation:
    """Samples are right by one number of a model; keeps the models that it saw."""

    def __init__(self, fails: int = -1):
        self.seen, self.fails = [], fails

    def __call__(self, model):
        found = load_file(model)
        if len(self.seen) == self.fails:
            raise KeyboardInterrupt
        self.seen.append(found)
        value = float(found["image.proj"].double().sum()) if "image.proj" in found else 0.0
        for name in ("val", "test", "other"):
            for number in range(N):
                right = int(torch.sin(torch.tensor(number * (3.0 + len(name)) + value)) > -0.3)
                yield {"set": name, "id": number, "score": right}


def sweep(folder, evaluate, recipe, more=("g",), out="out", **options):
    ends = folder / "z.safetensors", folder / "f.safetensors"
    others = [folder / f"{name}.safetensors" for name in more]
    given = {**ROLES, **GRID, "recipe": recipe, "more": others, **options}
    return wiseft.sweep_with(*ends, evaluate, folder / out, **given)


def merged(folder: Path, recipe, more, alpha) -> dict[str, torch.Tensor]:
    """Return what `wiseft merge` writes."""
    output = folder / f"merged-{alpha}.safetensors"
    paths = [str(folder / f"{name}.safetensors") for name in "zf"]
    others = [word for name in more for word in ("--more", str(folder / f"{name}.safetensors"))]
    asked = ["--recipe", json.dumps(recipe), *others, "--alpha", str(alpha), "-o", str(output)]
    with pytest.raises(SystemExit) as left:
        main(["merge", *paths, *asked])
    assert left.value.code in (0, None)
    return load_file(output)


@pytest.mark.parametrize(
    ("recipe", "more"),
    [
        (TIES, "g"),
        (DARE, "g"),
        (LINES, ""),
        (SLERP, ""),
        ({"kind": "task-arithmetic", "scale": [0.7, -0.2]}, "g"),
    ],
)
def test_every_alpha_has_the_model_that_merge_writes(recipe, more, tmp_path):
    start, *_ = models(tmp_path)
    evaluate = Evaluation()
    result = sweep(tmp_path, evaluate, recipe, more)
    assert len(evaluate.seen) == 4 + 3, "0 is the zero-shot model"
    whole = recipe | ({"alpha": 1.0} if recipe is SLERP else {})
    thetas = [tmp_path / f"{name}.theta" for name in ("z", "f", *more)]
    combine_files(make_recipe(whole, {"thetas": thetas}), tmp_path / "combined")
    end = load_theta(tmp_path / "combined").tensors
    for alpha, found in zip((0.25, 0.5, 1.0), evaluate.seen[4:], strict=True):
        wrote = merged(tmp_path, recipe, more, alpha)
        assert found.keys() == wrote.keys() and found["steps"] == 7
        assert all(torch.equal(found[name], wrote[name]) for name in wrote)
        if recipe is SLERP:
            at = make_recipe(recipe | {"alpha": alpha}, {"thetas": thetas})
            combine_files(at, tmp_path / f"at-{alpha}")
            expected = load_theta(tmp_path / f"at-{alpha}").tensors
        else:
            expected = {n: torch.lerp(start[n], end[n], alpha) for n in start}
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6)
    about = json.loads((tmp_path / "out" / "recipe.json").read_text())
    best = float(about["best"].split(" ")[0])
    model = load_file(tmp_path / "out" / "recipe" / "f.safetensors")
    own = evaluate.seen[4 + (0.25, 0.5, 1.0).index(best)]
    assert all(torch.equal(model[name], own[name]) for name in own)
    assert {row["dataset"] for row in about["differences"]} == {"reference", "other"}
    assert all(row["ci_low"] <= row["difference"] <= row["ci_high"] for row in about["differences"])
    said = f"With {recipe['kind']} at {best:g}, the best on held-out data, the model"
    assert said in summary(result) and said in result.page.read_text()
    plain = wiseft.sweep_with(
        *(tmp_path / f"{name}.safetensors" for name in "zf"),
        Evaluation(),
        tmp_path / "plain",
        **ROLES,
        **GRID,
    )
    assert result.choices == plain.choices
    assert (result.folder / "table.csv").read_bytes() == (plain.folder / "table.csv").read_bytes()


def test_a_recipe_without_alpha_is_one_point(tmp_path):
    models(tmp_path)
    evaluate = Evaluation()
    result = sweep(tmp_path, evaluate, {"kind": "model-stock"})
    assert len(evaluate.seen) == 4 + 1
    thetas = [tmp_path / f"{name}.theta" for name in "zfg"]
    combine_files(make_recipe({"kind": "model-stock"}, {"thetas": thetas}), tmp_path / "stock")
    for name, value in load_theta(tmp_path / "stock").tensors.items():
        assert torch.equal(evaluate.seen[4][name], value)
    assert "With model-stock the model in the folder recipe has" in summary(result)
    evaluate.seen.clear()
    assert "model-stock" not in summary(sweep(tmp_path, evaluate, None, ""))
    assert not evaluate.seen and not (tmp_path / "out" / "recipe").exists()


def test_a_killed_sweep_goes_on_and_another_recipe_keeps_plain_results(tmp_path):
    models(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, Evaluation(fails=5), TIES)
    evaluate = Evaluation()
    sweep(tmp_path, evaluate, TIES)
    assert len(evaluate.seen) == 2
    for changed, n in ((TIES | {"density": 0.6}, 3), (TIES, 0), (TIES | {"trim": "model"}, 0)):
        evaluate.seen.clear()
        sweep(tmp_path, evaluate, changed)
        assert len(evaluate.seen) == n
    save_file(load_file(tmp_path / "f.safetensors"), tmp_path / "h.safetensors")
    evaluate.seen.clear()
    sweep(tmp_path, evaluate, TIES, ("h",))
    assert len(evaluate.seen) == 3, "a further model is another one by its content"
    sweep(tmp_path, Evaluation(), TIES, out="jobs", jobs=3)
    both = [json.loads((tmp_path / out / "recipe.json").read_text()) for out in ("out", "jobs")]
    sweep(tmp_path, Evaluation(), TIES)
    both[0] = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert both[0] == both[1]


@pytest.mark.parametrize(("recipe", "plain", "n"), [(TIES, 4, 4), ({"kind": "soup-uniform"}, 7, 1)])
def test_a_budget_is_shared_with_the_recipe(recipe, plain, n, tmp_path):
    models(tmp_path)
    evaluate = Evaluation()
    alphas = [step / 10 for step in range(11)]
    sweep(tmp_path, evaluate, recipe, alphas=alphas, budget=8)
    held = json.loads((tmp_path / "out" / "recipe.json").read_text())["held_out"]
    assert len(evaluate.seen) == len(held) == plain + n
    assert sum(" " in point for point in held) == n


def test_the_best_of_a_recipe_is_never_the_zero_shot_model():
    grid = ["0.000", "0.500", "1.000"]
    made = points_made({"kind": "ties"}, grid)
    plan = Plan(grid, [], {"ties": ""}, None, "val", (), made)
    rights = dict(zip([*grid, *made], (0.9, 0.8, 0.7, 0.5, 0.6), strict=True))
    scores = {point: Score(value, None, True) for point, value in rights.items()}
    assert plan.searched(scores) == (None, "0.000", "1.000 ties")
    assert shown("0.500 ties") == "0.5 ties"
    assert points_made({"kind": "soup-uniform"}, grid) == ["1.000 soup-uniform"]


def test_adapters_and_other_dtypes(tmp_path):
    """Z's format is written for adapters, F's else, in its dtypes."""
    draw = torch.Generator().manual_seed(1)
    base = {"fc.weight": torch.randn(5, 3, generator=draw), "norm.bias": torch.ones(4)}
    save_file(base, tmp_path / "z.safetensors")
    changes = []
    for name in ("one", "two"):
        first, second = (torch.randn(*s, generator=draw) for s in ((2, 3), (5, 2)))
        (tmp_path / name).mkdir()
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(config))
        factors = {"lora_A.weight": first, "lora_B.weight": second}
        factors = {f"base_model.model.fc.{key}": value for key, value in factors.items()}
        save_file(factors, tmp_path / name / "adapter_model.safetensors")
        changes.append(2 * second @ first)
    half = {name: value.to(torch.bfloat16) for name, value in base.items()}
    save_file(half, tmp_path / "f.safetensors")
    one, two, z, f = (tmp_path / x for x in ("one", "two", "z.safetensors", "f.safetensors"))
    recipe, evaluate = {"kind": "soup-uniform"}, Evaluation()
    given = {**ROLES, **GRID, "recipe": recipe}
    wiseft.sweep_with(z, one, evaluate, tmp_path / "a", **given, more=[two])
    mean = base["fc.weight"] + sum(changes) / 2
    torch.testing.assert_close(evaluate.seen[-1]["fc.weight"], mean)
    assert (tmp_path / "a" / "recipe" / "z.safetensors").exists()
    wiseft.sweep_with(z, f, evaluate, tmp_path / "b", **given, more=[two])
    found = evaluate.seen[-1]["fc.weight"]
    assert found.dtype == torch.bfloat16
    expected = (half["fc.weight"].float() + base["fc.weight"] + changes[1]) / 2
    torch.testing.assert_close(found, expected.to(torch.bfloat16))


@pytest.mark.parametrize(
    ("recipe", "more", "options", "message"),
    [
        ({"kind": "fisher"}, "g", {}, "recipe is fisher, which also takes fisher, but there are"),
        ({"kind": "soup-greedy"}, "g", {}, "which also takes dataset"),
        ({"kind": "patching", "alpha": 0.3}, "g", {}, "which also takes head"),
        ({}, "g", {}, "key `kind` is missing"),
        ({"kind": "tie"}, "g", {}, "there is no recipe 'tie'; choose one of"),
        (TIES | {"densty": 1}, "g", {}, "densty"),
        (TIES, "", {}, "at least two models that were fine-tuned from it"),
        (SLERP, "g", {}, "key `thetas`"),
        (None, "g", {}, "give --more with a --recipe"),
        (TIES, "g", {"parts": {"a": "image"}}, "--part without one"),
        (TIES, "g", {"budget": 3}, "too small for the alphas 0, 1, 0.5 and one of the recipe"),
    ],
)
def test_what_is_wrong_is_one_line(recipe, more, options, message, tmp_path):
    models(tmp_path)
    evaluate = Evaluation()
    with pytest.raises(WiseftError, match=message):
        sweep(tmp_path, evaluate, recipe, more, **options)
    assert not evaluate.seen


def test_thetas_and_adapters_as_such_are_refused(tmp_path):
    models(tmp_path)
    z, f = (tmp_path / f"{name}.theta" for name in "zf")
    with pytest.raises(WiseftError, match="use `wiseft combine`; here a recipe takes no theta"):
        merge_files(z, f, 1, tmp_path / "out", recipe={"kind": "soup-uniform"}, more=[f])
    with pytest.raises(WiseftError, match="--as-adapter without one"):
        merge_files(z, f, 1, tmp_path / "out", recipe=SLERP, as_adapter=True)


def test_the_command_line(tmp_path, capsys):
    models(tmp_path)
    row = {"metric": "a", "correct": 1, "n": 2}
    lines = [json.dumps({"set": name, **row}) for name in ("val", "test", "other")]
    (tmp_path / "e.py").write_text("".join(f"print({line!r})\n" for line in lines))
    sets = ["--held-out", "val", "--reference", "test", "--shift", "other", "--alphas", "0.5"]
    ends = [str(tmp_path / f"{name}.safetensors") for name in "zfg"]
    how = ["--recipe", json.dumps(TIES), "--more", ends[2], "-o", str(tmp_path / "out")]
    how += ["--evaluate", f"{sys.executable} {tmp_path / 'e.py'} {{model}}"]
    with pytest.raises(SystemExit) as left:
        main(["sweep", *ends[:2], *sets, *how])
    assert left.value.code in (0, None)
    assert "With ties at 0.5, the best on held-out data" in capsys.readouterr().out
