"""WILDS: FMoW's years and regions, iWildCam's classes; compared with the package where it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.data.layouts.official_maps import SPECIES, fmow, iwildcam
from tools.rehearsal.maps import COUNTRIES, Written, write_image, write_rows

from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue
from wiseft.study.config.layouts import check_options
from wiseft.study.data.layouts import Indexed, LayoutInputs, reader
from wiseft.study.data.layouts.wilds import SPLITS

ROOT = Path(__file__).parents[3]
LABELS = [folder / "shared/data/iwildcam/labels.csv" for folder in (ROOT, ROOT.parent)]
"""Places of the paper's class names: compared with where they are, no part of the project."""
CATEGORIES = Catalogue(ROOT).dataset("fmow").display_names


def read(
    name: str, root: Path, splits: tuple[str, ...] = tuple(SPLITS), labels: Path | None = None
) -> Indexed:
    entry = Catalogue(ROOT).dataset(name)
    return reader("wilds")(
        LayoutInputs(
            dataset=name,
            root=inner if (inner := root / str(entry.top)).is_dir() else root,
            files={"labels.csv": labels or root / "labels.csv"},
            splits=splits,
            options=check_options("wilds", entry.options),
            class_names=entry.display_names,
            class_ids=entry.ids,
        )
    )


def labels_of(indexed: Indexed) -> dict[str, dict[str, int]]:
    return {
        name: dict(zip(split.paths, split.labels.tolist(), strict=True))
        for name, split in indexed.splits.items()
    }


@pytest.fixture
def land(tmp_path) -> Written:
    return fmow(tmp_path / "root", CATEGORIES)


@pytest.fixture
def animals(tmp_path) -> Written:
    return iwildcam(tmp_path / "root")


def test_fmow_splits_go_by_its_own_split_and_the_year_and_leave_sequestered_rows_out(land):
    indexed = read("fmow", land.root)
    assert labels_of(indexed) == land.labels
    assert indexed.class_names is None
    assert indexed.label_map is None


def test_fmow_images_are_numbered_by_all_rows(land):
    split = read("fmow", land.root).splits["test"]
    assert split.paths == [f"images/rgb_img_{row}.png" for row in (8, 9, 12, 13)]
    assert all(
        (land.root / "fmow_v1.1" / path).stat().st_size == size
        for path, size in zip(split.paths, split.bytes, strict=True)
    )


def test_fmow_regions_are_those_of_countries_and_other_where_there_is_none(land):
    splits = read("fmow", land.root).splits
    assert splits["test"].groups["region"] == ["Oceania", "Other", "Europe", "Other"]
    assert splits["train"].groups["region"] == ["Americas", "Africa"]  # NAM, alpha-2 "NA"
    assert splits["test"].groups["year"] == [2016, 2017, 2016, 2017]
    assert splits["train"].groups["year"] == [2005, 2012]


def test_fmow_root_may_be_the_folder_itself(land):
    outer, inner = read("fmow", land.root), read("fmow", land.root / "fmow_v1.1")
    assert labels_of(inner) == labels_of(outer)
    assert inner.splits["val"].paths == outer.splits["val"].paths == ["images/rgb_img_5.png"]


def test_only_the_splits_that_are_asked_for_need_their_images(land):
    (land.root / "fmow_v1.1/images/rgb_img_0.png").unlink()
    assert set(read("fmow", land.root, ("test", "id-test")).splits) == {"test", "id-test"}
    with pytest.raises(WiseftError, match=r"rgb_metadata.csv lists .*rgb_img_0.png, which is not"):
        read("fmow", land.root)


def test_fmow_table_with_a_wrong_field_is_refused_with_its_row(land):
    table = land.root / "fmow_v1.1/rgb_metadata.csv"
    text = table.read_text()
    table.write_text(
        text.replace("test,zoo_11_0_rgb.tif,test/zoo/zoo_11_0_rgb.tif,zoo", "test,a,a,zo")
    )
    with pytest.raises(WiseftError, match=r"row 12: expected one of the 62 .* found 'zo'"):
        read("fmow", land.root)
    table.write_text(text.replace("2012-02-29T08:00:00Z", "2012-02-30T08:00:00Z"))
    with pytest.raises(WiseftError, match=r"row 12: expected a time .* found '2012-02-30T"):
        read("fmow", land.root)
    table.write_text(text.replace("country_code", "country"))
    with pytest.raises(WiseftError, match="found no country_code among split, img_filename"):
        read("fmow", land.root)
    table.write_text("")
    with pytest.raises(WiseftError, match="is not a readable CSV file"):
        read("fmow", land.root)


def test_a_missing_table_is_named(land, tmp_path):
    (land.root / "fmow_v1.1/country_code_mapping.csv").unlink()
    with pytest.raises(
        WiseftError, match=r"fmow needs country_code_mapping.csv, which is not in .*fmow_v1.1"
    ):
        read("fmow", land.root)
    with pytest.raises(WiseftError, match=r"dataset fmow needs rgb_metadata.csv"):
        read("fmow", tmp_path)


def test_a_split_that_wilds_does_not_have_is_refused(land):
    with pytest.raises(WiseftError, match=r"no split id_val; .* train, held-out, id-test, val, t"):
        read("fmow", land.root, ("id_val",))


