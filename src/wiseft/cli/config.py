"""`wiseft config`: show and check the configuration."""

from __future__ import annotations

from pathlib import Path

import typer

from wiseft.cli.options import Experiment, Root

config = typer.Typer(
    help="Show or check the configuration.", no_args_is_help=True, rich_markup_mode=None
)


@config.command()
def show(experiment: Experiment = None, root: Root = Path()) -> None:
    """Print an experiment with everything it refers to, as YAML."""
    import yaml

    from wiseft.study.targets.resolve import resolve

    resolved = resolve(root, experiment)
    typer.echo(yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True, width=100), nl=False)


@config.command()
def check(experiment: Experiment = None, root: Root = Path()) -> None:
    """Check all entries and experiments, or one experiment and what it refers to."""
    from wiseft.study.config.catalogue import check_catalogue

    checked = check_catalogue(root, experiment)
    typer.echo(f"ok: {checked}")
