"""A sweep of tables, datasets and shards is that of the class folders they were made of."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image
from tests.sweep.conftest import CLASSES

from wiseft.base.messages import shown
from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.tool.record import Result
from wiseft.tool.sweep import sweep


@pytest.fixture
def ends(clips, tmp_path) -> list[str]:
    for name, weights in zip(("z.pt", "f.pt"), clips, strict=True):
        torch.save(weights, tmp_path / name)
    return [str(tmp_path / name) for name in ("z.pt", "f.pt")]


def listed(folder: Path) -> list[tuple[Path, str]]:
    return [(path, path.parent.name) for path in sorted(folder.rglob("*.png"))]


def as_csv(folder: Path, table: Path, label: bool = True) -> Path:
    """Write a list of images: by paths below it, where it lies beside copies of them."""
    beside = table.parent.joinpath(*["pictures"][: table.name == "metadata.csv"])
    if beside != table.parent:
        shutil.copytree(folder, beside)
        folder = beside
    rows = [(str(path), name) for path, name in listed(folder)]
    frame = pd.DataFrame(rows, columns=["path", "label"])
    frame[["path", "label"] if label else ["path"]].to_csv(table, index=False)
    return table


def as_parquet(folder: Path, table: Path) -> Path:
    rows = [
        ({"bytes": path.read_bytes(), "path": path.name}, name) for path, name in listed(folder)
    ]
    pd.DataFrame(rows, columns=["image", "label"]).to_parquet(table)
    return table


def as_tars(folder: Path, root: Path) -> str:
    for shard, part in enumerate((listed(folder)[::2], listed(folder)[1::2])):
        with tarfile.open(root / f"s-{shard}.tar", "w") as tar:
            for k, (path, name) in enumerate(part):
                for suffix, content in ((".png", path.read_bytes()), (".cls", name.encode())):
                    info = tarfile.TarInfo(f"{k}{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return str(root / "s-{0..1}.tar")


def rows_of(result: Result) -> dict[tuple[str, str], list[tuple[int, ...]]]:
    """What was found of each image, by role and split; the order of the images is left out."""
    found = {}
    for place, each in enumerate(result.record.sets):
        path = result.folder / ".work" / "evaluation" / each.name / "predictions.parquet"
        columns = ["label", *(f"weight/all/0.500/{c}" for c in ("prediction", "top1", "top2"))]
        table = pd.read_parquet(path, columns=["split", *columns])
        for split, rows in table.groupby("split"):
            found[f"{each.role} {place}", str(split)] = sorted(
                rows[columns].round(4).itertuples(index=False, name=None)
            )
    return found


@pytest.mark.parametrize("kind", ["csv", "parquet", "tars"])
def test_a_sweep_counts_what_it_counts_of_class_folders(ends, photos, tmp_path, kind):
    both = tmp_path / "both"
    shutil.copytree(photos / "photos", both / "val")
    shutil.copytree(photos / "paintings", both / "test")
    how = {"architecture": "Tiny", "alphas": [0.5]}
    shifts = [photos / "sketches", photos / "camera"]
    expected = sweep(*ends, both, shifts, tmp_path / "folders", **how)
    root = tmp_path / "as"
    for split in ("val", "test", "sketches"):
        (root / split).mkdir(parents=True)
    if kind == "csv":
        for split in ("val", "test"):
            as_csv(both / split, root / split / "metadata.csv")
        shifted = as_csv(photos / "sketches", root / "sketches.csv")
    elif kind == "parquet":
        for split in ("val", "test"):
            as_parquet(both / split, root / split / "0000.parquet")
        shifted = as_parquet(photos / "sketches", root / "sketches.parquet")
    else:
        for split in ("val", "test"):
            as_tars(both / split, root / split)
        shifted = as_tars(photos / "sketches", root / "sketches")
        (root / "sketches").rename(tmp_path / "sketches")
        shifted = str(tmp_path / "sketches" / "s-{0..1}.tar")
    shutil.rmtree(root / "sketches", ignore_errors=True)
    for file in root.glob("sketches*"):
        shifted = shutil.move(file, tmp_path)
    unlabelled = as_csv(photos / "camera", tmp_path / "camera.csv", label=False)
    found = sweep(*ends, root, [shifted, unlabelled], tmp_path / "out", **how)
    assert rows_of(found) == rows_of(expected)
    assert found.record.unlabelled.keys() == {each.name for each in found.record.sets[1:]}
    assert list(found.record.unlabelled.values()) == list(expected.record.unlabelled.values())
    assert found.recommended == expected.recommended
    again = sweep(*ends, root, [shifted, unlabelled], tmp_path / "out", **how)
    assert again.record.accuracy == found.record.accuracy


def test_packed_images_that_change_are_seen(ends, photos, tmp_path):
    """Written again with equal bytes nothing is computed; with other images all of them are."""
    reference = as_parquet(photos / "photos", tmp_path / "photos.parquet")
    shift = as_parquet(photos / "sketches", tmp_path / "s.parquet")

    def call() -> list[str]:
        said: list[str] = []
        with shown(said.append):
            how = {"architecture": "Tiny", "alphas": [0.5]}
            sweep(*ends, reference, [shift], tmp_path / "out", **how)
        return [line for line in said if line.endswith("recomputing")]

    assert call() == []
    as_parquet(photos / "sketches", shift)
    assert call() == []
    frame = pd.read_parquet(shift)
    for row in frame["image"]:
        buffer = io.BytesIO()
        image = Image.open(io.BytesIO(row["bytes"])).transpose(Image.Transpose.ROTATE_180)
        image.save(buffer, "png")
        row["bytes"] = buffer.getvalue()
    frame.to_parquet(shift)
    assert len(call()) == 1


def test_prompts_are_not_made_of_numbers(ends, photos, tmp_path):
    table = as_csv(photos / "photos", tmp_path / "t.csv")
    frame = pd.read_csv(table)
    frame["label"] = [CLASSES.index(name) for name in frame["label"]]
    frame.to_csv(table, index=False)
    how = {"architecture": "Tiny", "alphas": [0.5]}
    shifts = [photos / "camera"]
    with pytest.raises(WiseftError, match=r"are numbers, .* --class-names '\{\"0\": "):
        sweep(*ends, table, shifts, tmp_path / "out", **how)
    names = dict(zip("0123", CLASSES, strict=True))
    found = sweep(*ends, table, shifts, tmp_path / "out", **how, class_names=names)
    expected = sweep(*ends, photos / "photos", shifts, tmp_path / "other", **how)
    assert found.record.class_names == CLASSES
    assert rows_of(found) == rows_of(expected)  # in one order, so that the halves are the same
    with pytest.raises(WiseftError, match="are numbers, of which prompts cannot be made"):
        sweep(*ends, photos / "photos", shifts, tmp_path / "kept", **how, keep=[table])
    with pytest.raises(WiseftError, match="are numbers, of which prompts cannot be made"):
        sweep(*ends, photos / "photos", [table], tmp_path / "shift", **how)


def test_the_reference_itself_is_no_shift(ends, photos, tmp_path):
    table = as_csv(photos / "photos", tmp_path / "t.csv")
    with pytest.raises(WiseftError, match="has the very images of the reference"):
        sweep(*ends, table, [table], tmp_path / "out", architecture="Tiny")


def test_a_command_takes_a_split_and_columns(ends, photos, tmp_path, capsys):
    rows = [(str(path), name, "a") for path, name in listed(photos / "photos")]
    rows += [(str(path), name, "b") for path, name in listed(photos / "paintings")]
    frame = pd.DataFrame(rows, columns=["where", "what", "split"])
    frame.to_csv(tmp_path / "t.csv", index=False)
    out = str(tmp_path / "out")
    options = ["--architecture", "Tiny", "--alphas", "0.5", "-o", out]
    options += ["--image-column", "where", "--label-column", "what"]
    images = ["--reference", f"{tmp_path}/t.csv:a", "--shift", f"{tmp_path}/t.csv:b"]
    with pytest.raises(SystemExit, match="0"):
        main(["sweep", *ends, *images, *options])
    record = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert [sum(each["n"].values()) for each in record["sets"]] == [64, 44]
    assert [each["path"][-5:] for each in record["sets"]] == ["csv:a", "csv:b"]
    score = ["score", f"{out}/model/f.pt", f"{tmp_path}/t.csv:b", *options[:2], *options[-4:]]
    with pytest.raises(SystemExit, match="0"):
        main(score)
    assert "44 images" in capsys.readouterr().out
