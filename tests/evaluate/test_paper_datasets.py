"""The paper's label rules from end to end: files in the official layout, as unpacked by a user,
are indexed by the catalogue's own entries and scored; the numbers are recomputed here by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.data.layouts import official_maps as maps
from tests.data.layouts.official_files import imagenet_val_folders
from tools.rehearsal import folders as folders
from tools.rehearsal import pictures

from wiseft.base import library
from wiseft.base.io import read_json
from wiseft.evaluate import suite
from wiseft.evaluate.passes import Pixels
from wiseft.evaluate.request import Request
from wiseft.evaluate.suite import evaluate_suite
from wiseft.evaluate.views import SuiteEvaluation
from wiseft.images.manifest import open_manifest
from wiseft.images.store import Split, open_split
from wiseft.study.config import Catalogue, DatasetEntry
from wiseft.study.data.fetching.entry_files import Fetched
from wiseft.study.data.index_files import prepare_files
from wiseft.thetas.preprocessing import Transform
from wiseft.thetas.theta import save_theta

from .conftest import METADATA, inference, tiny_header, tiny_tensors

CATALOGUE = Catalogue(Path(__file__).parents[2])
Logits = NDArray[np.float32]


def prepare(tmp_path: Path, name: str, root: Path, splits: Mapping[str, int], **changes) -> Path:
    """Index a user's folder by the entry of that name, with the number of images that is there."""
    given = CATALOGUE.dataset(name).model_dump()
    given |= {"splits": dict(splits), "evaluate": list(splits), "held_out": None, **changes}
    for file in given["files"]:
        file["splits"] = []
    entry = DatasetEntry.model_validate(given)
    files = {path.name: str(path) for path in root.iterdir() if path.is_file()}
    fetched = Fetched(name, str(root), files, dict.fromkeys(files, "0" * 64))
    reference = entry.label_map and CATALOGUE.dataset(entry.label_map.reference).ids
    manifest = tmp_path / "prepared" / name / "manifest.json"
    return prepare_files(entry, fetched, manifest, list(splits), reference)


class FixedSweep:
    """Gives fixed logits to the images in their order, whatever they show."""

    combinations = ("weight",)
    never_predicted = ()
    transforms = (tiny_header().transform,)
    inference = inference(7)

    def __init__(self, logits: Logits):
        self._rest = torch.from_numpy(logits)

    def pixels(self, images: Sequence[torch.Tensor]) -> Pixels:
        return tuple(images)

    def logits(
        self, batches: Sequence[Pixels], alphas: list[str], numbers: torch.Tensor | None = None
    ) -> Iterator[tuple[str, str, torch.Tensor]]:
        n = sum(len(batch[0]) for batch in batches)
        here, self._rest = self._rest[:n], self._rest[n:]
        yield "weight", "1.000", here


@pytest.fixture
def score(tmp_path, monkeypatch):
    """Evaluate a dataset with given logits; the rows by split and view."""

    def run(
        manifest: Path,
        logits: Logits,
        classes: Sequence[str],
        views: Sequence[Mapping[str, Any]] | None = None,
        like: Sequence[Path] = (),
        reference: str = "imagenet",
    ) -> dict[tuple[str, str], dict[str, Any]]:
        dataset = open_manifest(manifest)
        chosen = views or [
            {k: v for k, v in view.model_dump().items() if v}
            for view in CATALOGUE.dataset(dataset.dataset).views
        ]
        tensors = dict(tiny_tensors(0))
        tensors["head.weight"] = torch.zeros(len(classes), tensors["head.weight"].shape[1])
        tensors["head.bias"] = torch.zeros(len(classes))
        theta = tmp_path / "theta.safetensors"
        save_theta(theta, tensors, tiny_header(class_names=list(classes)))
        monkeypatch.setattr(suite, "make_sweep", lambda *_: FixedSweep(logits))
        evaluation = {"splits": list(dataset.splits), "views": list(chosen)}
        request = Request(
            theta_0=None,
            theta_1=theta,
            alphas=["1.000"],
            manifests=[manifest],
            evaluate=SuiteEvaluation.model_validate({dataset.dataset: evaluation}),
            output_dir=tmp_path / "evaluate",
            metadata=METADATA | {"reference": reference},
            like=like,
            batch_size=7,
        )
        (metrics,) = evaluate_suite(request)
        return {(row["split"], row["view"]): row for row in read_json(metrics)["rows"]}

    return run


