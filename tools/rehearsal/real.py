"""A few batches of every job on the user's own data and weights: how fast they are, what they need.

Datasets are previews of the user's own (`<dataset>-limit<N>`, beside them); weights are linked;
all else lies in a folder of its own. What is measured goes to `.wiseft/rates.json`, by which
`wiseft plan` and the Slurm profile go.
"""

from __future__ import annotations

import csv
import datetime
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.rehearsal.cut import TRIALS, cut_experiment, link_project, write_yaml

from wiseft.base.io import read_json, write_json
from wiseft.base.loading import read_yaml
from wiseft.base.provenance import git_commit
from wiseft.errors import WiseftError
from wiseft.study.config import paths
from wiseft.study.targets import Run, Targets

RATES = Path(".wiseft/rates.json")
IMAGES = 2048
"""Of every split."""
STEPS = 20
ALPHAS = [0.0, 0.5, 1.0]
EVALUATED = re.compile(r"^evaluate .*\(([\d,]+) images x alphas/s\)", re.MULTILINE)
FOUND = ("rule", "model", "method", "device", "precision")
"""What tells rates apart: of equals, the newest stays."""


def measure(project: Path, root: Path, name: str, cores: int) -> list[dict[str, Any]]:
    """Run a few batches of every training and evaluation of an experiment; return their rates.

    Args:
        root: the folder of this measurement, which is made.
        cores: for the workflow.

    Raises:
        WiseftError: if the configuration is wrong or a job fails.
    """
    real = Targets.read(project, {"experiment": name})
    if not real.runs:
        raise WiseftError(f"experiment {name} runs no model: there is nothing to measure")
    link_project(project, root)
    _write_config(real, project, root)
    for model in real.models:
        there, link = project / paths.weights_path(model), root / paths.weights_path(model)
        if there.is_file() and not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(there)
    few = Targets.read(root, {"experiment": name})
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--config"]
    command += [f"experiment={name}", "--", *few.files.wanted("finetune", "evaluate")]
    if subprocess.run(command, cwd=root, check=False).returncode:
        raise WiseftError(f"experiment {name}: a job failed; its log is in {root / 'logs'}")
    rates = [rate for run in few.runs for rate in _rates(few, run, root)]
    write_rates(project / RATES, rates)
    return rates


def write_rates(path: Path, rates: list[dict[str, Any]]) -> None:
    """Add rates to a file; they take the place of older ones of the same kind."""
    known = read_json(path)["rates"] if path.is_file() else []
    by_kind = {tuple(rate[key] for key in FOUND): rate for rate in [*known, *rates]}
    write_json(path, {"format": 1, "rates": list(by_kind.values())})


def _write_config(real: Targets, project: Path, root: Path) -> None:
    """Write the project's configuration, with previews of datasets and few steps."""
    seen = [*real.experiment.datasets, *real.experiment.keep]
    names = {name: f"{name}-limit{IMAGES}" for name in seen}
    target = root / "config"
    experiment = target / "experiments" / f"{real.name}.yaml"
    entry = _renamed(cut_experiment(read_yaml(experiment)), names)
    alphas = ALPHAS if len(real.experiment.alphas) > len(ALPHAS) else real.experiment.alphas
    write_yaml(experiment, {**entry, "figures": {}, "interpolate": [], "alphas": alphas})
    for path in (target / "methods").glob("*.yaml"):
        write_yaml(path, _few_steps(read_yaml(path)))
    settings = real.settings.model_dump(mode="json")
    places = settings["datasets"]
    places["folder"] = str(project / places["folder"])
    places["root"] = places["root"] and str(project / places["root"])
    places["paths"] = {name: str(project / path) for name, path in places["paths"].items()}
    write_yaml(target / "config.yaml", {**settings, "rehearsal": True})


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """Return a part of an entry in which datasets have other names."""
    if isinstance(value, dict):
        return {names.get(key, key): _renamed(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, names) for each in value]
    return names.get(value, value) if isinstance(value, str) else value


def _few_steps(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a method of as many images a step as it has, but few steps."""
    cut = dict(entry)
    for key in ("settings", "variants"):
        if key not in entry:
            continue
        every = entry[key].values() if key == "variants" else [entry[key]]
        done = [{**(one or {}), "steps": STEPS, **_whole(one or {})} for one in every]
        cut[key] = dict(zip(entry[key], done, strict=True)) if key == "variants" else done[0]
    return cut


def _whole(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what must change where there are few images and steps."""
    whole = ("train_samples", "samples_per_class", "early_stopping", "half")
    changed: dict[str, Any] = {key: None for key in whole if key in settings}
    if search := settings.get("search"):
        changed["search"] = {**search, "trials": TRIALS}
    return changed


def _rates(targets: Targets, run: Run, root: Path) -> Iterator[dict[str, Any]]:
    """Yield what was measured of a run's training and of its evaluation."""
    about = {"model": targets.entry(run.model).name, "method": run.method_id}
    about |= {"commit": git_commit(), "measured": datetime.date.today().isoformat()}
    record = root / paths.training_record_path(run.name, run.seed)
    if record.is_file():
        made = read_json(record)
        yield {
            "rule": "baseline" if run.baseline else "finetune",
            "device": _device(made),
            **{key: made[key] for key in ("precision", "images_per_second")},
            "memory_mb": made["peak_memory_mb"]["rss"],
            "gpu_memory_mb": made["peak_memory_mb"]["cuda"],
            **about,
        }
    for suite, members in targets.data.suites.items():
        log = root / "logs" / "evaluate" / run.name / f"seed-{run.seed}" / f"{suite}.log"
        found = EVALUATED.findall(log.read_text())
        speed = max((float(text.replace(",", "")) for text in found), default=0.0)
        metrics = read_json(root / paths.metrics_path(run.name, run.seed, members[0]))
        benchmark = root / "logs" / "benchmarks" / log.relative_to(root / "logs")
        with benchmark.with_suffix(".tsv").open() as file:
            used = next(csv.DictReader(file, delimiter="\t"))
        if speed:
            yield {
                "rule": "evaluate",
                "device": _device(metrics["how"]),
                "precision": metrics["identity"].get("precision", "fp32"),
                "images_per_second": speed,
                "memory_mb": _number(used["max_rss"]),
                "gpu_memory_mb": None,
                **about,
            }


def _device(how: dict[str, Any]) -> str:
    """Return the name of a GPU, or `cpu`, which the plan tells from those."""
    return "cpu" if how["device_type"] == "cpu" else str(how["device"])


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # a job too short to be seen
        return None
