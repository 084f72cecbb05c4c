"""Files and folders that may not be read or written, or that are something else."""

from __future__ import annotations

import codecs
import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.faults.kills import NAMES
from tests.faults.verdicts import Found, Ground, Verdict
from tests.faults.world import replace, steps

NOBODY = 65534


def unreadable(path: Path, output: Path) -> None:
    """An input that may not be read."""
    replace(path, path.read_bytes())
    path.chmod(0)


def closed_folder(path: Path, output: Path) -> None:
    """A folder of an input that may not be entered."""
    path.parent.chmod(0)


def read_only(path: Path, output: Path) -> None:
    """An output's folder that may not be written."""
    output.parent.chmod(0o555)


def folder_there(path: Path, output: Path) -> None:
    """A folder where the output belongs."""
    (output / "in it").mkdir(parents=True)


def file_above(path: Path, output: Path) -> None:
    """A file where the output's folder belongs."""
    if path.parent != output.parent and not (output.parent / "config").exists():
        shutil.rmtree(output.parent)
        output.parent.write_bytes(b"in the way")


def folder_instead(path: Path, output: Path) -> None:
    """A folder in place of an input."""
    path.unlink()
    path.mkdir()


def link_nowhere(path: Path, output: Path) -> None:
    """A link to nothing in place of an input."""
    path.unlink()
    path.symlink_to("nowhere")


def circle(path: Path, output: Path) -> None:
    """A link to itself in place of an input."""
    path.unlink()
    path.symlink_to(path.name)


def pipe_instead(path: Path, output: Path) -> None:
    """An empty device in place of an input."""
    path.unlink()
    path.symlink_to("/dev/null")


OBSTACLES: list[Callable[[Path, Path], None]] = [
    *(unreadable, closed_folder, read_only, folder_there, file_above, folder_instead),
    *(link_nowhere, circle, pipe_instead),
]


def attack(ground: Ground, rng: Random, number: int) -> Found:
    """Put an obstacle before one file of a command, which runs as nobody in particular."""
    world, name = ground.world, rng.choice([each for each in NAMES if each != "merge-folder"])
    step, obstacle = steps()[name], OBSTACLES[number % len(OBSTACLES)]
    path, output = rng.choice(step.inputs), rng.choice(step.outputs)
    what = f"{name}, {path if obstacle not in OUTPUTS else output}: {obstacle.__doc__}"
    folder = world.copy(f"permissions-{number}", step.outputs)
    try:
        if os.geteuid() == 0:
            for place in [folder, *(each for each in folder.rglob("*") if each.is_dir())]:
                os.chown(place, NOBODY, NOBODY)
        obstacle(folder / path, folder / output)
        ended = world.do(name, folder, before=_nobody)
        if found := ground.common(what, ended):
            return found
        if ended.code == 0:
            same = obstacle is file_above or world.same(name, folder)
            return Found(what) if same else Found(what, Verdict.SILENT, ended.output[-600:])
        if Path(path).name not in ended.output and Path(output).name not in ended.output:
            near = (Path(path).parent.name, Path(output).parent.name)
            if not any(each in ended.output for each in near):
                return Found(what, Verdict.UNCLEAR, f"names no file\n{ended.output[-600:]}")
        return Found(what)
    finally:
        for place in [folder, *folder.rglob("*")]:
            if place.is_dir() and not place.is_symlink():
                place.chmod(0o755)
        shutil.rmtree(folder)


OUTPUTS = (read_only, folder_there, file_above)


def _nobody() -> None:
    if os.geteuid() == 0:
        # Read when they are needed, which an interpreter in root's own folder then can't be.
        importlib.import_module("importlib.readers")
        codecs.lookup("unicode-escape")
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
