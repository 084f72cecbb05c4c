"""ImageNet-1k: training folders, and validation images flat or in folders, with every kind of label
file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.data.layouts import reading
from tests.data.layouts.official_files import imagenet_val_folders, kaggle_solution
from tests.data.layouts.reading import check
from tools.rehearsal import folders as generate
from tools.rehearsal.folders import pack, wnids

from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue

LIST = "imagenet_2012_validation_synset_labels.txt"


ENTRY = Catalogue(Path(__file__).parents[3]).dataset("imagenet")


def read(root, *splits, **inputs):
    return reading.read("imagenet", root, splits or ["test"], **{"class_ids": wnids(), **inputs})


def flat(root, **where):
    return generate.imagenet_val_flat(root, **where)


def wnid_list(written):
    return "".join(f"{wnids()[label]}\n" for label in written.splits["test"].values())


def test_the_entry_is_whole_and_needs_few_files_to_evaluate():
    assert ENTRY.splits["train"] + ENTRY.splits["held-out"] == 1_281_167
    assert ENTRY.held_out.count == ENTRY.splits["held-out"]
    files = [file.file for file in ENTRY.files_of("test")]
    assert files == ["ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"]
    for split in ("train", "held-out"):
        assert [file.file for file in ENTRY.files_of(split)] == ["ILSVRC2012_img_train.tar"]


def test_training_folders(tmp_path):
    written = generate.imagenet_train(tmp_path)
    check(read(tmp_path, "train"), written, "train")


def test_evaluating_needs_no_training_images(tmp_path):
    written = imagenet_val_folders(tmp_path)
    check(read(tmp_path, "test"), written, "test")
    with pytest.raises(WiseftError, match=r"expected a folder train or .*train in .*, found none"):
        read(tmp_path, "train", "test")


@pytest.mark.parametrize("folder", ["val", "val_in_folder", "ILSVRC/Data/CLS-LOC/val"])
def test_validation_folders_in_all_places(tmp_path, folder):
    written = imagenet_val_folders(tmp_path, folder=folder)
    check(read(tmp_path), written, "test")


def test_flat_images_with_the_development_kit(tmp_path):
    """The trap: ILSVRC's ids, 1 to 1000, are not in the order of the sorted wnids."""
    written = flat(tmp_path)
    kit = generate.devkit(tmp_path, written)
    truth = (kit / "data" / "ILSVRC2012_validation_ground_truth.txt").read_text().split()
    as_if_sorted = [int(number) - 1 for number in truth]
    assert as_if_sorted != list(written.splits["test"].values())
    check(read(tmp_path), written, "test")


def test_the_development_kit_has_a_folder_of_its_own_where_it_was_unpacked_here(tmp_path):
    written = flat(tmp_path)
    generate.devkit(tmp_path, written, folder="devkit")
    check(read(tmp_path), written, "test")


def test_the_development_kit_is_read_packed_too(tmp_path):
    written = flat(tmp_path)
    generate.devkit(tmp_path / "kit", written)
    archive = pack(tmp_path / "kit", tmp_path / "elsewhere" / "ILSVRC2012_devkit_t12.tar.gz")
    shutil.rmtree(tmp_path / "kit")
    with pytest.raises(WiseftError, match="labels are not there"):
        read(tmp_path)
    check(read(tmp_path, files={archive.name: archive}), written, "test")
    archive.rename(tmp_path / archive.name)
    check(read(tmp_path), written, "test")
    assert not (tmp_path / "ILSVRC2012_devkit_t12").exists()


@pytest.mark.parametrize("place", [".", "val"])
def test_flat_images_with_a_list_of_wnids(tmp_path, place):
    written = flat(tmp_path)
    (tmp_path / place / LIST).write_text(wnid_list(written))
    check(read(tmp_path), written, "test")


def test_flat_images_with_a_list_of_names_and_wnids(tmp_path):
    written = flat(tmp_path)
    rows = [f"{path[4:]} {wnids()[label]}" for path, label in written.splits["test"].items()]
    (tmp_path / "val_labels.txt").write_text("\n".join(reversed(rows)))
    check(read(tmp_path), written, "test")


def test_the_tree_of_kaggle(tmp_path):
    written = flat(tmp_path, folder="ILSVRC/Data/CLS-LOC/val")
    kaggle_solution(tmp_path / "LOC_val_solution.csv", written)
    check(read(tmp_path), written, "test")
    # The labels are found around the images, when the root is further inside, only up to the root.
    inside = tmp_path / "ILSVRC"
    with pytest.raises(WiseftError, match="labels are not there"):
        read(inside)
    shutil.move(tmp_path / "LOC_val_solution.csv", inside)
    assert read(inside).splits["test"].labels.tolist() == list(written.splits["test"].values())


