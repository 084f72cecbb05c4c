"""Previews: N samples a split under a name of their own."""

from __future__ import annotations

import pytest

from wiseft.errors import WiseftError
from wiseft.images.manifest import open_manifest
from wiseft.images.store import open_split
from wiseft.study.config import Catalogue
from wiseft.study.data.prepare import prepare_dataset

from .conftest import ROOT


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
