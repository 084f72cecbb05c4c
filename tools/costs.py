"""docs/costs.md: what the paper's experiments cost, and what models take of a GPU's memory.

python -m tools.costs > docs/costs.md
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wiseft.models.footprint import Footprint, images_that_fit
from wiseft.study.config import Catalogue, FinetuneSettings
from wiseft.study.config.entries import ModelEntry
from wiseft.study.plan import PEAKS, Assumptions, estimate
from wiseft.study.plan.footprints import footprint_of
from wiseft.study.plan.towers import architecture_name
from wiseft.study.targets import Targets

MEMORY = 80 * 10**9
HEAD = """# Cost tables

`python -m tools.costs > docs/costs.md` writes this page from the configuration; do not edit it.
These are estimates, none of them measured on a GPU. [Running](running.md#what-it-costs) explains
them and has costs by model.

## What the paper's experiments cost

GPU-hours are those of one A100 in fp32, right within a factor of about two. `wiseft plan NAME --gpu
h100` takes another card. Experiments share runs and datasets, so columns do not add up. ImageNet
(155 GB) and ObjectNet (197 GB) are needed once. You may delete their archives once they are
unpacked, and need none if you have the images.

| experiment | trainings | jobs | GPU-hours | images, GB | archives, GB | weights and results, GB |
|---|---|---|---|---|---|---|
"""
MIDDLE = """
## Models, and what a batch takes of memory

*Entry* is the name in `config/models`, and *pinned by* says how fetched weights are checked
([models](models.md#models-by-name)). A parameter takes four bytes.

A forward and a backward pass run on tensors that have shapes and no bytes, and the count adds up
what is alive at a time. In fp32 on a CPU it is within 15 % of the allocations that torch's profiler
sees (a test, three models). **No GPU has confirmed it.** The count assumes memory-efficient
attention in fp32 and flash attention in bf16 and fp16, and layer norm in fp32 under autocast. A
tenth of the memory and 0.5 GB stay free for workspaces and the allocator.

A training holds weights, gradients and moments (Adam: 16 bytes per parameter), in bf16 another copy
of the weights, and tensors for each image. An evaluation over alphas holds the weights three times.
MB and GB are 10^6 and 10^9 bytes. For linear classifiers of a search only the evaluation counts.
Contrastive training compares all images of a batch, so its batch is not divided.

| model | edge | weights, GB | training, MB an image: fp32 | bf16 | images in 80 GB: fp32 | bf16 """
MIDDLE += """| evaluation, MB an image: fp32 | images in 80 GB | entry | pinned by |
|---|---|---|---|---|---|---|---|---|---|---|
"""


def page(root: Path) -> str:
    """Return the page."""
    return HEAD + "".join(experiments(root)) + MIDDLE + "".join(models(root))


def experiments(root: Path) -> Iterator[str]:
    """Yield a row for each experiment of the paper that runs models."""
    for name in Catalogue(root).names("experiments"):
        targets = Targets.read(root, {"experiment": name})
        if not targets.fetched or targets.data.entries[targets.reference].builder:
            continue
        plan = estimate(targets, Assumptions("a100", PEAKS["a100"]))
        halves = {row.precision for row in plan.rows} == {"bf16"}
        images, archives = (plan.disk_gb.get(kind, 0) for kind in ("datasets", "archives"))
        rest = sum(plan.disk_gb.values()) - images - archives
        yield (
            f"| `{name}`{' (bf16)' if halves else ''} | {len(targets.trainings)} "
            f"| {sum(plan.jobs.values())} | {plan.hours:.1f} | {images:.0f} | {archives:.0f} "
            f"| {rest:.1f} |\n"
        )


def models(root: Path) -> Iterator[str]:
    """Yield a row for each architecture and size of the catalogue."""
    catalogue = Catalogue(root)
    entries: dict[tuple[str, int], list[ModelEntry]] = {}
    for name in catalogue.names("models"):
        entry, _ = catalogue.model(name)
        if entry.source != "pretrain":
            key = architecture_name(catalogue, entry), entry.preprocessing.size
            entries.setdefault(key, []).append(entry)
    for found in entries.values():
        full, half = (
            footprint_of(catalogue, found[0].name, FinetuneSettings(precision=kind), "cuda")
            for kind in ("fp32", "bf16")
        )
        if full and half:
            yield _row(found, full, half)


def _row(entries: list[ModelEntry], full: Footprint, half: Footprint) -> str:
    first = min(entries, key=lambda entry: len(entry.title))
    fits = [images_that_fit(each, MEMORY, training=True) for each in (full, half)]
    cells = [
        first.title,
        first.preprocessing.size,
        f"{full.weights / 1e9:.2f}",
        f"{full.saved / 1e6:,.0f}",
        f"{half.saved / 1e6:,.0f}",
        *fits,
        f"{full.peak / 1e6:,.1f}",
        f"{images_that_fit(full, MEMORY, training=False):,}",
        ", ".join(f"`{entry.name}`" for entry in entries),
        _pin(first),
    ]
    return f"| {' | '.join(map(str, cells))} |\n"


def _pin(entry: ModelEntry) -> str:
    pins = {"commit": entry.revision, "SHA-256": entry.sha256, "package, SHA-256": entry.package}
    given = [name for name, pin in pins.items() if pin]
    if entry.pretrained == "openai" and not entry.sha256:
        given.append("SHA-256 in the address")
    elif entry.revision and not entry.sha256:
        given.append("first fetch")
    return ", ".join(given) or "first fetch"


if __name__ == "__main__":
    print(page(Path()), end="")
