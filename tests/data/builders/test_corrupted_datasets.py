"""The builder of corrupted sets: cells, ids, order, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.data.conftest import COUNTS
from tests.data.corruptions.test_corruptions import photos

from wiseft.errors import WiseftError
from wiseft.images.decode import FolderImages, decode
from wiseft.images.split import PreparedSplit
from wiseft.images.store import Split, open_split
from wiseft.study.data.builders import BUILDERS, Inputs
from wiseft.study.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt, generator
from wiseft.study.data.prepared import write_prepared
from wiseft.thetas.preprocessing import Transform

OPTIONS = {"base": "photos", "split": "test", "samples": 3, "seed": 0}


@pytest.fixture
def base(tmp_path):
    """Six photographs of 24 pixels in two classes, of which pairs share a base id."""
    images = np.stack([np.roll(photo, k, axis=1) for k in range(3) for photo in photos(24)])
    split = PreparedSplit(
        images=images,
        labels=np.array([0, 1] * 3),
        sample_ids=[f"photos/{k}" for k in range(6)],
        base_ids=[f"scene/{k // 2}" for k in range(6)],
    )
    return write_prepared(tmp_path / "photos", "photos", {"test": split}, ["temple", "flower"])


def make(manifest, n, **options):
    inputs = Inputs("shifts", {}, {"photos": manifest}, {"test": n}, {**OPTIONS, **options})
    return BUILDERS["corruptions"](inputs)["test"]


def test_the_builder_makes_every_cell_of_the_same_images(base):
    split = make(base, 3 * 15 * 5)
    assert split.images.shape == (225, 24, 24, 3) and split.images.dtype == np.uint8
    pairs = list(zip(split.groups["corruption"], split.groups["severity"], strict=True))
    assert sorted(set(pairs)) == sorted((n, s) for n in CORRUPTIONS for s in SEVERITIES)
    source = open_split(base, "test")
    rows = {name: k for k, name in enumerate(source.sample_ids)}
    for k, (name, severity) in enumerate(pairs):
        prefix = f"shifts/{name}/{severity}/"
        assert split.sample_ids[k].startswith(prefix)
        sample_id = split.sample_ids[k].removeprefix(prefix)
        row = rows[sample_id]
        assert split.labels[k] == source.labels[row] and split.base_ids[k] == source.base_ids[row]
        expected = corrupt(
            source.read([row])[0], name, severity, generator(0, sample_id, name, severity)
        )
        np.testing.assert_array_equal(split.images[k], expected)
    assert len({name.split("/", 3)[3] for name in split.sample_ids}) == 3


def test_an_image_is_corrupted_the_same_whatever_else_is_made(base):
    def by_id(split):
        return dict(zip(split.sample_ids, map(np.ndarray.tobytes, split.images), strict=True))

    few = by_id(make(base, 12, corruptions=["snow", "frost"], severities=[5, 1], samples=3))
    many = by_id(make(base, 60, corruptions=["frost", "fog", "snow", "pixelate"], samples=3))
    assert set(few) < set(many) and all(many[name] == few[name] for name in few)
    all_six = by_id(make(base, 6, corruptions=["snow"], severities=[1], samples=6))
    assert all(all_six[name] == few[name] for name in set(all_six) & set(few))
    assert by_id(make(base, 12, corruptions=["snow", "frost"], severities=[5, 1], seed=1)) != few


def test_the_builder_works_for_digits_folders_and_other_sizes(mnist, tmp_path):
    options = {"base": "mnist", "split": "held-out", "samples": 2, "severities": [3], "seed": 0}
    inputs = Inputs("digits-c", {}, {"mnist": mnist}, {"test": 2 * 15}, options)
    split = BUILDERS["corruptions"](inputs)["test"]
    assert split.images.shape == (30, 32, 32, 3)
    manifest = write_prepared(
        tmp_path / "c", "digits-c", {"test": split}, list(map(str, range(10)))
    )
    index = open_split(manifest, "test").groups
    assert index["group_severity"].tolist() == [3] * 30
    resized = BUILDERS["corruptions"](
        Inputs("digits-c", {}, {"mnist": mnist}, {"test": 30}, {**options, "size": 40})
    )
    assert resized["test"].images.shape == (30, 40, 40, 3)
    assert COUNTS["held-out"] == 10  # more than the two that were drawn


def test_the_builder_reads_an_image_folder_at_the_size_of_its_option(tmp_path, monkeypatch):
    names = []
    for k, photo in enumerate(photos(60, 50)):
        names.append(f"{k}.png")
        Image.fromarray(photo).save(tmp_path / names[-1])

    def open_folder(manifest, split, transform):
        images = FolderImages(tmp_path, names, transform)
        return Split("own", split, images, np.array([0, 1]), names, names, pd.DataFrame())

    monkeypatch.setattr("wiseft.study.data.builders.corruptions.open_split", open_folder)
    split = make(tmp_path, 2, samples=2, severities=[1], corruptions=["fog"], size=20)
    assert split.images.shape == (2, 20, 20, 3)
    image = decode(tmp_path / "1.png", Transform(size=20))
    expected = corrupt(image, "fog", 1, generator(0, "1.png", "fog", 1))
    np.testing.assert_array_equal(split.images[1], expected)


def test_a_base_with_several_right_labels_is_refused(base, monkeypatch):
    split = replace(open_split(base, "test"), other_labels=[[1]] * 6)
    monkeypatch.setattr(
        "wiseft.study.data.builders.corruptions.open_split", lambda *arguments: split
    )
    with pytest.raises(WiseftError, match="images of photos may have several right labels"):
        make(base, 225)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"corruptions": ["fog", "rain"]},
            "`corruptions`: rain is no corruption; there are",
        ),
        ({"severities": [1, 6]}, "`severities.1` is 6, but must be"),
        ({"severities": [2, True]}, "`severities.1` is true, but must be"),
        ({"corruptions": ["fog", "fog"]}, "fog occurs twice"),
        ({"corruptions": []}, r"`corruptions` is \[\], but must"),
        ({"strength": 3}, "unknown key `strength`; valid: base, split, samples, seed"),
        ({"samples": 0}, "`samples` is 0, but must be"),
        ({"size": 8}, "`size` is 8, but must be .*16"),
        ({"samples": 4}, r"4 samples x 75 pairs .* are 300 images, found 225 .* splits: test"),
        ({"base": "mnist"}, "rendered from mnist: name its manifest"),
        ({"split": "train"}, "has no split 'train'"),
    ],
)
def test_the_builder_names_what_is_wrong(base, options, message):
    with pytest.raises(WiseftError, match=message):
        make(base, 225, **options)


def test_the_builder_asks_for_what_is_missing_and_for_enough_images(base):
    with pytest.raises(WiseftError, match="key `split` is missing"):
        BUILDERS["corruptions"](Inputs("shifts", {}, {"photos": base}, {"test": 5}, {"base": "x"}))
    with pytest.raises(WiseftError, match="at least 9 images to draw from, found 6"):
        make(base, 9 * 75, samples=9)


def test_a_set_that_does_not_fit_into_memory_is_refused_with_its_size(base, tmp_path, monkeypatch):
    small = open_split(base, "test")
    transform = Transform.model_construct(size=10**7)  # no entry may have so large an edge
    huge = replace(small, images=FolderImages(tmp_path, small.sample_ids, transform))
    monkeypatch.setattr(
        "wiseft.study.data.builders.corruptions.open_split", lambda *arguments: huge
    )
    message = r"75 x 3 images of 10000000 x 10000000 pixels need 67500000\.0 GB of memory"
    with pytest.raises(WiseftError, match=message):
        make(base, 225)
