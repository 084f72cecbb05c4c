"""Encrypted zip archives."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from tests.data.unpacking.archives import assert_refused, content
from tools.rehearsal.encrypted_zip import write_encrypted_zip

from wiseft.study.data.unpacking.unpack import unpack

PASSWORD = "objectnetisatestset"


def encrypted(path: Path, n: int = 3, **options) -> dict[str, bytes]:
    rng = random.Random(1)
    files = {
        f"objectnet-1.0/images/{i % 3}/{i}.png": rng.randbytes(rng.randrange(3000))
        for i in range(n)
    }
    write_encrypted_zip(path, files, PASSWORD.encode(), **options)
    return files


@pytest.mark.parametrize("time_check", [False, True])
def test_an_encrypted_zip_is_read_with_its_password(tmp_path, time_check):
    files = encrypted(tmp_path / "a.zip", time_check=time_check)
    assert unpack(tmp_path / "a.zip", tmp_path / "out", password=PASSWORD) == 3
    assert content(tmp_path / "out") == files


def test_without_or_with_another_password_it_is_refused(tmp_path):
    encrypted(tmp_path / "a.zip")
    assert_refused(tmp_path / "a.zip", "is encrypted, and no password is given")
    shutil.rmtree(tmp_path / "out")
    assert_refused(tmp_path / "a.zip", "Bad password", password="another")


def test_a_flipped_bit_in_an_encrypted_zip_is_found(tmp_path):
    encrypted(tmp_path / "a.zip")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[2000] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    assert_refused(tmp_path / "a.zip", "damaged or cut short", password=PASSWORD)
