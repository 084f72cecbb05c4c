"""Datasets of NumPy arrays: CIFAR-10.1, CIFAR-10.2, and pickles that must not be loaded."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from tests.data.layouts.official_files import cifar10_2_pickled
from tools.rehearsal.arrays import CIFAR10, cifar10_1, cifar10_2, random_arrays

from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue
from wiseft.study.config.layouts import check_options
from wiseft.study.data.layouts import LayoutInputs, reader

ROOT = Path(__file__).parents[3]


def read(name, root, files=None, class_names=CIFAR10, **options):
    entry = Catalogue(ROOT).dataset(name)
    inputs = LayoutInputs(
        dataset=name,
        root=root,
        files=files or {},
        splits=["test"],
        options=check_options("array-files", {**entry.options, **options}),
        class_names=class_names,
    )
    return reader("array-files")(inputs).splits["test"]


def assert_equal(split, arrays):
    images, labels = arrays["test"]
    np.testing.assert_array_equal(split.images, images)
    np.testing.assert_array_equal(split.labels, labels)
    assert split.labels.dtype == np.int64
    assert len(set(split.sample_ids)) == len(labels)


class Writes:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "unpickled")


@pytest.mark.parametrize(("name", "version"), [("cifar10.1", "v6"), ("cifar10.1-v4", "v4")])
def test_cifar10_1_is_read_from_its_two_npy(tmp_path, name, version):
    arrays = cifar10_1(tmp_path, version)
    split = read(name, tmp_path)
    assert_equal(split, arrays)
    assert split.sample_ids[3] == f"{name}/test/00003"


def test_files_are_taken_from_where_they_were_fetched_to(tmp_path):
    arrays = cifar10_1(tmp_path / "archives")
    files = {path.name: path for path in (tmp_path / "archives").iterdir()}
    assert_equal(read("cifar10.1", tmp_path / "absent", files), arrays)


def test_cifar10_2_is_read_from_its_npz(tmp_path):
    arrays = cifar10_2(tmp_path)
    assert_equal(read("cifar10.2", tmp_path), arrays)


def test_npy_is_memory_mapped(tmp_path):
    cifar10_1(tmp_path)
    assert isinstance(read("cifar10.1", tmp_path).images, np.memmap)


def test_order_of_the_classes_in_the_file_must_be_the_entrys(tmp_path):
    cifar10_2(tmp_path)
    swapped = [*CIFAR10[:3], CIFAR10[4], CIFAR10[3], *CIFAR10[5:]]
    with pytest.raises(WiseftError, match=r"expected 'deer' as class 3 .*found 'cat'"):
        read("cifar10.2", tmp_path, class_names=swapped)
    with pytest.raises(WiseftError, match=r"expected 9 classes .*, found 10"):
        read("cifar10.2", tmp_path, class_names=CIFAR10[:9])


@pytest.mark.parametrize("option", ["images", "labels"])
def test_pickled_npy_is_refused_without_being_loaded(tmp_path, option):
    cifar10_2(tmp_path)
    mark = tmp_path / "mark"
    path = cifar10_2_pickled(tmp_path, Writes(mark))
    with pytest.raises(WiseftError, match="Pickled content is never loaded"):
        read("cifar10.2", tmp_path, **{option: {"test": path.name}})
    assert not mark.exists()
    # On purpose, of a file that this test wrote: it shows that loading would have run its code.
    np.load(path, allow_pickle=True)
    assert mark.exists(), "the pickle would not have written anything, so the test shows nothing"


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 32, 32, 3), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (10000000000, 32, 32, 3), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
        "{" * 50,
    ],
)
def test_header_that_is_none_is_refused(tmp_path, header):
    cifar10_1(tmp_path)
    text = header.encode().ljust(117) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(9216)
    (tmp_path / "cifar10.1_v6_data.npy").write_bytes(content)
    with pytest.raises(WiseftError, match=r"cifar10\.1_v6_data\.npy is not an array") as error:
        read("cifar10.1", tmp_path)
    assert "allow_pickle" not in str(error.value)


def test_bare_pickle_is_refused_without_being_loaded(tmp_path):
    cifar10_1(tmp_path)
    mark = tmp_path / "mark"
    (tmp_path / "cifar10.1_v6_data.npy").write_bytes(pickle.dumps(Writes(mark)))
    with pytest.raises(WiseftError, match=r"neither .npy nor .npz.*never loaded"):
        read("cifar10.1", tmp_path)
    assert not mark.exists()


def test_pickled_array_in_an_npz_is_refused_without_being_loaded(tmp_path):
    images, _ = random_arrays(4, CIFAR10, 0)
    mark = tmp_path / "mark"
    hidden = np.array([Writes(mark)] * 4, object)
    np.savez(tmp_path / "cifar102_test.npz", images=images, labels=hidden, label_names=CIFAR10)
    with pytest.raises(WiseftError, match="Pickled content is never loaded"):
        read("cifar10.2", tmp_path)
    assert not mark.exists()


def test_missing_file_is_named(tmp_path):
    with pytest.raises(WiseftError, match=r"cifar10.1 needs cifar10.1_v6_data.npy"):
        read("cifar10.1", tmp_path)


@pytest.mark.parametrize("keep", [0, 3, 100, 5000])
def test_truncated_files_are_refused(tmp_path, keep):
    cifar10_1(tmp_path)
    path = tmp_path / "cifar10.1_v6_data.npy"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WiseftError, match=r"cifar10.1_v6_data.npy"):
        read("cifar10.1", tmp_path)
    cifar10_2(tmp_path)
    path = tmp_path / "cifar102_test.npz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WiseftError, match=r"cifar102_test.npz"):
        read("cifar10.2", tmp_path)


def test_npz_without_the_key_lists_its_keys(tmp_path):
    cifar10_2(tmp_path)
    with pytest.raises(WiseftError, match=r"expected an array `data`, found .*'images', 'labels'"):
        read("cifar10.2", tmp_path, images={"test": "cifar102_test.npz:data"})


def test_npz_without_a_key_in_the_entry_is_refused(tmp_path):
    cifar10_2(tmp_path)
    with pytest.raises(WiseftError, match="has several arrays: name one"):
        read("cifar10.2", tmp_path, images={"test": "cifar102_test.npz"})


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 3, 32, 32), np.uint8), r"found uint8 \(4, 3, 32, 32\)"),
        (np.zeros((4, 32, 32, 3), np.float32), "found float32"),
        (np.zeros((4, 32, 32), np.uint8), r"found uint8 \(4, 32, 32\)"),
    ],
)
def test_images_of_another_form_are_refused(tmp_path, images, message):
    cifar10_1(tmp_path, n=4)
    np.save(tmp_path / "cifar10.1_v6_data.npy", images)
    with pytest.raises(WiseftError, match=message):
        read("cifar10.1", tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(5), r"expected integer labels \(4,\).*found int64 \(5,\)"),
        (np.arange(4.0), r"found float64 \(4,\)"),
        (np.eye(4, dtype=np.int64), r"found int64 \(4, 4\)"),
        (np.array([0, 1, 10, 2]), r"sample 2 has label 10, expected 0..9"),
        (np.array([0, -1, 3, 2]), "sample 1 has label -1"),
    ],
)
def test_labels_of_another_form_are_refused(tmp_path, labels, message):
    cifar10_1(tmp_path, n=4)
    np.save(tmp_path / "cifar10.1_v6_labels.npy", labels)
    with pytest.raises(WiseftError, match=message):
        read("cifar10.1", tmp_path)


def test_split_without_a_file_is_refused(tmp_path):
    with pytest.raises(
        WiseftError, match="has a split test, but `images` in its options only train"
    ):
        read("cifar10.1", tmp_path, images={"train": "a.npy"})
