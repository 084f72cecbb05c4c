"""ImageNet-Vid-Robust and YTBB-Robust: which frames count, and which labels are right."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.data.layouts.official_maps import ANCHOR_MARKS, vid_robust, ytbb_robust
from tools.rehearsal.maps import (
    PAIR_LABELS,
    YTBB_CLASSES,
    YTBB_UNMAPPED,
    Video,
    Written,
    write_annotations,
    write_object,
    write_rows,
)

from wiseft.errors import WiseftError
from wiseft.images.split import FolderSplit
from wiseft.study.config import Catalogue
from wiseft.study.config.layouts import check_options
from wiseft.study.data.layouts import Indexed, LayoutInputs, reader

ROOT = Path(__file__).parents[3]
FACTS = [folder / "shared/data" for folder in (ROOT, ROOT.parent)]
"""Places of the published metadata: compared with where it is, no part of the project."""
VID, YTBB = "imagenet-vid-robust", "ytbb-robust"


def read(
    name: str,
    root: Path,
    class_names: Sequence[str],
    anchors: int,
    references: int = 1000,
    files: dict[str, Path] | None = None,
) -> Indexed:
    entry = Catalogue(ROOT).dataset(name)
    options = {**entry.options, "anchors": anchors}
    return reader("video-anchors")(
        LayoutInputs(
            dataset=name,
            root=inner if (inner := root / str(entry.top)).is_dir() else root,
            files=files or {file.name: file for file in root.iterdir() if file.is_file()},
            splits=("test",),
            options=check_options("video-anchors", options),
            class_names=class_names,
            reference_ids=[str(label) for label in range(references)],
        )
    )


@pytest.fixture
def vid(tmp_path) -> tuple[Written, list[Video]]:
    return vid_robust(tmp_path / "root")


@pytest.fixture
def ytbb(tmp_path) -> tuple[Written, list[Video]]:
    return ytbb_robust(tmp_path / "root")


def read_vid(written: Written, anchors: int = 3) -> Indexed:
    return read(VID, written.root, written.class_names, anchors, written.references)


def read_ytbb(written: Written, anchors: int = 5) -> Indexed:
    return read(YTBB, written.root, written.class_names, anchors, written.references)


def right_labels(split: FolderSplit) -> dict[str, list[int]]:
    return {
        frame: [label, *others]
        for frame, label, others in zip(
            split.sample_ids, split.labels.tolist(), split.other_labels, strict=True
        )
    }


def assert_sets(split: FolderSplit, videos: Sequence[Video]) -> None:
    frames = [frame for video in videos for frame in (video.anchor, *video.neighbours)]
    owners = [video.anchor for video in videos for _ in (video.anchor, *video.neighbours)]
    assert split.sample_ids == frames
    assert split.base_ids == owners
    assert split.groups["anchor"] == [a == b for a, b in zip(frames, owners, strict=True)]
    expected = {frame: labels for video in videos for frame, labels in video.labels.items()}
    assert {k: set(v) for k, v in right_labels(split).items()} == {
        frame: set(labels) for frame, labels in expected.items()
    }


def scores(split: FolderSplit, predictions: dict[str, int]) -> tuple[float, float]:
    """pm-0 and pm-10 as the views of the entries define them."""
    right = {frame: predictions[frame] in labels for frame, labels in right_labels(split).items()}
    anchors = [right[f] for f, a in zip(split.sample_ids, split.groups["anchor"], strict=True) if a]
    sets: dict[str, list[bool]] = {}
    for frame, base in zip(split.sample_ids, split.base_ids, strict=True):
        sets.setdefault(base, []).append(right[frame])
    return float(np.mean(anchors)), float(np.mean([all(found) for found in sets.values()]))


def replace_json(path: Path, **changes: object) -> None:
    write_object(path, {**json.loads(path.read_text()), **changes})


# ImageNet-Vid-Robust ----------------------------------------------------------------------------


def test_vid_sets_are_anchors_with_their_neighbours_in_the_order_of_the_metadata(vid):
    written, videos = vid
    indexed = read_vid(written)
    split = indexed.splits["test"]
    assert_sets(split, videos)
    assert indexed.label_map == written.members == [[7, 8], [3], [1, 9]]
    first = "imagenet-vid-robust/val/ILSVRC2015_val_00001000/000005.JPEG"
    assert split.paths[0] == first
    size = (written.root / "imagenet_vid_ytbb_robust" / first).stat().st_size
    assert split.bytes[0] == size


def test_vid_the_first_label_is_the_label_and_each_frame_has_its_own(vid):
    labels = right_labels(read_vid(vid[0]).splits["test"])
    assert labels["val/ILSVRC2015_val_00001000/000005.JPEG"] == [0, 2]
    assert labels["val/ILSVRC2015_val_00000000/000010.JPEG"] == [1]
    assert labels["val/ILSVRC2015_val_00000000/000011.JPEG"] == [2, 1]


@pytest.mark.parametrize("seed", range(5))
def test_vid_pm0_and_pm10_follow_from_the_index(vid, seed):
    written, _ = vid
    split = read_vid(written).splits["test"]
    rng = np.random.default_rng(seed)
    predictions = {frame: int(rng.integers(3)) for frame in split.sample_ids}
    labels = json.loads((written.root / "labels.json").read_text())
    sets = json.loads((written.root / "pmsets.json").read_text())
    good = [predictions[anchor] in labels[anchor] for anchor in sets]
    whole = [all(predictions[f] in labels[f] for f in (a, *near)) for a, near in sets.items()]
    assert scores(split, predictions) == (np.mean(good), np.mean(whole))


@pytest.mark.parametrize("place", ["imagenet_vid_ytbb_robust", ".", "val"])
def test_vid_root_may_be_the_archive_or_a_folder_of_it(vid, tmp_path, place):
    written, _ = vid
    whole = read_vid(written).splits["test"]
    archive = written.root / "imagenet_vid_ytbb_robust"
    root = {
        "imagenet_vid_ytbb_robust": written.root,
        ".": archive,
        "val": archive / "imagenet-vid-robust",
    }[place]
    files = {file.name: file for file in written.root.glob("*.json")}
    indexed = read(VID, root, written.class_names, 3, files=files)
    assert indexed.splits["test"].sample_ids == whole.sample_ids
    inner = archive if root == written.root else root
    assert all((inner / path).is_file() for path in indexed.splits["test"].paths)


def test_vid_a_missing_frame_is_named(vid):
    written, videos = vid
    images = written.root / "imagenet_vid_ytbb_robust/imagenet-vid-robust"
    (images / videos[1].neighbours[0]).unlink()
    with pytest.raises(WiseftError, match=r"pmsets.json lists .*000008.JPEG, which is not there"):
        read_vid(written)


def test_vid_another_number_of_anchors_is_refused(vid):
    with pytest.raises(WiseftError, match=r"pmsets.json: expected exactly 4 anchors, found 3"):
        read_vid(vid[0], anchors=4)


def test_vid_a_frame_without_label_is_named(vid):
    written, videos = vid
    labels = json.loads((written.root / "labels.json").read_text())
    del labels[videos[0].anchor]
    write_object(written.root / "labels.json", labels)
    with pytest.raises(WiseftError, match=f"none for {videos[0].anchor}"):
        read_vid(written)


@pytest.mark.parametrize("value", [[], [3], 1, ["1"]])
def test_vid_labels_that_are_no_classes_are_refused(vid, value):
    written, videos = vid
    replace_json(written.root / "labels.json", **{videos[0].anchor: value})
    with pytest.raises(WiseftError, match=r"one or more labels 0\.\.2 for .*000005.JPEG, found"):
        read_vid(written)


def test_vid_a_frame_in_two_sets_is_refused(vid):
    written, videos = vid
    replace_json(written.root / "pmsets.json", **{videos[2].anchor: [videos[0].anchor]})
    with pytest.raises(WiseftError, match=r"000005.JPEG is in the sets of .*000005.JPEG and of"):
        read_vid(written)


def test_vid_maps_of_classes_that_disagree_are_refused(vid):
    written, _ = vid
    replace_json(written.root / "vid_class_idx_map.json", **{"7": 1})
    with pytest.raises(WiseftError, match=r"has class 1 for reference class 7, but .* has 0"):
        read_vid(written)
    replace_json(written.root / "vid_rev_class_idx_map.json", **{"1": [3, 9]})
    with pytest.raises(WiseftError, match=r"found 9 in class 1 and in class 2"):
        read_vid(written)
    replace_json(written.root / "vid_rev_class_idx_map.json", **{"1": [10]})
    with pytest.raises(WiseftError, match=r"expected reference classes 0\.\.9, found 10"):
        read_vid(written)
    replace_json(written.root / "vid_rev_class_idx_map.json", **{"1": [3], "3": [4]})
    with pytest.raises(WiseftError, match=r"each of the classes 0\.\.2, found 3: \[4\]"):
        read_vid(written)


def test_metadata_that_is_no_json_object_is_refused(vid):
    written, _ = vid
    write_object(written.root / "pmsets.json", [1])
    with pytest.raises(WiseftError, match=r"pmsets.json, the file, is no JSON object but a list"):
        read_vid(written)


# YTBB-Robust ------------------------------------------------------------------------------------


def test_ytbb_sets_are_good_anchors_without_bad_marks_and_their_similar_neighbours(ytbb):
    written, videos = ytbb
    indexed = read_ytbb(written)
    split = indexed.splits["test"]
    order = {video.anchor: video for video in videos}
    bases = list(dict.fromkeys(split.base_ids))
    assert set(bases) == set(order)
    assert_sets(
        split,
        [
            Video(order[base].anchor, sorted(order[base].neighbours), order[base].labels)
            for base in bases
        ],
    )
    assert indexed.label_map == written.members


def test_ytbb_the_original_class_and_all_reviewed_classes_are_right(ytbb):
    labels = right_labels(read_ytbb(ytbb[0]).splits["test"])
    cat, dog, none = (YTBB_CLASSES.index(name) for name in ("cat", "dog", "none"))
    assert labels["b_b_2000/frame-60.jpg"] == [cat, dog]
    assert labels["b_b_2000/frame-50.jpg"] == [cat, dog]  # a neighbour has its anchor's
    assert labels["iii_9000/frame-5.jpg"] == [dog, cat, none]


def test_ytbb_numbers_22_and_23_of_the_table_of_anchors_are_swapped(ytbb):
    written, _ = ytbb
    labels = right_labels(read_ytbb(written).splits["test"])
    assert labels["ccc_3000/frame-90.jpg"] == [YTBB_CLASSES.index("car")]
    table = written.root / "ytbb_robustness_test_anchors_full.csv"
    table.write_text(table.read_text().replace("aaa,1000,1", "aaa,1000,23"))
    labels = right_labels(read_ytbb(written).splits["test"])
    assert labels["aaa_1000/frame-30.jpg"] == [YTBB_CLASSES.index("none")]


def test_ytbb_classes_without_imagenet_class_have_no_members(ytbb):
    members = read_ytbb(ytbb[0]).label_map
    empty = [name for name, items in zip(YTBB_CLASSES, members, strict=True) if not items]
    assert sorted(empty) == sorted(YTBB_UNMAPPED)


@pytest.mark.parametrize("seed", range(5))
def test_ytbb_pm0_and_pm10_follow_from_the_index(ytbb, seed):
    written, videos = ytbb
    split = read_ytbb(written).splits["test"]
    rng = np.random.default_rng(seed)
    predictions = {
        frame: int(rng.choice([*labels, *labels, 0]))
        for frame, labels in right_labels(split).items()
    }
    good, whole = [], []
    for video in videos:
        labels = video.labels[video.anchor]
        good.append(predictions[video.anchor] in labels)
        whole.append(good[-1] and all(predictions[near] in labels for near in video.neighbours))
    assert scores(split, predictions) == (np.mean(good), np.mean(whole))


def test_ytbb_without_the_review_of_neighbours_says_which_file_is_missing(ytbb):
    written, _ = ytbb
    (written.root / "pmk_labels.json").unlink()
    with pytest.raises(WiseftError, match=r"dataset ytbb-robust needs pmk_labels.json"):
        read_ytbb(written)


def test_ytbb_another_number_of_anchors_is_refused(ytbb):
    with pytest.raises(WiseftError, match=r"expected exactly 2030 anchors, found 5"):
        read_ytbb(ytbb[0], anchors=2030)


def test_ytbb_an_anchor_that_the_table_lacks_is_named(ytbb):
    written, _ = ytbb
    table = written.root / "ytbb_robustness_test_anchors_full.csv"
    table.write_text(table.read_text().replace("b_b,2000,7\n", "").replace("b_b,2000,7\r", ""))
    with pytest.raises(WiseftError, match=r"a row for anchor b_b_2000/frame-60.jpg, found none"):
        read_ytbb(written)


def test_ytbb_annotations_in_another_form_are_refused(ytbb):
    written, _ = ytbb
    pairs = written.root / "pmk_labels.json"
    write_object(pairs, {"labels": PAIR_LABELS})
    with pytest.raises(WiseftError, match="found the keys labels"):
        read_ytbb(written)
    write_annotations(pairs, ["similar", "bad-anchor"], [])
    with pytest.raises(WiseftError, match="expected `dissimilar` among its labels"):
        read_ytbb(written)
    write_object(pairs, {"labels": PAIR_LABELS, "annotations": [{"key": "a,b", "labels": [99]}]})
    with pytest.raises(WiseftError, match=r"annotation 1: expected a `key` and, .* 0\.\.11, found"):
        read_ytbb(written)
    write_annotations(pairs, PAIR_LABELS, [("a/b.jpg,a/c.jpg", ["bad-anchor"])])
    with pytest.raises(WiseftError, match=r"ends in <video>_<ms>/frame-<number>.jpg, found 'a/b"):
        read_ytbb(written)


def test_ytbb_an_anchor_under_two_paths_is_refused(ytbb):
    written, _ = ytbb
    marks = [(anchor, names) for anchor, _, names in ANCHOR_MARKS]
    marks.append(("elsewhere/aaa_1000/frame-30.jpg", ["good"]))
    names = ["good", "unsure", "bad", *YTBB_CLASSES]
    write_annotations(written.root / "anchor_labels.json", names, marks)
    with pytest.raises(WiseftError, match=r"aaa_1000/frame-30.jpg is in the sets of"):
        read_ytbb(written, anchors=6)


def test_ytbb_class_names_must_be_those_of_the_entry(ytbb):
    written, _ = ytbb
    names = ["people", *YTBB_CLASSES[1:]]
    with pytest.raises(WiseftError, match=r"expected 'people' as class 0 .* found 'person'"):
        read(YTBB, written.root, names, 5)


def test_ytbb_a_label_outside_of_the_classes_is_refused(ytbb):
    written, _ = ytbb
    table = written.root / "ytbb_robustness_test_anchors_full.csv"
    write_rows(table, ["ytid", "time_ms", "label"], [("aaa", 1000, 24)])
    with pytest.raises(WiseftError, match=r"sample 1 has label 24, expected 0\.\.23"):
        read_ytbb(written)


# The published metadata -------------------------------------------------------------------------


def facts(name: str, prefix: str) -> dict[str, Path]:
    """The published files by the names that the entry gives them."""
    for folder in FACTS:
        if (folder / name).is_dir():
            files = {file.name: file for file in (folder / name).iterdir()}
            maps = ("class_idx_map.json", "rev_class_idx_map.json")
            return files | {f"{prefix}_{file}": files[file] for file in maps}
    pytest.skip(f"the published metadata {name} is not here")


def touch(folder: Path, frames: Sequence[str]) -> None:
    """Files that stand for frames: links to one, which are made faster than files."""
    for parent in {Path(frame).parent for frame in frames}:
        (folder / parent).mkdir(parents=True)
    (folder / "frame").write_bytes(b"x")
    for frame in frames:
        os.link(folder / "frame", folder / frame)


def test_the_real_metadata_of_vid_has_1109_sets_of_22179_frames_and_288_imagenet_classes(tmp_path):
    entry = Catalogue(ROOT).dataset(VID)
    files = facts("vid_robust", "vid")
    touch(tmp_path / "imagenet-vid-robust", list(json.loads(files["labels.json"].read_text())))
    anchors = entry.options["anchors"]
    indexed = read(VID, tmp_path, entry.display_names, anchors, files=files)
    split = indexed.splits["test"]
    assert len(split.paths) == entry.splits["test"] == 22_179
    assert sum(split.groups["anchor"]) == len(set(split.base_ids)) == 1109
    assert sum(map(len, indexed.label_map)) == 288
    names = dict(zip(entry.display_names, indexed.label_map, strict=True))
    assert names["zebra"] == [340]
    assert names["giant panda"] == [388]
    assert {151, 268} <= set(names["dog"])
    assert names["train"] == [466]


def test_the_real_metadata_of_ytbb_has_2169_good_anchors_and_231_imagenet_classes(tmp_path):
    entry = Catalogue(ROOT).dataset(YTBB)
    files = facts("ytbb_robust", "ytbb") | {"pmk_labels.json": tmp_path / "pmk_labels.json"}
    write_annotations(files["pmk_labels.json"], PAIR_LABELS, [])
    annotations = json.loads(files["anchor_labels.json"].read_text())["annotations"]
    assert len({row["key"] for row in annotations}) == 2467
    keys = ["/".join(row["key"].split("/")[-2:]) for row in annotations]
    touch(tmp_path / "ytbb_videos", keys)
    indexed = read(YTBB, tmp_path, entry.display_names, 2169, files=files)
    split = indexed.splits["test"]
    assert len(split.paths) == 2169
    assert sum(map(len, indexed.label_map)) == 231
    empty = [n for n, items in zip(YTBB_CLASSES, indexed.label_map, strict=True) if not items]
    assert sorted(empty) == sorted(YTBB_UNMAPPED)
    labels = right_labels(split)
    assert not any(YTBB_CLASSES.index("none") in found for found in labels.values())
    car = [found for found in labels.values() if found[0] == YTBB_CLASSES.index("car")]
    assert len(car) > 50  # without the swap all of these would be `none`
