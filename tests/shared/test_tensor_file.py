"""Files written piece by piece are those that the safetensors library writes."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from wiseft.base.io import sha256_json
from wiseft.errors import StaleArtifact, WiseftError
from wiseft.thetas.tensor_file import (
    FORMAT,
    KEY,
    StoredTensors,
    open_tensors,
    read_file_header,
    read_tensors,
    tensor_writer,
    tensors_sha256,
)

TENSORS = {
    "b": torch.arange(3, dtype=torch.float16),
    "a": torch.arange(24, dtype=torch.float32).view(4, 2, 3).transpose(1, 2),
    "c": torch.tensor(1.5, dtype=torch.bfloat16),
    'é"x': torch.ones(1),
    "i": torch.tensor([-1, 2], dtype=torch.int32),
    "u": torch.tensor([[255], [0]], dtype=torch.uint8),
    "d": torch.zeros(0, 4, dtype=torch.float64),
}


def meta(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to("meta") for name, tensor in tensors.items()}


def save(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> Path:
    with tensor_writer(path, meta(tensors), header) as file:
        for name in reversed(tensors):
            file.write(name, tensors[name])
    return path


def split(path: Path) -> tuple[dict[str, Any], bytes]:
    """What the library's own header says, and the bytes behind it."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    assert length % 8 == 0
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def test_as_the_library_writes_it(tmp_path: Path) -> None:
    written = save(tmp_path / "pieces", TENSORS, {"of": "é"})
    with safe_open(written, framework="pt") as file:
        metadata = file.metadata()
    whole = {name: tensor.contiguous() for name, tensor in TENSORS.items()}
    save_file(whole, tmp_path / "library", metadata=metadata)
    assert split(written) == split(tmp_path / "library")
    assert metadata == {
        "wiseft": json.dumps({"format": FORMAT, "of": "é"}, sort_keys=True),
        "wiseft_sha256": hashlib.sha256(metadata["wiseft"].encode()).hexdigest(),
        "tensors_sha256": tensors_sha256(TENSORS),
    }
    header = {"format": FORMAT, "of": "é", "tensors_sha256": tensors_sha256(TENSORS)}
    assert read_file_header(written, "test file") == header
    for read in (read_tensors, open_tensors):
        tensors, found = read(written, "test file")
        assert found == header
        assert tensors.keys() == whole.keys()
        assert all(torch.equal(tensors[name], whole[name]) for name in whole)


def test_the_sum_is_of_names_types_shapes_and_bytes() -> None:
    values = torch.tensor([[1.0, -2.0, 0.0]])
    content = struct.pack("<3f", 1.0, -2.0, 0.0)
    described = {"x": ["F32", [1, 3], hashlib.sha256(content).hexdigest()]}
    assert tensors_sha256({"x": values}) == sha256_json(described)
    base = {"a": torch.ones(2, 3), "b": torch.zeros(1)}
    assert tensors_sha256(base) == tensors_sha256(dict(reversed(base.items())))
    others = [
        {"c": base["a"], "b": base["b"]},
        base | {"a": torch.ones(3, 2)},
        base | {"a": torch.ones(2, 3, dtype=torch.float64)},
        base | {"a": torch.ones(2, 3).mul(1.0000001)},
        base | {"b": -base["b"]},
        {"a": base["b"], "b": base["a"]},
    ]
    assert len({tensors_sha256(tensors) for tensors in [base, *others]}) == 7
    channels_last = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    assert tensors_sha256({"x": channels_last}) == tensors_sha256({"x": channels_last.contiguous()})


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    path = save(tmp_path / "file", TENSORS, {"of": "something", "mean": [0.25]})
    sound = path.read_bytes()
    for place in range(len(sound)):
        for flipped in (1, 0x10):
            damaged = bytearray(sound)
            damaged[place] ^= flipped
            path.write_bytes(damaged)
            try:
                found = read_tensors(path, "test file")
            except WiseftError:
                continue
            pytest.fail(f"byte {place}, {sound[place]:#x} to {damaged[place]:#x}: {found}")


@pytest.mark.parametrize("read", [read_tensors, open_tensors])
def test_damage_is_a_sentence(tmp_path: Path, read) -> None:
    path = save(tmp_path / "file", TENSORS, {})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    damaged = TENSORS | {"u": torch.tensor([[255], [1]], dtype=torch.uint8)}
    expected, found = tensors_sha256(TENSORS), tensors_sha256(damaged)
    sentence = f"file is damaged: expected tensors with SHA-256 {expected}, found {found}; delete"
    with pytest.raises(WiseftError, match=sentence):
        read(path, "test file")
    assert read_file_header(path, "test file")["tensors_sha256"] == expected


def test_rows_are_written_in_their_order(tmp_path: Path) -> None:
    values, other = torch.randn(7, 3), torch.randn(2)
    with tensor_writer(tmp_path / "file", meta({"x": values, "y": other}), {}) as file:
        for start, end in ((0, 2), (2, 5), (5, 7)):
            file.write("x", values[start:end], start)
            if start == 2:
                file.write("y", other)
    assert torch.equal(load_file(tmp_path / "file")["x"], values)
    assert read_tensors(tmp_path / "file", "test file")[0].keys() == {"x", "y"}
    for start in (1, 4):  # again, and with rows left out
        with (
            pytest.raises(WiseftError, match="tensor x is written up to byte 24, but the rows"),
            tensor_writer(tmp_path / "other", meta({"x": values}), {}) as file,
        ):
            file.write("x", values[:2])
            file.write("x", values[:2], start)
    assert not (tmp_path / "other").exists()


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


def test_other_types_are_refused(tmp_path: Path) -> None:
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
    assert len(stored) == len(whole)
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
    save_file({"x": torch.ones(1)}, path, metadata={KEY: '{"format": 1}'})
    with pytest.raises(StaleArtifact, match="format 1, expected 2; delete"):
        read_file_header(path, "test file")
