"""Images as they lie: every form gives the accuracy that is counted without this program."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tests.evaluate.conftest import CLASSES, blobs, tiny_header, tiny_tensors
from torchvision.datasets import ImageFolder

from wiseft.errors import WiseftError
from wiseft.evaluate.score import score_folder
from wiseft.images.index import read_index
from wiseft.images.index_folder import index_source
from wiseft.images.manifest import open_manifest
from wiseft.images.sources import _expanded, find
from wiseft.images.tables import column
from wiseft.models.classifier import build_classifier
from wiseft.thetas.theta import save_theta

N = 12
SHUFFLED = ["two", "zero", "three", "one"]
"""The order of the names in the sources: not that of the head."""


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """Class folders, 12 images of each of the head's classes."""
    root = tmp_path_factory.mktemp("images")
    for place, name in enumerate(CLASSES):
        (root / name).mkdir()
        for number, image in enumerate(blobs(N, place)):
            Image.fromarray(image).save(root / name / f"{number:02}.png")
    return root


@pytest.fixture(scope="session")
def expected(images) -> dict[str, tuple[int, int]]:
    """Images and right ones by class, counted with torch and torchvision's ImageFolder."""
    data = ImageFolder(str(images))
    model = build_classifier(tiny_header(), tiny_tensors(1))
    counts = {name: [0, 0] for name in CLASSES}
    for image, label in data:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        with torch.no_grad():
            predicted = CLASSES[int(model(pixels).argmax())]
        name = data.classes[label]
        counts[name][0] += 1
        counts[name][1] += predicted == name
    assert 0 < sum(right for _, right in counts.values()) < 4 * N
    return {name: (n, right) for name, (n, right) in counts.items()}


@pytest.fixture
def theta(tmp_path: Path) -> Path:
    save_theta(tmp_path / "theta.safetensors", tiny_tensors(1), tiny_header())
    return tmp_path / "theta.safetensors"


def rows(images: Path) -> list[tuple[Path, str]]:
    """Return the images and their classes, in an order that is none of path or class."""
    every = sorted(images.rglob("*.png"), key=lambda path: (path.name, path.parent.name[::-1]))
    return [(path, path.parent.name) for path in every]


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


# ----------------------------------------------------------------------------------- every form


def csv_names(root: Path, images: Path) -> Path:
    shutil.copytree(images, root / "pictures")
    table = [(f"pictures/{p.relative_to(images)}", name.upper()) for p, name in rows(images)]
    pd.DataFrame(table, columns=["file_name", "class"]).to_csv(root / "t.csv", index=False)
    return root / "t.csv"


def csv_absolute_numbers(root: Path, images: Path) -> Path:
    table = [(str(path), CLASSES.index(name)) for path, name in rows(images)]
    pd.DataFrame(table, columns=["path", "label"]).to_csv(root / "t.csv", index=False)
    return root / "t.csv"


def tsv_up(root: Path, images: Path) -> Path:
    shutil.copytree(images, root / "pictures")
    (root / "lists").mkdir()
    table = [(f"../pictures/{p.relative_to(images)}", name) for p, name in rows(images)]
    frame = pd.DataFrame(table, columns=["image", "label"])
    frame.to_csv(root / "lists" / "t.tsv", index=False, sep="\t")
    return root / "lists" / "t.tsv"


def jsonl_numbers(root: Path, images: Path) -> Path:
    lines = [
        json.dumps({"image": str(p), "label": CLASSES.index(name)}) for p, name in rows(images)
    ]
    (root / "t.jsonl").write_text("\n".join(lines))
    return root / "t.jsonl"


def parquet_paths(root: Path, images: Path) -> Path:
    table = [(str(path), float(CLASSES.index(name))) for path, name in rows(images)]
    pd.DataFrame(table, columns=["path", "target"]).to_parquet(root / "t.parquet")
    return root / "t.parquet"


def parquet_bytes(root: Path, images: Path) -> Path:
    table = [(path.read_bytes(), name) for path, name in rows(images)]
    pd.DataFrame(table, columns=["image", "label"]).to_parquet(root / "t.parquet")
    return root / "t.parquet"


