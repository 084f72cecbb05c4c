"""Unpacking: every known trick of a malicious archive, and runs that are interrupted."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zipfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from tests.data.encrypted_zip import write_encrypted_zip

from wiseft.data import plan, space, zipcrypto
from wiseft.data import unpack as module
from wiseft.data.members import members
from wiseft.data.unpack import unpack, unpack_nested_tars
from wiseft.errors import WiseftError

FILES = {
    "set/n01/a.jpg": b"the first",
    "set/n01/b.jpg": random.Random(0).randbytes(1_200_000),
    "set/n02/c.jpg": b"",
}
SUFFIXES = [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip"]
PASSWORD = "objectnetisatestset"


def said(line: str) -> None:
    """Says nothing."""


def tar_of(path: Path, members, mode: str = "w") -> Path:
    """Write (TarInfo or name, bytes) pairs."""
    with tarfile.open(path, mode) as tar:
        for info, data in members:
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def archive_of(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path
    modes = {".tar": "w", ".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}
    return tar_of(path, files.items(), modes[path.suffix])


def special(name: str, kind: bytes, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def content(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name != module.MARKER
    }


def assert_refused(archive: Path, message: str, **options) -> None:
    """The archive is refused by a sentence that names it, and nothing is written anywhere."""
    target = archive.parent / "out" / "target"
    with pytest.raises(WiseftError, match=message) as error:
        unpack(archive, target, say=said, **options)
    assert str(archive) in str(error.value) or archive.name in str(error.value)
    assert list(target.parent.iterdir()) == []
    assert sorted(p.name for p in archive.parent.iterdir()) == sorted([archive.name, "out"])


# ---------------------------------------------------------------------------- the plain way


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_is_unpacked_whole(tmp_path, suffix):
    archive = archive_of(tmp_path / f"set{suffix}", FILES)
    target = tmp_path / "data" / "set"
    assert unpack(archive, target, sha256="ab", say=said) == 3
    assert content(target) == FILES
    assert json.loads((target / module.MARKER).read_text()) == {
        "archive": archive.name,
        "size": archive.stat().st_size,
        "sha256": "ab",
        "strip": 0,
        "files": 3,
    }
    assert [p.name for p in target.parent.iterdir()] == ["set"]


def test_the_format_is_told_by_the_content(tmp_path):
    archive = archive_of(tmp_path / "archive.tar.gz", FILES)
    archive = archive.rename(tmp_path / "blob")
    assert unpack(archive, tmp_path / "set", say=said) == 3


def test_an_archive_in_the_oldest_tar_format_is_read(tmp_path):
    info = tarfile.TarInfo("a.txt")
    info.size = 5
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    header[257:265] = bytes(8)
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
    archive = tmp_path / "old.tar"
    archive.write_bytes(bytes(header) + b"hello".ljust(512, b"\0") + bytes(1024))
    unpack(archive, tmp_path / "out", say=said)
    assert content(tmp_path / "out") == {"a.txt": b"hello"}


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_leading_folders_are_dropped(tmp_path, suffix):
    archive = archive_of(tmp_path / f"set{suffix}", FILES)
    unpack(archive, tmp_path / "out", strip=1, say=said)
    assert content(tmp_path / "out") == {name[4:]: data for name, data in FILES.items()}


def test_a_file_above_the_folders_to_drop_is_refused(tmp_path):
    archive = archive_of(tmp_path / "a.tar", {"README": b"x", **FILES})
    assert_refused(archive, "'README' lies in fewer folders than the 1 to be dropped", strip=1)


def test_long_and_foreign_names_are_kept(tmp_path):
    names = {
        "d" * 90 + "/" + "e" * 90 + "/" + "f" * 90: b"1",
        "größe/日本.jpg": b"2",
        "a b/c'": b"3",
    }
    for suffix in (".tar.gz", ".zip"):
        unpack(archive_of(tmp_path / f"x{suffix}", names), tmp_path / suffix[1:4], say=said)
        assert content(tmp_path / suffix[1:4]) == names


def test_empty_folders_are_made_and_the_top_may_be_named(tmp_path):
    folder = special("./empty", tarfile.DIRTYPE, mode=0o700)
    members = [(special(".", tarfile.DIRTYPE), b""), (folder, b""), ("./a", b"x")]
    unpack(tar_of(tmp_path / "a.tar", members), tmp_path / "out", say=said)
    assert (tmp_path / "out" / "empty").is_dir()
    assert content(tmp_path / "out") == {"a": b"x"}


def test_modes_and_owners_of_the_archive_are_not_taken_over(tmp_path):
    evil = special("run", tarfile.REGTYPE, mode=0o6777)
    evil.uid = evil.gid = 12345
    members = [(special("d", tarfile.DIRTYPE, mode=0o7777), b""), (evil, b"")]
    before = os.umask(0o027)
    try:
        unpack(tar_of(tmp_path / "a.tar", members), tmp_path / "out", say=said)
    finally:
        os.umask(before)
    run = (tmp_path / "out" / "run").stat()
    assert stat.S_IMODE(run.st_mode) == 0o640
    assert run.st_uid == os.getuid()
    assert stat.S_IMODE((tmp_path / "out" / "d").stat().st_mode) == 0o750


# ---------------------------------------------------------------------------- names that lead out


UNSAFE = {
    "/etc/passwd": "names an absolute path",
    "C:\\windows\\a": "names an absolute path",
    "../evil": r"leads out of the archive by '\.\.'",
    "a/../../evil": r"leads out of the archive by '\.\.'",
    "a/..": r"leads out of the archive by '\.\.'",
    "..\\evil": "backslash",
    ".unpacked.json": "would overwrite another file",
}


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
@pytest.mark.parametrize(("name", "message"), UNSAFE.items())
def test_a_name_that_leads_out_is_refused(tmp_path, suffix, name, message):
    assert_refused(archive_of(tmp_path / f"a{suffix}", {"good": b"x", name: b"evil"}), message)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("link", ["/etc/passwd", "../outside", "a/../../outside", "..\\x"])
def test_a_link_that_leads_out_is_refused(tmp_path, kind, link):
    archive = tar_of(tmp_path / "a.tar", [("a", b"x"), (special("link", kind, link), b"")])
    assert_refused(archive, "absolute path|link out of the archive|backslash")


def test_a_file_below_a_link_to_a_folder_is_refused(tmp_path):
    """The classic: a link to a folder outside, then a file through it."""
    members = [(special("d", tarfile.SYMTYPE, "e"), b""), ("e/f", b""), ("d/evil", b"x")]
    assert_refused(tar_of(tmp_path / "a.tar", members), "'d' is both a file and a folder")


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("e", "leads to 'e', which is no file of the archive"),
        ("nowhere", "leads to 'nowhere', which is no file of the archive"),
        ("d", "leads to itself"),
    ],
)
def test_a_link_to_a_folder_or_nothing_or_itself_is_refused(tmp_path, link, message):
    members = [(special("d", tarfile.SYMTYPE, link), b""), ("e/f", b"")]
    assert_refused(tar_of(tmp_path / "a.tar", members), message)


def test_links_between_files_become_files(tmp_path):
    members = [
        (special("b/first", tarfile.SYMTYPE, "../b/second"), b""),
        (special("b/second", tarfile.SYMTYPE, "../a/x"), b""),
        ("a/x", b"content"),
        (special("c/hard", tarfile.LNKTYPE, "a/x"), b""),
    ]
    archive = tar_of(tmp_path / "a.tar.gz", members, "w:gz")
    assert unpack(archive, tmp_path / "out", say=said) == 4
    assert content(tmp_path / "out") == dict.fromkeys(
        ["a/x", "b/first", "b/second", "c/hard"], b"content"
    )
    assert not any(p.is_symlink() for p in (tmp_path / "out").rglob("*"))


def test_links_are_copied_where_there_are_no_hard_links(tmp_path, monkeypatch):
    def none(self, target):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", none)
    members = [("a", b"content"), (special("b", tarfile.LNKTYPE, "a"), b"")]
    unpack(tar_of(tmp_path / "a.tar", members), tmp_path / "out", say=said)
    assert content(tmp_path / "out") == {"a": b"content", "b": b"content"}


def zip_with_mode(path: Path, mode: int, data: bytes) -> Path:
    info = zipfile.ZipInfo("member")
    info.create_system, info.external_attr = 3, mode << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"content")
        archive.writestr(info, data)
    return path


@pytest.mark.parametrize(
    ("mode", "data", "message"),
    [
        (stat.S_IFLNK | 0o777, b"/etc/passwd", "absolute path"),
        (stat.S_IFLNK | 0o777, b"../../x", "link out of the archive"),
        (stat.S_IFIFO | 0o644, b"", "is a named pipe"),
        (stat.S_IFCHR | 0o644, b"", "is a device file"),
        (stat.S_IFSOCK | 0o644, b"", "is a device file"),
    ],
)
def test_links_and_devices_in_a_zip_are_refused(tmp_path, mode, data, message):
    assert_refused(zip_with_mode(tmp_path / "a.zip", mode, data), message)


def test_a_link_inside_a_zip_becomes_a_file(tmp_path):
    archive = zip_with_mode(tmp_path / "a.zip", stat.S_IFLNK | 0o777, b"a")
    unpack(archive, tmp_path / "out", say=said)
    assert content(tmp_path / "out") == {"a": b"content", "member": b"content"}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (tarfile.FIFOTYPE, "is a named pipe"),
        (tarfile.CHRTYPE, "is a device file"),
        (tarfile.BLKTYPE, "is a device file"),
    ],
)
def test_devices_and_pipes_are_refused(tmp_path, kind, message):
    archive = tar_of(tmp_path / "a.tar", [("a", b"x"), (special("dev", kind), b"")])
    assert_refused(archive, message)


# ---------------------------------------------------------------------------- overwriting


@pytest.mark.parametrize("again", ["a/b", "./a/b", "a//b"])
def test_a_name_that_comes_twice_is_refused(tmp_path, again):
    archive = tar_of(tmp_path / "a.tar", [("a/b", b"1"), (again, b"2")])
    assert_refused(archive, "would overwrite another file")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_in_a_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    assert_refused(tmp_path / "a.zip", "would overwrite another file")


@pytest.mark.parametrize("order", [["a", "a/b"], ["a/b", "a"]])
def test_a_file_that_is_also_a_folder_is_refused(tmp_path, order):
    archive = tar_of(tmp_path / "a.tar", [(name, b"x") for name in order])
    assert_refused(archive, "'a' is both a file and a folder")


# ---------------------------------------------------------------------------- bombs and lies


def test_more_than_max_bytes_is_refused(tmp_path):
    archive = archive_of(tmp_path / "a.zip", FILES)
    total = sum(map(len, FILES.values()))
    assert_refused(archive, f"at most {total - 1} bytes, found at least", max_bytes=total - 1)
    assert unpack(archive, tmp_path / "out" / "whole", max_bytes=total, say=said) == 3


def test_a_tar_bomb_is_refused_at_the_header_that_declares_it(tmp_path):
    """A header of 2 GiB and a body that never comes: nothing of it may be needed."""
    info = tarfile.TarInfo("zeros")
    info.size = 2 * 1024**3
    archive = tmp_path / "bomb.tar.gz"
    archive.write_bytes(gzip.compress(info.tobuf() + bytes(4096)))
    assert_refused(archive, "is taken for an archive bomb")


def test_a_zip_bomb_of_overlapping_members_is_refused(tmp_path):
    """1,200 entries of the list share the same megabyte of zeros."""
    archive = archive_of(tmp_path / "bomb.zip", {"0000": bytes(1024**2)})
    data = archive.read_bytes()
    at = data.index(b"PK\1\2")
    entry = bytearray(data[at : data.index(b"PK\5\6")])
    entries = []
    for i in range(1200):
        entry[46:50] = b"%04d" % i
        entries.append(bytes(entry))
    directory = b"".join(entries)
    end = struct.pack("<4H2IH", 0, 0, 1200, 1200, len(directory), at, 0)
    archive.write_bytes(data[:at] + directory + b"PK\5\6" + end)
    assert_refused(archive, "is taken for an archive bomb")


def test_the_ratio_is_of_the_whole_archive_and_only_over_a_gibibyte(tmp_path, monkeypatch):
    """ObjectNet's members alone look like bombs; a small archive of zeros is none."""
    archive = archive_of(tmp_path / "a.zip", {"zeros": bytes(10**6), "b": FILES["set/n01/b.jpg"]})
    unpack(archive, tmp_path / "out", say=said)
    monkeypatch.setattr(plan, "GRACE", 10**6)
    unpack(archive, tmp_path / "again", say=said)
    only = archive_of(tmp_path / "b.zip", {"zeros": bytes(10**6 + 1)})
    with pytest.raises(WiseftError, match="archive bomb"):
        unpack(only, tmp_path / "never", say=said)


