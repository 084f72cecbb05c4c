"""How a stage that uses torch runs."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from wiseft.runtime import start_torch
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
