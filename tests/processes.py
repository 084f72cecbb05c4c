"""Python commands in processes that need not import everything again.

What most of the time of a short command goes to is its imports. A server imports them once and
forks itself for every command: as alone as `python -m`, and ready at once.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["snakemake.cli", "dvc.cli", "wiseft.study.paper.context"])


def environment() -> dict[str, str]:
    """Return the environment of a shell in which nothing of ours is activated."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SNAKEMAKE")}
    return {**kept, "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}


def run_module(
    folder: Path,
    module: str,
    *arguments: str,
    limit: float = 900,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `python -m MODULE ARGUMENTS` in a folder; its output and errors come in `stdout`.

    Args:
        folder: to run in.
        module: of a program.
        arguments: of it.
        limit: seconds.
        variables: of the environment, besides those of `environment`.

    Raises:
        subprocess.TimeoutExpired: if it runs longer than `limit` seconds; it is killed.
    """
    with tempfile.NamedTemporaryFile("r", errors="replace") as output:
        shell = {**environment(), **(variables or {})}
        process = SERVER.Process(
            target=_main, args=(str(folder), module, arguments, output.name, shell)
        )
        process.start()
        _wait(process, [module, *arguments], limit)
        assert process.exitcode is not None
        return subprocess.CompletedProcess(
            [module, *arguments], process.exitcode, stdout=output.read()
        )


def _wait(process: ForkServerProcess, command: list[str], limit: float) -> None:
    process.join(limit)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise subprocess.TimeoutExpired(command, limit)


def _main(
    folder: str, module: str, arguments: tuple[str, ...], output: str, variables: dict[str, str]
) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
