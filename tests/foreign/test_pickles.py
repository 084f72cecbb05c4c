"""What torch.save writes is read as torch.load reads it; what was made to fill memory is not."""

import argparse
import datetime
import io
import pathlib
import pickle
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from wiseft.errors import WiseftError
from wiseft.foreign.formats import read_checkpoint, write_checkpoint
from wiseft.foreign.pickles import Machine, Refused
from wiseft.foreign.torch_file import load_torch, write_torch

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.uint8),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64),
    *(torch.complex64, torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2),
]


def bits(tensor):
    """Return the bytes of a tensor in their order; NaN are equal in them."""
    tensor = tensor.detach().resolve_conj().resolve_neg().flatten()
    return (
        tensor.clone(memory_format=torch.contiguous_format).view(torch.uint8).tolist()
        if len(tensor)
        else []
    )


def same(found, expected):
    """Whether two contents are equal, bit for bit."""
    if isinstance(expected, torch.Tensor):
        layout = (found.dtype, found.shape, found.stride())
        return layout == (expected.dtype, expected.shape, expected.stride()) and (
            bits(found) == bits(expected)
        )
    if type(found) is not type(expected):
        return False
    if isinstance(expected, dict):
        pairs = zip(found.items(), expected.items(), strict=True)
        return all(a == b and same(x, y) for (a, x), (b, y) in pairs)
    if isinstance(expected, list | tuple) and not isinstance(expected, torch.Size):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found == expected or (found != found and expected != expected)


@st.composite
def tensors(draw):
    """Tensors of all types, views into a larger storage among them."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    numbers = draw(st.binary(min_size=1, max_size=16))
    size = max(1, int(np.prod(shape))) * dtype.itemsize + 16 * dtype.itemsize
    raw = (numbers * size)[:size]
    if dtype == torch.bool:
        raw = bytes(byte & 1 for byte in raw)
    flat = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(dtype)
    offset = draw(st.integers(0, 16))
    tensor = flat[offset : offset + int(np.prod(shape))].view(shape)
    if draw(st.booleans()):
        tensor = tensor.transpose(0, -1) if tensor.ndim > 1 else tensor[::2] if shape else tensor
    if draw(st.booleans()) and dtype.is_complex:
        tensor = tensor.conj()
    if draw(st.booleans()) and dtype in (torch.float32, torch.bfloat16):
        return nn.Parameter(tensor)
    return tensor


texts = st.text(max_size=8)
keys = texts | st.integers(-(2**40), 2**40) | st.none() | st.tuples(texts, st.integers(0, 9))
leaves = st.one_of(
    *(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        texts,
        st.binary(min_size=1, max_size=300),
    ),
    *(st.complex_numbers(), st.sets(texts, max_size=3), st.sampled_from(DTYPES)),
    *(st.just(torch.device("cuda", 1)), st.just(torch.Size([2, 3])), st.just(Counter("aab"))),
)
contents = st.recursive(
    leaves | tensors(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(texts, inner, max_size=4).map(OrderedDict)
    ),
    max_leaves=8,
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.dictionaries(texts, contents, max_size=5), st.booleans(), st.booleans())
def test_contents_are_those_that_torch_finds(tmp_path, content, old, shared):
    if shared:
        content = {"first": content, "second": content, "again": list(content.values())}
    path = tmp_path / "x.pt"
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    found = load_torch(path)
    if old:  # torch cannot read all that it writes in this format: float8 and larger unsigned
        torch.save(content, path)
    assert same(found, plain(torch.load(path, weights_only=True)))


def plain(content):
    """Return a content with tensors in place of parameters."""
    if isinstance(content, nn.Parameter):
        return content.data
    if isinstance(content, dict):
        return type(content)({key: plain(value) for key, value in content.items()})
    if isinstance(content, list | tuple) and not isinstance(content, torch.Size):
        return type(content)(map(plain, content))
    return content


@pytest.mark.parametrize("old", [False, True], ids=["zip", "pickle"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_is_read(tmp_path, protocol, old):
    """torch's own reader of weights alone takes protocol 2; where code may run, all."""
    content = {
        "w": torch.arange(6.0).view(2, 3),
        "long": "x" * 300,
        "bytes": [b"a" * 3, b"b" * 300, b""],
        "sets": [{1, 2}, frozenset({"a"}), set()],
        "many": list(range(1000)),
        "numbers": np.arange(4, dtype=np.int16),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "none": np.zeros((0, 2), np.float32),
        "scalar": np.float32(1.5),
        "large": [2**31, 2**62, -(2**70), True, None],
        "args": argparse.Namespace(lr=0.1),
    }
    path = tmp_path / "x.pt"
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not old)
    found = read_checkpoint(path)
    write_checkpoint(found, found.tensors, tmp_path / "y.pt")
    again = torch.load(tmp_path / "y.pt", weights_only=False)
    assert torch.equal(again["w"], content["w"])
    for name in ("numbers", "columns", "none"):
        np.testing.assert_array_equal(again[name], content[name])
        assert again[name].dtype == content[name].dtype
    rest = set(content) - {"w", "numbers", "columns", "none"}
    assert all(same(again[name], content[name]) for name in rest)


