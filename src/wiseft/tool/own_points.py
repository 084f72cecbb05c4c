"""One alpha of a sweep with the user's own evaluation: write the model, evaluate it, keep results.

Nothing here knows what the data sets are for, so an alpha may be a job of its own.
"""

from __future__ import annotations

import inspect
import logging
import shlex
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from wiseft.base.alphas import format_alpha
from wiseft.base.io import require_space, sha256_file, sha256_json
from wiseft.base.messages import quiet
from wiseft.base.temporary import temporary_folder
from wiseft.combine.files import interpolate_files
from wiseft.combine.recipe_settings import recipe_at
from wiseft.errors import DamagedFile, WiseftError
from wiseft.foreign.adapters import is_adapter, sums_of
from wiseft.foreign.configs import tied_names
from wiseft.foreign.door import Opened
from wiseft.foreign.formats import Checkpoint
from wiseft.foreign.model_folder import needed_files
from wiseft.foreign.named import local_path
from wiseft.models.runtime import start_torch
from wiseft.models.towers import floating
from wiseft.tabulate.predictions import ENDS
from wiseft.tabulate.reported import RESULTS
from wiseft.tabulate.schema import read, write_parquet
from wiseft.thetas.tensor_file import examples
from wiseft.tool.claim import WORK, check_claim
from wiseft.tool.command import Command, ended_by_sigterm, run
from wiseft.tool.merge import are_thetas, fitting, merge_opened, open_both
from wiseft.tool.merge_by_recipe import by_recipe, turned
from wiseft.tool.own_plan import is_made, shown, split_point, tensors_of
from wiseft.tool.own_readers import read_results
from wiseft.tool.own_results import frame_of_lines, json_object

log = logging.getLogger(__name__)

Function = Callable[[Path], Iterable[Mapping[str, Any]]]
"""From the path of a model to lines of the contract (docs/own-evaluation.md)."""
Next = Callable[[Mapping[str, pd.DataFrame], Collection[str]], str | None]
"""From what is measured, by point, and the points under way to the next one; None: no more."""
POINTS, SCRATCH = "points", "point"
"""In a sweep's work: results by key, and folders of models under way."""


