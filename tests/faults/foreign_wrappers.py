"""What training programs put around weights, and how: `.pt` files that are read by their own
programs, which know where the weights lie, and bytes that torch reads otherwise than others do.

Each form returns what a file holds, for the end of a number, with the names under which weights
lie in it: all of these must be merged, or the file refused.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

Content = dict[str, Any]
Form = Callable[[Random, int], tuple[Content, list[str]]]
"""Takes the number of the end, 0 or 1, and returns the content and where weights are in it."""
TOP = ""


def network(seed: int) -> Any:
    """Return a small network with a counter, as a program of somebody's own has one."""
    import torch
    from tests.faults.foreign_models import lively

    torch.manual_seed(seed)
    modules = [torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()]
    modules += [torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(16, 3)]
    return lively(torch.nn.Sequential(*modules), seed)


def state(seed: int) -> Content:
    """Return the weights of such a network."""
    weights: Content = OrderedDict(network(seed).state_dict())
    weights["1.num_batches_tracked"] += seed  # each was trained for another time
    return weights


def plain(rng: Random, end: int) -> tuple[Content, list[str]]:
    """Weights alone, or in the commonest wrapper."""
    key = rng.choice([TOP, "state_dict", "model", "model_state_dict", "module"])
    return ({key: state(end)}, [key]) if key else (state(end), [TOP])


def imagenet_example(rng: Random, end: int) -> tuple[Content, list[str]]:
    """PyTorch's own ImageNet example: the best accuracy is a tensor beside the weights."""
    import torch

    extra = {"best_acc1": torch.tensor(70.0 + end), "epoch": 90, "arch": "resnet18"}
    if rng.random() < 0.5:
        extra["optimizer"] = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": []}
    return {"state_dict": state(end), **extra}, ["state_dict"]


def loss_beside(rng: Random, end: int) -> tuple[Content, list[str]]:
    """Weights with tensors of the training beside them."""
    import torch

    name = rng.choice(["loss", "rng_state", "val_losses", "ema_decay", "class_weights", "mean"])
    value = torch.get_rng_state() if name == "rng_state" else torch.rand(3) + end
    key = rng.choice(["model", "state_dict", "model_state_dict"])
    first = rng.random() < 0.5
    return ({name: value, key: state(end)} if first else {key: state(end), name: value}), [key]


def two_networks(rng: Random, end: int) -> tuple[Content, list[str]]:
    """Weights under two names, of one network or of two."""
    keys = rng.choice(
        [
            *(["state_dict", "model"], ["model", "module"], ["model", "model_ema"]),
            *(["student", "teacher"], ["model", "discriminator"], ["net", "state_dict"]),
        ]
    )
    return {key: state(end + 10 * place) for place, key in enumerate(keys)}, keys


def ema(rng: Random, end: int) -> tuple[Content, list[str]]:
    """An averaged copy beside the weights, which timm loads in their place."""
    key = rng.choice(["state_dict_ema", "model_ema", "ema", "ema_state_dict"])
    content = {"state_dict": state(end), key: state(end + 10), "epoch": 3, "metric": 71.5}
    return content, ["state_dict", key]


def lightning(rng: Random, end: int) -> tuple[Content, list[str]]:
    """A checkpoint of Lightning: prefixes, other modules' tensors, hyper-parameters."""
    import torch

    weights = {f"model.{key}": value for key, value in state(end).items()}
    if rng.random() < 0.5:
        weights["criterion.weight"] = torch.rand(3) + end
    if rng.random() < 0.5:
        weights |= {f"ema_model.module.{key}": value for key, value in state(end + 10).items()}
    about = {"epoch": 1, "global_step": 9, "pytorch-lightning_version": "2.4.0", "loops": {}}
    about |= {"callbacks": {}, "optimizer_states": [], "hyper_parameters": {"lr": 0.1}}
    return {**about, "state_dict": weights}, ["state_dict"]


def prefixed(rng: Random, end: int) -> tuple[Content, list[str]]:
    """Names with what DistributedDataParallel, torch.compile or an averager puts before them."""
    import torch

    prefix = rng.choice(["module.", "_orig_mod.", "module._orig_mod.", "model.", "backbone."])
    weights = {prefix + key: value for key, value in state(end).items()}
    if rng.random() < 0.4:
        weights["n_averaged"] = torch.tensor(5 + end)
    key = rng.choice([TOP, "state_dict", "model"])
    return ({key: weights}, [key]) if key else (weights, [TOP])


def other_types(rng: Random, end: int) -> tuple[Content, list[str]]:
    """Weights in other types: halves, doubles, bf16, complex, fp8, and mixtures."""
    import torch

    names = ["bfloat16", "float16", "float64", "complex64", "float8_e4m3fn", "float8_e5m2"]
    chosen = rng.sample(names, rng.choice([1, 1, 2]))
    weights = state(end)
    for place, (key, value) in enumerate(list(weights.items())):
        if value.is_floating_point():
            dtype = getattr(torch, chosen[place % len(chosen)])
            if dtype.is_complex:
                value = torch.complex(value, value.flip(0))
            weights[key] = value.to(dtype)
    return {"state_dict": weights}, ["state_dict"]


def quantised(rng: Random, end: int) -> tuple[Content, list[str]]:
    """Whole numbers with a scale beside each tensor."""
    import torch

    bits = rng.choice([torch.int8, torch.uint8, torch.float8_e4m3fn])
    suffix = rng.choice(["_scale", ".scale", "_scale_inv", ".SCB", ".absmax"])
    weights: Content = {}
    for key, value in state(end).items():
        if value.ndim < 2:
            weights[key] = value
            continue
        scale = value.abs().amax() / 127
        zero = 128 if bits is torch.uint8 else 0
        weights[key] = (value / scale).round().add(zero).to(bits)
        weights[key + suffix] = scale.reshape(1)
    return weights, [TOP]