def test_all_forms_of_validation_images_give_equal_labels(tmp_path):
    def by_name(split):
        names = [path.rpartition("/")[2] for path in split.paths]
        return dict(zip(names, split.labels.tolist(), strict=True))

    written = flat(tmp_path / "flat")
    generate.devkit(tmp_path / "flat", written)
    imagenet_val_folders(tmp_path / "folders")
    found = [by_name(read(tmp_path / form).splits["test"]) for form in ("flat", "folders")]
    assert found[0] == found[1]
    assert len(found[0]) == 24


def test_a_subset_of_flat_images_keeps_its_labels(tmp_path):
    """Labels go by the number in the name, not by the place among the images that are there."""
    written = flat(tmp_path)
    generate.devkit(tmp_path, written)
    first = next(iter(written.splits["test"]))
    (tmp_path / first).unlink()
    del written.splits["test"][first]
    check(read(tmp_path), written, "test")


def test_flat_images_without_labels_say_what_to_bring(tmp_path):
    flat(tmp_path)
    with pytest.raises(WiseftError) as error:
        read(tmp_path)
    for name in ("ILSVRC2012_devkit_t12.tar.gz", LIST, "LOC_val_solution.csv", str(tmp_path)):
        assert name in str(error.value)


def test_half_sorted_images_are_refused(tmp_path):
    written = imagenet_val_folders(tmp_path)
    path = next(iter(written.splits["test"]))
    (tmp_path / path).rename(tmp_path / "val" / path.rpartition("/")[2])
    with pytest.raises(WiseftError, match=r"both class folders and flat images such as ILSVRC2012"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(wnids()[3], "n99999999", 1), "found `n99999999`"),
        (
            lambda text: text.replace(wnids()[3], "490", 1),
            "found `490`. A number could be ILSVRC's",
        ),
        (lambda text: "\n".join(text.split()[:-1]), r"has 23 labels, but none for this image"),
        (
            lambda text: text.replace(wnids()[3], f"x.png {wnids()[3]}", 1),
            "and a wnid, found `x.png",
        ),
    ],
)
def test_a_wrong_list_is_named(tmp_path, change, message):
    written = flat(tmp_path)
    (tmp_path / LIST).write_text(change(wnid_list(written)))
    with pytest.raises(WiseftError, match=message) as error:
        read(tmp_path)
    assert LIST in str(error.value)


def test_a_broken_development_kit_is_named(tmp_path):
    written = flat(tmp_path)
    kit = generate.devkit(tmp_path, written)
    truth = kit / "data" / "ILSVRC2012_validation_ground_truth.txt"
    lines = truth.read_text().split()
    truth.write_text("\n".join([*lines[:4], "13", *lines[5:]]))  # the id of a group of classes
    with pytest.raises(WiseftError, match=r"line 5: expected the id of one of 12 .*, found `13`"):
        read(tmp_path)
    (kit / "data" / "meta.mat").write_bytes(b"nothing")
    with pytest.raises(WiseftError, match=r"meta\.mat is not a readable MATLAB file"):
        read(tmp_path)
    (kit / "data" / "meta.mat").unlink()
    with pytest.raises(WiseftError, match=r"meta\.mat is missing"):
        read(tmp_path)
    shutil.rmtree(kit)
    (tmp_path / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(b"nothing")
    with pytest.raises(WiseftError, match="is not the development kit"):
        read(tmp_path)


def test_other_names_and_missing_classes_are_named(tmp_path):
    written = flat(tmp_path)
    generate.devkit(tmp_path, written)
    generate.picture(tmp_path / "val" / "cat.JPEG", 0)
    with pytest.raises(WiseftError, match=r"val/cat\.JPEG: expected flat validation images"):
        read(tmp_path)
    generate.imagenet_train(tmp_path)
    shutil.rmtree(tmp_path / "train" / wnids()[2])
    with pytest.raises(WiseftError, match=f"the first missing one is that of {wnids()[2]}"):
        read(tmp_path, "train")
    with pytest.raises(WiseftError, match="If they are a subset, they are another dataset: give"):
        read(tmp_path, "train")
    (tmp_path / "train" / "n00000000").mkdir()
    with pytest.raises(WiseftError, match="`n00000000` is no class"):
        read(tmp_path, "train")


def test_unknown_splits_and_missing_class_ids_are_errors(tmp_path):
    imagenet_val_folders(tmp_path)
    with pytest.raises(WiseftError, match="has a split held-out, but layout imagenet reads only"):
        read(tmp_path, "held-out")
    with pytest.raises(WiseftError, match="no class ids"):
        read(tmp_path, class_ids=None)
    (tmp_path / "train").mkdir()
    with pytest.raises(WiseftError, match=r"train holds no class folders"):
        read(tmp_path, "train")
