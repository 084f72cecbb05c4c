"""One side of a dataset: of every class the images above, or those below, a median.

Which image is on which side was computed once, with a network of its own (docs/photos.md), and
stands in a file beside the entry: nobody who prepares the dataset needs that network, and
rounding on another machine moves no image across.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wiseft.base.typed import Entry, Sha256
from wiseft.base.validation import validate
from wiseft.errors import WiseftError
from wiseft.images.split import PreparedSplit
from wiseft.images.store import Split, open_split
from wiseft.images.subsets import draw_indices
from wiseft.study.data.builders.digit_images import Inputs, made_of


class Options(Entry):
    """Options of the entry.

    Attributes:
        base: the dataset whose images these are.
        sides: the file in `config/datasets` that says where each image is, see `side_record`.
        sha256: of that file.
        side: `upper`: the images above the median of their class; `lower`: the others.
        seed: of the draw, where the entry has fewer images than there are on that side.
    """

    base: str
    sides: str = Field(pattern=r"^[a-z0-9.-]+\.json$")
    sha256: Sha256
    side: Literal["upper", "lower"]
    seed: int = Field(strict=True, ge=0)


def build(inputs: Inputs) -> dict[str, PreparedSplit]:
    """Take the images of one side, in every split of the entry.

    Sample ids are ``<dataset>/<base id>``; base ids are those of the base.

    Raises:
        WiseftError: an option is missing or wrong, the file is another than the entry's, it is
            about other images than the base has, or has fewer of that side than the entry.
    """
    options = validate(Options, dict(inputs.options), f"options of dataset {inputs.dataset}")
    records = read_sides(inputs.folder / options.sides, options.sha256)
    manifest = inputs.depend(options.base)
    splits = {}
    for name, count in inputs.splits.items():
        base = open_split(manifest, name)
        is_above = above(base, records, options.sides)
        members = np.flatnonzero(is_above == (options.side == "upper"))
        chosen = members[draw_indices(len(members), count, options.seed)]
        splits[name] = made_of(base, chosen, inputs, base.read(chosen))
    return splits


def side_record(sample_ids: Sequence[str], is_above: NDArray[np.bool_]) -> dict[str, Any]:
    """Return what a file of sides says of a split: how many images, a hash of their ids, and a bit
    an image in hexadecimal, 1 above the median, the first image in the highest bit of a byte.
    """
    bits = np.packbits(is_above).tobytes().hex()
    return {"n": len(is_above), "sample_ids": _ids_hash(sample_ids), "above": bits}


def read_sides(path: Path, sha256: str) -> Mapping[str, Any]:
    """Return a file of sides: a record of every split.

    Raises:
        WiseftError: there is no such file, or its hash is another.
    """
    if not path.is_file():
        raise WiseftError(f"there is no file of sides {path}; correct `sides`.")
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise WiseftError(
            f"{path} is not the file that the dataset is made by: expected sha256 {sha256}, found "
            f"{found}. Restore it, or correct the entry."
        )
    return dict(json.loads(content))


def above(base: Split, records: Mapping[str, Any], file: str) -> NDArray[np.bool_]:
    """Return which images of a split are above their class's median, bool (n,).

    Raises:
        WiseftError: the file does not have the split, or is about other images.
    """
    record = records.get(base.name)
    if record is None or record["sample_ids"] != _ids_hash(base.sample_ids):
        raise WiseftError(
            f"{file} is about other images than the split {base.name} of {base.dataset}; prepare "
            f"{base.dataset} again, as its entry was when that file was made."
        )
    bits = np.frombuffer(bytes.fromhex(record["above"]), np.uint8)
    return np.unpackbits(bits, count=record["n"]).astype(bool)


def _ids_hash(sample_ids: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sample_ids).encode()).hexdigest()
