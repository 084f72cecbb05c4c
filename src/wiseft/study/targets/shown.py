"""What the figures of an experiment show, held against what it runs: known before the first job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from wiseft.study.config.experiment import ExperimentEntry
from wiseft.study.config.experiment_parts import PublishedSettings
from wiseft.study.targets.runs import Run

MEASURED = "measured"


def not_run(experiment: ExperimentEntry, runs: Sequence[Run], figure: str) -> list[str]:
    """Return what a figure is about and the experiment does not run, e.g. `model clip-rn50`.

    A figure of several shows those that are run. Numbers that other tables may have, published ones
    or those of other experiments, do not count.
    """
    settings, published = experiment.figures[figure], experiment.published or PublishedSettings()
    if not runs or published.measured:
        return []
    there: dict[str, set[str]] = {"model": {run.model for run in runs}}
    there["method"], there["variant"] = map(
        set, zip(*(run.method_id.partition("__")[::2] for run in runs), strict=True)
    )
    both = settings.draw == "scatter" or settings.options.get("source") == "all"
    wanted: dict[str, set[str]] = {kind: set() for kind in there}
    for kind, names in _named(settings.options, both and bool(published.tables)):
        wanted[kind].update(names)
    absent = [
        f"{kind} {' or '.join(sorted(names))}"
        for kind, names in wanted.items()
        if names and names.isdisjoint(there[kind])
    ]
    pairs = settings.draw in ("diversity", "overrides") and not experiment.pairs
    return [*absent, *(["any of `pairs`"] if pairs else [])]


def _named(options: Any, published: bool) -> Iterator[tuple[str, list[str]]]:
    """Yield the models, methods and variants that options of a figure name, at any depth.

    Args:
        published: whether the paper's numbers are drawn, too: then only what has the source
            `measured` must be measured.
    """
    if isinstance(options, list):
        for each in options:
            yield from _named(each, published)
    elif isinstance(options, dict):
        needed = not published or options.get("source") == MEASURED
        for key, value in options.items():
            kind = key.removesuffix("s")
            if kind in ("model", "method", "variant") and needed and value is not None:
                names = [value] if isinstance(value, str) else list(value)
                yield kind, [name.partition("__")[0] for name in names]
            elif key == "x" and isinstance(value, dict):  # may be the sizes of variants
                yield "variant", [name for name, size in value.items() if isinstance(size, int)]
            elif key not in ("labels", "titles"):
                yield from _named(value, published)
