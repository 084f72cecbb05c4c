"""The two sides of a dataset: how they are computed, written down, and taken."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from tests.data.conftest import ROOT

from wiseft.errors import WiseftError
from wiseft.images.split import PreparedSplit
from wiseft.images.store import open_split
from wiseft.study.config import Catalogue
from wiseft.study.data.builders import BUILDERS, Inputs
from wiseft.study.data.builders.sides import above, read_sides, side_record
from wiseft.study.data.prepared import write_prepared

N = 21


@pytest.fixture
def base(tmp_path):
    """Two classes; the pixels of image k are k."""
    images = np.repeat(np.arange(N, dtype=np.uint8), 32 * 32 * 3).reshape(N, 32, 32, 3)
    ids = [f"base/{k:02d}" for k in range(N)]
    split = PreparedSplit(images, np.arange(N) % 2, ids)
    return write_prepared(tmp_path / "base", "base", {"train": split, "test": split}, ["a", "b"])


@pytest.fixture
def entry(base, tmp_path):
    """Return the options of an entry whose file says that the images above 9 are above."""
    ids = open_split(base, "test").sample_ids
    records = {split: side_record(ids, np.arange(N) > 9) for split in ("train", "test")}
    content = json.dumps(records).encode()
    (tmp_path / "sides.json").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return {"base": "base", "sides": "sides.json", "sha256": digest, "side": "upper", "seed": 0}


def make(base, options, **counts):
    folder = base.parents[1]
    return BUILDERS["sides"](Inputs("up", {}, {"base": base}, counts, options, folder))


def pixels(split):
    return split.images[:, 0, 0, 0].tolist()


def test_each_side_has_its_images_with_their_labels_and_base_ids(base, entry):
    upper = make(base, entry, train=11, test=11)["test"]
    lower = make(base, entry | {"side": "lower"}, train=10, test=10)["test"]
    assert pixels(upper) == list(range(10, 21)) and pixels(lower) == list(range(10))
    assert upper.labels.tolist() == [k % 2 for k in range(10, 21)]
    assert upper.base_ids == [f"base/{k:02d}" for k in range(10, 21)]
    assert upper.sample_ids == [f"up/base/{k:02d}" for k in range(10, 21)]


def test_fewer_images_are_drawn_by_the_seed(base, entry):
    few = [pixels(make(base, entry | {"seed": s}, test=4)["test"]) for s in (0, 0, 1)]
    assert few[0] == few[1] != few[2]
    assert len(few[0]) == 4 and set(few[0]) <= set(range(10, 21))
    with pytest.raises(WiseftError, match="at least 12 images to draw from, found 11"):
        make(base, entry, test=12)


def test_what_does_not_belong_together_is_refused(base, entry, tmp_path):
    with pytest.raises(WiseftError, match=r"expected sha256 0000.*Restore it"):
        make(base, entry | {"sha256": "0" * 64}, test=4)
    with pytest.raises(WiseftError, match=r"no file of sides .*/other\.json"):
        make(base, entry | {"sides": "other.json"}, test=4)
    with pytest.raises(WiseftError, match="`side` is"):
        make(base, entry | {"side": "left"}, test=4)
    ids = [f"base/{k}" for k in range(100, 100 + N)]
    split = PreparedSplit(np.zeros((N, 32, 32, 3), np.uint8), np.arange(N) % 2, ids)
    other = write_prepared(tmp_path / "other", "base", {"test": split}, ["a", "b"])
    with pytest.raises(WiseftError, match="is about other images than the split test of base"):
        make(other, entry, test=4)


ENTRIES = [name for name in Catalogue(ROOT).names("datasets") if name.startswith("cifar10-")]
SIDED = [n for n in ENTRIES if Catalogue(ROOT).dataset(n).builder == "sides"]


@pytest.mark.parametrize("name", SIDED)
def test_the_file_of_the_repository_is_that_of_the_entry_and_has_enough_images(name):
    entry = Catalogue(ROOT).dataset(name)
    folder = ROOT / "config" / "datasets"
    records = read_sides(folder / entry.options["sides"], entry.options["sha256"])
    cifar10 = Catalogue(ROOT).dataset(entry.options["base"])
    for split, count in entry.splits.items():
        assert records[split]["n"] == cifar10.splits[split]
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(records[split]["above"]), np.uint8))
        upper = int(bits[: records[split]["n"]].sum())
        there = upper if entry.options["side"] == "upper" else records[split]["n"] - upper
        assert there == count if name.endswith("-all") else there >= count
    assert len(SIDED) == 4


def test_bits_are_read_as_they_were_written(base):
    split = open_split(base, "test")
    chosen = np.random.default_rng(0).random(N) < 0.5
    found = above(split, {"test": side_record(split.sample_ids, chosen)}, "sides.json")
    assert np.array_equal(found, chosen)
