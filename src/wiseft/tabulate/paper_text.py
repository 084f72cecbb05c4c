"""The paper's tables as CSV, Markdown and LaTeX, and a report of what differs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from wiseft.io import atomic_path, write_text
from wiseft.published import TABLES
from wiseft.tabulate.paper_tables import CELLS, FLAG, TOLERANCES, layout

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
        "percentage points; (published) alone where nothing was measured; empty where there is "
        f"neither. {FLAG} marks a difference beyond what two runs may differ by ({bounds})."
    )


def title(table: int) -> str:
    """Return e.g. `Table 4: CLIP ViT-L/14@336px at every alpha`; 0 are the zero-shot models."""
    return f"Table {table}: {TABLES[table]}" if table in TABLES else ZERO_SHOT_TITLE


def file_stem(table: int) -> str:
    """Return the name of a table's files, without suffix."""
    return f"table-{table}" if table in TABLES else "zero-shot"


def csv_text(wide: pd.DataFrame) -> str:
    """Return a table as CSV, its cells as they are shown."""
    return wide.to_csv(index_label="row", lineterminator="\n")


def markdown(wide: pd.DataFrame, table: int) -> str:
    """Return a table as Markdown."""
    lines = [
        f"## {title(table)}",
        "",
        _markdown_row(["", *map(_greek, wide.columns)]),
        _markdown_row(["---", *("---:" for _ in wide.columns)]),
        *(_markdown_row([_greek(str(row)), *texts]) for row, *texts in wide.itertuples()),
        "",
        legend(),
        "",
    ]
    return "\n".join(lines)


def latex(wide: pd.DataFrame, table: int) -> str:
    """Return a table as LaTeX; it needs the package booktabs."""
    rows = [[_greek(str(row)), *texts] for row, *texts in wide.itertuples()]
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_escape(TABLES.get(table, ZERO_SHOT_TITLE))}. {_escape(legend())}}}",
        rf"  \label{{tab:{file_stem(table)}}}",
        rf"  \begin{{tabular}}{{l{'r' * len(wide.columns)}}}",
        r"    \toprule",
        _latex_row(["", *map(_greek, wide.columns)]),
        r"    \midrule",
        *map(_latex_row, rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def report(found: pd.DataFrame) -> str:
    """Return an overview in Markdown: what was measured of each table, and all that is flagged.

    Args:
        found: of :func:`wiseft.tabulate.paper_tables.cells`.
    """
    lines = [f"# The tables of the paper ({SOURCE})", "", legend(), ""]
    lines += [_markdown_row(["table", "cells", "measured", "flagged"])]
    lines += [_markdown_row(["---", "---:", "---:", "---:"])]
    for table in map(int, found["table"].unique()):
        mine = found[found["table"] == table]
        name = f"[{title(table)}]({file_stem(table)}.md)"
        counts = [len(mine), int(mine["measured"].notna().sum()), int(mine["flagged"].sum())]
        lines.append(_markdown_row([name, *map(str, counts)]))
    lines += ["", "## Differences beyond the tolerance", ""]
    flagged = found[found["flagged"]]
    if flagged.empty:
        compared = int(found["measured"].notna().sum())
        lines.append(
            f"None of the {compared} cells that were measured."
            if compared
            else "Nothing was measured."
        )
    else:
        heads = [
            "table",
            "row",
            "column",
            "measured",
            "published",
            "difference",
            "tolerance",
            "run",
        ]
        lines += [_markdown_row(heads), _markdown_row(["---"] * len(heads))]
        lines += [_flagged_row(line, heads) for _, line in flagged.iterrows()]
    return "\n".join([*lines, ""])


def write_paper_tables(found: pd.DataFrame, folder: Path) -> list[Path]:
    """Write `table-<n>.csv`, `.md` and `.tex`, `cells.csv` and the report; return their paths.

    Args:
        found: of :func:`wiseft.tabulate.paper_tables.cells`.
        folder: is made where it does not exist.
    """
    written = []
    for table in map(int, found["table"].unique()):
        wide = layout(found, table)
        texts = {"csv": csv_text(wide), "md": markdown(wide, table), "tex": latex(wide, table)}
        for suffix, text in texts.items():
            written.append(folder / f"{file_stem(table)}.{suffix}")
            write_text(written[-1], text)
    written += [folder / ALL_CELLS, folder / REPORT]
    with atomic_path(written[-2]) as temporary:
        found[list(CELLS)].to_csv(temporary, index=False, float_format="%.4f", lineterminator="\n")
    write_text(written[-1], report(found))
    return written


def _flagged_row(line: pd.Series, heads: Iterable[str]) -> str:
    shown = {name: f"{line[name]:.2f}" for name in ("measured", "published", "tolerance")}
    shown["difference"] = f"{line['difference']:+.2f}"
    return _markdown_row([_greek(shown.get(name, str(line[name]))) for name in heads])


def _greek(text: str) -> str:
    return text.replace("alpha", "α")


def _markdown_row(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _escape(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _latex_row(texts: Iterable[str]) -> str:
    return f"    {' & '.join(map(_escape, texts))} \\\\"
