"""The choices that the experiment `digits` rests on, made again (docs/digits.md, Protocol).

    python -m tools.protocol            # about 100 CPU minutes; a killed run goes on

Pre-training seeds 0 to 4, which are never reported; held-out MNIST training images, renditions of
these, and held-out typefaces, never a test image. Datasets and glyphs must be there (`make run`
makes them). Work lies in `.wiseft/protocol`; what was measured is written to
`docs/digits-protocol.csv`.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wiseft.study.config import Catalogue
from wiseft.study.config.paths import glyphs_folder, manifest_path

WORK = Path(".wiseft/protocol")
RESULTS = Path("docs/digits-protocol.csv")
SEEDS = range(5)
PEN_SHARES = (0.5, 0.7)
RATES = {
    "end-to-end": (6e-4, 1e-3, 2e-3, 3e-3, 6e-3),
    "linear-classifier": (1e-3, 3e-3, 1e-2, 3e-2),
}
ALPHAS = [f"{tenth / 10:.3f}" for tenth in range(11)]
HELD_OUT = ["mnist", "inverted", "mnist-m", "colour", "corrupt"]
"""Datasets that have a split held-out: training images of MNIST, and renditions of them."""


class Measured(NamedTuple):
    """One number, a fraction."""

    choice: str
    setting: str
    seed: int
    on: str
    value: float


class Stages:
    """Runs the commands of the stages on settings of the catalogue, changed in one number.

    Args:
        root: the project's root.
        model: whose theta_0 is fine-tuned; with a seed where it is pre-trained here.
        reference: the dataset that it is fine-tuned on.
    """

    def __init__(self, root: Path, model: str, reference: str) -> None:
        self.catalogue = Catalogue(root)
        self.entry = self.catalogue.model(model)[0]
        self.reference = reference

    def theta_1(self, theta_0: Path, method_id: str, rate: float, seed: int) -> Path:
        """Fine-tune by a method of the catalogue at another rate."""
        settings = self.catalogue.method_settings(method_id)
        settings = settings.model_copy(update={"learning_rate": rate})
        folder = theta_0.parent / f"{method_id}-{rate:g}"
        theta_1 = folder / "theta_1.safetensors"
        wiseft(
            theta_1,
            *("finetune", "--theta-0", theta_0, "--dataset", manifest_path(self.reference)),
            *("--settings", settings.model_dump_json(), "--seed", seed),
            *("--state", folder / "state", "--theta-1", theta_1),
            *("--curve", folder / "training.csv"),
        )
        return theta_1

    def evaluate(self, theta_1: Path, datasets: list[str], theta_0: Path | None = None) -> Path:
        """Evaluate on held-out splits: alpha 1, or all alphas between two ends."""
        folder = theta_1.parent / ("sweep" if theta_0 else f"evaluate-{theta_1.stem}")
        view = {"splits": ["held-out"], "views": [{"name": "all", "metric": "accuracy"}]}
        names = {"model": self.entry.name, "reference": self.reference}
        names["method"] = theta_1.parent.name
        wiseft(
            folder / datasets[-1] / "metrics.json",
            *("evaluate", "--theta-1", theta_1),
            *(("--theta-0", theta_0) if theta_0 else ()),
            *("--alphas", ",".join(ALPHAS) if theta_0 else "1.000", "--combinations", "weight"),
            *(part for name in datasets for part in ("--dataset", manifest_path(name))),
            *("--evaluate", json.dumps(dict.fromkeys(datasets, view)), "--output-dir", folder),
            *(part for key, name in names.items() for part in (f"--{key}", name)),
            *("--run", f"{theta_1.parent}", "--seed", 0),
        )
        return folder


class Protocol(Stages):
    """The stages of the digits, pre-training among them."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "digits-rn-s0", "mnist")

    def theta_0(self, share: float, seed: int) -> Path:
        """Pre-train with a share of pen strokes, and build the zero-shot head."""
        assert self.entry.pretrain is not None
        folder = WORK / f"pens-{share}-s{seed}"
        settings = self.entry.pretrain.model_copy(update={"pen_share": share})
        weights, theta_0 = folder / "weights.safetensors", folder / "theta_0.safetensors"
        wiseft(
            weights,
            *("pretrain", "--glyphs", glyphs_folder("digits-rn") / "glyphs.safetensors"),
            *("--architecture", self.catalogue.architecture_path(self.entry)),
            *("--preprocessing", self.entry.preprocessing.model_dump_json()),
            *("--settings", settings.model_dump_json(), "--seed", seed),
            *("--state", folder / "state", "--weights", weights),
            *("--curve", folder / "pretrain.csv"),
        )
        prompts = json.dumps(self.catalogue.prompts("digits").ready)
        named = ("--dataset", manifest_path("mnist"), "--prompts", prompts)
        wiseft(theta_0, "zeroshot", "--weights", weights, *named, "--theta-0", theta_0)
        return theta_0


