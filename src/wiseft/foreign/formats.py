"""Checkpoints of other programs: read without running their code, and written back as they were.

A checkpoint is one file (safetensors, torch's `.pt`, a TorchScript archive) or a folder with a
configuration beside its weights (a model of transformers, open_clip or timm).
"""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from safetensors import SafetensorError, safe_open
from torch import Tensor

from wiseft.base.io import (
    atomic_folder,
    atomic_path,
    gigabytes,
    read_json,
    read_object,
    require_file,
)
from wiseft.base.validation import validate
from wiseft.errors import WiseftError
from wiseft.foreign.archive import Archive
from wiseft.foreign.model_folder import inside, needed_files
from wiseft.foreign.quantised import check_not_quantised
from wiseft.foreign.torch_file import is_archive, load_torch, opened, stand_ins, write_torch
from wiseft.foreign.torchscript import read_torchscript
from wiseft.foreign.wrappers import Place, at, find_weights, placed, several
from wiseft.thetas.tensor_file import (
    KEY,
    StoredTensors,
    check_tensors,
    examples,
    read_file_header,
    write_safetensors,
)
from wiseft.thetas.tensor_views import Chosen, Mapped, joined, renamed

log = logging.getLogger(__name__)

_WRAPPERS = re.compile(r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch.compile, FSDP and checkpoints of activations put into names, for any module."""
_CLIP = "vision_model.embeddings.class_embedding"
CONFIGS = ("open_clip_config.json", "config.json")
"""Of open_clip; of transformers and timm. A folder with both is taken as one of open_clip."""
WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
)
INDEX, TORCH_INDEX = "model.safetensors.index.json", "pytorch_model.bin.index.json"
DIFFUSION_INDEX = "diffusion_pytorch_model.safetensors.index.json"
_NUMBERED = re.compile(r".*-\d{5}-of-(\d{5})\.\w+")
"""A part of the weights as transformers names it, and how many there are."""
GROWTH, GRACE = 8, 256 * 1024**2
"""Tensors that take more than this many times their file's size, and more bytes than this beside,
were made to fill the memory: a tensor may repeat what is stored once, and an archive unpack."""


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint, integers included, and what writing it back needs.

    Attributes:
        path: the file or folder.
        kind: `safetensors`, `torch`, `torchscript` or `folder`.
        tensors: by name, without what wrappers of modules put before or into names; they lie in
            the file, and each is read when it is asked for.
        own: the name that each has in the file, where that is another.
        config: content of a folder's configuration; empty for a file.
        metadata: of a safetensors file.
        wrapper: the keys that lead to the weights in a torch file; none: they are at the top.
        also: moving averages of the weights, or the same tensors again, by their keys.
        left: keys that a result lacks: measurements, and state of a training.
        around: what else a torch file holds.
        files: weight files of a folder, with the names of their tensors.
    """

    path: Path
    kind: str
    tensors: Mapping[str, Tensor]
    own: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    wrapper: Place = ()
    also: dict[Place, Checkpoint] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    around: dict[Any, Any] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)


class _Index(BaseModel):
    """What says which file each tensor of a folder is in."""

    weight_map: dict[str, str]


def read_checkpoint(path: Path, weights: str | None = None, also: bool = False) -> Checkpoint:
    """Open a checkpoint of any format.

    Args:
        weights: the key of the weights in a file of torch, where there are several mappings.
        also: the caller takes moving averages beside the weights, too.

    Raises:
        WiseftError: if there is none, it is damaged or quantised, it holds pickled objects, no
            tensors, or tensors of which nothing says what they are.
    """
    checkpoint = _read_folder(path, weights) if path.is_dir() else _read_file(path, weights)
    if checkpoint.also and not also:
        raise several(path, [checkpoint.wrapper, *checkpoint.also])
    check_not_quantised(path, examples(checkpoint.tensors), checkpoint.config)
    beside = {key: _without_prefix(each) for key, each in checkpoint.also.items()}
    return replace(_without_prefix(checkpoint), also=beside)