@dataclass(frozen=True)
class Points:
    """All that results depend on but the point (`own_plan`), and where they are kept.

    Attributes:
        ends: the zero-shot and the fine-tuned model, as paths.
        opened: likewise.
        evaluate: a command, or a function.
        work: the folder that results are kept in.
        device: for `{device}`.
        weights: the key of the weights in a `.pt` that holds several mappings of tensors.
        given: what the user called all checkpoints; both ends first.
        sums: of the weight files of each, by name.
        beside: of the files beside them that a model is loaded with, such as its tokenizer's.
        parts: the part of each tensor that belongs to one.
        recipe: what makes the models of some points, of the ends and `more`; empty: none.
        more: further fine-tuned models, as paths.
        stop: ends all commands as soon as it is set.
    """

    ends: tuple[Path, Path]
    opened: tuple[Opened, Opened]
    evaluate: Command | Function
    work: Path
    device: str
    weights: str | None
    given: Sequence[Path | str]
    sums: list[dict[str, str]]
    beside: list[dict[str, str]]
    parts: Mapping[str, str]
    recipe: Mapping[str, Any]
    more: Sequence[Path]
    stop: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def open(
        cls,
        ends: tuple[Path | str, Path | str],
        evaluate: str | Function,
        output: Path,
        weights: str | None = None,
        device: str = "auto",
        threads: int = 1,
        parts: Mapping[str, str] | None = None,
        recipe: Mapping[str, Any] | None = None,
        more: Sequence[Path | str] = (),
    ) -> Points:
        """Return them, checked as a merge checks its models. Arguments as of `sweep_with`.

        Raises:
            WiseftError: if a checkpoint, part or recipe is refused, or the two do not fit.
        """
        how = Command.parse(evaluate) if isinstance(evaluate, str) else evaluate
        given = [*ends, *more]
        zero, fine, *others = paths = list(map(local_path, given))
        where = str(start_torch(threads, device, mps=True))
        if is_adapter(fine):
            opened = _checked(zero, fine, weights)
        else:  # a merge takes the one first whose format it writes
            other, first = _checked(fine, zero, weights)
            opened = first, other
        own = _own(parts, opened, opened[not is_adapter(fine)].checkpoint) if parts else {}
        if recipe is not None:
            like = opened[not is_adapter(fine)].path
            by_recipe(paths, recipe, ENDS[1], weights, like)
        files = [needed_files(path) if path.is_dir() else {} for path in paths]
        beside = [{name: sha256_file(file) for name, file in each.items()} for each in files]
        sums = [sums_of(path) for path in paths], beside
        about = output / WORK, where, weights, given, *sums, own, recipe or {}, others
        return cls((zero, fine), opened, how, *about)

    @property
    def inputs(self) -> dict[str, Any]:
        """What a sweep's folder is claimed for."""
        return {"ends": self.sums[:2], "weights": self.weights, "evaluate": self.called}

    @property
    def like(self) -> Opened:
        """The model whose format a model between them has: of an adapter its base."""
        return self.opened[not is_adapter(self.ends[1])]

    @property
    def called(self) -> str:
        """What the record calls the evaluation."""
        how = self.evaluate
        return shlex.join(how.words) if isinstance(how, Command) else _identity(how)["function"]

    def _key(self, point: str) -> dict[str, Any]:
        """Return all that the results of a point depend on."""
        how, (alpha, own) = self.evaluate, self._alphas(point)
        files = zip(self.sums, self.beside, strict=True)
        checkpoints = [{"weights": sums, "beside": beside} for sums, beside in files]
        made = recipe_at(self.recipe, 1 + len(self.more), alpha)[0] if is_made(point) else None
        return {
            "checkpoints": checkpoints if made else checkpoints[:2],
            "weights": self.weights,
            "evaluation": how.identity() if isinstance(how, Command) else _identity(how),
            "alpha": alpha,
            "alphas": own,
            "recipe": made and made.options.model_dump(mode="json"),
        }

    def measure(self, point: str) -> pd.DataFrame:
        """Return what is reported at a point, by another call or now; then it is kept.

        Raises:
            WiseftError: if there is no room for the model, the evaluation fails, or it reports
                what is none of the contract's forms.
        """
        path = self.work / POINTS / f"{sha256_json(self._key(point))}.parquet"
        if path.exists():
            try:
                return read(path, RESULTS, "results")
            except DamagedFile as error:
                log.info(f"sweep: {error}; it is evaluated again")
        log.info(f"sweep: alpha {shown(point)}")
        with temporary_folder(SCRATCH, self.work) as folder:
            frame = self._evaluated(point, folder)
        write_parquet(path, frame, RESULTS)
        return frame

    def _alphas(self, point: str) -> tuple[str, dict[str, Any]]:
        """Return the alpha of a point, and of each tensor that has another."""
        alpha, own = split_point(point)
        return alpha, {name: own[part] for name, part in self.parts.items() if part in own}

    def check_room(self, folder: Path, what: str, models: int = 1) -> None:
        """Check that so many models fit into a folder; a WiseftError calls them `what`."""
        own = self.like.path
        files = own.rglob("*") if own.is_dir() else [own]
        size = sum(file.stat().st_size for file in files if file.is_file())
        require_space(folder, models * size, what)

    def write(self, point: str, folder: Path) -> Path:
        """Write the model at a point into a folder, in F's format; return its path.

        Raises:
            WiseftError: if there is no room for it.
        """
        own, (first, second) = self.like.path, self.ends
        self.check_room(folder, f"the model at alpha {shown(point)}")
        alpha, alphas = self._alphas(point)
        to = folder / own.name
        if is_made(point):
            with quiet():
                by_recipe([first, second, *self.more], self.recipe, alpha, self.weights, own)(to)
            return to
        if are_thetas(*self.opened):
            interpolate_files(first, second, alpha, to)
            return to
        if not is_adapter(second):
            first, second, alpha = second, first, turned(alpha)
            alphas = {name: turned(each) for name, each in alphas.items()}
        with quiet():
            both = open_both(first, second, self.weights)
            merge_opened(*both, alpha, to, alphas=alphas)
        return to

    def _model(self, point: str, folder: Path) -> Path:
        """Return an end itself, in F's format if it has another; else the model in between."""
        for end, path, opened in zip(ENDS, self.ends, self.opened, strict=True):
            same = opened.checkpoint.kind == self.like.checkpoint.kind
            if point == end and same and not is_adapter(path):
                return path.absolute()
        return self.write(point, folder).absolute()

    def _evaluated(self, point: str, folder: Path) -> pd.DataFrame:
        between, output = folder / "model", folder / "results"  # apart, whatever F is called
        between.mkdir()
        model, printed = self._model(point, between), folder / "printed"
        if not isinstance(self.evaluate, Command):
            made = enumerate(self.evaluate(model), 1)
            return frame_of_lines((f"line {n} of the evaluation", each) for n, each in made)
        values = {"model": str(model), "alpha": shown(point), "device": self.device}
        values["output"] = str(output.absolute())
        run(self.evaluate.filled(values), printed, self.stop)
        if self.evaluate.writes:
            return read_results(output)
        lines = printed.read_text(encoding="utf-8", errors="replace").splitlines()
        found = ((f"a line that was printed ({line[:80]})", json_object(line)) for line in lines)
        return frame_of_lines((where, each) for where, each in found if each is not None)