def test_a_linked_file_counts_again(tmp_path):
    links = [(special(f"l{i}", tarfile.LNKTYPE, "a"), b"") for i in range(10)]
    archive = tar_of(tmp_path / "a.tar", [("a", bytes(1000)), *links])
    assert_refused(archive, "at most 10999 bytes, found at least 11000", max_bytes=10_999)


@pytest.mark.parametrize("declared", [5, 10**6 + 5])
def test_a_zip_member_that_lies_about_its_size_is_refused(tmp_path, declared):
    archive = archive_of(tmp_path / "a.zip", {"a": bytes(10**6)})
    data = bytearray(archive.read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<I", declared)
    archive.write_bytes(data)
    assert_refused(archive, "damaged or cut short")


def test_a_forged_tar_header_cannot_fill_the_memory(tmp_path):
    """An extended header of 512 MiB, of which tarfile would read all at once."""
    info = special("x", tarfile.XHDTYPE)
    info.size = 512 * 1024**2
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(info.tobuf()) + gzip.compress(bytes(2**20)) * 512)
    tracemalloc.start()
    assert_refused(archive, "a header declares 536870912 bytes")
    assert tracemalloc.get_traced_memory()[1] < 50 * 10**6
    tracemalloc.stop()


def test_a_negative_size_is_refused(tmp_path):
    header = bytearray(tarfile.TarInfo("a").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xfc\x00"
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
    archive = tmp_path / "a.tar"
    archive.write_bytes(bytes(header) + bytes(1024))
    assert_refused(archive, "forged size")


def test_methods_that_cannot_be_read_in_pieces_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", b"x")
    assert_refused(tmp_path / "a.zip", "stored by method 14")


# ---------------------------------------------------------------------------- damage


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_archive_that_was_cut_short_is_refused(tmp_path, suffix):
    archive = archive_of(tmp_path / f"a{suffix}", FILES)
    archive.write_bytes(archive.read_bytes()[:800_000])
    assert_refused(archive, "damaged or cut short")


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.bz2", ".tar.xz", ".zip"])
def test_a_flipped_bit_is_found(tmp_path, suffix):
    archive = archive_of(tmp_path / f"a{suffix}", FILES)
    data = bytearray(archive.read_bytes())
    data[500_000] ^= 1
    archive.write_bytes(data)
    assert_refused(archive, "damaged or cut short")


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path):
    """The standard library stops there without a word, and the set would be short."""
    archive = tar_of(tmp_path / "a.tar", [(f"f{i}", b"x" * 600) for i in range(5)])
    data = bytearray(archive.read_bytes())
    data[3 * 1536 + 20] ^= 0xFF
    archive.write_bytes(data)
    with tarfile.open(archive) as tar:
        assert len(tar.getnames()) == 3
    assert_refused(archive, "no header where one is due, at byte 4608")


