"""Checkpoints of other programs: read without running their code, and written back as they were.

A checkpoint is one file (safetensors, torch's `.pt`, a TorchScript archive) or a folder with a
configuration beside its weights (a model of transformers, open_clip or timm).
"""

from __future__ import annotations

import contextlib
import json
import math
import pickle
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from wiseft.errors import WiseftError
from wiseft.io import atomic_folder, atomic_path, gigabytes, read_json, require_file
from wiseft.tensor_file import KEY, check_tensors, read_file_header
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
        tensors: by name, without the prefixes that wrappers of modules put before.
        prefix: what was before every name.
        config: content of a folder's configuration; empty for a file.
        metadata: of a safetensors file.
        wrapper: key that the weights stand under in a torch file; None: at the top.
        around: what else a torch file holds.
        files: weight files of a folder, with the names of their tensors.
    """

    path: Path
    kind: str
    tensors: dict[str, Tensor]
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


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of any format.

    Raises:
        WiseftError: if there is none, it is damaged, it holds pickled objects, or no tensors.
    """
    if path.is_dir():
        return _read_folder(path)
    require_file(path, "checkpoint")
    if _is_safetensors(path):
        tensors, metadata = _read_safetensors(path)
        checkpoint = Checkpoint(path, "safetensors", tensors, metadata=metadata)
    elif (names := _zip_names(path)) and any(name.endswith("/constants.pkl") for name in names):
        checkpoint = Checkpoint(path, "torchscript", read_torchscript(path))
    else:
        checkpoint = _unwrap(path, _torch_load(path))
    _check_dense(checkpoint)
    return _without_prefix(checkpoint)


