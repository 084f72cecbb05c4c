"""Checkpoints of other programs: read without running their code, and written back as they were.

A checkpoint is one file (safetensors, torch's `.pt`, a TorchScript archive) or a folder with a
configuration beside its weights (a model of transformers, open_clip or timm).
"""

from __future__ import annotations

import json
import math
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from safetensors import SafetensorError, safe_open
from torch import Tensor

from wiseft.config.loading import validate
from wiseft.errors import WiseftError
from wiseft.io import atomic_folder, atomic_path, gigabytes, read_json, read_object, require_file
from wiseft.tensor_file import (
    KEY,
    StoredTensors,
    check_tensors,
    examples,
    read_file_header,
    write_safetensors,
)
from wiseft.tensor_views import Mapped, joined, renamed
from wiseft.weights.folders import inside, needed_files
from wiseft.weights.torch_file import load_torch, stand_ins, write_torch
from wiseft.weights.torchscript import read_torchscript

WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
"""Keys under which training programs put the weights, the likeliest first."""
PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before names."""
TRAINING_STATE = ("optimizer", "optimizer_state_dict", "optimiser", "scaler", "lr_scheduler")
"""Of a training program; has no meaning for other weights."""
CONFIGS = ("open_clip_config.json", "config.json")
"""Of open_clip; of transformers and timm. A folder with both is taken as one of open_clip."""
WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
INDEX = "model.safetensors.index.json"
GROWTH, GRACE = 8, 256 * 1024**2
"""Tensors that take more than this many times their file's size, and more bytes than this beside,
were made to fill the memory: a tensor may repeat what is stored once, and an archive unpack."""


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint, integers included, and what writing it back needs.

    Attributes:
        path: the file or folder.
        kind: `safetensors`, `torch`, `torchscript` or `folder`.
        tensors: by name, without the prefixes that wrappers of modules put before; they lie in
            the file, and each is read when it is asked for.
        prefix: what was before every name.
        config: content of a folder's configuration; empty for a file.
        metadata: of a safetensors file.
        wrapper: key that the weights stand under in a torch file; None: at the top.
        around: what else a torch file holds.
        files: weight files of a folder, with the names of their tensors.
    """

    path: Path
    kind: str
    tensors: Mapping[str, Tensor]
    prefix: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    wrapper: str | None = None
    around: dict[str, Any] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        """Whether wiseft wrote it (weights or a theta)."""
        return KEY in self.metadata


class _Index(BaseModel):
    """What says which file each tensor of a folder is in."""

    weight_map: dict[str, str]


def read_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint of any format.

    Raises:
        WiseftError: if there is none, it is damaged, it holds pickled objects, or no tensors.
    """
    if path.is_dir():
        return _read_folder(path)
    require_file(path, "checkpoint")
    if _is_safetensors(path):
        return _without_prefix(_open_safetensors(path))
    members = _members(path)
    if any(member.filename.endswith("/constants.pkl") for member in members):
        load = partial(read_torchscript, path)
        checkpoint = Checkpoint(path, "torchscript", load())
    else:
        # Of what is compressed there is nothing to map.
        mapped = {member.compress_type for member in members} == {zipfile.ZIP_STORED}
        checkpoint = _unwrap(path, load_torch(path, mapped))
        load = partial(_weights, path, checkpoint.wrapper, mapped)
    _check_dense(checkpoint)
    if members:
        checkpoint = replace(checkpoint, tensors=Mapped(load))
    return _without_prefix(checkpoint)


def write_checkpoint(
    like: Checkpoint,
    tensors: Mapping[str, Tensor],
    path: Path,
    beside: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Write tensors in the format of another checkpoint, under its names, atomically.

    A TorchScript archive is written as a plain state dict, which programs that load such archives
    take too; a folder's `.bin` as safetensors. State of a training (an optimiser's) is left out.

    Args:
        tensors: by the names of `like.tensors`, all of them.
        path: a new file or folder.
        beside: writes what lies beside the weights, into the folder that it is given; it is called
            before there is anything at `path`.

    Raises:
        WiseftError: if there is something at `path`.
    """
    if path.exists() or path.is_symlink():
        raise WiseftError(f"{path} exists and is not touched; name another file or folder")
    ready = renamed(tensors, {like.prefix + name: name for name in tensors})
    if like.kind == "folder":
        with atomic_folder(path, _size(ready)) as temporary:
            beside(temporary)
            _write_folder(like, ready, temporary)
        return
    beside(path.parent)
    with atomic_path(path, _size(ready)) as temporary:
        if like.kind == "safetensors":
            write_safetensors(temporary, ready, like.metadata)
        else:
            # torch's own format, which its weights-only loader reads: what A's program expects.
            standing = stand_ins(ready)
            write_torch(temporary, _wrapped(like, standing), standing, ready)


# ------------------------------------------------------------------------------------------ files


def _is_safetensors(path: Path) -> bool:
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and not start.startswith(b"PK")


def _open_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WiseftError(f"{path} is not a whole safetensors file ({error})") from None
    tensors = StoredTensors(path)
    if KEY in metadata:
        check_tensors(path, tensors, read_file_header(path, "checkpoint"))
    return Checkpoint(path, "safetensors", tensors, metadata=metadata)


def _members(path: Path) -> list[zipfile.ZipInfo]:
    """Return the members of a zip archive, as both of torch's formats are; none: it is no archive.

    Raises:
        WiseftError: if it unpacks to far more than its size, or a member is damaged.
    """
    try:
        if not zipfile.is_zipfile(path):
            return []
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _require_small(path, sum(member.file_size for member in members), "unpacks to")
            damaged = archive.testzip()  # torch itself compares no checksum
    except WiseftError:
        raise
    except Exception as error:  # of a damaged archive, almost anything
        reason = str(error) or type(error).__name__
        raise WiseftError(
            f"{path} is a damaged archive ({reason}); copy or download it again"
        ) from None
    if damaged is not None:
        raise WiseftError(
            f"{path} is damaged: {damaged} in it has not the checksum that it was written with; "
            "copy or download it again"
        )
    return members


