"""MNIST's one pickle, and the idx files it is turned into."""

from __future__ import annotations

import gzip
import io
import os
import pickle

import pytest
from tests.data.conftest import tiny_pickle, write_wheel

from wiseft.errors import WiseftError
from wiseft.study.data.fetching import mnist_idx
from wiseft.study.data.fetching.mnist_idx import ArrayUnpickler, encode_idx, read_mnist


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path):
    trap = tmp_path / "trap"
    data = gzip.compress(pickle.dumps(Malicious(trap)))
    wheel = write_wheel(tmp_path / "mnist.zip", {mnist_idx.PICKLE: data})
    with pytest.raises(WiseftError, match=r"mkdir is not on the allow-list.*not loaded"):
        read_mnist(wheel)
    assert not trap.exists()


@pytest.mark.parametrize(
    "name", ["builtins\neval", "os\nsystem", "numpy\nload", "numpy\nndarray.x"]
)
def test_only_array_globals_are_on_the_allow_list(name):
    with pytest.raises(pickle.UnpicklingError, match="allow-list"):
        ArrayUnpickler(io.BytesIO(f"c{name}\n.".encode())).load()


def test_arrays_of_the_allow_list_load(mnist_wheel, idx):
    arrays = read_mnist(mnist_wheel)
    assert arrays["train-images-idx3-ubyte"].shape == (60, 28, 28)
    # Byte for byte what was put in: neither scaled nor shuffled.
    assert {name: encode_idx(array) for name, array in arrays.items()} == idx


def test_one_changed_pixel_is_found(tmp_path, idx):
    changed = dict(idx)
    name = "t10k-images-idx3-ubyte"
    changed[name] = changed[name][:-1] + bytes([changed[name][-1] ^ 1])
    wheel = write_wheel(tmp_path / "mnist.zip", {mnist_idx.PICKLE: tiny_pickle(changed)})
    expected = mnist_idx.SHA256[name]
    with pytest.raises(WiseftError, match=rf"t10k-images.*expected sha256 {expected}, found"):
        read_mnist(wheel)


def test_a_truncated_wheel_is_named(tmp_path, mnist_wheel):
    broken = tmp_path / "broken.zip"
    broken.write_bytes(mnist_wheel.read_bytes()[:-30])
    with pytest.raises(WiseftError, match=r"broken\.zip is damaged or cut short.*fetch it again"):
        read_mnist(broken)


def test_damage_inside_a_wheel_is_named(tmp_path, mnist_wheel):
    data = bytearray(mnist_wheel.read_bytes())
    data[len(data) // 2] ^= 0xFF
    broken = tmp_path / "broken.zip"
    broken.write_bytes(data)
    with pytest.raises(WiseftError, match=r"broken\.zip is damaged or cut short"):
        read_mnist(broken)
