"""How many images are computed on at once, and what happens where memory is not enough for them."""

import re

import pytest
import torch

from wiseft.errors import WiseftError
from wiseft.models import batch_size
from wiseft.models.batch_size import DEVICE_MEMORY, BatchSize, available_bytes, out_of_memory

CPU = torch.device("cpu")


def limited(n, seen):
    """Doubles numbers, but no more than n at once."""

    def run(part):
        if len(part) > n:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        seen.append(len(part))
        return 2 * part

    return run


def test_halves_until_it_fits_and_says_so_once(said):
    seen = []
    size = BatchSize(500)
    numbers = torch.arange(500)
    for _ in range(2):
        assert torch.equal(torch.cat(size.each(limited(70, seen), numbers)), 2 * numbers)
    assert size.size == 63
    assert max(seen) == 63
    (line,) = said
    assert "out of memory with 500 images at a time; going on with 63 at a time" in line
    size.each(limited(40, seen), numbers)
    assert "with 63 images at a time; going on with 32 at a time" in said[1]


def test_tensors_of_one_length_are_parted_alike():
    pairs = BatchSize(2).each(
        lambda a, b: (a.tolist(), b.tolist()), torch.arange(3), -torch.arange(3)
    )
    assert pairs == [([0, 1], [0, -1]), ([2], [-2])]


@pytest.mark.parametrize(("least", "n"), [(1, 1), (8, 8)])
def test_the_smallest_part_that_does_not_fit_is_an_error(least, n):
    size = BatchSize(8, least=least, advice="take a larger device")
    message = f"out of memory with {n} images at a time, and fewer .*; take a larger device"
    with pytest.raises(WiseftError, match=message):
        size.each(limited(0, []), torch.arange(8))


def test_other_errors_stay_what_they_are():
    def defect(part):
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        BatchSize(8).each(defect, torch.arange(8))


def test_a_cpu_without_memory_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**61, dtype=torch.uint8)
    assert out_of_memory(caught.value)
    assert not out_of_memory(RuntimeError("mat1 and mat2"))


def test_available_is_what_is_free_and_allowed(monkeypatch):
    monkeypatch.delenv(DEVICE_MEMORY, raising=False)
    free = available_bytes(CPU)
    assert free is None or 2**20 < free < 2**50
    monkeypatch.setenv(DEVICE_MEMORY, "0.5")
    assert available_bytes(CPU) == 500_000_000
    monkeypatch.setattr(batch_size, "_free_on_cpu", lambda: [100])
    assert available_bytes(CPU) == 100
    assert available_bytes(torch.device("mps")) == 500_000_000
    monkeypatch.setenv(DEVICE_MEMORY, "much")
    with pytest.raises(WiseftError, match=re.escape(f"{DEVICE_MEMORY} is much; give a number")):
        available_bytes(CPU)


def test_of_a_gpu_what_this_process_holds_is_its_own(monkeypatch):
    monkeypatch.delenv(DEVICE_MEMORY, raising=False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (70, 80))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 6)
    assert available_bytes(torch.device("cuda")) == 76
