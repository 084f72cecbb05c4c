"""Rows of metrics; those of a sparse sweep say how far it may be from the exact one: an audit.

Of the predictions that were inferred, some were run all the same, each with the same probability.
One alpha has too few of them to say much about it alone, so the audited predictions of all alphas
of a split and view are taken together: the share that is right where the inferred one was wrong,
and the other way round. Either has the upper end of Clopper-Pearson's 95 % interval. What is not
audited at an alpha times these shares is the estimate of that accuracy's error, which has no bias
on the average over the alphas, and its interval.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wiseft.base.metrics import OUTSIDE, Truth
from wiseft.evaluate.results import Column, Record, names_of
from wiseft.evaluate.views import ResolvedView
from wiseft.images.store import Split
from wiseft.thetas.partial_tensors import PartialTensors

log = logging.getLogger(__name__)


def metric_rows(
    column: Column,
    view: ResolvedView,
    splits: Sequence[Split],
    partial: PartialTensors,
    inferred: bool,
) -> dict[tuple[str, str, str, str], dict[str, Any]]:
    """Return the metrics of a column's predictions, a row a split.

    Args:
        inferred: whether some of them are; the rows then have an audit's counts.
    """
    prediction = partial.read(names_of(column)[0]).numpy()
    ran, claimed = _audited(column, partial) if inferred else (prediction, prediction)
    combination, name, alpha = column
    rows, offset = {}, 0
    for split in splits:
        here = slice(offset, offset + len(split))
        outcome = view.measure(split.name, prediction[here])
        rows[split.name, *column] = {
            "split": split.name,
            "view": name,
            "combination": combination,
            "alpha": alpha,
            "metric": view.settings.metric,
            "value": outcome.value,
            "n": outcome.n,
            "n_correct": outcome.n_correct,
            "groups": outcome.groups,
        }
        if inferred:
            covered = np.flatnonzero(prediction[here] != OUTSIDE) + offset
            of = (each[covered] for each in (prediction, claimed, ran))
            rows[split.name, *column]["audit"] = _counts(view.truths[split.name], *of)
        offset += len(split)
    return rows


def _audited(column: Column, partial: PartialTensors) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Return which samples were run, bool (n,), and what was inferred, (n,)."""
    names = names_of(column, inferred=True)
    return ~np.isnan(partial.read(names[1]).numpy()), partial.read(names[-1]).numpy()


def passes(columns: Iterable[Column], partial: PartialTensors) -> float:
    """Return how many passes over all samples some columns took that are inferred in part."""
    run: dict[str, Any] = {}
    for column in columns:
        ran, inferred = _audited(column, partial)
        # What a view does not cover has no logits there, and nothing is inferred of it.
        run[column[2]] = run.get(column[2], True) & (ran | (inferred == OUTSIDE))
    return float(sum(each.mean() for each in run.values()))


def conclude(record: Record) -> None:
    """Complete the audits of all rows, and say what they say."""
    audits: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for (split, _, view, _), row in sorted(record.rows.items()):
        if "audit" in row:
            audits.setdefault((split, view), []).append(row)
    for (split, view), rows in audits.items():
        _add_errors(rows)
        of = {name: sum(row["audit"][name] for row in rows) for name in rows[0]["audit"]}
        mean = 100 * of["error"] / len(rows)
        low = 100 * min(row["audit"]["ci_low"] for row in rows)
        high = 100 * max(row["audit"]["ci_high"] for row in rows)
        log.info(
            f"audit of {split}, view {view}: of {of['skipped'] + of['audited']:,} predictions that "
            f"were inferred, {of['audited']:,} were run: {of['better']} became right and "
            f"{of['worse']} wrong. Exact accuracies are estimated to differ from these by "
            f"{mean:+.2f} points on average, and by {low:+.2f} to {high:+.2f} at most (95 %)"
        )


def _counts(
    truth: Truth, prediction: NDArray[Any], inferred: NDArray[Any], ran: NDArray[Any]
) -> dict[str, Any]:
    """Return the counts of an audit at one alpha.

    Args:
        prediction: int32 (n,), all of which the view covers.
        inferred: int32 (n,), `OUTSIDE` where nothing was inferred.
        ran: bool (n,), whether there is a pass behind the prediction.

    Returns:
        `skipped`: inferred and not run; `audited`: inferred and run; of these `better` and `worse`:
        right where the inferred one was wrong, and the other way round.
    """
    there = inferred != OUTSIDE
    right = truth.right(prediction).astype(int)
    change = right - truth.right(np.where(there, inferred, prediction))
    return {
        "skipped": int((there & ~ran).sum()),
        "audited": int((there & ran).sum()),
        "better": int((change > 0).sum()),
        "worse": int((change < 0).sum()),
    }


def _add_errors(rows: Sequence[dict[str, Any]]) -> None:
    """Add to the audits of one split and view what exact accuracies are estimated to be above the
    rows' values (`error`), and its interval (`ci_low`, `ci_high`).

    Args:
        rows: of metrics, each with the counts of its alpha under `audit`.
    """
    audited, better, worse = (
        sum(row["audit"][name] for row in rows) for name in ("audited", "better", "worse")
    )
    low, high = (_upper(count, audited) for count in (worse, better))
    for row in rows:
        share = row["audit"]["skipped"] / row["n"]
        row["audit"] |= {
            "error": share * (better - worse) / max(audited, 1),
            "ci_low": -share * low,
            "ci_high": share * high,
        }


def _upper(k: int, n: int) -> float:
    """Return the upper end of Clopper-Pearson's 95 % interval of k of n; 1 where n is 0."""
    from scipy.stats import binomtest  # half a second, which only a sparse sweep takes

    return float(binomtest(k, n).proportion_ci(method="exact").high) if n else 1.0