def wiseft(output: Path, *arguments: object) -> None:
    """Run a command of this environment with one thread, unless its output is there."""
    if output.exists():
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    environment["WISEFT_FEATURES"] = str(WORK / "features")  # linear classifiers share them
    command = [sys.executable, "-m", "wiseft.cli", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def accuracies(folder: Path, dataset: str) -> dict[str, float]:
    """Return the accuracy at each alpha."""
    rows = json.loads((folder / dataset / "metrics.json").read_text())["rows"]
    return {row["alpha"]: row["value"] for row in rows}


def pen_shares(protocol: Protocol) -> Iterable[Measured]:
    """Measure zero-shot models with every share of pen strokes."""

    def measure(job: tuple[float, int]) -> list[Measured]:
        share, seed = job
        theta_0 = protocol.theta_0(share, seed)
        mnist = accuracies(protocol.evaluate(theta_0, ["mnist"]), "mnist")["1.000"]
        curve = pd.read_csv(theta_0.parent / "pretrain.csv")
        typefaces = float(curve["held_out_accuracy"].iloc[-1])
        found = {"held-out mnist": mnist, "held-out typefaces": typefaces}
        return [Measured("pen share", f"{share}", seed, on, v) for on, v in found.items()]

    return each(measure, [(share, seed) for seed in SEEDS for share in PEN_SHARES])


def rates(protocol: Protocol, share: float) -> Iterable[Measured]:
    """Measure fine-tuned models at every rate."""

    def measure(job: tuple[str, float, int]) -> list[Measured]:
        method, rate, seed = job
        theta_0 = protocol.theta_0(share, seed)  # fine-tuned with the seed of pre-training
        theta_1 = protocol.theta_1(theta_0, f"{method}__digits", rate, seed)
        value = accuracies(protocol.evaluate(theta_1, ["mnist"]), "mnist")["1.000"]
        return [Measured(f"rate, {method}", f"{rate:g}", seed, "held-out mnist", value)]

    jobs = [(m, rate, seed) for m, each in RATES.items() for rate in each for seed in SEEDS]
    return each(measure, jobs)


def criteria(protocol: Protocol, share: float, rate: float) -> Iterable[Measured]:
    """Measure the accuracy at the alpha that each way to choose it picks, by dataset."""

    def measure(seed: int) -> list[Measured]:
        theta_0 = protocol.theta_0(share, seed)
        theta_1 = protocol.theta_1(theta_0, "end-to-end__digits", rate, seed)
        folder = protocol.evaluate(theta_1, HELD_OUT, theta_0)
        found = []
        for name in HELD_OUT:
            right = accuracies(folder, name)
            frame = pd.read_parquet(folder / name / "predictions.parquet")
            mean = {
                key: {a: float(frame[f"weight/all/{a}/{key}"].mean()) for a in ALPHAS}
                for key in ("entropy", "confidence")
            }
            picked = {
                "lowest mean entropy": min(ALPHAS, key=mean["entropy"].__getitem__),
                "highest mean confidence": max(ALPHAS, key=mean["confidence"].__getitem__),
                "alpha 0": "0.000",
                "alpha 0.5": "0.500",
                "alpha 1": "1.000",
                "oracle": max(ALPHAS, key=right.__getitem__),
            }
            found += [
                Measured("unlabelled", way, seed, f"held-out {name}", right[alpha])
                for way, alpha in picked.items()
            ]
        return found

    return each(measure, SEEDS)


def each(measure: Any, jobs: Iterable[Any]) -> list[Measured]:
    """Return what is measured in all jobs, which run on all cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [row for rows in pool.map(measure, list(jobs)) for row in rows]


def best(rows: Iterable[Measured], among: Iterable[str] | None = None) -> str:
    """Print the mean of every setting, and return the setting of the highest."""
    by_setting: dict[str, list[float]] = defaultdict(list)
    rows = list(rows)
    for row in rows:
        by_setting[row.setting].append(row.value)
    means = {setting: float(np.mean(values)) for setting, values in by_setting.items()}
    print(rows[0].choice)
    for setting, mean in means.items():
        print(f"  {setting:24s} {100 * mean:.2f}")
    return max(among or means, key=means.__getitem__)


def write_results(rows: Iterable[Measured], path: Path) -> None:
    """Write what was measured as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Measured._fields)
        writer.writerows([*row[:-1], f"{row.value:.4f}"] for row in rows)


def main() -> None:
    """Make all choices, in the order in which they depend on each other."""
    protocol = Protocol(Path())
    rows = list(pen_shares(protocol))
    share = float(best(rows))
    measured = list(rates(protocol, share))
    rows += measured
    chosen = {}
    for method in RATES:
        chosen[method] = best(row for row in measured if row.choice == f"rate, {method}")
    unlabelled = list(criteria(protocol, share, float(chosen["end-to-end"])))
    rows += unlabelled
    way = best(unlabelled, ["lowest mean entropy", "highest mean confidence"])
    print(f"chosen: pen share {share}, rates {chosen}, without labels: {way}")
    write_results(rows, RESULTS)


if __name__ == "__main__":
    main()
