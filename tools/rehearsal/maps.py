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

OBJECTNET_FOLDERS = {
    "winter_glove": "Winter glove",
    "alarm_clock": "Alarm clock",
    "paper": "Paper",
    "t-shirt": "T-shirt",
    "air_freshener": "Air freshener",
    "bench": "Bench",
}
OBJECTNET_OVERLAP = {
    "Winter glove": "mitten",
    "Alarm clock": "analog clock; digital clock",
    "Bench": "park bench",
    "T-shirt": "jersey, T-shirt, tee shirt",
}
ILSVRC_LINES = [
    "crane",
    "park bench",
    "kit fox, Vulpes macrotis",
    "digital clock",
    "English setter",
]
ILSVRC_LINES += ["mitten", "jersey, T-shirt, tee shirt", "crane", "analog clock", "zebra"]
IMAGENET_LABELS = [4, 0, 9, 2, 7, 5, 1, 8, 3, 6]
"""Label of each line: the list of names has another order than the labels."""


def objectnet(root: Path, images: int = 3) -> Written:
    """`objectnet-1.0/` with six class folders, four of which overlap with a ten-class ImageNet."""
    lines = {str(label): line for line, label in enumerate(IMAGENET_LABELS)}
    chosen = ["alarm_clock", "bench", "t-shirt", "winter_glove"]
    labels = _objectnet(root, OBJECTNET_FOLDERS, OBJECTNET_OVERLAP, ILSVRC_LINES, lines, images)
    labels = {
        name: chosen.index(folder)
        for name in labels
        if (folder := name.partition("/")[0]) in chosen
    }
    names = ["alarm clock", "bench", "t-shirt", "winter glove"]
    return Written(root, names, {"test": labels}, [[3, 2], [0], [1], [5]], 10)


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
    labels = _objectnet(
        root, {**folders, "unmapped": "Unmapped"}, overlap, references, lines, images
    )
    known = {folder: label for label, folder in enumerate(folders)}
    test = {name: known[folder] for name in labels if (folder := name.partition("/")[0]) in known}
    return Written(root, list(class_names), {"test": test}, members, len(references))


def _imagenet_names() -> tuple[Sequence[str], Sequence[str]]:
    return library.class_names("imagenet"), library.class_ids("imagenet")


