"""Results that other programs write, as the lines of the contract (`wiseft.tool.own_results`).

Formats are those of the programs' own code: lm-eval 0.4.13 (`loggers/evaluation_tracker.py`),
transformers 5 (`Trainer.save_metrics`), CLIP_benchmark 1.6 (`cli.py`).
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from wiseft.base.io import read_json
from wiseft.errors import WiseftError
from wiseft.tool.own_results import frame_of_lines, objects

Lines = Iterator[tuple[str, Mapping[str, Any]]]
_LOG = re.compile(r"samples_(?P<task>.+)_\d{4}-\d\d-\d\dT[^_]*\.jsonl")
"""A per-sample log of lm-eval."""
_ENDINGS = (".jsonl", ".json", ".csv")
_COSTS = {"runtime", "samples_per_second", "steps_per_second", "samples", "model_preparation_time"}
"""What transformers reports beside metrics."""
_LESS_IS_BETTER = ("loss", "perplexity", "wer", "cer", "mse", "mae", "rmse")
"""Endings of metrics, where a program does not say it."""
_SAME = 1e-6
"""How near the mean of lm-eval's samples must be to its metric, to be what it is the mean of."""


def read_results(output: Path) -> pd.DataFrame:
    """Return what an evaluation wrote, a file or a folder, in the columns of `RESULTS`.

    Raises:
        WiseftError: if there is nothing, no file has a known form, or one is broken.
    """
    beside = output.parent.glob(f"{output.name}?*")  # of a program that adds an ending
    found = [output] if output.is_file() else [*output.rglob("*"), *beside]
    files = sorted(path for path in found if path.is_file() and _known(path, found))
    if not found:
        raise WiseftError(
            "the evaluation wrote nothing to {output}; without {output} in the command, its lines "
            "of JSON are read from what it prints"
        )
    results = [path for path in files if not _LOG.fullmatch(path.name)]
    logs = [path for path in files if _LOG.fullmatch(path.name)]
    lines = [line for path in results for line in _read(path, output)]
    if logs:
        lines = [*_with_samples(lines, logs)]
    if not lines:
        names = ", ".join(path.name for path in files[:5]) or "no file"
        raise WiseftError(
            f"nothing that the evaluation wrote to {{output}} has a known form ({names}); write "
            "lines of JSON, a CSV, or results of lm-eval, transformers or CLIP_benchmark"
        )
    return frame_of_lines(lines)


def _known(path: Path, files: Iterable[Path]) -> bool:
    """Whether a file of a folder may hold results."""
    if path.name.endswith(("_results.json", "trainer_state.json")):
        return path.name == "all_results.json" or (
            path.name == "eval_results.json" and path.with_name("all_results.json") not in files
        )
    return path.suffix in _ENDINGS


def _read(path: Path, output: Path) -> Lines:
    if path.suffix == ".csv":
        return _csv(path)
    if path.suffix == ".json":
        found = read_json(path, "results")
        if isinstance(found, dict):
            return _object(path, found, output)
        lines = found if isinstance(found, list) else []
        lines = [each for each in lines if isinstance(each, dict) and "set" in each]
        return ((f"item {n} of {path.name}", each) for n, each in enumerate(lines, 1))
    return objects(path.read_text(encoding="utf-8").split("\n"), path.name)


def _object(path: Path, found: dict[str, Any], output: Path) -> Lines:
    if isinstance(found.get("results"), dict):
        return _lm_eval(path, found)
    if isinstance(found.get("metrics"), dict) and "dataset" in found:
        return _values(path, str(found["dataset"]), found["metrics"])
    if any(key.endswith("_runtime") for key in found):
        return _trainer(path, found, output)
    if "set" in found:
        return iter([(path.name, found)])
    return iter(())  # a configuration or the like


