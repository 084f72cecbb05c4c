"""The campaign finds what it looks for: planted faults of every kind are seen and counted."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pytest
from tests.faults import (
    campaign,
    changed_images,
    corruptions,
    foreign_checkpoints,
    foreign_models,
    foreign_predictions,
    harness,
    mirrors,
    outside_links,
)
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
        with suppress(PermissionError):
            outside.open("w").close()
        (tmp_path / "inside").open("w").close()

    seen = run(foul, tmp_path).seen
    assert (tmp_path / "inside").exists() and not outside.exists()
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


# What the classes of files from outside can see: a program that is wrong, in place of ours.


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    (tmp_path / "bench").mkdir()
    return Ground(World(tmp_path / "world", tmp_path / "bench"), tmp_path)


def test_weights_that_are_no_mean_are_seen(tmp_path: Path) -> None:
    import torch

    content = {
        name: {"state_dict": {"w": torch.full((3,), value), "n": torch.tensor(3)}, "epoch": 1}
        for name, value in {"a": 1.0, "b": 3.0, "right": 2.0, "wrong": 1.0}.items()
    }
    content["renamed"] = {"model": content["right"]["state_dict"]}
    for name, each in content.items():
        torch.save(each, tmp_path / name)

    def judge(out: str) -> str:
        paths = [tmp_path / name for name in ("a", "b", out)]
        return foreign_checkpoints.judge_files(*paths, ["state_dict"])

    assert judge("right") == ""
    assert "w is not the mean: by 1" in judge("wrong")
    assert "has none of" in judge("renamed")
    content["b"]["state_dict"]["n"] += 1
    torch.save(content["b"], tmp_path / "b")
    assert "n, of whole numbers, differs" in judge("right")


def test_the_library_says_which_configurations_matter(ground: Ground, monkeypatch) -> None:
    """A merge that takes the one model as it is, and one that averages whatever stands beside."""
    from safetensors.torch import load_file, save_file

    family = foreign_models.FAMILIES["ViT"]
    folder = ground.base / "models"

    def merged(coefficient: float, *changes: foreign_models.Change) -> str:
        shutil.rmtree(folder, ignore_errors=True)
        for seed, name in enumerate("abc"):
            family.save(folder / name, seed)
        foreign_models.change_config(folder / "b" / "config.json", list(changes))
        one, other = (load_file(folder / name / "model.safetensors") for name in "ab")
        mean = {k: (1 - coefficient) * v + coefficient * other[k] for k, v in one.items()}
        save_file(mean, folder / "c" / "model.safetensors", {"format": "pt"})
        return foreign_checkpoints.judge_models(family, folder, 1e-5, folder / "c")

    assert merged(0.5) == ""
    assert merged(0.5, ("layer_norm_eps", foreign_models.ABSENT)) == "", "it is the default"
    assert "is not the mean" in merged(0.4)
    assert "do not compute what B computes" in merged(0.5, ("num_attention_heads", 4))
    assert "does not load them" in merged(0.5, ("hidden_size", 8))


def test_other_logits_and_other_orders_of_classes_are_seen() -> None:
    logits = np.random.default_rng(0).normal(size=(6, 3))
    names, turned = ["a", "b", "c"], ["c", "a", "b"]
    assert foreign_predictions.far(names, logits, names, logits) == ""
    assert foreign_predictions.far(turned, logits[:, [2, 0, 1]], names, logits) == ""
    assert "logits are off" in foreign_predictions.far(turned, logits, names, logits)
    assert "the classes are" in foreign_predictions.far(["x", "y", "z"], logits, names, logits)


def test_numbers_of_images_as_they_were_are_seen(tmp_path: Path) -> None:
    table = pd.DataFrame({"weight/all/0.500/top1": [0, 1]})
    for name in ("out", "fresh"):
        (tmp_path / name).mkdir()
        table.to_parquet(tmp_path / name / "predictions.parquet")
    assert changed_images.differences(tmp_path / "out", tmp_path / "fresh") == ""
    (table + 1).to_parquet(tmp_path / "fresh" / "predictions.parquet")
    found = changed_images.differences(tmp_path / "out", tmp_path / "fresh")
    assert "other numbers than a new folder: ['weight/all/0.500/top1']" in found


@pytest.mark.parametrize("change", [*changed_images.CHANGES, changed_images.unseen])
def test_images_change_as_they_should(tmp_path: Path, change) -> None:
    changed_images.photos(tmp_path, 1, 3)
    paths = sorted(tmp_path.glob("*/*.bmp"))
    before = {path: (path.read_bytes(), path.stat()) for path in paths}
    change(Random(0), paths)
    changed = [path for path in paths if path.read_bytes() != before[path][0]]
    assert changed
    for path in changed:
        was, now = before[path][1], path.stat()
        assert (now.st_size != was.st_size) == (change is changed_images.larger)
        kept = change in (changed_images.larger, changed_images.unseen)
        assert (now.st_mtime_ns == was.st_mtime_ns) == kept


@pytest.mark.parametrize(
    ("foul", "why"),
    [
        (lambda work, outside: None, ""),
        (lambda work, outside: shutil.copy(outside / "secret", work / "copy"), "is in copy"),
        (lambda work, outside: (work / "link").symlink_to(outside / "secret"), "leads outside"),
        (lambda work, outside: print((outside / "secret").read_text()), "is said"),
        (lambda work, outside: shutil.rmtree(outside / "model"), "outside changed"),
    ],
)
def test_what_leaves_or_changes_the_outside_is_seen(ground: Ground, foul, why: str) -> None:
    folder, secret = ground.base / "links", "0123456789abcdef" * 2
    work = folder / "work"
    work.mkdir(parents=True)
    outside = outside_links.outside_of(folder, secret)
    before = outside_links.contents(outside)
    ended = run(lambda: foul(work, outside), work)
    found = outside_links.judge(ground, "x", ended, folder, before, secret, {})
    assert (found is None) if not why else (found is not None and why in found.why)
    assert found is None or found.verdict is Verdict.CODE


def test_a_server_that_misbehaves_is_the_command_s_to_refuse(ground: Ground) -> None:
    """A program that writes whatever comes, in the place of ours."""
    import urllib.request

    folder = ground.base / "mirror"
    folder.mkdir()

    def take(fault: mirrors.Fault) -> Verdict:
        def work() -> None:
            with mirrors.serving_spoilt(mirrors.Files, folder, fault, "big.npy") as (server, url):
                server.hub = mirrors.hub_server.Hub(url)
                server.hub.add(mirrors.REPOSITORY, {"big.npy": mirrors.DATA}, mirrors.COMMIT)
                address = f"{url}/{mirrors.REPOSITORY}/resolve/main/big.npy"
                with urllib.request.urlopen(address) as answer, (folder / "got").open("wb") as file:
                    while data := answer.read(2**16):
                        file.write(data)

        ended = run(work, folder, seconds=0.5, loopback=True)
        right = lambda: (folder / "got").read_bytes() == mirrors.DATA  # noqa: E731
        return mirrors.judge(ground, "x", ended, folder, right).verdict

    faults = {fault.kind: fault for fault in mirrors.ANY}
    assert take(mirrors.Fault("nothing")) is Verdict.SURVIVED
    assert take(mirrors.OTHER) is Verdict.SILENT
    assert take(faults["a page that says it is a file"]) is Verdict.SILENT
    assert take(faults["bytes without end, of no size"]) is Verdict.UNCLEAR
    assert take(faults["a byte a second"]) is Verdict.UNCLEAR
