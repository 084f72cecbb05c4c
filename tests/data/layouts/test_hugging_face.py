"""A Hugging Face dataset with image files: class folders or metadata; shards in Parquet refused."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
from tests.data.layouts import official_files as generate
from tests.data.layouts import reading
from tests.data.layouts.reading import check

from wiseft.errors import WiseftError

NAMES = [name.replace("_", " ") for name in generate.PETS]


def read(root, *splits, options=None, **inputs):
    given = {"class_names": NAMES, **inputs}
    return reading.read("hugging-face", root, splits or ["train", "test"], options, **given)


@pytest.mark.parametrize("form", ["folders", "csv", "jsonl", "parquet"])
def test_every_form_has_equal_labels(tmp_path, form):
    written = generate.hugging_face(tmp_path, form)
    indexed = read(tmp_path)
    check(indexed, written, "train")
    check(indexed, written, "test")
    assert indexed.class_names is None


@pytest.mark.parametrize("form", ["folders", "jsonl"])
def test_class_names_from_the_files_are_sorted(tmp_path, form):
    written = generate.hugging_face(tmp_path, form)
    indexed = read(tmp_path, class_names=())
    names = [name for (name,) in indexed.class_names]
    assert names == [name.replace("_", " ") for name in sorted(generate.PETS)]
    split = indexed.splits["test"]
    for path, label in zip(split.paths, split.labels, strict=True):
        assert names[label] == NAMES[written.splits["test"][path]]


@pytest.mark.parametrize("name", ["validation", "valid", "dev", "data/validation", "held-out"])
def test_other_words_for_a_split(tmp_path, name):
    generate.hugging_face(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / "test").rename(tmp_path / name)
    assert read(tmp_path, "held-out").splits["held-out"].paths[0].startswith(f"{name}/")


def test_one_split_may_be_the_root_and_several_may_not(tmp_path):
    generate.hugging_face(tmp_path)
    assert len(read(tmp_path / "train", "test").splits["test"].paths) == 8
    with pytest.raises(WiseftError, match=r"expected a folder train or training or data/train"):
        read(tmp_path / "train", "train", "test")


def test_folders_and_label_column_of_the_entry(tmp_path):
    generate.hugging_face(tmp_path, "csv")
    (tmp_path / "test").rename(tmp_path / "quiz")
    table = tmp_path / "quiz" / "metadata.csv"
    table.write_text(table.read_text().replace("file_name,label", "file_name,pet"))
    options = {"folders": {"test": ["exam", "quiz"]}, "label": "pet"}
    split = read(tmp_path, "test", options=options).splits["test"]
    assert split.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_every_class_needs_its_one_folder(tmp_path):
    generate.hugging_face(tmp_path)
    shutil.copytree(tmp_path / "test" / "Bengal", tmp_path / "test" / "bengal")
    with pytest.raises(WiseftError, match="one folder a class, found Bengal and bengal"):
        read(tmp_path, "test")
    shutil.rmtree(tmp_path / "test" / "bengal")
    shutil.rmtree(tmp_path / "test" / "Bengal")
    with pytest.raises(WiseftError, match=r"each of 4 classes, found 3; .* is that of Bengal"):
        read(tmp_path)
    (tmp_path / "test" / "Bengall").mkdir()
    with pytest.raises(WiseftError, match=r"`Bengall` is no class of made-up.*nearest Bengal"):
        read(tmp_path)


def test_images_inside_parquet_are_refused(tmp_path):
    rows = pd.DataFrame([{"image": {"bytes": b"\x89PNG", "path": "1.png"}, "label": 0}])
    (tmp_path / "data").mkdir()
    rows.to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(WiseftError, match=r"train-00000-of-00001\.parquet holds the images inside"):
        read(tmp_path, "train")
    (tmp_path / "data").rename(tmp_path / "train")
    with pytest.raises(WiseftError, match=r"train-00000-of-00001\.parquet holds the images inside"):
        read(tmp_path, "train")
    shard = tmp_path / "train" / "train-00000-of-00001.parquet"
    shard.rename(tmp_path / "train" / "metadata.parquet")
    with pytest.raises(WiseftError, match=r"metadata\.parquet holds the images inside"):
        read(tmp_path, "train")


def test_wrong_metadata_is_named(tmp_path):
    generate.hugging_face(tmp_path, "jsonl")
    table = tmp_path / "test" / "metadata.jsonl"
    text = table.read_text()
    table.write_text(text.replace("images/10.png", "images/77.png"))
    with pytest.raises(WiseftError, match=r"row 3 lists .*images/77\.png, which is not there"):
        read(tmp_path)
    table.write_text(text.replace('"label"', '"kind"'))
    with pytest.raises(WiseftError, match="has no column label; its columns are file_name, kind"):
        read(tmp_path)
    table.write_text(text[:-9])
    with pytest.raises(WiseftError, match="not a readable table"):
        read(tmp_path)
    table.write_text(text)
    shutil.copy(table, table.with_suffix(".csv"))
    with pytest.raises(WiseftError, match=r"has both metadata\.csv and metadata\.jsonl"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.jsonl", b"[" * 100_000),
        ("metadata.jsonl", b'{"file_name": "0.jpg", "label": 1}\n7\n'),
        ("metadata.parquet", b"PAR1" + bytes(40) + b"PAR1"),
        ("metadata.parquet", b"no parquet"),
        ("metadata.csv", b"file_name,label\n" + b"x" * 200_000 + b",1\n"),
    ],
)
def test_a_table_that_is_none_is_named(tmp_path, name, content):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / name).write_bytes(content)
    with pytest.raises(WiseftError, match=f"{name} is not a readable table"):
        read(tmp_path, "test")


def test_a_split_without_anything_is_named(tmp_path):
    (tmp_path / "test").mkdir()
    with pytest.raises(WiseftError, match=r"test holds neither class folders nor metadata\.csv"):
        read(tmp_path, "test")
