"""Archives that two programs would read differently are refused: what is checked is used."""

import contextlib
import struct
import zipfile

import pytest
import torch

from wiseft.errors import WiseftError
from wiseft.foreign.formats import read_checkpoint

AMBIGUOUS = "its directory is ambiguous|Corrupt zip64"
"""What is said where zipfile reads it, and where it does not."""
GOOD, OTHER = {"w": torch.arange(6.0)}, {"w": torch.arange(6.0) + 100}


def written(tmp_path, content=GOOD, name="x.pt"):
    torch.save(content, tmp_path / name)
    return tmp_path / name


def refused(path, content, reason):
    path.write_bytes(content)
    with pytest.raises(WiseftError, match=f"whole file of torch \\({reason}"):
        read_checkpoint(path)


def test_an_archive_with_two_directories_is_refused(tmp_path):
    """Python's zipfile reads the last archive, torch the first: it believes the offsets. From
    Python 3.13 on zipfile refuses it, too.
    """
    first, last = (written(tmp_path, each).read_bytes() for each in (OTHER, GOOD))
    path = tmp_path / "y.pt"
    path.write_bytes(first + last)
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        assert archive.read("x/data/0") == GOOD["w"].numpy().tobytes()
        assert archive.testzip() is None
    assert torch.equal(torch.load(path, weights_only=True)["w"], OTHER["w"])
    refused(path, first + last, f"({AMBIGUOUS})")


@pytest.mark.parametrize("before", [b"", b"PK\3\4"])
def test_what_stands_before_or_behind_an_archive_is_refused(tmp_path, before):
    path = written(tmp_path)
    content = path.read_bytes()
    refused(path, content + b"\0", "its directory is ambiguous")
    path.write_bytes(before + b"#" * 60 + content)
    with pytest.raises(WiseftError, match=r"directory is ambiguous|is not a file of weights"):
        read_checkpoint(path)


def test_a_second_end_of_the_directory_is_refused(tmp_path):
    """The locator of the large directory leads elsewhere, which torch follows and Python not."""
    content = bytearray(written(tmp_path).read_bytes())
    struct.pack_into("<Q", content, len(content) - 34, 64)
    refused(tmp_path / "x.pt", content, f"({AMBIGUOUS})")


def entry(content, name):
    """Return where the directory speaks of a member."""
    return content.rindex(name) - 46


def test_members_that_overlap_or_leave_gaps_are_refused(tmp_path):
    """One storage is shown as another; or bytes that no member has lie between two."""
    path = written(tmp_path, {"a": torch.ones(6), "b": torch.zeros(6)})
    content = bytearray(path.read_bytes())
    offset = entry(content, b"x/data/0") + 42
    struct.pack_into("<I", content, offset, struct.unpack_from("<I", content, offset)[0] - 8)
    refused(path, content, "x/data/0 and the directory disagree")

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}.")
        archive.writestr("x/data/0", bytes(8))
    content = path.read_bytes()
    member = content.index(b"PK\3\4", 1)
    for reason, gap in (("its directory does not follow", 100), ("x/data/0 does not follow", 50)):
        where = content.index(b"PK\1\2") if gap == 100 else member
        new = bytearray(content[:where] + bytes(gap) + content[where:])
        struct.pack_into("<I", new, len(new) - 6, new.index(b"PK\1\2"))
        if gap == 50:
            at = entry(new, b"x/data/0") + 42
            struct.pack_into("<I", new, at, member + gap)
        refused(path, new, reason)


@pytest.mark.parametrize(
    "at", [6, 8, 14, 18, 22, 30], ids=["flags", "method", "sum", "packed", "size", "name"]
)
def test_a_member_that_says_something_else_than_the_directory_is_refused(tmp_path, at):
    path = written(tmp_path)
    content = bytearray(path.read_bytes())
    content[content.index(b"x/data/0") - 30 + at] ^= 3
    refused(path, content, "x/data/0 and the directory disagree|.*data/0")


def test_two_members_of_one_name_are_refused(tmp_path):
    path = written(tmp_path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x/data/0", OTHER["w"].numpy().tobytes())
    refused(path, path.read_bytes(), "two members have one name")


def test_the_byte_order_of_another_processor_is_refused(tmp_path):
    path = written(tmp_path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(tmp_path / "y.pt", "w") as target:
        for name in source.namelist():
            content = b"big" if name.endswith("byteorder") else source.read(name)
            target.writestr(name, content)
    with pytest.raises(WiseftError, match="byte order of another"):
        read_checkpoint(tmp_path / "y.pt")


@pytest.mark.parametrize("size", [20, 28])
def test_a_storage_of_another_length_than_its_record_is_refused(tmp_path, size):
    path = written(tmp_path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(tmp_path / "y.pt", "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, bytes(size) if name.endswith("/data/0") else content)
    with pytest.raises(WiseftError, match=f"storage 0 has {size} bytes, not 6 of torch"):
        read_checkpoint(tmp_path / "y.pt")


def test_a_large_archive_and_one_of_the_zip_program_are_read(tmp_path):
    """Numbers with 64 bits, as Python writes them where a member may be large."""
    path = written(tmp_path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(tmp_path / "y.pt", "w") as target:
        for name in source.namelist():
            with target.open(name, "w", force_zip64=True) as member:
                member.write(source.read(name))
    assert torch.equal(read_checkpoint(tmp_path / "y.pt").tensors["w"], GOOD["w"])


def test_a_pickle_that_unpacks_to_very_much_is_refused(tmp_path):
    """Its size is bounded before: each of its bytes may become an object."""
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\x80\x02" + b"]" * 2**24 + b".")
    refused(path, path.read_bytes(), "data.pkl in it was made to fill the memory")