def _read_file(path: Path, weights: str | None) -> Checkpoint:
    require_file(path, "checkpoint")
    if _is_safetensors(path):
        return _open_safetensors(path)
    archive = is_archive(path)
    if archive and _is_scripted(path):
        load = partial(read_torchscript, path)
        return _mapped(Checkpoint(path, "torchscript", load()), load, archive)
    places, left, around = find_weights(path, content := load_torch(path), weights)
    checkpoint, *also = (
        _mapped(
            Checkpoint(path, "torch", at(content, place), wrapper=place),
            partial(_weights, path, place),
            archive,
        )
        for place in places
    )
    return replace(checkpoint, also={each.wrapper: each for each in also}, left=left, around=around)


def _weights(path: Path, place: Place) -> dict[str, Tensor]:
    return at(load_torch(path), place)


def _mapped(
    checkpoint: Checkpoint, load: Callable[[], Mapping[str, Tensor]], archive: bool
) -> Checkpoint:
    _check_dense(checkpoint)
    return replace(checkpoint, tensors=Mapped(load)) if archive else checkpoint


def write_checkpoint(
    like: Checkpoint,
    tensors: Mapping[str, Tensor],
    path: Path,
    beside: Callable[[Path], None] = lambda folder: None,
    also: Mapping[Place, Mapping[str, Tensor]] | None = None,
) -> None:
    """Write tensors in the format of another checkpoint, under its names, atomically.

    A TorchScript archive is written as a plain state dict, which programs that load such archives
    take too; a folder's `.bin` as safetensors. State of a training (an optimiser's) is left out.

    Args:
        tensors: by the names of `like.tensors`, all of them.
        path: a new file or folder.
        beside: writes what lies beside the weights, into the folder that it is given; it is called
            before there is anything at `path`.
        also: by the keys of `like.also`, all of them.

    Raises:
        WiseftError: if there is something at `path`.
    """
    if path.exists() or path.is_symlink():
        raise WiseftError(f"{path} exists and is not touched; name another file or folder")
    ready = _prefixed(like, tensors)
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
            _write_torch(like, {like.wrapper: tensors} | dict(also or {}), temporary)


