"""Results that other programs write, as the lines of the contract (`wiseft.tool.own_results`).

Formats are those of the programs' own code: lm-eval 0.4.13 (`loggers/evaluation_tracker.py`),
transformers 5 (`Trainer.save_metrics`), CLIP_benchmark 1.6 (`cli.py`).
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from wiseft.errors import WiseftError
from wiseft.tool.own_results import frame_of_lines, json_object, objects

Lines = Iterator[tuple[str, Mapping[str, Any]]]
"""Where each line stands, for messages, and its object."""
_ENDINGS = (".jsonl", ".json", ".csv")
_PART = "_results.json"
"""How files of transformers end."""
_COST = re.compile(r"runtime|samples|\w+_(per_second|time)|mem_\w+")
"""What transformers reports beside metrics."""
_LESS_IS_BETTER = ("loss", "perplexity", "error", "wer", "cer", "mse", "mae", "rmse")
"""Endings of metrics, where a program does not say it."""
_SAME = 1e-6
"""How near the mean of lm-eval's samples must be to its metric, to be what it is the mean of."""


def read_results(output: Path) -> pd.DataFrame:
    """Return what an evaluation wrote, in the columns of `RESULTS`.

    Args:
        output: a file, a folder, or the beginning of the names of files or folders.

    Raises:
        WiseftError: if there is nothing, no file has a known form, or one is broken.
    """
    near = sorted(output.parent.glob(f"{output.name}*"))  # a program may add an ending
    files = [file for each in near for file in (each, *sorted(each.rglob("*"))) if file.is_file()]
    if not files:
        raise WiseftError(
            "the evaluation wrote nothing to {output}; without {output} in the command, its lines "
            "of JSON are read from what it prints"
        )
    files = [file for file in files if file == output or file.suffix in _ENDINGS]
    files = [file for file in files if not _is_part(file)]
    lines = [line for file in files for line in _read(file, output, len(files) == 1)]
    if not lines:
        names = ", ".join(file.name for file in files[:5]) or near[0].name
        raise WiseftError(
            f"nothing that the evaluation wrote to {{output}} has a known form ({names}); write "
            "lines of JSON, a CSV, or results of lm-eval, transformers or CLIP_benchmark"
        )
    return frame_of_lines(lines)


def _is_part(path: Path) -> bool:
    """Whether a file is one of those that transformers joins in `all_results.json`."""
    whole = path.with_name("all_results.json")
    return path != whole and path.name.endswith(_PART) and whole.is_file()


def _read(path: Path, output: Path, alone: bool) -> Lines:
    """Yield the lines of a file; none of another file, such as a configuration, unless `alone`."""
    items = _items(path)
    if (start := next(items, None)) is None:
        return
    items, found = itertools.chain([start], items), start[1] if isinstance(start[1], dict) else {}
    part = path.name.endswith(_PART)  # of a script without a Trainer, which saves no runtime
    if _are_mappings(found.get("results")):
        yield from _lm_eval(path, found)
    elif isinstance(found.get("metrics"), dict) and "dataset" in found:
        yield from _clip_benchmark(path, found)
    elif any(key.endswith("_runtime") or (part and key.startswith("eval_")) for key in found):
        yield from _trainer(path, found, output)
    elif alone or "set" in found:
        for where, each in items:
            if not isinstance(each, dict):
                raise WiseftError(f"{where} is no JSON object but {each!r:.60}")
            yield where, each


def _items(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the rows of a CSV, JSON's lines or items of its list, or the whole, with its place."""
    text = _text(path)
    start = text.lstrip()
    if path.suffix == ".csv" or (path.suffix not in _ENDINGS and start[:1] not in ("{", "[")):
        yield from _rows(path, text)
    elif path.suffix == ".jsonl" or json_object(start.partition("\n")[0]):
        yield from objects(text.split("\n"), path.name)
    else:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise WiseftError(f"{path.name} is not valid JSON ({error})") from None
        if isinstance(found, list):
            yield from ((f"item {n} of {path.name}", each) for n, each in enumerate(found, 1))
        else:
            yield path.name, found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise WiseftError(f"{path.name} is not text in UTF-8 ({error})") from None


def _rows(path: Path, text: str) -> Lines:
    """Yield the rows of a CSV whose columns are keys of a line; empty cells are left out."""
    rows = csv.DictReader(io.StringIO(text), restkey="(cells without a name)", strict=True)
    try:
        for row in rows:
            where = f"line {rows.line_num} of {path.name}"
            yield where, {key: cell for key, cell in row.items() if cell}
    except csv.Error as error:
        raise WiseftError(f"{path.name} is no CSV ({error}, line {rows.line_num + 1})") from None


def _value(
    path: Path, name: str, metric: str, value: Any, error: Any = None, better: Any = None
) -> Lines:
    """Yield a metric, if it is a number, with its standard error if that is known."""
    if _is_number(value):
        if better is None:
            better = not metric.partition(",")[0].lower().endswith(_LESS_IS_BETTER)
        line = {"set": name, "metric": metric, "value": value, "higher_is_better": better}
        known = _is_number(error) and math.isfinite(error)
        yield f"{metric} of {name} in {path.name}", line | ({"stderr": error} if known else {})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _are_mappings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, dict) for each in value.values())


