"""The only reader and writer of weights.

A *theta* is one classifier (paper section 3: theta = [V_enc, W_classifier]): `image.*`,
`head.weight` (classes x width, exp(logit_scale) folded in once) and `head.bias` (classes); with
them `text.*`, where a method trained the text tower too.
*Weights* are a whole zero-shot model with both towers, in open_clip's own names.
Both are safetensors files of floating tensors with a JSON header; no pickle is involved.

The header is one JSON string under the metadata key `wiseft`: ``{"format": 2, "kind", "stage",
"stage_version", "architecture", "preprocessing", "class_names", "parents": {role: identity or
sha256}, "seed", "settings", "versions", "commit"}``. The kind is `zero-shot`, `fine-tuned`,
`from-scratch`, `combined`, or `weights`. `never_predicted` lists classes that a supervised label
set lacks, masked after the logits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pydantic.dataclasses
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from wiseft.base.io import sha256_json
from wiseft.base.provenance import git_commit, versions
from wiseft.base.stages import VERSION
from wiseft.base.validation import validate
from wiseft.errors import StaleArtifact, WiseftError, some
from wiseft.thetas.preprocessing import Transform, parse_preprocessing
from wiseft.thetas.tensor_file import (
    TENSORS_SUM,
    LazyTensors,
    examples,
    open_tensors,
    read_file_header,
    read_tensors,
    tensor_writer,
)


def share_image_tower(theta_0: Mapping[str, Tensor], theta_1: Mapping[str, Tensor]) -> bool:
    """Whether only the heads differ, as after fine-tuning a linear classifier."""
    names = [name for name in theta_0 if name.startswith("image.")]
    return all(torch.equal(theta_0[name], theta_1[name]) for name in names)


KINDS = ("zero-shot", "fine-tuned", "from-scratch", "combined")


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ThetaHeader:
    """What a theta file says of itself.

    `architecture` is what `wiseft.models.towers` builds a model from (an open_clip model config, or
    another family's description), `preprocessing` is a dump of `Preprocessing`,
    `parents` maps a role (e.g. `theta_0`) to its identity or SHA-256, `never_predicted` lists
    classes that the head can't tell (they have no counterpart in a supervised pre-training); a
    file without such classes lacks the key.
    """

    kind: str
    stage: str
    stage_version: int
    architecture: dict[str, Any]
    preprocessing: dict[str, Any]
    class_names: list[str]
    parents: dict[str, str] = field(default_factory=dict)
    seed: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = "unknown"
    never_predicted: list[int] = field(default_factory=list)

    @property
    def transform(self) -> Transform:
        """What is done to an image before it is normalised. Raises WiseftError."""
        return parse_preprocessing(self.preprocessing).transform


class _WeightsHeader(BaseModel):
    """What the header of weights must say; what else stands there is for the record."""

    kind: Literal["weights"]
    stage: str
    stage_version: int
    architecture: dict[str, Any]
    preprocessing: dict[str, Any]
    settings: dict[str, Any] = {}
    source: dict[str, Any] = {}
    seed: int | None = None


@dataclass(frozen=True)
class Theta:
    """The tensors of a classifier with their header; `identity` as below, if read from a file."""

    tensors: dict[str, Tensor]
    header: ThetaHeader
    identity: str | None = None


@dataclass(frozen=True)
class StoredTheta:
    """A theta that stays in its file: tensors are read when they are asked for and not kept."""

    tensors: LazyTensors
    header: ThetaHeader
    identity: str


def identity(header: Mapping[str, Any]) -> str:
    """Return a hash of all that a file's model gives for images: the tensors and what they mean.

    Who made it, of what and how is not in it, so that nothing that depends on a model is made
    again because another commit made the same model.

    Args:
        header: of a theta or weights, with `tensors_sha256`.
    """
    names = (TENSORS_SUM, "architecture", "preprocessing", "class_names", "never_predicted")
    settings = header.get("settings", {})
    prompts = settings.get("prompts", settings)  # of a head that follows from a text tower
    prompted = isinstance(prompts, dict) and "templates" in prompts
    return sha256_json(
        {name: header.get(name) for name in names} | {"prompts": prompts if prompted else None}
    )


def make_header(kind: str, stage: str, **fields: Any) -> ThetaHeader:
    """Return a header that carries the current stage version, library versions and commit.

    Args:
        fields: all that `ThetaHeader` has besides.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is not one of {KINDS}")
    made: dict[str, Any] = {
        "stage_version": VERSION[stage],
        "versions": versions(),
        "commit": git_commit(),
    }
    return ThetaHeader(kind=kind, stage=stage, **made, **fields)


def save_theta(path: Path | str, tensors: Mapping[str, Tensor], header: ThetaHeader) -> str:
    """Write a theta atomically, one tensor at a time, and return its identity.

    Raises:
        WiseftError: if the tensors are not those of a classifier or hold a NaN or infinity.
    """
    _check_rows(examples(tensors), header.class_names, str(path))
    return _save(path, tensors, header_dict(header))


def header_dict(header: ThetaHeader) -> dict[str, Any]:
    """Return a header as plain data; a key added later is left out where it says nothing."""
    plain = dataclasses.asdict(header)
    if not header.never_predicted:
        del plain["never_predicted"]
    return plain


def load_theta(path: Path | str, check_version: bool = True) -> Theta:
    """Read a theta into memory.

    Raises:
        WiseftError: if the file is missing, damaged or no theta, or holds a NaN or infinity.
        StaleArtifact: if an older version of its stage wrote it.
    """
    tensors, raw = read_tensors(path, "theta")
    header = _theta_header(raw, path, check_version)
    _check_rows(tensors, header.class_names, str(path))
    check_finite(tensors, str(path))
    return Theta(tensors, header, identity(raw))


def read_header(path: Path | str) -> ThetaHeader:
    """Return the header of a theta, without a look at its tensors.

    Raises:
        WiseftError: if the file is missing, broken or no theta.
    """
    return _theta_header(read_file_header(path, "theta"), path, check_version=False)


def open_theta(path: Path | str, check_version: bool = True) -> StoredTheta:
    """Return a theta that stays in its file.

    Raises:
        WiseftError: if the file is missing, damaged or no theta. Finite tensors are for the reader
            to check.
        StaleArtifact: if an older version of its stage wrote it.
    """
    tensors, raw = open_tensors(path, "theta")
    header = _theta_header(raw, path, check_version)
    _check_rows(tensors.shapes, header.class_names, str(path))
    return StoredTheta(tensors, header, identity(raw))


def save_weights(path: Path | str, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """Write the weights of a zero-shot model (both towers) and return their identity.

    The header needs `architecture` and `preprocessing`; stage version, library versions and
    commit are added.

    Raises:
        WiseftError: if a tensor is not floating or holds a NaN or infinity.
    """
    _check_floating(tensors, str(path))
    stage = header.get("stage", "pretrain")
    made_by = {"stage": stage, "stage_version": VERSION[stage]}
    made_by |= {"versions": versions(), "commit": git_commit()}
    return _save(path, tensors, {"kind": "weights"} | made_by | dict(header))


def load_weights(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights of a zero-shot model and their header.

    Raises:
        WiseftError: if the file is missing, damaged, holds no zero-shot model, or a NaN or
            infinity.
        StaleArtifact: if an older version of its stage wrote it.
    """
    tensors, raw = read_tensors(path, "zero-shot weights")
    if raw.get("kind") != "weights":
        raise WiseftError(f"{path} is a {raw.get('kind')} theta, not the weights of both towers")
    validate(_WeightsHeader, raw, f"the header of {path}")
    _check_stage(raw["stage"], raw["stage_version"], path)
    check_finite(tensors, str(path))
    return tensors, raw


def _check_rows(tensors: Mapping[str, Tensor], class_names: list[str], where: str) -> None:
    missing = [key for key in ("head.weight", "head.bias") if key not in tensors]
    if missing or not any(key.startswith("image.") for key in tensors):
        raise WiseftError(f"{where} is no theta: {', '.join(missing) or 'image.*'} is missing")
    _check_floating(tensors, where)
    rows = (tensors["head.weight"].shape[0], tensors["head.bias"].shape[0], len(class_names))
    if len(set(rows)) != 1:
        raise WiseftError(
            f"{where}: head.weight, head.bias and the class names have {rows} rows; they must agree"
        )


def _check_floating(tensors: Mapping[str, Tensor], where: str) -> None:
    for key, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise WiseftError(f"{where}: tensor {key} is {tensor.dtype}, not floating")


def check_compatible(a: Theta | StoredTheta, b: Theta | StoredTheta) -> None:
    """Check that two thetas are of one architecture over the same classes.

    Raises:
        WiseftError: naming what differs first (a tensor, a key of the architecture or of the
            preprocessing, a class, the classes that are never predicted).
    """
    check_same_tensors(examples(a.tensors), examples(b.tensors))
    check_same_headers(a.header, b.header)


def check_same_headers(
    a: ThetaHeader,
    b: ThetaHeader,
    names: tuple[str, ...] = ("architecture", "preprocessing", "class_names", "never_predicted"),
) -> None:
    """Check that two headers agree: equal tensors may still compute something else.

    Raises:
        WiseftError: naming the first key that differs, with both values.
    """
    for name in names:
        for key, left, right in _differences(name, getattr(a, name), getattr(b, name)):
            raise WiseftError(
                f"the two thetas differ in {key}: {left!r} and {right!r}; what is combined must "
                "agree there"
            )


def _differences(key: str, a: Any, b: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the places at which two values of JSON differ; a key that is not there has None."""
    if isinstance(a, dict) and isinstance(b, dict):
        for name in sorted(a.keys() | b.keys()):
            yield from _differences(f"{key}.{name}", a.get(name), b.get(name))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for place, pair in enumerate(zip(a, b, strict=True)):
            yield from _differences(f"{key}[{place}]", *pair)
    elif a != b:
        yield key, a, b


def check_same_tensors(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    """Check that two sets of tensors have equal keys and shapes."""
    missing, unexpected = sorted(a.keys() - b.keys()), sorted(b.keys() - a.keys())
    if missing or unexpected:
        raise WiseftError(
            "the thetas are of different architectures: the second lacks "
            f"{some(missing, 3) or 'nothing'} and adds {some(unexpected, 3) or 'nothing'}"
        )
    for key in sorted(a):
        if a[key].shape != b[key].shape:
            raise WiseftError(
                f"the thetas are of different architectures: tensor {key} has shape "
                f"{tuple(a[key].shape)} in the first and {tuple(b[key].shape)} in the second"
            )


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither a NaN nor an infinity."""
    if tensor.numel() == 0:
        return True
    # A NaN is both the smallest and the largest value; `isfinite` of every element is 30 times
    # slower.
    return bool(torch.isfinite(torch.stack(torch.aminmax(tensor.detach()))).all())


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights with a NaN or an infinity.

    Raises:
        WiseftError: naming the tensor.
    """
    for key, tensor in tensors.items():
        if not is_finite(tensor):
            raise WiseftError(f"{where}: tensor {key} holds a NaN or an infinity")


def _save(path: Path | str, tensors: Mapping[str, Tensor], header: dict[str, Any]) -> str:
    with tensor_writer(path, examples(tensors), header) as file:
        for name in sorted(tensors):
            tensor = tensors[name]
            check_finite({name: tensor}, str(path))
            file.write(name, tensor)
    return identity(header | {TENSORS_SUM: file.tensors_sha256})


def _theta_header(raw: dict[str, Any], path: Path | str, check_version: bool) -> ThetaHeader:
    if raw.get("kind") not in KINDS:
        raise WiseftError(f"{path} holds {raw.get('kind')}, not a theta ({', '.join(KINDS)})")
    own = {key: value for key, value in raw.items() if key not in ("format", TENSORS_SUM)}
    header = validate(ThetaHeader, own, f"the header of {path}")
    classes = len(header.class_names)
    if beyond := [index for index in header.never_predicted if not 0 <= index < classes]:
        raise WiseftError(
            f"the header of {path} has {beyond[0]} in never_predicted, but there are {classes} "
            "classes, from 0 on"
        )
    if check_version:
        _check_stage(header.stage, header.stage_version, path)
    return header


def _check_stage(stage: str, version: int, path: Path | str) -> None:
    if stage not in VERSION:
        raise WiseftError(f"the header of {path} names the stage {stage}, which does not exist")
    if version != VERSION[stage]:
        raise StaleArtifact(
            f"{path} was written by version {version} of the {stage} stage, this is version "
            f"{VERSION[stage]}; delete the file and rerun, or check out the older code"
        )
