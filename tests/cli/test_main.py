"""The command line itself: errors, exit codes, start-up."""

from __future__ import annotations

import errno
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import typer
from typer.main import get_command

import wiseft.cli as cli
from wiseft.errors import WiseftError


def run(arguments: list[str]) -> int:
    """Return the exit code of the command line."""
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    return int(left.value.code or 0)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Make the command `boom` raise an error."""

    def register(error: Exception) -> None:
        app = typer.Typer(pretty_exceptions_enable=False)
        app.callback()(cli._before)

        @app.command("boom")
        def boom() -> None:
            raise error

        monkeypatch.setattr(cli, "app", app)

    return register


def test_messages_are_bare_lines_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    app = typer.Typer()
    app.callback()(cli._before)

    @app.command("tell")
    def tell() -> None:
        logging.getLogger("wiseft.any.module").info("100 % of it")
        logging.getLogger("wiseft").debug("a detail")
        logging.getLogger("wiseft.images").warning("mind %s", "that")
        logging.getLogger("another").info("of a library")

    monkeypatch.setattr(cli, "app", app)
    for _ in range(2):
        assert run(["tell"]) == 0
        assert capsys.readouterr() == ("", "100 % of it\nmind that\n")
    logging.getLogger("wiseft").info("after it")
    assert capsys.readouterr().err == ""


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    for command in ("config", "doctor", "interpolate", "evaluate", "finetune", "pretrain"):
        assert f"\n  {command} " in text


def test_help_stands_under_the_headings_of_the_stages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    places = [text.index(f"\n{heading}:\n") for heading in cli.STAGES.values()]
    assert places == sorted(places)
    assert text.index("Between them:") < text.index("\n  merge ") < text.index("Evaluation:")
    assert set(cli.STAGES) <= set(cli.COMMANDS)
    listed = [line.split()[0] for line in text.splitlines() if line.startswith("  ")]
    assert all(listed.count(name) == 1 for name in (*cli.COMMANDS, "config", "data"))


def test_a_shell_completes_commands(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("_WISEFT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "wiseft effec")
    monkeypatch.setenv("COMP_CWORD", "1")
    with pytest.raises(SystemExit):
        cli.app(args=[], prog_name="wiseft")
    assert capsys.readouterr().out.split() == ["effective-robustness"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("wiseft 0.")


def test_wrong_usage_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["no-such-command"]) == 2
    assert "No such command" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (WiseftError("expected x, found y; do z"), "error: expected x, found y; do z\n"),
        (PermissionError(errno.EACCES, "denied", "/f"), "error: no permission for /f; make it"),
        (OSError(errno.EROFS, "read-only", "/f"), "error: no permission for /f; make it"),
        (OSError(errno.ENOSPC, "full", "/f"), "error: no space left for /f; free some disk"),
        (NotADirectoryError(errno.ENOTDIR, "no", "/f/g"), "error: cannot use /f/g: a file stands"),
        (OSError(errno.EIO, "Input/output error", "/f"), "error: cannot use /f: Input/output err"),
        (ValueError("odd"), "error: unexpected ValueError: odd; `wiseft --debug COMMAND ...`"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(
    failing: Callable[[Exception], None],
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    expected: str,
) -> None:
    failing(error)
    assert run(["boom"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(expected)
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_message_has_a_length_and_nothing_that_a_terminal_obeys(
    failing: Callable[[Exception], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(WiseftError(f"begin \x1b]0;title\x07 \x9b2J {'x' * 10**6} end\nof two lines"))
    assert run(["boom"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(r"error: begin \x1b]0;title\x07 \x9b2J xxx")
    assert said.endswith("xxx end\nof two lines\n")
    assert len(said) < 2_500


def test_debug_shows_the_traceback(
    failing: Callable[[Exception], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(WiseftError("expected x"))
    assert run(["--debug", "boom"]) == 1
    text = capsys.readouterr().err
    assert "Traceback (most recent call last)" in text
    assert text.endswith("error: expected x\n")
    # The option holds for one call only.
    assert run(["boom"]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_starting_imports_nothing_heavy() -> None:
    heavy = (
        "torch torchvision open_clip pandas numpy matplotlib scipy sklearn pyarrow pydantic yaml "
        "jinja2"
    )
    code = f"""
import sys, wiseft.cli
print(*[name for name in {heavy.split()!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""


def test_every_option_of_every_command_is_explained() -> None:
    wrong: list[tuple[str, str]] = []

    def visit(name: str, command: Any) -> None:
        if below := getattr(command, "commands", None):
            for word, each in below.items():
                visit(f"{name} {word}", each)
            return
        assert "Args:" not in command.help
        explained = re.findall(r"^ {8}(\w[\w, ]*): ", command.callback.__doc__, re.MULTILINE)
        given, known = set(", ".join(explained).split(", ")), {p.name for p in command.params}
        wrong.extend((name, word) for word in given - known - {""})
        wrong.extend((name, p.name) for p in command.params if not p.help)

    visit("wiseft", get_command(cli.app))
    assert wrong == []
