"""Files of torch: what stands beside tensors, and files that are written tensor by tensor."""

import argparse
import codecs
import random
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from wiseft.errors import WiseftError
from wiseft.foreign import formats
from wiseft.foreign.formats import read_checkpoint, write_checkpoint

WEIGHTS = {"w": torch.arange(6.0).view(2, 3), "steps": torch.tensor(7)}


def optimiser_state():
    model = nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    return optimiser.state_dict()


BESIDE = {
    "best": np.float64(0.75),
    "epoch": np.int64(3),
    "flag": np.bool_(True),
    "name": np.str_("run"),
    "args": argparse.Namespace(lr=1e-3, layers=[1, 2], nested=argparse.Namespace(seed=np.int32(4))),
    "config": OrderedDict(a=1),
    "history": np.arange(3.0),
    "hyper_parameters": {"w": torch.ones(2, 3)},
}


@pytest.mark.parametrize("old", [False, True], ids=["zip", "pickle"])
@pytest.mark.parametrize("wrapper", ["state_dict", None])
def test_what_programs_put_beside_weights_is_read_and_kept(tmp_path, old, wrapper):
    weights = {wrapper: OrderedDict(WEIGHTS)} if wrapper else WEIGHTS
    content = weights | BESIDE | {"optimizer": optimiser_state()}
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=not old)
    found = read_checkpoint(tmp_path / "x.pt")
    assert found.tensors.keys() == WEIGHTS.keys()
    write_checkpoint(found, {k: v + 1 for k, v in found.tensors.items()}, tmp_path / "y.pt")
    # It is our own file: everything in it may be loaded.
    again = torch.load(tmp_path / "y.pt", weights_only=False)
    assert "optimizer" not in again
    inner = again[wrapper] if wrapper else again
    assert all(torch.equal(inner[name], WEIGHTS[name] + 1) for name in WEIGHTS)
    for key, value in BESIDE.items():
        if key == "history":
            np.testing.assert_array_equal(again[key], value)
        elif key == "hyper_parameters":
            assert torch.equal(again[key]["w"], value["w"])
        else:
            assert (again[key], type(again[key])) == (value, type(value))


@pytest.mark.parametrize(
    ("thing", "named"),
    [(random.Random(1), "random.Random"), (nn.Linear(1, 1), "torch.nn.modules.linear.Linear")],
)
def test_what_is_not_on_the_list_is_still_refused(tmp_path, thing, named):
    torch.save({"state_dict": WEIGHTS, "args": argparse.Namespace(x=thing)}, tmp_path / "x.pt")
    with pytest.raises(WiseftError, match=f"holds pickled objects of .*{named}"):
        read_checkpoint(tmp_path / "x.pt")


class Attack:
    """Its state, put into a Namespace, would be code if a namespace could run any."""

    def __init__(self, call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "call",
    [
        (print, ("this was run",)),
        (argparse.Namespace.__init__, (argparse.Namespace(), print)),
        (getattr, (np.ndarray, "tofile")),
        (np.load, ("x.npy",)),
        (np.ndarray.tofile, (np.zeros(1), "made.bin")),
    ],
)
def test_the_list_opens_no_way_to_others(tmp_path, call, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": WEIGHTS, "x": Attack(call)}, tmp_path / "x.pt")
    with pytest.raises(WiseftError, match=r"holds pickled objects of \w+|wants .* called"):
        read_checkpoint(tmp_path / "x.pt")
    assert "this was run" not in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]


@pytest.mark.filterwarnings("ignore:.*quantized:UserWarning")
def test_every_type_is_written_as_torch_reads_it(tmp_path):
    types = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8]
    types += [torch.uint8, torch.bool, torch.complex64, torch.uint16]
    tensors = {str(t): torch.tensor([[0, 1, 1], [1, 0, 1]]).to(t) for t in types}
    tensors |= {"scalar": torch.tensor(1.5), "empty": torch.zeros(0, 3)}
    tensors["across"] = torch.arange(6.0).view(2, 3).t()
    tensors["same"] = tensors["scalar"]
    torch.save({"state_dict": tensors}, tmp_path / "x.pt")
    found = read_checkpoint(tmp_path / "x.pt")
    for name in ("y.pt", "z.pt"):
        write_checkpoint(found, found.tensors, tmp_path / name)
    assert (tmp_path / "y.pt").read_bytes() == (tmp_path / "z.pt").read_bytes()
    for mapped in (False, True):
        again = torch.load(tmp_path / "y.pt", weights_only=True, mmap=mapped)["state_dict"]
        assert again.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert again[name].dtype == tensor.dtype
            assert again[name].tolist() == tensor.tolist()
    with zipfile.ZipFile(tmp_path / "y.pt") as archive:
        assert archive.testzip() is None


