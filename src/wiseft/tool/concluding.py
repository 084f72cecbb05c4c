"""From measured sets to statistics and choices: what all sweeps have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from wiseft.foreign.adapters import sums_of
from wiseft.foreign.door import Opened
from wiseft.foreign.named import origin
from wiseft.tabulate.schema import AVERAGE_PREFIX
from wiseft.tabulate.settings import Bootstrap, HeldOut, TabulateSettings
from wiseft.tool.record import (
    BEST,
    FIXED,
    GIVEN,
    HELD_OUT,
    ONE_ERROR,
    REFERENCE,
    TEST,
    Accuracy,
    End,
    ImageSet,
)

SHIFTS = "shifts"
"""Name of the average of two labelled shifts or more."""
RESAMPLES = 1000


def run_of(method: str, seed: int) -> dict[str, Any]:
    """Return what tells the one run of a sweep, as metrics files have it."""
    run = {"model": "model", "reference": REFERENCE, "method": method, "variant": ""}
    return run | {"run": f"model__{REFERENCE}__{method}", "seed": seed}


def table_settings(
    sets: Sequence[ImageSet], grid: Sequence[str], seed: int, fixed: float, average: bool = True
) -> TabulateSettings:
    """Return how a sweep's tables are made.

    Args:
        sets: those without labels are left out.
        grid: alphas.
        seed: of the bootstrap.
        fixed: alpha that is compared with both ends.
        average: whether shifts have an average, if there are several.
    """
    shifts = [each.name for each in sets if each.labelled and each.role == "shift"]
    return TabulateSettings(
        averages={SHIFTS: shifts} if len(shifts) > 1 and average else {},
        held_out=HeldOut(dataset=REFERENCE, split=HELD_OUT),
        test_split=TEST,
        reference=REFERENCE,
        bootstrap=Bootstrap(resamples=RESAMPLES, seed=seed),
        alphas=[float(alpha) for alpha in grid],
        fixed_alpha=fixed,
        kept=[each.name for each in sets if each.role == "kept"],
    )


def table_choices(table: pd.DataFrame, given: str | None) -> dict[str, float]:
    """Return alpha by the way of choosing it, the user's own first."""
    choices = {} if given is None else {GIVEN: float(given)}
    rows = table[table["dataset"] == REFERENCE].set_index("selection")["alpha"]
    return choices | {name: float(rows[name].iloc[0]) for name in (FIXED, BEST, ONE_ERROR)}


def accuracies(table: pd.DataFrame) -> list[Accuracy]:
    """Return the rows of the grid, without averages, as the record has them."""
    own = ~table["dataset"].str.startswith(AVERAGE_PREFIX) & (table["selection"] == "grid")
    names = ["split", "alpha", "metric", "value", "n", "n_correct", "ci_low", "ci_high"]
    rows = table[own].rename(columns={"dataset": "set"})[["set", *names]]
    rows = rows.astype(object).where(rows.notna(), None)
    return [Accuracy.model_validate(row) for row in rows.to_dict("records")]


def end_of(end: Opened, given: Path | str, sums: Mapping[str, str] | None = None) -> End:
    """Return what the record says of a checkpoint.

    Args:
        given: what the user called it.
        sums: of its files by name, where they are known.
    """
    path, config = end.path, end.checkpoint.config
    name = config.get("_name_or_path") or config.get("hf_hub_id")
    said = name if isinstance(name, str) and name else None
    source = origin(path)
    return End(
        path=str(Path(given)),
        kind=end.checkpoint.kind,
        sha256=dict(sums or sums_of(path)),
        base_model=source.get("repository", said),
        revision=source.get("revision"),
    )
