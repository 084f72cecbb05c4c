"""Unpacking: every known trick of a malicious archive, and runs that are interrupted."""

from __future__ import annotations

import gzip
import json
import os
import random
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

import pytest
from tests.data.unpacking.archives import archive_of, assert_refused, content, special, tar_of

from wiseft.base import io as disk
from wiseft.base.messages import shown
from wiseft.errors import WiseftError
from wiseft.study.data.unpacking import plan
from wiseft.study.data.unpacking import unpack as module
from wiseft.study.data.unpacking.members import members
from wiseft.study.data.unpacking.unpack import unpack

FILES = {
    "set/n01/a.jpg": b"the first",
    "set/n01/b.jpg": random.Random(0).randbytes(1_200_000),
    "set/n02/c.jpg": b"",
}
SUFFIXES = [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip"]


# ---------------------------------------------------------------------------- the plain way


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_is_unpacked_whole(tmp_path, suffix):
    archive = archive_of(tmp_path / f"set{suffix}", FILES)
    target = tmp_path / "data" / "set"
    assert unpack(archive, target, sha256="ab") == 3
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
    assert unpack(archive, tmp_path / "set") == 3


def test_an_archive_in_the_oldest_tar_format_is_read(tmp_path):
    info = tarfile.TarInfo("a.txt")
    info.size = 5
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    header[257:265] = bytes(8)
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
    archive = tmp_path / "old.tar"
    archive.write_bytes(bytes(header) + b"hello".ljust(512, b"\0") + bytes(1024))
    unpack(archive, tmp_path / "out")
    assert content(tmp_path / "out") == {"a.txt": b"hello"}


def test_long_and_foreign_names_are_kept(tmp_path):
    names = {
        "d" * 90 + "/" + "e" * 90 + "/" + "f" * 90: b"1",
        "größe/日本.jpg": b"2",
        "a b/c'": b"3",
    }
    for suffix in (".tar.gz", ".zip"):
        unpack(archive_of(tmp_path / f"x{suffix}", names), tmp_path / suffix[1:4])
        assert content(tmp_path / suffix[1:4]) == names


def test_empty_folders_are_made_and_the_top_may_be_named(tmp_path):
    folder = special("./empty", tarfile.DIRTYPE, mode=0o700)
    members = [(special(".", tarfile.DIRTYPE), b""), (folder, b""), ("./a", b"x")]
    unpack(tar_of(tmp_path / "a.tar", members), tmp_path / "out")
    assert (tmp_path / "out" / "empty").is_dir()
    assert content(tmp_path / "out") == {"a": b"x"}


def test_modes_and_owners_of_the_archive_are_not_taken_over(tmp_path):
    evil = special("run", tarfile.REGTYPE, mode=0o6777)
    evil.uid = evil.gid = 12345
    members = [(special("d", tarfile.DIRTYPE, mode=0o7777), b""), (evil, b"")]
    before = os.umask(0o027)
    try:
        unpack(tar_of(tmp_path / "a.tar", members), tmp_path / "out")
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
    assert unpack(archive, tmp_path / "out") == 4
    assert content(tmp_path / "out") == dict.fromkeys(
        ["a/x", "b/first", "b/second", "c/hard"], b"content"
    )
    assert not any(p.is_symlink() for p in (tmp_path / "out").rglob("*"))


def test_links_are_copied_where_there_are_no_hard_links(tmp_path, monkeypatch):
    def none(self, target):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", none)
    members = [("a", b"content"), (special("b", tarfile.LNKTYPE, "a"), b"")]
    unpack(tar_of(tmp_path / "a.tar", members), tmp_path / "out")
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


def test_a_link_in_a_zip_cannot_fill_the_memory(tmp_path):
    """What it names stands in its content, which is read before sizes are added up."""
    info = zipfile.ZipInfo("member")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"content")
        archive.writestr(info, bytes(2**25), zipfile.ZIP_DEFLATED)
    assert_refused(tmp_path / "a.zip", "'member' is a link of 33554432 bytes, over 4096")


def test_a_link_inside_a_zip_becomes_a_file(tmp_path):
    archive = zip_with_mode(tmp_path / "a.zip", stat.S_IFLNK | 0o777, b"a")
    unpack(archive, tmp_path / "out")
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
    unpack(archive, tmp_path / "out")
    monkeypatch.setattr(plan, "GRACE", 10**6)
    unpack(archive, tmp_path / "again")
    only = archive_of(tmp_path / "b.zip", {"zeros": bytes(10**6 + 1)})
    with pytest.raises(WiseftError, match="archive bomb"):
        unpack(only, tmp_path / "never")


def test_a_linked_file_counts_again(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "GRACE", 10_999)
    monkeypatch.setattr(plan, "RATIO", 1)
    links = [(special(f"l{i}", tarfile.LNKTYPE, "a"), b"") for i in range(10)]
    archive = tar_of(tmp_path / "a.tar", [("a", bytes(1000)), *links])
    assert archive.stat().st_size < 11_000
    assert_refused(archive, "is taken for an archive bomb")


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
    assert_refused(archive, "forged size|invalid offset")  # tarfile's own word from 3.12 on


