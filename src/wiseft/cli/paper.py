"""Commands about the paper's numbers: `testbed`, `published`, `paper-tables` and `claims`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wiseft.cli.options import AnyRoot, Datasets, Root, datasets_folder


def testbed(datasets: Datasets = None, root: AnyRoot = Path()) -> None:
    """Download accuracies of other models, to which the figures fit their lines (1 MB)."""
    from wiseft.base.transfer.http import download
    from wiseft.study.data.fetching.entry_files import checksums, mirrored
    from wiseft.study.published.addresses import NAME, SOURCES, source_path

    folder = datasets_folder(root, datasets)
    for file in SOURCES:
        path = source_path(file, folder)
        source = download(mirrored(NAME, file), path, checksums(file))
        typer.echo(f"{path}: {source or 'already there'}, verified")


def published_table(
    published: Annotated[str, typer.Option()],
    table_parquet: Annotated[Path, typer.Option()],
    table_csv: Annotated[Path, typer.Option()],
    table: list[Path] | None = None,
    datasets: Datasets = None,
    root: Root = Path(),
) -> None:
    """Write published numbers of the paper and of other models as a tidy table.

    Args:
        published: The key `published` of an experiment, as JSON or @file.yaml.
        table_parquet: Parquet file to write: the tidy table.
        table_csv: CSV file to write: the tidy table.
        table: Tidy table whose measured rows are added. Repeatable.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.study.config import Catalogue
    from wiseft.study.config.experiment_parts import PublishedSettings
    from wiseft.study.paper.published import join
    from wiseft.tabulate.schema import TABLE, read_table, write_csv, write_parquet

    wanted = parse_settings(PublishedSettings, published, "--published")
    measured = [read_table(path) for path in table or []]
    rows = join(measured, wanted, Catalogue(root), datasets_folder(root, datasets))
    write_parquet(table_parquet, rows, TABLE)
    write_csv(table_csv, rows, TABLE)
    typer.echo(f"published: wrote {table_csv} ({len(rows)} rows)", err=True)


def paper_tables(
    output_dir: Annotated[Path, typer.Option()],
    table: list[Path] | None = None,
    number: list[int] | None = None,
) -> None:
    """Write tables 1 to 13 of the paper, measured and published numbers side by side.

    Args:
        output_dir: Folder for the tables.
        table: Tidy table with measured rows. Repeatable. Default: published numbers only.
        number: Number of a table, 1 to 13. Repeatable. Default: all.
    """
    import pandas as pd

    from wiseft.study.paper.paper_tables import cells, zero_shot_cells
    from wiseft.study.paper.paper_text import write_paper_tables
    from wiseft.tabulate.schema import read_table

    tables = [read_table(path) for path in table or []]
    compared, more = cells(tables, number or None), zero_shot_cells(tables)
    compared = compared if more.empty else pd.concat([compared, more], ignore_index=True)
    write_paper_tables(compared, output_dir)
    measured, flagged = int(compared["measured"].notna().sum()), int(compared["flagged"].sum())
    typer.echo(
        f"paper-tables: wrote {compared['table'].nunique()} tables to {output_dir}; {measured} of "
        f"{len(compared)} cells are measured, {flagged} of them differ too much",
        err=True,
    )


def claims(output: Path | None = None, root: Root = Path()) -> None:
    """Print the paper's claims, the checks that would refute them, and what today's tables say.

    Exit code: 1 if a check cannot be computed from a table that is there, or names something that
    its experiment or the tests do not have.

    Args:
        output: Markdown file to write: the same as a page, with every check in full.
    """
    from wiseft.base.io import write_text
    from wiseft.base.templates import render
    from wiseft.errors import WiseftError
    from wiseft.study.paper.claims import FAILED, judged

    found = judged(root)
    typer.echo(render("study/paper/claims.txt.j2", claims=found))
    if output is not None:
        write_text(output, render("study/paper/claims.md.j2", claims=found))
    wrong = [(claim, one) for claim, _, checks in found for one in checks if one.state == FAILED]
    if wrong:
        raise WiseftError("\n".join(f"{claim.says} {one.about}" for claim, one in wrong))
