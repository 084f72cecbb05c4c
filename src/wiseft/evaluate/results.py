"""The files of an evaluation, and what of them may be kept when a grid or the views grow.

`metrics.json` holds ``{"format": 1, "dataset", "model", "reference", "method", "variant", "run",
"seed", "identity": {...}, "how": {"batch_size", "threads", "device", "device_type", "versions",
"commit", "machine": {"cpu", "vector_extension", "torch", "threads"}, "images": {split: digest},
"compile", "changed_predictions", "earlier"}, "views": {...}, "rows": [{"split", "view",
"combination", "alpha": "0.500", "metric", "value", "n", "n_correct", "groups"}],
"predictions_sha256", "sha256"}``. Combinations are `weight`, `output`, `softmax`, `random`. `n` of
the worst group is that group's, and `groups` has all; `n_correct` of macro F1 is null; `n` of
`all-frames-accuracy` counts base ids.

`predictions.parquet` holds `split, sample_id, base_id, label, group_*`, and five columns
`<combination>/<view>/<alpha>/{prediction,top1,top2,entropy,confidence}`: class (int32), two largest
logits, entropy in nats, largest probability (float32, over the view's classes). Also
`other_labels`, and `<view>/label` under another label map. Prediction -1 marks a sample outside the
view. In `softmax`, top1 and top2 are log-probabilities.

`logits.safetensors` beside the predictions
serves ensembles without another pass: tensors are fp16 (samples, the head's classes), named
`weight/<alpha>` or, where weights were not combined, `output/<alpha>`, in the order of the
predictions. The logits of the two ends are all that ensembles in the space of outputs need.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from wiseft.base.io import atomic_path, sha256_file, write_json
from wiseft.errors import DamagedFile, WiseftError
from wiseft.evaluate.views import COLUMNS, ResolvedView
from wiseft.images.index import OTHER_LABELS
from wiseft.images.store import Split
from wiseft.thetas import tensor_file
from wiseft.thetas.damage import read_metrics, with_sum
from wiseft.thetas.partial_tensors import PartialTensors

log = logging.getLogger(__name__)

FORMAT = 1
LOGITS = "logits.safetensors"
_KIND = "logits"
_BLOCK = 1024
"""Rows of logits that are copied at once."""
IMAGES = "images"
"""Key of `how`: the digest of the image files that were decoded, by split."""
_KEY = b"wiseft"
ROW_GROUP_BYTES = 16 * 2**20
"""Predictions of a row group: what is held at once when the file is written."""

_UNUSABLE = (
    WiseftError,
    OSError,
    pa.ArrowException,
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
)
"""What reading files of another form, or broken ones, may raise."""

Column = tuple[str, str, str]
"""combination, view, alpha"""


@dataclass
class Record:
    """The content of both files of one dataset.

    Attributes:
        identity: what all views depend on: weights, samples, settings.
        samples: sample columns in order (`split`, `sample_id`, `base_id`, `label`, `group_*`,
            `other_labels`).
        views: for each view what its numbers depend on besides the identity.
        labels: for each view with labels of its own int32 (samples,).
        rows: metrics by (split, combination, view, alpha).
        stored: the columns whose predictions an earlier file holds.
        how: batch size, threads, device and software of the pass that computed last, which are
            information only; the digest of its image files, by split; and `earlier` passes whose
            columns are kept, if their versions, commit or machine were others.
    """

    identity: dict[str, Any]
    samples: dict[str, pa.Array]
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    labels: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    rows: dict[tuple[str, str, str, str], dict[str, Any]] = field(default_factory=dict)
    stored: set[Column] = field(default_factory=set)
    how: dict[str, Any] = field(default_factory=dict)

    def has(self, columns: list[Column], splits: list[str]) -> bool:
        """Whether predictions and metrics of all these columns are there."""
        return all(
            column in self.stored and all((split, *column) in self.rows for split in splits)
            for column in columns
        )

    def drop(self, view: str) -> None:
        """Remove all that is known of a view."""
        self.views.pop(view, None)
        self.labels.pop(view, None)
        self.rows = {key: row for key, row in self.rows.items() if key[2] != view}
        self.stored = {column for column in self.stored if column[1] != view}


def write_record(
    folder: Path,
    record: Record,
    metadata: dict[str, Any],
    new: Sequence[Column] = (),
    computed: PartialTensors | None = None,
) -> None:
    """Write `predictions.parquet`, then `metrics.json` with both sums, each atomically.

    Args:
        metadata: dataset, model, reference, method, variant, run and seed.
        new: columns that were computed now; what else is stored is taken from the earlier file.
        computed: their predictions.
    """
    views = {name: record.views[name] for name in sorted(record.views)}
    definition = json.dumps({"identity": record.identity, "views": views}).encode()
    predictions = folder / "predictions.parquet"
    with atomic_path(predictions) as temporary, contextlib.ExitStack() as stack:
        writer = None
        for group in _row_groups(predictions, record, new, computed):
            table = group.replace_schema_metadata({_KEY: definition})
            if writer is None:
                writer = pq.ParquetWriter(temporary, table.schema, compression="zstd")
                stack.enter_context(writer)
            writer.write_table(table)
    splits = list(dict.fromkeys(record.samples["split"].to_pylist()))
    order = sorted(record.rows, key=lambda key: (splits.index(key[0]), *_column_order(key[1:])))
    rows = [record.rows[key] for key in order]
    kept = {"identity": record.identity, "how": record.how, "views": views, "rows": rows}
    content = {"format": FORMAT, **metadata, **kept}
    of_predictions = sha256_file(predictions)
    write_json(folder / "metrics.json", with_sum(content, predictions_sha256=of_predictions))


def _row_groups(
    earlier: Path, record: Record, new: Sequence[Column], computed: PartialTensors | None
) -> Iterator[pa.Table]:
    """Yield all columns, as many rows at a time as `ROW_GROUP_BYTES` holds of predictions."""
    whole = record.samples | {
        f"{n}/label": pa.array(record.labels[n]) for n in sorted(record.labels)
    }
    columns = sorted(record.stored | set(new), key=_column_order)
    kept = [name for column in columns if column not in new for name in names_of(column)]
    rows = max(1, ROW_GROUP_BYTES // (4 * len(COLUMNS) * max(len(columns), 1)))
    batches: Iterator[Any] = itertools.repeat({})
    if kept:
        batches = pq.ParquetFile(earlier).iter_batches(rows, columns=kept)
    for start in range(0, len(whole["split"]), rows):
        values = {name: each.slice(start, rows) for name, each in whole.items()}
        batch = next(batches)
        for column in columns:
            for name in names_of(column):
                if column in new:
                    assert computed is not None
                    values[name] = pa.array(computed.read(name, start, start + rows).numpy())
                else:
                    values[name] = batch[name]
        yield pa.table(values)


def names_of(column: Column) -> list[str]:
    """Return the names of a column's predictions in the file."""
    return [f"{'/'.join(column)}/{name}" for name in COLUMNS]


