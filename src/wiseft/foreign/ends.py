"""The two checkpoints as two thetas of one architecture over the same classes.

A checkpoint with a head is a classifier as it is. One with two towers gets the head of its prompts:
the paper's zero-shot head, and for a fine-tuned two-tower model whose text tower was trained too a
head that follows from the interpolated text tower at every alpha.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wiseft.base import library
from wiseft.errors import WiseftError, some
from wiseft.foreign.architecture import architecture_of, named_architecture
from wiseft.foreign.class_names import Names, names_in
from wiseft.foreign.configs import compare_configs
from wiseft.foreign.door import Given, Opened
from wiseft.foreign.folder_classes import RENAME, order_in, plain
from wiseft.foreign.towers import Parts, head_of, image_tower_of, take_apart
from wiseft.models import towers
from wiseft.thetas.preprocessing import CLIP_PIXELS, parse_preprocessing
from wiseft.thetas.theta import ThetaHeader, make_header, save_theta, share_image_tower
from wiseft.zeroshot.prompts import TEMPLATES
from wiseft.zeroshot.text_head import Prompts

log = logging.getLogger(__name__)

REFERENCE_FOLDER = "the reference folder"
"""In `Ends.where`, where no checkpoint and no option names the classes."""


@dataclass(frozen=True)
class Ends:
    """Both ends as files.

    Attributes:
        templates: prompts that a head was made of; empty: none was.
        head: where the heads are from, a sentence.
        method: `linear-classifier` where the image towers are equal, else `end-to-end`.
        kept: thetas with the heads of kept folders, by name.
        own: which of the two, 0 and 1, has a head of its own that was made elsewhere.
        stated: whether it is known what features heads take.
        assumed: whether the order of the classes of such a head is that of the folders, or of
            ImageNet, for want of names.
        where: what names the classes, and what to do if a folder is none of them, for messages.
    """

    theta_0: Path
    theta_1: Path
    architecture: dict[str, Any]
    class_names: list[str]
    templates: list[str]
    head: str
    method: str
    kept: dict[str, Path]
    own: list[int]
    stated: bool
    assumed: bool
    where: tuple[str, str]


def make_ends(
    zero: Opened,
    fine: Opened,
    reference: list[list[str]],
    given: Given,
    work: Path,
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
    architecture = architecture_for(zero, fine, given)
    preprocessing = preprocessing_for(zero, fine, architecture, given)
    expected = image_tower_of(architecture, zero.tensors)
    parts = [take_apart(end, architecture, expected) for end in (zero, fine)]
    names, where, assumed = _names_of(zero, fine, parts, reference, given)
    own = [k for k, p in enumerate(parts) if p.head or (k and given.head)]
    prompts = Prompts(names, list(given.templates or _templates(zero, fine)))
    heads, text, head = _heads(zero, fine, parts, prompts, architecture, given)
    thetas = [
        towers.with_prefix(part.found.image, towers.IMAGE)
        | each
        | (towers.text_tensors(architecture, part.whole) if text and part.whole else {})
        for part, each in zip(parts, heads, strict=True)
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
        if (made := _prompted(parts[0], own_prompts, architecture, given)) is None:
            raise WiseftError(
                f"heads of what is kept are made of prompts, but {zero.path} has not both towers; "
                "give the whole zero-shot model, or leave out --keep"
            )
        about = _header("zero-shot", architecture, preprocessing, own_prompts)
        save_theta(kept[name], thetas[0] | made, about)
    said = [end.header or end.features for end in (zero, fine)]
    linear = share_image_tower(thetas[0], thetas[1]) and not text
    return Ends(
        theta_0=paths[0],
        theta_1=paths[1],
        architecture=architecture,
        class_names=[item[0] for item in names],
        templates=prompts.templates if any(part.head is None for part in parts) else [],
        head=head if towers.normalises(architecture) else f"{head}, of raw features",
        method="linear-classifier" if linear else "end-to-end",
        kept=kept,
        own=own,
        stated=any([given.features, "normalise" in architecture, *said]),
        assumed=assumed,
        where=where,
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


def architecture_for(zero: Opened, fine: Opened, given: Given) -> dict[str, Any]:
    """Return the one architecture: the user's, else what a checkpoint says, else what tensors show.

    Raises:
        WiseftError: if there are two, or none is known.
    """
    if given.architecture is not None:
        architecture = named_architecture(given.architecture, Path())
    else:
        compare_configs(zero.checkpoint, fine.checkpoint, ordered=False)
        described = [end.architecture for end in (zero, fine) if end.architecture is not None]
        if len({bool(each.get("quick_gelu")) for each in described}) > 1:
            raise WiseftError(
                f"{zero.path} and {fine.path} are of different architectures: one has QuickGELU, "
                "the other GELU; weights between them mean nothing"
            )
        architecture = described[0] if described else architecture_of(zero.checkpoint)
    said = {end.features for end in (zero, fine) if end.features}
    theta = next((str(end.path) for end in (zero, fine) if end.header), None)
    if given.features and theta:
        raise WiseftError(f"{theta} is a theta, which says it itself: leave out --features")
    if len(said) > 1 and not given.features:
        raise WiseftError(
            f"the heads of {zero.path} and {fine.path} take features otherwise, one raw and one "
            "normalised; give two models of one kind, or say with --features which is right"
        )
    if features := given.features or ("raw" if "raw" in said else None):
        return architecture | {"normalise": features == "normalised"}
    return architecture


def preprocessing_for(
    zero: Opened, fine: Opened, architecture: Mapping[str, Any], given: Given
) -> dict[str, Any]:
    """Return the one preprocessing: the user's, else what a checkpoint says, else CLIP's.

    Raises:
        WiseftError: if there are two, or it makes images of another size than the model reads.
    """
    size = towers.image_size(architecture)
    own = {"size": size} if size is not None else {}
    said = [own | end.preprocessing for end in (zero, fine) if end.preprocessing]
    if not said and given.preprocessing is None:
        if towers.family(architecture) in ("align", "siglip", "transformers"):
            raise WiseftError(
                f"{fine.path} has no preprocessor_config.json, so nothing says how images are "
                "prepared; save the image processor into its folder, or give --preprocessing"
            )
        log.info("images are normalised as OpenAI's CLIPs want it; --preprocessing says otherwise")
    ready = [parse_preprocessing(each) for each in said or [own | CLIP_PIXELS]]
    ready = [given.preprocessing] if given.preprocessing is not None else ready
    if size is not None and ready[0].size != size:
        raise WiseftError(
            f"preprocessing makes images of {ready[0].size} pixels, but the model reads {size}; "
            "say with --preprocessing what is right"
        )
    if ready[0] != ready[-1]:
        raise WiseftError(
            f"{zero.path} and {fine.path} want images otherwise: {ready[0]} and {ready[-1]}; say "
            "with --preprocessing which is right for both"
        )
    return ready[0].model_dump(mode="json")


def _templates(zero: Opened, fine: Opened) -> Sequence[str]:
    for end in (zero, fine):
        settings = end.header.settings if end.header else {}
        if templates := settings.get("prompts", settings).get("templates"):
            return list(templates)
    return TEMPLATES


def _heads(
    zero: Opened,
    fine: Opened,
    parts: Sequence[Parts],
    prompts: Prompts,
    architecture: Mapping[str, Any],
    given: Given,
) -> tuple[list[dict[str, Tensor]], bool, str]:
    """Return the heads of both ends, whether they follow from text towers, and a sentence."""
    z, f = parts
    last = f.head
    if given.head is not None:
        last = head_of(given.head, (len(prompts.names), towers.embed_dim(architecture)))
    first = z.head or _prompted(z, prompts, architecture, given)
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
        log.info(
            f"{fine.path} has neither a head nor a whole text tower: it gets the zero-shot head"
        )
        return [first, first], False, f"both ends have that of the zero-shot model, {origin}"
    text = [towers.text_tensors(architecture, part.whole) for part in parts if part.whole]
    if len(text) == 2 and all(torch.equal(text[0][name], text[1][name]) for name in text[0]):
        same = "both ends have one head of prompts: the text towers are equal"
        return [first, first], False, same
    last = _prompted(f, prompts, architecture, given)
    assert last is not None
    if len(text) < 2:
        return [first, last], False, "the fine-tuned model has a head of its own text tower"
    log.info("the text towers differ: the head follows from the interpolated one at every alpha")
    return [first, last], True, "it follows from the interpolated text tower and prompts"


def _prompted(
    part: Parts, prompts: Prompts, architecture: Mapping[str, Any], given: Given
) -> dict[str, Tensor] | None:
    if part.whole is None:
        return None
    head = prompts.head(towers.load(architecture, part.whole, str(part.found.path)))
    return head | {"head.weight": head["head.weight"] / given.norm}


def _names_of(
    zero: Opened, fine: Opened, parts: list[Parts], reference: list[list[str]], given: Given
) -> tuple[Names, tuple[str, str], bool]:
    """Return the names of the classes, what names them with what to do if a folder is none, and
    whether their order is assumed.

    The names are those of the fine-tuned checkpoint where it has some: the result has its format.
    Heads in `parts` are brought into their order.

    Raises:
        WiseftError: if there are more or fewer than a head has rows, or those of one checkpoint
            are others than those of the other.
    """
    rows = [
        (end, len(p.head["head.weight"]))
        for end, p in zip((zero, fine), parts, strict=True)
        if p.head
    ]
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
        names, source, assumed = [[name] for name in known], "ImageNet", True
    else:
        names, source, assumed = reference, REFERENCE_FOLDER, any(has)
    for end, n in rows:
        if n != len(names):
            raise WiseftError(
                f"{end.path} has a head of {n} classes, but {source} names {len(names)}; give the "
                "names of its classes in their order with --classes, or a checkpoint of these "
                "classes"
            )
    for k, end in enumerate((zero, fine)):
        if end.names is None or given.classes is not None or not has[k]:
            continue
        own, where = end.names
        order = order_in(names, own)
        if order is None or (end is fine and order != list(range(len(names)))):
            one, other = (some([each[0] for each in some_of], 3) for some_of in (own, names))
            raise WiseftError(
                f"{where} names the classes {one}, but {source} {other}; give two models of the "
                "same classes in one order, or the names of both heads with --classes"
            )
        if (head := parts[k].head) is not None:
            parts[k] = replace(parts[k], head={name: each[order] for name, each in head.items()})
    return names, (source, way), assumed
