"""A panel of sample images of every set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wiseft.base.io import atomic_path
from wiseft.base.rehearsal import mark
from wiseft.base.typed import LIMIT_SUFFIX_PATTERN
from wiseft.errors import WiseftError
from wiseft.images.store import Manifest, Split, open_manifest, open_split
from wiseft.thetas.preprocessing import Transform

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER_SIZE = 64
"""Side in pixels at which images of folders are shown."""

CELL = 0.42
"""Side of one image in inches."""

LABEL, CHARACTER = 0.95, 0.06
"""Width of the row labels in inches, at least and for each character."""

COLUMNS = 12
"""Classes in a panel at most; of more classes, as many are taken at equal distances."""

GAP = 0.04
CAPTION_GAP = 0.12  # where each image has a caption
LINE = 0.06  # of a caption of several
FORMATS = {".pdf", ".png", ".svg"}


def draw_samples(
    manifests: Sequence[Path],
    outputs: Sequence[Path],
    split: str = "test",
    seed: int = 0,
    of: str | None = None,
    images: int = 6,
) -> None:
    """Draw one row a dataset and one column a class, and writes it in every format asked for.

    Where datasets differ in their classes, or have more than `COLUMNS`, each image is titled.

    Args:
        outputs: files whose suffixes say the format: .pdf, .png or .svg.
        seed: draws the images, the same way in every dataset.
        of: a class that is shown alone (paper Figure 2: lemon), by its display name; of datasets
            with a label map the class that it is a member of. None: one image of every class.
        images: of that class in a row, or as many as there are.

    Raises:
        WiseftError: unknown format, a class without images, or no or several classes called `of`.
    """
    opened = [open_manifest(path) for path in manifests]
    splits = [
        open_split(manifest.path, split, Transform(size=manifest.image_size or FOLDER_SIZE))
        for manifest in opened
    ]
    names = [manifest.dataset for manifest in opened]
    if of is not None:
        labels = _labels_called(of, opened)
        rows = [
            content.read(np.random.default_rng(seed).permutation(_members(content, label))[:images])
            for content, label in zip(splits, labels, strict=True)
        ]
        draw_panel(names, [[""] * len(row) for row in rows], rows, outputs, shared=True)
        return
    shared = all(manifest.class_names == opened[0].class_names for manifest in opened)
    rows, titles = [], []
    for manifest, content in zip(opened, splits, strict=True):
        classes, rng = len(manifest.class_names), np.random.default_rng(seed)
        columns = np.linspace(0, classes - 1, min(classes, COLUMNS)).round().astype(int)
        rows.append(content.read([int(rng.choice(_members(content, k))) for k in columns]))
        called = [manifest.class_names[label] for label in columns]
        titles.append(called if shared else [_short(name) for name in called])
    draw_panel(names, titles, rows, outputs, shared)


def _labels_called(of: str, manifests: Sequence[Manifest]) -> list[int]:
    """Return each dataset's label of the class of that name."""
    named = {}
    for manifest in manifests:
        if manifest.label_map is not None:
            continue
        places = [place for place, name in enumerate(manifest.class_names) if name == of]
        if len(places) != 1:
            raise WiseftError(
                f"dataset {manifest.dataset} has {len(places)} classes called {of!r}; name a class "
                "that it has once, by its display name"
            )
        named[re.sub(LIMIT_SUFFIX_PATTERN, "", manifest.dataset)] = places[0]
    labels = []
    for manifest in manifests:
        if manifest.label_map is None:
            labels.append(manifest.class_names.index(of))
            continue
        mapping = manifest.label_map
        if mapping.reference not in named:
            raise WiseftError(
                f"the classes of {manifest.dataset} are made of those of {mapping.reference}, "
                "which is not among the datasets; add it"
            )
        place = named[mapping.reference]
        owners = [label for label, members in enumerate(mapping.members) if place in members]
        if not owners:
            raise WiseftError(
                f"no class of {manifest.dataset} is made of {of!r} of {mapping.reference}; name "
                "another class, or leave the dataset out"
            )
        labels.append(owners[0])
    return labels


def _members(split: Split, label: int) -> NDArray[np.intp]:
    """Return the places of a class's images, at least one."""
    members = np.flatnonzero(split.labels == label)
    if not len(members):
        raise WiseftError(
            f"{split.dataset}, split {split.name}: no image of class {label} to show."
        )
    return members


def draw_panel(
    labels: Sequence[str],
    titles: Sequence[Sequence[str]],
    rows: Sequence[NDArray[np.uint8]],
    outputs: Sequence[Path],
    shared: bool,
) -> None:
    """Draw rows of images.

    Args:
        labels: of the rows.
        titles: of the images of each row; lines may be broken.
        rows: images uint8 (n, H, W, 3) of each row.
        outputs: files whose suffixes say the format: .pdf, .png or .svg.
        shared: whether the titles of the first row are those of the columns.

    Raises:
        WiseftError: unknown format.
    """
    for path in outputs:
        if path.suffix not in FORMATS:
            raise WiseftError(f"{path}: expected a file that ends in {', '.join(sorted(FORMATS))}.")
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    lines = max((title.count("\n") + 1 for row in titles for title in row), default=1)
    gap = GAP if shared else CAPTION_GAP + LINE * (lines - 1)
    small = {"fontsize": 4.5} if max(map(len, titles[0])) > 8 else {}
    with plt.style.context(str(resources.files("wiseft.figures") / "paper.mplstyle")):
        room = max(LABEL, CHARACTER * max(map(len, labels)))
        figure, axes = _grid(len(rows), max(map(len, titles)), gap, room)
        for row, (label, images) in enumerate(zip(labels, rows, strict=True)):
            for column, image in enumerate(images):
                ax = axes[row, column]
                _show(ax, image)
                if not shared:
                    ax.set_xlabel(titles[row][column], fontsize=3, labelpad=1)
                elif row == 0:
                    ax.set_title(titles[0][column], pad=3, **small)
            for ax in axes[row, len(images) :]:
                ax.set_visible(False)
            axes[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=4)
        mark(figure)
        for path in outputs:
            with atomic_path(path) as part:
                # No date inside, so that the same panel is the same file.
                metadata = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix)
                figure.savefig(part, dpi=300, metadata=metadata)
        plt.close(figure)


def _grid(rows: int, columns: int, gap: float, label: float) -> tuple[Figure, NDArray[Any]]:
    """Return a figure and its axes (rows, columns), with room for the labels of the rows.

    Args:
        gap: between two rows in inches.
        label: width of the labels in inches.
    """
    from matplotlib import pyplot as plt

    width, height = label + CELL * columns, (CELL + gap - GAP) * rows + 0.25
    return plt.subplots(
        rows,
        columns,
        figsize=(width, height),
        squeeze=False,
        layout="none",
        gridspec_kw={
            "left": label / width,
            "right": 1 - GAP / width,
            "top": 1 - 0.25 / height,
            "bottom": gap / height,
            "wspace": GAP / CELL,
            "hspace": gap / CELL,
        },
    )


def _show(ax: Axes, image: NDArray[np.uint8]) -> None:
    ax.imshow(image, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set(visible=True, linewidth=0.4, color="0.6")


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"
