"""`wiseft doctor`: what is there, what is missing, what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command `doctor`."""
    app.command("doctor")(doctor)


def doctor(
    experiment: Annotated[
        str | None, typer.Option(help="Experiment; default: the configuration's.")
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of text.")
    ] = False,
    root: Annotated[Path, typer.Option(help="The project's root, which holds config/.")] = Path(),
) -> None:
    """Say what is installed and there, and what an experiment still misses and roughly needs."""
    import json

    from wiseft.doctor import examine, render

    findings = examine(root, experiment)
    if json_output:
        typer.echo(json.dumps(findings, indent=2, ensure_ascii=False))
    else:
        typer.echo(render(findings))