@pytest.mark.parametrize("kind", ["forged size", "link", "zip"])
def test_a_long_name_is_told_by_its_beginning_and_its_end(tmp_path, kind):
    """One of the campaign's had 5,000 characters, and so had the message."""
    name = "begin" + "x" * 5000 + "the end"
    archive = tmp_path / "a.tar"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as file:
            file.writestr(name, b"x")
    else:
        info = special(name, tarfile.SYMTYPE, f"/{name}")
        if kind == "forged size":
            info = special("x", tarfile.REGTYPE)
            info.pax_headers = {"path": name, "GNU.sparse.map": "0,1", "GNU.sparse.size": "1"}
        with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
            tar.addfile(info)
    with pytest.raises(WiseftError, match=r"beginx.*x \.\.\. x.*the end") as error:
        unpack(archive, tmp_path / "out")
    assert len(str(error.value).replace(str(tmp_path), "")) < 500


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
        unpack(tmp_path / "a.tar", tmp_path / "out")
    with pytest.raises(WiseftError, match=r"the archive .*b\.tar does not exist"):
        unpack(tmp_path / "b.tar", tmp_path / "out")


# ---------------------------------------------------------------------------- targets and space


def test_a_finished_target_is_left_as_it_is(tmp_path):
    archive = archive_of(tmp_path / "a.tar", FILES)
    unpack(archive, tmp_path / "out", sha256="ab")
    before = (tmp_path / "out" / "set/n01/a.jpg").stat().st_mtime_ns
    assert unpack(archive, tmp_path / "out", sha256="ab") == 3
    assert (tmp_path / "out" / "set/n01/a.jpg").stat().st_mtime_ns == before
    archive.unlink()
    assert unpack(archive, tmp_path / "out", sha256="ab") == 3
    with pytest.raises(WiseftError, match="nothing can tell"):
        unpack(archive, tmp_path / "out")


def test_a_target_of_another_archive_is_not_touched(tmp_path):
    unpack(archive_of(tmp_path / "a.tar", FILES), tmp_path / "out", sha256="ab")
    with pytest.raises(WiseftError, match="expected sha256 cd, found ab"):
        unpack(tmp_path / "a.tar", tmp_path / "out", sha256="cd")
    other = archive_of(tmp_path / "b.tar", FILES)
    with pytest.raises(WiseftError, match=r"expected archive b\.tar, found a\.tar"):
        unpack(other, tmp_path / "out")
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
        unpack(archive, out)
    assert sorted(tmp_path.rglob("*")) == before


Usage = namedtuple("Usage", "total used free")


def test_space_is_checked_before_anything_is_written(tmp_path, monkeypatch):
    """Small files take up whole blocks."""
    archive = archive_of(tmp_path / "a.tar.gz", {f"{i}": b"x" for i in range(100)})
    free = disk.MARGIN + 100 * 4096
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: Usage(1, 0, free - 1))
    assert_refused(archive, r"unpacking a\.tar\.gz needs 0\.27 GB in .*out.*; 0\.27 GB are free")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: Usage(1, 0, free))
    assert unpack(archive, tmp_path / "out" / "target") == 100


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device", "the file")

    archive = archive_of(tmp_path / "a.tar", FILES)
    monkeypatch.setattr(module.os, "fdopen", full)
    with pytest.raises(
        WiseftError, match=r"the file cannot be written \(No space left on device\)"
    ):
        unpack(archive, tmp_path / "out" / "target")
    assert list((tmp_path / "out").iterdir()) == []


# ---------------------------------------------------------------------------- interruption


CHILD = """
import sys, time
from pathlib import Path
from wiseft.base.messages import shown
from wiseft.study.data.unpacking import unpack
write = unpack._write
def slowly(*arguments):
    write(*arguments)
    time.sleep(0.02)
unpack._write = slowly
with shown():
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
    with shown(lines.append):
        assert unpack(archive, target) == 200
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
        unpack(archive_of(tmp_path / "a.tar", FILES), tmp_path / "out" / "target")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_archive_that_changes_meanwhile_is_refused(tmp_path, monkeypatch):
    archive = archive_of(tmp_path / "a.tar", FILES)

    def change(*arguments):
        archive_of(archive, {**FILES, "more": b"x"})

    monkeypatch.setattr(module, "require_space", change)
    with pytest.raises(WiseftError, match="changed while it was unpacked"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


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


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
@pytest.mark.parametrize("end", ["", "/x.jpg"])
def test_an_archive_three_thousand_folders_deep_is_refused(tmp_path, suffix, end):
    names = {"a" + "/a" * 3000 + end: b"x", "b.jpg": b"y"}
    archive = archive_of(tmp_path / f"deep{suffix}", names)
    with pytest.raises(
        WiseftError, match=r"lies 300\d folders deep, over 64\. Nothing was unp"
    ) as e:
        unpack(archive, tmp_path / "deep")
    assert len(str(e.value)) < 500
    assert not (tmp_path / "deep").exists()


def test_a_long_chain_of_links_is_refused(tmp_path):
    """Followed to its end from each of its links, it would take hours."""
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("0"))
        for number in range(1, 20_000):
            info = tarfile.TarInfo(str(number))
            info.type, info.linkname = tarfile.SYMTYPE, str(number - 1)
            tar.addfile(info)
    with pytest.raises(WiseftError, match=r"the link '65' leads to more than 64 other links"):
        unpack(tmp_path / "x.tar", tmp_path / "x")
