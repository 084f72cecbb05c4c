"""Names that are put together: of runs, and of averages in the tidy table."""

from __future__ import annotations

from wiseft.errors import WiseftError

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
