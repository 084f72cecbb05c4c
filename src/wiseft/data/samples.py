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

COLUMNS = 12
"""Classes in a panel at most; of more classes, as many are taken at equal distances."""

GAP = 0.04
CAPTION_GAP = 0.12  # where each image has a caption
FORMATS = {".pdf", ".png", ".svg"}


def draw_samples(
    manifests: Sequence[Path], outputs: Sequence[Path], split: str = "test", seed: int = 0
) -> None:
    """Draw one row a dataset and one column a class, and writes it in every format asked for.

    Where datasets differ in their classes, or have more than `COLUMNS`, each image is titled.

    Args:
        outputs: files whose suffixes say the format: .pdf, .png or .svg.
        seed: draws the image of every class, the same way in every dataset.

    Raises:
        WiseftError: unknown format, or a class without images.
    """
    for path in outputs:
        if path.suffix not in FORMATS:
            raise WiseftError(f"{path}: expected a file that ends in {', '.join(sorted(FORMATS))}.")
    opened = [open_manifest(path) for path in manifests]
    shared = all(manifest.class_names == opened[0].class_names for manifest in opened)
    rows, titles = [], []
    for manifest in opened:
        columns = _columns(len(manifest.class_names))
        size = manifest.image_size or FOLDER_SIZE
        rows.append(_one_per_class(manifest.path, split, columns, size, seed))
        titles.append([manifest.class_names[label] for label in columns])
    _draw([manifest.dataset for manifest in opened], titles, rows, outputs, shared)


def _columns(classes: int) -> list[int]:
    """Return the classes that are shown: all, or `COLUMNS` at equal distances."""
    if classes <= COLUMNS:
        return list(range(classes))
    return np.linspace(0, classes - 1, COLUMNS).round().astype(int).tolist()


def _one_per_class(
    manifest: Path, split: str, columns: Sequence[int], size: int, seed: int
) -> NDArray[np.uint8]:
    opened = open_split(manifest, split, size)
    rng = np.random.default_rng(seed)
    chosen = []
    for label in columns:
        members = np.flatnonzero(opened.labels == label)
        if not len(members):
            raise WiseftError(
                f"{opened.dataset}, split {split}: no image of class {label} to show."
            )
        chosen.append(int(rng.choice(members)))
    return opened.read(chosen)


def _draw(
    datasets: Sequence[str],
    titles: Sequence[Sequence[str]],
    rows: Sequence[NDArray[np.uint8]],
    outputs: Sequence[Path],
    shared: bool,
) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    columns = max(map(len, titles))
    gap = GAP if shared else CAPTION_GAP
    width, height = LABEL + CELL * columns, (CELL + gap - GAP) * len(rows) + 0.25
    small = {"fontsize": 4.5} if max(map(len, titles[0])) > 8 else {}
    with plt.style.context(_style()):
        figure, axes = plt.subplots(
            len(rows),
            columns,
            figsize=(width, height),
            squeeze=False,
            layout="none",
            gridspec_kw={
                "left": LABEL / width,
                "right": 1 - GAP / width,
                "top": 1 - 0.25 / height,
                "bottom": gap / height,
                "wspace": GAP / CELL,
                "hspace": gap / CELL,
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
                if not shared:
                    ax.set_xlabel(_short(titles[row][column]), fontsize=3, labelpad=1)
                elif row == 0:
                    ax.set_title(titles[0][column], pad=3, **small)
            for ax in axes[row, len(images) :]:
                ax.set_visible(False)
            axes[row, 0].set_ylabel(dataset, rotation=0, ha="right", va="center", labelpad=4)
        for path in outputs:
            with atomic_path(path) as part:
                # No date inside, so that the same panel is the same file.
                metadata = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix)
                figure.savefig(part, dpi=300, metadata=metadata)
        plt.close(figure)


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"


def _style() -> list[str]:
    style = resources.files("wiseft") / "style" / "paper.mplstyle"
    return [str(style)] if style.is_file() else []
