"""The command `interpolate`: a theta file with its parents, or a sentence and no file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.combine.conftest import random_tensors, tiny_header
from typer.testing import CliRunner

from wiseft.base.stages import VERSION
from wiseft.cli import app
from wiseft.combine.files import interpolate_files
from wiseft.combine.linear_combination import interpolate
from wiseft.errors import StaleArtifact, WiseftError
from wiseft.thetas.theta import load_theta, save_theta


def test_file_holds_the_interpolation(theta_files: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "combine" / "theta_0.300.safetensors"
    made = interpolate_files(*theta_files, 0.3, output)
    theta = load_theta(output)
    start, end = (load_theta(path) for path in theta_files)
    wanted = interpolate(start.tensors, end.tensors, "0.300")
    assert wanted.keys() == theta.tensors.keys()
    assert all(torch.equal(theta.tensors[name], wanted[name]) for name in wanted)
    assert made == theta.identity
    assert (theta.header.kind, theta.header.stage) == ("combined", "combine")
    assert theta.header.parents == {
        "theta_0": start.identity,
        "theta_1": end.identity,
    }
    assert theta.header.settings == {
        "combination": "weight",
        "alpha": "0.300",
        "coefficients": {"theta_0": 0.7, "theta_1": 0.3},
    }
    assert theta.header.seed == 7


def test_same_inputs_same_file(theta_files: tuple[Path, Path], tmp_path: Path) -> None:
    first = interpolate_files(*theta_files, 0.5, tmp_path / "a.safetensors")
    assert first == interpolate_files(*theta_files, "0.500", tmp_path / "b.safetensors")


def test_command(theta_files: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "theta_0.500.safetensors"
    options = ["--theta-0", theta_files[0], "--theta-1", theta_files[1], "--alpha", "0.500"]
    result = CliRunner().invoke(app, ["interpolate", *map(str, options), "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert load_theta(output).header.settings["alpha"] == "0.500"


def other_classes(path: Path) -> None:
    header = tiny_header("fine-tuned", "finetune", class_names=["one", "zero", "two"])
    save_theta(path, random_tensors(1), header)


def other_pixels(path: Path) -> None:
    preprocessing = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3}
    header = tiny_header("fine-tuned", "finetune", preprocessing=preprocessing)
    save_theta(path, random_tensors(1), header)


def other_architecture(path: Path) -> None:
    tensors = random_tensors(1)
    tensors["head.weight"] = tensors["head.weight"][:, :4].contiguous()
    save_theta(path, tensors, tiny_header("fine-tuned", "finetune"))


def other_activation(path: Path) -> None:
    architecture = tiny_header().architecture | {"quick_gelu": True}
    header = tiny_header("fine-tuned", "finetune", architecture=architecture)
    save_theta(path, random_tensors(1), header)


def damaged(path: Path) -> None:
    save_theta(path, random_tensors(1), tiny_header("fine-tuned", "finetune"))
    content = bytearray(path.read_bytes())
    content[-1000:-900] = bytes(100)
    path.write_bytes(content)


def truncated(path: Path) -> None:
    save_theta(path, random_tensors(1), tiny_header("fine-tuned", "finetune"))
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (other_classes, "differ in class_names"),
        (other_pixels, "differ in preprocessing"),
        (other_architecture, r"tensor head\.weight has shape \(3, 8\) in the first and \(3, 4\)"),
        (other_activation, r"differ in architecture\.quick_gelu: None and True"),
        (damaged, r"bad\.safetensors is damaged: expected tensors with SHA-256"),
        (truncated, "not a whole safetensors file"),
        (lambda path: None, "does not exist"),
    ],
)
def test_bad_file(theta_files: tuple[Path, Path], tmp_path: Path, write, message: str) -> None:
    bad, output = tmp_path / "bad.safetensors", tmp_path / "out" / "theta.safetensors"
    write(bad)
    with pytest.raises(WiseftError, match=message):
        interpolate_files(theta_files[0], bad, 0.5, output)
    assert not output.exists()


def test_bad_alpha_writes_nothing(theta_files: tuple[Path, Path], tmp_path: Path) -> None:
    for alpha in ("1.5", "0.1234", "half"):
        with pytest.raises(WiseftError, match="alpha"):
            interpolate_files(*theta_files, alpha, tmp_path / "theta.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_older_stage_version_is_refused(
    theta_files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VERSION, "finetune", VERSION["finetune"] + 1)
    with pytest.raises(StaleArtifact, match="version"):
        interpolate_files(*theta_files, 0.5, tmp_path / "theta.safetensors")


def test_written_one_tensor_at_a_time_is_what_save_theta_writes(
    theta_files: tuple[Path, Path], tmp_path: Path
) -> None:
    """So that the file is the one that was written before, bit for bit."""
    interpolate_files(*theta_files, 0.3, tmp_path / "pieces")
    start, end = (load_theta(path) for path in theta_files)
    tensors = interpolate(start.tensors, end.tensors, 0.3)
    save_theta(tmp_path / "whole", tensors, load_theta(tmp_path / "pieces").header)
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()


def test_thetas_of_half_precision(tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.safetensors" for seed in range(2)]
    for seed, path in enumerate(paths):
        half = {name: tensor.half() for name, tensor in random_tensors(seed).items()}
        save_theta(path, half, tiny_header())
    for alpha, dtype in ((0, torch.float16), (0.5, torch.float32), (1, torch.float16)):
        interpolate_files(*paths, alpha, tmp_path / "theta")
        assert {tensor.dtype for tensor in load_theta(tmp_path / "theta").tensors.values()} == {
            dtype
        }
