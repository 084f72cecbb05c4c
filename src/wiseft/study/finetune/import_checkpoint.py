"""The user's own classifiers as theta_1."""

from __future__ import annotations

import logging
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from wiseft.base.io import check_writable
from wiseft.errors import WiseftError, some
from wiseft.foreign.adapters import digest_of
from wiseft.foreign.door import open_model
from wiseft.foreign.named import local_path
from wiseft.foreign.towers import FoundTower, find_image_tower, head_in, head_of, heads_in
from wiseft.models import towers
from wiseft.thetas.theta import Theta, check_finite, load_theta, make_header, save_theta
from wiseft.zeroshot.head import build_head

log = logging.getLogger(__name__)

FAR = 0.5
"""Relative distance from which on weights are hardly those of a fine-tuned model: unrelated ones of
equal norm are 1.4 apart."""
SCALES = (0.5, 2.0)
"""Bounds of the ratio of two heads' scales that raises no question."""
_NUMBERED = re.compile(r"(.+?\.\d+)\.")


def import_theta_1(
    file: Path, theta_0: Path, output: Path, *, head: Path | None = None, head_factor: float = 1.0
) -> str:
    """Write a classifier of the user's as theta_1 for a theta_0, and return its identity.

    Its image tower must be of theta_0's architecture. Its head is that of `head`, else its own, in
    it or beside it, else one built from its own text tower and the prompts of theta_0.

    Args:
        file: a checkpoint: state dict, safetensors, folder of a CLIPModel, a theta.
        theta_0: the zero-shot end.
        output: the theta file.
        head: a file with the weight (classes, width) and perhaps the bias of a head.
        head_factor: the head is multiplied by it, e.g. by exp(logit_scale) where it lacks that.

    Raises:
        WiseftError: if the checkpoint is refused or does not fit (lists the tensors that are
            missing, unexpected and of another shape), there is no head, or a file can't be written.
    """
    check_writable(output)
    start, opened = load_theta(theta_0), open_model(local_path(file))
    expected = towers.prefixed(start.tensors, towers.IMAGE)
    checkpoint = find_image_tower(opened.checkpoint, start.header.architecture, expected)
    shape = tuple(start.tensors["head.weight"].shape)
    beside = None if heads_in(checkpoint.rest) else opened.head
    own, origin = _head(head or beside, checkpoint, start, shape)
    theta = towers.with_prefix(checkpoint.image, towers.IMAGE)
    theta |= {name: each * head_factor for name, each in own.items()}
    check_finite(theta, str(checkpoint.path))
    _compare(start.tensors, theta)
    header = make_header(
        "fine-tuned",
        "weights",
        architecture=start.header.architecture,
        preprocessing=start.header.preprocessing,
        class_names=start.header.class_names,
        parents={"theta_0": str(start.identity), "file": digest_of(opened.path)},
        settings={"source": "file", "head": origin, "head_factor": head_factor},
        never_predicted=start.header.never_predicted,
    )
    return save_theta(output, theta, header)


def _head(
    file: Path | None, checkpoint: FoundTower, start: Theta, shape: tuple[int, ...]
) -> tuple[dict[str, Tensor], str]:
    """Return the head and where it is from."""
    if file is not None:
        if (head := head_of(file, shape)) is None:
            raise WiseftError(f"{file} has no head: a tensor `weight` of shape {shape} is expected")
        return head, f"file {digest_of(file)}"
    if (head := head_in(checkpoint.rest, shape, str(checkpoint.path))) is not None:
        return head, "checkpoint"
    weight = _from_text(checkpoint, start)
    return {"head.weight": weight, "head.bias": torch.zeros(len(weight))}, "text tower"


def _from_text(checkpoint: FoundTower, start: Theta) -> Tensor:
    """Build the head from the checkpoint's own text tower and theta_0's prompts."""
    header, file = start.header, checkpoint.path
    names, templates = (header.settings.get(key) for key in ("prompt_names", "templates"))
    if not towers.has_text(header.architecture) or not names or not templates:
        raise WiseftError(f"{file} has no head; give one with --head")
    prefix = checkpoint.prefix.removesuffix("visual.").removesuffix("vision_model.")
    whole = towers.whole_tensors(
        header.architecture, towers.with_prefix(checkpoint.image, towers.IMAGE)
    ) | towers.prefixed(checkpoint.rest, prefix)
    model = towers.build(header.architecture, seed=0)
    known = model.tensors().keys()
    try:
        model.load({k: v for k, v in whole.items() if k in known}, f"{file} (text tower)")
    except WiseftError as error:
        raise WiseftError(
            f"{file} has no head, and no whole text tower to build one from; give a head with "
            f"--head.\n{error}"
        ) from None
    return build_head(model, names, templates)


def _compare(start: Mapping[str, Tensor], theta: Mapping[str, Tensor]) -> None:
    """Say how far theta_1 is from theta_0, and what looks wrong."""
    relative = distances({key: start[key] for key in theta}, theta)
    groups = sorted(relative, key=lambda group: -relative[group])
    largest = relative[groups[0]]
    log.info(f"relative distance from theta_0: largest {largest:.3g}, of {groups[0]}")
    # A linear classifier's head may be as far; what is wrong with a head shows in its scale.
    far = [group for group in groups if group != "head" and relative[group] > FAR]
    if far:
        log.info(
            "warning: theta_1 is far from theta_0 in "
            f"{some([f'{group} {relative[group]:.2g}' for group in far])}: is it fine-tuned from "
            "theta_0? Between unrelated weights nothing good lies"
        )
    if largest == 0.0:
        log.info("warning: theta_1 is theta_0, bit for bit")
    before, after = head_scale(start["head.weight"]), head_scale(theta["head.weight"])
    if before > 0 and not SCALES[0] <= after / before <= SCALES[1]:
        log.info(
            f"warning: the rows of the head have a mean norm of {after:.3g}, those of theta_0 of "
            f"{before:.3g}; if exp(logit_scale) is missing in it, give --head-factor {before:.4g}"
        )


def distances(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the relative distance ||b - a|| / ||a|| of every group of tensors, sorted by name.

    A group is a numbered block (`image.transformer.resblocks.3`) or a module.

    Args:
        a: tensors by name.
        b: with equal names and shapes.
    """
    gaps: dict[str, float] = defaultdict(float)
    norms: dict[str, float] = defaultdict(float)
    for name in sorted(a):
        group = group_of(name)
        start, end = a[name].double(), b[name].double()
        gaps[group] += float((end - start).square().sum())
        norms[group] += float(start.square().sum())
    return {group: _ratio(gap, norms[group]) for group, gap in gaps.items()}


def _ratio(gap: float, norm: float) -> float:
    if gap == 0.0:
        return 0.0
    return math.sqrt(gap / norm) if norm > 0.0 else math.inf


def group_of(name: str) -> str:
    """Return the block or the module that a tensor is of."""
    if (match := _NUMBERED.match(name)) is not None:
        return match[1]
    return ".".join(name.split(".")[:2]) if name.count(".") > 1 else name.split(".")[0]


def head_scale(weight: Tensor) -> float:
    """Return the mean norm of a head's rows."""
    return float(weight.double().norm(dim=-1).mean())
