"""Cases of ObjectNet, WILDS, ImageNet-Vid-Robust and YTBB-Robust, with a row for every rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tools.rehearsal import maps
from tools.rehearsal.maps import (
    YTBB_CLASSES,
    FmowRow,
    Video,
    Written,
    video_of,
    write_class_maps,
    write_objectnet,
    write_vid,
    write_ytbb,
)

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
    labels = write_objectnet(
        root, OBJECTNET_FOLDERS, OBJECTNET_OVERLAP, ILSVRC_LINES, lines, images
    )
    labels = {
        name: chosen.index(folder)
        for name in labels
        if (folder := name.partition("/")[0]) in chosen
    }
    names = ["alarm clock", "bench", "t-shirt", "winter glove"]
    return Written(root, names, {"test": labels}, [[3, 2], [0], [1], [5]], 10)


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


def fmow(root: Path, class_names: Sequence[str]) -> Written:
    """`fmow_v1.1/` with a row for every rule of its splits; sequestered rows lie in between."""
    return maps.fmow(root, class_names, FMOW_ROWS)


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


def iwildcam(root: Path) -> Written:
    """`iwildcam_v2.0/` with six species."""
    return maps.iwildcam(root, SPECIES, IWILDCAM_ROWS)


def vid_robust(root: Path) -> tuple[Written, list[Video]]:
    """`imagenet_vid_ytbb_robust/imagenet-vid-robust/` with three sets, metadata beside it."""
    folders = [f"val/ILSVRC2015_val_0000{number}000" for number in range(3)]
    first = {f"{folders[0]}/{frame:06}.JPEG": [1] for frame in (10, 8, 9, 11)}
    first[f"{folders[0]}/000011.JPEG"] = [2, 1]  # another object came into sight
    second = {f"{folders[1]}/{frame:06}.JPEG": [0, 2] for frame in (5, 4, 6)}
    third = {f"{folders[2]}/000100.JPEG": [2]}
    videos = [Video(next(iter(item)), list(item)[1:], item) for item in (second, first, third)]
    expected = write_vid(root, videos, {f"{folders[2]}/000777.JPEG": [0]})
    members = write_class_maps(root, "vid", {0: [7, 8], 1: [3], 2: [1, 9]}, 3)
    names = ["bird", "dog", "zebra"]
    return Written(root, names, {"test": expected}, members, 10), videos


ANNOTATORS = "/data/someone/frames_orig_fps/robustness_test_anchors/"
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
    members = write_ytbb(root, shorts, marks, PAIR_MARKS)
    videos = [
        video_of("aaa_1000", [30, 29, 32], ["bird"]),
        video_of("b_b_2000", [60, 50, 70], ["cat", "dog"]),
        video_of("ccc_3000", [90], ["car"]),
        video_of("ggg_7000", [210], ["cow"]),
        video_of("iii_9000", [5], ["dog", "cat", "none"]),
    ]
    expected = {frame: value[0] for video in videos for frame, value in video.labels.items()}
    references = sum(map(len, members))
    return Written(root, YTBB_CLASSES, {"test": expected}, members, references), videos