def random_logits(n: int, classes: int, seed: int = 0) -> Logits:
    return np.random.default_rng(seed).normal(size=(n, classes)).astype(np.float32)


def projected(logits: Logits, members: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """The class with the largest logit of any of its members; without members: never."""
    columns = [
        logits[:, list(places)].max(axis=1) if places else np.full(len(logits), -np.inf)
        for places in members
    ]
    return np.argmax(np.stack(columns, axis=1), axis=1)


def toward(labels: NDArray[np.int64], members: Sequence[Sequence[int]], logits: Logits) -> Logits:
    """Raise a member of the label's class for two samples of three, so that many are right."""
    for row, label in enumerate(labels):
        if row % 3 and members[label]:
            logits[row, members[label][-1]] += 3
    return logits


def whole(manifest: Path, split: str = "test") -> Split:
    return open_split(manifest, split, Transform(size=8))


@pytest.mark.parametrize(
    ("name", "write"), [("imagenet-r", folders.imagenet_r), ("imagenet-a", folders.imagenet_a)]
)
def test_200_classes_are_taken_before_the_argmax(tmp_path, score, name, write):
    written = write(tmp_path / "own")
    manifest = prepare(tmp_path, name, tmp_path / "own", {"test": len(written.splits["test"])})
    members = [[index] for index in library.class_indices(name)]
    labels = whole(manifest).labels
    logits = toward(labels, members, random_logits(len(labels), 1000))
    outside = sorted(set(range(1000)) - set(library.class_indices(name)))
    logits[:, outside] += 100  # would win an argmax over all 1000
    row = score(manifest, logits, library.class_names("imagenet"))["test", "all"]
    expected = int((projected(logits, members) == labels).sum())
    assert (row["n"], row["n_correct"]) == (len(labels), expected)
    assert 0.2 < row["value"] < 1


def test_validation_images_are_seen_through_the_200_classes(tmp_path, score):
    """The class-subsampled x axes: one decode of ImageNet's images for all views."""
    imagenet_val_folders(tmp_path / "val", classes=1000, per_class=1)
    reference = prepare(tmp_path, "imagenet", tmp_path / "val", {"test": 1000})
    likes, members = [], {}
    for name, write in (("imagenet-r", folders.imagenet_r), ("imagenet-a", folders.imagenet_a)):
        written = write(tmp_path / name)
        likes.append(
            prepare(tmp_path, name, tmp_path / name, {"test": len(written.splits["test"])})
        )
        members[name] = [[index] for index in library.class_indices(name)]
    labels = whole(reference).labels
    assert labels.tolist() == list(range(1000))
    logits = toward(labels, [[label] for label in range(1000)], random_logits(1000, 1000))
    views = [{"name": "all"}]
    views += [{"name": f"{name}-classes", "like": name} for name in members]
    rows = score(reference, logits, library.class_names("imagenet"), views, likes)
    assert rows["test", "all"]["n_correct"] == int((logits.argmax(axis=1) == labels).sum())
    for name, places in members.items():
        inside = np.array([place for (place,) in places])
        found = inside[projected(logits[inside], places)]
        row = rows["test", f"{name}-classes"]
        assert (row["n"], row["n_correct"]) == (200, int((found == inside).sum()))


def test_integer_folders_are_labels_in_numeric_order(tmp_path, score):
    written = folders.imagenet_v2(tmp_path / "own", classes=1000, per_class=1)
    manifest = prepare(
        tmp_path, "imagenet-v2", tmp_path / "own", {"test": len(written.splits["test"])}
    )
    labels = whole(manifest).labels
    logits = np.zeros((1000, 1000), np.float32)
    folder = [int(Path(name).parent.name) for name in whole(manifest).sample_ids]
    logits[np.arange(1000), folder] = 1
    assert score(manifest, logits, library.class_names("imagenet"))["test", "all"]["value"] == 1
    assert labels.tolist() == folder


def test_objectnet_takes_the_largest_of_several_classes_and_crops_its_border(tmp_path, score):
    written = maps.objectnet(tmp_path / "own")
    n = len(written.labels["test"])
    manifest = prepare(
        tmp_path, "objectnet", tmp_path / "own", {"test": n}, class_names=written.class_names
    )
    assert open_manifest(manifest).label_map.members == written.members
    split = whole(manifest)
    assert not (split.read(slice(None)) == pictures.RED).all(axis=-1).any()  # 2 pixels of red
    logits = toward(split.labels, written.members, random_logits(n, written.references, 3))
    reference = [f"class {label}" for label in range(written.references)]
    row = score(manifest, logits, reference)["test", "all"]
    assert row["n_correct"] == int((projected(logits, written.members) == split.labels).sum())
    assert 0 < row["n_correct"] < row["n"] == n


@pytest.mark.parametrize(
    ("name", "write", "anchors"),
    [("imagenet-vid-robust", maps.vid_robust, 3), ("ytbb-robust", maps.ytbb_robust, 5)],
)
def test_frames_of_videos_count_by_anchor_and_by_set(tmp_path, score, name, write, anchors):
    """pm-0: anchors; pm-10: the anchor and all its neighbours; any of several labels is right."""
    written, videos = write(tmp_path / "own")
    entry = CATALOGUE.dataset(name)
    manifest = prepare(
        tmp_path,
        name,
        tmp_path / "own",
        {"test": sum(len(video.labels) for video in videos)},
        class_names=written.class_names,
        options={**entry.options, "anchors": anchors},
    )
    split = whole(manifest)
    logits = random_logits(len(split), written.references, 1)
    toward(split.labels, written.members, logits)
    reference = [f"class {label}" for label in range(written.references)]
    rows = score(manifest, logits, reference)
    predicted = dict(zip(split.sample_ids, projected(logits, written.members), strict=True))
    right = [
        [predicted[frame] in video.labels[frame] for frame in (video.anchor, *video.neighbours)]
        for video in videos
    ]
    anchor, sets = rows["test", "all"], rows["test", "pm-10"]
    assert (anchor["n"], anchor["n_correct"]) == (anchors, sum(found[0] for found in right))
    assert (sets["n"], sets["n_correct"]) == (anchors, sum(all(found) for found in right))
    assert anchor["n_correct"] > 0
    empty = [label for label, places in enumerate(written.members) if not places]
    assert not set(predicted.values()) & set(empty)
    assert bool(empty) == (name == "ytbb-robust")


def test_fmow_counts_its_worst_region_without_other(tmp_path, score):
    names = CATALOGUE.dataset("fmow").display_names
    written = maps.fmow(tmp_path / "own", names)
    counts = {split: len(labels) for split, labels in written.labels.items()}
    manifest = prepare(tmp_path, "fmow", tmp_path / "own", counts)
    order = list(open_manifest(manifest).splits)
    parts = [whole(manifest, split) for split in order]
    labels = np.concatenate([part.labels for part in parts])
    logits = np.eye(len(names), dtype=np.float32)[labels]
    test = parts[order.index("test")]
    regions = test.groups["group_region"].tolist()
    start = sum(map(len, parts[: order.index("test")]))
    for row, region in enumerate(regions):
        if region in ("Other", "Oceania"):  # all wrong; the former must not matter
            logits[start + row] = np.roll(logits[start + row], 1)
    rows = score(manifest, logits, names, reference="fmow")
    assert "Other" in regions
    assert rows["test", "worst-region"]["value"] == 0
    assert set(rows["test", "worst-region"]["groups"]) == set(regions) - {"Other"}
    assert rows["id-test", "all"]["value"] == 1
    wrong = sum(region in ("Other", "Oceania") for region in regions)
    assert rows["test", "all"]["n_correct"] == len(test) - wrong


def test_iwildcam_is_scored_by_macro_f1_of_the_labels_that_occur(tmp_path, score):
    from sklearn.metrics import f1_score

    written = maps.iwildcam(tmp_path / "own")
    counts = {split: len(labels) for split, labels in written.labels.items()}
    manifest = prepare(
        tmp_path, "iwildcam", tmp_path / "own", counts, classes=len(written.class_names)
    )
    order = list(open_manifest(manifest).splits)
    parts = [whole(manifest, split) for split in order]
    labels = np.concatenate([part.labels for part in parts])
    names = open_manifest(manifest).class_names
    logits = random_logits(len(labels), len(names), 2)
    logits[np.arange(len(labels)), labels] += 1.5
    rows = score(manifest, logits, names, reference="iwildcam")
    start = 0
    for split, part in zip(order, parts, strict=True):
        found = logits[start : start + len(part)].argmax(axis=1)
        expected = f1_score(part.labels, found, average="macro", labels=np.unique(part.labels))
        assert rows[split, "all"]["value"] == pytest.approx(expected, abs=1e-12)
        assert rows[split, "all"]["n_correct"] is None
        start += len(part)
