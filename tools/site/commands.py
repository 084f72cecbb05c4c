"""The reference of the commands, from the command line itself; nothing heavy is imported."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

from typer import Context
from typer.main import get_command

from wiseft.cli import app

TITLE = "Commands"


def commands_page() -> str:
    """Return the page as Markdown: every command with its help, arguments and options."""
    program = get_command(app)
    lines = [f"# {TITLE}", "", "`wiseft COMMAND --help` says the same.", ""]
    heading = None
    for name, command, group in _leaves("wiseft", program):
        if group and group != heading:
            lines += [f"## {group}", ""]
            heading = group
        lines += [f"### {name} {{#{name.replace(' ', '-')}}}", ""]
        lines += [*_help(command), *_table(command)]
    return "\n".join(lines)


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any, str | None]]:
    """Yield the commands that do something: full name, command, heading in the help."""
    for word, below in command.commands.items():
        panel = getattr(below, "rich_help_panel", None)
        group = panel if isinstance(panel, str) else None
        if hasattr(below, "commands"):
            yield from ((full, leaf, group) for full, leaf, _ in _leaves(f"{name} {word}", below))
        else:
            yield f"{name} {word}", below, group


def _help(command: Any) -> list[str]:
    lines = []
    for paragraph in (command.help or "").split("\n\n"):
        text = " ".join(paragraph.split())
        if text.startswith("Example: "):
            lines += ["```bash", text.removeprefix("Example: "), "```", ""]
        else:
            lines += [_markdown(text), ""]
    return lines


def _table(command: Any) -> list[str]:
    context = Context(command)
    records = [parameter.get_help_record(context) for parameter in command.params]
    rows = [
        f"| `{record[0].replace('|', chr(92) + '|')}` | {_markdown(record[1], cell=True)} |"
        for record in records
        if record
    ]
    return ["| argument or option | |", "|---|---|", *rows, ""] if rows else []


def _markdown(text: str, *, cell: bool = False) -> str:
    """Return plain help as Markdown: what is no code is text, whatever signs it has."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    text = "".join(
        part
        if part.startswith("`")
        else re.sub(r"([*_\[\]])", r"\\\1", html.escape(part, quote=False))
        for part in parts
    )
    return text.replace("|", "\\|") if cell else text
