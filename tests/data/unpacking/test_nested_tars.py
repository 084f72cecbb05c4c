"""Archives of archives, as ImageNet's training images come."""

from __future__ import annotations

import random
import tarfile
from pathlib import Path

import pytest
from tests.data.unpacking.archives import content, special, tar_bytes, tar_of

from wiseft.errors import WiseftError
from wiseft.study.data.unpacking.unpack import unpack_nested_tars


def nested(path: Path, classes: dict[str, bytes], mode: str = "w") -> Path:
    return tar_of(path, classes.items(), mode)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_nested_archives_become_class_folders(tmp_path, mode):
    big = random.Random(2).randbytes(2_500_000)
    images = {
        wnid: {f"{wnid}_{i}.JPEG": big[i : 1_200_000 * i + i] for i in range(3)}
        for wnid in ("n01440764", "n01443537")
    }
    classes = {f"{wnid}.tar": tar_bytes(files.items()) for wnid, files in images.items()}
    archive = nested(tmp_path / "train.tar", classes, mode)
    assert unpack_nested_tars(archive, tmp_path / "train", sha256="ab") == 6
    assert content(tmp_path / "train") == {
        f"{wnid}/{name}": data for wnid, files in images.items() for name, data in files.items()
    }
    assert unpack_nested_tars(archive, tmp_path / "train", sha256="ab") == 6


GOOD = [("n1_1.JPEG", b"x")]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../evil", b"x")], r"leads out of the archive by '\.\.'"),
        ([("/evil", b"x")], "absolute path"),
        ([(special("l", tarfile.SYMTYPE, "a"), b"")], "is a symlink"),
        ([(special("p", tarfile.FIFOTYPE), b"")], "is a named pipe"),
        ([*GOOD, *GOOD], "would overwrite another file"),
    ],
)
def test_nested_archives_are_not_trusted_either(tmp_path, members, message):
    classes = {"n0.tar": tar_bytes(GOOD), "n1.tar": tar_bytes(members)}
    archive = nested(tmp_path / "train.tar", classes)
    with pytest.raises(WiseftError, match=message):
        unpack_nested_tars(archive, tmp_path / "out" / "train")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"n1.tar": b"no archive"}, r"n1\.tar is damaged or cut short"),
        ({"n1.tar": tar_bytes([("a", bytes(2000))])[:1500]}, "damaged or cut short"),
        ({"n1.JPEG": b"x"}, r"is no <class>\.tar"),
        ({"a/n1.tar": tar_bytes(GOOD), "b/n1.tar": tar_bytes(GOOD)}, "second one of its name"),
    ],
)
def test_what_is_no_archive_of_archives_is_told(tmp_path, classes, message):
    archive = nested(tmp_path / "train.tar", classes)
    with pytest.raises(WiseftError, match=message):
        unpack_nested_tars(archive, tmp_path / "out" / "train")
    assert list((tmp_path / "out").iterdir()) == []
