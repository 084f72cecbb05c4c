"""How a stage that uses torch runs."""

import platform
import subprocess
import sys

import pytest
import torch

from wiseft.errors import WiseftError
from wiseft.models.runtime import start_torch

PROGRAM = """
import resource, torch
from wiseft.models.runtime import start_torch
start_torch(1, "cpu")
pages = []
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(4_000_000)
    pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(pages[0], max(pages[1:]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a matter of glibc")
def test_memory_of_a_freed_tensor_is_used_again() -> None:
    first, later = map(int, subprocess.check_output([sys.executable, "-c", PROGRAM]).split())
    assert later < first / 10  # 16 MB are some 4,000 pages, fewer where they are huge ones


def test_the_compiler_of_torch_is_not_imported() -> None:
    code = (
        "import sys, torch; from wiseft.models.runtime import start_torch; start_torch(1, 'cpu'); "
    )
    code += "print(torch.are_deterministic_algorithms_enabled(), 'torch._inductor' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == [
        "True",
        "False",
    ]


def test_the_gpu_of_a_mac_is_taken_where_a_command_does_and_said(monkeypatch, said) -> None:
    with pytest.raises(WiseftError, match="device 'mps' is not one of auto, cpu, cuda"):
        start_torch(1, "mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(WiseftError, match="device is mps, but torch finds no GPU of a Mac"):
        start_torch(1, "mps", mps=True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    try:
        assert start_torch(1, "mps", mps=True) == torch.device("mps")
    finally:
        start_torch(1, "cpu")
    assert [line for line in said if "device mps is untested" in line]
