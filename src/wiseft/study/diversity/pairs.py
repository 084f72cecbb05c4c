"""Two evaluated runs, or the two ends of one -> their measures on every dataset.

Right and wrong, classes and margins are those of the predictions files, in full precision; the
measures of whole outputs take the stored logits. Both are seen in the primary view of a dataset,
so through its label map where it has one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from wiseft.base.alphas import format_alpha
from wiseft.base.io import write_json
from wiseft.base.metrics import OUTSIDE, Truth, pairs_of
from wiseft.base.stages import VERSION
from wiseft.errors import DamagedFile, WiseftError
from wiseft.evaluate.passes import FIRST, LAST, OUTPUT, WEIGHT
from wiseft.evaluate.results import LOGITS, stored_alphas
from wiseft.evaluate.spaces import Head, Projection, own_projection
from wiseft.images.store import Manifest, open_manifest
from wiseft.study.diversity import measures
from wiseft.study.diversity.measures import Share
from wiseft.thetas.damage import read_metrics, with_sum
from wiseft.thetas.tensor_file import open_tensors, read_file_header

log = logging.getLogger(__name__)

FORMAT = 1
ZERO_SHOT = "zero-shot"
RUN_FIELDS = ("model", "reference", "method", "variant", "run", "seed")


@dataclass(frozen=True)
class Pair:
    """Two classifiers f and g.

    Attributes:
        second: folder of the evaluation of a run; g is its fine-tuned end.
        first: the same of another run, whose fine-tuned end is f; None: f is the zero-shot end
            of `second`, and the two also make an ensemble.
        alpha: of that ensemble.
    """

    second: Path
    first: Path | None = None
    alpha: str = "0.500"


@dataclass(frozen=True)
class _Side:
    """What one classifier gives for the samples of a view.

    Attributes:
        samples: text (n,), ids in order.
        right: bool (n,).
        predicted: int32 (n,).
        margin: how far the largest logit is from the second one, on average.
        both: int32 (n,), predictions of the ensemble with the other end; None without one.
        logits: float32 (n, classes of the view).
    """

    samples: NDArray[np.str_]
    right: NDArray[np.bool_]
    predicted: NDArray[np.int32]
    margin: float
    both: NDArray[np.int32] | None
    logits: NDArray[np.float32]


def measure_pair(
    pair: Pair,
    manifests: Sequence[Path],
    views: dict[str, str],
    reference: Path,
    split: str,
    output_dir: Path,
) -> list[Path]:
    """Write `<output_dir>/<dataset>.json` for every dataset and return the files.

    Args:
        manifests: of the datasets.
        views: the view of each of them, by name; `all` where there is none.
        reference: manifest of the dataset whose classes the heads predict.

    Raises:
        WiseftError: if files are missing, or logits were not stored or are of another evaluation
            than the predictions.
        DamagedFile: if files are damaged, or the two saw other samples.
    """
    known = open_manifest(reference)
    head = Head(known.class_names, known.dataset)
    written = []
    for manifest in map(open_manifest, manifests):
        view = views.get(manifest.dataset, "all")
        content = _measure(pair, manifest, head, view, split)
        written.append(output_dir / f"{manifest.dataset}.json")
        write_json(written[-1], with_sum(content))
        texts = [f"{row['metric']} {row['value']:.4f}" for row in content["rows"] if row["value"]]
        log.info(f"diversity: {manifest.dataset}: {', '.join(texts)}")
    return written


def _measure(pair: Pair, manifest: Manifest, head: Head, view: str, split: str) -> dict[str, Any]:
    """Return the content of the file of one dataset."""
    projection = own_projection(manifest, head)
    folder = pair.second / manifest.dataset
    other = folder if pair.first is None else pair.first / manifest.dataset
    alphas = (FIRST if pair.first is None else LAST, LAST)
    ensemble = format_alpha(pair.alpha) if pair.first is None else None
    files = [(here / "metrics.json", here / "predictions.parquet") for here in (other, folder)]
    firsts, metrics = (read_metrics(*both) for both in files)
    f = _read(other, firsts, alphas[0], ensemble, view, split, projection)
    g = _read(folder, metrics, alphas[1], None, view, split, projection)
    if not np.array_equal(f.samples, g.samples):
        raise DamagedFile(
            f"{other} and {folder} are about other samples of {manifest.dataset}",
            *files[0],
            *files[1],
        )
    first = ZERO_SHOT
    if pair.first is not None:
        first = "__".join(filter(None, (firsts["method"], firsts["variant"])))
    return {
        "format": FORMAT,
        "dataset": manifest.dataset,
        **{name: metrics[name] for name in RUN_FIELDS},
        "first": first,
        "view": view,
        "split": split,
        "stage_version": VERSION["diversity"],
        "rows": _rows(f, g, ensemble),
    }


def _rows(f: _Side, g: _Side, alpha: str | None) -> list[dict[str, Any]]:
    """Return a row for every measure; values that are not known are null."""
    n = len(f.right)
    rows = [
        _share("prediction-diversity", measures.prediction_diversity(f.right, g.right)),
        _row("kappa-complement", measures.kappa_complement(f.predicted, g.predicted), n),
        _row("kl-divergence", measures.kl_divergence(f.logits, g.logits), n),
        _row("cka-complement", measures.cka_complement(f.logits, g.logits), n),
        _row("margin-difference", f.margin - g.margin, n),
    ]
    if f.both is not None:
        shares = measures.overrides(f.predicted, g.predicted, f.both)
        names = ("overrides", "overridden")
        rows += [_share(*pair) | {"alpha": alpha} for pair in zip(names, shares, strict=True)]
    return rows


def _row(metric: str, value: float, n: int) -> dict[str, Any]:
    known = value if math.isfinite(value) else None
    return {"metric": metric, "alpha": None, "value": known, "n": n, "n_correct": None}


def _share(metric: str, share: Share) -> dict[str, Any]:
    return _row(metric, share.value, share.n) | {"n_correct": share.n_correct}


def _read(
    folder: Path,
    metrics: dict[str, Any],
    alpha: str,
    ensemble: str | None,
    view: str,
    split: str,
    projection: Projection | None,
) -> _Side:
    """Return one classifier's side of a dataset, sorted by sample id."""
    path = folder / "predictions.parquet"
    frame, space = _predictions(path, view, alpha, ensemble)
    rows = np.flatnonzero((frame["split"] == split) & (frame["prediction"] != OUTSIDE))
    if not len(rows):
        raise WiseftError(f"{path} has no sample of split {split} in view {view}")
    rows = rows[np.argsort(frame["sample_id"].to_numpy(dtype=str)[rows], kind="stable")]
    here = frame.iloc[rows]
    others: Any = here["other_labels"] if "other_labels" in frame else None
    truth = Truth(here["label"].to_numpy(np.int64), here["base_id"].to_numpy(str), pairs_of(others))
    predicted = here["prediction"].to_numpy(np.int32)
    largest, second = (here[name].to_numpy(np.float32) for name in ("top1", "top2"))
    return _Side(
        samples=here["sample_id"].to_numpy(str),
        right=truth.right(predicted),
        predicted=predicted,
        margin=measures.margin(largest, second),
        both=here["both"].to_numpy(np.int32) if ensemble is not None else None,
        logits=_logits(folder, metrics, f"{space}/{alpha}", rows, len(frame), projection),
    )


