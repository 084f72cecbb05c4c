"""Encrypted zip archives."""

from __future__ import annotations

import os
import random
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.data.unpacking.archives import assert_refused, content
from tools.rehearsal.encrypted_zip import write_encrypted_zip

from wiseft.study.data.unpacking import zip_encryption
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
@pytest.mark.parametrize("n", [3, 40])
def test_an_encrypted_zip_is_read_with_its_password(tmp_path, n, time_check):
    files = encrypted(tmp_path / "a.zip", n, time_check=time_check)
    assert unpack(tmp_path / "a.zip", tmp_path / "out", password=PASSWORD) == n
    assert content(tmp_path / "out") == files


@pytest.mark.parametrize("n", [3, 40])
def test_without_or_with_another_password_it_is_refused(tmp_path, n):
    encrypted(tmp_path / "a.zip", n)
    assert_refused(tmp_path / "a.zip", "is encrypted, and no password is given")
    shutil.rmtree(tmp_path / "out")
    assert_refused(tmp_path / "a.zip", "Bad password", password="another")


def test_a_flipped_bit_in_an_encrypted_zip_is_found(tmp_path):
    encrypted(tmp_path / "a.zip", 40)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[2000] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    assert_refused(tmp_path / "a.zip", "damaged or cut short", password=PASSWORD)


def test_groups_of_encrypted_members_give_what_the_standard_library_gives(tmp_path, monkeypatch):
    monkeypatch.setattr(zip_encryption, "GROUP", 40_000)
    monkeypatch.setattr(zip_encryption, "BLOCK", 100)
    monkeypatch.setattr(zip_encryption, "MOST", 20)
    encrypted(tmp_path / "a.zip", 50)
    path, key = tmp_path / "a.zip", PASSWORD.encode()
    with zipfile.ZipFile(path) as file, path.open("rb") as raw:
        ours = zip_encryption.Decrypter(file, raw, key)
        sizes = {len(group) for group in ours._groups.values()}
        assert max(sizes) > zip_encryption.SMALLEST > min(sizes)
        for info in file.infolist():
            assert ours.open(info).read() == file.read(info, pwd=key)


def test_many_members_are_decrypted_faster_than_by_the_standard_library():
    streams = [np.frombuffer(bytearray(os.urandom(4000)), np.uint8) for _ in range(256)]
    plain = zipfile._ZipDecrypter(b"key")
    began = time.perf_counter()
    expected = [plain(streams[0].tobytes()), zipfile._ZipDecrypter(b"key")(streams[255].tobytes())]
    theirs = (time.perf_counter() - began) * 128
    began = time.perf_counter()
    zip_encryption.decrypt(streams, b"key")
    ours = time.perf_counter() - began
    assert [streams[0].tobytes(), streams[255].tobytes()] == expected
    assert ours < theirs / 2
