"""Planning of grids of 100 to 100,000 evaluations: time and memory of `snakemake -n`.

Ours is the project's own workflow over a made-up experiment; beside it, in turns, a bare workflow
of the same shape: the same files from the same jobs, and nothing in a rule but its files. CPU time
is measured beside wall time, because it depends less on what else the machine does.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools.rehearsal.cut import link_project

from benchmarks.common import ROOT, Options, Used, compared, measured, write_record
from wiseft.base.io import write_text
from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue

MODELS = [
    *("clip-rn50", "clip-rn101", "clip-rn50x4", "clip-rn50x16", "clip-rn50x64"),
    *("clip-vit-b-32", "clip-vit-b-16", "clip-vit-l-14", "clip-vit-l-14-336"),
    "clip-vit-b-16-datacomp",
]
METHODS = ["end-to-end", "linear-classifier"]
# Each is a suite of its own, so that an evaluation is one job for each run and dataset.
DATASETS = [
    *("imagenet", "imagenet-v2", "imagenet-r", "imagenet-sketch", "objectnet", "imagenet-a"),
    *("imagenet-vid-robust", "ytbb-robust", "imagenet-v2-limit1000", "imagenet-a-limit1000"),
]
SIZES = {100: (5, 1), 1_000: (10, 5), 10_000: (10, 50), 100_000: (10, 500)}
"""Evaluations: models and seeds. Runs are models x 2 methods x seeds; each has 10 datasets."""
REPEATED = 10_000
"""Evaluations at most that are planned more than once."""
ONCE = 8
"""Jobs at most that ours has once in an experiment: summary, headline, sample images, page, ..."""
GOAL = 1.5


def run(options: Options) -> None:
    """Write `planning.json`."""
    sizes = [100] if options.quick else list(SIZES)
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        ours, bare = Path(name, "ours"), Path(name, "bare")
        link_project(ROOT, ours)
        bare.mkdir()
        for size in sizes:
            _write_experiment(ours, size)
            _write_bare(bare, ours)
            repeats = min(options.repeats, 3) if size <= REPEATED else 1
            rows[str(size)] = _compare(ours, bare, repeats)
            print(f"planning: {size}: {json.dumps(rows[str(size)]['ratios'])}", flush=True)
    write_record(
        "planning",
        options,
        settings={"datasets": len(DATASETS), "methods": len(METHODS), "command": _COMMAND},
        goals={"times_bare": GOAL},
        measured=rows,
        ratios={size: row["ratios"] for size, row in rows.items()},
    )


def _compare(ours: Path, bare: Path, repeats: int) -> dict[str, Any]:
    runs: dict[str, list[Used]] = {"ours": [], "bare": []}
    jobs: dict[str, int] = {}
    for _ in range(repeats):
        for name, folder, more in (("ours", ours, _OURS), ("bare", bare, ())):
            used, jobs[name] = plan(folder, *more)
            runs[name].append(used)
    if not 0 <= jobs["ours"] - jobs["bare"] <= ONCE:
        raise WiseftError(f"the two workflows plan different numbers of jobs: {jobs}")
    used, ratios = compared(runs)
    return {"jobs": jobs, **used, "ratios": ratios}


_COMMAND = "snakemake --cores 2 --dry-run --quiet rules"
_OURS = ("--config", "experiment=grid")


def plan(folder: Path, *arguments: str) -> tuple[Used, int]:
    """Plan all jobs of the workflow in a folder, and count them.

    Raises WiseftError if Snakemake fails.
    """
    command = [sys.executable, "-m", *_COMMAND.split(), *arguments]
    used, said = measured(command, 1, folder)
    total = re.search(r"^total +(\d+)$", said, re.MULTILINE)
    if total is None:
        raise WiseftError(f"snakemake does not say how many jobs it plans:\n{said[-2000:]}")
    return used, int(total[1])


def _write_experiment(root: Path, size: int) -> None:
    models, seeds = SIZES[size]
    entry = {
        "experiment": "grid",
        "title": "A grid",
        "models": MODELS[:models],
        "reference": "imagenet",
        "datasets": DATASETS,
        "methods": METHODS,
        "seeds": list(range(seeds)),
        "alphas": [0.0, 0.5, 1.0],
        "held_out": {"dataset": "imagenet", "split": "held-out"},
        "averages": {"shifts": DATASETS[1:6]},
    }
    write_text(root / "config" / "experiments" / "grid.yaml", json.dumps(entry))  # YAML, too


def _write_bare(folder: Path, root: Path) -> None:
    """Write a workflow that makes the same files."""
    catalogue = Catalogue(root)
    experiment = catalogue.experiment("grid")
    sources = [catalogue.dataset(name) for name in catalogue.dataset_closure(DATASETS)]
    grid = {
        "model": experiment.models,
        "method": METHODS,
        "seed": experiment.seeds,
        "dataset": DATASETS,
        "own": [name for name in DATASETS if catalogue.dataset(name).own_head],
        "filed": [entry.name for entry in sources if entry.limit is None],
        "previews": {e.name: e.depends[0] for e in sources if e.limit is not None},
    }
    write_text(folder / "Snakefile", f"GRID = {grid!r}\n{_BARE}")


_BARE = """
RUN = "data/runs/{model}__imagenet__{method}/seed-{seed}/"
METRICS = RUN + "evaluate/{dataset}/metrics.json"
PREDICTIONS = RUN + "evaluate/{dataset}/predictions.parquet"
THETA_0 = "data/models/{model}/imagenet/theta_0.safetensors"
HEAD = "data/models/{model}/imagenet/theta_0_for_{dataset}.safetensors"
TABLE = "data/tables/grid.parquet"

rule all:
    input: TABLE, expand([RUN + "theta_1.safetensors", METRICS, PREDICTIONS], **GRID)
rule tabulate:
    input: expand([METRICS, PREDICTIONS], **GRID)
    output: TABLE
    shell: "touch {output}"
rule evaluate:
    input:
        lambda w: HEAD if w.dataset in GRID["own"] else THETA_0,
        RUN + "theta_1.safetensors",
        "datasets/{dataset}/manifest.json",
    output: METRICS, PREDICTIONS
    shell: "touch {output}"
rule finetune:
    input: THETA_0, "datasets/imagenet/manifest.json"
    output: RUN + "theta_1.safetensors", RUN + "training.csv"
    shell: "touch {output}"
rule zeroshot:
    input: "data/models/{model}/weights.safetensors", "datasets/imagenet/manifest.json"
    output: THETA_0
    shell: "touch {output}"
rule own_head:
    input:
        "data/models/{model}/weights.safetensors",
        "datasets/imagenet/manifest.json",
        "datasets/{dataset}/manifest.json",
    output: HEAD
    shell: "touch {output}"
rule weights:
    output: "data/models/{model}/weights.safetensors"
    shell: "touch {output}"
rule fetch:
    output: "datasets/.archives/{dataset}.json"
    shell: "touch {output}"
rule prepare:
    input: "datasets/.archives/{dataset}.json"
    output: "datasets/{dataset}/manifest.json"
    wildcard_constraints: dataset="|".join(GRID["filed"])
    shell: "touch {output}"
rule preview:
    input: lambda wildcards: f"datasets/{GRID['previews'][wildcards.dataset]}/manifest.json"
    output: "datasets/{dataset}/manifest.json"
    wildcard_constraints: dataset="|".join(GRID["previews"])
    shell: "touch {output}"
"""
