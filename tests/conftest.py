"""What holds for all tests: one thread each, and no skip that CONTRIBUTING.md does not justify."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

# Before anything imports torch: as many workers as cores leave each of them one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
UNKNOWN = pytest.StashKey[list[str]]()


def justified_skips() -> list[str]:
    """Return the reasons of the table in CONTRIBUTING.md; a * stands for what varies."""
    text = CONTRIBUTING.read_text().partition("| a skip's reason |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


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
        terminalreporter.section("skips that CONTRIBUTING.md does not justify", red=True)
        for line in unknown:
            terminalreporter.write_line(line)