def hub_table(some: list[tuple[Path, str]], names: list[str]) -> pa.Table:
    """Return a table as the Hub has it: a struct of bytes and path, and ClassLabel."""
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": names},
    }
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = [{"bytes": path.read_bytes(), "path": path.name} for path, _ in some]
    labels = pa.array([names.index(name) for _, name in some], pa.int64())
    table = pa.table({"id": range(len(some)), "image": pa.array(images, struct), "label": labels})
    return table.replace_schema_metadata(about)


def hub_parquet(root: Path, images: Path) -> Path:
    """A repository of a dataset: shards of two splits, several row groups each."""
    (root / "repo" / "data").mkdir(parents=True)
    every = rows(images)
    for name, some in (("test", every), ("train", every[:7])):
        for shard, part in enumerate((some[:20], some[20:])):
            file = root / "repo" / "data" / f"{name}-{shard:05}-of-00002.parquet"
            pq.write_table(hub_table(part, SHUFFLED), file, row_group_size=3)
    return root / "repo"


def saved_dataset(root: Path, images: Path) -> Path:
    """`DatasetDict.save_to_disk`, written by pyarrow."""
    for split, some in (("validation", rows(images)), ("train", rows(images)[:9])):
        folder = root / "saved" / split
        folder.mkdir(parents=True)
        table = hub_table(some, SHUFFLED)
        names = [f"data-{k:05}-of-00002.arrow" for k in range(2)]
        for name, part in zip(names, (table.slice(0, 8), table.slice(8)), strict=True):
            with pa.ipc.new_stream(folder / name, table.schema) as writer:
                writer.write_table(part, max_chunksize=5)
        state = {"_data_files": [{"filename": name} for name in names], "_split": split}
        (folder / "state.json").write_text(json.dumps(state))
        (folder / "dataset_info.json").write_text("{}")
    (root / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    return Path(f"{root / 'saved'}:validation")


def tars(root: Path, images: Path) -> str:
    """Shards as webdataset writes them; labels are numbers in the head's order."""
    every = rows(images)
    for shard in range(3):
        with tarfile.open(root / f"shard-{shard:03}.tar", "w") as tar:
            for k, (path, name) in enumerate(every[shard::3]):
                add(tar, f"a/{k:04}.PNG", path.read_bytes())
                add(tar, f"a/{k:04}.cls", str(CLASSES.index(name)).encode())
                add(tar, f"a/{k:04}.json", b'{"width": 32}')
    return str(root / "shard-{000..002}.tar")


def tars_of_clip_benchmark(root: Path, images: Path) -> Path:
    """Its folders: `<split>/<n>.tar` and the names beside them, in another order."""
    for split, every in (("test", rows(images)), ("train", rows(images)[:5])):
        (root / "wds" / split).mkdir(parents=True)
        with tarfile.open(root / "wds" / split / "0.tar", "w") as tar:
            for k, (path, name) in enumerate(every):
                add(tar, f"s{k:07}.cls", str(SHUFFLED.index(name)).encode())
                add(tar, f"s{k:07}.webp.png", path.read_bytes())
    (root / "wds" / "classnames.txt").write_text("\n".join(SHUFFLED))
    return root / "wds"


def tar_gz_json(root: Path, images: Path) -> Path:
    with tarfile.open(root / "one.tar.gz", "w:gz") as tar:
        for k, (path, name) in enumerate(rows(images)):
            add(tar, f"./{k}.txt", b"a photo")
            add(tar, f"./{k}.png", path.read_bytes())
            add(tar, f"./{k}.json", json.dumps({"key": k, "label": name}).encode())
    return root / "one.tar.gz"


def metadata_folder(root: Path, images: Path) -> Path:
    """An imagefolder of the Hub with metadata.csv in the folder of its split."""
    for split in ("test", "train"):
        shutil.copytree(images, root / "folder" / split)
        table = [(str(p.relative_to(images)), name) for p, name in rows(images)]
        frame = pd.DataFrame(table[: N if split == "train" else None])
        frame.to_csv(
            root / "folder" / split / "metadata.csv", index=False, header=["file_name", "label"]
        )
    return root / "folder"


def split_column(root: Path, images: Path) -> Path:
    table = [(str(path), name, "test") for path, name in rows(images)]
    table[3:3] = [(path, "one", "train") for path, *_ in table]
    frame = pd.DataFrame(table, columns=["path", "label", "split"])
    frame.to_csv(root / "t.csv", index=False)
    return root / "t.csv"


def folder_of_splits(root: Path, images: Path) -> Path:
    shutil.copytree(images, root / "root" / "val")
    (root / "root" / "train" / "one").mkdir(parents=True)
    return Path(f"{root / 'root'}:val")


FORMS: list[Callable[[Path, Path], Any]] = [
    csv_names,
    csv_absolute_numbers,
    tsv_up,
    jsonl_numbers,
    parquet_paths,
    parquet_bytes,
    hub_parquet,
    saved_dataset,
    tars,
    tars_of_clip_benchmark,
    tar_gz_json,
    metadata_folder,
    split_column,
    folder_of_splits,
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_gives_the_accuracy(form, tmp_path, images, expected, theta):
    (tmp_path / "data").mkdir()
    found = score_folder(theta, form(tmp_path / "data", images))
    assert found.classes == expected


# -------------------------------------------------------------------------------- what is meant


def write(root: Path, content: str, name: str = "t.csv") -> Path:
    (root / name).write_text(content)
    return root / name


def test_class_folders_are_those_of_torchvision(images, tmp_path):
    """Order of the classes, extensions in any case, links to folders, and empty classes."""
    shutil.copytree(images, tmp_path / "tree")
    for old, new in (("00.png", "00.PNG"), ("01.png", "01.txt"), ("02.png", "a.b.png")):
        (tmp_path / "tree" / "one" / old).rename(tmp_path / "tree" / "one" / new)
    (tmp_path / "tree" / "Five").symlink_to(images / "two")
    (tmp_path / "tree" / "10").mkdir()
    shutil.copy(images / "one" / "05.png", tmp_path / "tree" / "10" / "5.png")
    data = ImageFolder(str(tmp_path / "tree"))
    source = find(tmp_path / "tree").open("")
    assert source.classes == data.classes
    manifest = index_source(
        {"test": source}, tmp_path / "out" / "m.json", "x", [[name] for name in data.classes]
    )
    index = read_index(open_manifest(manifest), "test")
    found = [
        (f"{tmp_path / 'tree'}/{path}", k)
        for path, k in zip(index["path"], index["label"], strict=True)
    ]
    assert found == data.samples
    (tmp_path / "tree" / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty"):
        ImageFolder(str(tmp_path / "tree"))
    with pytest.raises(WiseftError, match="empty holds no images"):
        names = [[name] for name in (*data.classes, "empty")]
        index_source({"test": find(tmp_path / "tree").open("")}, manifest, "x", names)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a-{008..011}.tar", ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]),
        ("{a,b}/{8..10}", ["a/8", "a/9", "a/10", "b/8", "b/9", "b/10"]),
        ("plain", ["plain"]),
    ],
)
def test_braces(text, names):
    assert _expanded(text) == names


def test_which_split_is_used_is_said_or_asked(tmp_path, images, theta, said):
    root = hub_parquet(tmp_path, images)
    assert score_folder(theta, root).n == 4 * N
    assert f"{root} has the splits test, train: test is used" in said
    assert score_folder(theta, f"{root}:train").n == 7
    with pytest.raises(WiseftError, match="has no split val, but test, train"):
        score_folder(theta, f"{root}:val")
    for file in (root / "data").glob("test*"):
        file.rename(file.with_name(file.name.replace("test", "validation")))
    with pytest.raises(WiseftError, match=r"splits: train, validation; name one, such as .*:train"):
        score_folder(theta, root)
    for file in (root / "data").glob("train*"):
        file.unlink()
    assert score_folder(theta, root).n == 4 * N
    assert f"{root} has the splits validation: validation is used" in said


def test_columns_are_asked_for(tmp_path, images, theta, expected):
    table = [(str(path), name, "x", "one") for path, name in rows(images)]
    columns = ["where", "what", "label", "class"]
    pd.DataFrame(table, columns=columns).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(WiseftError, match=r"columns label, class; say which with --label-column"):
        score_folder(theta, tmp_path / "t.csv")
    with pytest.raises(WiseftError, match=r"columns where, .*--image-column"):
        score_folder(theta, tmp_path / "t.csv", label_column=["what"])
    how = {"label_column": ["none", "what"], "image_column": ["where"]}
    assert score_folder(theta, tmp_path / "t.csv", **how).classes == expected
    with pytest.raises(WiseftError, match="has no column kind; its columns are where, what"):
        score_folder(theta, tmp_path / "t.csv", **how | {"label_column": ["kind"]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,label\n{0},one\n{1},\n", r"t\.csv, row 2: expected a name or number as label"),
        ("image,label\n{0},one\n{1}\n", r"row 2: expected a name .*found None"),
        ("image,label\n{0},one\n,two\n", r"row 2: column image is empty"),
        ("image,label\n{0},one\n{0},two\n", r"row 2 lists .* a second time \(first .*row 1"),
        ("image,label\n{0},one\nno.png,two\n", r"row 2 lists .*/no\.png, which is not there"),
        ("image,label\n{0},one\n{1},5\n", r"the images' class 5 is none of the 4"),
        ("image,label\n{0},0\n{1},4\n", r"the images' class 4 is none of the 4"),
        ("image,label\n", "has no rows, expected one for each image"),
        ("image\n{0}\n", "has no labels"),
        ("a,b\n{0},one\n", "say with --image-column"),
        ("image,label\n{0},'one\n".replace("'", '"'), "is not a readable table"),
        ("", "has the columns None; say with --image-column"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path, images, theta, content, message):
    table = write(tmp_path, content.format(images / "one/00.png", images / "two/00.png"))
    with pytest.raises(WiseftError, match=message):
        score_folder(theta, table)


def test_what_is_wrong_with_packed_labels_is_named(tmp_path, images, theta):
    some = rows(images)[:6]

    def save(labels: list[Any], names: list[str] | None = None) -> Path:
        table = hub_table(some, SHUFFLED)
        if names is None:
            table = table.replace_schema_metadata(None)
        table = table.set_column(2, "label", pa.array(labels))
        pq.write_table(table, tmp_path / "t.parquet")
        return tmp_path / "t.parquet"

    with pytest.raises(WiseftError, match=r"row 3 has the label 4, which is none of the 4 classes"):
        score_folder(theta, save([0, 1, 4, 0, 1, 2], SHUFFLED))
    with pytest.raises(WiseftError, match=r"row 2: expected a name or number .* found nan"):
        score_folder(theta, save([0.0, float("nan"), 1.0, 1.0, 1.0, 1.0]))
    with pytest.raises(WiseftError, match=r"row 1: expected a name .* found \[1\]"):
        score_folder(theta, save([[1]] * 6))
    with pytest.raises(WiseftError, match="has no labels"):  # the Hub's test sets
        score_folder(theta, save([-1] * 6, SHUFFLED))
    lines = [{"image": str(path), "label": k or "one"} for k, (path, _) in enumerate(some)]
    mixed = write(tmp_path, "\n".join(map(json.dumps, lines)), "t.jsonl")
    with pytest.raises(WiseftError, match=r"row 2: expected .*the same kind in all rows, found 1"):
        score_folder(theta, mixed)
    images_of = [{"bytes": None, "path": None}] * 6
    pd.DataFrame({"image": images_of, "label": [0] * 6}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(WiseftError, match=r"t\.parquet, row 1: image holds no image"):
        score_folder(theta, tmp_path / "t.parquet")


def test_numbers_are_places_in_the_head_and_that_is_said(tmp_path, images, theta, said):
    score_folder(theta, csv_absolute_numbers(tmp_path, images))
    assert any(
        "numbers are classes in the order of" in line and "3 is three" in line for line in said
    )


def test_classes_of_the_source_without_images_count(tmp_path, images, theta):
    """Of a dataset that names four classes and has images of two, any of the four is predicted."""
    some = [(path, name) for path, name in rows(images) if name in ("one", "two")]
    pq.write_table(hub_table(some, SHUFFLED), tmp_path / "t.parquet")
    found = score_folder(theta, tmp_path / "t.parquet")
    assert found.restricted == 0 and found.classes["zero"] == (0, 0)
    whole = score_folder(theta, images)
    assert {n: found.classes[n] for n in ("one", "two")} == {
        n: whole.classes[n] for n in ("one", "two")
    }
    right = [whole.classes[n][1] / N for n in ("one", "two")]
    assert found.mean_recall == pytest.approx(sum(right) / 2)


def test_broken_images_are_left_out_by_name(tmp_path, images, theta):
    some = rows(images)
    table = hub_table(some, SHUFFLED).to_pylist()
    table[5]["image"]["bytes"] = b"no image"
    frame = pd.DataFrame(table)
    frame.to_parquet(tmp_path / "t.parquet")
    frame["label"] = [SHUFFLED[k] for k in frame["label"]]
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(WiseftError, match=r"t/000005-\S+\.png is not a readable image"):
        score_folder(theta, tmp_path / "t.parquet")
    found = score_folder(theta, tmp_path / "t.parquet", skip_broken=True)
    assert found.n == len(some) - 1 and len(found.broken) == 1
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "empty.png").touch()
    lines = "".join(f"{path},{name}\n" for path, name in some)
    odd = "bad.png,one\nempty.png,one\nmissing.png,one\n"
    found = score_folder(theta, write(tmp_path, f"image,label\n{odd}{lines}"), skip_broken=True)
    assert found.n == len(some)
    text = " ".join(found.broken)
    assert "bad.png is not a readable" in text and "empty.png is empty" in text
    assert "row 3 lists" in text and "missing.png, which is not there" in text


def path_rows(folder: Path, some: list[tuple[str, str]]) -> Path:
    """Write a table as `datasets` has it after `Image(decode=False)`: rows with a path alone."""
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": None, "path": path} for path, _ in some], struct)
    pq.write_table(pa.table({"image": images, "label": [n for _, n in some]}), folder / "t.parquet")
    return folder / "t.parquet"


def test_files_that_rows_name_are_read_as_they_are_now(tmp_path, images, theta, expected):
    shutil.copytree(images, tmp_path / "data" / "pictures")
    some = [(f"pictures/{p.relative_to(images)}", name) for p, name in rows(images)]
    table = path_rows(tmp_path / "data", some)
    assert score_folder(theta, table).classes == expected
    source = find(table).open("")
    (before,) = {Path(path).read_bytes() for path in source.files(tmp_path / "out")[:1]}
    assert source.files(tmp_path / "out") == source.files(tmp_path / "out")
    first = tmp_path / "data" / some[0][0]
    Image.open(first).rotate(180).save(first)
    assert first.read_bytes() != before
    assert Path(source.files(tmp_path / "out")[0]).read_bytes() == first.read_bytes()
    first.unlink()
    with pytest.raises(WiseftError, match=r"t\.parquet, row 1: image holds no image"):
        source.files(tmp_path / "out")


@pytest.mark.parametrize("named", ["absolute", "up", "link"])
def test_rows_name_no_file_outside_the_folder_of_their_table(tmp_path, images, theta, named):
    (tmp_path / "data").mkdir()
    private = shutil.copy(images / "one" / "00.png", tmp_path / "private.png")
    (tmp_path / "data" / "link.png").symlink_to(private)
    path = {"absolute": str(private), "up": "../private.png", "link": "link.png"}[named]
    table = path_rows(tmp_path / "data", [(path, "one")])
    with pytest.raises(WiseftError, match=r"row 1: image is the file \S+private\.png, outside"):
        find(table).open("").files(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("listed", ["/etc/hostname", "../private.png"])
def test_a_list_that_lies_in_a_folder_leads_out_only_for_its_owner(tmp_path, images, listed):
    (tmp_path / "data").mkdir()
    shutil.copy(images / "one" / "00.png", tmp_path / "private.png")
    table = write(tmp_path / "data", f"file_name,label\n{listed},one\n", "metadata.csv")
    with pytest.raises(WiseftError, match=r"metadata\.csv, row 1: \S+ lies outside the table's"):
        find(tmp_path / "data").open("").files(tmp_path / "out")
    assert find(table).open("").files(tmp_path / "out") == [
        str((tmp_path / "data" / listed).resolve())
    ]


def test_packed_images_without_labels(tmp_path, images):
    """None of the images is read before they are written out."""
    for suffix in (".parquet", ".arrow"):
        table = pa.table({"image": [path.read_bytes() for path, _ in rows(images)]})
        if suffix == ".parquet":
            pq.write_table(table, tmp_path / "t.parquet", row_group_size=10)
        else:
            with pa.ipc.new_stream(tmp_path / "t.arrow", table.schema) as writer:
                writer.write_table(table, max_chunksize=10)
        source = find(tmp_path / f"t{suffix}").open("")
        assert source.classes is None and source.row(47).endswith(f"t{suffix}, row 48")
        manifest = tmp_path / suffix / "manifest.json"
        index = read_index(
            open_manifest(index_source({"test": source}, manifest, "x", [["a"], ["b"]])), "test"
        )
        written = [(manifest.parent / "images" / path).read_bytes() for path in index["path"]]
        assert written == table["image"].to_pylist()
        assert index["bytes"].tolist() == list(map(len, written))


def test_numbers_with_zeros_in_front(tmp_path, images, theta, expected):
    lines = ["image,label"]
    for k, (path, name) in enumerate(rows(images)):
        lines.append(f"{path},{CLASSES.index(name):0{1 + k % 3}}")
    table = write(tmp_path, "\n".join(lines))
    assert score_folder(theta, table).classes == expected


def test_files_beside_class_folders_are_no_source(tmp_path, images, theta, expected):
    shutil.copytree(images, tmp_path / "tree")
    tars(tmp_path / "tree", images)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "tree" / "features.parquet")
    assert score_folder(theta, tmp_path / "tree").classes == expected
    with pytest.raises(WiseftError, match=r"\.safetensors is no folder, tar shard or \.csv"):
        score_folder(theta, theta)
    with pytest.raises(WiseftError, match=r"found nothing at .*nowhere"):
        score_folder(theta, tmp_path / "nowhere")


# ------------------------------------------------------------------------------------------ tars


def member(name: str, **how: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in how.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ([member("b.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")], "b.png is a symlink of"),
        ([member("b.cls", type=tarfile.LNKTYPE, linkname="a.png")], "b.cls is a hardlink of"),
        ([member("/b.png")], "nothing else is followed"),
        ([member("../b.png")], "nothing else is followed"),
        ([member("b.png"), member("a.txt")], "sample a occurs twice"),
        ([member("b.cls")], "expected one image in sample b, found none"),
        ([member("b.png"), member("b.jpg")], r"one image in sample b, found b\.png and b\.jpg"),
        ([member("b.png")], r"t\.tar, sample b: expected a name or number as label"),
    ],
)
def test_what_is_wrong_with_a_shard_is_named(tmp_path, images, theta, odd, message):
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        add(tar, "a.png", (images / "one" / "00.png").read_bytes())
        add(tar, "a.cls", b"1")
        for each in odd:
            tar.addfile(each)
    with pytest.raises(WiseftError, match=message):
        score_folder(theta, tmp_path / "t.tar")


def test_a_cut_shard_is_named(tmp_path, images, theta):
    pattern = tars(tmp_path, images)
    cut = tmp_path / "shard-001.tar"
    cut.write_bytes(cut.read_bytes()[:5000])
    with pytest.raises(WiseftError, match=r"shard-001\.tar is damaged or cut short"):
        score_folder(theta, pattern)


def test_labels_of_other_extensions(tmp_path, images, theta, expected):
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for k, (path, name) in enumerate(rows(images)):
            add(tar, f"{k}.png", path.read_bytes())
            add(tar, f"{k}.species", name.encode())
            add(tar, f"{k}.meta.json", json.dumps({"kind": name}).encode())
    with pytest.raises(WiseftError, match="has no labels"):
        score_folder(theta, tmp_path / "t.tar")
    for asked in (["species"], ["kind", "meta.json"]):
        assert score_folder(theta, tmp_path / "t.tar", label_column=asked).classes == expected


class _Handler(SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def test_shards_of_a_server_are_fetched_once(tmp_path, images, theta, expected, monkeypatch):
    tars(tmp_path, images)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _Handler.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/shard-{{000..002}}.tar"
        for given in (url, Path(url)):  # a Path has lost a slash
            assert score_folder(theta, given).classes == expected
        assert _Handler.asked == [f"/shard-00{k}.tar" for k in range(3)]
        with pytest.raises(WiseftError, match="404"):
            score_folder(theta, url.replace("002", "003"))
        server.shutdown()
    (note,) = (tmp_path / "cache").rglob("shard-001.tar.json")
    shard = tmp_path / "shard-001.tar"
    about = json.loads(note.read_text())
    assert about["bytes"] == shard.stat().st_size
    assert about["sha256"] == hashlib.sha256(shard.read_bytes()).hexdigest()
    note.with_suffix("").write_bytes(b"changed")
    with pytest.raises(WiseftError, match="It was not touched: delete it"):
        score_folder(theta, url)


def test_a_message_about_columns_stays_a_sentence():
    columns = {"[" * 100_000: [1], **{f"c{n}": [1] for n in range(50)}}
    with pytest.raises(WiseftError, match=r"\[\.\.\., c0, .*and 31 more") as error:
        column(Path("t.csv"), columns, "label")
    assert len(str(error.value)) < 400
