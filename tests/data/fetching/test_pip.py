"""Fetching: hashes, the cache, and what a user reads when there is no network."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue, PackageEntry
from wiseft.study.data.fetching import registries as module

WHEEL = b"the bytes of a wheel"


def entry(content: bytes = WHEEL) -> PackageEntry:
    return PackageEntry(
        project="font-x",
        version="1.2",
        file="font_x-1.2-py3-none-any.whl",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        licence="OFL-1.1",
        why="a test",
    )


@pytest.fixture
def pip(monkeypatch):
    """Replace pip: it 'serves' what the test says and remembers its commands."""

    class Pip:
        content: bytes | None = WHEEL
        error = ""
        commands: list[list[str]]

        def __init__(self) -> None:
            self.commands = []

        def run(self, command, **options):
            self.commands.append(command)
            self.requirements = Path(command[command.index("-r") + 1]).read_text()
            if self.error:
                return subprocess.CompletedProcess(command, 1, "", self.error)
            folder = Path(command[command.index("-d") + 1])
            folder.mkdir()
            (folder / "font_x-1.2-py3-none-any.whl").write_bytes(self.content)
            return subprocess.CompletedProcess(command, 0, "", "")

    fake = Pip()
    monkeypatch.setattr(module.subprocess, "run", fake.run)
    return fake


def test_pip_is_asked_for_the_pin_by_hash_and_for_no_index(tmp_path, pip):
    target = tmp_path / "packages" / entry().file
    module.fetch_package("font-x", entry(), target)
    assert target.read_bytes() == WHEEL
    (command,) = pip.commands
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--require-hashes", "--no-deps", "--only-binary=:all:"} <= set(command)
    assert not [word for word in command if "index" in word or "://" in word]
    assert pip.requirements == f"font-x==1.2 --hash=sha256:{entry().sha256}\n"


def test_a_file_with_the_right_hash_is_not_fetched_again(tmp_path, pip):
    target = tmp_path / "x.whl"
    target.write_bytes(WHEEL)
    assert "already there" in module.fetch_package("font-x", entry(), target)
    assert not pip.commands


def test_a_wrong_checksum_names_both_hashes_and_leaves_nothing(tmp_path, pip):
    pip.content = WHEEL[:-1]
    found = hashlib.sha256(pip.content).hexdigest()
    with pytest.raises(WiseftError, match=f"expected sha256 {entry().sha256}, found {found}"):
        module.fetch_package("font-x", entry(), tmp_path / "x.whl")
    assert not list(tmp_path.iterdir())


def test_pips_own_hash_error_is_told_the_same_way(tmp_path, pip):
    pip.error = (
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n"
        f"    font-x==1.2:\n        Expected sha256 {entry().sha256}\n"
        f"             Got        {'ab' * 32}\n"
    )
    with pytest.raises(WiseftError, match=f"found {'ab' * 32}"):
        module.fetch_package("font-x", entry(), tmp_path / "x.whl")


def test_a_truncated_file_in_the_cache_is_named_and_kept(tmp_path, pip):
    target = tmp_path / "x.whl"
    target.write_bytes(WHEEL[:5])
    with pytest.raises(WiseftError, match="truncated or another version; delete it"):
        module.fetch_package("font-x", entry(), target)
    assert target.read_bytes() == WHEEL[:5]
    assert not pip.commands


def test_without_network_the_message_gives_the_command_and_the_path(tmp_path, pip):
    pip.error = "WARNING: Retrying\nERROR: No matching distribution found for font-x==1.2\n"
    target = tmp_path / "x.whl"
    with pytest.raises(WiseftError) as error:
        module.fetch_package("font-x", entry(), target)
    message = str(error.value)
    assert "No matching distribution found" in message
    command = "python -m pip download --no-deps --only-binary=:all: font-x==1.2"
    assert f"run\n  {command}\n" in message
    assert f"copy the file it writes to {target}" in message
    assert not list(tmp_path.iterdir())


def test_every_dataset_entry_names_pinned_packages():
    catalogue = Catalogue(Path(__file__).parents[3])
    files = [package.file for package in catalogue.packages().values()]
    assert len(set(files)) == len(files) == 18
    for name in catalogue.names("datasets"):
        for key in catalogue.dataset(name).packages:
            catalogue.package(key)
