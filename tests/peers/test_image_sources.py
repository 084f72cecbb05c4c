"""Datasets and shards that `datasets` and `webdataset` write, with the accuracy counted by them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.evaluate.conftest import CLASSES, blobs, tiny_header, tiny_tensors

from wiseft.errors import WiseftError
from wiseft.evaluate.score import score_folder
from wiseft.models.classifier import build_classifier
from wiseft.thetas.theta import save_theta

SHUFFLED = ["two", "zero", "three", "one"]


@pytest.fixture
def theta(tmp_path: Path) -> Path:
    save_theta(tmp_path / "theta.safetensors", tiny_tensors(1), tiny_header())
    return tmp_path / "theta.safetensors"


def pictures(n: int = 15) -> list[tuple[Image.Image, str]]:
    made = [(Image.fromarray(x), c) for k, c in enumerate(CLASSES) for x in blobs(n, k)]
    return [made[k] for k in np.random.default_rng(1).permutation(len(made))]


def right(pairs: Any) -> tuple[int, int]:
    """Return how many images there are and how many are right, of pairs of image and name."""
    model, n, hits = build_classifier(tiny_header(), tiny_tensors(1)), 0, 0
    for image, name in pairs:
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]
        with torch.no_grad():
            hits += CLASSES[int(model(pixels).argmax())] == name
        n += 1
    assert 0 < hits < n
    return n, hits


def counted(theta: Path, source: Path | str, **how: Any) -> tuple[int, int]:
    found = score_folder(theta, source, **how)
    return found.n, found.n_correct


def test_datasets(tmp_path, theta):
    """Saved to disk, as a dictionary of splits, as shards and as Parquet."""
    reason = "datasets is not installed; make test-peers installs it"
    datasets = pytest.importorskip("datasets", reason=reason)
    pairs = pictures()
    features = datasets.Features(
        {"img": datasets.Image(), "fine": datasets.ClassLabel(names=SHUFFLED)}
    )
    content = {"img": [x for x, _ in pairs], "fine": [SHUFFLED.index(c) for _, c in pairs]}
    data = datasets.Dataset.from_dict(content, features=features)
    names = data.features["fine"].int2str
    expected = right((row["img"], names(row["fine"])) for row in data)
    data.save_to_disk(tmp_path / "saved", num_shards=3)
    assert counted(theta, tmp_path / "saved") == expected
    halves = data.train_test_split(test_size=0.4, seed=1)
    halves.save_to_disk(tmp_path / "halves")
    for split, half in halves.items():
        some = right((row["img"], names(row["fine"])) for row in half)
        assert counted(theta, f"{tmp_path / 'halves'}:{split}") == some
    data.to_parquet(tmp_path / "one.parquet", batch_size=7)
    assert counted(theta, tmp_path / "one.parquet") == expected
    (tmp_path / "repo" / "data").mkdir(parents=True)
    for shard in range(2):
        part = data.shard(2, shard, contiguous=True)
        part.to_parquet(tmp_path / "repo" / "data" / f"test-{shard:05}-of-00002.parquet")
    assert counted(theta, tmp_path / "repo") == expected
    assert (
        right(
            (row["img"], names(row["fine"]))
            for row in datasets.load_dataset(str(tmp_path / "repo"), split="test")
        )
        == expected
    )


def test_datasets_of_files(tmp_path, theta):
    """`imagefolder`: images are files, whose bytes `save_to_disk` takes in."""
    reason = "datasets is not installed; make test-peers installs it"
    datasets = pytest.importorskip("datasets", reason=reason)
    lines = []
    (tmp_path / "folder" / "test").mkdir(parents=True)
    for k, (image, name) in enumerate(pictures(6)):
        image.save(tmp_path / "folder" / "test" / f"{k}.png")
        lines.append(json.dumps({"file_name": f"{k}.png", "label": name}))
    (tmp_path / "folder" / "test" / "metadata.jsonl").write_text("\n".join(lines))
    data = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "folder"), split="test")
    expected = right((row["image"], row["label"]) for row in data)
    assert counted(theta, tmp_path / "folder") == expected
    data.save_to_disk(tmp_path / "saved")
    assert counted(theta, tmp_path / "saved") == expected
    chosen = data.select([3, 2, 5, 9, 11, 14, 17, 20])
    chosen.save_to_disk(tmp_path / "chosen")
    assert counted(theta, tmp_path / "chosen") == right((r["image"], r["label"]) for r in chosen)
    two = data.add_column("class", data["label"])
    two.save_to_disk(tmp_path / "two")
    with pytest.raises(WiseftError, match="has the columns label, class; say which with"):
        score_folder(theta, tmp_path / "two")
    assert counted(theta, tmp_path / "two", label_column=["class"]) == expected


@pytest.mark.parametrize("label", ["cls", "txt", "json"])
def test_webdataset(tmp_path, theta, label):
    """What ShardWriter writes and WebDataset reads, by each way to write a label."""
    reason = "webdataset is not installed; make test-peers installs it"
    wds = pytest.importorskip("webdataset", reason=reason)
    pattern = str(tmp_path / "shard-%06d.tar")
    with wds.ShardWriter(pattern, maxcount=17, verbose=0) as sink:
        for k, (image, name) in enumerate(pictures()):
            value = {"cls": CLASSES.index(name), "txt": name, "json": {"label": name}}[label]
            sink.write({"__key__": f"dir.d/sample{k:05}", "png": image, label: value})
    braces = str(tmp_path / "shard-{000000..000003}.tar")
    assert len(list(tmp_path.glob("shard-*.tar"))) == 4
    data = wds.WebDataset(braces, shardshuffle=False).decode("pil")

    def name_of(value: Any) -> str:
        if label == "json":
            return str(value["label"])
        return CLASSES[value] if label == "cls" else str(value)

    expected = right((row["png"], name_of(row[label])) for row in data)
    assert expected[0] == 60
    assert counted(theta, braces) == expected
    for file in tmp_path.glob("shard-*.tar"):
        (tmp_path / "shards").mkdir(exist_ok=True)
        file.rename(tmp_path / "shards" / file.name)
    assert counted(theta, tmp_path / "shards") == expected


def test_a_compressed_shard(tmp_path, theta):
    reason = "webdataset is not installed; make test-peers installs it"
    wds = pytest.importorskip("webdataset", reason=reason)
    with wds.TarWriter(str(tmp_path / "one.tar.gz")) as sink:
        for k, (image, name) in enumerate(pictures(8)):
            buffer = io.BytesIO()
            image.save(buffer, "jpeg", quality=95)
            sink.write({"__key__": f"{k}", "jpg": buffer.getvalue(), "cls": name})
    raw = wds.WebDataset(str(tmp_path / "one.tar.gz"), shardshuffle=False)
    pairs = [(Image.open(io.BytesIO(row["jpg"])), row["cls"].decode()) for row in raw]
    assert counted(theta, tmp_path / "one.tar.gz") == right(pairs)
