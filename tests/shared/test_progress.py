import io
import logging
import re
import sys

import pytest
import tqdm.std

from wiseft.base import progress, training_progress
from wiseft.base.messages import quiet, shown
from wiseft.base.progress import Meter
from wiseft.base.training_progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is moved."""
    now = [100.0]
    monkeypatch.setattr(training_progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_every_interval_and_one_at_the_end(clock, said):
    shown = Progress(100, interval=10)
    for step in range(1, 101):
        clock[0] += 1.0
        shown(step, 2.5 / step, 1e-3, 64)
    assert len(said) == 10
    assert said[0] == "step 10/100  loss 0.2500  lr 1.00e-03  64 images/s  1 min 30 s left"
    assert said[-1] == "step 100/100  loss 0.0250  lr 1.00e-03  64 images/s  0 s left"


def test_the_first_step_is_left_out_of_the_speed(clock):
    shown = Progress(100)
    clock[0] += 50.0  # finds memory, compiles
    shown(1, 1.0, 1e-3, 64)
    assert shown.images_per_second == pytest.approx(64 / 50)
    clock[0] += 2.0
    shown(2, 1.0, 1e-3, 64)
    assert shown.images_per_second == pytest.approx(32)
    assert (shown.done, shown.seconds) == (2, 52.0)


def test_a_resumed_training_counts_its_own_steps(clock, said):
    shown = Progress(100, interval=1)
    for step in (61, 62):
        clock[0] += 3.0
        shown(step, 1.0, 1e-3, 30)
    assert shown.done == 2
    assert said[-1] == "step 62/100  loss 1.0000  lr 1.00e-03  10 images/s  1 min 54 s left"


def test_a_terminal_shows_a_bar(monkeypatch, said):
    monkeypatch.setattr(sys, "stderr", Terminal())
    shown = Progress(4)
    for step in (3, 4):  # resumed after step 2
        shown(step, 0.5, 1e-3, 8)
    last = sys.stderr.getvalue().split("\r")[-1]
    assert re.match(r"100%\|.*4/4 .*loss 0\.5000  lr 1\.00e-03  \d+ images/s", last)
    assert "step 4/4" not in last
    assert said == []


def test_no_bar_where_nobody_listens_or_stderr_is_a_file(monkeypatch, capsys):
    with shown():
        Progress(1)(1, 0.5, 1e-3, 8)
    assert capsys.readouterr().err.startswith("step 1/1  loss 0.5000")
    monkeypatch.setattr(sys, "stderr", Terminal())
    Progress(1)(1, 0.5, 1e-3, 8)
    with shown(), quiet():
        Progress(1)(1, 0.5, 1e-3, 8)
        monkeypatch.setattr(progress, "DELAY", 0.0)
        with Meter(desc="a.tar: downloading", total=1000) as gauge:
            gauge.update(500)
    assert sys.stderr.getvalue() == ""


def test_messages_are_shown_inside_the_block_only(capsys):
    log = logging.getLogger("wiseft.anything")
    log.info("before")
    with shown():
        log.info("100 % of it")
        log.debug("a detail")
        log.warning("mind %s", "that")
        with quiet():
            log.info("not this")
            log.warning("but this")
        with pytest.raises(OSError, match="no space"), shown(full):
            log.info("a line on a full disk")
    log.info("after")
    shown_lines = capsys.readouterr().err.splitlines()
    assert shown_lines == ["100 % of it", "mind that", "but this", "a line on a full disk"]
    logger = logging.getLogger("wiseft")
    assert (logger.level, logger.propagate, logger.handlers) == (logging.NOTSET, True, [])


def full(line):
    raise OSError("no space")


def test_a_program_that_asks_for_messages_gets_them(caplog):
    with caplog.at_level(logging.INFO):
        Progress(1)(1, 0.5, 1e-3, 8)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("wiseft.base.training_progress", logging.INFO)
    assert record.getMessage().startswith("step 1/1")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (90061, "25 h 01 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_progress_has_amount_speed_and_time_left(said, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(tqdm.std, "time", lambda: now[0])
    with Meter(desc="a: downloading", total=300_000_000, initial=100_000_000) as gauge:
        for seconds in (5.0, 40.0):
            now[0] += seconds
            gauge.update(50_000_000)
    assert said == ["a: downloading: 200M of 300MB, 2.22MB/s, 00:45 left"]


def test_a_meter_ends_where_the_counting_ends(monkeypatch, said):
    now = [100.0]
    monkeypatch.setattr(tqdm.std, "time", lambda: now[0])
    with Meter(desc="a: evaluating", total=1000, unit=" images") as meter:
        meter.skip(600)  # kept from an earlier run: neither counted nor fast
        now[0] += 40.0
        meter.update(100)
        now[0] += 40.0
        meter.update(400)  # more than there should have been
        assert (meter.n, meter.total) == (500, 500)
        meter.skip(100)
        assert meter.total == 500
    assert said[0] == "a: evaluating: 100 of 400 images, 2.50 images/s, 02:00 left"
    assert said[1].startswith("a: evaluating: 500 of 500 images, ")
    assert said[1].endswith("00:00 left")


def test_a_slow_first_step_does_not_stretch_the_time_left(clock, said):
    shown = Progress(100, interval=10)
    for step, seconds in ((1, 60.0), (2, 1.0), (3, 1.0), (4, 10.0)):
        clock[0] += seconds
        shown(step, 1.0, 1e-3, 8)
    assert said[0].endswith("1 h 39 min left"), "nothing else is known"
    assert said[1].endswith("6 min 24 s left")


def test_a_training_bar_never_passes_its_end(monkeypatch, said):
    monkeypatch.setattr(sys, "stderr", Terminal())
    shown = Progress(4)
    for step in (1, 2, 2, 3, 4, 5):
        shown(step, 0.5, 1e-3, 8)
        assert shown._bar.n == min(step, 4)


def test_on_a_terminal_there_is_a_bar_and_no_line(monkeypatch, said):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "DELAY", 0.0)
    with Meter(desc="a.tar: downloading", total=1000) as gauge:
        gauge.update(500)
        gauge.refresh()
    assert re.search(r"a\.tar: downloading: +50%.*500/1\.00k", sys.stderr.getvalue())
    assert said == []
