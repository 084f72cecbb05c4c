"""One alpha of a sweep with the user's own evaluation: write the model, evaluate it, keep results.

Nothing here knows what the data sets are for, so an alpha may be a job of its own.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import shlex
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from wiseft.base.alphas import FIXED_ALPHA, format_alpha
from wiseft.base.io import require_space, sha256_file, sha256_json
from wiseft.base.progress import quiet
from wiseft.base.temporary import temporary_folder
from wiseft.errors import DamagedFile
from wiseft.foreign.adapters import files_of, is_adapter
from wiseft.foreign.door import Opened
from wiseft.tabulate.reported import RESULTS, check_alike
from wiseft.tabulate.schema import read, write_parquet
from wiseft.tool.command import Command, Group, run
from wiseft.tool.merge import are_thetas, check_files, merge_files
from wiseft.tool.own_readers import read_results
from wiseft.tool.own_results import frame_of_lines, json_object

log = logging.getLogger(__name__)

Function = Callable[[Path], Iterable[Mapping[str, Any]]]
"""From the path of a model to lines of the contract (docs/own-evaluation.md)."""
Next = Callable[[Mapping[str, pd.DataFrame], frozenset[str]], str | None]
"""From what is measured, by alpha, and the alphas under way to the next alpha; None: no more."""
ENDS = ("0.000", "1.000")
POINTS, SCRATCH = "points", "point"
"""In a sweep's work: results by key, and folders of models under way."""


@dataclass(frozen=True)
class Points:
    """All that results depend on but alpha, and where they are kept.

    Attributes:
        ends: the zero-shot and the fine-tuned model, as paths.
        opened: likewise.
        swapped: whether a merge takes the fine-tuned model first, in whose format it writes.
        evaluate: a command, or a function.
        work: the folder that results are kept in.
        device: for `{device}`.
        weights: the key of the weights in a `.pt` that holds several mappings of tensors.
        sums: of the files of both checkpoints, by name.
        running: what ends the commands that run.
    """

    ends: tuple[Path, Path]
    opened: tuple[Opened, Opened]
    swapped: bool
    evaluate: Command | Function
    work: Path
    device: str
    weights: str | None
    sums: list[dict[str, str]]
    running: set[Group] = field(default_factory=set)

    @classmethod
    def open(
        cls,
        ends: tuple[Path, Path],
        evaluate: Command | Function,
        work: Path,
        device: str,
        weights: str | None = None,
    ) -> Points:
        """Return them, checked as a merge checks its models.

        Raises:
            WiseftError: if a checkpoint is refused, or the two do not fit.
        """
        zero, fine = ends
        swapped = not is_adapter(fine)
        both = check_files(*((fine, zero) if swapped else (zero, fine)), weights)
        opened = both[::-1] if swapped else both
        swapped = swapped and not are_thetas(*both)
        sums = [{file.name: sha256_file(file) for file in files_of(path)} for path in ends]
        return cls(ends, opened, swapped, evaluate, work, device, weights, sums)

    @property
    def like(self) -> Opened:
        """The model whose format a model between them has: of an adapter its base."""
        return self.opened[not is_adapter(self.ends[1])]

    @property
    def called(self) -> str:
        """What the record calls the evaluation."""
        how = self.evaluate
        return shlex.join(how.words) if isinstance(how, Command) else _identity(how)["function"]

    def key(self, alpha: str) -> str:
        """Return what results are kept under: sums of models and scripts, command, and alpha."""
        evaluate = self.evaluate
        about = evaluate.identity() if isinstance(evaluate, Command) else _identity(evaluate)
        what = {"ends": self.sums, "recipe": None, "weights": self.weights, "point": alpha}
        return sha256_json({**what, "evaluate": about})

    def stored(self, alpha: str) -> pd.DataFrame | None:
        """Return what was reported at an alpha before; None: nothing, or it is damaged."""
        path = self._path(alpha)
        if not path.exists():
            return None
        try:
            return read(path, RESULTS, "results")
        except DamagedFile as error:
            log.info(f"sweep: {error}; alpha {float(alpha):g} is evaluated again")
            return None

    def measure(self, alpha: str) -> pd.DataFrame:
        """Return what is reported at an alpha, by another call or now; then it is kept.

        Raises:
            WiseftError: if there is no room for the model, the evaluation fails, or it reports
                what is none of the contract's forms.
        """
        if (found := self.stored(alpha)) is not None:
            return found
        with temporary_folder(SCRATCH, self.work) as folder:
            frame = self._evaluated(self.model(alpha, folder), alpha, folder / "results")
        write_parquet(self._path(alpha), frame, RESULTS)
        return frame

    def model(self, alpha: str, folder: Path, copy: bool = False) -> Path:
        """Return the model at an alpha: an end itself unless `copy`, else a new one in a folder.

        Raises:
            WiseftError: if there is no room for it.
        """
        zero, fine = self.ends
        same_form = self.opened[0].checkpoint.kind == self.like.checkpoint.kind
        if not copy and alpha == ENDS[0] and same_form:
            return zero.absolute()
        if not copy and alpha == ENDS[1] and not is_adapter(fine):
            return fine.absolute()
        path, own = folder / self.like.path.name, self.like.path
        files = own.rglob("*") if own.is_dir() else [own]
        size = sum(file.stat().st_size for file in files if file.is_file())
        require_space(folder, size, f"the model at alpha {float(alpha):g}")
        pair, at = self.ends, alpha
        if self.swapped:
            pair, at = (fine, zero), format_alpha(round(1 - float(alpha), 3))
        with quiet():
            merge_files(*pair, at, path, weights=self.weights)
        return path.absolute()

    def _path(self, alpha: str) -> Path:
        return self.work / POINTS / f"{self.key(alpha)}.parquet"

    def _evaluated(self, model: Path, alpha: str, output: Path) -> pd.DataFrame:
        if not isinstance(self.evaluate, Command):
            made = enumerate(self.evaluate(model), 1)
            return frame_of_lines(
                (f"line {number} of the evaluation", each) for number, each in made
            )
        values = {"model": str(model), "alpha": f"{float(alpha):g}", "device": self.device}
        words = self.evaluate.filled({**values, "output": str(output.absolute())})
        if self.evaluate.writes:
            run(words, log.info, self.running)
            return read_results(output)
        printed: list[tuple[str, Mapping[str, Any]]] = []

        def hear(line: str) -> None:
            found = json_object(line)
            if found is None:
                log.info(line)
                return
            printed.append((f"a line that the evaluation printed ({line[:80]})", found))

        run(words, hear, self.running)
        return frame_of_lines(printed)


