"""Commands of the figures stage: `figure`, `report` and `headline`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Table = Annotated[Path, typer.Option(help="The tidy table (.parquet or .csv).")]


def register(app: typer.Typer) -> None:
    """Add the commands `figure`, `report` and `headline`."""
    app.command("figure")(figure)
    app.command("report")(report)
    app.command("headline")(headline)


def figure(
    name: Annotated[str, typer.Argument(help="Name of the figure, e.g. robustness-natural.")],
    draw: Annotated[str, typer.Option(help="What is drawn: robustness, landscape.")],
    table: Table,
    output: Annotated[
        list[Path], typer.Option(help="A .pdf, .png or .svg file to write; repeat for several.")
    ],
    options: Annotated[
        str, typer.Option(help="Options of the drawing as JSON, or @ and a YAML file.")
    ] = "{}",
) -> None:
    """Draw one figure from the tidy table."""
    from wiseft.figures.registry import make_figure
    from wiseft.tabulate import read_table

    make_figure(name, draw, read_table(table), _options(name, options), output)


def report(
    table: Table,
    comparisons: Annotated[Path, typer.Option(help="CSV of paired comparisons.")],
    selection: Annotated[Path, typer.Option(help="CSV of chosen alphas.")],
    fits: Annotated[Path, typer.Option(help="CSV of the baselines' fits.")],
    experiment: Annotated[str, typer.Option(help="Name of the experiment.")],
    config: Annotated[
        str,
        typer.Option(help="The settings that `wiseft tabulate` got, as JSON, or @ and a file."),
    ],
    output: Annotated[Path, typer.Option(help="The Markdown file to write.")],
) -> None:
    """Write the summary of an experiment."""
    from wiseft.config import parse_settings
    from wiseft.figures.summary import Tables, summary
    from wiseft.io import write_text
    from wiseft.tabulate import read_comparisons, read_fits, read_selection, read_table
    from wiseft.tabulate.settings import TabulateSettings

    tables = Tables(
        read_table(table),
        read_comparisons(comparisons),
        read_selection(selection),
        read_fits(fits),
    )
    settings = parse_settings(TabulateSettings, config, "--config")
    write_text(output, summary(experiment, tables, settings))


def headline(
    experiment: Annotated[
        str | None, typer.Option(help="An experiment whose table lies in data/tables.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="The tidy table, in place of an experiment.")
    ] = None,
    average: Annotated[
        list[str] | None, typer.Option(help="An average to show; repeat for several.")
    ] = None,
    json_output: Annotated[
        Path | None, typer.Option("--json", help="Write those of every method to this file.")
    ] = None,
) -> None:
    """Print the numbers that matter: reference and shifts at zero-shot, 0.5 and fine-tuned."""
    from wiseft.config.paths import table_path
    from wiseft.errors import WiseftError
    from wiseft.figures.headline import headline as headline_text
    from wiseft.figures.headline import headline_metrics
    from wiseft.io import write_json
    from wiseft.tabulate import read_table

    if (experiment is None) == (table is None):
        raise WiseftError("headline needs either --experiment or --table, and not both")
    path = table if table is not None else table_path(str(experiment), "parquet")
    read = read_table(path)
    if json_output is not None:
        write_json(json_output, headline_metrics(read))
    typer.echo(headline_text(read, average))


def _options(name: str, text: str) -> dict[str, Any]:
    import yaml

    from wiseft.errors import WiseftError
    from wiseft.io import require_file

    if text.startswith("@"):
        text = require_file(text[1:], "options").read_text(encoding="utf-8")
    try:
        options = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise WiseftError(f"figure {name}: --options is neither JSON nor YAML ({error})") from None
    if not isinstance(options, dict):
        raise WiseftError(
            f'figure {name}: --options must be a JSON object such as {{"average": "natural"}}, '
            f"but is {text!r}"
        )
    return options