def _require_small(path: Path, size: int, what: str) -> None:
    if size > GROWTH * path.stat().st_size + GRACE:
        raise WiseftError(
            f"{path} has {path.stat().st_size} bytes, but {what} {gigabytes(size)}; it was made to "
            "fill the memory and is not read"
        )


def _check_dense(checkpoint: Checkpoint) -> None:
    """Refuse tensors that are more than numbers that stand in the file."""
    size = 0
    for name, tensor in checkpoint.tensors.items():
        other = tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested
        if other or tensor.device.type != "cpu":
            raise WiseftError(
                f"{checkpoint.path}: tensor {name} is sparse, quantized, nested or without values; "
                "dense tensors are expected"
            )
        size += math.prod(tensor.shape) * tensor.element_size()
    _require_small(checkpoint.path, size, "its tensors expand to")


def _unwrap(path: Path, content: Any) -> Checkpoint:
    """Find the weights in what a torch file holds."""
    if not isinstance(content, Mapping):
        raise WiseftError(f"{path} holds {type(content).__name__}, expected tensors by name")
    wrapper: str | None = None
    if not _has_tensors(content):
        held = [key for key in WRAPPERS if _has_tensors(content.get(key))]
        if not held:
            keys = ", ".join(map(str, list(content)[:8])) or "nothing"
            raise WiseftError(
                f"{path} holds {keys}, but no tensors by name, neither at the top nor under "
                f"{', '.join(WRAPPERS)}"
            )
        wrapper = held[0]
    tensors = _tensors_in(content, wrapper)
    around = {k: v for k, v in content.items() if k != wrapper and k not in tensors}
    return Checkpoint(path, "torch", tensors, wrapper=wrapper, around=around)


def _weights(path: Path, wrapper: str | None, mapped: bool) -> dict[str, Tensor]:
    return _tensors_in(load_torch(path, mapped), wrapper)


def _tensors_in(content: Mapping[Any, Any], wrapper: str | None) -> dict[str, Tensor]:
    weights = content if wrapper is None else content[wrapper]
    return {str(key): value for key, value in weights.items() if isinstance(value, Tensor)}


def _has_tensors(content: Any) -> bool:
    return isinstance(content, Mapping) and any(isinstance(v, Tensor) for v in content.values())


def _wrapped(like: Checkpoint, tensors: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in like.around.items() if key not in TRAINING_STATE}
    return {**kept, **(tensors if like.wrapper is None else {like.wrapper: tensors})}


def _without_prefix(checkpoint: Checkpoint) -> Checkpoint:
    names, prefix = list(checkpoint.tensors), ""
    if not names:
        raise WiseftError(f"{checkpoint.path} holds no tensors")
    while shared := next((p for p in PREFIXES if all(name.startswith(p) for name in names)), None):
        names = [name[len(shared) :] for name in names]
        prefix += shared
    if not prefix:
        return checkpoint
    tensors = renamed(checkpoint.tensors, {name: prefix + name for name in names})
    return replace(checkpoint, tensors=tensors, prefix=prefix)


# ---------------------------------------------------------------------------------------- folders


def _read_folder(path: Path) -> Checkpoint:
    there = needed_files(path)
    config = next((there[name] for name in CONFIGS if name in there), None)
    if config is None:
        raise WiseftError(
            f"{path} is a folder without {' or '.join(CONFIGS)}; give the folder of a model, or a "
            "file of weights"
        )
    parts = {name: read_checkpoint(path / name) for name in weight_files(path)}
    tensors = joined(*(part.tensors for part in parts.values()))
    files = {name: list(part.tensors) for name, part in parts.items()}
    metadata = {key: value for part in parts.values() for key, value in part.metadata.items()}
    content = read_object(config, "configuration")
    return Checkpoint(path, "folder", tensors, config=content, metadata=metadata, files=files)


def weight_files(folder: Path) -> list[str]:
    """Return the names of the weight files of a folder: one, or several with an index."""
    for name in WEIGHT_FILES:
        if inside(folder / name).is_file():
            return [name]
    for index in (INDEX, "pytorch_model.bin.index.json"):
        if inside(folder / index).is_file():
            content = validate(_Index, read_json(folder / index), str(folder / index))
            parts = sorted(set(content.weight_map.values()))
            for part in parts:
                if Path(part).name != part:
                    raise WiseftError(f"{folder / index} names {part!r}, which is no plain name")
                require_file(inside(folder / part), "part of the weights")
            return parts
    raise WiseftError(f"{folder} has none of {', '.join((*WEIGHT_FILES, INDEX))}")


def _write_folder(like: Checkpoint, tensors: Mapping[str, Tensor], folder: Path) -> None:
    names: dict[str, str] = {}
    for old, keys in like.files.items():
        name = Path(old).with_suffix(".safetensors").name
        if old in WEIGHT_FILES:
            name = name.replace("pytorch_model", "model")
        chosen = renamed(tensors, {like.prefix + k: like.prefix + k for k in keys})
        write_safetensors(folder / name, chosen, like.metadata or {"format": "pt"})
        names |= dict.fromkeys(chosen, name)
    if len(like.files) > 1:
        index = {"metadata": {"total_size": _size(tensors)}, "weight_map": names}
        (folder / INDEX).write_text(json.dumps(index, indent=2))
    for name, file in needed_files(like.path).items():
        if not (folder / name).exists():
            shutil.copyfile(file, folder / name)


def _size(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in examples(tensors).values())
