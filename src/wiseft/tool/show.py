"""What a sweep shows: tables and the curve in files, the page, and the lines on the terminal."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from wiseft.base.io import write_json, write_text
from wiseft.base.templates import filled
from wiseft.figures.curves import draw_by_alpha, draw_under_shift
from wiseft.figures.page import PageSettings, build_page
from wiseft.figures.page.content import part, percent_interval
from wiseft.figures.saving import save_figure
from wiseft.figures.style import paper_style
from wiseft.tabulate import schema
from wiseft.tabulate.inputs import upgrades
from wiseft.tool.record import (
    FIXED,
    GIVEN,
    HELD_OUT,
    ONE_ERROR,
    PAGE,
    PREDICTIONS,
    REFERENCE,
    TABLE,
    TEST,
    ImageSet,
    Recommended,
    Sweep,
)

CURVE, KINDS = "curve", ("png", "pdf", "svg")
GAINS = "gains.csv"
"""Paired differences of the recommended alpha to both ends."""
_MAIN = f"{schema.AVERAGE_PREFIX}shifts"


def write_files(
    folder: Path, record: Sweep, table: pd.DataFrame, comparisons: pd.DataFrame, flips: str
) -> None:
    """Write tables, gains over both ends, curve and page.

    Args:
        table: the tidy table of the labelled sets.
        comparisons: of the recommended alpha with both ends.
        flips: what the page says of images that are right at one alpha and not another.
    """
    schema.write_parquet(folder / f"{TABLE}.parquet", table, schema.TABLE)
    schema.write_csv(folder / f"{TABLE}.csv", table, schema.TABLE)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    write_json(folder / f"{TABLE}.json", rows)
    gains = comparisons[comparisons["seed"] != schema.ALL]
    schema.write_csv(folder / GAINS, gains, schema.COMPARISONS)
    shown = shown_sets(table)[1:] if _has_chart(table) else []
    paths = [folder / f"{CURVE}.{kind}" for kind in KINDS]
    with paper_style() as style:
        if shown:
            alpha, titles = record.recommended.alpha, titles_of(record)
            figure = draw_under_shift(table, style, shown, alpha, titles)
        else:
            label = None if is_shares(table) else " / ".join(table["metric"].unique())
            figure = draw_by_alpha(table, style, record.choices, label)
        save_figure(figure, paths)
    links = [folder / f"{TABLE}.{kind}" for kind in ("csv", "parquet", "json")]
    links += [folder / GAINS, folder / PREDICTIONS, *paths]
    write_text(folder / PAGE, _page(folder, record, (table, gains), flips, shown, links))


def recommend(
    choices: Mapping[str, float],
    sets: Sequence[ImageSet],
    table: pd.DataFrame,
    unsure: str,
    samples: str = "images",
) -> Recommended:
    """Return the given alpha or else the recommended one, with why and with what is retained.

    Args:
        sets: the reference first.
        table: the tidy table.
        unsure: why none is to be recommended; empty: nothing speaks against it.
        samples: what was evaluated.
    """
    choice, why = GIVEN, "It was given."
    if GIVEN not in choices and unsure:
        choice, why = FIXED, "This is the paper's advice without further knowledge."
    elif GIVEN not in choices:
        choice, n = ONE_ERROR, sets[0].n[HELD_OUT]
        own, many = table.loc[table["split"] == HELD_OUT, "metric"].iloc[0], f"{n:,} " if n else ""
        why = (
            f"It is the smallest alpha whose {own} on the {many}held-out {samples} of the "
            "reference is within one standard error of the best. The reference loses nothing that "
            f"these {samples} can show, and the model stays as near to the zero-shot one as that "
            f"allows. No {samples[:-1]} of a shift had a part in it."
        )
    kept = [each.name for each in sets if each.role == "kept"]
    why += "".join(_retained(table, name, choices[choice]) for name in kept)
    return Recommended(choice=choice, alpha=choices[choice], why=why, unsure=unsure)


def verdict(found: Recommended, alpha: str) -> str:
    """Return what is recommended and why, or why nothing is and what was written instead."""
    if not found.unsure:
        return f"recommended: {alpha} {found.alpha:g}. {found.why}"
    written = f"The model is written at {alpha} {found.alpha:g}. {found.why}"
    return f"no alpha is recommended. {found.unsure} {written}"


def _retained(table: pd.DataFrame, kept: str, alpha: float) -> str:
    """Return a sentence on what is retained at an alpha."""
    rows = table[(table["dataset"] == kept) & (table["selection"] == "grid")]
    at, start, end = (rows.loc[rows["alpha"] == a, "value"].iloc[0] for a in (alpha, 0, 1))
    if not is_shares(table):
        return f" Retained on {kept}: {at:.4g} (zero-shot {start:.4g}, fine-tuned {end:.4g})."
    ends = f"zero-shot {100 * start:.1f}, fine-tuned {100 * end:.1f}"
    return f" Retained on {kept}: {100 * at:.1f} % ({ends})."


def is_shares(table: pd.DataFrame) -> bool:
    """Whether all values and their intervals are shares, which are shown in percent."""
    turned = table["metric"].str.startswith(schema.TURNED).any()
    numbers = table[["value", "ci_low", "ci_high"]].astype(float)
    beyond = (numbers < -1e-9) | (numbers > 1 + 1e-9)  # rounded
    return not (turned or beyond.any(axis=None))


def _has_chart(table: pd.DataFrame) -> bool:
    """Whether every set has a place on axes of logits, which end before 0 and 1."""
    inside = table["value"].between(0, 1, "neither").groupby(table["dataset"]).any()
    return is_shares(table) and bool(inside.all())


def number(row: Any, shares: bool) -> str:
    """Return a value with its interval, in percent if it is a share."""
    if shares:
        return percent_interval(row)
    ends = f" [{row['ci_low']:.4g}, {row['ci_high']:.4g}]"
    return f"{row['value']:.4g}" + ends * pd.notna(row["ci_low"])


def shown_sets(table: pd.DataFrame) -> list[str]:
    """Return the reference, the average of the shifts if there is one, and the shifts."""
    return _ordered(table["dataset"].unique().tolist())


def _ordered(names: list[str]) -> list[str]:
    first = [name for name in (REFERENCE, _MAIN) if name in names]
    return [*first, *(name for name in names if name not in first)]


def titles_of(record: Sweep) -> dict[str, str]:
    """Return what readers call each set."""
    labelled = sum(each.role == "shift" and each.labelled for each in record.sets)
    kept = {each.name: f"{each.name}, retained" for each in record.sets if each.role == "kept"}
    return {_MAIN: f"{labelled} shifts"} | kept


def gain_lines(rows: pd.DataFrame, titles: dict[str, str], shares: bool) -> list[str]:
    """Return a line for each end: what the alpha gains over it, of shares in percentage points."""
    lines = []
    for end, name in (("1.000", "fine-tuned"), ("0.000", "zero-shot")):
        text, unit = differences(rows[rows["contrast"].str.endswith(f"-vs-{end}")], titles, shares)
        if text:
            lines.append(f"  {unit} over {name} (95 % interval): {text}")
    return lines


def differences(rows: pd.DataFrame, titles: Mapping[str, str], shares: bool) -> tuple[str, str]:
    """Return the differences of one contrast with their intervals, and what they are called."""
    scale, form, unit = (100, "+.1f", "points") if shares else (1, "+.4g", "gain")
    part = rows.set_index("dataset", drop=False)
    part = part.loc[_ordered(part["dataset"].tolist())]
    texts = [
        f"{titles.get(row['dataset'], row['dataset'])} {scale * row['difference']:{form}}"
        + f" [{scale * row['ci_low']:{form}}, {scale * row['ci_high']:{form}}]"
        * pd.notna(row["ci_low"])
        for row in part.to_dict("records")
    ]
    return "; ".join(texts), unit


def _details(record: Sweep) -> str:
    """Return how a sweep was made; names of files, without the folders that they lie in."""
    unlabelled = [each.name for each in record.sets if not each.labelled]
    how = f"evaluated by `{record.evaluate}`" if record.evaluate else f"the head: {record.head}"
    text = f"Zero-shot: {record.zero_shot.path}; fine-tuned: {record.fine_tuned.path}; {how}."
    if record.recipe:
        made_of = [record.fine_tuned, *record.more]
        text += f" The fine-tuned end is what {json.dumps(record.recipe)} makes of "
        text += f"{', '.join(end.path for end in made_of)}."
    if unlabelled:
        text += f" Without labels, so without accuracies: {', '.join(unlabelled)}."
    for each in record.evaluations:
        text += " Made with " + ", ".join(f"{name} {value}" for name, value in each.items()) + "."
    return _without_folders(" ".join([text, *upgrades(record.evaluations)]), record)


def _without_folders(text: str, record: Sweep) -> str:
    """Return a text in which the user's files and folders have their last name alone."""
    ends = [record.zero_shot, record.fine_tuned, *record.more]
    given = [*(each.path for each in ends), *(each.path for each in record.sets)]
    given += shlex.split(record.evaluate or "")
    paths = {Path(each) for each in given if os.access(each, os.F_OK)}  # also of words, if long
    forms = {
        form: path.resolve().name for path in paths for form in (str(path), str(path.resolve()))
    }
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, forms[form])
    return text


