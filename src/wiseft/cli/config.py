"""`wiseft config`: show and check the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Experiment = Annotated[
    str | None, typer.Option("--experiment", help="Experiment; default: the configuration's.")
]
Root = Annotated[Path, typer.Option("--root", help="The project's root, which holds config/.")]


def register(app: typer.Typer) -> None:
    """Add the commands `config show` and `config check`."""
    group = typer.Typer(
        help="Show or check the configuration.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command("show")(show)
    group.command("check")(check)
    app.add_typer(group, name="config")


def show(experiment: Experiment = None, root: Root = Path()) -> None:
    """Print an experiment with everything it refers to, as YAML."""
    import yaml

    from wiseft.targets.resolve import resolve

    resolved = resolve(root, experiment)
    typer.echo(yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True, width=100), nl=False)


def check(experiment: Experiment = None, root: Root = Path()) -> None:
    """Check all entries and experiments, or one experiment and what it refers to."""
    from wiseft.config.catalogue_checks import problems

    found, checked = problems(root, experiment)
    if found:
        from wiseft.errors import WiseftError

        raise WiseftError("\n".join(found))
    typer.echo(f"ok: {checked}")