def _csv(path: Path) -> Lines:
    """Yield the rows of a CSV whose columns are keys of a line; empty cells are left out."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            yield f"line {number} of {path.name}", {key: row[key] for key in row if row[key]}


def _values(
    path: Path, name: str, metrics: Mapping[str, Any], higher: Mapping[str, Any] | None = None
) -> Lines:
    """Yield the numbers among metrics, with the standard errors that `<metric>_stderr` gives."""
    for metric, value in metrics.items():
        if metric.endswith("_stderr") or not _is_number(value):
            continue
        error = metrics.get(f"{metric}_stderr")
        better = (higher or {}).get(metric.partition(",")[0])
        line = {"set": name, "metric": metric, "value": value}
        line["higher_is_better"] = _better(metric) if better is None else better
        yield path.name, line | ({"stderr": error} if _is_number(error) else {})


def _better(metric: str) -> bool:
    """Whether more of a metric is better, by its name."""
    return not metric.partition(",")[0].lower().endswith(_LESS_IS_BETTER)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


# ---------------------------------------------------------------------------------------- lm-eval


def _lm_eval(path: Path, found: Mapping[str, Any]) -> Lines:
    """Yield the metrics of every task; filters other than `none` stay in their names."""
    for task, metrics in found["results"].items():
        higher = found.get("higher_is_better", {}).get(task)
        named = {}
        for key, value in metrics.items():
            metric, comma, chosen = key.partition(",")
            if comma:
                bare, error = metric.removesuffix("_stderr"), "_stderr" * metric.endswith("_stderr")
                named[bare + ("" if chosen == "none" else f",{chosen}") + error] = value
        yield from _values(path, str(task), named, higher)


def _with_samples(lines: list[tuple[str, Mapping[str, Any]]], logs: Iterable[Path]) -> Lines:
    """Yield scores of samples in the place of the metrics that are their mean.

    A metric that is no mean of the log's scores, such as perplexity, stays as it is.
    """
    known = {(line["set"], line["metric"]): line for _, line in lines}
    sampled = set()
    for path in logs:
        task = _LOG.fullmatch(path.name)["task"]  # type: ignore[index]
        scores: dict[str, list[dict[str, Any]]] = {}
        for where, entry in objects(path.read_text(encoding="utf-8").split("\n"), path.name):
            chosen = entry.get("filter", "none")
            for metric in entry.get("metrics", ()):
                if "doc_id" not in entry:
                    raise WiseftError(f"{where} has no `doc_id`, which lm-eval's samples have")
                name = metric if chosen == "none" else f"{metric},{chosen}"
                line = {"set": task, "id": entry["doc_id"], "metric": name, "score": entry[metric]}
                scores.setdefault(name, []).append(line)
        for name, each in scores.items():
            whole = known.get((task, name))
            if whole is None or not all(_is_number(line["score"]) for line in each):
                continue
            mean = math.fsum(line["score"] for line in each) / len(each)
            if abs(mean - whole["value"]) <= _SAME:
                sampled.add((task, name))
                higher = {"higher_is_better": whole["higher_is_better"]}
                yield from ((path.name, line | higher) for line in each)
    yield from (one for one in lines if (one[1]["set"], one[1]["metric"]) not in sampled)


# ----------------------------------------------------------------------------------- transformers


def _trainer(path: Path, found: Mapping[str, Any], output: Path) -> Lines:
    """Yield the metrics of a Trainer: `eval_accuracy`, or `eval_<set>_accuracy` of several sets.

    A file in a folder of its own below the output is of the set that the folder is called after.
    """
    prefixes = [key.removesuffix("_runtime") for key in found if key.endswith("_runtime")]
    prefixes = sorted((each for each in prefixes if each != "train"), key=len, reverse=True)
    own = path.parent.name if path.parent != output and path != output else ""
    taken = set()
    for prefix in prefixes:
        keys = {
            key: key.removeprefix(f"{prefix}_") for key in found if key.startswith(f"{prefix}_")
        }
        keys = {key: name for key, name in keys.items() if key not in taken}
        taken |= keys.keys()
        name = (own if prefix == "eval" else "") or prefix.removeprefix("eval_")
        metrics = {metric: found[key] for key, metric in keys.items() if metric not in _COSTS}
        n = found.get(f"{prefix}_samples")
        share = metrics.get("accuracy")
        if _is_number(n) and _is_number(share) and abs(n * share - round(n * share)) < 1e-6 * n:
            del metrics["accuracy"]
            line = {"set": name, "metric": "accuracy", "correct": round(n * share), "n": n}
            yield path.name, line
        yield from _values(path, name, metrics)
