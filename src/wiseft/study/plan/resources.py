"""What a job asks for: memory of the machine and of a GPU, and how long it may take.

Memory is counted (`wiseft.study.plan.footprints`), time estimated from FLOPs or from a rate that
was measured; neither imports torch. Rules, `wiseft doctor` and the Slurm profile ask this.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from wiseft.models.footprint import (
    CONTEXT,
    FLOAT,
    SPARE,
    Footprint,
    evaluation_bytes,
    images_that_fit,
    spared,
    training_bytes,
    usual_batch_size,
)
from wiseft.models.gpus import memory_bytes
from wiseft.study.config import FinetuneSettings
from wiseft.study.plan.estimate import Assumptions
from wiseft.study.plan.footprints import footprint_of
from wiseft.study.plan.hardware import PEAKS, Peak
from wiseft.study.plan.rates import FIXED, of_towers, rate_of_training, read_rates
from wiseft.study.plan.towers import TowerCost, known_cost
from wiseft.study.plan.work import (
    Work,
    evaluated_images,
    evaluation_passes,
    forward_work,
    held_out_images,
    prompts_of,
    training_samples,
    training_work,
)
from wiseft.study.targets import Run, Targets
from wiseft.study.targets.jobs import FEEDING, MODEL_RULES

CLUSTER_GPUS, LONGEST = "WISEFT_CLUSTER_GPUS", "WISEFT_LONGEST_MINUTES"
"""Environment variables that the profile of a cluster sets: its nodes have GPUs, whatever this
machine has; minutes that a job may ask for."""
ASSUMED_GPU, ASSUMED_MEMORY = "a100", 80 * 10**9
"""The GPU where none is seen from here and `device_memory_gb` does not say its memory."""
CPU = Peak(0.05, 0.05)
"""TFLOP/s of one thread."""
SAFETY, MEASURED_SAFETY = 2.0, 1.3
"""Times that a job may take longer than is estimated, or than a rate says that was measured."""
START_MINUTES = 20
DECODE_SECONDS = 0.0044 / 224**2
"""To decode and resize an image on one thread, by pixels of the result (measured, 224 pixels)."""

PROCESS = {"cpu": 900_000_000, "cuda": 4_000_000_000}
"""Bytes of a process with torch and without a model (CPU: jobs of digits took 0.69 to 0.96 GB in
all); with CUDA its libraries are loaded too."""
COPIES = {"zeroshot": 3, "evaluate": 3, "train": 8}
"""Copies of the weights in the machine's memory: read, in the model, and written; an evaluation has
two ends, a training what is kept of it and the state that it saves."""
FEATURE_BATCH = 128
MOST = 3
"""Times that an attempt may ask for more than the first."""
UNKNOWN_MB, UNKNOWN_MINUTES = 16_000, 1440
"""What jobs of a model ask for that has not been counted."""


@dataclass(frozen=True)
class Need:
    """What a job takes, as it was counted.

    Attributes:
        memory: of the machine, in bytes.
        device: of the GPU, in bytes; 0 without one.
        batch: images in a forward (and backward) pass; 0 where there are none.
        hours: estimated, or measured.
        safety: times that they may be exceeded.
    """

    memory: float
    device: float = 0
    batch: int = 0
    hours: float = 0.0
    safety: float = SAFETY


class Resources:
    """What the jobs of an experiment ask for, by rule and wildcards.

    Args:
        assume_gpu: models run on a GPU of another machine, unless the configuration says `cpu`.
    """

    def __init__(self, targets: Targets, *, assume_gpu: bool = False):
        self._targets = targets
        settings = targets.settings
        on_cluster = assume_gpu or bool(os.environ.get(CLUSTER_GPUS))
        on_cluster = on_cluster and settings.device != "cpu"
        self.device_type = "cuda" if on_cluster or targets.jobs.gpus("zeroshot") else "cpu"
        # Threads that read images: a cluster is asked for as many as feed a GPU.
        self._readers = FEEDING if on_cluster else targets.jobs.threads("zeroshot")
        given = settings.device_memory_gb
        here = 0 if on_cluster else memory_bytes()
        self.device_memory = int(given * 1e9) if given else here or ASSUMED_MEMORY
        self._longest = float(os.environ.get(LONGEST) or "inf")
        peak = PEAKS[ASSUMED_GPU] if self.device_type == "cuda" else CPU
        self._assumptions = Assumptions(ASSUMED_GPU, peak)
        self._rates = read_rates(targets.catalogue.root, self.device_type)
        self._evaluated = of_towers(self._rates, "evaluation", targets)
        self.need: Callable[..., Need | None] = cache(self._need)

    def of(self, rule: str) -> dict[str, Any]:
        """Return what a rule of the workflow gives as its resources.

        A rule that is in `FIXED` asks for the same whatever it makes. What others ask for depends
        on wildcards and attempt of a job; a GPU, and the device, where they run a model.
        """
        if rule in FIXED:
            return dict(zip(("mem_mb", "runtime"), FIXED[rule], strict=True))
        asked: dict[str, Any] = {"mem_mb": self._of_job(self.mem_mb, rule)}
        if rule in (*MODEL_RULES, *self._targets.jobs.evaluations):
            # Planning calls a function for each job; without a GPU there is nothing to ask.
            on_gpu = self.device_type == "cuda"
            asked["gpu_mem_mb"] = self._of_job(self.gpu_mem_mb, rule) if on_gpu else 0
            asked["gpu"] = self._of_job(self._gpus, rule) if on_gpu else 0
            asked["device"] = self._targets.settings.device
        return asked | {"runtime": self._of_job(self.runtime, rule)}

    @staticmethod
    def _of_job(resource: Callable[..., int], rule: str) -> Callable[..., int]:
        def asked(wildcards: Any, attempt: int) -> int:
            of = [wildcards.model, *filter(None, [getattr(wildcards, "method", None)])]
            return resource(rule, *of, attempt=attempt)

        return asked

    def _gpus(self, rule: str, *of: str, attempt: int = 1) -> int:
        return self._targets.jobs.gpus(rule, *of)

    def mem_mb(self, rule: str, *of: str, attempt: int = 1) -> int:
        """Return the memory that a job asks for, in MB; more at each attempt.

        Args:
            rule: as in the workflow; of an evaluation its suite's, `evaluate_<suite>`.
            of: the model and, where it has one, the method.
        """
        need = self.need(rule, *of)
        return self._grown(attempt, rule, *of) * (_mb(need.memory) if need else UNKNOWN_MB)

    def gpu_mem_mb(self, rule: str, *of: str, attempt: int = 1) -> int:
        """Return the memory of a GPU that a job needs, what can't be counted included, in MB; the
        same at each attempt, because batches are halved where it runs out.
        """
        need = self.need(rule, *of)
        asked = (need.device + CONTEXT) / (1 - SPARE) if need and need.device else 0
        return math.floor(asked / 1e6)

    def runtime(self, rule: str, *of: str, attempt: int = 1) -> int:
        """Return the minutes that a job may take; more at each attempt, up to the longest."""
        minutes = self._grown(attempt, rule, *of) * self._minutes(rule, *of)
        return math.ceil(min(minutes, self._longest))

    def links(self, rule: str, *of: str) -> int:
        """Return the jobs, one after another, that do the work of one that may not take so long:
        each goes on from the state that the one before has saved.
        """
        return max(1, math.ceil(self._minutes(rule, *of) / self._longest))

    def retries(self, rule: str) -> int | None:
        """Return how often a rule's jobs are tried again; None: as often as those of other rules.

        So often that the longest of its jobs ends, and has two failures besides.
        """
        jobs = self.jobs() if self._longest < math.inf else []
        links = max((self.links(*job) for job in jobs if job[0] == rule), default=1)
        return links + 1 if links > 1 else None

    def _minutes(self, rule: str, *of: str) -> float:
        need = self.need(rule, *of)
        return START_MINUTES + 60 * need.hours * need.safety if need else UNKNOWN_MINUTES

    def _grown(self, attempt: int, rule: str, *of: str) -> int:
        """Return how many times as much an attempt asks for; one that only goes on, the same."""
        return min(max(1, attempt - self.links(rule, *of) + 1), MOST)

    def jobs(self) -> list[tuple[str, ...]]:
        """Return every rule that runs a model, with the model and method, once for all seeds."""
        t = self._targets
        found: list[tuple[str, ...]] = []
        for rule, models in self._of_heads():
            found += [(rule, model) for model in models]
        evaluated = {(run.model, run.method_id, run.baseline) for run in t.runs}
        trained = ((run.model, run.method_id, run.baseline) for run in [*t.runs, *t.trainings])
        for model, method, baseline in dict.fromkeys(trained):
            kinds = {"search": method in t.searched, "finetune": method in t.finetuned}
            rules = ["baseline"] if baseline else [rule for rule, has in kinds.items() if has]
            rules += t.jobs.evaluations if (model, method, baseline) in evaluated else []
            found += [(rule, model, method) for rule in rules]
        return found

    def hungriest(self) -> tuple[str, ...] | None:
        """Return the job that asks for the most memory, of those whose model was counted."""
        counted = (job for job in self.jobs() if self.need(*job))
        return max(counted, key=lambda job: self.mem_mb(*job), default=None)

    def notes(self) -> list[str]:
        """Return sentences about models that were not counted, and what does not fit a device."""
        models = [m for m in self._targets.all_models if self._parts(m) is None]
        uncounted = (
            f"The memory of {', '.join(models)} is not counted yet, and its jobs ask for "
            f"{UNKNOWN_MB // 1000} GB. Count it: python -m wiseft.study.plan.footprints --write"
        )
        large = [
            f"{rule} of {' '.join(of)} needs {self.gpu_mem_mb(rule, *of) / 1e3:.0f} GB of GPU "
            f"memory however small its batches, and there are {self.device_memory / 1e9:g} GB"
            + (rule in ("finetune", "baseline"))
            * "; bf16 or activation_checkpointing take less"
            for rule, *of in self.jobs()
            if self.gpu_mem_mb(rule, *of) > self.device_memory / 1e6
        ]
        chained = [
            f"{rule} of {' '.join(of)} may take {self._minutes(rule, *of) / 60:.0f} h, and a job "
            f"{self._longest / 60:g} h at most. Up to {self.links(rule, *of)} jobs continue each "
            "other from saved states by themselves. `wiseft plan --gpus N` shows what shortens it."
            for rule, *of in self.jobs()
            if self.links(rule, *of) > 1
        ]
        return [*([uncounted] if models else []), *large, *chained]

    # ------------------------------------------------------------------------------------ by rule

    def _of_heads(self) -> list[tuple[str, list[str]]]:
        t = self._targets
        text = t.experiment.models if t.reading_text else []
        heads = {"zeroshot": t.prompted, "zeroshot_calibrated": t.calibrated, "text_tower": text}
        return [*heads.items(), ("zeroshot_supervised", t.supervised), ("weights", t.fetched)]

    def _need(self, rule: str, model: str, method: str = "") -> Need | None:
        if any(self._parts(name) is None for name in self._targets.resident(model, method)):
            return None
        if rule.startswith("evaluate_"):
            return self._evaluation(model, method, rule.removeprefix("evaluate_"))
        if rule in ("import_checkpoint", "combine"):  # as heads, whatever trained it
            return self._zeroshot(rule, model)
        if rule in ("finetune", "baseline", "search"):
            settings = self._targets.catalogue.method_settings(method)
            whole = settings.trainable != "head"
            return (self._training if whole else self._head)(model, method, settings)
        return self._zeroshot(rule, model)

    def _parts(self, model: str) -> tuple[TowerCost, Footprint] | None:
        """Return cost and footprint of an evaluation; None where one of them is not known."""
        catalogue = self._targets.catalogue
        cost = known_cost(catalogue, model)
        footprint = footprint_of(catalogue, model, None, self.device_type)
        return (cost, footprint) if cost and footprint else None

    def _known(self, model: str) -> tuple[TowerCost, Footprint]:
        parts = self._parts(model)
        assert parts is not None  # `_need` asked
        return parts

    def _zeroshot(self, rule: str, model: str) -> Need:
        """Heads, weights and text towers: both towers, and prompts or images one pass at a time."""
        cost, footprint = self._known(model)
        both = FLOAT * (cost.image_parameters + cost.text_parameters)
        memory = PROCESS["cpu"] + COPIES["zeroshot"] * both
        if rule not in ("zeroshot", "zeroshot_calibrated"):
            return Need(memory)
        t = self._targets
        reference = t.data.entries[t.reference]
        prompts = max(
            prompts_of(t, entry) or 100 * entry.class_count
            for entry in (t.data.entries[name] for name in (t.reference, *t.experiment.keep))
        )
        work = Work(forward_flops=prompts * cost.text_flops)
        split = t.entry(model).calibrate
        images = reference.splits.get(split, 0) if split else 0
        batch = FEATURE_BATCH if images else 0
        passes = both + max(batch * footprint.peak, both)  # 256 prompts take less than the weights
        hours = self._assumptions.hours(model, work)
        hours += self._hours(model, forward_work(images, cost), images)
        return self._placed(memory, passes, batch, hours)

    def _evaluation(self, model: str, method: str, suite: str) -> Need:
        t = self._targets
        resident = t.resident(model, method)
        run = Run(model, t.reference, method, 0, baseline=method not in t.two_ended)
        passes = evaluation_passes(t, run)
        members = [t.data.entries[name] for name in t.data.evaluations[suite]]
        images = sum(evaluated_images(t, entry) for entry in members)
        parts = [self._known(name) for name in resident]
        copies = 3 if passes > 1 else 1
        sizes = [t.entry(name).preprocessing.size for name in resident]
        usual = usual_batch_size(self.device_type, max(sizes))

        def taken(batch: int) -> int:
            return sum(evaluation_bytes(each, batch, copies=copies) for _, each in parts)

        batch = usual
        if self.device_type == "cuda":
            usable = self.device_memory - spared(self.device_memory)
            batch = max(1, bisect_right(range(1, usual + 1), usable, key=taken))
        columns = len(t.alphas(method)) * 2 * max(len(entry.views) or 1 for entry in members)
        kept = 200 * images + 24 * images * columns  # ids; predictions, computed and written
        memory = PROCESS[self.device_type] + kept
        memory += COPIES["evaluate"] * sum(each.weights for _, each in parts)
        hours = sum(
            self._hours(name, forward_work((passes if copies == 3 else 1) * images, cost), images)
            for name, (cost, _) in zip(resident, parts, strict=True)
        )
        measured = model in self._evaluated
        return self._placed(memory, taken(batch), batch, hours, measured)

    def _training(self, model: str, method: str, settings: FinetuneSettings) -> Need | None:
        t = self._targets
        cost, _ = self._known(model)
        footprint = footprint_of(t.catalogue, model, settings, self.device_type)
        if footprint is None:
            return None
        reference, how = t.data.entries[t.reference], t.settings.training.how
        samples = training_samples(settings, reference)
        gpus = how.gpus_of(model, method)
        share = -(-min(settings.batch_size, samples) // gpus)
        of_weights = settings.kept
        batch = min(share, how.micro_batch if isinstance(how.micro_batch, int) else share)
        bounded = self.device_type == "cuda" or t.settings.device_memory_gb is not None
        if bounded and settings.objective.separable and settings.batch_norm == "eval":
            fits = images_that_fit(footprint, self.device_memory, training=True, **of_weights)
            while batch > max(1, fits):
                batch = -(-batch // 2)
        taken = training_bytes(footprint, batch, **of_weights)
        work = training_work(settings, reference, cost)
        rate = rate_of_training(t, self._rates, model, method, self.device_type)
        if rate:
            hours = work.trained_images / rate / 3600 / gpus
        else:
            hours = self._assumptions.hours(model, work, settings.precision) / gpus
            hours += self._decoding(model, work.trained_images, how.workers) / gpus
        memory = PROCESS[self.device_type] * gpus + COPIES["train"] * footprint.weights
        return self._placed(memory, taken, batch, hours, measured=rate is not None)

    def _head(self, model: str, method: str, settings: FinetuneSettings) -> Need:
        """A linear classifier: features of all images, which then lie on the device."""
        t = self._targets
        cost, footprint = self._known(model)
        reference = t.data.entries[t.reference]
        images = training_samples(settings, reference) + held_out_images(settings, reference)
        features = FLOAT * images * cost.width
        trials = settings.search.trials if settings.search else 1
        steps = 6 * cost.width * reference.class_count * images * settings.epochs * trials
        hours = self._hours(model, forward_work(images, cost), images)
        hours += self._assumptions.hours(model, Work(forward_flops=steps))
        batch = FEATURE_BATCH
        if self.device_type == "cuda":
            fits = images_that_fit(footprint, self.device_memory, training=False, copies=1)
            batch = max(1, min(batch, fits))
        taken = max(batch * footprint.peak, 2 * features) + footprint.weights
        memory = PROCESS[self.device_type] + COPIES["evaluate"] * footprint.weights + features
        return self._placed(memory, taken, batch, hours)

    # ------------------------------------------------------------------------------------ parts

    def _placed(
        self, memory: float, taken: float, batch: int, hours: float, measured: bool = False
    ) -> Need:
        """Return a need whose model is on the device, or in the machine's memory."""
        safety = MEASURED_SAFETY if measured else SAFETY
        if self.device_type == "cuda":
            return Need(memory, taken, batch, hours, safety)
        return Need(memory + taken, 0, batch, hours, safety)

    def _hours(self, model: str, work: Work, images: int) -> float:
        """Return the hours of forward passes, each image read once."""
        if rate := self._evaluated.get(model):
            return work.seen_images / rate / 3600
        return self._assumptions.hours(model, work) + self._decoding(model, images)

    def _decoding(self, model: str, images: float, readers: int | None = None) -> float:
        """Return the hours in which images are decoded, by the threads of a job by default."""
        if self._targets.data.entries[self._targets.reference].builder:
            return 0.0  # its images are stored as they are
        pixels = images * self._targets.entry(model).preprocessing.size ** 2
        threads = self._readers if readers is None else max(1, readers)
        return pixels * DECODE_SECONDS / threads / 3600


def _mb(size: float) -> int:
    """Return bytes in MB, rounded up to hundreds."""
    return 100 * math.ceil(size / 1e8)
