"""Whether an alpha may be recommended at all: what speaks against it is said in its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from wiseft.base.alphas import format_alpha
from wiseft.base.io import sha256_file
from wiseft.images.index import read_index
from wiseft.images.manifest import NAME, open_manifest
from wiseft.tabulate.intervals import clopper_pearson
from wiseft.tool.record import HELD_OUT, REFERENCE, ImageSet

NEARLY_ALL, SPREAD = 0.95, 0.8
"""A model that predicts one class so often has collapsed, unless so many labels are of that."""


def doubts(
    predictions: Path, data: Path, sets: Sequence[ImageSet], alpha: float, classes: Sequence[str]
) -> str:
    """Return why no alpha is to be recommended, in sentences; empty: nothing speaks against it.

    Args:
        predictions: of the reference.
        data: folder with the manifests of all sets.
        alpha: that would be recommended.
        classes: that are predicted.
    """
    frame = pd.read_parquet(predictions)
    found = [_of_predictions(frame[frame["split"] == HELD_OUT], alpha, classes)]
    found += [_shared(data, each.name) for each in sets if each.role == "shift"]
    return " ".join(sentence for part in found for sentence in part)


def _of_predictions(held: pd.DataFrame, alpha: float, classes: Sequence[str]) -> Iterator[str]:
    """Yield what predictions of the held-out images say: chance, collapse, one model twice."""
    labels, n = held["label"], len(held)
    start, end, chosen = (f"weight/all/{format_alpha(each)}/" for each in (0, 1, alpha))
    right = np.array([(held[f"{of}prediction"] == labels).sum() for of in (start, end)])
    chance = labels.value_counts(normalize=True).max()
    if (clopper_pearson(right, np.array([n, n]))[0] <= chance).all():
        shares = " and ".join(f"{100 * k / n:.1f}" for k in right)
        yield (
            f"Neither end is better than chance on the {n:,} held-out images of the reference: "
            f"{shares} % are right, and always naming the most frequent class gives "
            f"{100 * chance:.1f} %. Check the order of the classes, preprocessing and prompts."
        )
    named = held[f"{chosen}prediction"].value_counts(normalize=True)
    share = (labels == named.index[0]).mean()
    if named.iloc[0] >= NEARLY_ALL and share < SPREAD:
        yield (
            f"At alpha {alpha:g} the model predicts {classes[named.index[0]]} for "
            f"{100 * named.iloc[0]:.1f} % of the held-out images; {100 * share:.1f} % are of it."
        )
    if all(held[start + name].equals(held[end + name]) for name in ("prediction", "top1")):
        yield "Both ends are the same model: all predictions and logits are equal."


def _shared(data: Path, shift: str) -> Iterator[str]:
    """Yield a sentence if images of the reference are in a shift, byte for byte."""
    mine, theirs = (_sizes(data / name / NAME) for name in (REFERENCE, shift))
    known = {sha256_file(Path(path)) for path in mine.index[mine.isin(theirs)]}
    alike = theirs.index[theirs.isin(mine)]
    if both := [path for path in alike if sha256_file(Path(path)) in known]:
        about = f"{len(both):,}, such as {both[0]}"
        yield f"The reference and {shift} share images ({about}). Remove them from one of the two."


def _sizes(manifest: Path) -> pd.Series:
    """Return the bytes of a set's images by path."""
    opened = open_manifest(manifest)
    rows = pd.concat([read_index(opened, split) for split in opened.splits])
    return pd.Series(rows["bytes"].to_numpy(), [f"{opened.root}/{path}" for path in rows["path"]])