def _page(
    folder: Path,
    record: Sweep,
    tables: tuple[pd.DataFrame, pd.DataFrame],
    flips: str,
    shown: Sequence[str],
    links: list[Path],
) -> str:
    title = f"{Path(record.fine_tuned.path).name}, from zero-shot to fine-tuned"
    table, gains = tables
    found = record.recommended
    answer = _without_folders(verdict(found, "α ="), record)
    answer = answer[0].upper() + answer[1:]
    if not shown:
        return _plain_page(title, answer, record, tables, flips, links)
    settings = PageSettings(
        experiment="sweep",
        title=title,
        about="" if found.unsure else answer,
        details=_details(record),
        says=answer if found.unsure else "",
        reference=REFERENCE,
        datasets=[name for name in shown if not name.startswith(schema.AVERAGE_PREFIX)],
        averages=["shifts"] if _MAIN in shown else [],
        titles=titles_of(record),
        samples="samples" if record.evaluate else "images",
        recommended=None if found.unsure else found.alpha,
    )
    if found.unsure:  # else the page marks what held-out images chose
        table = table[table["selection"] != ONE_ERROR]
    return build_page(table, settings, folder / PAGE, links, (), gains, flips)


def _plain_page(
    title: str,
    answer: str,
    record: Sweep,
    tables: tuple[pd.DataFrame, pd.DataFrame],
    flips: str,
    links: list[Path],
) -> str:
    """Return a page without a chart: only the reference has labels, or it cannot show a metric."""
    (table, gains), shares = tables, is_shares(tables[0])
    grid = table[(table["selection"] == "grid") & (table["split"] == TEST)]
    names, titles = shown_sets(grid), {REFERENCE: "the reference"} | titles_of(record)
    metrics = grid.groupby("dataset")["metric"].first().str.capitalize()
    texts = [number(row, shares) for row in grid.to_dict("records")]
    wide = grid.assign(text=texts).pivot(index="alpha", columns="dataset", values="text")[names]
    found, _, why = answer.partition(". ")
    return filled(
        "tool/plain_page.html.j2",
        title=title,
        style=part("page.css"),
        found=found,
        why=why,
        curve=CURVE,
        metrics=metrics,
        details=_details(record),
        heads=[(metrics[name], titles.get(name, name)) for name in names],
        rows=wide.itertuples(name=None),
        alpha=f"{record.recommended.alpha:g}",
        gains=gain_lines(gains, titles, shares),
        flips=flips,
        files=[path.name for path in links],
    )
