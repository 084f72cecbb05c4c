"""What holds for all tests: how workers share them, that every skip is justified, and forks."""

from __future__ import annotations

import contextlib
import csv
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

# Before anything imports torch: as many workers as cores leave each of them one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A command that takes all cores would spin on those of the other workers while it waits for them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Files whose tests share something costly by a fixture of the module: each goes to one worker.
# (pytest-xdist 3.8 does not see its mark `xdist_group` under pytest 9.2.)
TOGETHER = (
    "tests/figures/test_page.py",
    "tests/figures/test_page_browser.py",
    "tests/figures/test_several_models.py",
    "tests/rehearsal/test_recompute.py",
    "tests/rehearsal/test_runner.py",
    "tests/rehearsal/test_world.py",
    "tests/workflow/test_dvc.py",
    "tests/workflow/test_paper.py",
)
SKIPS = Path(__file__).with_name("skips.csv")
UNKNOWN = pytest.StashKey[list[str]]()


@pytest.hookimpl
def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where slow tests alone are asked for, import no file that has none."""
    if config.option.markexpr != "slow" or not collection_path.match("test_*.py"):
        return None
    return True if "pytest.mark.slow" not in collection_path.read_text() else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers begin with the slow tests, so that none is left alone with a long one at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """Spare every later garbage collection the million objects that were imported by now."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Take back the threads that a command set in this process: `score` takes all cores."""
    yield
    torch = sys.modules.get("torch")
    if torch and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture
def every_format() -> None:
    """For a test of the formats in which a sweep draws its curve."""


@pytest.fixture(autouse=True)
def one_format(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other sweeps draw it as PNG alone: PDF and SVG are a third of their time on tiny models."""
    if "every_format" not in request.fixturenames and "wiseft.tool.show" in sys.modules:
        monkeypatch.setattr("wiseft.tool.show.KINDS", ("png",))


@pytest.fixture
def fork() -> Iterator[Callable[[Callable[[], object]], int]]:
    """Run a function in a copy of this process; returns its id. Leftover copies are killed.

    For what is about a process that ends: the copy has imported all it needs.
    """
    started = []

    def run(work: Callable[[], object]) -> int:
        process = os.fork()
        if process:
            started.append(process)
            return process
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


@pytest.fixture
def wait() -> Callable[[int], int]:
    """Waits for a forked process and returns its exit code, negative for a signal."""
    return lambda process: os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.fixture
def said() -> Iterator[list[str]]:
    """Messages of the library, as a command shows them."""
    from wiseft.base.messages import shown

    lines: list[str] = []
    with shown(lines.append):
        yield lines


def justified_skips() -> list[str]:
    """Return the reasons of tests/skips.csv; a * stands for what varies."""
    with SKIPS.open(newline="") as file:
        return [line["reason"] for line in csv.DictReader(file)]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share single tests out, those of a file in TOGETHER at once and first."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return path if path in TOGETHER else nodeid

    return Scheduling(config, log) if config.getvalue("dist") == "load" else None


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if something was skipped for a reason that is not in the table."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if hasattr(session.config, "workerinput") or reporter is None:
        return
    known = justified_skips()
    unknown = session.config.stash.setdefault(UNKNOWN, [])
    for report in reporter.stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not any(fnmatchcase(reason, pattern) for pattern in known):
            unknown.append(f"{report.nodeid}: {reason}")
    if unknown and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if unknown := config.stash.get(UNKNOWN, []):
        terminalreporter.section("skips that tests/skips.csv does not justify", red=True)
        for line in unknown:
            terminalreporter.write_line(line)
    reports = terminalreporter.stats.get("passed", [])
    said = [text for each in reports for name, text in each.user_properties if name == "said"]
    if said:
        terminalreporter.section("what tests compared here")
        for line in said:
            terminalreporter.write_line(line)