def test_a_compressed_archive_is_read_too(tmp_path):
    """Of what is compressed there is nothing to map."""
    torch.save(WEIGHTS, tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as source,
        zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    found = read_checkpoint(tmp_path / "y.pt").tensors
    assert all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


def test_a_mapped_file_is_mapped_anew_when_much_of_it_was_read(tmp_path, monkeypatch):
    monkeypatch.setattr("wiseft.thetas.tensor_views._OPEN", 20)
    torch.save(WEIGHTS | {"b": torch.ones(4)}, tmp_path / "x.pt")
    tensors = read_checkpoint(tmp_path / "x.pt").tensors
    loads = []
    load = formats.load_torch
    monkeypatch.setattr(formats, "load_torch", lambda *args: loads.append(args) or load(*args))
    for _ in range(3):
        assert torch.equal(tensors["w"], WEIGHTS["w"])
        assert torch.equal(tensors["b"], torch.ones(4))
    assert 1 < len(loads) < 6


class Asks:
    """Is pickled as a call that nobody has to allow for."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("old", [False, True], ids=["zip", "pickle"])
@pytest.mark.parametrize(
    "asked",
    [
        Asks(torch.Tensor, 1000),
        Asks(torch.FloatTensor, 1000),
        Asks(torch.UntypedStorage, 1000),
        Asks(bytearray, 2**34),
        Asks(codecs.encode, Asks(codecs.encode, "x", "latin1"), "hex"),
        Asks(torch._tensor._rebuild_from_type_v2, torch.Tensor, torch.Tensor, (9,), {}),
    ],
    ids=["tensor", "float-tensor", "storage", "bytearray", "hex", "through-another"],
)
def test_nothing_is_made_of_a_number_alone(tmp_path, asked, old):
    """Memory that nobody cleared would stand in the merged file, or there would be none left."""
    content = {"state_dict": WEIGHTS, "x": asked}
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=not old)
    with pytest.raises(
        WiseftError, match=r" wants torch[.\w]+ called| of builtins\.| bytes encoded"
    ):
        read_checkpoint(tmp_path / "x.pt")


def test_a_second_pickle_of_the_name_is_refused(tmp_path):
    torch.save({"state_dict": WEIGHTS, "x": Asks(torch.Tensor, 1000)}, tmp_path / "x.pt")
    torch.save({"state_dict": WEIGHTS}, tmp_path / "y.pt")
    with (
        zipfile.ZipFile(tmp_path / "y.pt") as good,
        zipfile.ZipFile(tmp_path / "x.pt", "a") as archive,
    ):
        archive.writestr("x/DATA.pkl", good.read("y/data.pkl"))
    with pytest.raises(WiseftError, match="two members have one name"):
        read_checkpoint(tmp_path / "x.pt")


def test_an_array_says_nothing_of_the_memory_around_it(tmp_path):
    """Its type is made larger after the array was made, which NumPy itself believes."""

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def number(value):
        return b"J" + struct.pack("<i", value)

    state = b"(" + number(3) + text("|") + b"NNN%s" + number(1) + number(0) + b"tb"
    bytes_of = b"c_codecs\nencode\n(%s" + text("latin1") + b"tR"
    array = b"(cnumpy\ndtype\n(" + text("S8") + b"\x89\x88tRqP"
    array += b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + number(0) + b"t"
    array += bytes_of % text("b") + b"tR(" + number(1) + b"(" + number(1) + b"thP\x89"
    array += bytes_of % text("secretly") + b"tb" + b"hP" + state % number(100_000) + b"t"
    torch.save({"state_dict": WEIGHTS}, tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as source,
        zipfile.ZipFile(tmp_path / "y.pt", "w") as target,
    ):
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("data.pkl"):
                content = content[:-1] + text("x") + array + b"s."
            target.writestr(name, content)
    shown = torch.load(tmp_path / "y.pt", weights_only=False)["x"][1]  # NumPy's own functions
    assert shown.nbytes == 100_000
    found = read_checkpoint(tmp_path / "y.pt")
    write_checkpoint(found, found.tensors, tmp_path / "z.pt")
    dtype, again, _ = torch.load(tmp_path / "z.pt", weights_only=False)["x"]
    assert (dtype, again.tobytes()) == (np.dtype("S8"), b"secretly")
