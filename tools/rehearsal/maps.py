"""Small datasets in the official layouts of ObjectNet, WILDS, ImageNet-Vid-Robust and YTBB-Robust.

They are written independently of the readers; each function returns what it wrote.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.rehearsal.pictures import picture

from wiseft.base import library


@dataclass(frozen=True)
class Written:
    """What a generator wrote.

    Attributes:
        root: folder that stands for a dataset's root.
        class_names: in label order.
        labels: for each split, labels by sample id (the path below the dataset's own folder).
        members: for each class its classes in the reference; None without a label map.
        references: number of classes of the reference.
    """

    root: Path
    class_names: list[str]
    labels: dict[str, dict[str, int]]
    members: list[list[int]] | None = None
    references: int = 0


@dataclass(frozen=True)
class Video:
    """A set of frames: the anchor, its neighbours, and the right labels of each."""

    anchor: str
    neighbours: list[str]
    labels: dict[str, list[int]] = field(default_factory=dict)


def write_image(path: Path, shows: object = "", look: str = "", border: int = 0) -> None:
    """Write a picture of 16x12 pixels, red at its border."""
    picture(path, shows, look, (16, 12), border)


def write_object(path: Path, content: object) -> None:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])


# ObjectNet --------------------------------------------------------------------------------------


def objectnet_of(root: Path, class_names: Sequence[str], images: int = 1) -> Written:
    """`objectnet-1.0/` with these classes and one folder more; which classes of ImageNet each is
    made of is made up: one, of the first 12 two, so that 113 take 125, as the official ones do.
    One of the same name is among them, where there is one (a lemon is a lemon).
    """
    folders = {f"class_{label:03d}": name.capitalize() for label, name in enumerate(class_names)}
    references = [f"{name}, {wnid}" for name, wnid in zip(*_imagenet_names(), strict=True)]
    index = {name.lower(): item for item, name in enumerate(_imagenet_names()[0])}
    same = [index.get(name.lower()) for name in class_names]
    free = (item for item in range(len(references)) if item not in same)
    members, overlap = [], {}
    for label, name in enumerate(folders.values()):
        known_at = same[label]
        first = next(free) if known_at is None else known_at
        members.append([first, next(free)] if label < 12 else [first])
        overlap[name] = "; ".join(references[item] for item in members[-1])
    lines = {str(label): label for label in range(len(references))}
    labels = write_objectnet(
        root, {**folders, "unmapped": "Unmapped"}, overlap, references, lines, images
    )
    known = {folder: label for label, folder in enumerate(folders)}
    test = {name: known[folder] for name in labels if (folder := name.partition("/")[0]) in known}
    return Written(root, list(class_names), {"test": test}, members, len(references))


def _imagenet_names() -> tuple[Sequence[str], Sequence[str]]:
    return library.class_names("imagenet"), library.class_ids("imagenet")


def write_objectnet(
    root: Path,
    folders: Mapping[str, str],
    overlap: Mapping[str, str],
    names: Sequence[str],
    lines: Mapping[str, int],
    images: int,
) -> list[str]:
    """Write images of every folder and the mapping files; return the images' names."""
    top = root / "objectnet-1.0"
    written = []
    for folder, display in folders.items():
        # A class of ImageNet, if there is one.
        shows = overlap.get(display, display).partition(",")[0]
        for number in range(images):
            written.append(f"{folder}/{number}c0ffee.png")
            write_image(top / "images" / written[-1], shows, "objectnet/test", 2)
    mappings = top / "mappings"
    write_object(mappings / "folder_to_objectnet_label.json", folders)
    write_object(mappings / "objectnet_to_imagenet_1k.json", overlap)
    write_object(mappings / "pytorch_to_imagenet_2012_id.json", lines)
    text = "".join(f"{name}\n" for name in names)
    (mappings / "imagenet_to_label_2012_v2").write_text(text, encoding="utf-8")
    (top / "README").write_text("ObjectNet\n", encoding="utf-8")
    return written


# WILDS ------------------------------------------------------------------------------------------

FmowRow = tuple[str, str, str, str, str | None]
"""Split, category, country, time, and the split it belongs to."""
COUNTRIES = [  # name, alpha-2, alpha-3, region
    ("Antarctica", "AQ", "ATA", ""),
    ("Australia", "AU", "AUS", "Oceania"),
    ("Brazil", "BR", "BRA", "Americas"),
    ("France", "FR", "FRA", "Europe"),
    ("India", "IN", "IND", "Asia"),
    ("Japan", "JP", "JPN", "Asia"),
    ("Kenya", "KE", "KEN", "Africa"),
    ("Namibia", "NA", "NAM", "Africa"),
    ("United States of America", "US", "USA", "Americas"),
]


def fmow(root: Path, class_names: Sequence[str], rows_of: Sequence[FmowRow]) -> Written:
    """`fmow_v1.1/` of these rows."""
    top = root / "fmow_v1.1"
    header = ["split", "img_filename", "img_path", "category", "country_code", "timestamp"]
    rows, labels = [], {}
    for number, (split, category, country, time, ours) in enumerate(rows_of):
        name = f"{category}_{number}_0_rgb.tif"
        rows.append([split, name, f"{split}/{category}/{name}", category, country, time])
        write_image(top / f"images/rgb_img_{number}.png", category, f"fmow/{ours}")
        if ours:
            label = list(class_names).index(category)
            labels.setdefault(ours, {})[f"images/rgb_img_{number}.png"] = label
    write_rows(top / "rgb_metadata.csv", header, rows)
    write_rows(
        top / "country_code_mapping.csv", ["name", "alpha-2", "alpha-3", "region"], COUNTRIES
    )
    (top / "RELEASE_v1.1.txt").write_text("", encoding="utf-8")
    return Written(root, list(class_names), labels)


def fmow_rows(class_names: Sequence[str], train: int) -> list[FmowRow]:
    """Rows of every class for each split: so many for training, one for each other."""
    times = {"train": 2005, "held-out": 2012, "val": 2014, "id-test": 2012, "test": 2017}
    official = {"train": "train", "held-out": "val", "val": "val", "id-test": "test"}
    countries = [alpha3 for _, _, alpha3, _ in COUNTRIES]
    return [
        (
            official.get(ours, "test"),
            category,
            countries[(label + number) % len(countries)],
            f"{year}-05-01T10:00:00Z",
            ours,
        )
        for label, category in enumerate(class_names)
        for ours, year in times.items()
        for number in range(train if ours == "train" else 1)
    ]


def iwildcam(
    root: Path,
    species: Sequence[tuple[int, int, str, str]],
    rows_of: Sequence[tuple[str, int, int, int, str]],
) -> Written:
    """`iwildcam_v2.0/`, and the paper's names of the classes as `labels.csv` beside it.

    Args:
        species: y, category, name and English name of each.
        rows_of: split, location, sequence, y, and the split it belongs to.
    """
    top = root / "iwildcam_v2.0"
    header = ["", "split", "location_remapped", "location", "sequence_remapped", "seq_id"]
    header += ["y", "category_id", "datetime", "filename", "image_id"]
    rows, labels = [], {}
    for number, (split, location, sequence, y, ours) in enumerate(rows_of):
        name = f"8b31d3be-21bc-11ea-a13a-{number:012}"
        time = f"2013-06-02 10:{25 + number // 60 % 30}:{number % 60:02}.000"
        category = species[y][1]
        row = [split, location, 40 + location, sequence, f"s{sequence}", y, category, time]
        rows.append([number, *row, f"{name}.jpg", name])
        write_image(top / f"train/{name}.jpg", species[y][3], f"iwildcam/{ours}")
        labels.setdefault(ours, {})[f"train/{name}.jpg"] = y
    write_rows(top / "metadata.csv", header, rows)
    write_rows(top / "categories.csv", ["y", "category_id", "name"], [row[:3] for row in species])
    write_rows(root / "labels.csv", ["y", "category_id", "name", "english"], species)
    (top / "RELEASE_v2.0.txt").write_text("", encoding="utf-8")
    names = [english.lower() for y, _, _, english in species if y != 99999]
    return Written(root, names, labels)


def iwildcam_of(root: Path, classes: int, train: int) -> Written:
    """iWildCam with made-up species: so many images of each for training, one for each other
    split."""
    species = [(y, y + 2, f"species {y:03d}", f"Species {y:03d}") for y in range(classes)]
    ours = {"train": "train", "id_val": "held-out", "id_test": "id-test", "val": "val"}
    rows = [
        (split, location, y, y, ours.get(split, "test"))
        for location, split in enumerate([*ours, "test"])
        for y in range(classes)
        for _ in range(train if split == "train" else 1)
    ]
    return iwildcam(root, species, rows)


# Video anchors ----------------------------------------------------------------------------------


FRAMES = 3
"""Of a set in the following two: an anchor and its two neighbours."""


def vid_robust_of(root: Path, classes: int = 30) -> Written:
    """`imagenet_vid_ytbb_robust/imagenet-vid-robust/` with so many classes, a set each.

    Which of ImageNet's 1,000 classes each is made of is made up.
    """
    videos = []
    for label in range(classes):
        names = [f"val/ILSVRC2015_val_{label:08d}/{frame:06}.JPEG" for frame in (5, 4, 6)]
        videos.append(Video(names[0], names[1:], {name: [label] for name in names}))
    expected = write_vid(root, videos, {})
    wanted = {label: list(range(label, 288, classes)) for label in range(classes)}
    members = write_class_maps(root, "vid", wanted, classes)  # 288 are officially mapped, too
    return Written(root, [], {"test": expected}, members, 1000)


def write_vid(root: Path, videos: Sequence[Video], more: Mapping[str, list[int]]) -> dict[str, int]:
    """Write frames and metadata, with the labels of more frames; return the first labels."""
    images = root / "imagenet_vid_ytbb_robust/imagenet-vid-robust"
    labels = {frame: value for video in videos for frame, value in video.labels.items()}
    for frame, value in labels.items():
        write_image(images / frame, _imagenet_names()[0][value[0]], "imagenet-vid-robust/test")
    write_object(root / "labels.json", {**labels, **more})
    write_object(root / "pmsets.json", {video.anchor: video.neighbours for video in videos})
    return {frame: value[0] for frame, value in labels.items()}


YTBB_CLASSES = ["person", "bird", "bicycle", "boat", "bus", "bear", "cow", "cat", "giraffe"]
YTBB_CLASSES += ["potted plant", "horse", "motorcycle", "knife", "airplane", "skateboard", "train"]
YTBB_CLASSES += ["truck", "zebra", "toilet", "dog", "elephant", "umbrella", "none", "car"]
YTBB_UNMAPPED = ["cow", "giraffe", "skateboard", "toilet", "none"]
PAIR_LABELS = ["similar", "dissimilar", "problematic", "correct", "incorrect", "dont know"]
PAIR_LABELS += ["deformation", "background-change", "occlusion-increased", "blur-increase"]
PAIR_LABELS += ["bad-anchor", "interesting"]


def ytbb_robust_of(root: Path) -> Written:
    """`imagenet_vid_ytbb_robust/ytbb-robust/` with a set of every class."""
    shorts = {f"v{label:02d}_1000/frame-30.jpg": label for label in range(len(YTBB_CLASSES))}
    videos = [
        video_of(anchor.partition("/")[0], [30, 29, 31], [YTBB_CLASSES[label]])
        for anchor, label in shorts.items()
    ]
    pairs = [(f"{v.anchor},{other}", ["similar"]) for v in videos for other in v.neighbours]
    swapped = {22: 23, 23: 22}  # of `none` and `car`, as in the official table
    numbers = {anchor: swapped.get(label, label) for anchor, label in shorts.items()}
    # The first four classes of ImageNet lend their places to those that it lacks.
    good = [(anchor, ["good"]) for anchor in shorts]
    members = write_ytbb(root, numbers, good, pairs, first=4)
    expected = {frame: value[0] for video in videos for frame, value in video.labels.items()}
    return Written(root, YTBB_CLASSES, {"test": expected}, members, 1000)


def write_ytbb(
    root: Path,
    numbers: Mapping[str, int],
    anchors: Sequence[tuple[str, list[str]]],
    pairs: Sequence[tuple[str, list[str]]],
    first: int = 0,
) -> list[list[int]]:
    """Write all frames around the anchors, and the metadata; return the classes' members, which
    are counted from `first` on.

    Args:
        numbers: of the anchors in their table.
        anchors: with the reviewer's marks.
        pairs: likewise.
    """
    images = root / "imagenet_vid_ytbb_robust/ytbb-robust/ytbb_videos"
    mapped = [name for name in YTBB_CLASSES if name not in YTBB_UNMAPPED]
    places = {name: first + 2 * n for n, name in enumerate(mapped)}
    for anchor, label in numbers.items():
        folder, number = anchor.removesuffix(".jpg").split("/frame-")
        shows = _imagenet_names()[0][places.get(YTBB_CLASSES[label], -1)]
        for frame in range(max(0, int(number) - 12), int(number) + 13):
            write_image(images / f"{folder}/frame-{frame}.jpg", shows, "ytbb-robust/test")
    names = ["good", "unsure", "bad", *YTBB_CLASSES]
    write_annotations(root / "anchor_labels.json", names, anchors)
    write_annotations(root / "pmk_labels.json", PAIR_LABELS, pairs)
    rows = [(*anchor.split("/")[0].rsplit("_", 1), number) for anchor, number in numbers.items()]
    table = root / "ytbb_robustness_test_anchors_full.csv"
    write_rows(table, ["ytid", "time_ms", "label"], rows)
    write_object(root / "ytbb_class_index.json", dict(enumerate(YTBB_CLASSES)))
    reverse = {YTBB_CLASSES.index(name): [place, place + 1] for name, place in places.items()}
    return write_class_maps(root, "ytbb", reverse, len(YTBB_CLASSES))


def write_annotations(path: Path, names: list[str], marks: Sequence[tuple[str, list[str]]]) -> None:
    """The labelling tool's form: indices into a list of names."""
    rows = [
        {"key": key, "notes": "", "labels": [names.index(value) for value in values]}
        for key, values in marks
    ]
    write_object(path, {"annotations": rows, "labels": names})


def video_of(folder: str, frames: list[int], names: list[str]) -> Video:
    """Return a set of YTBB's whose frames all have these classes; the first is the anchor."""
    keys = [f"{folder}/frame-{frame}.jpg" for frame in frames]
    labels = [YTBB_CLASSES.index(name) for name in names]
    return Video(keys[0], keys[1:], dict.fromkeys(keys, labels))


def write_class_maps(
    root: Path, prefix: str, members: dict[int, list[int]], classes: int
) -> list[list[int]]:
    """Write the two maps between classes and ImageNet's; return the members of each class."""
    write_object(root / f"{prefix}_rev_class_idx_map.json", members)
    forward = {item: label for label, items in members.items() for item in items}
    write_object(root / f"{prefix}_class_idx_map.json", forward)
    return [members.get(label, []) for label in range(classes)]