def _identity(function: Function) -> dict[str, str]:
    """Return what tells a function from others: its name and, where it is known, its source."""
    names = [getattr(function, name, "") for name in ("__module__", "__qualname__")]
    with contextlib.suppress(OSError, TypeError):
        return {"function": ".".join(names), "source": inspect.getsource(function)}
    return {"function": ".".join(names)}


def in_order(grid: Iterable[str]) -> Next:
    """Return what asks for all alphas of a grid: the ends and 0.5 first, then from 0 to 1."""
    first = [*ENDS, FIXED_ALPHA]
    order = [*first, *sorted(set(grid) - {*first})]

    def following(measured: Mapping[str, pd.DataFrame], under_way: frozenset[str]) -> str | None:
        return next((a for a in order if a not in measured and a not in under_way), None)

    return following


def measure_all(
    points: Points, following: Next, check: Callable[[pd.DataFrame], None], jobs: int = 1
) -> dict[str, pd.DataFrame]:
    """Measure alpha after alpha until no more is asked for; return what was reported, by alpha.

    A signal (SIGTERM, SIGINT) ends all commands; what was measured is kept.

    Args:
        check: called with the first results, before others are computed.
        jobs: alphas at a time, each with a model on the disk.

    Raises:
        WiseftError: as `Points.measure`, or if alphas are of different sets or samples.
    """
    measured: dict[str, pd.DataFrame] = {}
    under_way: dict[Future[pd.DataFrame], str] = {}
    with _ended_by_sigterm(), ThreadPoolExecutor(jobs) as pool:
        try:
            while True:
                room = jobs if measured else 1  # the first is checked before others are paid for
                while len(under_way) < room:
                    alpha = following(measured, frozenset(under_way.values()))
                    if alpha is None:
                        break
                    new = "" if points.stored(alpha) is None else ", evaluated before"
                    log.info(f"sweep: alpha {float(alpha):g}{new}")
                    under_way[pool.submit(points.measure, alpha)] = alpha
                if not under_way:
                    return dict(sorted(measured.items()))
                for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                    alpha, frame = under_way.pop(done), done.result()
                    if not measured:
                        check(frame)
                    for first, other in list(measured.items())[:1]:
                        names = (f"alpha {float(first):g}", f"alpha {float(alpha):g}")
                        check_alike(other, frame, names)
                    measured[alpha] = frame
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            while any(future.running() for future in under_way):
                for end in list(points.running):
                    end()
                wait(under_way, timeout=0.1)


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the main thread, so that nothing is left of what runs."""

    def leave(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