def _objectnet(
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
FMOW_ROWS: list[FmowRow] = [
    ("train", "airport", "USA", "2005-03-01T10:00:00Z", "train"),
    ("seq", "zoo", "FRA", "2016-05-01T10:00:00Z", None),
    ("train", "zoo", "FRA", "2013-01-01T00:00:00Z", None),
    ("train", "multi-unit_residential", "NAM", "2012-12-31T23:59:59.999Z", "train"),
    ("val", "airport", "IND", "2012-12-31T23:59:59Z", "held-out"),
    ("val", "zoo", "KEN", "2013-01-01T00:00:00.000Z", "val"),
    ("seq", "airport", "FRA", "2003-05-01T10:00:00Z", None),
    ("val", "airport", "USA", "2016-01-01T00:00:00Z", None),
    ("test", "zoo", "AUS", "2016-01-01T00:00:00Z", "test"),
    ("test", "airport", "XKX", "2017-06-01T10:11:12Z", "test"),
    ("test", "multi-unit_residential", "BRA", "2015-12-31T23:59:59.999Z", None),
    ("test", "zoo", "JPN", "2012-02-29T08:00:00Z", "id-test"),
    ("test", "airport", "FRA", "2016-08-01T08:00:00Z", "test"),
    ("test", "zoo", "ATA", "2017-12-31T23:59:59Z", "test"),
]
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


def fmow(root: Path, class_names: Sequence[str], rows_of: Sequence[FmowRow] = FMOW_ROWS) -> Written:
    """`fmow_v1.1/` with a row for every rule of its splits; sequestered rows lie in between."""
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


SPECIES = [  # y, category_id, name, english
    (0, 0, "empty", "empty"),
    (1, 2, "tayassu pecari", "White-lipped peccary"),
    (2, 24, "madoqua guentheri", "Günther's dik-dik"),
    (3, 4, "cuniculus paca", "Lowland paca"),
    (4, 5, "cuniculus paca minor", "Lowland paca"),
    (99999, 306, "polyplectron chalcurum", "bronze-tailed peacock-pheasant"),
]
IWILDCAM_ROWS = [  # split, location, sequence, y, and the split it belongs to
    ("train", 0, 0, 1, "train"),
    ("train", 0, 0, 1, "train"),
    ("id_val", 0, 1, 0, "held-out"),
    ("id_test", 0, 2, 3, "id-test"),
    ("val", 1, 3, 2, "val"),
    ("test", 2, 4, 4, "test"),
    ("test", 2, 4, 4, "test"),
    ("test", 2, 5, 0, "test"),
]


def iwildcam(
    root: Path,
    species: Sequence[tuple[int, int, str, str]] = SPECIES,
    rows_of: Sequence[tuple[str, int, int, int, str]] = IWILDCAM_ROWS,
) -> Written:
    """`iwildcam_v2.0/`, and the paper's names of the classes as `labels.csv` beside it."""
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


def vid_robust(root: Path) -> tuple[Written, list[Video]]:
    """`imagenet_vid_ytbb_robust/imagenet-vid-robust/` with three sets, metadata beside it."""
    folders = [f"val/ILSVRC2015_val_0000{number}000" for number in range(3)]
    first = {f"{folders[0]}/{frame:06}.JPEG": [1] for frame in (10, 8, 9, 11)}
    first[f"{folders[0]}/000011.JPEG"] = [2, 1]  # another object came into sight
    second = {f"{folders[1]}/{frame:06}.JPEG": [0, 2] for frame in (5, 4, 6)}
    third = {f"{folders[2]}/000100.JPEG": [2]}
    videos = [Video(next(iter(item)), list(item)[1:], item) for item in (second, first, third)]
    expected = _write_vid(root, videos, {f"{folders[2]}/000777.JPEG": [0]})
    members = _write_class_maps(root, "vid", {0: [7, 8], 1: [3], 2: [1, 9]}, 3)
    names = ["bird", "dog", "zebra"]
    return Written(root, names, {"test": expected}, members, 10), videos


FRAMES = 3
"""Of a set in the following two: an anchor and its two neighbours."""


def vid_robust_of(root: Path, classes: int = 30) -> Written:
    """The same with so many classes, a set each; which of ImageNet's 1,000 classes each is made of
    is made up.
    """
    videos = []
    for label in range(classes):
        names = [f"val/ILSVRC2015_val_{label:08d}/{frame:06}.JPEG" for frame in (5, 4, 6)]
        videos.append(Video(names[0], names[1:], {name: [label] for name in names}))
    expected = _write_vid(root, videos, {})
    wanted = {label: list(range(label, 288, classes)) for label in range(classes)}
    members = _write_class_maps(root, "vid", wanted, classes)  # 288 are officially mapped, too
    return Written(root, [], {"test": expected}, members, 1000)


def _write_vid(
    root: Path, videos: Sequence[Video], more: Mapping[str, list[int]]
) -> dict[str, int]:
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
ANNOTATORS = "/data/someone/frames_orig_fps/robustness_test_anchors/"
PAIR_LABELS = ["similar", "dissimilar", "problematic", "correct", "incorrect", "dont know"]
PAIR_LABELS += ["deformation", "background-change", "occlusion-increased", "blur-increase"]
PAIR_LABELS += ["bad-anchor", "interesting"]
ANCHOR_MARKS = [  # anchor, its number in the table of anchors, marks of the reviewer
    ("aaa_1000/frame-30.jpg", 1, ["good"]),
    (f"{ANNOTATORS}b_b_2000/frame-60.jpg", 7, ["good", "dog"]),
    ("ccc_3000/frame-90.jpg", 22, ["good", "car"]),
    ("ddd_4000/frame-120.jpg", 0, ["bad"]),
    ("eee_5000/frame-150.jpg", 0, ["good", "unsure"]),
    ("fff_6000/frame-180.jpg", 0, ["good"]),
    ("ggg_7000/frame-210.jpg", 6, ["bad"]),
    ("hhh_8000/frame-240.jpg", 0, ["good"]),
    ("ggg_7000/frame-210.jpg", 6, ["good"]),
    ("hhh_8000/frame-240.jpg", 0, ["bad"]),
    ("iii_9000/frame-5.jpg", 19, ["good", "cat", "none", "dog"]),
]
PAIR_MARKS = [  # pair, marks of the reviewer
    ("aaa_1000/frame-30.jpg,aaa_1000/frame-29.jpg", ["similar"]),
    ("aaa_1000/frame-30.jpg,aaa_1000/frame-31.jpg", ["similar", "dissimilar"]),
    ("aaa_1000/frame-30.jpg,aaa_1000/frame-32.jpg", ["similar", "correct", "interesting"]),
    ("aaa_1000/frame-30.jpg,aaa_1000/frame-33.jpg", ["similar"]),
    ("aaa_1000/frame-30.jpg,aaa_1000/frame-33.jpg", ["similar", "blur-increase"]),
    ("aaa_1000/frame-30.jpg,aaa_1000/frame-41.jpg", ["similar"]),
    ("aaa_1000/frame-30.jpg,aaa_1000/frame-35.jpg", ["correct"]),
    ("b_b_2000/frame-60.jpg,b_b_2000/frame-50.jpg", ["similar"]),
    ("b_b_2000/frame-60.jpg,b_b_2000/frame-70.jpg", ["similar"]),
    ("fff_6000/frame-180.jpg,fff_6000/frame-181.jpg", ["similar"]),
    (
        f"{ANNOTATORS}fff_6000/frame-180.jpg,{ANNOTATORS}fff_6000/frame-182.jpg",
        ["dissimilar", "bad-anchor"],
    ),
]


def ytbb_robust(root: Path) -> tuple[Written, list[Video]]:
    """`imagenet_vid_ytbb_robust/ytbb-robust/` with five anchors that count among nine."""
    shorts = {anchor.removeprefix(ANNOTATORS): number for anchor, number, _ in ANCHOR_MARKS}
    marks = [(anchor, values) for anchor, _, values in ANCHOR_MARKS]
    members = _write_ytbb(root, shorts, marks, PAIR_MARKS)
    videos = [
        _video("aaa_1000", [30, 29, 32], ["bird"]),
        _video("b_b_2000", [60, 50, 70], ["cat", "dog"]),
        _video("ccc_3000", [90], ["car"]),
        _video("ggg_7000", [210], ["cow"]),
        _video("iii_9000", [5], ["dog", "cat", "none"]),
    ]
    expected = {frame: value[0] for video in videos for frame, value in video.labels.items()}
    references = sum(map(len, members))
    return Written(root, YTBB_CLASSES, {"test": expected}, members, references), videos


def ytbb_robust_of(root: Path) -> Written:
    """The same with a set of every class."""
    shorts = {f"v{label:02d}_1000/frame-30.jpg": label for label in range(len(YTBB_CLASSES))}
    videos = [
        _video(anchor.partition("/")[0], [30, 29, 31], [YTBB_CLASSES[label]])
        for anchor, label in shorts.items()
    ]
    pairs = [(f"{v.anchor},{other}", ["similar"]) for v in videos for other in v.neighbours]
    swapped = {22: 23, 23: 22}  # of `none` and `car`, as in the official table
    numbers = {anchor: swapped.get(label, label) for anchor, label in shorts.items()}
    # The first four classes of ImageNet lend their places to those that it lacks.
    good = [(anchor, ["good"]) for anchor in shorts]
    members = _write_ytbb(root, numbers, good, pairs, first=4)
    expected = {frame: value[0] for video in videos for frame, value in video.labels.items()}
    return Written(root, YTBB_CLASSES, {"test": expected}, members, 1000)


def _write_ytbb(
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
    return _write_class_maps(root, "ytbb", reverse, len(YTBB_CLASSES))


def write_annotations(path: Path, names: list[str], marks: Sequence[tuple[str, list[str]]]) -> None:
    """The labelling tool's form: indices into a list of names."""
    rows = [
        {"key": key, "notes": "", "labels": [names.index(value) for value in values]}
        for key, values in marks
    ]
    write_object(path, {"annotations": rows, "labels": names})


def _video(folder: str, frames: list[int], names: list[str]) -> Video:
    keys = [f"{folder}/frame-{frame}.jpg" for frame in frames]
    labels = [YTBB_CLASSES.index(name) for name in names]
    return Video(keys[0], keys[1:], dict.fromkeys(keys, labels))


def _write_class_maps(
    root: Path, prefix: str, members: dict[int, list[int]], classes: int
) -> list[list[int]]:
    write_object(root / f"{prefix}_rev_class_idx_map.json", members)
    forward = {item: label for label, items in members.items() for item in items}
    write_object(root / f"{prefix}_class_idx_map.json", forward)
    return [members.get(label, []) for label in range(classes)]
