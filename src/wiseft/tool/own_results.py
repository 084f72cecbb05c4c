"""What an evaluation of the user's own reports: lines of JSON in one of three forms.

The forms are documented in docs/own-evaluation.md; `Line` is their schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import pandas as pd
from pydantic import Field, RootModel, ValidationError

from wiseft.base.typed import Count, Entry, NonNegative
from wiseft.base.validation import validate
from wiseft.errors import WiseftError
from wiseft.tabulate.reported import RESULTS, SCORE
from wiseft.tabulate.schema import frame_of

Text = Annotated[str, Field(min_length=1)]


class Sample(Entry):
    """The score of one sample: 1 or 0 for right or wrong, or any number."""

    set: Text = Field(description="Name of the data set.")
    id: Text | int = Field(description="Name of the sample; the same at every alpha.")
    score: float = Field(description="Its metric, whose mean is that of the set.")
    metric: Text = Field(SCORE, description="Name of the metric.")
    higher_is_better: bool = True


class Counts(Entry):
    """How many samples of a set are right."""

    set: Text = Field(description="Name of the data set.")
    metric: Text = Field(description="Name of the metric, such as accuracy.")
    correct: Annotated[int, Field(ge=0)] = Field(description="Right samples.")
    n: Count = Field(description="All samples.")

    def _conflicts(self) -> Iterator[str]:
        if self.correct > self.n:
            yield f"`correct` is {self.correct}, but `n` is {self.n}"


class Value(Entry):
    """A metric of a whole set."""

    set: Text = Field(description="Name of the data set.")
    metric: Text = Field(description="Name of the metric.")
    value: float
    stderr: NonNegative | None = Field(
        None, description="Its standard error; null: unknown, so that there are no intervals."
    )
    higher_is_better: bool = True


class Line(RootModel[Sample | Counts | Value]):
    """One line that an evaluation writes."""


_FORMS: dict[str, type[Sample | Counts | Value]] = {
    **dict.fromkeys(("score", "id"), Sample),
    **dict.fromkeys(("correct", "n"), Counts),
    **dict.fromkeys(("value", "stderr"), Value),
}
"""The form of an object by a key that it alone has; the first that is found counts."""


def frame_of_lines(lines: Iterable[tuple[str, Mapping[str, Any]]]) -> pd.DataFrame:
    """Return what lines report, in the columns of `RESULTS`.

    Args:
        lines: where each stands, for messages, and its object.

    Raises:
        WiseftError: if a line has another form (names its key), a sample or metric is reported
            twice, or there is no line.
    """
    rows = [_row(line) for line in (_parsed(*each) for each in lines)]
    if not rows:
        raise WiseftError(
            "the evaluation reported nothing; for every sample it must print a line such as "
            '{"set": "test", "id": "sample-1", "score": 1}, or write results to {output}'
        )
    frame = frame_of(rows, RESULTS)
    key = ["set", "metric", "id"]
    if len(double := frame[frame.duplicated(key)]):
        name, metric, sample = double[key].iloc[0]
        what = f"the sample {sample!r} of" if sample else "a number for"
        raise WiseftError(f"the evaluation reported {what} the set {name}, {metric}, twice")
    of_one = frame.assign(sampled=frame["id"] != "").groupby(key[:2])
    for column in ("sampled", "higher_is_better"):
        differ = of_one[column].nunique()
        if (differ > 1).any():
            name, metric = differ.index[differ > 1][0]
            raise WiseftError(
                f"lines for the set {name}, {metric}, differ in `higher_is_better`, or some are of "
                "samples and some are not; report one form for each"
            )
    return frame


def objects(text: Iterable[str], source: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the JSON objects of lines with where they stand; blank lines are left out.

    Raises:
        WiseftError: if a line is none.
    """
    for number, line in enumerate(text, 1):
        if line.strip():
            found = json_object(line)
            if found is None:
                raise WiseftError(f"line {number} of {source} is no JSON object: {line[:60]!r}")
            yield f"line {number} of {source}", found


def json_object(line: str) -> dict[str, Any] | None:
    """Return the JSON object that a line is; None if it is anything else."""
    if not line.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _parsed(where: str, line: Mapping[str, Any]) -> Sample | Counts | Value:
    form = next((form for key, form in _FORMS.items() if key in line), None)
    if form is None:
        raise WiseftError(
            f"{where} has the keys {', '.join(line) or '(none)'}, but must have `set` with `id` "
            "and `score`, with `metric`, `correct` and `n`, or with `metric` and `value`"
        )
    try:
        return form.model_validate(line)
    except ValidationError:
        return validate(form, dict(line), where)  # raises, in sentences


def _row(line: Sample | Counts | Value) -> dict[str, Any]:
    row: dict[str, Any] = {"set": line.set, "metric": line.metric, "higher_is_better": 1}
    if isinstance(line, Counts):
        return row | {"value": line.correct / line.n, "n": line.n, "n_correct": line.correct}
    row["higher_is_better"] = int(line.higher_is_better)
    if isinstance(line, Sample):
        return row | {"id": str(line.id), "value": line.score}
    return row | {"value": line.value, "stderr": line.stderr}
