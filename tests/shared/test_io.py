"""Files: whole or absent."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from wiseft.base.io import (
    atomic_path,
    check_writable,
    read_json,
    read_object,
    require_file,
    sha256_file,
    sha256_json,
    write_json,
    write_text,
)
from wiseft.errors import WiseftError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "table.csv"
    write_text(path, "old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


def test_the_temporary_name_keeps_the_suffix_and_makes_the_folder(tmp_path: Path):
    path = tmp_path / "a" / "b" / "figure.svg"
    with atomic_path(path) as temporary:
        assert temporary.suffix == ".svg"
        assert temporary.parent == path.parent
        assert not path.exists()
        temporary.write_text("<svg/>")
    assert path.read_text() == "<svg/>"


def test_permissions_follow_the_umask(tmp_path: Path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_json_errors_name_the_file(tmp_path: Path):
    path = tmp_path / "metrics.json"
    with pytest.raises(WiseftError, match=r"metrics .*metrics\.json does not exist"):
        read_json(path, "metrics")
    path.write_text('{"half": ')
    with pytest.raises(WiseftError, match=r"metrics\.json is not valid JSON"):
        read_json(path)
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"value": float("nan")})
    assert path.read_text() == '{"half": '


def test_checksums(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert sha256_file(path) == hashlib.sha256(b"abc").hexdigest()
    assert sha256_json({"b": 1, "a": [2]}) == sha256_json({"a": [2], "b": 1})
    assert sha256_json({"a": 1}) != sha256_json({"a": 2})


def test_a_folder_is_no_file(tmp_path: Path):
    with pytest.raises(WiseftError, match="theta"):
        require_file(tmp_path, "theta")


@pytest.mark.parametrize("text", ["[]", "null", '"a"', "3"])
def test_json_of_another_kind_is_no_object(tmp_path: Path, text: str):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(WiseftError, match=r"config\.json, the configuration, is no JSON object"):
        read_object(path, "configuration")


def test_a_folder_is_not_written_over_and_nothing_lies_beside_it(tmp_path: Path):
    (tmp_path / "out").mkdir()
    with pytest.raises(WiseftError, match="it is a folder"), atomic_path(tmp_path / "out"):
        raise AssertionError("nothing is to be written")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["null", "absent.json"])
def test_a_device_is_not_replaced_nor_anything_put_beside_it(name: str, monkeypatch):
    def touched(*_: object, **__: object) -> None:
        raise AssertionError("something was made in /dev")

    monkeypatch.setattr("tempfile.TemporaryFile", touched)
    monkeypatch.setattr("wiseft.base.io.temporary_file", touched)
    for write in (check_writable, lambda path: write_text(path, "x")):
        with pytest.raises(WiseftError, match=rf"cannot write /dev/{name}: it is a device"):
            write(Path("/dev") / name)


def test_a_named_pipe_stays_what_it_is(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WiseftError, match="it is a device; give the name of a file"):
        write_text(tmp_path / "pipe", "x")
    assert (tmp_path / "pipe").is_fifo()
