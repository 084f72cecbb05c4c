"""The two checkpoints as two thetas of one architecture over the same classes.

A checkpoint with a head is a classifier as it is. One with two towers gets the head of its prompts:
the paper's zero-shot head, and for a fine-tuned two-tower model whose text tower was trained too a
head that follows from the interpolated text tower at every alpha.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wiseft import towers
from wiseft.combine.merge import compare_configs
from wiseft.config import Preprocessing, library, parse_preprocessing
from wiseft.errors import WiseftError
from wiseft.evaluate.score import CLIP_PIXELS, TEMPLATES, own_header
from wiseft.evaluate.sweep import share_image_tower
from wiseft.finetune.import_checkpoint import FoundTower, find_image_tower, head_in, heads_in
from wiseft.sweep.architecture import architecture_of
from wiseft.theta import ThetaHeader, load_theta, make_header, read_header, save_theta
from wiseft.weights.adapters import adapted, is_adapter
from wiseft.weights.convert import family_tensors, read_folder
from wiseft.weights.formats import Checkpoint, read_checkpoint
from wiseft.weights.sources import named_architecture
from wiseft.zeroshot.text_head import Prompts

Say = Callable[[str], None]


@dataclass(frozen=True)
class Given:
    """What the user says of the checkpoints.

    Attributes:
        architecture: a name of open_clip or timm, or a JSON file.
        templates: prompts of a model without a head; None: `TEMPLATES`.
        classes: names of the head's classes in its order; None: those of a checkpoint or the
            reference folder.
        head: a file with the head of the fine-tuned checkpoint.
    """

    architecture: str | None = None
    preprocessing: Preprocessing | None = None
    templates: Sequence[str] | None = None
    classes: Sequence[str] | None = None
    head: Path | None = None


@dataclass(frozen=True)
class Opened:
    """A checkpoint with what it says of itself; `header` of a theta."""

    path: Path
    checkpoint: Checkpoint
    architecture: dict[str, Any] | None = None
    preprocessing: dict[str, Any] | None = None
    header: ThetaHeader | None = None


@dataclass(frozen=True)
class Ends:
    """Both ends as files.

    Attributes:
        templates: prompts that a head was made of; empty: none was.
        head: where the heads are from, a sentence.
        method: `linear-classifier` where the image towers are equal, else `end-to-end`.
        kept: thetas with the heads of kept folders, by name.
    """

    theta_0: Path
    theta_1: Path
    architecture: dict[str, Any]
    class_names: list[str]
    templates: list[str]
    head: str
    method: str
    kept: dict[str, Path]


@dataclass(frozen=True)
class _Parts:
    """A checkpoint taken apart: a head, or both towers, or neither."""

    found: FoundTower
    head: tuple[Tensor, Tensor] | None
    whole: dict[str, Tensor] | None


def open_end(path: Path, base: Opened | None = None) -> Opened:
    """Read a checkpoint of any form that `wiseft merge` takes, or a theta.

    Args:
        base: what an adapter of PEFT changes.

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
        return Opened(path, *read_folder(path))
    checkpoint = read_checkpoint(path)
    if header is not None and "architecture" in header:
        return Opened(path, checkpoint, header["architecture"], header["preprocessing"])
    return Opened(path, checkpoint)


