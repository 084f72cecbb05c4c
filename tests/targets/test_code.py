"""The source files behind a command, and what an edit of one of them makes again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.targets.planning import dry_run, rules_of

from wiseft.errors import WiseftError
from wiseft.study.targets.code import Code

PACKAGE = Path(__file__).parents[2] / "src" / "wiseft"
MODULES = {
    "tabulate": ["wiseft.tabulate.stage", "wiseft.study.paper.published"],
    "paper-tables": ["wiseft.study.paper.paper_tables", "wiseft.study.paper.paper_text"],
    "page": ["wiseft.figures.page"],
    "samples": ["wiseft.study.data.samples"],
}


def behind(*arguments: str) -> set[str]:
    return {path.relative_to(PACKAGE).as_posix() for path in Code(PACKAGE).behind(*arguments)}


@pytest.mark.parametrize("command", MODULES)
def test_whatever_python_loads_is_followed(command: str) -> None:
    loaded = (
        "{m.__file__ for n, m in sys.modules.items() if n.startswith('wiseft.') and m.__file__}"
    )
    program = f"import sys, {', '.join(MODULES[command])}; print('\\n'.join({loaded}))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    files = {Path(line).relative_to(PACKAGE).as_posix() for line in done.stdout.splitlines()}
    # The configuration loads losses by their names to check settings; no table depends on them.
    by_name = {path for path in files if path.startswith("study/finetune/")}
    assert files - by_name <= behind(command)


def test_tables_depend_on_what_they_call_and_on_published_numbers() -> None:
    found = behind("tabulate")
    assert {"base/metrics.py", "study/published/testbed.py", "study/published/lines.csv"} <= found
    assert {"cli/tabulate.py", "tabulate/stage.py"} <= found
    assert not [path for path in found if path.startswith(("figures/", "study/drawings/"))]


def test_a_figure_depends_on_its_drawing_and_on_no_other() -> None:
    def drawings(name: str) -> set[str]:
        found = {Path(path).stem for path in behind("figure", name) if "/drawings/" in path}
        return found - {"__init__"}

    assert drawings("landscape") == {"landscape"}
    # One that is made of another's parts depends on that one too.
    assert drawings("overrides") == {"overrides", "bars"}
    assert "figures/paper.mplstyle" in behind("figure", "landscape")


def test_a_page_depends_on_its_template_and_not_on_the_other_commands_of_its_file() -> None:
    found = behind("page")
    assert {"figures/page/page.js", "figures/page/page.css", "figures/page/template.html"} <= found
    assert "study/paper/summary.py" not in found


def test_an_unknown_command_is_one_sentence() -> None:
    with pytest.raises(WiseftError, match="wiseft has no command tabulat"):
        behind("tabulat")


FIGURES_OF_SMOKE = {"figure": 3, "page": 1, "provenance": 1}
TABLES = {"tabulate": 1, "effective_robustness": 1, "headline": 1}


@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        ("base/metrics.py", {**TABLES, **FIGURES_OF_SMOKE, "report": 1}),
        ("study/published/lines.csv", {**TABLES, **FIGURES_OF_SMOKE, "report": 1}),
        ("study/published/numbers.py", {**TABLES, **FIGURES_OF_SMOKE, "report": 1}),
        ("study/paper/effective.py", {"effective_robustness": 1, "report": 1}),
        ("study/drawings/landscape.py", {"figure": 1}),
        ("study/paper/summary.md.j2", {"report": 1}),
        ("figures/page/page.js", {"page": 1}),
        ("study/finetune/trainer.py", {}),
        ("evaluate/passes.py", {}),
    ],
)
def test_an_edit_makes_again_what_it_is_behind(
    finished: Path, edited: str, expected: dict[str, int]
) -> None:
    with (finished / "src" / "wiseft" / edited).open("a") as file:
        file.write("\n")
    assert rules_of(dry_run(finished, "digits-smoke")) == expected