def test_iwildcam_splits_labels_and_groups_are_those_of_its_table(animals):
    indexed = read("iwildcam", animals.root)
    assert labels_of(indexed) == animals.labels
    assert [names[0] for names in indexed.class_names] == animals.class_names
    test = indexed.splits["test"]
    assert test.groups["location"] == [2, 2, 2]
    assert test.base_ids == ["iwildcam/sequence-4", "iwildcam/sequence-4", "iwildcam/sequence-5"]


def test_iwildcam_names_may_come_from_a_source_file(animals, tmp_path):
    labels = tmp_path / "names.csv"
    shutil.move(animals.root / "labels.csv", labels)
    indexed = read("iwildcam", animals.root, labels=labels)
    assert [names[0] for names in indexed.class_names] == animals.class_names
    with pytest.raises(WiseftError, match=r"dataset iwildcam needs labels.csv"):
        read("iwildcam", animals.root)


def test_iwildcam_names_must_be_in_the_order_of_the_labels(animals):
    rows = [SPECIES[1], SPECIES[0], *SPECIES[2:]]
    write_rows(animals.root / "labels.csv", ["y", "category_id", "name", "english"], rows)
    with pytest.raises(WiseftError, match=r"expected the labels 0\.\.4 in order in column y"):
        read("iwildcam", animals.root)


def test_an_iwildcam_label_without_name_is_refused(animals):
    rows = SPECIES[:4]
    write_rows(animals.root / "labels.csv", ["y", "category_id", "name", "english"], rows)
    with pytest.raises(WiseftError, match=r"column y: sample 6 has label 4, expected 0\.\.3"):
        read("iwildcam", animals.root)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("-1", "row 1: expected a whole number as y, found '-1'"), ("1.0", "found '1.0'")],
)
def test_an_iwildcam_label_that_is_no_number_is_refused(animals, wrong, message):
    table = animals.root / "iwildcam_v2.0/metadata.csv"
    lines = table.read_text().splitlines()
    fields = lines[1].split(",")
    fields[6] = wrong
    table.write_text("\n".join([lines[0], ",".join(fields), *lines[2:]]))
    with pytest.raises(WiseftError, match=message):
        read("iwildcam", animals.root)


def test_an_iwildcam_path_out_of_its_folder_is_refused(animals):
    table = animals.root / "iwildcam_v2.0/metadata.csv"
    table.write_text(table.read_text().replace("8b31d3be-21bc-11ea-a13a-000000000002", "../2"))
    with pytest.raises(WiseftError, match=r"found `../2.jpg`"):
        read("iwildcam", animals.root)


@pytest.mark.skipif(not any(map(Path.is_file, LABELS)), reason="the class names are not here")
def test_the_real_names_of_iwildcam_are_182_and_178_of_them_distinct(animals):
    labels = next(filter(Path.is_file, LABELS))
    names = [names[0] for names in read("iwildcam", animals.root, labels=labels).class_names]
    assert len(names) == Catalogue(ROOT).dataset("iwildcam").class_count == 182
    assert len(set(names)) == 178
    assert names[:2] == ["empty", "white-lipped peccary"]


def test_fmow_agrees_with_the_package_wilds(tmp_path):
    package = pytest.importorskip("wilds.datasets.fmow_dataset", reason="wilds is not installed")
    rng = np.random.default_rng(0)
    countries = [code for _, _, code, region in COUNTRIES if region] + ["XKX"]
    rows = []
    for number in range(300):
        time = f"{rng.integers(2002, 2018)}-{rng.integers(1, 13):02}-{rng.integers(1, 29):02}"
        split = str(rng.choice(["train", "val", "test", "seq"]))
        category, country = str(rng.choice(CATEGORIES)), str(rng.choice(countries))
        rows.append([split, category, country, f"{time}T0{rng.integers(10)}:00:00Z"])
        write_image(tmp_path / f"fmow_v1.1/images/rgb_img_{number}.png")
    top = tmp_path / "fmow_v1.1"
    header = ["split", "category", "country_code", "timestamp"]
    write_rows(top / "rgb_metadata.csv", header, rows)
    write_rows(
        top / "country_code_mapping.csv", ["name", "alpha-2", "alpha-3", "region"], COUNTRIES
    )
    (top / "RELEASE_v1.1.txt").write_text("")
    theirs = package.FMoWDataset(root_dir=str(tmp_path))
    regions = theirs.metadata_map["region"]
    for name, split in read("fmow", tmp_path).splits.items():
        subset = np.flatnonzero(theirs.split_array == theirs.split_dict[SPLITS[name]])
        assert split.labels.tolist() == theirs.y_array[subset].tolist()
        numbers = theirs.full_idxs[subset]
        assert split.paths == [f"images/rgb_img_{number}.png" for number in numbers]
        found = [regions[index] for index in theirs.metadata_array[subset, 0].tolist()]
        assert split.groups["region"] == found
        years = [2002 + index for index in theirs.metadata_array[subset, 1].tolist()]
        assert split.groups["year"] == years


def test_iwildcam_agrees_with_the_package_wilds(animals):
    package = pytest.importorskip(
        "wilds.datasets.iwildcam_dataset", reason="wilds is not installed"
    )
    theirs = package.IWildCamDataset(root_dir=str(animals.root))
    for name, split in read("iwildcam", animals.root).splits.items():
        subset = np.flatnonzero(theirs.split_array == theirs.split_dict[SPLITS[name]])
        assert split.labels.tolist() == theirs.y_array[subset].tolist()
        assert split.paths == [f"train/{file}" for file in theirs._input_array[subset]]
        assert split.groups["location"] == theirs.metadata_array[subset, 0].tolist()
