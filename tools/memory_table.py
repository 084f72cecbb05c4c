"""The table of docs/costs.md: what the catalogue's models take of a GPU's memory.

python -m tools.memory_table
"""

from __future__ import annotations

from pathlib import Path

from wiseft.models.footprint import Footprint, images_that_fit
from wiseft.study.config import Catalogue, FinetuneSettings
from wiseft.study.plan.footprints import footprint_of
from wiseft.study.plan.towers import architecture_name

MEMORY = 80 * 10**9
HEADER = (
    "| model | edge | weights, GB | training, MB an image: fp32 | bf16 "
    "| images in 80 GB: fp32 | bf16 | evaluation, MB an image: fp32 | images in 80 GB |"
)


def main() -> None:
    """Print a row for each architecture and size of the catalogue."""
    catalogue, rows = Catalogue(Path()), {}
    for model in catalogue.names("models"):
        entry, _ = catalogue.model(model)
        full, half = (
            footprint_of(catalogue, model, FinetuneSettings(precision=kind), "cuda")
            for kind in ("fp32", "bf16")
        )
        if full and half and entry.source != "pretrain":
            name = architecture_name(catalogue, entry), entry.preprocessing.size
            rows[name] = _row(entry.title, entry.preprocessing.size, full, half)
    print(HEADER, "|---|---|---|---|---|---|---|---|---|", *rows.values(), sep="\n")


def _row(title: str, size: int, full: Footprint, half: Footprint) -> str:
    fits = [images_that_fit(each, MEMORY, training=True) for each in (full, half)]
    seen = images_that_fit(full, MEMORY, training=False)
    cells = [
        title,
        size,
        f"{full.weights / 1e9:.2f}",
        f"{full.saved / 1e6:,.0f}",
        f"{half.saved / 1e6:,.0f}",
        *fits,
        f"{full.peak / 1e6:,.1f}",
        f"{seen:,}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