def odd_tensors(rng: Random, end: int) -> tuple[Content, list[str]]:
    """Parameters, views, shared storages, scalars, sparse tensors and lists of tensors."""
    import torch

    weights = state(end)
    kind = rng.choice(["parameter", "view", "shared", "scalar", "sparse", "list", "nested", "int"])
    some = torch.randn(6, 4, generator=torch.Generator().manual_seed(end))
    weights |= {
        "parameter": {"x": torch.nn.Parameter(some)},
        "view": {"x": some.t(), "y": some[1:, ::2]},
        "shared": {"x": some, "y": some},
        "scalar": {"x": some.sum()},
        "sparse": {"x": some.to_sparse()},
        "list": {"x": [some, some + 1]},
        "nested": {"x": {"y": some}},
        "int": {"x": torch.arange(4) + end},
    }[kind]
    return ({"state_dict": weights}, ["state_dict"]) if rng.random() < 0.5 else (weights, [TOP])


WRAPPERS: list[Form] = [
    *(plain, imagenet_example, loss_beside, two_networks, ema, lightning, prefixed, other_types),
    *(quantised, odd_tensors),
]


def write(rng: Random, content: Content, path: Path) -> None:
    """Save by torch, in one of its two formats."""
    import torch

    torch.save(content, path, _use_new_zipfile_serialization=rng.random() < 0.7)


# -------------------------------------------------------------------------- bytes read in two ways


def _legacy(content: Content) -> tuple[bytes, list[str], list[bytes]]:
    """Return torch's older format taken apart: what stands before the keys of the storages, the
    keys, and each storage (all of fp32) with its size.
    """
    import torch

    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=False)
    stream.seek(0)
    for _ in range(4):  # a magic number, the protocol, the machine, the content
        list(pickletools.genops(stream))
    head = stream.getvalue()[: stream.tell()]
    keys = pickle.load(stream)  # what was saved above
    storages = []
    for _ in keys:
        size = stream.read(8)
        storages.append(size + stream.read(4 * struct.unpack("<q", size)[0]))
    return head, keys, storages


def absent_storages(rng: Random, path: Path) -> None:
    """The older format, in which some storages are named and never written."""
    head, keys, storages = _legacy(_numbers(rng))
    kept = len(keys) - rng.choice([1, 1, 2])
    path.write_bytes(head + pickle.dumps(keys[:kept], 2) + b"".join(storages[:kept]))


def storage_that_grows(rng: Random, path: Path) -> None:
    """The older format, with a tensor larger than its storage, or than the part it has of it."""
    import torch

    head, keys, storages = _legacy({"a": torch.ones(8), "b": torch.arange(16.0)})
    small = rng.choice([1, 2, 4])
    # The number of a storage's elements stands before the mark of a part that it has: none.
    if rng.random() < 0.5:
        head = head.replace(b"K\x10Nt", bytes([0x4B, small]) + b"Nt", 1)
    else:
        part = b"(X\x01\x00\x00\x00vK\x00" + bytes([0x4B, small]) + b"t"
        head = head.replace(b"K\x10Nt", b"K\x10" + part + b"t", 1)
    path.write_bytes(head + pickle.dumps(keys, 2) + b"".join(storages))


class _Call:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def two_directories(rng: Random, path: Path) -> None:
    """Two archives in one file: the second's directory leads torch to the first one's members."""
    import torch

    good, evil = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.ones(8)}, good)
    torch.save({"a": torch.ones(8)}, evil)
    with zipfile.ZipFile(good) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(each for each in members if each.endswith("data.pkl"))
    evil_pickle = pickle.dumps({"a": _Call(torch.Tensor, 64)}, 2)
    size = max(len(members[name]), len(evil_pickle))

    def packed(pickled: bytes) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for each, content in members.items():
                archive.writestr(each, pickled.ljust(size, b"\0") if each == name else content)
        return stream.getvalue()

    path.write_bytes(packed(evil_pickle) + packed(members[name]))


def slow_stack(rng: Random, path: Path) -> None:
    """A pickle of 150 kB with very many open brackets."""
    content = rng.choice([b"(" * 150_000 + b"t" * 150_000, b"]" * 75_000 + b"(" * 75_000])
    start = b"\x80\x02}X\x01\x00\x00\x00a"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in (("data.pkl", start + content + b"s."), ("version", b"3\n")):
            archive.writestr(f"archive/{member}", data)


def _numbers(rng: Random) -> Content:
    import torch

    return {f"layer.{n}": torch.full((rng.choice([2, 4, 8]),), float(n)) for n in range(4)}


BYTES: list[Callable[[Random, Path], None]] = [
    *(absent_storages, storage_that_grows, two_directories, slow_stack),
]
"""Of all these a merge would hold what lay in memory, or take for ever: all must be refused."""


# --------------------------------------------------------------------------------------- shards


def shards(rng: Random, folder: Path) -> None:
    """Make the index of a folder of transformers lie, or take a part away."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = names[: len(names) // 2], names[len(names) // 2 :]
    files = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    where = {name: file for file, half in zip(files, halves, strict=True) for name in half}
    for file, half in zip(files, halves, strict=True):
        save_file({name: tensors[name] for name in half}, folder / file, {"format": "pt"})
    lie = rng.choice(["empty", "missing", "unlisted", "swapped", "whole"])
    if lie == "empty":
        where = {}
    elif lie == "missing":
        (folder / files[1]).unlink()
    elif lie == "unlisted":
        where = {name: file for name, file in where.items() if file == files[0]}
    elif lie == "swapped":
        where = {name: files[1 - files.index(file)] for name, file in where.items()}
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
