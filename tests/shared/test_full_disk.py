"""A full disk is one sentence with the file, the space and what to do, whoever writes the file."""

from __future__ import annotations

import errno
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from tests.processes import environment

from wiseft.base.io import atomic_path, room, write_text
from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.foreign.formats import read_checkpoint, write_checkpoint
from wiseft.study.data.prepared import write_arrays
from wiseft.study.plan.failures import failure_summary
from wiseft.thetas.resume_state import Checkpoints
from wiseft.thetas.tensor_file import tensor_writer

MB = 10**6
TENSORS = {"a": torch.ones(MB), "b": torch.ones(MB // 2)}  # 6 MB


def write_tensors(path: Path) -> None:
    with tensor_writer(path, TENSORS, {}) as writer:
        for name, values in TENSORS.items():
            writer.write(name, values)


def write_images(path: Path) -> None:
    write_arrays(path.parent, ".", np.zeros((2000, 32, 32, 3), np.uint8), {})


def write_parquet(path: Path) -> None:
    with atomic_path(path) as temporary:
        frame = pd.DataFrame({"a": np.random.default_rng(0).random(MB)})
        frame.to_parquet(temporary)


def write_like(kind: str, path: Path) -> None:
    """Write weights in the format of another program's file or folder, as `wiseft merge` does."""
    source = path.parent / f"source-{kind}"
    write_checkpoint(read_checkpoint(source), TENSORS, path)


WRITERS = {
    "text.md": lambda path: write_text(path, "x" * 6 * MB),
    "theta_1.safetensors": write_tensors,
    "images.npy": write_images,
    "predictions.parquet": write_parquet,
    "step-000000007.safetensors": lambda path: Checkpoints(path.parent, "k").save(7, TENSORS),
    "merged.safetensors": lambda path: write_like("safetensors", path),
    "merged.pt": lambda path: write_like("torch", path),
    "folder": lambda path: write_like("folder", path),
}
KNOWN = set(WRITERS) - {"predictions.parquet"}
"""Files whose size is known before they are written."""


def make_sources(folder: Path) -> None:
    save_file({name: tensor[:4] for name, tensor in TENSORS.items()}, folder / "source-safetensors")
    small = {name: tensor[:4].clone() for name, tensor in TENSORS.items()}
    torch.save(small, folder / "source-torch")
    (folder / "source-folder").mkdir()
    (folder / "source-folder" / "config.json").write_text("{}")
    save_file(small, folder / "source-folder" / "model.safetensors")


def messages(folder: Path) -> dict[str, str]:
    """Return what each writer says when it writes into a folder."""
    said = {}
    for name, write in WRITERS.items():
        try:
            write(folder / name)
            said[name] = "written"
        except WiseftError as error:
            said[name] = str(error)
        except Exception as error:
            said[name] = f"unexpected {type(error).__name__}: {error}"
    return said


def check(said: dict[str, str], folder: Path, reason: str) -> None:
    for name, message in said.items():
        assert message.startswith(f"{folder / name} cannot be written: {reason}. "), message
        assert f" are free in {folder}" in message
        assert (" MB are missing. Make room there" in message) == (name in KNOWN), message


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not path.name.startswith("source-")]


@pytest.fixture
def short_files() -> Iterator[None]:
    """Let no file be longer than 1 MB in this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MB, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_limit_of_the_size_of_files(tmp_path: Path, request: pytest.FixtureRequest):
    make_sources(tmp_path)
    request.getfixturevalue("short_files")
    check(messages(tmp_path), tmp_path, "files may not be larger here (ulimit -f)")
    assert left_in(tmp_path) == []


def test_a_full_disk(tmp_path: Path):
    """Of 2 MB, mounted in a namespace of its own."""
    if shutil.which("unshare") is None:
        pytest.skip("no small disk can be mounted: there is no unshare")
    script = (
        f"mount -t tmpfs -o size=2m tmpfs {tmp_path} && "
        f"exec {sys.executable} -m {__name__} {tmp_path}"
    )
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=Path(__file__).parents[2],
        check=False,
    )
    if done.stderr.startswith(("unshare:", "mount:", "sh:")):
        pytest.skip(f"no small disk can be mounted: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr
    said, left = json.loads(done.stdout)
    check(said, tmp_path, "the disk is full")
    assert left == []
    assert "4.0 MB are missing" in said["theta_1.safetensors"], "6 MB and a header, of 2 MiB"


def test_an_error_of_another_kind_stays_what_it_is(tmp_path: Path):
    with pytest.raises(ValueError, match="no such colour"), atomic_path(tmp_path / "figure.svg"):
        raise ValueError("no such colour")


def test_the_space_that_is_missing(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(
        "wiseft.base.io.shutil.disk_usage", lambda _: type("Usage", (), {"free": 310_000})
    )
    assert room(tmp_path) == f"0.4 MB are free in {tmp_path}"
    assert room(tmp_path, 2_400_000) == f"0.4 MB are free in {tmp_path}, 2.1 MB are missing"


def test_commands_name_the_full_disk_where_the_system_names_no_file(monkeypatch, capsys):
    def command(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("wiseft.cli.app", command)
    monkeypatch.setattr(
        "wiseft.base.io.shutil.disk_usage", lambda _: type("Usage", (), {"free": 0})
    )
    with pytest.raises(SystemExit):
        main([])
    assert f"no space left for a file in {Path.cwd()}; free" in capsys.readouterr().err


def test_the_end_of_a_run_names_the_full_disk_that_logs_had_no_room_to_name(monkeypatch):
    assert "full" not in failure_summary([])
    monkeypatch.setattr(
        "wiseft.base.io.shutil.disk_usage", lambda _: type("Usage", (), {"free": 0})
    )
    assert f"The disk of {Path.cwd()} is full: make room" in failure_summary([])


if __name__ == "__main__":
    place = Path(sys.argv[1])
    make_sources(place)
    outcome = messages(place)
    print(json.dumps([outcome, left_in(place)]))
