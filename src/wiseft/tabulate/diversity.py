"""Measures of diversity as rows of the tidy table.

They are about two classifiers. A row belongs to the run of the second one, and `combination` is
`pair-with-<first>`, e.g. `pair-with-zero-shot`. They are no point of a sweep: `selection` is empty,
and `alpha` is that of the ensemble where the measure is about one, else null.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from wiseft.errors import DamagedFile
from wiseft.tabulate.inputs import RUN_FIELDS
from wiseft.tabulate.intervals import CLOPPER_PEARSON, clopper_pearson
from wiseft.tabulate.schema import TABLE, conform
from wiseft.thetas.damage import read_checked

PAIR_PREFIX = "pair-with-"
FORMAT = 1
_FIELDS = (*RUN_FIELDS, "dataset", "view", "split")


def diversity_rows(files: Sequence[Path], experiment: str) -> pd.DataFrame:
    """Return the rows of files that `wiseft diversity` wrote.

    Shares of samples get Clopper and Pearson's interval, the other measures none.

    Raises:
        WiseftError: if a file is missing.
        DamagedFile: if one is broken, damaged or of another format.
    """
    rows = [row for path in files for row in _rows_of(path)]
    frame = pd.DataFrame(rows).reindex(columns=list(TABLE))
    frame = frame.assign(source="measured", experiment=experiment, selection="", ci_method="")
    frame["alpha"] = frame["alpha"].astype(float)
    counted = frame["n_correct"].notna() & (frame["n"] > 0)
    low, high = clopper_pearson(
        frame.loc[counted, "n_correct"].to_numpy(float), frame.loc[counted, "n"].to_numpy(float)
    )
    frame[["ci_low", "ci_high"]] = float("nan")
    frame.loc[counted, "ci_low"], frame.loc[counted, "ci_high"] = low, high
    frame.loc[counted, "ci_method"] = CLOPPER_PEARSON
    return conform(frame, TABLE)


def _rows_of(path: Path) -> list[dict[str, Any]]:
    content = read_checked(path, "measures of diversity")
    if content.get("format") != FORMAT:
        raise DamagedFile(f"{path} is no file of measures of diversity, format {FORMAT}", path)
    missing = [name for name in (*_FIELDS, "first", "rows") if name not in content]
    if missing:
        raise DamagedFile(f"{path} lacks {', '.join(missing)}", path)
    shared = {name: content[name] for name in _FIELDS}
    shared["combination"] = PAIR_PREFIX + str(content["first"])
    return [shared | row for row in content["rows"]]