def _clip_benchmark(path: Path, found: Mapping[str, Any]) -> Lines:
    """Yield the metrics of a dataset; `acc5` of fewer than five classes is not a number."""
    for metric, value in found["metrics"].items():
        if value == value:
            yield from _value(path, str(found["dataset"]), metric, value)


# ---------------------------------------------------------------------------------------- lm-eval


def _lm_eval(path: Path, found: Mapping[str, Any]) -> Lines:
    """Yield the metrics of every task and group, in whose names filters but `none` stay.

    Where the log has the scores that a metric is the mean of, they take its place. Others, such
    as perplexity, stay as they are.
    """
    date = path.stem.rpartition("_")[2]
    for task, metrics in found["results"].items():
        higher = found.get("higher_is_better", {}).get(task, {})
        samples = _samples(path.with_name(f"samples_{task}_{date}.jsonl"))
        for key, value in metrics.items():
            metric, comma, chosen = key.partition(",")
            if not comma or metric.endswith("_stderr"):
                continue
            name = metric if chosen == "none" else key
            error = metrics.get(f"{metric}_stderr,{chosen}")
            for where, line in _value(path, task, name, value, error, higher.get(metric)):
                scored = samples.get((metric, chosen), {})
                scores = [each["score"] for each in scored.values()]
                if scores and all(map(_is_number, scores)) and abs(fmean(scores) - value) <= _SAME:
                    same = {key: line[key] for key in ("set", "metric", "higher_is_better")}
                    yield from ((place, same | each) for place, each in scored.items())
                else:
                    yield where, line


def _samples(path: Path) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """Return ids and scores of a log, by metric and filter, and by where they stand."""
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for where, entry in objects(_text(path).split("\n") if path.is_file() else (), path.name):
        for metric in entry.get("metrics", ()):
            if missing := [key for key in ("doc_id", metric) if key not in entry]:
                raise WiseftError(f"{where} has no `{missing[0]}`, as a sample of lm-eval has")
            own = found.setdefault((metric, entry.get("filter", "none")), {})
            own[where] = {"id": entry["doc_id"], "score": entry[metric]}
    return found


# ----------------------------------------------------------------------------------- transformers


def _trainer(path: Path, found: Mapping[str, Any], output: Path) -> Lines:
    """Yield the metrics of a Trainer: `eval_accuracy`, or `eval_<set>_accuracy` of several sets.

    A file in a folder of its own below the output is of the set that the folder is called after.
    """
    own = "" if path.parent == output.parent else path.parent.name.removeprefix(output.name)
    prefixes = {key.removesuffix("_runtime") for key in found if key.endswith("_runtime")}
    left = dict(found)
    for prefix in sorted({*prefixes, "eval"} - {"train"}, key=len, reverse=True):
        start = f"{prefix}_"
        own_keys = [key for key in left if key.startswith(start)]
        metrics = {key.removeprefix(start): left.pop(key) for key in own_keys}
        name = (own.strip("_-.") if prefix == "eval" else "") or prefix.removeprefix("eval_")
        for metric, value in metrics.items():
            if not _COST.fullmatch(metric):
                error = _error(value, metrics.get("samples")) if metric == "accuracy" else None
                yield from _value(path, name, metric, value, error)


def _error(share: Any, n: Any) -> float | None:
    """Return the standard error of a mean of n scores from 0 to 1, or a little more.

    No such scores vary more than 0 and 1 do. Two right and two wrong are added (Agresti and Coull
    1998), so that a share of 0 or 1 is not taken as certain.
    """
    if not (_is_number(share) and 0 <= share <= 1 and _is_number(n) and n >= 1):
        return None
    near = (n * share + 2) / (n + 4)
    return math.sqrt(near * (1 - near) / n)
