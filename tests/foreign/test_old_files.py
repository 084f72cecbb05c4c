"""Files from before torch 1.6: every byte of a tensor comes from the file, or it is refused."""

import io
import pickle
import pickletools
import struct

import pytest
import torch

from wiseft.errors import WiseftError
from wiseft.foreign.torch_file import load_torch

WEIGHTS = {"a": torch.arange(6.0), "b": torch.arange(4).to(torch.int16)}


def parts(content=WEIGHTS, **how):
    """Return the five pickles of a file, and its storages."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False, **how)
    file.seek(0)
    found, begin = [], 0
    for _ in range(5):
        list(pickletools.genops(file))
        found.append(file.getvalue()[begin : file.tell()])
        begin = file.tell()
    return found, file.getvalue()[begin:]


def refused(tmp_path, pickles, storages, reason):
    (tmp_path / "x.pt").write_bytes(b"".join(pickles) + storages)
    with pytest.raises(WiseftError, match=reason):
        load_torch(tmp_path / "x.pt")


def test_absent_storages_are_refused(tmp_path):
    """torch shows what lay in memory."""
    pickles, storages = parts()
    keys = pickle.loads(pickles[4])
    for some in ([], keys[:1], [*keys, keys[0]], [*keys, "9"], [[]], {}):
        pickles[4] = pickle.dumps(some, protocol=2)
        refused(tmp_path, pickles, storages, "are not those that its tensors lie in|has no")
    pickles[4] = pickle.dumps([], protocol=2)
    (tmp_path / "x.pt").write_bytes(b"".join(pickles))
    assert torch.load(tmp_path / "x.pt", weights_only=True)["a"].shape == (6,)


def test_a_storage_of_another_length_is_refused(tmp_path):
    pickles, storages = parts({"a": torch.arange(6.0)})
    assert storages[:8] == struct.pack("<q", 6)
    for count in (0, 5, 7, 1000, 2**62, -1):
        longer = struct.pack("<q", count) + storages[8:] + bytes(4 * max(0, min(count, 1000) - 6))
        refused(tmp_path, pickles, longer, "has another length than its tensors say")
    refused(tmp_path, pickles, storages[:-1], "storage .* is cut short")
    refused(tmp_path, pickles, storages + b"\0", "something follows its last storage")
    grown = pickles[3].replace(b"K\x06Nt", b"J" + struct.pack("<i", 2**30) + b"Nt")
    assert grown != pickles[3]
    refused(tmp_path, [*pickles[:3], grown, pickles[4]], storages, "is longer than the file")


def test_views_of_a_storage_are_read_as_torch_does(tmp_path):
    """Versions up to 0.3 described a part of a storage by a key, an offset and a length."""
    pickles, storages = parts({"a": torch.arange(6.0)})
    for view, sizes in ((b"X\x01\0\0\0vK\x02K\x03\x87", 3), (b"X\x01\0\0\0vK\x00K\x06\x87", 6)):
        new = pickles[3].replace(b"K\x06Nt", b"K\x06" + view + b"t")
        new = new.replace(b"K\x00K\x06\x85", b"K\x00K" + bytes([sizes]) + b"\x85")
        assert new != pickles[3]
        (tmp_path / "x.pt").write_bytes(b"".join([*pickles[:3], new, pickles[4]]) + storages)
        expected = torch.load(tmp_path / "x.pt", weights_only=True)["a"]
        assert len(expected) == sizes
        assert torch.equal(load_torch(tmp_path / "x.pt")["a"], expected)
    beyond = pickles[3].replace(b"K\x06Nt", b"K\x06X\x01\0\0\0vK\x04K\x03\x87t")
    refused(tmp_path, [*pickles[:3], beyond, pickles[4]], storages, "view reaches beyond storage")


def test_the_numbers_at_the_front_are_torchs(tmp_path):
    pickles, storages = parts()
    for place in (0, 1):
        changed = [*pickles]
        changed[place] = pickle.dumps(7, protocol=2)
        refused(tmp_path, changed, storages, "is not a file of weights")
    (tmp_path / "x.pt").write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(WiseftError, match="is not a file of weights"):
        load_torch(tmp_path / "x.pt")