def make_ends(
    zero: Opened,
    fine: Opened,
    reference: list[list[str]],
    given: Given,
    work: Path,
    say: Say,
    keep: Mapping[str, list[list[str]]] | None = None,
) -> Ends:
    """Write both checkpoints as thetas that can be interpolated.

    Args:
        reference: the names of each class of the reference folder, in the order of its folders.
        work: folder for the thetas; one that is a theta stays where it is.
        keep: the names of each class of kept folders, by the folder's name.

    Raises:
        WiseftError: if the two are of different architectures or classes, a checkpoint lacks what
            it needs (for kept folders: the zero-shot model's text tower), or a head has another
            number of classes than there are names.
    """
    architecture = _architecture(zero, fine, given)
    preprocessing = _preprocessing(zero, fine, architecture, given, say)
    with towers.for_weights(architecture, zero.checkpoint.tensors):
        image = towers.build_image(architecture, seed=0)
    expected = towers.floating(image.state_dict())
    parts = [_parts(end, architecture, expected) for end in (zero, fine)]
    names = _names(zero, fine, parts, reference, given)
    prompts = Prompts(names, list(given.templates or _templates(zero, fine)))
    heads, text, head = _heads(zero, fine, parts, prompts, architecture, given, say)
    thetas = [
        towers.with_prefix(part.found.image, towers.IMAGE)
        | own
        | (towers.text_tensors(architecture, part.whole) if text and part.whole else {})
        for part, own in zip(parts, heads, strict=True)
    ]
    paths = []
    for kind, end, theta in zip(("zero-shot", "fine-tuned"), (zero, fine), thetas, strict=True):
        paths.append(end.path if end.header else work / f"{kind}.safetensors")
        if end.header is None:
            about = _header(kind, architecture, preprocessing, prompts)
            save_theta(paths[-1], theta, about)
    kept: dict[str, Path] = {}
    for name, classes in (keep or {}).items():
        kept[name] = work / f"kept-{name}.safetensors"
        own_prompts = Prompts(classes, prompts.templates)
        if (own := _prompted(parts[0], own_prompts, architecture)) is None:
            raise WiseftError(
                f"heads of what is kept are made of prompts, but {zero.path} has not both towers; "
                "give the whole zero-shot model, or leave out --keep"
            )
        about = _header("zero-shot", architecture, preprocessing, own_prompts)
        save_theta(kept[name], thetas[0] | own, about)
    linear = share_image_tower(thetas[0], thetas[1]) and not text
    return Ends(
        theta_0=paths[0],
        theta_1=paths[1],
        architecture=architecture,
        class_names=[item[0] for item in names],
        templates=prompts.templates if any(part.head is None for part in parts) else [],
        head=head,
        method="linear-classifier" if linear else "end-to-end",
        kept=kept,
    )


def _header(
    kind: str, architecture: dict[str, Any], preprocessing: dict[str, Any], prompts: Prompts
) -> ThetaHeader:
    return make_header(
        kind,
        "weights",
        architecture=architecture,
        preprocessing=preprocessing,
        class_names=[item[0] for item in prompts.names],
        parents={},
        settings={"source": "file"} | prompts.settings(),
    )


def _architecture(zero: Opened, fine: Opened, given: Given) -> dict[str, Any]:
    if given.architecture is not None:
        architecture = named_architecture(given.architecture, Path())
    else:
        compare_configs(zero.checkpoint, fine.checkpoint)
        described = [end.architecture for end in (zero, fine) if end.architecture is not None]
        if len({bool(each.get("quick_gelu")) for each in described}) > 1:
            raise WiseftError(
                f"{zero.path} and {fine.path} are of different architectures: one has QuickGELU, "
                "the other GELU; weights between them mean nothing"
            )
        architecture = described[0] if described else architecture_of(zero.checkpoint)
    if towers.family(architecture) == "align":
        raise WiseftError(
            "a sweep takes models of open_clip, transformers' CLIPModel and timm; ALIGN goes "
            "through `wiseft weights`, `wiseft zeroshot` and `wiseft evaluate`"
        )
    return architecture


def _preprocessing(
    zero: Opened, fine: Opened, architecture: Mapping[str, Any], given: Given, say: Say
) -> dict[str, Any]:
    """Return the one preprocessing: the user's, else what a checkpoint says, else CLIP's."""
    size = towers.image_size(architecture)
    own = {"size": size} if size is not None else {}
    if given.preprocessing is not None:
        return given.preprocessing.model_dump(mode="json")
    said = [own | end.preprocessing for end in (zero, fine) if end.preprocessing]
    if not said:
        say("images are normalised as OpenAI's CLIPs want it; --preprocessing says otherwise")
    ready = [parse_preprocessing(each) for each in said or [own | CLIP_PIXELS]]
    if ready[0] != ready[-1]:
        raise WiseftError(
            f"{zero.path} and {fine.path} want images otherwise: {ready[0]} and {ready[-1]}; say "
            "with --preprocessing which is right for both"
        )
    return ready[0].model_dump(mode="json")