def prediction_shapes(columns: Sequence[Column], n: int) -> dict[str, Tensor]:
    """Return an example of each tensor of the predictions of n samples, by name."""
    return {
        name: torch.empty(n, dtype=dtype, device="meta")
        for column in columns
        for name, dtype in zip(names_of(column), COLUMNS.values(), strict=True)
    }


def read_record(folder: Path, wanted: Record, metadata: dict[str, Any]) -> Record:
    """Return the wanted record with what earlier files of the same identity hold.

    Views that are not wanted now are kept; one whose definition changed is not.

    Args:
        wanted: the identity, samples, views and labels that the files must have.
    """
    record = Record(wanted.identity, wanted.samples)
    if (folder / "metrics.json").exists() or (folder / "predictions.parquet").exists():
        try:
            record = _stored(folder, wanted, metadata)
        except _UNUSABLE as error:
            why = error.found if isinstance(error, DamagedFile) else error
            log.info(f"{metadata['dataset']}: can't use the files in {folder} ({why}); recomputing")
    record.views |= wanted.views
    record.labels |= wanted.labels
    return record


def _stored(folder: Path, wanted: Record, metadata: dict[str, Any]) -> Record:
    predictions = folder / "predictions.parquet"
    metrics = read_metrics(folder / "metrics.json", predictions)
    names = pq.read_schema(predictions).names
    few = [name for name in names if name.count("/") < 2]  # samples and labels
    table = pq.read_table(predictions, columns=few, memory_map=False)
    in_table = json.loads((table.schema.metadata or {}).get(_KEY, b"{}"))
    stored = {name: metrics[name] for name in ("format", "identity", *metadata)}
    expected = {"format": FORMAT, "identity": wanted.identity, **metadata}
    same = stored == expected and in_table.get("identity") == wanted.identity
    if not same or not all(
        table.column(name).combine_chunks().equals(values)
        for name, values in wanted.samples.items()
    ):
        log.info(
            f"{metadata['dataset']}: {folder} is of other weights, data or settings; recomputing"
        )
        return Record(wanted.identity, wanted.samples)
    record = _record_of(metrics, table, names, wanted)
    for name in _changed(record, in_table["views"], wanted):
        log.info(f"{metadata['dataset']}: view {name} is another than in {folder}; recomputing it")
        record.drop(name)
    return record