def write_checkpoint(like: Checkpoint, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors in the format of another checkpoint, under its names, atomically.

    A TorchScript archive is written as a plain state dict, which programs that load such archives
    take too; a folder's `.bin` as safetensors. State of a training (an optimiser's) is left out.

    Args:
        tensors: by the names of `like.tensors`, all of them.
        path: a new file or folder.

    Raises:
        WiseftError: if there is something at `path`.
    """
    if path.exists() or path.is_symlink():
        raise WiseftError(f"{path} exists and is not touched; name another file or folder")
    # Safetensors refuses tensors that share memory; a copy of each is right for every format.
    ready = {
        like.prefix + name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    if like.kind == "folder":
        _write_folder(like, ready, path)
        return
    with atomic_path(path, _size(ready)) as temporary:
        if like.kind == "safetensors":
            save_file(ready, temporary, metadata=like.metadata or None)
        else:
            # torch's own format, which its weights-only loader reads: what A's program expects. By
            # a stream, because by a path the temporary name would stand in the file.
            with temporary.open("wb") as file:
                torch.save(_wrapped(like, ready), file)


# ------------------------------------------------------------------------------------------ files


def _is_safetensors(path: Path) -> bool:
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and not start.startswith(b"PK")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WiseftError(f"{path} is not a whole safetensors file ({error})") from None
    if KEY in metadata:
        check_tensors(path, tensors, read_file_header(path, "checkpoint"))
    return tensors, metadata


def _zip_names(path: Path) -> list[str]:
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
    return [member.filename for member in members]


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


def _torch_load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise _pickled(path) from None
    except Exception as error:  # a damaged file may raise almost anything
        reason = str(error) or type(error).__name__
        raise WiseftError(
            f"{path} is neither safetensors nor a whole file of torch ({reason}); copy or download "
            "it again"
        ) from None


def _pickled(path: Path) -> WiseftError:
    """Return why a file of Python objects is not loaded, and what to do instead."""
    names: list[str] = []
    with contextlib.suppress(Exception):  # of a damaged pickle
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    if not names:
        # torch's own message would send the user to weights_only=False, which runs the file's code.
        return WiseftError(
            f"{path} is not a file of weights, or an old pickle of more than tensors, which is not "
            "loaded because that could run code. A state dict saved by torch.save, safetensors or "
            "a folder of transformers is expected"
        )
    return WiseftError(
        f"{path} holds pickled objects of {', '.join(names[:3])}: loading it would run code that "
        "the file chooses, so it is refused. Where that code is installed and trusted, save the "
        "weights alone:\n"
        "  torch.save(torch.load(FILE, weights_only=False).state_dict(), 'weights.pt')\n"
        "and give that file."
    )


def _unwrap(path: Path, content: Any) -> Checkpoint:
    """Find the weights in what a torch file holds."""
    if not isinstance(content, Mapping):
        raise WiseftError(f"{path} holds {type(content).__name__}, expected tensors by name")
    wrapper: str | None = None
    weights: Mapping[Any, Any] = content
    if not _has_tensors(content):
        held = [key for key in WRAPPERS if _has_tensors(content.get(key))]
        if not held:
            keys = ", ".join(map(str, list(content)[:8])) or "nothing"
            raise WiseftError(
                f"{path} holds {keys}, but no tensors by name, neither at the top nor under "
                f"{', '.join(WRAPPERS)}"
            )
        wrapper, weights = held[0], content[held[0]]
    tensors = {str(key): value for key, value in weights.items() if isinstance(value, Tensor)}
    around = {k: v for k, v in content.items() if k != wrapper} if wrapper else {}
    return Checkpoint(path, "torch", tensors, wrapper=wrapper, around=around)


def _has_tensors(content: Any) -> bool:
    return isinstance(content, Mapping) and any(isinstance(v, Tensor) for v in content.values())


def _wrapped(like: Checkpoint, tensors: dict[str, Tensor]) -> dict[str, Any]:
    if like.wrapper is None:
        return tensors
    kept = {key: value for key, value in like.around.items() if key not in TRAINING_STATE}
    return kept | {like.wrapper: tensors}


def _without_prefix(checkpoint: Checkpoint) -> Checkpoint:
    tensors, prefix = checkpoint.tensors, ""
    if not tensors:
        raise WiseftError(f"{checkpoint.path} holds no tensors")
    while shared := next((p for p in PREFIXES if all(k.startswith(p) for k in tensors)), None):
        tensors = {key[len(shared) :]: value for key, value in tensors.items()}
        prefix += shared
    return replace(checkpoint, tensors=tensors, prefix=prefix)


# ---------------------------------------------------------------------------------------- folders


def _read_folder(path: Path) -> Checkpoint:
    config = next((path / name for name in CONFIGS if (path / name).is_file()), None)
    if config is None:
        raise WiseftError(
            f"{path} is a folder without {' or '.join(CONFIGS)}; give the folder of a model, or a "
            "file of weights"
        )
    tensors: dict[str, Tensor] = {}
    files: dict[str, list[str]] = {}
    metadata: dict[str, str] = {}
    for name in weight_files(path):
        part = read_checkpoint(path / name)
        tensors |= part.tensors
        files[name] = list(part.tensors)
        metadata |= part.metadata
    content: dict[str, Any] = read_json(config, "configuration")
    return Checkpoint(path, "folder", tensors, config=content, metadata=metadata, files=files)


def weight_files(folder: Path) -> list[str]:
    """Return the names of the weight files of a folder: one, or several with an index."""
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return [name]
    for index in (INDEX, "pytorch_model.bin.index.json"):
        if (folder / index).is_file():
            parts = sorted(set(read_json(folder / index)["weight_map"].values()))
            for part in parts:
                if Path(part).name != part:
                    raise WiseftError(f"{folder / index} names {part!r}, which is no plain name")
                require_file(folder / part, "part of the weights")
            return parts
    raise WiseftError(f"{folder} has none of {', '.join((*WEIGHT_FILES, INDEX))}")


def _write_folder(like: Checkpoint, tensors: Mapping[str, Tensor], path: Path) -> None:
    with atomic_folder(path, _size(tensors)) as temporary:
        names: dict[str, str] = {}
        for old, keys in like.files.items():
            name = Path(old).with_suffix(".safetensors").name
            if old in WEIGHT_FILES:
                name = name.replace("pytorch_model", "model")
            chosen = {like.prefix + key: tensors[like.prefix + key] for key in keys}
            save_file(chosen, temporary / name, metadata=like.metadata or {"format": "pt"})
            names |= dict.fromkeys(chosen, name)
        if len(like.files) > 1:
            index = {"metadata": {"total_size": _size(tensors)}, "weight_map": names}
            (temporary / INDEX).write_text(json.dumps(index, indent=2))
        for file in sorted(like.path.iterdir()):
            if file.is_file() and not _holds_weights(file, like):
                shutil.copyfile(file, temporary / file.name)


def _size(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def _holds_weights(file: Path, like: Checkpoint) -> bool:
    """Whether a file of a folder holds weights, which a copy would keep as they were."""
    suffixes = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".npz")
    return (
        file.name in like.files or file.suffix in suffixes or file.name.endswith(".bin.index.json")
    )
