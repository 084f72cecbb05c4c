"""Several sweeps on one page, compared on the images or samples that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from wiseft.base.alphas import format_alpha
from wiseft.base.names import last_names
from wiseft.base.templates import signed
from wiseft.errors import WiseftError
from wiseft.figures.page import PageSettings, build_page
from wiseft.tabulate.intervals import paired
from wiseft.tool.flips import PREDICTION
from wiseft.tool.record import PAGE, PREDICTIONS, REFERENCE, TEST, ImageSet, Result


def page_of(folders: Sequence[Path], output: Path) -> str:
    """Return a page of several sweeps, a curve each, which leads with what the others gain over
    the first, image by image or sample by sample, each at the alpha of its model.

    Args:
        folders: of `wiseft sweep`, two or more, all of images or all with one evaluation.
        output: where the page will lie.

    Raises:
        WiseftError: if a folder is of no sweep, one is given twice, or two share no labelled shift
            or not the images of the reference, or a program reported no samples that are right or
            wrong.
    """
    names = last_names(folders)
    sweeps = {name: Result.read(path) for name, path in zip(names, folders, strict=True)}
    if len(sweeps) < 2:
        raise WiseftError("a comparison needs two folders of `wiseft sweep` that differ")
    shared = _shared(sweeps)
    # An average is of all shifts of a sweep, and so of none where sweeps have further ones.
    tables = [
        result.table[result.table["dataset"].isin(shared)].assign(method=f"{name}/")
        for name, result in sweeps.items()
    ]
    others = sorted({each.name for one in sweeps.values() for each in one.record.sets} - {*shared})
    left_out = f" Not in all of them, and so not here: {', '.join(others)}." if others else ""
    samples = "samples" if any(each.record.evaluate for each in sweeps.values()) else "images"
    settings = PageSettings(
        experiment="sweeps",
        title=" and ".join(names),
        says=_over(names[0], sweeps, shared),
        about=f"Each curve is a sweep on the same {samples}.{left_out}",
        reference=REFERENCE,
        datasets=[name for name in shared if name != REFERENCE],
        samples=samples,
    )
    links = [result.folder / PAGE for result in sweeps.values()]
    return build_page(pd.concat(tables, ignore_index=True), settings, output, links)


def _shared(sweeps: Mapping[str, Result]) -> list[str]:
    """Return the names of the sets of which all sweeps have the same images, right or wrong."""

    def known(result: Result) -> dict[tuple[str, str], ImageSet]:
        rows = pd.read_parquet(result.folder / PREDICTIONS, columns=["set", "label"])
        right_or_wrong = {*rows.loc[rows["label"].notna(), "set"]}
        sets = (each for each in result.record.sets if each.name in right_or_wrong)
        return {(each.name, each.sha256): each for each in sets}

    first, *others = map(known, sweeps.values())
    shared = [name for name, sha in first if all((name, sha) in each for each in others)]
    if REFERENCE not in shared or len(shared) < 2:
        raise WiseftError(
            f"the sweeps {', '.join(sweeps)} share {', '.join(shared) or 'no images'}, but a page "
            "needs the images of the reference, split alike, and a labelled shift: sweep them with "
            "the same --reference, --seed and --shift. An evaluation of your own must report "
            "samples with scores 0 and 1; else compare the tables, OUT/table.csv"
        )
    return shared


def _over(first: str, sweeps: Mapping[str, Result], shared: Sequence[str]) -> str:
    """Return what the other sweeps' models gain over the first's, a sentence each."""
    alphas = {name: result.record.recommended.alpha for name, result in sweeps.items()}
    frames = {}
    for name, result in sweeps.items():
        frame = pd.read_parquet(result.folder / PREDICTIONS)
        frame = frame[frame["split"] == TEST].set_index(["set", "image"]).sort_index()
        frames[name] = frame[f"{PREDICTION}{format_alpha(alphas[name])}"] == frame["label"]
    said = []
    for other in (name for name in sweeps if name != first):
        parts = []
        for each in shared:
            right = [frames[name].xs(each).to_numpy(bool) for name in (first, other)]
            found = paired(right[0], right[1])
            ends = f"[{100 * found.ci_low:.1f}, {100 * found.ci_high:.1f}]".replace("-", "−")
            parts.append(f"{signed(100 * found.difference)} points {ends} on {each}")
        said.append(
            f"{other} at α = {alphas[other]:g} over {first} at α = {alphas[first]:g}: "
            f"{', '.join(parts)}."
        )
    return " ".join(said)
