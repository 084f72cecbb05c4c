"""The sweep with the user's own evaluation: any two checkpoints that a merge takes, any metric."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from wiseft.base.alphas import FIXED_ALPHA, format_alpha
from wiseft.base.io import atomic_path, sha256_file, sha256_json, write_json
from wiseft.base.names import AVERAGE_PREFIX
from wiseft.base.provenance import git_commit, versions
from wiseft.errors import WiseftError
from wiseft.tabulate.few_evaluations import unseen
from wiseft.tabulate.predictions import ENDS
from wiseft.tabulate.reported import check_alike, chosen, known_n, of_set, reported, score_of
from wiseft.tabulate.run_tables import RunTables, run_tables
from wiseft.tabulate.schema import ALL
from wiseft.tool.claim import INPUTS, WORK, claimed
from wiseft.tool.concluding import accuracies, end_of, run_of, table_choices, table_settings
from wiseft.tool.flips import PREDICTION, section
from wiseft.tool.own_jobs import ALPHAS, needed_alphas, whole_grid
from wiseft.tool.own_plan import Plan, is_plain, points_made, shown
from wiseft.tool.own_points import Function, Points, measure_all
from wiseft.tool.record import (
    HELD_OUT,
    MODEL,
    PARTS,
    PREDICTIONS,
    RECIPE,
    REFERENCE,
    TEST,
    ImageSet,
    Model,
    Result,
    Sweep,
    write_record,
)
from wiseft.tool.show import differences, is_shares, recommend, write_files

log = logging.getLogger(__name__)

_Results = Mapping[tuple[str, str], Mapping[str, pd.DataFrame]]
"""Rows of `of_set` by dataset and split of the tables, and by alpha."""


@dataclass(frozen=True)
class Roles:
    """The roles of the sets of an evaluation, by their names.

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

    def sets(self, rows: Mapping[tuple[str, str], pd.DataFrame]) -> list[ImageSet]:
        """Return what the record says of them, the reference first.

        Args:
            rows: what was reported at one alpha, by place.
        """
        split = f"alpha is chosen on {self.held_out}, and what is reported is {self.reference}"
        found = []
        for name in [REFERENCE, *self.shifts, *self.kept]:
            own = {at: part for (dataset, at), part in rows.items() if dataset == name}
            about: dict[str, Any] = {"name": name, "path": name, "labelled": True}
            about["role"] = "kept" if name in self.kept else "shift"
            if name == REFERENCE:
                about |= {"path": self.reference, "role": "reference", "split": split}
            about["n"] = {at: known_n(part) for at, part in own.items()}
            about["sha256"] = sha256_json([name, *own[TEST]["metric"][:1], *own[TEST]["id"]])
            found.append(ImageSet.model_validate(about))
        return found


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
    budget: int | None = None,
    parts: Mapping[str, str] | None = None,
    recipe: Mapping[str, Any] | None = None,
    more: Sequence[Path | str] = (),
    seed: int = 0,
) -> Result:
    """Find the model between two checkpoints by an evaluation of your own, and write it as F is.

    Alpha is chosen on the held-out set alone. Results are kept: another call with the same models
    and evaluation computes new alphas only, whatever roles the sets have.

    Args:
        zero_shot: file, folder or name of a checkpoint that `wiseft merge` takes.
        fine_tuned: a checkpoint of the same architecture, or an adapter of PEFT for the first.
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
        budget: evaluations in all; after 0, 1, 0.5 and `alpha` they are chosen by held-out results
            (`wiseft.tabulate.few_evaluations`). None: the whole grid.
        parts: regular expressions by name. The tensors whose names match get an alpha of their own
            (`wiseft.tool.own_plan`); the model at the best ones is OUT/parts.
        recipe: beside plain interpolation, what a recipe of `wiseft combine` makes of the two and
            `more`, such as `{"kind": "ties"}`: all alphas between the zero-shot model and that, or,
            of a recipe without alpha and scale, that alone. The best one is OUT/recipe.
        more: further fine-tuned models that the recipe takes, in its order.
        seed: of the bootstrap.

    Raises:
        WiseftError: if a checkpoint or what the evaluation reports is refused, the evaluation
            fails, there is no room for a model, or `output` is something else.
    """
    output, given = Path(output), None if alpha is None else format_alpha(alpha)
    roles = Roles(held_out, reference, shifts, keep)
    needed, grid = needed_alphas(given), whole_grid(alphas, given)
    if more if recipe is None else parts:
        raise WiseftError("give --more with a --recipe, and --part without one")
    made = points_made(recipe, grid) if recipe is not None else []
    searched = {str(recipe["kind"]): ""} if recipe else parts or {}
    plan = Plan(grid, needed, searched, budget, held_out, metrics, made)
    if jobs > 1 and (parts or budget is not None):
        option = "--part" if parts else "--budget"
        raise WiseftError(f"{option} chooses by the results before; leave out --jobs")
    options = weights, device, threads, parts, recipe, more
    points = Points.open((zero_shot, fine_tuned), evaluate, output, *options)
    inputs = points.inputs
    first: dict[str, pd.DataFrame] = {}
    with claimed(output, inputs):

        def check(point: str, frame: pd.DataFrame) -> None:
            for before, other in first.items():
                check_alike(other, frame, (f"alpha {shown(before)}", f"alpha {shown(point)}"))
            if not first:
                chosen(frame, list(roles.places), metrics)
                first[point] = frame
                write_json(output / WORK / INPUTS, inputs)  # what fails at once claims nothing

        at_once = max(min(jobs, len(grid) + len(made)), 2 if plan.parts else 1)
        what = "a model between the two" if at_once == 1 else f"room for {at_once} models at once"
        points.check_room(output, what, at_once)  # before evaluations that take long
        results = measure_all(points, plan.next, check, jobs)
        taken = chosen(results[ENDS[0]], list(roles.places), metrics)
        sets = {
            place: {point: of_set(frame, name, taken[name]) for point, frame in results.items()}
            for name, place in roles.places.items()
        }
        said = _beside(points, sets, roles, plan, output, seed)
        plain = [point for point in results if is_plain(point)]
        missed = unseen([float(each) for each in grid], [float(each) for each in plain])
        alone = {at: {point: each[point] for point in plain} for at, each in sets.items()}
        notes = " ".join(filter(None, [missed, said]))
        return _conclude(points, alone, roles, (output, inputs), given, seed, notes)