def _record_of(
    metrics: dict[str, Any], table: pa.Table, names: Sequence[str], wanted: Record
) -> Record:
    """Return the content of two files of the wanted identity and samples.

    Args:
        table: sample columns and labels.
        names: of all columns of the file.
    """
    record = Record(wanted.identity, wanted.samples, dict(metrics["views"]), how=metrics["how"])
    key = ("split", "combination", "view", "alpha")
    record.rows = {tuple(row[name] for name in key): row for row in metrics["rows"]}
    for name in table.column_names:
        if "/" in name:
            record.labels[name.partition("/")[0]] = np.array(table.column(name).to_numpy())
    keys = [tuple(name.split("/")[:3]) for name in names if name.count("/") == 3]
    record.stored = {(combination, view, alpha) for combination, view, alpha in keys}
    if absent := {name for column in record.stored for name in names_of(column)} - set(names):
        raise ValueError(f"column {min(absent)} is missing")
    if any(name.endswith("/inferred") for name in names):
        raise ValueError("they are of a sparse sweep, which there is no more")
    return record


def _changed(record: Record, in_table: Mapping[str, Any], wanted: Record) -> list[str]:
    """Return views that are not the same in both files, or not those that are wanted.

    A job that is killed between the two files leaves new predictions and old metrics.
    """
    in_files = {view for _, view, _ in record.stored} | {key[2] for key in record.rows}
    names = sorted(in_files | set(record.views) | set(in_table))
    return [
        name
        for name in names
        if name not in record.views
        or record.views[name] != in_table.get(name)
        or record.views[name] != wanted.views.get(name, record.views[name])
    ]


def _column_order(column: tuple[str, ...]) -> tuple[str, str, str]:
    """Sort by view, then weight before output, then alpha."""
    combination, view, alpha = column
    return view, "0" if combination == "weight" else combination, alpha


def sample_columns(splits: list[Split]) -> dict[str, pa.Array]:
    """Return `split`, `sample_id`, `base_id`, `label`, the groups and, where there are any, further
    right labels over all splits, in order.
    """
    columns: dict[str, list[Any]] = {
        "split": [split.name for split in splits for _ in split.sample_ids],
        "sample_id": [each for split in splits for each in split.sample_ids],
        "base_id": [each for split in splits for each in split.base_ids],
        "label": [each for split in splits for each in split.labels.tolist()],
    }
    for name in dict.fromkeys(name for split in splits for name in split.groups.columns):
        parts = [split.groups.get(name, [None] * len(split)) for split in splits]
        columns[name] = [each for part in parts for each in part]
    arrays = {name: pa.array(values, from_pandas=True) for name, values in columns.items()}
    if any(split.other_labels is not None for split in splits):
        others = [each for s in splits for each in s.other_labels or [[]] * len(s)]
        arrays[OTHER_LABELS] = pa.array(others, type=pa.list_(pa.int64()))
    return arrays


