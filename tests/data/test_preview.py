"""Previews: N samples a split under a name of their own."""

from __future__ import annotations

import pytest

from wiseft.errors import WiseftError
from wiseft.images.index import read_index
from wiseft.images.manifest import open_manifest
from wiseft.images.store import open_split
from wiseft.study.config import Catalogue
from wiseft.study.config.machine import DatasetPlaces
from wiseft.study.data.fetching.entry_files import fetch_files
from wiseft.study.data.prepare import prepare_dataset

from .conftest import ROOT
from .project import image


def test_preview_is_cut_from_the_whole(mnist, tmp_path):
    path = tmp_path / "mnist-limit15" / "manifest.json"
    prepare_dataset(Catalogue(ROOT), "mnist-limit15", path, depends=[mnist])
    found = open_manifest(path)
    assert found.limit == 15 and found.dataset == "mnist-limit15"
    assert {name: files.n for name, files in found.splits.items()} == {
        "train": 15,
        "held-out": 10,
        "test": 15,
    }
    whole, part = open_split(mnist, "test"), open_split(path, "test")
    places = [whole.sample_ids.index(name) for name in part.sample_ids]
    assert places == sorted(places) and len(set(places)) == 15
    assert (part.read(slice(None)) == whole.read(places)).all()
    assert part.labels.tolist() == whole.labels[places].tolist()
    assert found.identity(["test"]) != open_manifest(mnist).identity(["test"])


def test_preview_of_another_dataset_is_refused(mnist, tmp_path):
    with pytest.raises(WiseftError, match="inverted"):
        prepare_dataset(
            Catalogue(ROOT), "inverted-limit5", tmp_path / "i" / "manifest.json", depends=[mnist]
        )


def test_a_preview_of_a_part_of_imagenet(tmp_path):
    """Two training images a class and forty flat validation images, as somebody copied them."""
    catalogue, mine = Catalogue(ROOT), tmp_path / "mine"
    wnids = catalogue.dataset("imagenet").ids
    for wnid in wnids:
        (mine / "train" / wnid).mkdir(parents=True)
        for number in range(2):
            (mine / "train" / wnid / f"{wnid}_{number}.JPEG").write_bytes(b"x")
    (mine / "val").mkdir()
    numbers = range(7, 47)
    for number in numbers:
        (mine / "val" / f"ILSVRC2012_val_{number:08}.JPEG").write_bytes(image((number, 0, 0)))
    rows = [f"ILSVRC2012_val_{number:08},{wnids[number]} 1 2 3 4" for number in numbers]
    (mine / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]))
    places = DatasetPlaces(folder=str(tmp_path / "datasets"), paths={"imagenet": str(mine)})
    splits = ["train", "held-out", "test"]
    fetch_files(catalogue.dataset("imagenet"), places, splits)
    record = tmp_path / "datasets" / ".archives" / "imagenet.json"

    def preview(name):
        manifest = tmp_path / "datasets" / name / "manifest.json"
        return open_manifest(prepare_dataset(catalogue, name, manifest, fetched=record))

    found = preview("imagenet-limit30")
    assert (found.dataset, found.limit, found.root) == ("imagenet-limit30", 30, mine.resolve())
    assert {name: files.n for name, files in found.splits.items()} == dict.fromkeys(splits, 30)
    index = {name: read_index(found, name) for name in splits}
    assert not set(index["train"]["path"]) & set(index["held-out"]["path"])
    for row in index["train"].itertuples():
        assert wnids[row.label] == row.path.split("/")[1]
    for row in index["test"].itertuples():
        assert row.label == int(row.path[-13:-5])
    with pytest.raises(WiseftError, match=r"limit50: expected at least 50 .* split test, found 40"):
        preview("imagenet-limit50")
    with pytest.raises(WiseftError, match=r"at least 2002 images in the folder of split train"):
        preview("imagenet-limit1001")
