"""The command line: thin commands, whose heavy imports are inside them so that it starts fast."""

from __future__ import annotations

import contextlib
import errno
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from wiseft.base.io import is_full
from wiseft.base.messages import shown
from wiseft.cli import (
    combine,
    config,
    data,
    diversity,
    evaluate,
    figures,
    finetune,
    merge,
    paper,
    plan,
    pretrain,
    score,
    sweep,
    tabulate,
    weights,
    zeroshot,
)
from wiseft.cli.options import Documented
from wiseft.errors import DamagedFile, WiseftError


class _ByStage(TyperGroup):
    """Lists the commands under the headings of their stages."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        headings: dict[str, list[tuple[str, str]]] = {}
        width = formatter.width - 6 - max(map(len, self.commands))
        for name, command in self.commands.items():
            row = (name, command.get_short_help_str(width))
            headings.setdefault(getattr(command, "rich_help_panel", ""), []).append(row)
        for heading, rows in headings.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


app = typer.Typer(
    name="wiseft",
    cls=_ByStage,
    help="Robust fine-tuning of zero-shot models. Each command is one step of the workflow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_LONGEST = 2_000
"""Characters of a message."""


_options = SimpleNamespace(debug=False)
"""Options that stand before the command."""


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        from wiseft.base.provenance import git_commit

        typer.echo(f"wiseft {version('wiseft')} (commit {git_commit()})")
        raise typer.Exit


@app.callback()
def _before(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    _options.debug = debug


COMMANDS: dict[str, Callable[..., None]] = {
    "doctor": plan.doctor,
    "plan": plan.plan,
    "glyphs": pretrain.glyphs,
    "pretrain-samples": pretrain.pretrain_samples,
    "pretrain": pretrain.pretrain,
    "weights": weights.weights,
    "import": weights.import_checkpoint,
    "zeroshot": zeroshot.zeroshot,
    "text-tower": zeroshot.text_tower,
    "finetune": finetune.finetune,
    "baseline": finetune.baseline,
    "search": finetune.search,
    "interpolate": combine.interpolate,
    "combine": combine.combine,
    "fisher": combine.fisher,
    "sweep": sweep.sweep,
    "sweep-point": sweep.sweep_point,
    "export": sweep.export,
    "merge": merge.merge,
    "card": sweep.card,
    "push": sweep.push,
    "evaluate": evaluate.evaluate,
    "score": score.score,
    "diversity": diversity.diversity,
    "tabulate": tabulate.tabulate,
    "effective-robustness": tabulate.effective,
    "testbed": paper.testbed,
    "published": paper.published_table,
    "paper-tables": paper.paper_tables,
    "claims": paper.claims,
    "figure": figures.figure,
    "paper-figures": figures.paper_figures,
    "page": figures.page,
    "provenance": figures.provenance,
    "report": figures.report,
    "headline": figures.headline,
    "compare": figures.compare,
}
"""Every command by its name, in the order of the help; groups hold their own."""

STAGES = {
    "doctor": "Before a run",
    "glyphs": "Models from elsewhere, and small ones made here",
    "zeroshot": "The zero-shot end",
    "finetune": "The fine-tuned end",
    "interpolate": "Between them",
    "evaluate": "Evaluation",
    "tabulate": "Tables",
    "figure": "Figures, page and summary",
}
"""What stands in the help above each of these commands and those that follow it."""

_stage = ""
for _name, _command in COMMANDS.items():
    _stage = STAGES.get(_name, _stage)
    app.command(_name, cls=Documented, rich_help_panel=_stage)(_command)
app.add_typer(config.config, name="config", rich_help_panel="Configuration and data")
app.add_typer(data.data, name="data", rich_help_panel="Configuration and data")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; leave with exit code 0, 1 (an error) or 2 (wrong usage).

    What a user can mend is one `error:` line without a traceback, unless `--debug` asks for it.
    """
    _options.debug = False
    try:
        with shown():
            app(args=arguments)
    except Exception as error:
        if _options.debug:
            traceback.print_exc()
        with contextlib.suppress(OSError):  # a log on a full disk
            print(f"error: {_shown(_message(error))}", file=sys.stderr, flush=True)
        sys.exit(1)


def _shown(text: str) -> str:
    """Return a message with its begin and end, whatever names from files are in between, and
    without characters that a terminal obeys.
    """
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} [...] {text[-_LONGEST // 2 :]}"
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def _message(error: Exception) -> str:
    if isinstance(error, DamagedFile):
        from wiseft.study.plan.failures import set_aside

        return set_aside(error)
    if isinstance(error, WiseftError):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        return _os_message(error)
    hint = "" if _options.debug else "; `wiseft --debug COMMAND ...` shows where"
    return f"unexpected {type(error).__name__}: {error}{hint}"


def _os_message(error: OSError) -> str:
    path = error.filename or (f"a file in {Path.cwd()}" if is_full(Path.cwd()) else "a file")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission for {path}; make it accessible, or choose another folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left for {path}; free some disk space, then rerun: it continues"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"cannot use {path}: a file stands where a folder is needed; choose another path"
    return f"cannot use {path}: {error.strerror or error}"
