"""A panel of sample images of every set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wiseft.base.typed import LIMIT_SUFFIX_PATTERN
from wiseft.errors import WiseftError
from wiseft.images.store import Manifest, Split, open_manifest, open_split
from wiseft.thetas.preprocessing import Transform

if TYPE_CHECKING:
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
        named = {
            re.sub(LIMIT_SUFFIX_PATTERN, "", manifest.dataset): manifest
            for manifest in opened
            if manifest.label_map is None
        }
        labels = [_label_called(of, manifest, named) for manifest in opened]
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
        titles.append(called if shared else [n if len(n) <= 18 else f"{n[:17]}…" for n in called])
    draw_panel(names, titles, rows, outputs, shared)


def _label_called(of: str, manifest: Manifest, named: Mapping[str, Manifest]) -> int:
    """Return a dataset's label of the class of that name, or of the class that it is a member of.

    Args:
        named: the datasets whose classes have names of their own, by name.
    """
    mapping = manifest.label_map
    reference = named.get(mapping.reference) if mapping else manifest
    if reference is None:
        assert mapping is not None
        raise WiseftError(
            f"the classes of {manifest.dataset} are made of those of {mapping.reference}, "
            "which is not among the datasets; add it"
        )
    places = [place for place, name in enumerate(reference.class_names) if name == of]
    if len(places) != 1:
        raise WiseftError(
            f"dataset {reference.dataset} has {len(places)} classes called {of!r}; name a class "
            "that it has once, by its display name"
        )
    if mapping is None:
        return places[0]
    owners = [label for label, members in enumerate(mapping.members) if places[0] in members]
    if not owners:
        raise WiseftError(
            f"no class of {manifest.dataset} is made of {of!r} of {mapping.reference}; name "
            "another class, or leave the dataset out"
        )
    return owners[0]


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
    import matplotlib as mpl

    from wiseft.figures.saving import save_figure
    from wiseft.figures.style import paper_style

    lines = max((title.count("\n") + 1 for row in titles for title in row), default=1)
    gap = GAP if shared else CAPTION_GAP + LINE * (lines - 1)
    small = {"fontsize": 4.5} if max(map(len, titles[0])) > 8 else {}
    room = max(LABEL, CHARACTER * max(map(len, labels)))
    with paper_style():
        mpl.rc("savefig", dpi=300)
        figure, axes = _grid(len(rows), max(map(len, titles)), gap, room)
        for row, (label, images) in enumerate(zip(labels, rows, strict=True)):
            for ax, image, title in zip(axes[row], images, titles[row], strict=False):
                ax.imshow(image, interpolation="nearest")
                if not shared:
                    ax.set_xlabel(title, fontsize=3, labelpad=1)
                elif row == 0:
                    ax.set_title(title, pad=3, **small)
            for ax in axes[row, len(images) :]:
                ax.set_visible(False)
            axes[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=4)
        save_figure(figure, outputs)


def _grid(rows: int, columns: int, gap: float, label: float) -> tuple[Figure, NDArray[Any]]:
    """Return a figure and its axes (rows, columns), with room for the labels of the rows.

    Args:
        gap: between two rows in inches.
        label: width of the labels in inches.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    frame = dict.fromkeys(("left", "right", "top", "bottom"), True)
    mpl.rc("axes", grid=False, linewidth=0.4, edgecolor="0.6")
    mpl.rc("axes.spines", **frame)
    width, height = label + CELL * columns, (CELL + gap - GAP) * rows + 0.25
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(
        rows,
        columns,
        squeeze=False,
        subplot_kw={"xticks": [], "yticks": []},
        gridspec_kw={
            "left": label / width,
            "right": 1 - GAP / width,
            "top": 1 - 0.25 / height,
            "bottom": gap / height,
            "wspace": GAP / CELL,
            "hspace": gap / CELL,
        },
    )
    return figure, axes
