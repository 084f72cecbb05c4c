"""Checkpoints as they were given, with what they say of themselves: classes, heads, features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from torch import Tensor

from wiseft.base import library
from wiseft.errors import WiseftError, some
from wiseft.foreign import class_names
from wiseft.foreign.adapters import adapted, is_adapter
from wiseft.foreign.class_names import RENAME, Names, names_in, order_in, plain
from wiseft.foreign.convert import family_tensors, read_folder
from wiseft.foreign.formats import Checkpoint, read_checkpoint
from wiseft.foreign.towers import FoundTower, find_image_tower, head_in, heads_in
from wiseft.models import towers
from wiseft.thetas.preprocessing import Preprocessing
from wiseft.thetas.tensor_file import read_file_header
from wiseft.thetas.theta import ThetaHeader, load_theta, read_header


def own_header(path: Path) -> dict[str, Any] | None:
    """Return the header of a file that wiseft wrote: of a theta, or of weights; else None."""
    if not path.is_file():
        return None
    try:
        return read_file_header(path, "the model")
    except WiseftError:
        return None


Features = Literal["raw", "normalised"]
"""What a head takes: features as the image tower gives them, or L2-normalised."""


@dataclass(frozen=True)
class Given:
    """What the user says of the checkpoints.

    Attributes:
        architecture: a name of open_clip or timm, or a JSON file.
        templates: prompts of a model without a head; None: `TEMPLATES`.
        classes: names of the head's classes in its order; None: those of a checkpoint or the
            reference folder.
        head: a file with the head of the fine-tuned checkpoint.
        features: that heads take; None: what a checkpoint says, else L2-normalised ones.
        norm: of features: heads of prompts are divided by it where they take raw ones.
        weights: the key of the weights, in files of torch that hold several mappings of tensors.
    """

    architecture: str | None = None
    preprocessing: Preprocessing | None = None
    templates: Sequence[str] | None = None
    classes: Sequence[str] | None = None
    head: Path | None = None
    features: Features | None = None
    norm: float = 1.0
    weights: str | None = None

    def __post_init__(self) -> None:
        if self.features not in (None, *get_args(Features)):
            raise WiseftError(f"--features is {self.features}, but must be raw or normalised")


@dataclass(frozen=True)
class Opened:
    """A checkpoint with what it says of itself.

    Attributes:
        header: of a theta.
        names: of the classes of its head, and where they stand.
        head: a file with its head, which a sweep or an export wrote beside it.
        features: that its head takes.
    """

    path: Path
    checkpoint: Checkpoint
    architecture: dict[str, Any] | None = None
    preprocessing: dict[str, Any] | None = None
    header: ThetaHeader | None = None
    names: tuple[Names, str] | None = None
    head: Path | None = None
    features: str | None = None


@dataclass(frozen=True)
class Parts:
    """A checkpoint taken apart: a head, or both towers, or neither."""

    found: FoundTower
    head: tuple[Tensor, Tensor] | None
    whole: dict[str, Tensor] | None


def open_end(path: Path, base: Opened | None = None, weights: str | None = None) -> Opened:
    """Read a checkpoint of any form that `wiseft merge` takes, or a theta.

    Args:
        base: what an adapter of PEFT changes.
        weights: as in `Given`.

    Raises:
        WiseftError: if it is missing or refused, or an adapter has no base.
    """
    if is_adapter(path):
        if base is None:
            raise WiseftError(f"{path} is an adapter, not a model; give the model that it changes")
        return replace(base, path=path, checkpoint=adapted(path, base.checkpoint), header=None)
    header = own_header(path)
    if header is not None and "class_names" in header:
        theta, own = load_theta(path), read_header(path)
        checkpoint = replace(read_checkpoint(path), tensors=theta.tensors)
        return Opened(path, checkpoint, own.architecture, own.preprocessing, own)
    if path.is_dir():
        opened = Opened(path, *read_folder(path))
    elif header is not None and "architecture" in header:
        about = header["architecture"], header["preprocessing"]
        opened = Opened(path, read_checkpoint(path), *about)
    else:
        opened = Opened(path, read_checkpoint(path, weights))
    head = class_names.head_beside(path)
    names = class_names.names_brought(path, opened.checkpoint.config)
    return replace(opened, names=names, head=head, features=class_names.features_beside(path, head))


def take_apart(
    end: Opened, architecture: Mapping[str, Any], expected: Mapping[str, Tensor]
) -> Parts:
    """Return a checkpoint taken apart.

    Args:
        expected: the tensors of the image tower.
    """
    found = find_image_tower(end.checkpoint, architecture, expected)
    if named := heads_in(found.rest):
        width = towers.embed_dim(architecture)
        rows = [len(weight) for weight in named.values() if weight.shape[1] == width]
        shape = (rows[0] if rows else 0, width)
        return Parts(found, head_in(found.rest, shape, str(end.path)), None)
    beside = None
    if end.head is not None:
        tensors = towers.floating(read_checkpoint(end.head).tensors)
        found_shape = next((tuple(each.shape) for each in heads_in(tensors).values()), (0, 0))
        beside = head_in(tensors, cast(tuple[int, int], found_shape), str(end.head))
    if towers.family(architecture) == "timm":
        return Parts(found, beside, None)
    before = found.prefix.removesuffix("visual.")
    tensors = towers.prefixed(end.checkpoint.tensors, before)
    try:
        whole = family_tensors(replace(end.checkpoint, tensors=tensors), architecture)
        return Parts(found, beside, whole)
    except WiseftError:
        return Parts(found, beside, None)


def names_of(
    zero: Opened,
    fine: Opened,
    parts: Sequence[Parts],
    reference: list[list[str]],
    given: Given,
) -> tuple[Names, tuple[str, str], list[list[int] | None], bool]:
    """Return the names of the classes, what names them with what to do if a folder is none, the
    rows of each head in the order of these names, and whether the order is assumed.

    The names are those of the fine-tuned checkpoint where it has some: the result has its format.

    Raises:
        WiseftError: if there are more or fewer than a head has rows, or those of one checkpoint
            are others than those of the other.
    """
    rows = [(end, len(p.head[0])) for end, p in zip((zero, fine), parts, strict=True) if p.head]
    theta = next((end for end in (zero, fine) if end.header is not None), None)
    has = [parts[0].head is not None, parts[1].head is not None or given.head is not None]
    brought = next(
        (e.names for e, own in ((fine, has[1]), (zero, has[0])) if own and e.names), None
    )
    known, way = library.class_names("imagenet"), f"{RENAME}, or with --classes the head"
    n_folders, known_plain = len(reference), set(map(plain, known))
    meant = {plain(each[0]) for each in reference}
    assumed = False
    if theta is not None and theta.header is not None:
        names, source, way = names_in(theta.header), str(theta.path), RENAME
        if given.classes and list(given.classes) != [each[0] for each in names]:
            raise WiseftError(f"{source} is a theta, which names classes: leave out --classes")
    elif given.classes is not None:
        names, source = [[name] for name in given.classes], "--classes"
    elif brought:
        names, source = brought
    elif rows and rows[0][1] == len(known) and (n_folders != len(known) or meant <= known_plain):
        names, source = [[name] for name in known], "ImageNet"
    else:
        names, source, assumed = reference, "the reference folder", any(has)
    for end, n in rows:
        if n != len(names):
            raise WiseftError(
                f"{end.path} has a head of {n} classes, but {source} names {len(names)}; give the "
                "names of its classes in their order with --classes, or a checkpoint of these "
                "classes"
            )
    chosen = given.classes is not None
    orders = [
        None if chosen or not own else _order(end, names, source, end is fine)
        for end, own in zip((zero, fine), has, strict=True)
    ]
    return names, (source, way), orders, assumed


def _order(end: Opened, names: Names, source: str, fixed: bool) -> list[int] | None:
    """Return the rows of a head in the order of names; None as they are.

    Args:
        fixed: whether they must be so already.
    """
    if end.names is None:
        return None
    order = order_in(names, end.names[0])
    if order is None or (fixed and order != list(range(len(names)))):
        own, others = (some([each[0] for each in some_of], 3) for some_of in (end.names[0], names))
        raise WiseftError(
            f"{end.names[1]} names the classes {own}, but {source} {others}; give two models of "
            "the same classes in one order, or the names of both heads with --classes"
        )
    return order
