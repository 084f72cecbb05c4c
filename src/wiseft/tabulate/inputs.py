"""Metrics and predictions of all runs, read together and held against each other."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wiseft.base.alphas import format_alpha
from wiseft.base.io import read_json, require_file
from wiseft.errors import DamagedFile, WiseftError
from wiseft.tabulate.bootstrap import Statistic
from wiseft.tabulate.predictions import PER_SAMPLE, Cell, Place, ViewDefinition, read_predictions
from wiseft.tabulate.roles import renamed
from wiseft.tabulate.settings import TabulateSettings
from wiseft.thetas.damage import damage_of, read_metrics

RUN_FIELDS = ("model", "reference", "method", "variant", "run", "seed")
ROW_FIELDS = ("split", "view", "combination", "alpha", "metric", "value", "n", "n_correct")
METRICS_FORMAT = 1
_SAMPLES = operator.attrgetter(
    *("sample_ids", "clusters", "truth.base_ids", "truth.labels", "truth.others", "truth.groups")
)
"""What two runs must have alike in a cell: arrays, or None."""


@dataclass(frozen=True)
class Inputs:
    """All that the tables are made from.

    Attributes:
        metrics: one row a metrics row; RUN_FIELDS, `dataset`, ROW_FIELDS (alpha as text).
        cells: the primary view of every dataset's test split, every place whose intervals are no
            exact ones, and the held-out images where these say which settings are admissible.
        statistics: of places without predictions: scores, or no more than the metric.
    """

    metrics: pd.DataFrame
    cells: dict[Place, Cell]
    statistics: dict[Place, Statistic] = field(default_factory=dict)


def read_inputs(
    metrics: Sequence[Path], predictions: Sequence[Path], settings: TabulateSettings
) -> Inputs:
    """Read and check metrics and predictions; a metrics file's predictions lie beside it.

    Rows of alphas, combinations and views that the experiment does not name are left out. The
    reference's splits have the roles that the settings give them.

    Raises:
        WiseftError: if a file is missing or given twice; a metrics file has no predictions beside
            it or the other way round; two metrics files cover the same run, seed and dataset.
        DamagedFile: if a file is broken or damaged, or a number differs from the one recomputed
            from the predictions: of both files; of four, if two runs saw other samples or images.
    """
    beside = _pair(metrics, predictions)
    frames: list[pd.DataFrame] = []
    cells: dict[Place, Cell] = {}
    covered: set[tuple[str, int, str]] = set()
    first_of: dict[Place, Path] = {}
    images: dict[tuple[str, str], tuple[str, Path]] = {}
    for path in sorted(beside):
        require_file(beside[path], "predictions file")
        require_file(path, "metrics file")
        with damage_of(path, beside[path]):
            head, rows, here = _read_pair(path, beside[path], settings)
        dataset, run, seed = head["dataset"], head["run"], head["seed"]
        frames.append(rows)
        for split, digest in head["images"].items():
            expected, first = images.setdefault((dataset, split), (digest, path))
            if digest != expected:
                found = f"{path} is of other images of {dataset}, split {split}, than {first}"
                raise DamagedFile(found, path, beside[path], first, beside[first])
        if (run, seed, dataset) in covered:
            raise WiseftError(
                f"{path} covers run {run}, seed {seed}, dataset {dataset}, as another "
                "metrics file does; give one metrics file for each"
            )
        covered.add((run, seed, dataset))
        for place, cell in here.items():
            counted = cell.counted()
            primary = (settings.test_split, settings.view_of(place.dataset))
            if place[1:] == primary or not counted.exact or place == settings.tuned_on:
                first = first_of.setdefault(place, path)
                # Nothing says which of the two is wrong.
                with damage_of(path, beside[path], first, beside[first]):
                    _check_same(path, first, place, cells.setdefault(place, counted), counted)
                cells[place].predictions.update(counted.predictions)
                cells[place].certainty.update(counted.certainty)
    return Inputs(pd.concat(frames, ignore_index=True), cells)


def _read_pair(
    path: Path, predictions: Path, settings: TabulateSettings
) -> tuple[dict[str, Any], pd.DataFrame, dict[Place, Cell]]:
    """Return what one metrics file is about, its rows that are asked for, and their samples."""
    content = read_metrics(path, predictions)
    try:
        head, rows, definitions = _parse_metrics(path, content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WiseftError(f"{path} has not the form of metrics ({error!r})") from None
    dataset = head["dataset"]
    if settings.grid is not None:
        rows = rows[rows["alpha"].isin(settings.grid)]
    if settings.combinations is not None:
        rows = rows[rows["combination"].isin(settings.combinations)]
    rows = rows[[settings.has_view(dataset, view) for view in rows["view"]]]
    cluster = settings.clusters.get(dataset)
    cells = read_predictions(predictions, rows, definitions, cluster, settings.unlabelled)
    for place, cell in cells.items():
        _check_numbers(path, predictions, rows, place, cell)
    roles = settings.roles
    cells = {Place(*roles.get(at[:2], at[:2]), at.view): cell for at, cell in cells.items()}
    return head, renamed(rows, roles), cells


def _pair(metrics: Sequence[Path], predictions: Sequence[Path]) -> dict[Path, Path]:
    """Return the predictions file of each metrics file."""
    if not metrics:
        raise WiseftError("no metrics file was given; give those of at least one run")
    folders = {path.parent: path for path in predictions}
    for paths, what in ((metrics, "metrics"), (predictions, "predictions")):
        if len({path.parent for path in paths}) < len(paths):
            raise WiseftError(f"two {what} files of the same folder were given; give one a folder")
    for path in metrics:
        if path.parent not in folders:
            raise WiseftError(
                f"no predictions were given for {path}; give the predictions.parquet beside it"
            )
    for path in predictions:
        if path.parent not in {other.parent for other in metrics}:
            raise WiseftError(f"no metrics were given for {path}; give the metrics.json beside it")
    return {path: folders[path.parent] for path in metrics}


def _parse_metrics(
    path: Path, content: dict[str, Any]
) -> tuple[dict[str, Any], pd.DataFrame, dict[str, ViewDefinition]]:
    if content.get("format") != METRICS_FORMAT:
        raise WiseftError(f"{path} is not a metrics file of format {METRICS_FORMAT}")
    missing = [name for name in ("dataset", *RUN_FIELDS, "rows") if name not in content]
    if missing:
        raise WiseftError(f"{path} lacks {', '.join(missing)}")
    rows = content["rows"]
    if not rows:
        raise WiseftError(f"{path} has no rows")
    lacking = sorted({name for row in rows for name in ROW_FIELDS if name not in row})
    if lacking:
        raise WiseftError(f"rows of {path} lack {', '.join(lacking)}")
    if any("audit" in row for row in rows):
        raise WiseftError(
            f"{path} is of a sparse sweep, which ran some predictions only; evaluate it again"
        )
    head = {name: content[name] for name in ("dataset", *RUN_FIELDS)}
    head["variant"] = head["variant"] or ""
    head["seed"] = int(head["seed"])
    frame = pd.DataFrame(rows, columns=list(ROW_FIELDS)).assign(**head)
    frame["alpha"] = [format_alpha(alpha) for alpha in frame["alpha"]]
    key = ["split", "view", "combination", "alpha"]
    if frame.duplicated(key).any():
        double = frame.loc[frame.duplicated(key), key].iloc[0]
        raise WiseftError(f"{path} has two rows for {', '.join(double)}")
    head["images"] = dict(content.get("how", {}).get("images", {}))
    return head, frame, _definitions(path, frame, content.get("views", {}))


def _definitions(path: Path, rows: pd.DataFrame, stored: Any) -> dict[str, ViewDefinition]:
    """Return what each view of a metrics file is."""
    definitions = {}
    for view, metrics in rows.groupby("view")["metric"]:
        view, used = str(view), sorted(metrics.unique())
        # An accuracy of the dataset's own labels needs no more than its name.
        definition = stored.get(view, {"metric": "accuracy"}) if isinstance(stored, dict) else {}
        if used != [definition.get("metric")]:
            raise WiseftError(
                f"{path}: view {view} is of metric {definition.get('metric')}, but its rows are of "
                f"{', '.join(used)}"
            )
        definitions[view] = ViewDefinition(
            metric=used[0],
            group=definition.get("group"),
            ignore=tuple(definition.get("ignore", ())),
            own_labels=definition.get("like") is None,
        )
    return definitions


def _check_numbers(
    path: Path, predictions: Path, rows: pd.DataFrame, place: Place, cell: Cell
) -> None:
    """Raise WiseftError where a metric differs from the one of the predictions."""
    here = rows[(rows["split"] == place.split) & (rows["view"] == place.view)]
    points = [point for point in cell.predictions if point.alpha != PER_SAMPLE]
    for row, point in zip(here.to_dict("records"), points, strict=True):
        counted = cell.measure(point)
        n_correct = None if pd.isna(row["n_correct"]) else int(row["n_correct"])
        where = f"in split {row['split']} for {point.combination}/{row['view']}/{point.alpha}"
        if (n_correct, row["n"]) != (counted.n_correct, counted.n):
            raise WiseftError(
                f"{path} says {_share(n_correct, row['n'])} {where}, but {predictions} has "
                f"{_share(counted.n_correct, counted.n)}"
            )
        if not abs(row["value"] - counted.value) <= 1e-9:
            raise WiseftError(
                f"{path} says value {row['value']} {where}, but {predictions} gives "
                f"{counted.value}, {_share(counted.n_correct, counted.n)}"
            )


def _share(n_correct: int | None, n: int) -> str:
    return f"{n} samples" if n_correct is None else f"{n_correct} of {n} right"


def _check_same(path: Path, before: Path, place: Place, first: Cell, other: Cell) -> None:
    """Raise WiseftError if two runs were evaluated on other samples: nothing would be paired."""
    if (first.metric, first.ignore) != (other.metric, other.ignore):
        raise WiseftError(
            f"{path}: view {place.view} of {place.dataset} is of metric {other.metric}, in "
            f"{before} of {first.metric}, or it ignores other groups"
        )
    if not all(map(np.array_equal, _SAMPLES(first), _SAMPLES(other))):
        raise WiseftError(
            f"{path} is about other samples or labels of {place.dataset} than {before}"
        )


def evaluated_with(metrics: Iterable[Path]) -> list[dict[str, str]]:
    """Return each way in which evaluations were made, once: names, values and `evaluations`.

    Args:
        metrics: their files; those of before say neither versions nor commit nor machine. One
            whose grid grew counts once for each way.
    """
    counts: Counter[tuple[tuple[str, str], ...]] = Counter()
    for path in metrics:
        last = read_json(path).get("how", {})
        for how in (last, *last.get("earlier", ())):
            found = {"commit": how.get("commit", "unknown"), **how.get("versions", {})}
            machine = how.get("machine", {}).items()
            found |= {key: value for key, value in machine if key != "threads"}
            counts[tuple(found.items())] += 1
    return [{"evaluations": str(n), **dict(each)} for each, n in counts.items()]


def upgrades(groups: Sequence[Mapping[str, str]]) -> list[str]:
    """Return a sentence for each library, and part of a machine, in which evaluations differ."""
    found = {name: sorted({g[name] for g in groups if name in g}) for g in groups for name in g}
    differ = {k: v for k, v in found.items() if len(v) > 1 and k not in ("evaluations", "commit")}
    return [f"Evaluations differ in {k}: {', '.join(v)}." for k, v in differ.items()]
