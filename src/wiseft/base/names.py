"""Names that are put together: of runs, and of averages in the tidy table; some of methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wiseft.errors import WiseftError

BASELINE_METHOD = "from-scratch"

SEARCHES = ("search-none", "search-weight-decay", "search-l1", "search-label-smoothing")
"""Variants of the linear classifier whose best stands for the paper's, which is the best of a
random search over all of them (appendix D.3); without any of them the plain one stands for it."""


def split_run_name(run: str) -> tuple[str, str, str, str]:
    """Return model, reference, method and variant (empty for none) of a run's name.

    Raises:
        WiseftError: if the name has not three or four parts.
    """
    parts = run.split("__")
    if len(parts) not in (3, 4) or not all(parts):
        raise WiseftError(
            f"run {run!r} is not of the form <model>__<reference>__<method>[__<variant>]"
        )
    model, reference, method, *variant = parts
    return model, reference, method, variant[0] if variant else ""


AVERAGE_PREFIX = "avg:"
"""Stands before the name of an average where datasets are named."""


def last_names(paths: Sequence[Path]) -> list[str]:
    """Return the last names of paths, or the whole paths where these are not unique.

    Raises:
        WiseftError: if a path is given twice.
    """
    names = [path.resolve().name for path in paths]
    names = names if len(set(names)) == len(names) else [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise WiseftError(f"{next(n for n in names if names.count(n) > 1)} is given twice")
    return names
