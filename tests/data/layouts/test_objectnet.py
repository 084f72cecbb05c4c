"""ObjectNet: the chain of mapping files to ImageNet's classes, and its red border."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.data.layouts.official_maps import objectnet
from tools.rehearsal.maps import Written, write_image, write_object

from wiseft.base.library import class_names
from wiseft.errors import WiseftError
from wiseft.images.decode import decode
from wiseft.study.config import Catalogue
from wiseft.study.config.layouts import check_options
from wiseft.study.data.layouts import Indexed, LayoutInputs, reader
from wiseft.thetas.preprocessing import Transform

ROOT = Path(__file__).parents[3]
FACTS = [folder / "shared/data/objectnet" for folder in (ROOT, ROOT.parent)]
"""Places of ObjectNet's own mapping files: compared with where they are, no part of the project."""
ENTRY = Catalogue(ROOT).dataset("objectnet")


def read(
    root: Path, class_names: list[str], references: int = 10, splits: tuple[str, ...] = ("test",)
) -> Indexed:
    return reader("objectnet")(
        LayoutInputs(
            dataset="objectnet",
            root=inner if (inner := root / str(ENTRY.top)).is_dir() else root,
            files={},
            splits=splits,
            options=check_options("objectnet", ENTRY.options),
            class_names=class_names,
            reference_ids=[str(label) for label in range(references)],
        )
    )


@pytest.fixture
def written(tmp_path) -> Written:
    return objectnet(tmp_path / "root")


@pytest.fixture
def mappings(written) -> Path:
    return written.root / "objectnet-1.0/mappings"


def refused(written: Written) -> str:
    with pytest.raises(WiseftError) as caught:
        read(written.root, written.class_names)
    return str(caught.value)


def test_labels_follow_sorted_folders_and_other_folders_are_skipped(written):
    split = read(written.root, written.class_names).splits["test"]
    found = dict(zip(split.sample_ids, split.labels.tolist(), strict=True))
    assert found == written.labels["test"]
    assert split.labels.dtype == np.int64
    for path, size in zip(split.paths, split.bytes.tolist(), strict=True):
        assert (written.root / "objectnet-1.0" / path).stat().st_size == size


def test_members_are_labels_and_not_lines_of_the_list_of_names(written):
    indexed = read(written.root, written.class_names)
    assert indexed.label_map == written.members == [[3, 2], [0], [1], [5]]
    assert indexed.class_names is None


def test_names_come_from_the_mapping_where_the_entry_has_none(written):
    indexed = read(written.root, [])
    assert indexed.class_names == [[name] for name in written.class_names]


def test_a_root_that_is_the_dataset_itself_has_the_same_samples(written):
    outer = read(written.root, written.class_names).splits["test"]
    inner = read(written.root / "objectnet-1.0", written.class_names).splits["test"]
    assert inner.sample_ids == outer.sample_ids
    assert inner.labels.tolist() == outer.labels.tolist()
    assert inner.paths == outer.paths == [f"images/{name}" for name in outer.sample_ids]


def test_only_the_folders_of_the_classes_are_needed(written):
    whole = read(written.root, written.class_names)
    shutil.rmtree(written.root / "objectnet-1.0/images/paper")
    assert (
        read(written.root, written.class_names).splits["test"].paths == whole.splits["test"].paths
    )


def test_files_that_are_no_images_are_left_out(written):
    folder = written.root / "objectnet-1.0/images/bench"
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    split = read(written.root, written.class_names).splits["test"]
    assert set(split.sample_ids) == set(written.labels["test"])


def test_a_missing_class_folder_is_named(written):
    shutil.rmtree(written.root / "objectnet-1.0/images/t-shirt")
    message = refused(written)
    assert "4 classes" in message
    assert "found 3" in message
    assert "t-shirt is missing" in message


def test_an_empty_class_folder_is_named(written):
    for file in (written.root / "objectnet-1.0/images/bench").iterdir():
        file.unlink()
    assert "images/bench holds no images" in refused(written)