def test_a_web_page_is_named_as_what_it_is(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"<!DOCTYPE html><html>" * 100)
    assert_refused(
        tmp_path / "a.tar.gz", "is no tar or zip archive: it begins with b'<!DOCTYPE html>"
    )


def test_an_empty_archive_and_a_missing_one_are_told(tmp_path):
    tarfile.open(tmp_path / "a.tar", "w").close()
    with pytest.raises(WiseftError, match=r"no tar or zip archive|holds no files"):
        unpack(tmp_path / "a.tar", tmp_path / "out", say=said)
    with pytest.raises(WiseftError, match=r"the archive .*b\.tar does not exist"):
        unpack(tmp_path / "b.tar", tmp_path / "out", say=said)


# ---------------------------------------------------------------------------- passwords


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
    assert unpack(tmp_path / "a.zip", tmp_path / "out", password=PASSWORD, say=said) == n
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
    monkeypatch.setattr(zipcrypto, "GROUP", 40_000)
    monkeypatch.setattr(zipcrypto, "BLOCK", 100)
    monkeypatch.setattr(zipcrypto, "MOST", 20)
    encrypted(tmp_path / "a.zip", 50)
    path, key = tmp_path / "a.zip", PASSWORD.encode()
    with zipfile.ZipFile(path) as file, path.open("rb") as raw:
        ours = zipcrypto.Decrypter(file, raw, key)
        sizes = {len(group) for group in ours._groups.values()}
        assert max(sizes) > zipcrypto.SMALLEST > min(sizes)
        for info in file.infolist():
            assert ours.open(info).read() == file.read(info, pwd=key)


