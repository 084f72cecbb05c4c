"""Evaluation of a suite: one job, one model in memory, one decode of every image."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from wiseft.base.provenance import made_with
from wiseft.base.stages import VERSION
from wiseft.base.temporary import remove_leftovers, temporary_folder
from wiseft.combine.ensembles import uniforms
from wiseft.errors import WiseftError
from wiseft.evaluate.changed import changed_predictions
from wiseft.evaluate.chunks import chunks
from wiseft.evaluate.logits import NAME, as_stored, logits_shapes, stored_alphas, write_logits
from wiseft.evaluate.passes import (
    LAST,
    OUTPUT,
    RANDOM,
    WEIGHT,
    Inference,
    Sweep,
    make_sweep,
)
from wiseft.evaluate.request import Request as Request
from wiseft.evaluate.results import (
    Column,
    Record,
    changed_images,
    image_digests,
    names_of,
    prediction_shapes,
    read_record,
    sample_columns,
    write_record,
)
from wiseft.evaluate.spaces import Head, Projection, own_projection
from wiseft.evaluate.views import (
    Evaluation,
    ResolvedView,
    check_logits,
    predict,
    resolve_views,
)
from wiseft.images.store import Manifest, Split, open_manifest, open_split
from wiseft.models.batch_size import BatchSize
from wiseft.models.footprint import usual_batch_size
from wiseft.models.precision import Arithmetic
from wiseft.models.runtime import check_writable, device_names, release_memory
from wiseft.thetas.partial_tensors import PartialTensors, discard, partial_tensors
from wiseft.thetas.resume_state import alone
from wiseft.thetas.theta import Theta

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
    inference = _inference(request)
    sweep = make_sweep(theta_0, theta_1, inference, request.combinations)
    if request.logits and not {WEIGHT, OUTPUT} & set(sweep.combinations):
        raise WiseftError(
            f"stored logits are those of the combination {WEIGHT} or {OUTPUT}, but only "
            f"{', '.join(sweep.combinations)} is evaluated; add one to the combinations"
        )
    if request.batch_size is None:
        inference.batch_size.size = _batch_size(sweep)
    header = theta_1.header
    head = Head(header.class_names, request.metadata["reference"])
    likes = {manifest.dataset: manifest for manifest in map(open_manifest, request.like)}
    del theta_0, theta_1  # the sweep holds what it needs
    written = []
    with alone(request.state) if request.state else contextlib.nullcontext():
        for number, (manifest, evaluation) in enumerate(suite, start=1):
            transformed = [
                [open_split(manifest.path, name, transform) for transform in sweep.transforms]
                for name in evaluation.splits
            ]
            splits = [same[0] for same in transformed]
            views = resolve_views(evaluation.views, manifest, splits, likes, head)
            identity = thetas | _identity(manifest, evaluation, request.precision)
            job = _Dataset(manifest, transformed, views, len(header.class_names), identity, request)
            written.append(job.run(sweep, alphas, f"evaluate {number}/{len(suite)}"))
        if request.state:
            _clear(request.state, [manifest.dataset for manifest, _ in suite])
    return written


@torch.inference_mode()
def logits_of(
    theta: Theta, manifest: Manifest, split: str, batch_size: int | None, device: str
) -> Iterator[Tensor]:
    """Yield the logits of one theta on one split, fp32 (n, classes of the dataset), in order, as an
    evaluation computes them; nothing is written.

    Raises:
        WiseftError: as `evaluate_suite`.
    """
    target = torch.device(device)
    inference = Inference(target, Arithmetic("fp32", target), BatchSize(batch_size or 1))
    sweep = make_sweep(None, theta, inference)
    if batch_size is None:
        inference.batch_size.size = _batch_size(sweep)
    images = open_split(manifest.path, split, *sweep.transforms)
    projection = own_projection(manifest, Head(theta.header.class_names, "head"))
    with inference.arithmetic.kernels(deterministic=True):
        for pixels in chunks(sweep, [images], together=False):
            for _, _, logits in sweep.logits(pixels, [LAST]):
                check_logits(logits, sweep.never_predicted)
                yield projection(logits) if projection else logits


def _inference(request: Request) -> Inference:
    device = torch.device(request.device)
    advice = "evaluate on a device with more memory, or set the model's precision to bf16"
    batch_size = BatchSize(request.batch_size or 1, advice=advice)
    arithmetic = Arithmetic(request.precision, device)
    if str(arithmetic) != "fp32":
        log.info(f"arithmetic of the image tower: {arithmetic}")
    return Inference(device, arithmetic, batch_size, request.compile)


def _batch_size(sweep: Sweep) -> int:
    """Return the usual images of a pass or, on a GPU, as many as its memory has room for."""
    device = sweep.inference.device.type
    usual = usual_batch_size(device, max(transform.size for transform in sweep.transforms))
    fits = None if device == "cpu" else sweep.images_that_fit()
    if fits is None or fits >= usual:
        return usual
    log.info(f"{max(1, fits)} images at a time, as many as the memory of the device has room for")
    return max(1, fits)


def _clear(state: Path, datasets: list[str]) -> None:
    """Remove the state of a suite, all of which is written: a workflow that runs a failed job again
    begins it without the files of the datasets that were done.
    """
    for name in datasets:
        discard(_partial(state, name))
    with contextlib.suppress(OSError):  # absent, or holds files of others
        state.rmdir()


def _partial(folder: Path, dataset: str) -> Path:
    return folder / f"{dataset}{PARTIAL}"


def _identity(manifest: Manifest, evaluation: Evaluation, precision: str) -> dict[str, Any]:
    return {
        "manifest": manifest.identity(evaluation.splits),
        "stage_version": VERSION["evaluate"],
        "precision": precision,
        "splits": evaluation.splits,
    }


def _how(inference: Inference) -> dict[str, Any]:
    """Return what changes numbers by rounding at most, so that it is told and no identity."""
    how = {"batch_size": inference.batch_size.size, "threads": torch.get_num_threads()}
    return how | device_names(inference.device) | ({"compile": True} if inference.compile else {})


class _Dataset:
    """One dataset of the suite on its way to its two files."""

    def __init__(
        self,
        manifest: Manifest,
        transformed: list[list[Split]],
        views: dict[str, ResolvedView],
        n_classes: int,
        identity: dict[str, Any],
        request: Request,
    ):
        self._manifest = manifest
        self._transformed = transformed
        self._splits = splits = [same[0] for same in transformed]
        self._views = views
        self._request = request
        self._n = sum(map(len, splits))
        self._classes = n_classes
        self._folder = request.output_dir / manifest.dataset
        self._metadata = {"dataset": manifest.dataset, **request.metadata}
        self._wanted = Record(
            identity,
            sample_columns(splits),
            views={name: view.definition for name, view in views.items()},
            labels={n: view.labels for n, view in views.items() if view.labels is not None},
        )
        self._evaluation = {"dataset": manifest.dataset, "identity": identity}
        # Logits are projected and reduced once for all views of one label space.
        self._spaces: dict[Projection | None, dict[str, ResolvedView]] = {}
        for name, view in views.items():
            self._spaces.setdefault(view.projection, {})[name] = view

    def run(self, sweep: Sweep, alphas: list[str], progress: str) -> Path:
        """Compute what is missing and write both files."""
        check_writable(self._folder / "metrics.json")
        remove_leftovers(self._folder, PARTIAL)
        record = self._earlier()
        names = [split.name for split in self._splits]
        unknown = [a for a in alphas if not record.has(self._columns(sweep, a), names)]
        file = self._folder / NAME
        known = set(stored_alphas(file, self._evaluation)) if self._request.logits else set()
        # Either all that are wanted are there, or the file is written anew.
        stored = [] if known >= set(self._request.logits) else self._request.logits
        new = [alpha for alpha in alphas if alpha in unknown or alpha in stored]
        start = time.perf_counter()
        if new:
            self._compute(sweep, new, stored, record)
        else:
            write_record(self._folder, record, self._metadata)
        n, seconds = self._n, time.perf_counter() - start
        level = logging.DEBUG if self._request.progress else logging.INFO  # it is shown otherwise
        log.log(
            level,
            f"{progress} {self._manifest.dataset}: {n:,} images x {len(new)} alphas in "
            f"{seconds:.1f} s ({n * len(new) / seconds:,.0f} images x alphas/s), "
            f"{len(alphas) - len(new)} kept",
        )
        return self._folder / "metrics.json"

    def _earlier(self) -> Record:
        """Return what earlier files hold of the same identity and of the same images."""
        record = read_record(self._folder, self._wanted, self._metadata)
        if (changed := changed_images(self._splits, record.how)) is None:
            return record
        log.info(f"{changed}: images have changed; recomputing")
        (self._folder / NAME).unlink(missing_ok=True)
        wanted = self._wanted
        return Record(wanted.identity, wanted.samples, wanted.views, wanted.labels)

    def _compute(self, sweep: Sweep, new: list[str], stored: Sequence[str], record: Record) -> None:
        """Compute alphas, put them into the record and write all files.

        Args:
            stored: alphas whose logits are written.
        """
        columns = [column for alpha in new for column in self._columns(sweep, alpha)]
        combination = WEIGHT if WEIGHT in sweep.combinations else OUTPUT
        of_logits = logits_shapes(stored, combination, (self._n, self._classes))
        shapes = prediction_shapes(columns, self._n) | of_logits
        with self._partial(sweep.inference, shapes) as partial:
            self._predict(sweep, new, partial)
            kept = record.how if record.stored - set(columns) else {}
            record.how = _how(sweep.inference) | made_with() | image_digests(self._splits, kept)
            if sweep.inference.arithmetic.name != "fp32":
                projection = next(iter(self._views.values())).projection
                changed = changed_predictions(sweep, self._transformed, projection, new)
                record.how["changed_predictions"] = changed
            for column in columns:
                prediction = partial.read(names_of(column)[0]).numpy()
                record.rows.update(self._rows(column, prediction))
            write_record(self._folder, record, self._metadata, columns, partial)
            if of_logits:
                write_logits(self._folder / NAME, of_logits, self._evaluation, partial)

    def _rows(
        self, column: Column, prediction: NDArray[np.int32]
    ) -> dict[tuple[str, str, str, str], dict[str, Any]]:
        """Return the metrics of a column's predictions, a row a split."""
        combination, name, alpha = column
        view, rows, offset = self._views[name], {}, 0
        for split in self._splits:
            outcome = view.measure(split.name, prediction[offset : offset + len(split)])
            offset += len(split)
            rows[split.name, *column] = {
                "split": split.name,
                "view": name,
                "combination": combination,
                "alpha": alpha,
                "metric": view.settings.metric,
                "value": outcome.value,
                "n": outcome.n,
                "n_correct": outcome.n_correct,
                "groups": outcome.groups,
            }
        return rows

    def _columns(self, sweep: Sweep, alpha: str) -> list[Column]:
        return [(c, view, alpha) for c in sweep.combinations for view in self._views]

    @contextlib.contextmanager
    def _partial(self, inference: Inference, shapes: dict[str, Tensor]) -> Iterator[PartialTensors]:
        """Yield what takes predictions and logits: on a disk, not in memory, so that memory does
        not grow with the images, and a killed evaluation goes on.

        What it goes on with must be the same but for nothing, rounding included: `how`, too.
        """
        request = self._request
        header = {"kind": "partial evaluation", **self._metadata, "how": _how(inference)}
        header |= {"identity": self._wanted.identity, "views": self._wanted.views}
        stamps = b"".join(each.seen.stamps().tobytes() for each in self._splits if each.seen)
        header["images"] = hashlib.sha256(stamps).hexdigest()
        with contextlib.ExitStack() as stack:
            folder = request.state
            if folder is None:
                folder = stack.enter_context(temporary_folder(PARTIAL, self._folder))
            path = _partial(folder, self._manifest.dataset)
            yield stack.enter_context(partial_tensors(path, shapes, header))

    def _predict(self, sweep: Sweep, alphas: list[str], partial: PartialTensors) -> None:
        numbers = self._numbers() if RANDOM in sweep.combinations else None
        pa.default_memory_pool().release_unused()  # what reading the index took
        offset = 0
        for split, same in zip(self._splits, self._transformed, strict=True):
            done = min(max(partial.rows - offset, 0), len(split))
            for pixels in chunks(sweep, same, done):
                n = sum(len(batch[0]) for batch in pixels)
                here = slice(offset + done, offset + done + n)
                for_random = None if numbers is None else numbers[here]
                self._reduce(sweep.logits(pixels, alphas, for_random), sweep, here, partial)
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

    def _numbers(self) -> Tensor:
        """Return a random number for every sample, which the seed of the run draws."""
        seed = self._request.metadata["seed"]
        parts = [
            uniforms(seed, f"{split.dataset}/{split.name}", split.sample_ids)
            for split in self._splits
        ]
        return torch.from_numpy(np.concatenate(parts))

    @torch.inference_mode()
    def _reduce(
        self,
        chunk: Iterable[tuple[str, str, Tensor]],
        sweep: Sweep,
        here: slice,
        partial: PartialTensors,
    ) -> None:
        """Put the predictions of one chunk, given as the sweep yields it, in their place."""
        with sweep.inference.arithmetic.kernels(deterministic=True):
            for combination, alpha, logits in chunk:
                check_logits(logits, sweep.never_predicted)
                if (name := f"{combination}/{alpha}") in partial:
                    partial.write(name, as_stored(logits).cpu(), here.start)
                for projection, views in self._spaces.items():
                    part = predict(projection(logits) if projection else logits)
                    for view_name, view in views.items():
                        values = part.where(view.covered[here]).columns().values()
                        names = names_of((combination, view_name, alpha))
                        for name, column in zip(names, values, strict=True):
                            partial.write(name, torch.from_numpy(column), here.start)
                if self._request.progress is not None:
                    self._request.progress(here.stop - here.start)