def test_an_unknown_folder_is_named(written):
    write_image(written.root / "objectnet-1.0/images/spaceship/0.png")
    assert "images/spaceship is not one of the 6 folders" in refused(written)


def test_missing_mappings_are_named(written, mappings):
    (mappings / "pytorch_to_imagenet_2012_id.json").unlink()
    assert "pytorch_to_imagenet_2012_id.json does not exist" in refused(written)
    shutil.rmtree(mappings)
    assert "expected a folder mappings in" in refused(written)


def test_an_imagenet_name_that_two_classes_share_is_refused(written, mappings):
    write_object(mappings / "objectnet_to_imagenet_1k.json", {"Bench": "crane"})
    message = refused(written)
    assert "'crane' (of 'Bench')" in message
    assert "found it on 2" in message


def test_a_name_that_no_folder_has_is_refused(written, mappings):
    write_object(mappings / "objectnet_to_imagenet_1k.json", {"Spaceship": "zebra"})
    assert "found 'Spaceship'" in refused(written)


def test_an_imagenet_class_in_two_classes_is_refused(written, mappings):
    content = {"Bench": "zebra", "Paper": "zebra"}
    write_object(mappings / "objectnet_to_imagenet_1k.json", content)
    with pytest.raises(WiseftError, match="found 6 in class 0 and in class 1"):
        read(written.root, ["bench", "paper"])


def test_a_line_without_label_is_refused(written, mappings):
    write_object(mappings / "pytorch_to_imagenet_2012_id.json", {"0": 1})
    assert "found none for line 0" in refused(written)


def test_labels_outside_of_the_reference_are_refused(written):
    with pytest.raises(WiseftError, match=r"expected reference classes 0\.\.4, found 5"):
        read(written.root, written.class_names, references=5)


def test_class_names_must_be_those_of_the_entry(written):
    with pytest.raises(WiseftError, match=r"expected 'park bench' as class 1 .* found 'bench'"):
        read(written.root, ["alarm clock", "park bench", "t-shirt", "winter glove"])
    with pytest.raises(WiseftError, match=r"expected 5 classes .* found 4"):
        read(written.root, [*written.class_names, "wok"])


def test_several_splits_are_refused(written):
    with pytest.raises(WiseftError, match="has one split, but its entry lists train, test"):
        read(written.root, written.class_names, splits=("train", "test"))


def test_the_entrys_border_takes_the_red_frame_away(tmp_path):
    write_image(tmp_path / "framed.png", border=2)
    framed = decode(tmp_path / "framed.png", Transform(size=8))
    inner = decode(tmp_path / "framed.png", Transform(size=8), ENTRY.border)
    redder = [image[..., 0].astype(int) - image[..., 1] for image in (framed, inner)]
    assert redder[0].max() > 100 > redder[1].max()


@pytest.mark.skipif(not any(map(Path.is_dir, FACTS)), reason="ObjectNet's mappings are not here")
def test_the_real_mappings_give_the_entrys_113_classes_of_125_imagenet_classes(tmp_path):
    facts = next(filter(Path.is_dir, FACTS))
    shutil.copytree(facts, tmp_path / "mappings")
    folders = json.loads((facts / "folder_to_objectnet_label.json").read_text())
    assert len(folders) == 313
    for folder in folders:
        write_image(tmp_path / "images" / folder / "0.png")
    indexed = read(tmp_path, ENTRY.display_names, references=1000)
    members = indexed.label_map
    assert len(indexed.splits["test"].paths) == len(members) == 113
    assert len({label for items in members for label in items}) == sum(map(len, members)) == 125
    by_name = dict(zip(ENTRY.display_names, members, strict=True))
    assert by_name["alarm clock"] == [409, 530]  # analog clock, digital clock
    assert by_name["banana"] == [954]
    imagenet = class_names("imagenet")
    assert [imagenet[label] for label in by_name["wok"]] == ["wok"]
    assert [imagenet[label] for label in by_name["tv"]] == ["television"]