def test_many_members_are_decrypted_faster_than_by_the_standard_library():
    streams = [np.frombuffer(bytearray(os.urandom(4000)), np.uint8) for _ in range(256)]
    plain = zipfile._ZipDecrypter(b"key")
    began = time.perf_counter()
    expected = [plain(streams[0].tobytes()), zipfile._ZipDecrypter(b"key")(streams[255].tobytes())]
    theirs = (time.perf_counter() - began) * 128
    began = time.perf_counter()
    zipcrypto.decrypt(streams, b"key")
    ours = time.perf_counter() - began
    assert [streams[0].tobytes(), streams[255].tobytes()] == expected
    assert ours < theirs / 2


# ---------------------------------------------------------------------------- targets and space


def test_a_finished_target_is_left_as_it_is(tmp_path):
    archive = archive_of(tmp_path / "a.tar", FILES)
    unpack(archive, tmp_path / "out", sha256="ab", say=said)
    before = (tmp_path / "out" / "set/n01/a.jpg").stat().st_mtime_ns
    assert unpack(archive, tmp_path / "out", sha256="ab", say=said) == 3
    assert (tmp_path / "out" / "set/n01/a.jpg").stat().st_mtime_ns == before
    archive.unlink()
    assert unpack(archive, tmp_path / "out", sha256="ab", say=said) == 3
    with pytest.raises(WiseftError, match="nothing can tell"):
        unpack(archive, tmp_path / "out", say=said)


