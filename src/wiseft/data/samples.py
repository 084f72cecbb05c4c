"""A panel of sample images of every set."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wiseft.data.store import open_manifest, open_split
from wiseft.errors import WiseftError
from wiseft.io import atomic_path

FOLDER_SIZE = 64
"""Side in pixels at which images of folders are shown."""

CELL = 0.42
"""Side of one image in inches."""

LABEL = 0.95
"""Width of the row labels in inches."""

GAP = 0.04
FORMATS = {".pdf", ".png", ".svg"}


def draw_samples(
    manifests: Sequence[Path], outputs: Sequence[Path], split: str = "test", seed: int = 0
) -> None:
    """Draw one row a dataset and one column a class, and writes it in every format asked for.

    Args:
        outputs: files whose suffixes say the format: .pdf, .png or .svg.
        seed: draws the image of every class, the same way in every dataset.

    Raises:
        WiseftError: unknown format, datasets of other classes than the first, or a class without
            images.
    """
    for path in outputs:
        if path.suffix not in FORMATS:
            raise WiseftError(f"{path}: expected a file that ends in {', '.join(sorted(FORMATS))}.")
    opened = [open_manifest(path) for path in manifests]
    classes = opened[0].class_names
    for manifest in opened:
        if manifest.class_names != classes:
            raise WiseftError(
                f"a panel shows datasets of one class list; {manifest.dataset} has another than "
                f"{opened[0].dataset}."
            )
    rows = [
        _one_per_class(manifest.path, split, len(classes), manifest.image_size or FOLDER_SIZE, seed)
        for manifest in opened
    ]
    _draw([manifest.dataset for manifest in opened], classes, rows, outputs)


def _one_per_class(
    manifest: Path, split: str, classes: int, size: int, seed: int
) -> NDArray[np.uint8]:
    opened = open_split(manifest, split, size)
    rng = np.random.default_rng(seed)
    chosen = []
    for label in range(classes):
        members = np.flatnonzero(opened.labels == label)
        if not len(members):
            raise WiseftError(
                f"{opened.dataset}, split {split}: no image of class {label} to show."
            )
        chosen.append(int(rng.choice(members)))
    return opened.read(chosen)


def _draw(
    datasets: Sequence[str],
    classes: Sequence[str],
    rows: Sequence[NDArray[np.uint8]],
    outputs: Sequence[Path],
) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    width, height = LABEL + CELL * len(classes), CELL * len(rows) + 0.25
    with plt.style.context(_style()):
        figure, axes = plt.subplots(
            len(rows),
            len(classes),
            figsize=(width, height),
            squeeze=False,
            layout="none",
            gridspec_kw={
                "left": LABEL / width,
                "right": 1 - GAP / width,
                "top": 1 - 0.25 / height,
                "bottom": GAP / height,
                "wspace": GAP / CELL,
                "hspace": GAP / CELL,
            },
        )
        for row, (dataset, images) in enumerate(zip(datasets, rows, strict=True)):
            for column, image in enumerate(images):
                ax = axes[row, column]
                ax.imshow(image, interpolation="nearest")
                ax.set(xticks=[], yticks=[])
                ax.grid(visible=False)
                for spine in ax.spines.values():
                    spine.set(visible=True, linewidth=0.4, color="0.6")
                if row == 0:
                    ax.set_title(classes[column], pad=3)
            axes[row, 0].set_ylabel(dataset, rotation=0, ha="right", va="center", labelpad=4)
        for path in outputs:
            with atomic_path(path) as part:
                # No date inside, so that the same panel is the same file.
                metadata = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix)
                figure.savefig(part, dpi=300, metadata=metadata)
        plt.close(figure)


def _style() -> list[str]:
    style = resources.files("wiseft") / "style" / "paper.mplstyle"
    return [str(style)] if style.is_file() else []
