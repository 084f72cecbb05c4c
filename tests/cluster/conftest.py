"""A Slurm on this machine, and projects that are submitted to it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.loopback import Loopback, Unavailable, started
from tests.processes import environment
from tests.workflow.conftest import ROOT, SMOKE, copy_project

PROFILE = "profiles/slurm"
WANTED = "WISEFT_TEST_CLUSTER"
NO_PLUGIN = "snakemake-executor-plugin-slurm is not installed"
# A busy machine needs several times what an idle one does.
LIMIT_S = 600

Start = Callable[..., AbstractContextManager[Loopback]]


@pytest.fixture(scope="session")
def may_start() -> None:
    """Skip where no Slurm is wanted, or the plugin that submits to it is not there."""
    if not os.environ.get(WANTED):
        pytest.skip(f"installs and starts a Slurm on this machine; {WANTED}=1 asks for it")
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip(NO_PLUGIN)


@pytest.fixture(scope="session")
def stopped_when_told(may_start: None) -> Iterator[None]:
    """Let SIGTERM, as `timeout` sends it, end the tests as Ctrl-C does: what they started ends."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt("told to end")

    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def start_slurm(stopped_when_told: None) -> Start:
    """Start a Slurm; the test is skipped with the reason where none can be had."""

    @contextlib.contextmanager
    def start(**options: Any) -> Iterator[Loopback]:
        folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a socket's path must be short
        try:
            with started(folder, **options) as cluster:
                yield cluster
        except Unavailable as reason:
            pytest.skip(str(reason))
        finally:
            shutil.rmtree(folder)

    return start


@pytest.fixture(scope="module")
def slurm(start_slurm: Start) -> Iterator[Loopback]:
    with start_slurm() as cluster:
        yield cluster


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return new_project(tmp_path / "project")


def new_project(folder: Path, without: str | None = None) -> Path:
    """Copy the project, with the fetched packages if they are at hand, but for one of them."""
    copy_project(folder)
    packages = ROOT / "datasets" / ".packages"
    if packages.is_dir():  # spares downloads; preparing checks the hashes anyway
        shutil.copytree(packages, folder / "datasets" / ".packages")
    if without is not None:
        (folder / "datasets" / ".packages" / without).unlink(missing_ok=True)
    return folder


def edit_site(folder: Path, **keys: object) -> None:
    """Set keys of the profile's site block, as a user would."""
    edit(
        folder / PROFILE / "profile.yaml",
        {rf"^    {k}: .*$": f"    {k}: {v}" for k, v in keys.items()},
    )


def whole_batches_not_needed(folder: Path) -> None:
    """Let the batches of models from scratch be shared out, which their statistics forbid."""
    method = folder / "config" / "methods" / "from-scratch.yaml"
    edit(method, {r"^  batch_norm: train.*$": "  batch_norm: eval"})


def edit(path: Path, replacements: dict[str, str]) -> None:
    """Replace what regular expressions match; each must match once."""
    text = path.read_text()
    for pattern, new in replacements.items():
        text, count = re.subn(pattern, lambda _, new=new: new, text, flags=re.MULTILINE)
        assert count == 1, f"{pattern} matches {count} times in {path}"
    path.write_text(text)


class Submission:
    """Snakemake with a cluster's profile, beside the test; ended with its jobs if still running."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        experiment: str | None = SMOKE,
        config: Sequence[str] = (),
        profile: str = PROFILE,
    ):
        options = ["--workflow-profile", profile]
        if experiment is not None:
            options += ["--config", f"experiment={experiment}", *config]
        # The first look at the jobs after a second, not fifteen: what the tests wait for most.
        options += ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10"]
        self.log = folder / "submission.log"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "snakemake", *arguments, *options],
                cwd=folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A test that runs in the background ignores the signal, and so would its child.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def __enter__(self) -> Submission:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # cancels its jobs
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float = LIMIT_S) -> int:
        """Return the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"not done after {seconds} s:\n{self.output[-6000:]}")

    def until(self, condition: Callable[[], bool], what: str, seconds: float = LIMIT_S) -> None:
        """Wait for something that happens while it runs."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"ended before {what}:\n{self.output[-6000:]}"
            assert time.monotonic() < deadline, f"no {what}:\n{self.output[-6000:]}"
            time.sleep(0.2)