def _checked(a: Path, b: Path, weights: str | None) -> tuple[Opened, Opened]:
    """Return both models, opened, if they can be mixed. Raises as a merge does."""
    like, other = open_both(a, b, weights)
    if not are_thetas(like, other):
        fitting(like.checkpoint, other.checkpoint)
    return like, other


def _own(
    parts: Mapping[str, str], opened: tuple[Opened, Opened], like: Checkpoint
) -> dict[str, str]:
    """Return the part of each tensor that belongs to one."""
    if are_thetas(*opened):
        raise WiseftError("--part takes no thetas of wiseft; write both by `wiseft export`")
    names = floating(examples(like.tensors))
    own = tensors_of(parts, names)
    for name, one in tied_names(like.config, like.tensors).items():
        if {name, one} <= names.keys() and own.get(name) != own.get(one):
            raise WiseftError(f"{name} and {one} are one tensor; let a --part match both or none")
    return own


def _identity(function: Function) -> dict[str, str]:
    """Return what tells a function from others: its name and, where it is known, its source."""
    name = f"{function.__module__}.{getattr(function, '__qualname__', '')}"
    try:
        return {"function": name, "source": inspect.getsource(function)}
    except (OSError, TypeError):
        return {"function": name}


def measure_one(
    zero_shot: Path | str,
    fine_tuned: Path | str,
    evaluate: str | Function,
    output: Path,
    alpha: float | str,
    **options: Any,
) -> None:
    """Evaluate one alpha and keep the results, so that `sweep_with` finds them in `output`.

    Several of these may run at a time, on one machine or on many.

    Args:
        output: the sweep's folder, new or with results of the same models and evaluation.
        options: `weights`, `device` and `threads` of `sweep_with`; likewise the others.

    Raises:
        WiseftError: as `sweep_with`; it does not ask what the reported sets are for.
    """
    at = format_alpha(alpha)
    points = Points.open((zero_shot, fine_tuned), evaluate, output, **options)
    check_claim(output, points.inputs)
    points.work.mkdir(parents=True, exist_ok=True)
    measure_all(points, lambda measured, busy: None if measured else at, lambda *_: None)


def measure_all(
    points: Points, following: Next, check: Callable[[str, pd.DataFrame], None], jobs: int = 1
) -> dict[str, pd.DataFrame]:
    """Measure point after point until no more is asked for; return what was reported, by point.

    A signal (SIGTERM, SIGINT) or an error ends all commands; what was measured is kept.

    Args:
        check: called with each point and its results, the first ones before others are computed.
        jobs: points at a time, each with a model on the disk.

    Raises:
        WiseftError: as `Points.measure` and `check`.
    """
    measured: dict[str, pd.DataFrame] = {}
    under_way: dict[Future[pd.DataFrame], str] = {}
    with ended_by_sigterm(), ThreadPoolExecutor(jobs) as pool:
        try:
            while True:
                while len(under_way) < (jobs if measured else 1):
                    alpha = following(measured, under_way.values())
                    if alpha is None:
                        break
                    under_way[pool.submit(points.measure, alpha)] = alpha
                if not under_way:
                    return dict(sorted(measured.items()))
                for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                    alpha, frame = under_way.pop(done), done.result()
                    check(alpha, frame)
                    measured[alpha] = frame
        finally:
            points.stop.set()