def metric_rows(
    column: Column, view: ResolvedView, splits: Sequence[Split], prediction: NDArray[np.int32]
) -> dict[tuple[str, str, str, str], dict[str, Any]]:
    """Return the metrics of a column's predictions (samples of all splits,), a row a split."""
    combination, name, alpha = column
    rows, offset = {}, 0
    for split in splits:
        outcome = view.measure(split.name, prediction[offset : offset + len(split)])
        offset += len(split)
        rows[split.name, *column] = {
            "split": split.name,
            "view": name,
            "combination": combination,
            "alpha": alpha,
            "metric": view.settings.metric,
            **vars(outcome),
        }
    return rows


def changed_images(splits: Sequence[Split], how: Mapping[str, Any]) -> str | None:
    """Return a split, by name, whose image files are others than `how` says; None: none is."""
    for split in splits:
        before = how.get(IMAGES, {}).get(split.name)
        if before and split.seen and split.seen.look() not in ("", before):
            return f"{split.dataset}, split {split.name}"
    return None


def image_digests(splits: Sequence[Split], kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `how` says of the images that were decoded: their digest, where it is known.

    Args:
        kept: `how` of an earlier pass of which columns are kept; empty for none.

    Raises:
        WiseftError: if that pass saw other images.
    """
    found = {s.name: digest for s in splits if s.seen and (digest := s.seen.finish())}
    before = kept.get(IMAGES, {})
    if changed := [name for name in found if before.get(name, found[name]) != found[name]]:
        raise WiseftError(
            f"images of {splits[0].dataset}, split {changed[0]}, changed while they were "
            "evaluated; run the evaluation again"
        )
    return {IMAGES: found} if found else {}


def earlier_passes(kept: Mapping[str, Any], how: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `how` says of earlier passes that had other software or another machine, each
    way once.

    Args:
        kept: `how` of the pass before, of which columns are kept; empty for none.
        how: of this pass.
    """
    before = {key: kept[key] for key in ("versions", "commit", "machine") if key in kept}
    passes: list[dict[str, Any]] = []
    for way in (*kept.get("earlier", ()), before):
        if way not in passes and any(how[key] != way[key] for key in way):
            passes.append(way)
    return {"earlier": passes} if passes else {}


def as_stored(logits: Tensor) -> Tensor:
    """Return logits as fp16; raise WiseftError if one is beyond what that holds."""
    half = logits.to(torch.float16)
    if bool((half.isinf() & logits.isfinite()).any()):
        raise WiseftError(
            f"a logit is beyond the {torch.finfo(torch.float16).max:g} that fp16 holds; leave "
            "out --logits"
        )
    return half


def write_logits(
    path: Path, shapes: Mapping[str, Tensor], evaluation: Mapping[str, Any], partial: PartialTensors
) -> None:
    """Write the logits that an evaluation has put together.

    Args:
        shapes: an example of each tensor, by name.
        evaluation: what the logits are of: `dataset` and `identity`.
    """
    with tensor_file.tensor_writer(path, shapes, {"kind": _KIND, **evaluation}) as file:
        for name, like in shapes.items():
            for start in range(0, len(like), _BLOCK):
                file.write(name, partial.read(name, start, start + _BLOCK), start)


def stored_alphas(path: Path, evaluation: Mapping[str, Any]) -> list[str]:
    """Return the alphas whose logits are there already, of the same weights and samples."""
    try:
        header = tensor_file.read_file_header(path, "logits")
        expected = {"format": tensor_file.FORMAT, "kind": _KIND, **evaluation}
        if header != {**expected, tensor_file.TENSORS_SUM: header[tensor_file.TENSORS_SUM]}:
            return []
        return [name.partition("/")[2] for name in tensor_file.StoredTensors(path)]
    except WiseftError:
        return []