def _tables(results: _Results, roles: Roles, seed: int, fixed: float) -> RunTables:
    """Return all tables of what was reported; `fixed` is compared with both ends."""
    read = reported(results, run_of("end-to-end", seed))
    sets = roles.sets({at: f[ENDS[0]] for at, f in results.items()})
    # Shares of right answers and rewards have no average.
    metric = read.metrics.set_index("dataset")["metric"]
    average = metric[metric.index.isin(roles.shifts)].nunique() == 1
    grid = list(results[REFERENCE, TEST])
    return run_tables(table_settings(sets, grid, seed, fixed, average=average), read)


def _beside(
    points: Points, results: _Results, roles: Roles, plan: Plan, output: Path, seed: int
) -> str:
    """Write the best model of parts or a recipe, and return a sentence that compares it."""
    for each in (PARTS, RECIPE):
        shutil.rmtree(output / each, ignore_errors=True)
        (output / f"{each}.json").unlink(missing_ok=True)
    if not plan.parts:
        return ""
    folder, what = (RECIPE, next(iter(plan.parts))) if plan.made else (PARTS, PARTS)
    scores = {point: score_of(rows) for point, rows in results[REFERENCE, HELD_OUT].items()}
    _, start, best = plan.searched(scores)
    n = sum(not is_plain(point) for point in scores)
    over = f"plain interpolation at {shown(start)}, in {n} evaluation{'s' * (n > 1)} of {what}"
    rows, said = pd.DataFrame(), f"Held-out data know no better alphas of parts than {over}."
    if best != start:
        # The two are compared as if they were both ends.
        pair = {at: {ENDS[0]: of[start], ENDS[1]: of[best]} for at, of in results.items()}
        tables = _tables(pair, roles, seed, fixed=1)
        rows = tables.comparisons[tables.comparisons["seed"] != ALL]
        gain, unit = differences(rows, {}, is_shares(tables.table))
        at = f" at {shown(best).removesuffix(f' {what}')}, the best on held-out data,"
        said = (
            f"With {what}{at if len(plan.made) != 1 else ''} the model in the folder "
            f"{folder} has these {unit} (95 % interval) over {over}: {gain}."
        )
        _write_model(points, best, output, folder)
    columns = ["dataset", "difference", "ci_low", "ci_high", "ci_method", "p_value", "test", "n"]
    rows = rows.reindex(columns=columns).astype(object)
    asked = {"recipe": dict(points.recipe), "more": points.sums[2:]}
    about = (asked if plan.made else {PARTS: dict(plan.parts)}) | {
        "plain": shown(start),
        "best": shown(best),
        "differences": rows.where(rows.notna(), None).to_dict("records"),
        "held_out": {shown(point): score.value for point, score in scores.items()},
    }
    write_json(output / f"{folder}.json", about)
    return said


