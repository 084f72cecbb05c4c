"""What held-out images tell where checkpoints are silent: which of two architectures of the same
shapes they have, the features that a head takes, and the order of its classes.

Whoever trains a head on features as the image tower gives them (`fc(visual(x))`, the linear probe
of OpenAI's README) gets another classifier from L2-normalised ones. A theta has one kind of
features for both ends. Where that is the raw kind, a head of prompts becomes one for it by a
division by the mean norm of the zero-shot model's features: that changes none of its predictions.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from wiseft.base.messages import quiet
from wiseft.errors import WiseftError
from wiseft.foreign.door import Features, Given
from wiseft.foreign.ends import Ends
from wiseft.foreign.folder_classes import better_in, better_order
from wiseft.foreign.twins import LEVEL, told_apart
from wiseft.images.manifest import open_manifest
from wiseft.images.store import open_split
from wiseft.models.classifier import build_classifier
from wiseft.tabulate.intervals import clopper_pearson, mcnemar_exact
from wiseft.thetas.theta import load_theta
from wiseft.tool.folders import Folder, index
from wiseft.tool.record import HELD_OUT

log = logging.getLogger(__name__)

_IMAGES = 64
_MODEL = ("the zero-shot model", "the fine-tuned model")


@dataclass(frozen=True)
class _Seen:
    """Whether each held-out image is right with raw features and with normalised ones, bool (n,),
    and the mean norm of the features.
    """

    raw: NDArray[np.bool_]
    normalised: NDArray[np.bool_]
    norm: float


def settled(
    make: Callable[..., Ends],
    given: Given,
    twins: Sequence[str],
    reference: Folder,
    work: Path,
    seed: int,
    device: str,
    skip_broken: bool,
) -> tuple[Ends, Given]:
    """Return both ends, and what is given with their architecture and the features that their
    heads take.

    Args:
        make: makes the ends of what is given.
        twins: architectures that the tensors fit, if several do.
        work: folder for the index of the reference.
        seed: of its split.

    Raises:
        WiseftError: if --features is given and no checkpoint has a head, or the heads of both take
            features otherwise, or the two do better as two architectures.
    """
    right: dict[str, dict[str, NDArray[np.bool_]]] = {}
    for name in twins:
        with quiet():
            tried = make(given=replace(given, architecture=name), keep={})
            manifest = index(reference, work, tried, seed, [] if skip_broken else None)
            raw = tried.architecture.get("normalise", True) is False
            seen = (_see(path, manifest, device) for path in (tried.theta_0, tried.theta_1))
            right[name] = {
                model: each.raw if raw else each.normalised
                for model, each in zip(_MODEL, seen, strict=True)
            }
    if right:
        name, why = told_apart(right, "held-out images")
        log.info(f"sweep: {why}")
        given = replace(given, architecture=name)
    ends = make(given=given)
    if given.features and not ends.own:
        raise WiseftError(
            "--features is of a head, but neither checkpoint has one; leave it out, or give --head"
        )
    raw = ends.architecture.get("normalise", True) is False
    prompted = raw and 0 not in ends.own and "family" not in ends.architecture
    if not ends.own or (ends.stated and not prompted):
        return ends, given
    manifest = index(reference, work, ends, seed, [] if skip_broken else None)
    paths = (ends.theta_0, ends.theta_1)
    features: Features | None = "raw"
    if not ends.stated:
        features = _chosen({end: _see(paths[end], manifest, device) for end in ends.own})
    if features != "raw":
        return ends, given
    norm = 1.0 if 0 in ends.own else _see(ends.theta_0, manifest, device).norm
    given = replace(given, features=features, norm=norm)
    with quiet():  # it was all said above
        return make(given=given), given


def _see(theta: Path, manifest: Path, device: str) -> _Seen:
    """Look at the held-out images through one end."""
    loaded = load_theta(theta)
    model = build_classifier(loaded.header, loaded.tensors, seed=0).to(device)
    split = open_split(manifest, HELD_OUT, loaded.header.transform)
    mapping = open_manifest(manifest).label_map
    rows = [place for (place,) in mapping.members] if mapping else slice(None)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(split.labels), _IMAGES):
            part = slice(start, start + _IMAGES)
            pixels = torch.from_numpy(np.asarray(split.images[part])).permute(0, 3, 1, 2)
            features = model.image(model.pixels(pixels.to(device)))
            unit = torch.nn.functional.normalize(features, dim=-1)
            best = [model.head(each)[:, rows].argmax(dim=1) for each in (features, unit)]
            parts.append(torch.stack([*best, features.norm(dim=-1)]).cpu())
    raw, normalised, norms = torch.cat(parts, dim=1).numpy()
    return _Seen(raw == split.labels, normalised == split.labels, float(norms.mean()))


def _chosen(seen: dict[int, _Seen]) -> Features | None:
    """Return the features with which heads are more often right, beyond noise; None: no matter."""
    votes: set[Features] = set()
    for end, each in seen.items():
        better, worse = (each.raw & ~each.normalised).sum(), (each.normalised & ~each.raw).sum()
        if mcnemar_exact(int(better), int(worse)) >= LEVEL:
            continue
        votes.add("raw" if better > worse else "normalised")
        log.info(
            f"the head of {_MODEL[end]} is right on {100 * each.raw.mean():.1f} % of the held-out "
            f"images with raw features and on {100 * each.normalised.mean():.1f} % with "
            "L2-normalised ones: the better is used; --features says otherwise"
        )
    if len(votes) > 1:
        raise WiseftError(
            "one head takes raw features and the other L2-normalised ones, so there is no model "
            "between them; train both heads on one kind, or choose with --features"
        )
    return votes.pop() if votes else None


def order_warnings(ends: Ends, predictions: Path) -> list[str]:
    """Return a sentence for each head whose order of the classes was assumed, and that fits the
    held-out images far better in another one, or is right on no more of them than by chance.

    Args:
        predictions: the evaluation's file of the reference.
    """
    if not ends.assumed:
        return []
    columns = {end: f"weight/all/{end}.000/prediction" for end in ends.own}
    table = pd.read_parquet(predictions, columns=["split", "label", *columns.values()])
    table = table[table["split"] == HELD_OUT]
    warnings = []
    for end, column in columns.items():
        names = ends.class_names
        found = better_order(table["label"].to_numpy(), table[column].to_numpy(), len(names))
        right, n = int((table["label"] == table[column]).sum()), len(table)
        chance = table["label"].value_counts(normalize=True).max()
        if found is not None:
            order = json.dumps([names[place] for place in found[0]], ensure_ascii=False)
            shown = order if len(order) <= 400 else "NAMES"
            warnings.append(
                f"warning: the head of {_MODEL[end]} {better_in(found, 'held-out images')}; "
                f"if that is its own, give --classes '{shown}'"
            )
        elif clopper_pearson(right, n)[0] <= chance:
            warnings.append(
                f"warning: the head of {_MODEL[end]} is right on {right:,} of {n:,} held-out "
                f"images, no more than by chance; if its classes are in another order than those "
                f"of {ends.where[0]}, give --classes NAMES"
            )
    return warnings
