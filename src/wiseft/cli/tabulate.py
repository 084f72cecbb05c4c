"""Commands of the tabulate stage: `tabulate` and `effective-robustness`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def tabulate(
    files: list[Path],
    experiment: Annotated[str, typer.Option()],
    settings: Annotated[str, typer.Option()],
    table_parquet: Annotated[Path, typer.Option()],
    table_csv: Annotated[Path, typer.Option()],
    comparisons: Annotated[Path, typer.Option()],
    selection: Annotated[Path, typer.Option()],
    fits: Annotated[Path, typer.Option()],
    tuning: Path | None = None,
    diversity: list[Path] | None = None,
    published: str | None = None,
    datasets: Path = Path("datasets"),
    made_with: Path | None = None,
    recipes: str = "{}",
) -> None:
    """Make the tidy table of an experiment, with intervals, comparisons and chosen alphas.

    Args:
        files: Metrics files (.json) and the predictions beside them (.parquet).
        experiment: Name of the experiment.
        settings: Statistics settings of the experiment, as JSON or @file.yaml: averages, held_out,
            test_split, reference, bootstrap, alphas, fixed_alpha, fit_exclude, views, other_views.
        table_parquet: Parquet file to write: the tidy table.
        table_csv: CSV file to write: the tidy table.
        comparisons: CSV file to write: paired comparisons.
        selection: CSV file to write: chosen alphas and regrets.
        fits: CSV file to write: fits through the baselines.
        tuning: CSV file to write: the settings of one recipe, if `tuning` lists them.
        diversity: A result of `wiseft diversity` to add to the table. Repeatable.
        published: Key `published` of the experiment, as JSON: numbers to add.
        datasets: Folder of the datasets, with the files of `wiseft testbed`.
        made_with: JSON file to write: settings, and machine and versions of the evaluations.
        recipes: With --made-with: methods and models in full, as JSON.
    """
    from dataclasses import replace

    from wiseft.base.io import write_json
    from wiseft.base.loading import parse_settings
    from wiseft.errors import WiseftError
    from wiseft.study.config import Catalogue
    from wiseft.study.config.experiment_parts import PublishedSettings
    from wiseft.study.paper.published import join
    from wiseft.tabulate.inputs import evaluated_with, upgrades
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
    table: Annotated[Path, typer.Option()],
    settings: Annotated[str, typer.Option()],
    output: Annotated[Path, typer.Option()],
    other_models: bool = False,
) -> None:
    """Write how far every model is above the line of models trained on the reference alone.

    Args:
        table: The tidy table.
        settings: The settings given to `wiseft tabulate`, as JSON or @file.yaml.
        output: CSV file to write: effective robustness.
        other_models: Also use the lines through the test bed's standard models.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.study.paper.effective import effective_rows
    from wiseft.tabulate.schema import EFFECTIVE, read_table, write_csv
    from wiseft.tabulate.settings import TabulateSettings

    known = parse_settings(TabulateSettings, settings)
    rows = effective_rows(read_table(table), known, other_models)
    write_csv(output, rows, EFFECTIVE)
    typer.echo(f"effective-robustness: wrote {output} ({len(rows)} rows)", err=True)