def test_texts_of_python_2_are_read():
    assert machine(b"\x80\x02}U\x02" + "é".encode() + b"T\x01\0\0\0bs.") == {"é": "b"}


def test_tensors_that_share_a_storage_share_it_in_the_copy(tmp_path):
    whole = torch.arange(100.0)
    content = {"state_dict": {"w": torch.ones(2)}, "config": {"a": whole[10:20], "b": whole[15:30]}}
    torch.save(content, tmp_path / "x.pt")
    found = read_checkpoint(tmp_path / "x.pt")
    write_checkpoint(found, found.tensors, tmp_path / "y.pt")
    again = torch.load(tmp_path / "y.pt", weights_only=True)["config"]
    assert same(again, content["config"])
    again["a"][5] = -1
    assert again["b"][0] == -1
    assert (tmp_path / "y.pt").stat().st_size < 4000  # nothing else of the mapped file


@pytest.mark.parametrize("old", [False, True], ids=["zip", "pickle"])
def test_signs_that_torch_keeps_beside_the_values_count(tmp_path, old):
    """They are views: storages of old files are filled when all tensors are known."""
    value = torch.tensor([1 + 2j, 3 - 4j])
    content = {"a": value.conj(), "b": value.clone().conj().imag}
    assert content["a"].is_conj() and content["b"].is_neg()
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=not old)
    found = read_checkpoint(tmp_path / "x.pt")
    assert all(torch.equal(found.tensors[name], each) for name, each in content.items())
    write_checkpoint(found, found.tensors, tmp_path / "y.pt")
    again = torch.load(tmp_path / "y.pt", weights_only=True)
    assert all(torch.equal(again[name], each) for name, each in content.items())


