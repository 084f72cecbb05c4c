"""Arithmetic, batch size and compilation of an evaluation: what identifies it and what does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tests.evaluate.conftest import (
    METADATA,
    Ends,
    N,
    evaluation,
    inference,
    tiny_header,
    tiny_tensors,
)
from tests.evaluate.test_suite import run
from typer.testing import CliRunner

from wiseft.base.messages import shown
from wiseft.cli import app
from wiseft.errors import WiseftError
from wiseft.evaluate.chunks import images_of_a_pass
from wiseft.evaluate.passes import Inference, make_sweep
from wiseft.evaluate.request import Request
from wiseft.evaluate.suite import evaluate_suite
from wiseft.models.batch_size import DEVICE_MEMORY, BatchSize
from wiseft.models.precision import Arithmetic
from wiseft.thetas.theta import load_theta, save_theta

Build = Callable[..., Request]
CPU = torch.device("cpu")


@pytest.fixture
def memory_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Let no more than n images through the first layer; list the passes."""
    forward = torch.nn.Conv2d.forward

    def limit(n: int) -> list[int]:
        seen: list[int] = []

        def limited(self: torch.nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
            if images.shape[1] == 3:
                seen.append(len(images))
                if len(images) > n:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return forward(self, images)

        monkeypatch.setattr(torch.nn.Conv2d, "forward", limited)
        return seen

    return limit


@pytest.mark.parametrize("end", ["theta_1", "linear"])
def test_out_of_memory_makes_smaller_passes_and_the_same_predictions(
    request_for: Build, memory_for, tmp_path: Path, end: str
) -> None:
    first, last = tiny_tensors(0), tiny_tensors(1)
    head = {name: tensor for name, tensor in last.items() if name.startswith("head.")}
    save_theta(tmp_path / "theta_0", first, tiny_header())
    save_theta(tmp_path / "theta_1", last, tiny_header())
    save_theta(tmp_path / "linear", first | head, tiny_header())
    thetas = {"theta_0": tmp_path / "theta_0", "theta_1": tmp_path / end}
    _, whole = run(request_for(**thetas))
    seen, lines = memory_for(3), []
    again = request_for(**thetas, output_dir=tmp_path / "parts")
    with shown(lines.append):
        (path,) = evaluate_suite(again)
    parts = pd.read_parquet(path.with_name("predictions.parquet"))
    assert [n for n in seen if n > 3] == [10, 5]
    (line,) = [line for line in lines if "out of memory" in line]
    assert "out of memory with 10 images at a time; going on with 3 at a time" in line
    for name in whole:
        if name.endswith("/prediction"):
            assert parts[name].equals(whole[name])
        elif name.endswith("/top1"):
            np.testing.assert_allclose(parts[name], whole[name], rtol=1e-4, atol=1e-4)
    metrics, _ = run(again)
    assert metrics["how"]["batch_size"] == 3


def test_no_image_fits(request_for: Build, memory_for) -> None:
    memory_for(0)
    with pytest.raises(WiseftError, match=r"with 1 images at a time.*precision to bf16"):
        run(request_for())


def test_a_gpu_takes_what_its_memory_has_room_for(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep(load_theta(ends.theta_0), load_theta(ends.theta_1), inference())
    monkeypatch.setenv(DEVICE_MEMORY, "0.8")
    assert (fits := sweep.images_that_fit()) is not None
    monkeypatch.setenv(DEVICE_MEMORY, "0.82")
    more = sweep.images_that_fit()
    assert more is not None
    assert 0 < fits < more
    lines: list[str] = []
    with shown(lines.append):
        assert images_of_a_pass(sweep) == 500  # on a CPU memory is not asked
    assert not lines
    sweep.inference.device = torch.device("mps")
    monkeypatch.setenv(DEVICE_MEMORY, "0.71")
    with shown(lines.append):
        found = images_of_a_pass(sweep)
    assert found == max(1, sweep.images_that_fit()) < 500
    assert lines == [f"{found} images at a time, as many as the memory of the device has room for"]


def test_another_precision_is_another_evaluation_with_its_changes_beside(
    request_for: Build, ends: Ends, tmp_path: Path
) -> None:
    precision, (plain, table) = "bf16", run(request_for())
    lines: list[str] = []
    request = request_for(precision=precision, output_dir=tmp_path / precision)
    with shown(lines.append):
        evaluate_suite(request)
    metrics, other = run(request)
    assert metrics["identity"] == plain["identity"] | {"precision": precision}
    assert "changed_predictions" not in plain["how"]
    changed = metrics["how"]["changed_predictions"]
    # All images are in the sample here, so the share is that between the two files.
    n = sum(N.values())
    assert changed["images"] == n
    assert changed["combination"] == "weight"
    for alpha, share in changed["share"].items():
        name = f"weight/all/{alpha}/prediction"
        assert share == (table[name] != other[name]).sum() / n
    top = "weight/all/0.500/top1"
    assert (table[top] != other[top]).any()
    np.testing.assert_allclose(other[top], table[top], rtol=0.2, atol=0.5)
    said = [line for line in lines if line.startswith(f"{precision}: of {n} images, predicted")]
    assert len(said) == 1
    assert f"arithmetic of the image tower: {precision}" in lines


def test_numbers_beyond_fp16_are_told(request_for: Build, ends: Ends, tmp_path: Path) -> None:
    name, tensors = "image.attnpool.c_proj.weight", tiny_tensors(1)
    path = tmp_path / "large.safetensors"
    save_theta(path, tensors | {name: 1e5 * tensors[name]}, tiny_header())
    with pytest.raises(WiseftError, match="precision is fp16, whose numbers end at 65,504, and"):
        run(request_for(theta_1=path, precision="fp16"))


def test_features_and_logits_are_fp32_in_every_precision(ends: Ends) -> None:
    made = inference()
    made.arithmetic = Arithmetic("bf16", made.device)
    sweep = make_sweep(None, load_theta(ends.theta_1), made)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    inside = []
    sweep.model.image.register_forward_hook(lambda m, i, o: inside.append(o.dtype))
    ((_, _, logits),) = sweep.logits([sweep.pixels([images])], ["1.000"])
    assert inside == [torch.bfloat16]
    assert logits.dtype == torch.float32
    features = sweep.features(sweep.pixels([images])[0])
    torch.testing.assert_close(features.norm(dim=1), torch.ones(4))


def test_tensor_float_is_off_unless_asked_for() -> None:
    matmul, cudnn, cpu = torch.backends.cuda.matmul, torch.backends.cudnn, torch.device("cpu")
    for name, expected in (("fp32", (False, False)), ("tf32", (True, True))):
        with Arithmetic(name, cpu).kernels(deterministic=True):
            assert (matmul.allow_tf32, cudnn.allow_tf32) == expected
        assert not matmul.allow_tf32
    assert str(Arithmetic("fp32", torch.device("cuda"))) == "fp32, TensorFloat-32 off"


def test_compilation_is_no_identity(
    request_for: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, plain_compile = [], torch.nn.Module.compile

    def eager(self: torch.nn.Module, **options) -> None:
        compiled.append(options)
        plain_compile(self, backend="eager", **options)

    plain, table = run(request_for())
    monkeypatch.setattr(torch.nn.Module, "compile", eager)
    metrics, fast = run(request_for(compile=True, output_dir=tmp_path / "fast"))
    made = Inference(CPU, Arithmetic("fp32", CPU), BatchSize(9), compile=True)
    monkeypatch.setenv(DEVICE_MEMORY, "1")
    sweep = make_sweep(None, load_theta(request_for().theta_1), made)
    assert sweep.images_that_fit() > 9  # what is compiled is counted as it was before
    compiled.pop()
    assert compiled == [{"dynamic": False}]
    assert metrics["identity"] == plain["identity"]
    assert metrics["how"]["compile"] is True
    pd.testing.assert_frame_equal(fast, table)


def test_compilation_that_fails_is_told(
    request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_compile = torch.nn.Module.compile

    def no_compiler(graph, inputs):
        raise OSError("no C++ compiler")

    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **o: plain_compile(self, backend=no_compiler, **o)
    )
    with pytest.raises(WiseftError, match=r"cannot be compiled .*evaluation\.how\.compile off"):
        run(request_for(compile=True))


def test_command_takes_precision_and_environment(
    ends: Ends, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--theta-1", ends.theta_1, "--alphas", "1.000", "--dataset", manifest]
    options += ["--evaluate", evaluation(splits=["test"]).model_dump_json()]
    options += ["--output-dir", tmp_path, "--precision", "bf16", "--device", "cpu"]
    options += [part for name, value in METADATA.items() for part in (f"--{name}", value)]
    asked: list[Request] = []
    monkeypatch.setattr(
        "wiseft.evaluate.suite.evaluate_suite", lambda request: asked.append(request)
    )
    monkeypatch.setenv("WISEFT_BATCH_SIZE", "6")
    monkeypatch.setenv("WISEFT_COMPILE", "1")
    result = CliRunner().invoke(app, ["evaluate", *map(str, options)])
    assert result.exit_code == 0, result.output
    (request,) = asked
    assert (request.precision, request.batch_size, request.compile) == ("bf16", 6, True)