def _conclude(
    points: Points,
    results: _Results,
    roles: Roles,
    where: tuple[Path, Mapping[str, Any]],
    given: str | None,
    seed: int,
    notes: str,
) -> Result:
    """Choose alpha by what was reported, and write tables, page, model and record.

    Args:
        results: by place and alpha, in ascending order.
        where: the sweep's folder, and what it claims.
        given: alpha of the model, in place of the recommended one.
        notes: sentences on alphas that were not evaluated, and on parts.
    """
    output, inputs = where
    grid = list(results[REFERENCE, TEST])
    sets = roles.sets({at: frames[ENDS[0]] for at, frames in results.items()})
    table = _tables(results, roles, seed, float(FIXED_ALPHA)).table
    choices = table_choices(table, given)
    found = recommend(choices, sets, table, " ".join(_doubts(results, roles)), "samples")
    found = found.model_copy(update={"why": f"{found.why} {notes}".rstrip()})
    gains = _tables(results, roles, seed, found.alpha).comparisons
    zero_shot, fine_tuned = map(end_of, points.opened, points.given, points.sums)
    config = points.like.checkpoint.config
    named = config.get("architectures") or [config.get("_class_name")]
    record = Sweep(
        versions=versions(),
        commit=git_commit(),
        inputs=sha256_json(inputs),
        zero_shot=zero_shot,
        fine_tuned=fine_tuned,
        architecture=str(named[0] or "not said"),
        class_names=[],
        templates=[],
        head="",
        evaluate=points.called,
        sets=sets,
        alphas=[float(each) for each in grid],
        choices=choices,
        unlabelled={},
        recommended=found,
        accuracy=accuracies(table),
        model=_write_model(points, format_alpha(found.alpha), output),
    )
    samples = _samples(results)
    with atomic_path(output / PREDICTIONS) as temporary:
        samples.to_parquet(temporary, index=False)
    write_files(output, record, table, gains, section(samples, found.alpha, "samples"))
    write_record(output, record)
    return Result(output, record)


def _doubts(results: _Results, roles: Roles) -> Iterator[str]:
    """Yield sentences on why no alpha is to be recommended."""
    if all(each[ENDS[0]]["value"].equals(each[ENDS[1]]["value"]) for each in results.values()):
        yield "Both ends are the same model: all reported numbers are equal."
    names = dict(zip(results, roles.places, strict=True))
    rows = {at: pd.concat(each.values())[["id", "value"]] for at, each in results.items()}
    for one, two in combinations(rows, 2):
        if rows[one]["id"].iloc[0] and rows[one].equals(rows[two]):
            same = f"{names[one]} and {names[two]} are the same samples"
            yield f"{same}, with the same scores at every alpha."


def _samples(results: _Results) -> pd.DataFrame:
    """Return the score of every sample in the form of predictions: those of right samples are 1."""
    parts = [pd.DataFrame({name: [] for name in ("set", "split", "image", "label")}, dtype=object)]
    for (dataset, split), frames in results.items():
        values = {f"{PREDICTION}{alpha}": frame["value"] for alpha, frame in frames.items()}
        part = pd.DataFrame({"set": dataset, "split": split, "image": frames[ENDS[0]]["id"]})
        shares = pd.DataFrame(values).isin([0, 1]).all(axis=None)
        if part["image"].iloc[0]:
            parts.append(part.assign(label=1.0 if shares else None, **values))
    return pd.concat(parts, ignore_index=True)


def _write_model(points: Points, point: str, output: Path, name: str = MODEL) -> Model:
    """Write the model at a point in F's format; a folder that was there is replaced."""
    made, folder, like = output / WORK / name, output / name, points.like
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    path = points.write(point, made)
    whole = path.is_dir()
    shutil.rmtree(folder, ignore_errors=True)
    (path if whole else made).replace(folder)
    shutil.rmtree(made, ignore_errors=True)
    log.info(f"sweep: wrote {folder} at alpha {shown(point)}, in the format of {like.path}")
    library = "transformers" if whole and "model_type" in like.checkpoint.config else "torch"
    return Model(
        loads_with="wiseft" if like.header is not None else library,
        file=name if whole else f"{name}/{path.name}",
        head=False,
        sha256={each.name: sha256_file(each) for each in folder.iterdir() if each.is_file()},
    )
