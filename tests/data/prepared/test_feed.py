"""Batches that threads read are those that are read without, in order and not too many at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from itertools import islice

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from wiseft.errors import WiseftError
from wiseft.images import feed
from wiseft.images.feed import Reading, in_order
from wiseft.images.index_folder import index_folder
from wiseft.images.store import batches, open_split
from wiseft.study.data.prepared import write_prepared
from wiseft.thetas.preprocessing import Transform

SHAPE = (2, 2, 3)
CPU = torch.device("cpu")
WAYS = [Reading(0, 0), Reading(1, 0), Reading(3, 0), Reading(1, 2), Reading(3, 5)]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "images" / "ant").mkdir(parents=True)
    for index in range(40):
        pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / "ant" / f"{index:02d}.jpg")
    return index_folder(tmp_path / "images", tmp_path / "a" / "manifest.json", "a", ["test"])


@pytest.fixture
def read_so(monkeypatch):
    def choose(reading):
        monkeypatch.setattr(feed, "usual_reading", lambda *_: reading)

    return choose


def plan(n, size=4):
    return [(start, np.arange(start, start + size)) for start in range(0, n * size, size)]


def shown(key, chosen):
    """Images all of whose pixels are the image's number."""
    return torch.from_numpy(chosen.astype(np.uint8))[:, None, None, None].expand(-1, 3, 2, 2)


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("read")]


@pytest.mark.parametrize("reading", WAYS)
def test_batches_of_files_are_the_same_bytes_however_they_are_read(folder, read_so, reading):
    split = open_split(folder, "test", Transform(size=16))
    order = np.random.default_rng(1).permutation(40)
    expected = split.read(order)
    read_so(reading)
    found = list(batches(split, 11, order))
    assert [len(images) for images, _ in found] == [11, 11, 11, 7]
    images = torch.cat([images for images, _ in found])
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), expected)
    assert all(i.is_contiguous(memory_format=torch.channels_last) for i, _ in found)
    assert not readers()


def test_arrays_are_read_beside_a_device_too(tmp_path, read_so):
    from tests.data.prepared.test_store import split as prepared

    source = prepared(9)
    manifest = write_prepared(tmp_path / "x", "x", {"test": source}, ["a", "b", "c"])
    read_so(Reading(2, 2))
    images = torch.cat([i for i, _ in batches(open_split(manifest, "test"), 4)])
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), source.images)


def test_order_stays_where_the_first_takes_longest():
    def slow_first(key, chosen):
        time.sleep(0.1 if key == 0 else 0)
        return shown(key, chosen)

    found = list(in_order(plan(6), slow_first, SHAPE, CPU, Reading(4, 3)))
    assert [key for key, _ in found] == [0, 4, 8, 12, 16, 20]
    assert torch.cat([images[:, 0, 0, 0] for _, images in found]).tolist() == list(range(24))


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_so_many_batches_are_read_ahead_and_no_more(ahead):
    begun = set()

    def read(key, chosen):
        begun.add(key)
        return shown(key, chosen)

    for number, _ in enumerate(in_order(plan(10), read, SHAPE, CPU, Reading(2, ahead)), start=1):
        time.sleep(0.02)  # the device computes
        assert number <= len(begun) <= number + ahead
    assert len(begun) == 10


@pytest.mark.parametrize("reading", WAYS)
def test_a_file_that_is_no_image_is_the_same_sentence_in_its_place(folder, read_so, reading):
    broken = folder.parents[1] / "images" / "ant" / "25.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    split = open_split(folder, "test", Transform(size=16))
    read_so(reading)
    found = []
    with pytest.raises(WiseftError, match=r"25\.jpg is not a readable image .*Replace or remove"):
        found.extend(labels for _, labels in batches(split, 10))
    assert len(found) <= 2  # the batches before it
    assert not readers()


def test_whoever_stops_early_waits_for_nothing_but_what_is_being_read():
    begun = []

    def read(key, chosen):
        begun.append(key)
        time.sleep(0.05)
        return shown(key, chosen)

    reading = in_order(plan(50, 1), read, SHAPE, CPU, Reading(2, 40))
    list(islice(reading, 1))
    reading.close()
    assert len(begun) < 10
    assert not readers()


READING = """
import time, numpy as np, torch
from wiseft.images.feed import Reading, in_order

def read(key, chosen):
    time.sleep(0.05)
    return torch.zeros(len(chosen), 3, 2, 2, dtype=torch.uint8)

plan = [(n, np.arange(1)) for n in range(10_000)]
for n, _ in in_order(plan, read, (2, 2, 3), torch.device("cpu"), Reading(2, 9000)):
    if n == 0:
        print("reading", flush=True)
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_job_that_is_told_to_end_ends_and_leaves_nothing(signum):
    with subprocess.Popen(
        [sys.executable, "-c", READING],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # A shell lets what it starts in the background ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as job:
        assert job.stdout.readline() == b"reading\n"
        assert psutil.Process(job.pid).children() == []
        job.send_signal(signum)
        assert job.wait(timeout=120) == -signum  # reading all that was asked for takes 225 s


def test_a_device_is_not_kept_waiting():
    """Reading and computing only wait here, so that a busy machine changes little."""

    def read(key, chosen):
        time.sleep(0.08)
        return shown(key, chosen)

    def seconds(reading):
        start = time.perf_counter()
        for _ in in_order(plan(8), read, SHAPE, CPU, reading):
            time.sleep(0.1)
        return time.perf_counter() - start

    assert seconds(Reading(0, 0)) >= 8 * 0.18
    assert seconds(Reading(1, 2)) < 8 * 0.15  # 8 * 0.1 and the first read


def test_a_job_reads_with_its_threads(monkeypatch):
    for threads, on_cpu in ((1, Reading(0, 0)), (8, Reading(8, 0))):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert feed.usual_reading(CPU) == on_cpu
        for size, ahead in ((500, 1), (10, 44)):
            beside = feed.usual_reading(torch.device("cuda"), size * 3 * 224**2)
            assert beside == Reading(threads, ahead)
