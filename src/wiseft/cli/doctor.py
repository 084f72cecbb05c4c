"""`wiseft doctor`: what is there, what is missing, what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wiseft.cli.config import Experiment
from wiseft.cli.options import AnyRoot


def doctor(
    experiment: Experiment = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of text.")
    ] = False,
    root: AnyRoot = Path(),
) -> None:
    """Say what is installed and there, and what an experiment still misses and roughly needs."""
    import json

    from wiseft.study.plan.doctor import examine, render

    findings = examine(root, experiment)
    if json_output:
        typer.echo(json.dumps(findings, indent=2, ensure_ascii=False))
    else:
        typer.echo(render(findings))
