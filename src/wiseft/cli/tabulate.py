"""Commands of the tabulate stage: `tabulate` and `effective-robustness`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def tabulate(
    files: Annotated[
        list[Path],
        typer.Argument(help="Metrics (.json) and the predictions beside them (.parquet)."),
    ],
    experiment: Annotated[str, typer.Option(help="Name of the experiment.")],
    settings: Annotated[
        str,
        typer.Option(
            help="Statistics of the experiment (averages, held_out, test_split, reference, "
            "bootstrap, alphas, fixed_alpha, fit_exclude, views, other_views) as JSON, or @ and a "
            "YAML file."
        ),
    ],
    table_parquet: Annotated[Path, typer.Option(help="The tidy table to write.")],
    table_csv: Annotated[Path, typer.Option(help="The same as CSV.")],
    comparisons: Annotated[Path, typer.Option(help="CSV of paired comparisons to write.")],
    selection: Annotated[Path, typer.Option(help="CSV of chosen alphas and regrets to write.")],
    fits: Annotated[Path, typer.Option(help="CSV of the baselines' fits to write.")],
    tuning: Annotated[
        Path | None,
        typer.Option(help="CSV to write of the settings of one recipe, where `tuning` lists them."),
    ] = None,
    diversity: Annotated[
        list[Path] | None,
        typer.Option(help="Measures of `wiseft diversity` that join the table; repeatable."),
    ] = None,
    published: Annotated[
        str | None,
        typer.Option(help="`published` of the experiment, as JSON: numbers that are joined."),
    ] = None,
    datasets: Annotated[
        Path, typer.Option(help="Folder of the datasets, for the files of `wiseft testbed`.")
    ] = Path("datasets"),
    made_with: Path | None = None,
    recipes: str = "{}",
) -> None:
    """Make the tidy table of an experiment, with intervals, comparisons and chosen alphas.

    Args:
        made_with: JSON to write: settings, and machine and versions of the evaluations.
        recipes: Methods and models in full, as JSON, for that file.
    """
    from dataclasses import replace

    from wiseft.base.io import write_json
    from wiseft.base.loading import parse_settings
    from wiseft.base.provenance import evaluated_with, upgrades
    from wiseft.errors import WiseftError
    from wiseft.study.config import Catalogue
    from wiseft.study.config.experiment_parts import PublishedSettings
    from wiseft.study.paper.published import join
    from wiseft.tabulate.settings import Recipes, TabulateSettings
    from wiseft.tabulate.stage import tabulate as make_tables
    from wiseft.tabulate.stage import write_tables
    from wiseft.thetas.damage import write_sum

    if other := [path for path in files if path.suffix not in (".json", ".parquet")]:
        shown = str(other[0])[:200]
        raise WiseftError(f"{shown!r} is neither metrics (.json) nor predictions (.parquet)")
    chosen = parse_settings(TabulateSettings, settings)
    known = parse_settings(Recipes, recipes, "--recipes")
    tables = make_tables(
        experiment,
        chosen,
        [path for path in files if path.suffix == ".json"],
        [path for path in files if path.suffix == ".parquet"],
        diversity or [],
    )
    if published is not None:
        wanted = parse_settings(PublishedSettings, published, "--published")
        tables = replace(tables, table=join([tables.table], wanted, Catalogue(), datasets))
    made = evaluated_with(path for path in files if path.suffix == ".json")
    for sentence in upgrades(made):
        typer.echo(f"tabulate: {sentence}", err=True)
    write_tables(
        tables,
        parquet=table_parquet,
        csv=table_csv,
        comparisons=comparisons,
        selection=selection,
        fits=fits,
        tuning=tuning,
    )
    if made_with is not None:
        settings_too = {**known.model_dump(), "settings": chosen.model_dump(mode="json")}
        write_json(made_with, {"evaluations": made, **settings_too})
        write_sum(made_with, len(made))
    typer.echo(
        f"tabulate: wrote {table_csv} ({len(tables.table)} rows) and "
        f"{len(tables.comparisons)} comparisons",
        err=True,
    )


def effective(
    table: Annotated[Path, typer.Option(help="The tidy table.")],
    settings: Annotated[
        str, typer.Option(help="The settings that `wiseft tabulate` got, as JSON, or @ and a file.")
    ],
    output: Annotated[Path, typer.Option(help="CSV of effective robustness to write.")],
    other_models: Annotated[
        bool, typer.Option(help="Also over the lines through the test bed's standard models.")
    ] = False,
) -> None:
    """Write how far every point lies above the lines of models that saw the reference alone."""
    from wiseft.base.loading import parse_settings
    from wiseft.study.paper.effective import effective_rows
    from wiseft.tabulate.schema import EFFECTIVE, read_table, write_csv
    from wiseft.tabulate.settings import TabulateSettings

    known = parse_settings(TabulateSettings, settings)
    rows = effective_rows(read_table(table), known, other_models)
    write_csv(output, rows, EFFECTIVE)
    typer.echo(f"effective-robustness: wrote {output} ({len(rows)} rows)", err=True)
