"""The campaign finds what it looks for: planted faults of every kind are seen and counted."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import pytest
from tests.faults import campaign, corruptions, harness
from tests.faults.harness import as_command, end_after, kill_at_event, run
from tests.faults.verdicts import Found, Ground, Verdict
from tests.faults.world import World

from wiseft.errors import WiseftError


def say(text: str, code: int = 1):
    def work() -> None:
        print(text)
        sys.exit(code)

    return work


@pytest.mark.parametrize(
    ("text", "code", "fault"),
    [
        ("error: x.yaml: key `a` is 3, but must be 4", 1, ""),
        ("", 0, ""),
        ("usage: ...", 2, ""),
        ("Traceback (most recent call last):\n  ...", 1, "traceback"),
        ("error: unexpected KeyError: 'a'", 1, "unexpected"),
        ("error: set allow_pickle=True", 1, "pickles"),
        ("it failed", 1, "without an error"),
        ("error: " + "x" * 9999, 1, "no sentence"),
        ("", 3, "exit code 3"),
    ],
)
def test_words_are_judged(tmp_path: Path, text: str, code: int, fault: str) -> None:
    found = run(say(text, code), tmp_path).unclear
    assert (fault in found) if fault else found == ""


def test_errors_of_a_function_are_told_as_a_command_tells_them(tmp_path: Path) -> None:
    def refuse() -> None:
        raise WiseftError("x is damaged")

    assert run(as_command(refuse), tmp_path).output == "error: x is damaged\n"
    assert "unexpected" in run(as_command(lambda: [][0]), tmp_path).unclear


def test_a_hang_and_a_greedy_process_are_ended(tmp_path, monkeypatch) -> None:
    assert run(lambda: time.sleep(60), tmp_path, seconds=0.02).exceeded == "time"

    def busy() -> None:
        while True:
            pass

    assert run(busy, tmp_path, seconds=0.5).exceeded == "time"
    monkeypatch.setattr(harness, "MEMORY", 64 * 2**20)

    def greedy() -> None:
        held = [b"x" * 2**20 for _ in range(6000)]  # more than the tests before may have taken
        time.sleep(60 + len(held))

    assert run(greedy, tmp_path, seconds=60).exceeded == "memory"


def test_what_no_command_does_is_seen(tmp_path: Path, monkeypatch) -> None:
    # As in the campaign, whose temporary folder is its own: the clone may lie below the system's.
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    outside = Path(__file__).resolve().with_name("written_by_a_test")

    def foul() -> None:
        subprocess.run(["true"], check=True)
        outside.open("w").close()
        (tmp_path / "inside").open("w").close()

    try:
        seen = run(foul, tmp_path).seen
    finally:
        outside.unlink(missing_ok=True)
    assert len(seen) == 2 and "true" in seen[0] and seen[1] == f"writes {outside}"
    ended = run(as_command(lambda: socket.create_connection(("192.0.2.1", 80), 5)), tmp_path)
    assert "unreachable" in ended.output


def test_kills_happen_where_they_should(tmp_path: Path) -> None:
    def write() -> None:
        for number in range(5):
            (tmp_path / str(number)).open("w").close()

    assert run(write, tmp_path, before=kill_at_event(3)).code == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    assert run(lambda: time.sleep(60), tmp_path, before=end_after(0.1)).code == -signal.SIGALRM


def test_payloads_that_wrote_are_code_that_ran(tmp_path: Path) -> None:
    ground = Ground(World(tmp_path, tmp_path), tmp_path)
    canary = ground.canary
    ended = run(lambda: (canary / "ran").touch(), tmp_path)
    found = ground.common("x", ended)
    assert found is not None and found.verdict is Verdict.CODE
    assert ground.common("x", ended) is None, "the folder is empty again"


def test_damage_changes_a_file_and_follows_from_the_seed() -> None:
    content = b'{"a": 123,\n "b": 456}\n' * 50
    for name, damage in corruptions.DAMAGES.items():
        first, again = (damage(content, Random("x")) for _ in range(2))
        assert first == again != content, name


def test_one_failure_is_counted_and_fails_the_campaign(monkeypatch, capsys, tmp_path) -> None:
    def attack(ground: Ground, rng: Random, number: int) -> Found:
        if number == 1:
            return Found("a flip", Verdict.SILENT, "other numbers")
        assert number != 2, "a fault of the campaign"
        return Found("a flip")

    kind = campaign.Kind("corruptions", 3, 9)
    monkeypatch.setattr(campaign, "KINDS", {"made up": kind})
    monkeypatch.setattr(campaign.Kind, "attack", property(lambda kind: attack))
    ground = Ground(World(tmp_path, tmp_path), tmp_path)
    assert not campaign.campaign(ground, ["made up"], "small", 7, None, 1)
    said = capsys.readouterr().out
    assert "| made up | 3 | 1 | 1 | 0 | 0 | 1 |" in said
    assert '--only "made up" --case 1 --seed 7' in said
    assert "1 silent, 0 code run, 0 needing a hand, 1 unclear" in said
    assert campaign.campaign(ground, ["made up"], "small", 7, 0, 1)