def test_what_cannot_be_written_back_is_said(tmp_path):
    for beside in (torch.eye(3).to_sparse(), torch.FloatTensor):
        torch.save({"state_dict": {"w": torch.ones(2)}, "config": [beside]}, tmp_path / "x.pt")
        found = read_checkpoint(tmp_path / "x.pt")
        with pytest.raises(WiseftError, match="beside the weights, which cannot be written"):
            write_checkpoint(found, found.tensors, tmp_path / "y.pt")
        assert not (tmp_path / "y.pt").exists()
    deep = machine(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")
    with pytest.raises(WiseftError, match="nested too deep"):
        write_torch(tmp_path / "y.pt", {"x": deep}, {}, {})


def test_other_objects_are_named(tmp_path):
    for thing, name in (
        (datetime.date(2020, 1, 1), "datetime.date"),
        (pathlib.PurePosixPath("x"), r"pathlib\.\w+"),
        (np.array([None]), "type that is not read"),
        (OrderedDict, "collections.OrderedDict"),
    ):
        torch.save({"w": torch.ones(1), "x": thing}, tmp_path / "x.pt")
        with pytest.raises(WiseftError, match=name):
            found = read_checkpoint(tmp_path / "x.pt")
            write_checkpoint(found, found.tensors, tmp_path / "y.pt")


# --------------------------------------------------------------- work in proportion to the file


def machine(pickled, made=None):
    made = made or Machine(lambda *_: torch.UntypedStorage(0))
    return made.read(io.BytesIO(pickled))


@pytest.mark.parametrize(
    "body",
    [
        b"(" * 500_000,
        b"(" * 400_000 + b"t" * 300_000,
        b"(t" * 400_000,
        b"N" * 400_000 + b"(t" * 300_000,
    ],
)
def test_marks_and_tuples_take_steps_not_searches(body):
    """A search through the stack at each mark would take hours of these."""
    with pytest.raises(ValueError, match="before seeing STOP"):
        machine(b"\x80\x02" + body)


def text(length):
    return b"X" + length.to_bytes(4, "little") + b"a" * length


@pytest.mark.parametrize(
    ("value", "use"),
    [
        (text(50_000), b"c_codecs\nencode\nh\x00X\x06\0\0\0latin1\x86R0"),
        (b"](" + b"K\x01" * 20_000 + b"e", b"c__builtin__\nset\nh\x00\x85R0"),
        (
            b"}(" + b"".join(b"J%bN" % n.to_bytes(4, "little") for n in range(9000)) + b"u",
            b"ccollections\nOrderedDict\nh\x00\x85R0",
        ),
        (b"(" + b"K\x01" * 20_000 + b"t", b"ctorch\nSize\nh\x00\x85R0"),
        (b"(" + b"K\x01" * 20_000 + b"t", b"}h\x00Ns0"),
        (
            b"}(" + b"".join(b"X\x04\0\0\0%04dN" % n for n in range(5000)) + b"u",
            b"cargparse\nNamespace\n)\x81h\x00b0",
        ),
        (text(50_000)[:-6] + b"Tensor", b"X\x05\0\0\0torchh\x00\x930"),
    ],
    ids=["bytes", "set", "mapping", "size", "key", "namespace", "name"],
)
def test_one_long_value_is_not_copied_without_end(value, use):
    """The work that is done for a file of twice the size is at most twice as much."""
    work = []
    for repeats in (2000, 4000):
        made = Machine(lambda *_: torch.UntypedStorage(0))
        pickled = b"\x80\x02" + value + b"q\x00" + use * repeats + b"."
        with pytest.raises(Refused, match="names one long value very often"):
            machine(pickled, made)
        work.append(made.work)
        assert made.work < 5 * len(pickled) + 2_000_000
    assert work[1] <= 2 * work[0]


@pytest.mark.parametrize(
    "key", [b"\x8a\x09" + (2**61 - 1).to_bytes(9, "little"), b"}", b"G" + bytes(8) + b"\x85\x85"]
)
def test_keys_whose_hash_is_dear_or_chosen_are_refused(key):
    with pytest.raises(Refused, match="other keys than texts and numbers"):
        machine(b"\x80\x02}" + key + b"Ns.")


@pytest.mark.parametrize("name", [b"builtins\nset", b"collections\nCounter"])
def test_tuples_without_end_are_not_hashed(name):
    """Python would run out of the stack of its own process, which is a crash."""
    deep = b"](N" + b"\x85" * 300_000 + b"N\x86e\x85"
    with pytest.raises(Refused, match="other keys than texts and numbers"):
        machine(b"\x80\x02c" + name + b"\n" + deep + b"R.")


def test_tuples_may_be_keys_but_not_very_many():
    """Their hash is one that everybody can compute, and find others of."""
    few = {(number, "x"): number for number in range(500)}
    assert machine(pickle.dumps(few, protocol=2)) == few
    with pytest.raises(Refused, match="very often"):
        machine(pickle.dumps({(number, "x"): number for number in range(5000)}, protocol=2))


def test_attributes_hide_no_method(tmp_path):
    """A mapping takes those of a state dict alone."""
    state = nn.Linear(1, 1).state_dict()
    torch.save(state, tmp_path / "x.pt")
    assert load_torch(tmp_path / "x.pt")._metadata == state._metadata
    state.other = None
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(WiseftError, match="sets the state of OrderedDict"):
        load_torch(tmp_path / "x.pt")