def test_a_target_of_another_archive_is_not_touched(tmp_path):
    unpack(archive_of(tmp_path / "a.tar", FILES), tmp_path / "out", sha256="ab", say=said)
    with pytest.raises(WiseftError, match="expected sha256 cd, found ab"):
        unpack(tmp_path / "a.tar", tmp_path / "out", sha256="cd", say=said)
    other = archive_of(tmp_path / "b.tar", FILES)
    with pytest.raises(WiseftError, match=r"expected archive b\.tar, found a\.tar"):
        unpack(other, tmp_path / "out", say=said)
    with pytest.raises(WiseftError, match="expected strip 1, found 0"):
        unpack(tmp_path / "a.tar", tmp_path / "out", strip=1, say=said)
    assert content(tmp_path / "out") == FILES


@pytest.mark.parametrize("kind", ["folder", "empty folder", "file", "link"])
def test_what_the_user_has_under_that_name_is_not_touched(tmp_path, kind):
    archive = archive_of(tmp_path / "a.tar", FILES)
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    elif kind == "link":
        out.symlink_to("nowhere")
    else:
        out.mkdir()
        if kind == "folder":
            (out / "mine").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(WiseftError, match=r"exists, and no \.unpacked\.json in it"):
        unpack(archive, out, say=said)
    assert sorted(tmp_path.rglob("*")) == before


Usage = namedtuple("Usage", "total used free")


