"""What is added by one file: the examples of CONTRIBUTING, run in a copy of the package."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from tests.combine.conftest import manifest, random_tensors, tiny_header  # noqa: F401
from tests.figures.conftest import make_table

from wiseft.base import plugins
from wiseft.base.validation import validate
from wiseft.errors import WiseftError
from wiseft.study import OBJECTIVES
from wiseft.tabulate.schema import TABLE, write_parquet
from wiseft.thetas.theta import load_theta, save_theta

ROOT = Path(__file__).parents[1]
Fork = Callable[[Callable[[], object]], int]
Run = Callable[..., None]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package to which the diffs of CONTRIBUTING are applied."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    diffs = re.findall(r"```diff\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert len(diffs) == 3
    for diff in diffs:
        assert diff.count("+++ b/src/") == 1
        subprocess.run(["git", "apply", "-"], input=diff, text=True, cwd=folder, check=True)
    return folder


@pytest.fixture
def run(copy: Path, fork: Fork, wait: Callable[[int], int], tmp_path: Path) -> Run:
    """Run a command of the copy, in a fork that forgets the modules of this clone."""
    said = tmp_path / "said"

    def of_the_copy(arguments: tuple[object, ...]) -> None:
        os.chdir(copy)
        for name in [name for name in sys.modules if name.partition(".")[0] == "wiseft"]:
            del sys.modules[name]
        sys.path.insert(0, str(copy / "src"))
        cli = importlib.import_module("wiseft.cli")
        assert Path(str(cli.__file__)).is_relative_to(copy)
        with said.open("w") as stream, contextlib.redirect_stderr(stream):
            try:
                cli.main([str(argument) for argument in arguments])
            except SystemExit as end:
                if end.code:
                    raise

    def run(*arguments: object) -> None:
        if wait(fork(lambda: of_the_copy(arguments))):
            raise WiseftError(said.read_text())

    return run


def test_a_recipe(run: Run, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.safetensors" for name in ("zero", "tuned")]
    start, other = random_tensors(0), random_tensors(1)
    # Near enough that no variance of BatchNorm becomes negative beyond the second.
    ends = start, {name: start[name].lerp(other[name], 0.5) for name in start}
    for file, tensors in zip(files, ends, strict=True):
        save_theta(file, tensors, tiny_header())
    recipe = {"kind": "expo", "beyond": 0.25}
    output = ["--output", tmp_path / "theta", "--device", "cpu"]
    run("combine", *files, "--recipe", json.dumps(recipe), *output)
    found = load_theta(tmp_path / "theta")
    assert found.header.settings["recipe"] == recipe
    for name in start:
        wanted = start[name] + 1.25 * (ends[1][name] - start[name])
        torch.testing.assert_close(found.tensors[name], wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(WiseftError, match="unknown key `beyon`; did you mean beyond"):
        run("combine", *files, "--recipe", json.dumps({**recipe, "beyon": 1}), *output)


def test_a_drawing(run: Run, copy: Path, tmp_path: Path) -> None:
    write_parquet(tmp_path / "table.parquet", make_table(), TABLE)
    drawn = ["figure", "f", "--table", tmp_path / "table.parquet", "--output", tmp_path / "f.svg"]
    run(*drawn, "--draw", "spread", "--options", '{"alpha": 0.5}')
    assert "<svg" in (tmp_path / "f.svg").read_text()
    # Before anything is made, an experiment is told what is wrong with it.
    shutil.copytree(ROOT / "config", copy / "config", dirs_exist_ok=True)
    path = copy / "config" / "experiments" / "digits-smoke.yaml"
    text = path.read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    recipe = textwrap.dedent("   " + block.strip())
    path.write_text(re.sub(r"^figures:$", lambda _: recipe, text, flags=re.MULTILINE))
    run("config", "check", "--experiment", "digits-smoke")
    for options, problem in (
        ("{alpha: 0.5}", None),
        ("{alpha: 0.5, sourse: all}", "spread has no option `sourse`; did you mean source"),
        ("{}", "spread needs the option `alpha`"),
    ):
        figure = f"figures:\n  dots: {{draw: spread, options: {options}}}\n"
        path.write_text(re.sub(r"^figures:\n", figure, text, flags=re.MULTILINE))
        if problem is None:
            run("config", "show", "--experiment", "digits-smoke")
            continue
        with pytest.raises(WiseftError, match=problem):
            run("config", "show", "--experiment", "digits-smoke")


def test_a_loss(run: Run, manifest: Path, tmp_path: Path) -> None:  # noqa: F811
    save_theta(tmp_path / "theta_0", random_tensors(0), tiny_header())
    arguments = ["--theta-0", tmp_path / "theta_0", "--dataset", manifest, "--seed", 0]
    outputs = ["--theta-1", tmp_path / "theta_1", "--curve", tmp_path / "curve.csv"]
    outputs += ["--state", tmp_path / "state", "--device", "cpu"]
    curves = []
    for options in ({}, {"gamma": 0.0}):
        settings = {"loss": "focal", "loss_options": options, "epochs": 1, "batch_size": 10}
        settings |= {"warmup_steps": 1, "trainable": "head"}
        run("finetune", *arguments, "--settings", json.dumps(settings), *outputs)
        curves.append(pd.read_csv(tmp_path / "curve.csv")["loss"].to_numpy())
    assert 0 < curves[0][0] < curves[1][0]
    settings["loss_options"] = {"gama": 1}
    with pytest.raises(WiseftError, match="loss_options: unknown key `gama`; did you mean gamma"):
        run("finetune", *arguments, "--settings", json.dumps(settings), *outputs)


def test_names_and_options_are_read_without_heavy_libraries() -> None:
    code = """
import sys
from wiseft.base import plugins
from wiseft.study import DRAWINGS, OBJECTIVES
from wiseft.study.config import FinetuneSettings
from wiseft.study.config.drawings import drawing_options, drawing_text
for name in plugins.names(OBJECTIVES):
    plugins.load(OBJECTIVES, name).Options()
for name in plugins.names(plugins.RECIPES):
    plugins.load(plugins.RECIPES, name).Options(kind=name) if "soup" in name else None
for name in plugins.names(DRAWINGS):
    drawing_options(name), drawing_text(name)
print(*[m for m in ("torch", "numpy", "pandas", "matplotlib") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(WiseftError, match="there is no recipe 'mean'; choose one of dare, fisher"):
        plugins.load(plugins.RECIPES, "mean")


@pytest.mark.parametrize("kind", [plugins.RECIPES, OBJECTIVES])
def test_every_option_is_described(kind: str) -> None:
    for name in plugins.names(kind):
        module = plugins.load(kind, name)
        for model in (module.Options, getattr(module, "Inputs", module.Options)):
            assert all(field.description for field in model.model_fields.values()), name


def test_a_file_is_given_once() -> None:
    inputs = plugins.load(plugins.RECIPES, "soup-greedy").Inputs
    files = {"thetas": [Path("a"), Path("b")], "dataset": [Path("m")]}
    assert validate(inputs, files, "--input").dataset == Path("m")