def _prefixed(like: Checkpoint, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return renamed(tensors, {like.own.get(name, name): name for name in tensors})


def _write_torch(like: Checkpoint, of: Mapping[Place, Mapping[str, Tensor]], path: Path) -> None:
    ready = {place: _prefixed(like.also.get(place, like), each) for place, each in of.items()}
    names = {p: {key: f"{n} {key}" for key in ready[p]} for n, p in enumerate(ready)}
    values = Chosen({new: (ready[p], name) for p in names for name, new in names[p].items()})
    standing = stand_ins(values)
    new = {place: {n: standing[own[n]] for n in own} for place, own in names.items()}
    write_torch(path, placed(like.around, new), standing, values)


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


def _is_scripted(path: Path) -> bool:
    """Whether a zip archive is one of TorchScript, rather than what `torch.save` writes.

    Raises:
        WiseftError: if it unpacks to far more than its size, is ambiguous, or a member is damaged.
    """
    with opened(path) as file:
        archive = Archive(file)
        unpacked = sum(member.file_size for member in archive.members.values())
        _require_small(path, unpacked, "unpacks to")
        if damaged := archive.damaged():  # torch itself compares no checksum
            raise WiseftError(
                f"{path} is damaged: {damaged} in it has not the checksum that it was written "
                "with; copy or download it again"
            )
        return "constants.pkl" in archive.members


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
        other = tensor.layout != torch.strided or tensor.is_nested
        if other or tensor.device.type != "cpu":
            raise WiseftError(
                f"{checkpoint.path}: tensor {name} is sparse, nested or without values; "
                "dense tensors are expected"
            )
        size += math.prod(tensor.shape) * tensor.element_size()
    _require_small(checkpoint.path, size, "its tensors expand to")


def _without_prefix(checkpoint: Checkpoint) -> Checkpoint:
    """Take off what DistributedDataParallel, torch.compile, FSDP and, of a CLIPModel, Lightning put
    before or into names.
    """
    own = list(checkpoint.tensors)
    if not own:
        raise WiseftError(f"{checkpoint.path} holds no tensors")
    names = [_WRAPPERS.sub("", name) for name in own]
    found = sorted({each for name in own for each in _WRAPPERS.findall(name)})
    before = next((n.removesuffix(_CLIP) for n in names if n.endswith(f".{_CLIP}")), "")
    for prefix in ("module.", before):
        while prefix and all(name.startswith(prefix) for name in names):
            names, found = [name.removeprefix(prefix) for name in names], [prefix, *found]
    if not found or len(set(names)) < len(own):
        return checkpoint
    log.info(f"{checkpoint.path}: prefix {', '.join(found)} of {len(own)} tensors taken off")
    back = dict(zip(names, own, strict=True))
    return replace(checkpoint, tensors=renamed(checkpoint.tensors, back), own=back)


# ---------------------------------------------------------------------------------------- folders


def _read_folder(path: Path, weights: str | None) -> Checkpoint:
    there = needed_files(path)
    config = next((there[name] for name in CONFIGS if name in there), None)
    if config is None:
        raise WiseftError(
            f"{path} is a folder without {' or '.join(CONFIGS)}; give the folder of a model, or a "
            "file of weights"
        )
    content = read_object(config, "configuration")
    parts = {name: _read_file(path / name, weights) for name in weight_files(path)}
    for part in parts.values():
        if part.also:
            raise several(part.path, [part.wrapper, *part.also])
    files = {name: list(part.tensors) for name, part in parts.items()}
    if index := _index(path):
        _check_index(*index, files)
    return Checkpoint(
        path,
        "folder",
        joined(*(part.tensors for part in parts.values())),
        config=content,
        metadata={key: value for part in parts.values() for key, value in part.metadata.items()},
        wrapper=next(part.wrapper for part in parts.values()),
        files=files,
    )


def weight_files(folder: Path) -> list[str]:
    """Return the names of the weight files of a folder: one, or several with an index."""
    if (index := _index(folder)) is None:
        return [next(name for name in WEIGHT_FILES if inside(folder / name).is_file())]
    file, weight_map = index
    parts = sorted(set(weight_map.values()))
    if not parts:
        raise WiseftError(f"{file} names no tensors; copy or download the folder again")
    for part in parts:
        if Path(part).name != part:
            raise WiseftError(f"{file} names {part!r}, which is no plain name")
        require_file(inside(folder / part), "part of the weights")
    if (numbered := _NUMBERED.fullmatch(parts[0])) and int(numbered[1]) != len(parts):
        raise WiseftError(
            f"{file} names {len(parts)} files, but {parts[0]} is one of {int(numbered[1])}; copy "
            "or download the folder again"
        )
    return parts


def _index(folder: Path) -> tuple[Path, dict[str, str]] | None:
    """Return the index of a folder and the file of every tensor in it; None of one file alone."""
    if any(inside(folder / name).is_file() for name in WEIGHT_FILES):
        return None
    for file in (folder / INDEX, folder / TORCH_INDEX, folder / DIFFUSION_INDEX):
        if inside(file).is_file():
            return file, validate(_Index, read_json(file), str(file)).weight_map
    raise WiseftError(f"{folder} has none of {', '.join((*WEIGHT_FILES, INDEX))}")


def _check_index(file: Path, weight_map: Mapping[str, str], parts: Mapping[str, list[str]]) -> None:
    held = {(name, part) for part, names in parts.items() for name in names}
    if odd := sorted(held ^ weight_map.items()):
        name, part = odd[0]
        what = "the index does not name" if odd[0] in held else "the file lacks"
        raise WiseftError(
            f"{file} is not the index of these files: {what} {name} of {part} ({len(odd)} such "
            "tensors); copy or download the folder again"
        )


def _write_folder(like: Checkpoint, tensors: Mapping[str, Tensor], folder: Path) -> None:
    names: dict[str, str] = {}
    diffusion = next(iter(like.files)).startswith("diffusion_")
    for old, keys in like.files.items():
        name = Path(old).with_suffix(".safetensors").name
        if old in WEIGHT_FILES and not diffusion:
            name = name.replace("pytorch_model", "model")
        chosen = renamed(tensors, {key: key for key in keys})
        write_safetensors(folder / name, chosen, like.metadata or {"format": "pt"})
        names |= dict.fromkeys(chosen, name)
    if len(like.files) > 1:
        index = {"metadata": {"total_size": _size(tensors)}, "weight_map": names}
        (folder / (DIFFUSION_INDEX if diffusion else INDEX)).write_text(json.dumps(index, indent=2))
    for name, file in needed_files(like.path).items():
        if not (folder / name).exists():
            shutil.copyfile(file, folder / name)


def _size(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in examples(tensors).values())