def test_space_is_checked_before_anything_is_written(tmp_path, monkeypatch):
    """Small files take up whole blocks."""
    archive = archive_of(tmp_path / "a.tar.gz", {f"{i}": b"x" for i in range(100)})
    free = space.MARGIN + 100 * 4096
    monkeypatch.setattr(space.shutil, "disk_usage", lambda folder: Usage(1, 0, free - 1))
    assert_refused(archive, r"unpacking a\.tar\.gz needs 0\.27 GB in .*out.*; 0\.27 GB are free")
    monkeypatch.setattr(space.shutil, "disk_usage", lambda folder: Usage(1, 0, free))
    assert unpack(archive, tmp_path / "out" / "target", say=said) == 100


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device", "the file")

    archive = archive_of(tmp_path / "a.tar", FILES)
    monkeypatch.setattr(module.os, "fdopen", full)
    with pytest.raises(
        WiseftError, match=r"the file cannot be written \(No space left on device\)"
    ):
        unpack(archive, tmp_path / "out" / "target", say=said)
    assert list((tmp_path / "out").iterdir()) == []


# ---------------------------------------------------------------------------- interruption


CHILD = """
import sys, time
from pathlib import Path
from wiseft.data import unpack
write = unpack._write
def slowly(*arguments):
    write(*arguments)
    time.sleep(0.02)
unpack._write = slowly
print(unpack.unpack(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def start(archive: Path, target: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(archive), str(target)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.005)


def test_a_killed_run_leaves_no_half_folder_and_the_next_one_tidies_up(tmp_path):
    files = {f"{i}.jpg": b"x" for i in range(200)}
    archive = archive_of(tmp_path / "a.tar", files)
    target = tmp_path / "data" / "set"
    half = target.with_name(".set.unpacking")
    process = start(archive, target)
    wait_for(half / "3.jpg")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not target.exists()
    assert 3 < len(content(half)) < 200
    lines = []
    assert unpack(archive, target, say=lines.append) == 200
    assert lines == [f"removing {half}, which an interrupted run left"]
    assert content(target) == files
    assert [p.name for p in target.parent.iterdir()] == ["set"]


def test_two_runs_unpack_once(tmp_path):
    archive = archive_of(tmp_path / "a.tar", {f"{i}.jpg": b"x" for i in range(20)})
    target = tmp_path / "data" / "set"
    first = start(archive, target)
    wait_for(target.with_name(".set.unpacking"))
    first.send_signal(signal.SIGSTOP)  # so that the second finds it at work, however slow it is
    second = start(archive, target)
    assert "waiting for it" in second.stderr.readline()
    first.send_signal(signal.SIGCONT)
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert outputs == ["20\n", "20\n"]
    assert [p.name for p in target.parent.iterdir()] == ["set"]


def test_a_break_by_the_user_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive_of(tmp_path / "a.tar", FILES), tmp_path / "out" / "target", say=said)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_archive_that_changes_meanwhile_is_refused(tmp_path, monkeypatch):
    archive = archive_of(tmp_path / "a.tar", FILES)

    def change(*arguments):
        archive_of(archive, {**FILES, "more": b"x"})

    monkeypatch.setattr(module, "require_space", change)
    with pytest.raises(WiseftError, match="changed while it was unpacked"):
        unpack(archive, tmp_path / "out", say=said)
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------------- nested archives


def tar_bytes(members) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for info, data in members:
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


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
    assert unpack_nested_tars(archive, tmp_path / "train", sha256="ab", say=said) == 6
    assert content(tmp_path / "train") == {
        f"{wnid}/{name}": data for wnid, files in images.items() for name, data in files.items()
    }
    assert unpack_nested_tars(archive, tmp_path / "train", sha256="ab", say=said) == 6


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
        unpack_nested_tars(archive, tmp_path / "out" / "train", say=said)
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
        unpack_nested_tars(archive, tmp_path / "out" / "train", say=said)
    assert list((tmp_path / "out").iterdir()) == []


# ---------------------------------------------------------------------------- memory


def test_memory_does_not_grow_with_the_archive(tmp_path):
    """tarfile by itself keeps every member, over 1 kB each."""

    def peak(n: int) -> int:
        archive = tmp_path / f"{n}.tar.gz"
        tar_of(archive, ((f"folder/{i:06}.jpg", b"x") for i in range(n)), "w:gz")
        tracemalloc.start()
        assert sum(member.kind == "file" for member in members(archive)) == n
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(4000) - peak(1000) < 100_000
