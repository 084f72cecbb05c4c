"""The sweep itself: two checkpoints and folders of images in, tables, page and model out."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd

from wiseft.base.alphas import FIXED_ALPHA, format_alpha, parse_alphas
from wiseft.base.io import atomic_path, sha256_file, sha256_json, write_json
from wiseft.base.messages import quiet
from wiseft.base.progress import Meter
from wiseft.base.provenance import git_commit, versions
from wiseft.combine.files import interpolate_files
from wiseft.combine.recipe_settings import Recipe, checked_recipe
from wiseft.errors import WiseftError
from wiseft.evaluate.suite import Request, evaluate_suite
from wiseft.evaluate.views import SuiteEvaluation
from wiseft.foreign.adapters import is_adapter
from wiseft.foreign.architecture import architecture_name
from wiseft.foreign.door import Features, Given, Opened, open_model
from wiseft.foreign.ends import REFERENCE_FOLDER, Ends, make_ends
from wiseft.foreign.folder_classes import require_names
from wiseft.foreign.named import local_path
from wiseft.foreign.scaled_adapter import check_scalable, write_scaled
from wiseft.foreign.towers import has_head
from wiseft.foreign.twins import twins_of
from wiseft.models.runtime import start_torch
from wiseft.tabulate.inputs import evaluated_with, read_inputs
from wiseft.tabulate.run_tables import RunTables, run_tables
from wiseft.tabulate.selection import best_alpha
from wiseft.thetas.preprocessing import Preprocessing
from wiseft.thetas.theta import load_theta, read_header
from wiseft.tool.claim import INPUTS, WORK, claimed, inputs_of
from wiseft.tool.concluding import accuracies, end_of, run_of, table_choices, table_settings
from wiseft.tool.export import Exported, export_theta, write_beside
from wiseft.tool.flips import predictions, section
from wiseft.tool.folders import Folder, find_folders, image_set, index
from wiseft.tool.head_checks import order_warnings, settled
from wiseft.tool.merged import merged_end
from wiseft.tool.record import (
    MODEL,
    ONE_ERROR,
    PREDICTIONS,
    REFERENCE,
    UNLABELLED,
    ImageSet,
    Model,
    Result,
    Sweep,
    write_record,
)
from wiseft.tool.sanity import doubts
from wiseft.tool.show import recommend, write_files

log = logging.getLogger(__name__)

ALPHAS = tuple(f"{step * 0.05:.3f}" for step in range(21))
_VIEW = {"name": "all", "metric": "accuracy"}
_ENDS = ("0.000", FIXED_ALPHA, "1.000")


def sweep(
    zero_shot: Path | str,
    fine_tuned: Path | str,
    reference: Path | str,
    shifts: Sequence[Path | str],
    output: Path | str,
    *,
    keep: Sequence[Path | str] = (),
    alphas: Iterable[float | str] = ALPHAS,
    alpha: float | str | None = None,
    architecture: str | None = None,
    preprocessing: Preprocessing | None = None,
    templates: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    class_names: Mapping[str, str] | None = None,
    head: Path | None = None,
    features: Features | None = None,
    weights: str | None = None,
    recipe: Mapping[str, Any] | None = None,
    more: Sequence[Path | str] = (),
    batch_size: int | None = None,
    device: str = "auto",
    threads: int = 1,
    seed: int = 0,
    skip_broken: bool = False,
    image_column: Sequence[str] = (),
    label_column: Sequence[str] = (),
    as_adapter: bool = False,
) -> Result:
    """Find the model between a zero-shot and a fine-tuned one, and write it as the second is.

    Alpha is chosen on held-out images of the reference; labels of shifts are never used to choose.
    If something speaks against any choice, such as accuracy at chance, no alpha is recommended.
    The result then has the reason, and the model is written at 0.5. A folder without class folders
    has no labels and gets no accuracy.

    Args:
        zero_shot: file or folder of a checkpoint, in any form that `wiseft merge` takes, a theta,
            or a name (`wiseft.foreign.named`); with both towers or a head.
        fine_tuned: a checkpoint of the same architecture, in any of these forms; or an adapter of
            PEFT (LoRA) for the zero-shot model, whose format the result then has.
        reference: folder of the classes that the model was fine-tuned on, `<class>/<image>`, or of
            `held-out/` and `test/`; none of its images may have been trained on.
        shifts: folders of images from elsewhere, of the same classes or some of them.
        output: a new folder, or that of a sweep of the same inputs, which is continued.
        keep: folders of class folders of other classes. The sweep measures how well the image
            towers still know these. The heads are made of prompts, by the zero-shot model's text
            tower or, if the text towers differ, by the interpolated one. No choice depends on it.
        alphas: the grid; 0, 0.5 and 1 join it.
        alpha: writes the model at this alpha, in place of the recommended one.
        architecture: of files that do not say it: a name of open_clip or timm, or a JSON file.
            None: the one that fits, or the better of two on the held-out images.
        preprocessing: of both models; None: what a checkpoint says, else that of OpenAI's CLIPs.
        templates: prompts of a zero-shot head; None: "a photo of a {c}."
        classes: names of the heads' classes in their order; None: those that a checkpoint brings
            or, sorted, the reference's folders.
        class_names: name of a class by name of its folder, where the folder's won't do.
        head: file with the head of the fine-tuned model, where it is not in the checkpoint.
        features: that heads take, `raw` or `normalised`; None: what a checkpoint says, else those
            with which its head does better on the held-out images.
        weights: the key of the weights in a `.pt` that holds several mappings of tensors.
        recipe: what makes the fine-tuned end of the fine-tuned model and `more`, such as
            `{"kind": "lines"}`: a recipe of `wiseft combine`. None: it is the model itself.
        more: further fine-tuned models that the recipe takes, in its order.
        batch_size: images in a forward pass; None: as many as an evaluation takes.
        device: auto, cpu, cuda, or mps (untested; without a recipe).
        seed: of the split of a reference without one, and of the bootstrap.
        skip_broken: leave out what can't be read as an image, and list it; else it is an error.
        image_column: names of columns of tables that are not called as usual.
        label_column: the same for labels; for tar shards, extensions or keys of JSON.
        as_adapter: of an adapter, write it scaled to alpha instead of the whole model.

    Returns:
        The result; its files lie in `output`.

    Raises:
        WiseftError: if a checkpoint or folder is refused, the two do not fit, or `output` is
            something else.
    """
    output, chosen = Path(output), None if alpha is None else format_alpha(alpha)
    grid = parse_alphas(
        dict.fromkeys(map(format_alpha, [*alphas, *_ENDS, *filter(None, [chosen])]))
    )
    paths = [local_path(zero_shot), local_path(fine_tuned)]
    named = class_names or {}
    columns = {"image": image_column, "label": label_column}
    folders = find_folders(reference, shifts, keep, named, seed, **columns)
    given = Given(architecture, preprocessing, templates, classes, head, features, weights=weights)
    others = [local_path(each) for each in more]
    if as_adapter:
        check_scalable(paths[1])
    if as_adapter and recipe is not None:
        raise WiseftError("what a recipe makes is a whole model; leave out --as-adapter")
    if others and recipe is None:
        raise WiseftError(f"{others[0]} is a further model, but no recipe says what it is for")
    checked = checked_recipe(recipe, 1 + len(others)) if recipe else None
    inputs = inputs_of([*paths, *others], folders, given, named, seed, recipe)
    where = start_torch(threads, device, mps=recipe is None)  # merging takes fp64, which MPS lacks
    how = {"batch_size": batch_size, "device": str(where)}
    with claimed(output, inputs):
        work = output / WORK
        options = (seed, str(where), skip_broken)
        ends, opened = _ends([*paths, *others], checked, folders, given, work, options)
        about = list(map(end_of, opened, [zero_shot, fine_tuned, *more]))
        if ends.templates and ends.where[0] == REFERENCE_FOLDER:
            for folder in folders:
                require_names(folder.source, named)
        log.info(f"sweep: {REFERENCE}: {folders[0].split}; head: {ends.head}")
        write_json(work / INPUTS, inputs)
        pixels = read_header(ends.theta_0).preprocessing
        measured = _evaluate(ends, folders, grid, seed, work, how, skip_broken)
        warnings = order_warnings(ends, measured.predictions)
        for warning in warnings:
            log.info(f"sweep: {warning}")
        choices = _choices(measured, chosen)
        seen = measured.predictions, work / "data", measured.sets
        unsure = doubts(*seen, choices[ONE_ERROR], ends.class_names)
        recommended = recommend(choices, measured.sets, measured.table, unsure)
        like = paths[0] if is_adapter(paths[1]) else paths[1]
        write = partial(_write_adapter, paths) if as_adapter else export_theta
        model = _write_model(ends, like, weights, format_alpha(recommended.alpha), output, write)
        record = Sweep(
            versions=versions(),
            commit=git_commit(),
            evaluations=evaluated_with(measured.metrics.values()),
            inputs=sha256_json(inputs),
            zero_shot=about[0],
            fine_tuned=about[1],
            recipe=dict(recipe) if recipe else None,
            more=about[2:],
            architecture=architecture or architecture_name(ends.architecture),
            preprocessing=pixels,
            class_names=ends.class_names,
            templates=ends.templates,
            head="; ".join([ends.head, *warnings]),
            sets=measured.sets,
            alphas=[float(each) for each in grid],
            choices=choices,
            unlabelled={n: best_alpha(means) for n, means in measured.confidences().items()},
            recommended=recommended,
            accuracy=accuracies(measured.table),
            model=model,
        )
        gains = measured.tabulate(recommended.alpha).comparisons
        files = {name: path.with_name(PREDICTIONS) for name, path in measured.metrics.items()}
        images = predictions(files, measured.sets, work / "data", grid)
        with atomic_path(output / PREDICTIONS) as temporary:
            images.to_parquet(temporary, index=False)
        write_files(output, record, measured.table, gains, section(images, recommended.alpha))
        write_record(output, record)
        return Result(output, record)


sweep.Result = Result  # type: ignore[attr-defined]  # `wiseft.sweep.Result`, as the docs have it


def _ends(
    paths: Sequence[Path],
    recipe: Recipe | None,
    folders: Sequence[Folder],
    given: Given,
    work: Path,
    options: tuple[int, str, bool],
) -> tuple[Ends, list[Opened]]:
    """Return both ends, which are files then, and every checkpoint.

    Args:
        paths: the zero-shot model, the fine-tuned one, and those that a recipe takes besides.
        options: seed, device and skip_broken, of `sweep`.
    """
    log.info("sweep: reading the checkpoints")
    zero = open_model(paths[0], weights=given.weights)
    fine, *more = (open_model(path, zero, given.weights) for path in paths[1:])
    make = partial(make_ends, zero, reference=folders[0].classes or [])
    other_classes = {each.name: each.classes or [] for each in folders if each.kept}
    first = partial(make, fine, work=work, keep=other_classes)
    twins = [] if given.architecture else twins_of(zero, fine)
    ends, given = settled(first, given, twins, folders[0], work / "data", *options)
    if recipe is not None:
        ends = merged_end(recipe, ends, more, partial(make, given=given), work, options[1])
    return ends, [zero, fine, *more]


# ------------------------------------------------------------------------------------- evaluation


@dataclass(frozen=True)
class _Measured:
    """The evaluation of all folders."""

    metrics: dict[str, Path]
    sets: list[ImageSet]
    grid: list[str]
    seed: int

    @property
    def predictions(self) -> Path:
        """The file of the reference's predictions."""
        return self.metrics[REFERENCE].with_name(PREDICTIONS)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The tidy table of the labelled folders."""
        return self.tabulate(float(FIXED_ALPHA)).table

    def tabulate(self, fixed: float) -> RunTables:
        """Return the tables of the labelled folders, with comparisons of an alpha to the ends."""
        labelled = [each.name for each in self.sets if each.labelled]
        settings = table_settings(self.sets, self.grid, self.seed, fixed)
        files = [self.metrics[name] for name in labelled]
        return run_tables(
            settings, read_inputs(files, [f.with_name(PREDICTIONS) for f in files], settings)
        )

    def confidences(self) -> dict[str, pd.Series]:
        """Return the mean confidence on the test images of each shift, by alpha."""
        columns = {f"weight/all/{alpha}/confidence": float(alpha) for alpha in self.grid}
        means = {}
        for each in (one for one in self.sets if one.role == "shift"):
            file = self.metrics[each.name].with_name(PREDICTIONS)
            means[each.name] = (
                pd.read_parquet(file, columns=list(columns)).rename(columns=columns).mean()
            )
        return means


def _evaluate(
    ends: Ends,
    folders: Sequence[Folder],
    grid: list[str],
    seed: int,
    work: Path,
    how: Mapping[str, Any],
    skip_broken: bool,
) -> _Measured:
    broken: list[str] | None = [] if skip_broken else None
    manifests = [index(each, work / "data", ends, seed, broken) for each in folders]
    for fault in broken or []:
        log.info(f"sweep: left out: {fault}")
    sets = [image_set(each, path) for each, path in zip(folders, manifests, strict=True)]
    wanted = {each.name: {"splits": list(each.n), "views": [_VIEW]} for each in sets}
    by_head: dict[Path | None, dict[str, Path]] = {}  # one pass for each head
    for name, manifest in zip(wanted, manifests, strict=True):
        by_head.setdefault(ends.kept.get(name), {})[name] = manifest
    request = Request(
        theta_0=ends.theta_0,
        theta_1=ends.theta_1,
        alphas=grid,
        manifests=[],
        evaluate=SuiteEvaluation({}),
        output_dir=work / "evaluation",
        metadata=run_of(ends.method, seed),
        combinations=("weight",),
        state=work / "state",
        **how,
    )
    total = len(grid) * sum(n or 0 for each in sets for n in each.n.values())
    with Meter(desc="sweep: evaluating", total=total, unit=" images x alphas") as meter:
        request, written = replace(request, progress=meter), dict[str, Path]()
        for head, members in by_head.items():
            seen = SuiteEvaluation.model_validate({name: wanted[name] for name in members})
            part = replace(request, head=head, manifests=list(members.values()), evaluate=seen)
            written |= zip(members, evaluate_suite(part), strict=True)
    return _Measured(written, sets, grid, seed)


# ----------------------------------------------------------------------------------------- choice


def _choices(measured: _Measured, given: str | None) -> dict[str, float]:
    """Return alpha by the way of choosing it; `unlabelled` is of all shifts together."""
    choices = table_choices(measured.table, given)
    confidences = measured.confidences()
    if confidences:
        mean = pd.concat(confidences.values(), axis=1).mean(axis=1)
        choices[UNLABELLED] = best_alpha(mean)
    return choices


def _write_adapter(
    paths: Sequence[Path], theta: Path, like: Path, target: Path, weights: str | None
) -> Exported:
    """Write the adapter that leads from the first path to a theta, with its head beside it."""
    zero, alpha = open_model(paths[0], weights=weights), theta.stem.removeprefix("alpha-")
    write_scaled(paths[1], zero.checkpoint, alpha, target)
    write_beside(load_theta(theta), head := not has_head(zero), target)
    return Exported("peft", head)


def _write_model(
    ends: Ends,
    like: Path,
    weights: str | None,
    alpha: str,
    output: Path,
    write: Callable[[Path, Path, Path, str | None], Exported],
) -> Model:
    """Write the model at an alpha in the format of `like`; a folder that was there is replaced."""
    work, folder = output / WORK, output / MODEL
    theta, made = work / f"alpha-{alpha}.safetensors", work / MODEL
    interpolate_files(ends.theta_0, ends.theta_1, alpha, theta)
    shutil.rmtree(made, ignore_errors=True)
    whole = like.is_dir() or write is not export_theta
    target = made if whole else made / like.name
    with quiet():
        done = write(theta, like, target, weights)
    shutil.rmtree(folder, ignore_errors=True)
    made.replace(folder)
    for file in work.glob("*.safetensors"):
        file.unlink()  # as large as the checkpoints; another call makes them again
    log.info(f"sweep: wrote {folder} at alpha {alpha}, in the format of {like}")
    return Model(
        loads_with=done.loads_with,
        file=MODEL if whole else f"{MODEL}/{like.name}",
        head=done.head_beside,
        sha256={
            file.name: sha256_file(file) for file in sorted(folder.iterdir()) if file.is_file()
        },
    )
