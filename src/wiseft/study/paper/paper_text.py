"""The paper's tables as CSV, Markdown and LaTeX, and a report of what differs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from wiseft.base.io import atomic_path, write_text
from wiseft.base.rehearsal import titled
from wiseft.base.templates import render
from wiseft.study.paper.paper_tables import CELLS, FLAG, TOLERANCES, layout
from wiseft.study.published.numbers import TABLES

SOURCE = "arXiv 2109.01903 v3"
ZERO_SHOT_TITLE = "Zero-shot models, beside the accuracies that open_clip publishes"
REPORT, ALL_CELLS = "README.md", "cells.csv"

_LATEX = {"&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", FLAG: r"$^\dagger$"}
_LATEX |= {"α": r"$\alpha$", "≤": r"$\le$"}


def legend() -> str:
    """Return in words what a cell says."""
    bounds = "; ".join(f"{what}: {points:g}" for what, points in TOLERANCES.items())
    return (
        f"A cell is the measured number, in parentheses the one of {SOURCE} and the difference in "
        "percentage points. It says (published) alone if nothing was measured, and may be empty. "
        f"{FLAG} marks a difference beyond what two runs may differ by ({bounds})."
    )


def title(table: int) -> str:
    """Return e.g. `Table 4: CLIP ViT-L/14@336px at every alpha`; 0 are the zero-shot models."""
    return f"Table {table}: {TABLES[table]}" if table in TABLES else ZERO_SHOT_TITLE


def file_stem(table: int) -> str:
    """Return the name of a table's files, without suffix."""
    return f"table-{table}" if table in TABLES else "zero-shot"


def markdown(wide: pd.DataFrame, table: int) -> str:
    """Return a table as Markdown."""
    head, *rows = _texts(wide)
    return render(
        "study/paper/paper_table.md.j2", title=title(table), head=head, rows=rows, legend=legend()
    )


def latex(wide: pd.DataFrame, table: int) -> str:
    """Return a table as LaTeX; it needs the package booktabs."""
    title = titled(TABLES.get(table, ZERO_SHOT_TITLE))
    head, *rows = [[_escape(text) for text in row] for row in _texts(wide)]
    frame = pd.DataFrame(rows, columns=head)
    return str(
        frame.style.hide(axis="index").to_latex(
            hrules=True,
            position_float="centering",
            caption=f"{_escape(title)}. {_escape(legend())}",
            label=f"tab:{file_stem(table)}",
            column_format="l" + "r" * len(wide.columns),
        )
    )


def report(cells: pd.DataFrame) -> str:
    """Return an overview in Markdown: what was measured of each table, and all that is flagged.

    Args:
        cells: of :func:`wiseft.study.paper.paper_tables.cells`.
    """
    counts = cells.groupby("table", sort=False).agg(
        cells=("row", "size"), measured=("measured", "count"), flagged=("flagged", "sum")
    )
    return render(
        "study/paper/paper_report.md.j2",
        source=SOURCE,
        legend=legend(),
        title=title,
        file_stem=file_stem,
        tables=counts.to_dict("index"),
        flagged=cells[cells["flagged"]].to_dict("records"),
        measured=cells["measured"].count(),
    )


def write_paper_tables(cells: pd.DataFrame, folder: Path) -> list[Path]:
    """Write `table-<n>.csv`, `.md` and `.tex`, `cells.csv` and the report; return their paths.

    Args:
        cells: of :func:`wiseft.study.paper.paper_tables.cells`.
        folder: is made where it does not exist.
    """
    written = []
    for table in map(int, cells["table"].unique()):
        wide = layout(cells, table)
        texts = {
            "csv": wide.to_csv(index_label="row", lineterminator="\n"),
            "md": markdown(wide, table),
            "tex": latex(wide, table),
        }
        for suffix, text in texts.items():
            written.append(folder / f"{file_stem(table)}.{suffix}")
            write_text(written[-1], text)
    written += [folder / ALL_CELLS, folder / REPORT]
    with atomic_path(written[-2]) as temporary:
        cells[list(CELLS)].to_csv(temporary, index=False, float_format="%.4f", lineterminator="\n")
    write_text(written[-1], report(cells))
    return written


def _texts(wide: pd.DataFrame) -> list[list[str]]:
    """Return the head of a table and its rows."""
    rows = [["", *wide.columns], *([str(row), *texts] for row, *texts in wide.itertuples())]
    return [[text.replace("alpha", "α") for text in row] for row in rows]


def _escape(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