def _parts(end: Opened, architecture: Mapping[str, Any], expected: Mapping[str, Tensor]) -> _Parts:
    found = find_image_tower(end.checkpoint, architecture, expected)
    if named := heads_in(found.rest):
        width = towers.embed_dim(architecture)
        rows = [len(weight) for weight in named.values() if weight.shape[1] == width]
        shape = (rows[0] if rows else 0, width)
        return _Parts(found, head_in(found.rest, shape, str(end.path)), None)
    if towers.family(architecture) == "timm":
        return _Parts(found, None, None)
    before = found.prefix.removesuffix("visual.")
    tensors = towers.prefixed(end.checkpoint.tensors, before)
    try:
        return _Parts(
            found, None, family_tensors(replace(end.checkpoint, tensors=tensors), architecture)
        )
    except WiseftError:
        return _Parts(found, None, None)


def _names(
    zero: Opened,
    fine: Opened,
    parts: Sequence[_Parts],
    reference: list[list[str]],
    given: Given,
) -> list[list[str]]:
    """Return the names of the classes in the order of the heads.

    Raises:
        WiseftError: if there are more or fewer than a head has rows.
    """
    rows = [(end, len(p.head[0])) for end, p in zip((zero, fine), parts, strict=True) if p.head]
    for header in (end.header for end in (zero, fine) if end.header is not None):
        prompted = header.settings.get("prompts", header.settings).get("prompt_names")
        names, source = prompted or [[name] for name in header.class_names], "the theta"
        break
    else:
        known = library.class_names("imagenet")
        if given.classes is not None:
            names, source = [[name] for name in given.classes], "--classes"
        elif rows and rows[0][1] == len(known) != len(reference):
            names, source = [[name] for name in known], "ImageNet"
        else:
            names, source = reference, "the reference folder"
    for end, n in rows:
        if n != len(names):
            raise WiseftError(
                f"{end.path} has a head of {n} classes, but {source} names {len(names)}; give the "
                "names of its classes in their order with --classes, or a checkpoint of these "
                "classes"
            )
    return names


def _templates(zero: Opened, fine: Opened) -> Sequence[str]:
    for end in (zero, fine):
        settings = end.header.settings if end.header else {}
        if templates := settings.get("prompts", settings).get("templates"):
            return list(templates)
    return TEMPLATES


def _heads(
    zero: Opened,
    fine: Opened,
    parts: Sequence[_Parts],
    prompts: Prompts,
    architecture: Mapping[str, Any],
    given: Given,
    say: Say,
) -> tuple[list[dict[str, Tensor]], bool, str]:
    """Return the heads of both ends, whether they follow from text towers, and a sentence."""
    z, f = parts
    own = f.head
    if given.head is not None:
        shape = (len(prompts.names), towers.embed_dim(architecture))
        own = head_in(towers.floating(read_checkpoint(given.head).tensors), shape, str(given.head))
    last = _as_head(own)
    first = _as_head(z.head) or _prompted(z, prompts, architecture)
    if first is None and zero is fine:  # one model, with a head that lies beside it
        first = last
    if first is None:
        raise WiseftError(
            f"{zero.path} has neither a head nor both towers, so that it predicts no classes; give "
            "the whole zero-shot model, or a classifier"
        )
    origin = "a head of prompts" if z.head is None else "its own head"
    if last is not None:
        return [first, last], False, f"the zero-shot model has {origin}, the fine-tuned one its own"
    if f.whole is None:
        say(f"{fine.path} has neither a head nor a whole text tower: it gets the zero-shot head")
        return [first, first], False, f"both ends have that of the zero-shot model, {origin}"
    text = [towers.text_tensors(architecture, part.whole) for part in parts if part.whole]
    if len(text) == 2 and all(torch.equal(text[0][name], text[1][name]) for name in text[0]):
        return (
            [first, first],
            False,
            "both ends have one head of prompts: the text towers are equal",
        )
    last = _prompted(f, prompts, architecture)
    assert last is not None
    if len(text) < 2:
        return [first, last], False, "the fine-tuned model has a head of its own text tower"
    say("the text towers differ: the head follows from the interpolated one at every alpha")
    return [first, last], True, "it follows from the interpolated text tower and prompts"


def _prompted(
    part: _Parts, prompts: Prompts, architecture: Mapping[str, Any]
) -> dict[str, Tensor] | None:
    if part.whole is None:
        return None
    return prompts.head(towers.load(architecture, part.whole, str(part.found.path)))


def _as_head(pair: tuple[Tensor, Tensor] | None) -> dict[str, Tensor] | None:
    return None if pair is None else {"head.weight": pair[0], "head.bias": pair[1]}
