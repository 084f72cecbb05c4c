"""Files written piece by piece are those that the safetensors library writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from wiseft.errors import StaleArtifact, WiseftError
from wiseft.tensor_file import KEY, StoredTensors, read_file_header, tensor_writer

TENSORS = {
    "b": torch.arange(3, dtype=torch.float16),
    "a": torch.arange(24, dtype=torch.float32).view(4, 2, 3).transpose(1, 2),
    "c": torch.tensor(1.5, dtype=torch.bfloat16),
    'é"x': torch.ones(1),
    "d": torch.zeros(0, 4, dtype=torch.float64),
}


def meta(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to("meta") for name, tensor in tensors.items()}


def test_same_bytes_as_the_library(tmp_path: Path) -> None:
    text = json.dumps({"format": 1, "of": "é"}, sort_keys=True)
    whole = {name: tensor.contiguous() for name, tensor in TENSORS.items()}
    save_file(whole, tmp_path / "library", metadata={KEY: text})
    with tensor_writer(tmp_path / "pieces", meta(TENSORS), {"of": "é"}) as file:
        for name in reversed(TENSORS):
            file.write(name, TENSORS[name])
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "library").read_bytes()
    assert read_file_header(tmp_path / "pieces", "test file") == {"format": 1, "of": "é"}


def test_rows_in_any_order(tmp_path: Path) -> None:
    values = torch.randn(7, 3)
    with tensor_writer(tmp_path / "file", {"x": values.to("meta")}, {}) as file:
        for start, end in ((5, 7), (0, 2), (2, 5)):
            file.write("x", values[start:end], start)
    assert torch.equal(load_file(tmp_path / "file")["x"], values)


def test_unfinished_file_is_not_left_behind(tmp_path: Path) -> None:
    example = {"x": torch.empty(4, 3, device="meta")}
    with (
        pytest.raises(WiseftError, match="tensor x is not whole: 24 bytes are missing"),
        tensor_writer(tmp_path / "file", example, {}) as file,
    ):
        file.write("x", torch.zeros(2, 3))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "start"),
    [
        (torch.zeros(2, 3, dtype=torch.float64), 0),
        (torch.zeros(2, 4), 0),
        (torch.zeros(3, 3), 2),
        (torch.zeros(5, 3), 0),
    ],
)
def test_values_that_do_not_fit(tmp_path: Path, values: Tensor, start: int) -> None:
    example = {"x": torch.empty(4, 3, device="meta")}
    with (
        pytest.raises(WiseftError, match=r"tensor x is torch\.float32 \(4, 3\), but"),
        tensor_writer(tmp_path / "file", example, {}) as file,
    ):
        file.write("x", values, start)


def test_integers_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(WiseftError, match=r"tensor n is torch\.int64"),
        tensor_writer(tmp_path / "file", {"n": torch.zeros(2, dtype=torch.int64)}, {}),
    ):
        pass


def test_stored_tensors_are_a_mapping(tmp_path: Path) -> None:
    whole = {name: tensor.contiguous() for name, tensor in TENSORS.items()}
    save_file(whole, tmp_path / "file")
    stored = StoredTensors(tmp_path / "file")
    assert stored.keys() == whole.keys()
    assert all(torch.equal(stored[name], whole[name]) for name in whole)
    assert len(stored) == 5
    assert "nothing" not in stored
    with pytest.raises(KeyError):
        stored["nothing"]


def test_broken_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(WiseftError, match="does not exist"):
        StoredTensors(path)
    path.write_bytes(b"no tensors")
    with pytest.raises(WiseftError, match="not a whole safetensors file"):
        StoredTensors(path)
    save_file({"x": torch.ones(1)}, path)
    with pytest.raises(WiseftError, match="not written by wiseft"):
        read_file_header(path, "test file")
    save_file({"x": torch.ones(1)}, path, metadata={KEY: '{"format": 0}'})
    with pytest.raises(StaleArtifact, match="format 0"):
        read_file_header(path, "test file")
