"""The prepared dataset on disk: what is written is what is read, and damage is found."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from wiseft.base.io import read_json, sha256_file, write_json
from wiseft.base.stages import VERSION
from wiseft.errors import DamagedFile, StaleArtifact, WiseftError
from wiseft.images import store
from wiseft.images.decode import fit
from wiseft.images.manifest import open_manifest
from wiseft.images.split import PreparedSplit
from wiseft.images.store import batches, open_split
from wiseft.images.verify import verify
from wiseft.study.data.prepared import write_prepared
from wiseft.thetas.damage import with_sum
from wiseft.thetas.preprocessing import Transform


def split(n: int = 7, size: int = 4) -> PreparedSplit:
    rng = np.random.default_rng(n)
    return PreparedSplit(
        images=rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8),
        labels=np.arange(n, dtype=np.int64) % 3,
        sample_ids=[f"x/{i}" for i in range(n)],
        base_ids=[f"base/{i // 2}" for i in range(n)],
        groups={"writer": [f"w{i % 2}" for i in range(n)]},
    )


@pytest.fixture
def manifest(tmp_path):
    return write_prepared(
        tmp_path / "x",
        "x",
        {"test": split(), "train": split(9)},
        ["a", "b", "c"],
        prompt_names=[["a"], ["b", "bee"], ["c"]],
    )


def test_what_was_written_is_read(manifest):
    source, opened = split(), open_split(manifest, "test")
    assert len(opened) == 7
    np.testing.assert_array_equal(opened.read(slice(None)), source.images)
    np.testing.assert_array_equal(opened.read([5, 0, 5]), source.images[[5, 0, 5]])
    np.testing.assert_array_equal(opened.labels, source.labels)
    assert opened.labels.dtype == np.int64
    assert (opened.sample_ids, opened.base_ids) == (source.sample_ids, source.base_ids)
    assert opened.groups["group_writer"].tolist() == source.groups["writer"]
    record = open_manifest(manifest)
    assert record.class_names == ["a", "b", "c"]
    assert record.prompt_names[1] == ["b", "bee"]
    assert record.image_size == 4
    content = read_json(manifest)
    del content["sha256"]
    write_json(manifest, content)  # as before manifests carried their sum
    assert record.sha256 == sha256_file(manifest) == open_manifest(manifest).sha256


def test_base_ids_default_to_sample_ids(tmp_path):
    one = PreparedSplit(np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1]), ["p", "q"])
    opened = open_split(write_prepared(tmp_path / "y", "y", {"test": one}, ["a", "b"]), "test")
    assert opened.base_ids == ["p", "q"]
    assert opened.groups.shape == (2, 0)


def test_batches_are_channels_last_views_in_the_order_asked_for(manifest):
    import torch

    source, opened = split(), open_split(manifest, "test")
    order = [6, 2, 4, 0, 1]
    found = list(batches(opened, 2, order))
    assert [len(labels) for _, labels in found] == [2, 2, 1]
    images = torch.cat([image for image, _ in found])
    assert images.dtype == torch.uint8 and images.shape == (5, 3, 4, 4)
    assert all(image.is_contiguous(memory_format=torch.channels_last) for image, _ in found)
    np.testing.assert_array_equal(images.permute(0, 2, 3, 1).numpy(), source.images[order])
    assert torch.cat([labels for _, labels in found]).tolist() == source.labels[order].tolist()
    assert sum(len(labels) for _, labels in batches(opened, 3)) == 7


def test_stored_images_can_be_read_at_another_size(manifest):
    opened = open_split(manifest, "test", Transform(size=8))
    assert opened.images.shape == (7, 8, 8, 3)
    expected = [fit(Image.fromarray(image), Transform(size=8)) for image in split().images]
    for chosen in ([5, 0, 3], slice(None), slice(4, 9)):
        places = np.arange(7)[chosen]
        np.testing.assert_array_equal(opened.read(chosen), np.stack(expected)[places])


def test_images_stored_at_the_models_size_are_read_as_they_are(manifest):
    """So that the digits, 32 pixels all, never meet a filter."""
    for how in ({}, {"resize_mode": "squash"}, {"interpolation": "bilinear"}):
        opened = open_split(manifest, "test", Transform(size=4, **how))
        assert isinstance(opened.images, np.memmap)
        np.testing.assert_array_equal(opened.images, split().images)
    cropped = open_split(manifest, "test", Transform(size=4, resize_size=5))
    assert not np.array_equal(cropped.read(slice(None)), split().images)


def test_the_same_data_gives_the_same_manifest(tmp_path):
    paths = [write_prepared(tmp_path / n, "x", {"test": split()}, ["a", "b", "c"]) for n in "pq"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("file", ["images.npy", "index.parquet"])
def test_a_changed_file_is_found(manifest, file):
    path = manifest.parent / "test" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    sentence = rf"{file} differs from its manifest: expected SHA-256"
    with pytest.raises(DamagedFile, match=sentence) as found:
        open_split(manifest, "test")
    assert found.value.files == [path, manifest]  # the manifest is what rules ask for
    with pytest.raises(WiseftError, match="differs from its manifest"):
        verify(manifest)
    open_split(manifest, "train")


def test_a_missing_file_is_named(manifest):
    (manifest.parent / "train" / "images.npy").unlink()
    with pytest.raises(DamagedFile, match=r"train/images\.npy, does not exist") as found:
        verify(manifest)
    assert found.value.files == [manifest]


def test_an_unknown_split_lists_the_known(manifest):
    with pytest.raises(WiseftError, match=r"no split 'val' in .*; it has: test, train"):
        open_split(manifest, "val")


def test_an_older_stage_version_is_refused(manifest):
    record = json.loads(manifest.read_text())
    del record["sha256"]
    record["stage_version"] -= 1
    write_json(manifest, with_sum(record))
    with pytest.raises(StaleArtifact, match="Delete it and prepare the dataset again"):
        open_manifest(manifest)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}', '{"format": 1, "stage_version": 1}'])
def test_what_is_no_manifest_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.setitem(VERSION, "data", 1)
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(WiseftError, match=r"manifest\.json"):
        open_manifest(path)


def test_counts_are_exact(tmp_path):
    for expected, message in (
        ({"test": 8}, "expected exactly 8 images, found 7"),
        ({"test": 7, "train": 1}, "split 'train' is missing"),
        ({}, "split 'test' is not in the dataset's entry"),
    ):
        with pytest.raises(WiseftError, match=message):
            write_prepared(tmp_path / "x", "x", {"test": split()}, list("abc"), expected=expected)
    assert not (tmp_path / "x").exists()


def test_a_failed_write_leaves_no_manifest(manifest, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("no space left")

    monkeypatch.setattr(store.np, "save", fail)
    with pytest.raises(OSError, match="no space"):
        write_prepared(manifest.parent, "x", {"test": split()}, list("abc"))
    assert not manifest.exists()
    assert not list(manifest.parent.glob("*/.*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.full(7, 3)}, r"sample x/0 has label 3, expected 0\.\.2"),
        ({"sample_ids": ["x"] * 7}, "sample x occurs twice"),
        ({"base_ids": ["x"]}, "expected one of base_id for each of 7 labels, found 1"),
        ({"images": np.zeros((7, 4, 5, 3), np.uint8)}, "and square"),
        ({"images": np.zeros((7, 4, 4, 3), np.float32)}, "must be uint8"),
    ],
)
def test_bad_splits_are_refused(tmp_path, change, message):
    import dataclasses

    with pytest.raises(WiseftError, match=message):
        wrong = dataclasses.replace(split(), **change)
        write_prepared(tmp_path / "x", "x", {"test": wrong}, list("abc"))