def _predictions(
    path: Path, view: str, alpha: str, ensemble: str | None
) -> tuple[pd.DataFrame, str]:
    """Return the samples with what is predicted of them, and the combination that is looked at:
    outputs only where weights were not combined.
    """
    try:
        there: list[str] = pq.read_schema(path).names
    except pa.ArrowException as error:
        metrics = path.with_name("metrics.json")
        raise DamagedFile(f"{path} cannot be read ({error})", metrics, path) from None
    spaces = {name.partition("/")[0] for name in there if "/" in name}
    space = OUTPUT if OUTPUT in spaces and WEIGHT not in spaces else WEIGHT
    names = {what: f"{space}/{view}/{alpha}/{what}" for what in ("prediction", "top1", "top2")}
    if ensemble is not None:
        names["both"] = f"{space}/{view}/{ensemble}/prediction"
    needed = ["split", "sample_id", "base_id", "label", *names.values()]
    missing = [name for name in needed if name not in there]
    if missing:
        raise WiseftError(
            f"{path} lacks {missing[0]}; evaluate the run at both ends and, for an ensemble, at "
            "its alpha"
        )
    more = ["other_labels"] if "other_labels" in there else []
    frame = pq.read_table(path, columns=[*needed, *more]).to_pandas()
    return frame.assign(**{what: frame[column] for what, column in names.items()}), space


def _logits(
    folder: Path,
    metrics: dict[str, Any],
    name: str,
    rows: NDArray[np.int64],
    n: int,
    projection: Projection | None,
) -> NDArray[np.float32]:
    """Return the stored logits of some rows of the predictions, in the view's classes."""
    path, alpha = folder / LOGITS, name.partition("/")[2]
    evaluation = {"dataset": metrics["dataset"], "identity": metrics["identity"]}
    if path.is_file():
        read_file_header(path, "logits")  # says what is damaged; below, that nothing is stored
    if alpha not in stored_alphas(path, evaluation):
        raise WiseftError(
            f"{path} has no logits at alpha {alpha} of the evaluation beside it; evaluate the run "
            f"with --logits {FIRST},{LAST}"
        )
    stored = open_tensors(path, "logits")[0][name]
    if len(stored) != n:
        raise DamagedFile(
            f"{path} has logits of {len(stored)} samples, but the predictions beside it are of {n}",
            path,
        )
    chosen = stored[torch.from_numpy(rows)].float()
    return np.asarray((projection(chosen) if projection else chosen).numpy())
