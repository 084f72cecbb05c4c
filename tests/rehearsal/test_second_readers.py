"""Second readers of datasets: equal to the program's, and unequal if that has a mistake."""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tools.rehearsal import rendered
from tools.rehearsal.datasets import Made, write_files
from tools.rehearsal.official import READERS, Labelled

from wiseft.base.loading import read_yaml
from wiseft.images.split import FolderSplit, LayoutInputs
from wiseft.study.config import Catalogue
from wiseft.study.config.layouts import check_options
from wiseft.study.config.paths import archives_folder
from wiseft.study.data.builders.icon_sets import class_names, joined, phrase
from wiseft.study.data.layouts import reader, video_anchors, wilds
from wiseft.study.targets import Targets

PROJECT = Path(__file__).parents[2]
CATALOGUE = Catalogue(PROJECT)
Shown = dict[str, Counter[tuple[bytes, int]]]
Patch = pytest.MonkeyPatch


@pytest.mark.parametrize("name", CATALOGUE.names("experiments"))
def test_every_dataset_that_is_measured_has_a_second_reader(name: str):
    targets = Targets.read(PROJECT, {"experiment": name})
    for dataset in targets.experiment.datasets if targets.runs else ():
        assert dataset in READERS or CATALOGUE.dataset(dataset).layout == "arrays"


def second(name: str, root: Path) -> dict[str, Labelled]:
    return READERS[name](root / ".archives")


def by_program(name: str, made: Made, root: Path) -> tuple[Shown, Any]:
    """Return files and labels of the images that count by accuracy, and the map of the classes."""
    entry = CATALOGUE.dataset(name)
    archives = archives_folder(entry.archives or name, root)
    unpacked = root / "unpacked"
    with tarfile.open(archives / entry.files[0].file) as tar:
        tar.extractall(unpacked, filter="data")
    inputs = LayoutInputs(
        dataset=name,
        root=unpacked / str(entry.top),
        files={path.name: path for path in archives.iterdir()},
        splits=entry.evaluate,
        options=check_options(entry.layout, entry.options | made.options),
        class_names=entry.display_names,
        reference_ids=[str(place) for place in range(1000)],
    )
    indexed, shown = reader(entry.layout)(inputs), {}
    for split, of in indexed.splits.items():
        assert isinstance(of, FolderSplit)
        counted = of.groups.get("anchor", [True] * len(of.paths))
        found = zip(of.paths, of.labels.tolist(), counted, strict=True)
        shown[split] = Counter(
            ((inputs.root / path).read_bytes(), n) for path, n, yes in found if yes
        )
    return shown, indexed.label_map


def late_test_images(patch: Patch) -> None:
    patch.setitem(wilds.FMOW_SPLITS, "id_test", ("test", None, None))


def splits_exchanged(patch: Patch) -> None:
    patch.setitem(wilds.SPLITS, "held-out", "id_test")
    patch.setitem(wilds.SPLITS, "id-test", "id_val")


def next_class(patch: Patch) -> None:
    patch.setattr(video_anchors, "_labels", lambda inputs, frame, value: [(value[0] + 1) % 30])


def numbers_as_they_are(patch: Patch) -> None:
    patch.setattr(video_anchors, "SWAPPED", {})


MISTAKES: dict[str, Callable[[Patch], None]] = {
    "fmow": late_test_images,
    "iwildcam": splits_exchanged,
    "imagenet-vid-robust": next_class,
    "ytbb-robust": numbers_as_they_are,
}


@pytest.mark.parametrize("name", MISTAKES)
def test_second_readers_notice_a_mistake(tmp_path: Path, monkeypatch: Patch, name: str):
    entry = CATALOGUE.dataset(name)
    made = write_files(entry, archives_folder(entry.archives or name, tmp_path))
    read = second(name, tmp_path)
    again = {
        split: Counter(zip(read[split].images, read[split].labels, strict=True))
        for split in entry.evaluate
    }
    shown, members = by_program(name, made, tmp_path)
    assert again == shown
    if entry.label_map:
        lent = {entry.display_names.index(k): (v,) for k, v in entry.label_map.borrowed.items()}
        own = tuple(lent.get(label, tuple(places)) for label, places in enumerate(members))
        assert tuple(map(sorted, read["test"].members)) == tuple(map(sorted, own))
    with monkeypatch.context() as patch:
        MISTAKES[name](patch)
        assert by_program(name, made, tmp_path)[0] != again


def test_icons_are_named_as_the_program_names_them():
    """Each class by each of its names, as sets write them: words of a look before and behind."""
    classes = rendered._icon_classes(PROJECT / rendered.ICONS)
    of_name = {joined(n): k for k, names in enumerate(class_names("classes")) for n in names}
    assert classes == of_name
    words = read_yaml(PROJECT / rendered.ICONS)["words"]
    for several in class_names("classes"):
        for name in several:
            for end in ("", "-24", *(f"-{word}" for word in words["end"])):
                icon = f"outline-{name.replace(' ', '-')}{end}"
                if joined(phrase(icon)) in of_name:
                    assert rendered._of_icon(icon, classes) == of_name[joined(phrase(icon))], icon


def test_rendered_datasets_take_classes_and_copied_pixels_from_the_source(
    tmp_path: Path, monkeypatch: Patch
):
    """An inverted image is 255 minus that of its number; a drawn one is as it was prepared."""
    source = Labelled([np.full((2, 2), value, np.uint8) for value in (1, 2, 3)], [7, 8, 9])
    empty = Labelled([], [])
    patched = {"mnist": lambda _: {"test": source, "train": empty}}
    monkeypatch.setattr(rendered, "SOURCES", patched)
    drawn = np.full((2, 2, 2, 3), 5, np.uint8)
    for name in ("inverted", "colour"):
        folder = tmp_path / "datasets" / name / "test"
        folder.mkdir(parents=True)
        ids = [f"{name}/mnist/test/{number:05d}" for number in (2, 0)]
        pd.DataFrame({"sample_id": ids}).to_parquet(folder / "index.parquet")
        np.save(folder / "images.npy", drawn)
        entry = {"name": name, "builder": name, "evaluate": ["test"]}
        found = rendered.splits(tmp_path, entry)["test"]
        assert found.labels == [9, 7]
        first = np.asarray(found.images[0])
        assert first.tolist() == ([[252] * 2] * 2 if name == "inverted" else drawn[0].tolist())
