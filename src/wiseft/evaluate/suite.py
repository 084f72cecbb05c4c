"""Evaluation of a suite, from the request to the metrics files: one job, one model in memory, one
decode of every image.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from wiseft.base.locks import alone
from wiseft.base.provenance import made_with
from wiseft.base.stages import VERSION
from wiseft.base.temporary import remove_leftovers, temporary_folder
from wiseft.combine.ensembles import uniforms
from wiseft.errors import WiseftError
from wiseft.evaluate import results
from wiseft.evaluate.chunks import changed_predictions, chunks, images_of_a_pass
from wiseft.evaluate.passes import OUTPUT, RANDOM, WEIGHT, Logits, Sweep, make_sweep
from wiseft.evaluate.request import Request as Request
from wiseft.evaluate.spaces import Head, Projection
from wiseft.evaluate.views import Evaluation, ResolvedView, check_logits, predict, resolve_views
from wiseft.images.store import Manifest, open_manifest, open_split
from wiseft.models.runtime import check_writable, device_names, release_memory
from wiseft.thetas.partial_tensors import PartialTensors, discard, partial_tensors

log = logging.getLogger(__name__)

PARTIAL = ".partial"
"""Suffix of what is put together, and name of its folder where there is no state."""


def evaluate_suite(request: Request) -> list[Path]:
    """Evaluate every dataset for every alpha and return the metrics files.

    Rows of the same identity that are there already are kept and not computed again.

    Raises:
        WiseftError: if the alphas, a theta, a dataset or a view does not fit, or if the number
            of evaluated samples is not that of the manifest.
    """
    alphas = request.grid()
    suite = request.suite()
    theta_0, theta_1, thetas = request.load()
    sweep = make_sweep(theta_0, theta_1, request.inference(), request.combinations)
    if request.logits and not {WEIGHT, OUTPUT} & set(sweep.combinations):
        raise WiseftError(
            f"stored logits are those of the combination {WEIGHT} or {OUTPUT}, but only "
            f"{', '.join(sweep.combinations)} is evaluated; add one to the combinations"
        )
    if request.batch_size is None:
        sweep.inference.batch_size.size = images_of_a_pass(sweep)
    head = Head(theta_1.header.class_names, request.metadata["reference"])
    likes = {manifest.dataset: manifest for manifest in map(open_manifest, request.like)}
    del theta_0, theta_1  # the sweep holds what it needs
    written = []
    with alone(request.state) if request.state else contextlib.nullcontext():
        for number, (manifest, evaluation) in enumerate(suite, start=1):
            job = _Dataset(manifest, evaluation, sweep, head, likes, thetas, request)
            written.append(job.run(alphas, f"evaluate {number}/{len(suite)}"))
        if request.state:
            _clear(request.state, [manifest.dataset for manifest, _ in suite])
    return written


class _Dataset:
    """One dataset of the suite on its way to its two files."""

    def __init__(
        self,
        manifest: Manifest,
        evaluation: Evaluation,
        sweep: Sweep,
        head: Head,
        likes: Mapping[str, Manifest],
        thetas: Mapping[str, str | None],
        request: Request,
    ):
        self._manifest, self._sweep, self._request = manifest, sweep, request
        self._transformed = [
            [open_split(manifest.path, name, transform) for transform in sweep.transforms]
            for name in evaluation.splits
        ]
        self._splits = [same[0] for same in self._transformed]
        self._views = resolve_views(evaluation.views, manifest, self._splits, likes, head)
        self._n, self._classes = sum(map(len, self._splits)), len(head.class_names)
        self._folder = request.output_dir / manifest.dataset
        self._logits = self._folder / results.LOGITS
        self._metadata = {"dataset": manifest.dataset, **request.metadata}
        identity = {
            **thetas,
            "manifest": manifest.identity(evaluation.splits),
            "stage_version": VERSION["evaluate"],
            "precision": request.precision,
            "splits": evaluation.splits,
        }
        self._wanted = results.Record(
            identity,
            results.sample_columns(self._splits),
            views={name: view.definition for name, view in self._views.items()},
            labels={n: view.labels for n, view in self._views.items() if view.labels is not None},
        )
        self._evaluation = {"dataset": manifest.dataset, "identity": identity}
        # Logits are projected and reduced once for all views of one label space.
        self._spaces: dict[Projection | None, dict[str, ResolvedView]] = {}
        for name, view in self._views.items():
            self._spaces.setdefault(view.projection, {})[name] = view

    def run(self, alphas: list[str], progress: str) -> Path:
        """Compute what is missing, write both files and return the metrics file."""
        check_writable(self._folder / "metrics.json")
        remove_leftovers(self._folder, PARTIAL)
        record = self._earlier()
        names = [split.name for split in self._splits]
        unknown = [a for a in alphas if not record.has(self._columns(a), names)]
        wanted = self._request.logits
        known = results.stored_alphas(self._logits, self._evaluation) if wanted else []
        # Either all that are wanted are there, or the file is written anew.
        stored = [] if set(known) >= set(wanted) else wanted
        new = [alpha for alpha in alphas if alpha in unknown or alpha in stored]
        start = time.perf_counter()
        self._skip(self._n * (len(alphas) - len(new)))
        if new:
            self._compute(new, stored, record)
        else:
            results.write_record(self._folder, record, self._metadata)
        n, seconds = self._n, time.perf_counter() - start
        level = logging.DEBUG if self._request.progress else logging.INFO  # it is shown otherwise
        log.log(
            level,
            f"{progress} {self._manifest.dataset}: {n:,} images x {len(new)} alphas in "
            f"{seconds:.1f} s ({n * len(new) / seconds:,.0f} images x alphas/s), "
            f"{len(alphas) - len(new)} kept",
        )
        return self._folder / "metrics.json"

    def _compute(self, new: list[str], stored: Sequence[str], record: results.Record) -> None:
        """Compute alphas, put them into the record and write all files.

        Args:
            stored: alphas whose logits are written.
        """
        columns = [column for alpha in new for column in self._columns(alpha)]
        combination = WEIGHT if WEIGHT in self._sweep.combinations else OUTPUT
        example = torch.empty((self._n, self._classes), dtype=torch.float16, device="meta")
        of_logits = {f"{combination}/{alpha}": example for alpha in stored}
        with self._partial(results.prediction_shapes(columns, self._n) | of_logits) as partial:
            self._predict(new, partial)
            kept = record.how if record.stored - set(columns) else {}
            how = self._how() | made_with() | results.image_digests(self._splits, kept)
            record.how = how | results.earlier_passes(kept, how)
            if self._sweep.inference.arithmetic.name != "fp32":
                projection = next(iter(self._views.values())).projection
                changed = changed_predictions(self._sweep, self._transformed, projection, new)
                record.how["changed_predictions"] = changed
            for column in columns:
                prediction = partial.read(results.names_of(column)[0]).numpy()
                view = self._views[column[1]]
                record.rows |= results.metric_rows(column, view, self._splits, prediction)
            results.write_record(self._folder, record, self._metadata, columns, partial)
            if of_logits:
                results.write_logits(self._logits, of_logits, self._evaluation, partial)

    def _predict(self, alphas: list[str], partial: PartialTensors) -> None:
        """Make all passes over the images, a chunk at a time."""
        numbers = self._numbers() if RANDOM in self._sweep.combinations else None
        pa.default_memory_pool().release_unused()  # what reading the index took
        offset = 0
        for split, same in zip(self._splits, self._transformed, strict=True):
            done = min(max(partial.rows - offset, 0), len(split))
            self._skip(done * len(alphas))
            for pixels in chunks(self._sweep, same, done):
                n = sum(len(batch[0]) for batch in pixels)
                here = slice(offset + done, offset + done + n)
                for_random = None if numbers is None else numbers[here]
                self._reduce(self._sweep.logits(pixels, alphas, for_random), here, partial)
                del pixels  # before the next chunk is read: two would be held at once
                release_memory()
                done += n
                partial.save(offset + done)
            expected = self._manifest.splits[split.name].n
            if done != expected:
                raise WiseftError(
                    f"{self._manifest.dataset}, split {split.name}: evaluated {done} samples, "
                    f"but the manifest has {expected}; prepare the dataset again"
                )
            offset += done

    @torch.inference_mode()
    def _reduce(self, chunk: Logits, here: slice, partial: PartialTensors) -> None:
        """Put the predictions of one chunk, given as the sweep yields it, in their place."""
        with self._sweep.inference.arithmetic.kernels(deterministic=True):
            for combination, alpha, logits in chunk:
                check_logits(logits, self._sweep.never_predicted)
                if (name := f"{combination}/{alpha}") in partial:
                    partial.write(name, results.as_stored(logits).cpu(), here.start)
                for projection, views in self._spaces.items():
                    part = predict(projection(logits) if projection else logits)
                    for view_name, view in views.items():
                        values = part.where(view.covered[here])
                        names = results.names_of((combination, view_name, alpha))
                        for name, column in zip(names, values, strict=True):
                            partial.write(name, torch.from_numpy(column), here.start)
                if self._request.progress is not None:
                    self._request.progress.update(here.stop - here.start)

    def _skip(self, kept: int) -> None:
        if self._request.progress is not None:
            self._request.progress.skip(kept * len(self._sweep.combinations))

    def _earlier(self) -> results.Record:
        """Return what earlier files hold of the same identity and of the same images."""
        record = results.read_record(self._folder, self._wanted, self._metadata)
        if (changed := results.changed_images(self._splits, record.how)) is None:
            return record
        log.info(f"{changed}: images have changed; recomputing")
        self._logits.unlink(missing_ok=True)
        return self._wanted

    def _columns(self, alpha: str) -> list[results.Column]:
        return [(c, view, alpha) for c in self._sweep.combinations for view in self._views]

    def _numbers(self) -> Tensor:
        """Return a random number for every sample, which the seed of the run draws."""
        seed = self._request.metadata["seed"]
        parts = [uniforms(seed, f"{s.dataset}/{s.name}", s.sample_ids) for s in self._splits]
        return torch.from_numpy(np.concatenate(parts))

    def _how(self) -> dict[str, Any]:
        """Return what changes numbers by rounding at most, so that it is told and no identity."""
        how = self._sweep.inference
        told = {"batch_size": how.batch_size.size, "threads": torch.get_num_threads()}
        return told | device_names(how.device) | ({"compile": True} if how.compile else {})

    @contextlib.contextmanager
    def _partial(self, shapes: dict[str, Tensor]) -> Iterator[PartialTensors]:
        """Yield what takes predictions and logits: on a disk, not in memory, so that memory does
        not grow with the images, and a killed evaluation goes on.

        What it goes on with must be the same but for nothing, rounding included: `how`, too.
        """
        header = {"kind": "partial evaluation", **self._metadata, "how": self._how()}
        header |= {"identity": self._wanted.identity, "views": self._wanted.views}
        stamps = b"".join(each.seen.stamps().tobytes() for each in self._splits if each.seen)
        header["images"] = hashlib.sha256(stamps).hexdigest()
        with contextlib.ExitStack() as stack:
            folder = self._request.state
            if folder is None:
                folder = stack.enter_context(temporary_folder(PARTIAL, self._folder))
            path = folder / f"{self._manifest.dataset}{PARTIAL}"
            yield stack.enter_context(partial_tensors(path, shapes, header))


def _clear(state: Path, datasets: list[str]) -> None:
    """Remove the state of a suite, all of which is written: a workflow that runs a failed job again
    begins it without the files of the datasets that were done.
    """
    for name in datasets:
        discard(state / f"{name}{PARTIAL}")
    with contextlib.suppress(OSError):  # absent, or holds files of others
        state.rmdir()
