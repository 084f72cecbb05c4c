"""The sweep with the user's own evaluation: any two checkpoints that a merge takes, any metric."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wiseft.base.alphas import FIXED_ALPHA, format_alpha, parse_alphas
from wiseft.base.io import atomic_path, sha256_file, sha256_json, write_json
from wiseft.base.names import AVERAGE_PREFIX
from wiseft.base.provenance import git_commit, versions
from wiseft.errors import WiseftError
from wiseft.foreign.door import Opened
from wiseft.foreign.named import local_path
from wiseft.models.runtime import start_torch
from wiseft.tabulate.reported import TURNED, chosen, of_set, reported
from wiseft.tabulate.stage import tables_of
from wiseft.tool.claim import INPUTS, WORK, claimed
from wiseft.tool.command import Command
from wiseft.tool.concluding import accuracies, end_of, table_choices, table_settings
from wiseft.tool.flips import PREDICTION, section
from wiseft.tool.own_points import ENDS, Function, Points, in_order, measure_all
from wiseft.tool.record import (
    HELD_OUT,
    MODEL,
    REFERENCE,
    SCORES,
    TEST,
    ImageSet,
    Model,
    Result,
    Role,
    Sweep,
    write_record,
)
from wiseft.tool.show import recommend, write_files

log = logging.getLogger(__name__)

ALPHAS = tuple(f"{step * 0.1:.3f}" for step in range(11))
"""Fewer than of a sweep of images, which has all alphas in one pass."""
_SCORE = "score/"


@dataclass(frozen=True)
class Roles:
    """What the evaluation's sets are for, by their names.

    Raises:
        WiseftError: if a set has two roles, or a name that tables need.
    """

    held_out: str
    reference: str
    shifts: Sequence[str]
    kept: Sequence[str] = ()

    def __post_init__(self) -> None:
        names = [self.held_out, self.reference, *self.shifts, *self.kept]
        for one, two in pairwise(sorted(names)):
            if one == two:
                raise WiseftError(
                    f"the set {one} has two roles; alpha must not be chosen on the samples that "
                    "are reported, so give each set one of --held-out, --reference, --shift, --keep"
                )
        for name in (*self.shifts, *self.kept):
            if name == REFERENCE or name.startswith(AVERAGE_PREFIX):
                raise WiseftError(f"the set {name} has a name that tables need; call it otherwise")

    @property
    def places(self) -> dict[str, tuple[str, str]]:
        """Dataset and split of the tables, by set."""
        own = {self.held_out: (REFERENCE, HELD_OUT), self.reference: (REFERENCE, TEST)}
        return own | {name: (name, TEST) for name in (*self.shifts, *self.kept)}

    def sets(self, frame: pd.DataFrame, metrics: Mapping[str, str]) -> list[ImageSet]:
        """Return what the record says of them, the reference first.

        Args:
            frame: what was reported at one alpha.
            metrics: of each set.
        """
        rows = {name: of_set(frame, name, metrics[name]) for name in self.places}
        n = {name: _n(part) for name, part in rows.items()}
        own = {HELD_OUT: n[self.held_out], TEST: n[self.reference]}
        split = f"alpha is chosen on {self.held_out}, and what is reported is {self.reference}"
        given: list[tuple[Role, str, dict[str, int | None], str]] = [
            ("reference", self.reference, own, split),
            *(("shift", name, {TEST: n[name]}, "") for name in self.shifts),
            *(("kept", name, {TEST: n[name]}, "") for name in self.kept),
        ]
        return [
            ImageSet(
                name=REFERENCE if role == "reference" else name,
                path=name,
                role=role,
                labelled=True,
                n=counts,
                split=how,
                sha256=sha256_json([name, metrics[name], *rows[name]["id"]]),
            )
            for role, name, counts, how in given
        ]


def sweep_with(
    zero_shot: Path | str,
    fine_tuned: Path | str,
    evaluate: str | Function,
    output: Path | str,
    *,
    held_out: str,
    reference: str,
    shifts: Sequence[str],
    keep: Sequence[str] = (),
    metrics: Sequence[str] = (),
    alphas: Iterable[float | str] = ALPHAS,
    alpha: float | str | None = None,
    weights: str | None = None,
    device: str = "auto",
    threads: int = 1,
    jobs: int = 1,
    seed: int = 0,
) -> Result:
    """Find the model between two checkpoints by an evaluation of your own, and write it as F is.

    Alpha is chosen on the held-out set alone. Results are kept: another call with the same models
    and evaluation computes new alphas only, whatever roles the sets have.

    Args:
        zero_shot: file, folder or name of a checkpoint that `wiseft merge` takes.
        fine_tuned: likewise, of the same architecture; or an adapter of PEFT for the first.
        evaluate: a command with `{model}`, or a function from the model's path to lines, as
            docs/own-evaluation.md has them. It runs once for each alpha.
        output: a new folder, or that of a sweep of the same models and evaluation.
        held_out: the set that alpha is chosen on.
        reference: the set of the same kind that is reported.
        shifts: sets from elsewhere.
        keep: sets that show what is retained; they have no part in any choice.
        metrics: a set takes the first of these that it has; needed where it has several.
        alphas: the grid; 0, 0.5 and 1 join it.
        alpha: writes the model at this alpha, in place of the recommended one.
        weights: the key of the weights in a `.pt` that holds several mappings of tensors.
        device: for `{device}`: auto, cpu, cuda, or mps.
        threads: CPU threads of a merge.
        jobs: evaluations at a time, each with a model on the disk.
        seed: of the bootstrap.

    Raises:
        WiseftError: if a checkpoint or what the evaluation reports is refused, the evaluation
            fails, there is no room for a model, or `output` is something else.
    """
    output, given = Path(output), None if alpha is None else format_alpha(alpha)
    roles = Roles(held_out, reference, shifts, keep)
    needed = [*ENDS, FIXED_ALPHA, *filter(None, [given])]
    grid = parse_alphas(dict.fromkeys(map(format_alpha, [*alphas, *needed])))
    how = Command.parse(evaluate) if isinstance(evaluate, str) else evaluate
    ends = local_path(zero_shot), local_path(fine_tuned)
    where = str(start_torch(threads, device, mps=True))
    points = Points.open(ends, how, output / WORK, where, weights)
    inputs = {"ends": points.sums, "weights": weights, "evaluate": points.called, "recipe": None}
    with claimed(output, inputs):

        def check(frame: pd.DataFrame) -> None:
            chosen(frame, list(roles.places), metrics)
            write_json(output / WORK / INPUTS, inputs)  # what fails at once claims nothing

        results = measure_all(points, in_order(grid), check, jobs)
        return conclude(points, results, roles, (output, inputs), metrics, given, seed)


def conclude(
    points: Points,
    results: Mapping[str, pd.DataFrame],
    roles: Roles,
    where: tuple[Path, Mapping[str, Any]],
    metrics: Sequence[str] = (),
    given: str | None = None,
    seed: int = 0,
) -> Result:
    """Choose alpha by what was reported, and write tables, page, model and record.

    Args:
        results: by alpha, ends and 0.5 among them, in ascending order.
        where: the sweep's folder, and what it claims.
        metrics, given, seed: as in `sweep_with`.

    Raises:
        WiseftError: if a role is of no set, or a set has several metrics.
    """
    output, inputs = where
    first, grid = next(iter(results.values())), list(results)
    taken = chosen(first, list(roles.places), metrics)
    run: dict[str, Any] = {"model": "model", "reference": REFERENCE, "method": "end-to-end"}
    run |= {"variant": "", "run": f"model__{REFERENCE}__end-to-end", "seed": seed}
    read = reported(results, roles.places, taken, run)
    sets, average = roles.sets(first, taken), _of_one_kind(read.metrics, roles.shifts)
    settings = [table_settings(sets, grid, seed, float(FIXED_ALPHA), average)]
    table = tables_of("sweep", settings[0], read).table
    choices = table_choices(table, given)
    unsure = " ".join(_doubts(points, results, roles, taken))
    recommended = recommend(choices, sets, table, unsure, "samples")
    at = recommended.alpha
    gains = tables_of("sweep", table_settings(sets, grid, seed, at, average), read).comparisons
    record = Sweep(
        versions=versions(),
        commit=git_commit(),
        inputs=sha256_json(inputs),
        zero_shot=end_of(points.opened[0], points.ends[0], points.sums[0]),
        fine_tuned=end_of(points.opened[1], points.ends[1], points.sums[1]),
        architecture=_architecture(points.like),
        class_names=[],
        templates=[],
        head="",
        evaluate=points.called,
        sets=sets,
        alphas=[float(each) for each in grid],
        choices=choices,
        unlabelled={},
        recommended=recommended,
        accuracy=accuracies(table),
        model=_write_model(points, format_alpha(at), output),
    )
    scores = _scores(results, roles, taken)
    with atomic_path(output / SCORES) as temporary:
        scores.to_parquet(temporary, index=False)
    write_files(output, record, table, gains, _flips(scores, at))
    write_record(output, record)
    return Result(output, record)


def _n(rows: pd.DataFrame) -> int | None:
    """Return the samples of a set; None: unknown."""
    if rows["id"].iloc[0]:
        return len(rows)
    return None if pd.isna(rows["n"].iloc[0]) else int(rows["n"].iloc[0])


def _of_one_kind(metrics: pd.DataFrame, shifts: Sequence[str]) -> bool:
    """Whether shifts may have an average: all are shares, or of one metric."""
    rows = metrics[metrics["dataset"].isin(list(shifts))]
    shares = rows["value"].between(0, 1).all() and not rows["metric"].str.startswith(TURNED).any()
    return bool(shares) or rows["metric"].nunique() == 1


def _doubts(
    points: Points, results: Mapping[str, pd.DataFrame], roles: Roles, metrics: Mapping[str, str]
) -> Iterator[str]:
    """Yield sentences on why no alpha is to be recommended."""
    sets = {
        name: [of_set(frame, name, metrics[name]) for frame in results.values()]
        for name in roles.places
    }
    if all(each[0]["value"].equals(each[-1]["value"]) for each in sets.values()):
        yield "Both ends are the same model: all reported numbers are equal."
    for one, two in (
        (one, two) for one in (roles.held_out, roles.reference) for two in roles.places if one < two
    ):
        pair = list(zip(sets[one], sets[two], strict=True))
        if sets[one][0]["id"].iloc[0] and all(
            a[["id", "value"]].equals(b[["id", "value"]]) for a, b in pair
        ):
            yield f"{one} and {two} are the same samples, with the same scores at every alpha."


def _scores(
    results: Mapping[str, pd.DataFrame], roles: Roles, metrics: Mapping[str, str]
) -> pd.DataFrame:
    """Return the score of every sample, as it was reported, a column an alpha."""
    parts = [pd.DataFrame({name: [] for name in ("set", "split", "id")}, dtype=object)]
    for name, (dataset, split) in roles.places.items():
        frames = {alpha: of_set(frame, name, metrics[name]) for alpha, frame in results.items()}
        ids = next(iter(frames.values()))["id"]
        if ids.iloc[0]:
            values = {f"{_SCORE}{alpha}": frame["value"] for alpha, frame in frames.items()}
            parts.append(pd.DataFrame({"set": dataset, "split": split, "id": ids, **values}))
    return pd.concat(parts, ignore_index=True)


def _flips(scores: pd.DataFrame, alpha: float) -> str:
    """Return what the page says of samples that are right at one alpha and not another."""
    columns = [name for name in scores if str(name).startswith(_SCORE)]
    shares = scores[columns].isin([0, 1]).all(axis=1).groupby(scores["set"]).transform("all")
    part = scores[shares.astype(bool)]
    right = {f"{PREDICTION}{name.removeprefix(_SCORE)}": part[name] == 1 for name in columns}
    words = {name: np.where(each, "right", "wrong") for name, each in right.items()}
    frame = part[["set", "split"]].assign(image=part["id"], label="right", **words)
    return section(frame, alpha, "samples")


def _architecture(like: Opened) -> str:
    """Return the class of a model of transformers or the like, where the configuration names it."""
    named = like.checkpoint.config.get("architectures") or [
        like.checkpoint.config.get("_class_name")
    ]
    return str(named[0] or "not said")


def _write_model(points: Points, alpha: str, output: Path) -> Model:
    """Write the model at an alpha in F's format; a folder that was there is replaced."""
    made, folder, like = output / WORK / MODEL, output / MODEL, points.like
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    path = points.model(alpha, made, copy=True)
    whole = path.is_dir()
    shutil.rmtree(folder, ignore_errors=True)
    (path if whole else made).replace(folder)
    shutil.rmtree(made, ignore_errors=True)
    log.info(f"sweep: wrote {folder} at alpha {alpha}, in the format of {like.path}")
    config = like.checkpoint.config
    library = "transformers" if whole and "model_type" in config else "torch"
    return Model(
        loads_with="wiseft" if like.header is not None else library,
        file=MODEL if whole else f"{MODEL}/{path.name}",
        head=False,
        sha256={each.name: sha256_file(each) for each in folder.iterdir() if each.is_file()},
    )
