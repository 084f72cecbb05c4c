"""What the models of the catalogue take of memory: `footprints.csv`, counted once and committed.

A plan and a dry run of the workflow look it up and need no torch.
`python -m wiseft.study.plan.footprints --write` counts every model of the catalogue that is not in
it, `--check MODEL` counts again.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from wiseft.base.io import atomic_path
from wiseft.errors import WiseftError
from wiseft.models.footprint import FLOAT, HALF, Footprint
from wiseft.study.config import Catalogue, FinetuneSettings
from wiseft.study.plan.towers import CONTEXT, architecture_name, architecture_of

Key = tuple[str, int, str, str, str]
"""Architecture, image size, towers that are trained (image, both), device, precision."""

FILE = Path(__file__).with_name("footprints.csv")
_COLUMNS = ("architecture", "image_size", "towers", "device", "precision")
_COUNTED = ("weights", "parameters", "saved", "peak")
_WAYS = (
    ("image", "cuda", "fp32"),
    ("image", "cuda", "bf16"),
    ("image", "cpu", "fp32"),
    ("both", "cuda", "fp32"),
    ("both", "cuda", "bf16"),
)
_ALIGN: dict[str, Any] = {"family": "align", "embed_dim": 640, "config": {"model_type": "align"}}
"""ALIGN's replica has the configuration that transformers has by default."""


def footprint_of(
    catalogue: Catalogue, model: str, settings: FinetuneSettings | None, device_type: str
) -> Footprint | None:
    """Return what a model of the catalogue takes; None if it has not been counted.

    Args:
        settings: of a training; None: of an evaluation.
        device_type: `cuda` or `cpu`.
    """
    entry, _ = catalogue.model(model)
    trained = "both" if settings and settings.objective.trains_text else "image"
    precision = "fp32" if settings is None or settings.precision in ("fp32", "tf32") else "half"
    size, name = entry.preprocessing.size, architecture_name(catalogue, entry)
    rows = _rows()
    # Both towers, and half precision, are only counted as they are on a GPU.
    for device in (device_type, "cuda"):
        if found := rows.get((name, size, trained, device, precision)):
            return found
    return None


@cache
def _rows() -> dict[Key, Footprint]:
    return {
        (row["architecture"], int(row["image_size"]), row["towers"], row["device"], kind): (
            Footprint(
                **{key: int(row[key]) for key in _COUNTED},
                attention=row["attention"] or None,
                cast=HALF * int(row["parameters"]) if kind == "half" else 0,
                pixels=FLOAT * 3 * int(row["image_size"]) ** 2,
            )
        )
        for row in csv.DictReader(FILE.read_text(encoding="utf-8").splitlines())
        for kind in [row["precision"]]
    }


def count(catalogue: Catalogue, model: str) -> dict[Key, Footprint]:
    """Count a model in every way that a plan asks for: seconds to a minute.

    Raises:
        WiseftError: if its architecture comes with weights that are not here yet.
    """
    from wiseft.models.towers.memory import footprint
    from wiseft.study.plan.without_bytes import built

    entry, _ = catalogue.model(model)
    architecture = _ALIGN if entry.source == "align" else architecture_of(catalogue, entry, model)
    size, found = entry.preprocessing.size, {}
    text = architecture.get("text_cfg", {})
    for trained, device, precision in _WAYS:
        if trained == "both" and (not text or "hf_tokenizer_name" in text):
            continue
        tokens = text.get("context_length", CONTEXT) if trained == "both" else 0
        module = built(architecture, tokens=tokens)
        counted = footprint(module, size, precision, device_type=device, tokens=tokens)
        kind = "fp32" if precision == "fp32" else "half"
        found[architecture_name(catalogue, entry), size, trained, device, kind] = counted
    return found


def _write(rows: Mapping[Key, Footprint]) -> None:
    with atomic_path(FILE) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*_COLUMNS, *_COUNTED, "attention"])
        for key, counted in sorted(rows.items()):
            numbers = [getattr(counted, name) for name in _COUNTED]
            writer.writerow([*key, *numbers, counted.attention or ""])


def main(arguments: Sequence[str], root: Path = Path()) -> int:
    """Write the table, or check models of it; return 1 if one is not what is counted."""
    catalogue, known = Catalogue(root), dict(_rows())
    models = [name for name in arguments if not name.startswith("--")]
    wrong = []
    for model in models or catalogue.names("models"):
        entry, _ = catalogue.model(model)
        name, size = architecture_name(catalogue, entry), entry.preprocessing.size
        if not models and any(key[:2] == (name, size) for key in known):
            continue
        try:
            counted = count(catalogue, model)
        except WiseftError as error:
            print(f"{model} is left out: {error}", flush=True)
            continue
        print(f"{model}: counted", flush=True)
        wrong += [model] if {key: known.get(key) for key in counted} != counted else []
        known |= counted
        if "--write" in arguments:
            _write(known)
    if "--check" in arguments and wrong:
        print(f"footprints.csv is not what is counted of {', '.join(wrong)}")
    return int("--check" in arguments and bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
