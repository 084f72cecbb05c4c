"""What the command prints of a sweep."""

from __future__ import annotations

import pandas as pd

from wiseft.base.templates import aligned
from wiseft.tabulate import schema
from wiseft.tool.loading_lines import loading_example
from wiseft.tool.record import HELD_OUT, REFERENCE, TEST, Result
from wiseft.tool.show import GAINS, gain_lines, is_shares, number, shown_sets, titles_of, verdict


def summary(result: Result) -> str:
    """Return what is printed: accuracies, choices, the recommended alpha and the files."""
    record, table = result.record, result.table
    sets = shown_sets(table)
    shares = is_shares(table)
    grid, by_image = (table[table["selection"] == name] for name in ("grid", "dawin"))
    places = [(REFERENCE, HELD_OUT), *((name, TEST) for name in sets)]
    cells: dict[str, list[str]] = {}
    titles = titles_of(record)
    for name, split in places:
        parts = (of[(of["dataset"] == name) & (of["split"] == split)] for of in (grid, by_image))
        part = pd.concat([each.sort_values("alpha") for each in parts])
        head = f"{titles.get(name, name)}, {split}" if name == REFERENCE else titles.get(name, name)
        cells[head] = [number(row, shares) for row in part.to_dict("records")]
    marks: dict[float, list[str]] = {}
    for choice, alpha in record.choices.items():
        marks.setdefault(alpha, []).append(choice)
    notes = [", ".join(marks.get(alpha, [])) for alpha in record.alphas]
    alphas = [f"{alpha:g}" for alpha in record.alphas]
    if len(by_image):
        alphas.append("by image")
        cells[f"{REFERENCE}, {HELD_OUT}"].append("")
        notes.append("dawin (transductive, several models)")
    columns = {"alpha": alphas, **cells, "chosen by": notes}
    lines = [aligned(zip(*([head, *below] for head, below in columns.items()), strict=True))]
    for name, alpha in record.unlabelled.items():
        lines.append(f"most certain on {name}, without labels: alpha {alpha:g}")
    lines += ["", verdict(record.recommended, "alpha")]
    gains = schema.read(result.folder / GAINS, schema.COMPARISONS, "gains")
    lines += gain_lines(gains, titles, shares)
    lines += ["", f"page:  {result.page}", f"model: {result.model_path}; to load it:", ""]
    return "\n".join([*lines, *(f"    {x}" for x in loading_example(result).splitlines())])
