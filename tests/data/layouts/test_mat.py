"""Stanford Cars: MATLAB annotations with labels from 1."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from scipy.io import savemat
from tools.rehearsal.arrays import cars, save_annotations
from tools.rehearsal.pictures import word

from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue
from wiseft.study.config.layouts import check_options
from wiseft.study.data.layouts import LayoutInputs, reader
from wiseft.study.data.layouts import metadata as matlab
from wiseft.study.data.layouts.metadata import read_variable

ROOT = Path(__file__).parents[3]


def read(root, files=None, splits=("train", "test"), **options):
    entry = Catalogue(ROOT).dataset("cars")
    inputs = LayoutInputs(
        dataset="cars",
        root=root,
        files=files or {},
        splits=splits,
        options=check_options("mat", {**entry.options, **options}),
    )
    with mock.patch.object(matlab.subprocess, "run", forked):
        return reader("mat")(inputs)


def forked(command, *, input, **_):
    """Run `python -c PROGRAM ARGUMENT...` as a fork, which has scipy already: ten times as fast.

    The last test and those of the command have the process itself.
    """
    program, *arguments = command[2:]
    process = os.fork()
    if not process:
        code = 1
        try:
            sys.argv, sys.stdin = ["-c", *arguments], io.TextIOWrapper(io.BytesIO(input))
            with mock.patch("resource.setrlimit"):  # this process is larger
                exec(program, {})
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return subprocess.CompletedProcess(command, code)


def test_labels_count_from_0_though_the_files_count_from_1(tmp_path):
    written = cars(tmp_path)
    found = read(tmp_path)
    for split, (files, labels) in written.items():
        assert found.splits[split].labels.tolist() == labels.tolist()
        assert found.splits[split].labels.dtype == np.int64
        assert found.splits[split].paths == [f"cars_{split}/{file}" for file in files]
    assert {0, 195} <= set(found.splits["train"].labels)


def test_class_names_come_from_the_devkit(tmp_path):
    cars(tmp_path)
    found = read(tmp_path)
    assert len(found.class_names) == 196
    assert found.class_names[0] == [f"{word(0).title()} 1900"]
    assert found.class_names[195] == [f"{word(195).title()} 2095"]


def test_paths_and_sizes_are_those_of_the_images(tmp_path):
    cars(tmp_path)
    split = read(tmp_path).splits["test"]
    sizes = [(tmp_path / path).stat().st_size for path in split.paths]
    assert split.bytes.tolist() == sizes
    assert split.sample_ids[0] == "test/00001.jpg"


def test_single_annotation_is_read(tmp_path):
    cars(tmp_path, train=2)
    (tmp_path / "cars_train/00002.jpg").unlink()
    save_annotations(tmp_path / "devkit/cars_train_annos.mat", ["00001.jpg"], np.array([7]))
    split = read(tmp_path, splits=["train"]).splits["train"]
    assert (split.paths, split.labels.tolist()) == (["cars_train/00001.jpg"], [6])


def test_archives_unpacked_to_folders_of_their_own_give_the_same_samples(tmp_path):
    cars(tmp_path / "flat")
    own = tmp_path / "own"
    for folder in ("devkit", "cars_train", "cars_test"):
        (own / folder).mkdir(parents=True)
        (tmp_path / "flat" / folder).rename(own / folder / folder)
    annotations = tmp_path / "flat/cars_test_annos_withlabels.mat"
    found = read(own, {annotations.name: annotations}).splits
    cars(tmp_path / "again")
    expected = read(tmp_path / "again").splits
    for split in ("train", "test"):
        assert found[split].paths == [f"cars_{split}/{path}" for path in expected[split].paths]
        assert found[split].sample_ids == expected[split].sample_ids
        assert found[split].labels.tolist() == expected[split].labels.tolist()


def test_train_needs_neither_test_images_nor_test_labels(tmp_path):
    cars(tmp_path)
    (tmp_path / "cars_test_annos_withlabels.mat").unlink()
    assert len(read(tmp_path, splits=["train"]).splits["train"].paths) == 12


def test_annotations_without_labels_are_refused_and_the_right_file_named(tmp_path):
    cars(tmp_path)
    with pytest.raises(WiseftError, match=r"cars_test_annos.mat has no labels.*annos_withlabels"):
        read(
            tmp_path,
            annotations={
                "train": ["devkit/cars_train_annos.mat"],
                "test": ["devkit/cars_test_annos.mat"],
            },
        )


def test_missing_annotations_are_named(tmp_path):
    cars(tmp_path)
    (tmp_path / "devkit/cars_train_annos.mat").unlink()
    with pytest.raises(WiseftError, match=r"cars needs .*or devkit/cars_train_annos.mat"):
        read(tmp_path)


@pytest.mark.parametrize("wrong", [0, 197])
def test_class_outside_1_to_196_is_refused(tmp_path, wrong):
    cars(tmp_path, train=2)
    files = ["00001.jpg", "00002.jpg"]
    save_annotations(tmp_path / "devkit/cars_train_annos.mat", files, np.array([196, wrong]))
    with pytest.raises(WiseftError, match=rf"00002.jpg has class {wrong}, expected 1\.\.196"):
        read(tmp_path)


def test_first_missing_image_is_named(tmp_path):
    cars(tmp_path)
    (tmp_path / "cars_test/00003.jpg").unlink()
    (tmp_path / "cars_test/00005.jpg").unlink()
    with pytest.raises(WiseftError, match=r"cars_test/00003.jpg is not there.*2 of 8 images"):
        read(tmp_path)


def test_first_image_without_annotation_is_named(tmp_path):
    cars(tmp_path)
    (tmp_path / "cars_train/00001 (copy).jpg").write_bytes(b"a copy")
    (tmp_path / "cars_train/.hidden.jpg").write_bytes(b"ignored")
    (tmp_path / "cars_train/readme.txt").write_bytes(b"ignored")
    with pytest.raises(WiseftError, match=r"00001 \(copy\).jpg is an image that .*\(1 such\)"):
        read(tmp_path)


def test_image_listed_twice_is_refused(tmp_path):
    cars(tmp_path, train=2)
    files = ["00001.jpg", "00002.jpg", "00001.jpg"]
    save_annotations(tmp_path / "devkit/cars_train_annos.mat", files, np.array([1, 2, 3]))
    with pytest.raises(WiseftError, match=r"lists 00001.jpg twice"):
        read(tmp_path)


def test_listed_path_cannot_lead_out_of_the_folder(tmp_path):
    cars(tmp_path, train=1)
    (tmp_path / "secret.jpg").write_bytes(b"outside")
    save_annotations(tmp_path / "devkit/cars_train_annos.mat", ["../secret.jpg"], np.array([1]))
    with pytest.raises(WiseftError, match=r"secret.jpg is not there"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no MATLAB file", b"MATLAB 7.3 MAT-file" + bytes(600)])
def test_file_that_is_no_mat_is_refused(tmp_path, content):
    cars(tmp_path)
    (tmp_path / "devkit/cars_meta.mat").write_bytes(content)
    with pytest.raises(WiseftError, match=r"cars_meta.mat is not a readable MATLAB file"):
        read(tmp_path)


def test_other_variables_and_fields_are_refused(tmp_path):
    cars(tmp_path)
    savemat(tmp_path / "devkit/cars_train_annos.mat", {"something": np.arange(3)})
    with pytest.raises(WiseftError, match="expected a variable `annotations`"):
        read(tmp_path)
    savemat(tmp_path / "devkit/cars_train_annos.mat", {"annotations": np.arange(3)})
    with pytest.raises(WiseftError, match=r"fields `class` and `fname`, found no fields"):
        read(tmp_path)


def test_class_names_must_differ(tmp_path):
    cars(tmp_path)
    names = np.array(["one", "two", "one"], object)
    savemat(tmp_path / "devkit/cars_meta.mat", {"class_names": names[None]})
    with pytest.raises(WiseftError, match="found 3 of which 2 differ"):
        read(tmp_path)


def test_split_without_annotations_is_refused(tmp_path):
    cars(tmp_path)
    with pytest.raises(
        WiseftError, match="split validation, but `annotations` in its options only"
    ):
        read(tmp_path, splits=["validation"])


def test_a_crash_of_the_reader_is_told(tmp_path, monkeypatch):
    path = tmp_path / "x.mat"
    savemat(path, {"x": [1, 2]})
    assert read_variable(path.read_bytes(), "x", path).tolist() == [1, 2]
    huge = matlab.READ.replace("loadmat(io", "bytes(2**40) + loadmat(io")
    monkeypatch.setattr(matlab, "READ", huge)
    with pytest.raises(WiseftError, match=r"x\.mat is damaged: it asks for far more memory"):
        read_variable(path.read_bytes(), "x", path)
    monkeypatch.setattr(matlab, "READ", "import os; os.kill(os.getpid(), 11)")
    with pytest.raises(WiseftError, match=r"x\.mat is damaged: reading it crashes scipy"):
        read_variable(path.read_bytes(), "x", path)
