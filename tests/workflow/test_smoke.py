"""The small experiment from the download to the report, and what a change of it makes again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from tests.data.test_croissant import committed
from tests.targets.planning import dry_run
from tools import croissant
from tools.sharing.complete import artifact_problems, missing_files

from wiseft.study.plan.owner import started
from wiseft.study.targets import Targets
from wiseft.thetas.theta import load_theta

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
SMOKE = "digits-smoke"
MODEL = "digits-rn-smoke-s0"
RUN = f"{MODEL}__mnist__end-to-end__{SMOKE}"
AFTER_TABLES = {"figure": 3, "page": 1, "provenance": 1, "report": 1, "all": 1}
AFTER_EVALUATION = {"tabulate": 1, "effective_robustness": 1, "headline": 1, **AFTER_TABLES}
MEMORY_MB = 4000  # of all jobs that run side by side

Plan = Callable[..., dict[str, int]]


def metrics_rows(folder: Path, dataset: str = "mnist") -> dict[tuple[str, str, str], float]:
    path = folder / "data" / "runs" / RUN / "seed-0" / "evaluate" / dataset / "metrics.json"
    rows = json.loads(path.read_text())["rows"]
    return {(row["split"], row["combination"], row["alpha"]): row["value"] for row in rows}


def test_everything_is_there(finished: Path):
    tables = finished / "data" / "tables"
    suffixes = {"csv", "parquet", "comparisons.csv", "selection.csv", "fits.csv", "metrics.json"}
    suffixes |= {"effective-robustness.csv", "made-with.json"}
    suffixes |= {f"{suffix}.sha256" for suffix in suffixes - {"metrics.json"}}
    assert {path.name.removeprefix(f"{SMOKE}.") for path in tables.iterdir()} == suffixes
    results = finished / "results" / SMOKE
    assert (results / "summary.md").stat().st_size > 0
    for name in ("samples", "robustness-natural", "robustness-renditions", "landscape"):
        assert (results / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert (results / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (results / "figures" / f"{name}.svg").read_text()
    for run in (RUN, f"{MODEL}__mnist__linear-classifier__{SMOKE}"):
        combined = finished / "data" / "runs" / run / "seed-0" / "combine"
        assert [path.name for path in combined.iterdir()] == ["theta_0.500.safetensors"]


def test_datasets_are_those_that_croissant_describes(finished: Path):
    described = croissant.stated(committed("digits"))
    whole = {"mnist", "inverted"}  # whose pixels no CPU and no version of a library rounds
    for name in Targets.read(finished, {"experiment": SMOKE}).experiment.datasets:
        said, found = described[name], croissant.prepared(finished / "datasets" / name)
        for splits in (said["splits"], found["splits"]):
            sums = {split: about.pop("sha256")["images"] for split, about in splits.items()}
            splits["sums"] = sums if name in whole else {}
        assert said == found


def has_ended(record: Path) -> bool:
    """Return whether the process of a run's record has ended, and the record is still there."""
    try:
        return started(json.loads(record.read_text())["pid"]) is None
    except FileNotFoundError:
        return False


def test_nothing_is_left_behind(finished: Path):
    """Resume states are removed at the end; no temporary file and no unfilled wildcard stays.

    Features of frozen towers are kept for other runs. Other tests may plan in this folder at the
    same time, so only records of runs that have ended count.
    """
    left = [path for path in (finished / ".wiseft").rglob("*") if path.is_file()]
    left = [path for path in left if path.parent.name != "owners" or has_ended(path)]
    assert {path.relative_to(finished / ".wiseft").parts[:2] for path in left} == {
        ("state", "features")
    }
    for top in ("data", "results", "datasets", "logs"):
        for path in (finished / top).rglob("*"):
            assert ".tmp-" not in path.name, path
            assert "{" not in path.name, path


def test_every_file_is_an_output(finished: Path):
    """So an executor without a shared disk brings back all that a job wrote."""
    jobs = dry_run(finished, SMOKE, forced=True)
    declared = {str(path) for job in jobs for path in (*job.output, *job.log, job.benchmark or "")}
    there = {
        str(path.relative_to(finished))
        for top in ("data", "datasets", "results", "logs")
        for path in (finished / top).rglob("*")
        if path.is_file()
    }
    assert there - declared == set()
    assert {str(path) for job in jobs for path in job.output} - there == set()


def test_second_run_does_nothing(continued: Path, plan: Plan):
    assert plan(continued) == {}


def test_memory(finished: Path):
    """Two jobs side by side stay below the promised memory."""
    benchmarks = (finished / "logs" / "benchmarks").rglob("*.tsv")
    peaks = sorted(float(pd.read_csv(path, sep="\t")["max_rss"].max()) for path in benchmarks)
    assert sum(peaks[-2:]) < MEMORY_MB


def expected_values() -> Iterator[tuple[str, str, float, float]]:
    band = json.loads((HERE / "smoke_band.json").read_text())
    for dataset, values in band["accuracy"].items():
        for alpha, value in values.items():
            yield dataset, alpha, value, band["tolerance"]


@pytest.mark.parametrize(("dataset", "alpha", "value", "tolerance"), list(expected_values()))
def test_numbers_stay_in_their_band(finished: Path, dataset, alpha, value, tolerance):
    table = pd.read_csv(finished / "data" / "tables" / f"{SMOKE}.csv", dtype={"alpha": float})
    rows = table[
        (table["dataset"] == dataset)
        & (table["run"] == RUN)
        & (table["split"] == "test")
        & (table["combination"] == "weight")
        & (table["selection"] == "grid")
        & (table["alpha"].round(3) == float(alpha))
    ]
    assert len(rows) == 2, "one row for each fine-tuning seed"
    assert rows["value"].mean() == pytest.approx(value, abs=tolerance)


def test_one_more_alpha(continued: Path, rerun, plan: Plan, edit):
    """Only evaluation of interpolated models reruns, and in it only the new alpha is computed."""
    before = metrics_rows(continued)
    edit(continued, "alphas: [0.0, 0.25, 0.5,", "alphas: [0.0, 0.25, 0.4, 0.5,")
    assert plan(continued) == {"evaluate_digits": 2 * 2, **AFTER_EVALUATION}
    done = rerun(continued, "--cores", "all", f"data/tables/{SMOKE}.csv")
    assert done.returncode == 0, done.stdout[-5000:]
    after = metrics_rows(continued)
    assert {alpha for _, _, alpha in after.keys() - before.keys()} == {"0.400"}
    assert {key: after[key] for key in before} == before
    log = continued / "logs" / "evaluate" / RUN / "seed-0" / "digits.log"
    assert "recomputing" not in log.read_text()
    table = pd.read_csv(continued / "data" / "tables" / f"{SMOKE}.csv")
    assert 0.4 in set(table["alpha"].round(3))


def test_one_more_seed(continued: Path, plan: Plan, edit):
    edit(continued, "\nseeds: [0, 1]\n", "\nseeds: [0, 1, 2]\n")
    new = {"finetune": 2, "interpolate": 2, "evaluate_digits": 2}
    assert plan(continued) == {**new, **AFTER_EVALUATION}


def test_merged_models(continued: Path, rerun, plan: Plan, edit):
    """Of what they are made of only the seed is trained that is no run of the experiment."""
    edit(
        continued,
        "linear-classifier__digits-smoke]",
        "linear-classifier__digits-smoke, merged__digits-smoke-lines, "
        "merged__digits-smoke-model-stock]\nmethod_seeds: {merged__digits-smoke-model-stock: [1]}",
    )
    merged = {"combine": 3, "interpolate": 3, "evaluate_digits": 3}
    assert plan(continued) == {"finetune": 1, **merged, **AFTER_EVALUATION}
    done = rerun(continued, "--cores", "all")
    assert done.returncode == 0, done.stdout[-5000:]
    assert plan(continued) == {}
    targets = Targets.read(continued, {"experiment": SMOKE})
    assert artifact_problems(targets) == [] == missing_files(targets)

    ends = [continued / f"data/runs/{RUN}/seed-{seed}/theta_1.safetensors" for seed in (1, 2)]
    run = RUN.replace("end-to-end__digits-smoke", "merged__digits-smoke-lines")
    lines = load_theta(continued / f"data/runs/{run}/seed-1/theta_1.safetensors").tensors
    start = load_theta(continued / f"data/models/{MODEL}/mnist/theta_0.safetensors").tensors
    assert torch.equal(lines["head.weight"], start["head.weight"])  # the authors freeze it
    stem = next(name for name in start if "conv1" in name)
    assert torch.equal(lines[stem], start[stem])
    table = pd.read_csv(continued / "data" / "tables" / f"{SMOKE}.csv")
    rows = table[(table["method"] == "merged") & (table["dataset"] == "avg:shifts")]
    assert set(rows["variant"]) == {"digits-smoke-lines", "digits-smoke-model-stock"}
    assert set(rows["selection"]) >= {"grid", "fixed", "held-out", "dawin"}
    start_value = rows[(rows["selection"] == "grid") & (rows["alpha"] == 0)]["value"]
    assert start_value.nunique() == 1, "all are swept from the zero-shot model on"

    method = continued / "config" / "methods" / "merged.yaml"
    method.write_text(method.read_text().replace("alpha: 0, beta: 1", "alpha: 0.1, beta: 0.9"))
    again = {"combine": 2, "interpolate": 2, "evaluate_digits": 2}
    assert plan(continued) == {**again, **AFTER_EVALUATION}
    (found, _) = artifact_problems(Targets.read(continued, {"experiment": SMOKE}))
    assert "was made with recipe: " in found and "'alpha': 0.0" in found
    ends[1].unlink()
    assert plan(continued)["finetune"] == 1, "an ingredient that is gone is made again"


def test_one_more_figure(continued: Path, rerun, plan: Plan, edit):
    edit(
        continued,
        "\nfigures:\n",
        "\nfigures:\n  robustness-all: {draw: robustness, options: {average: shifts}}\n",
    )
    assert plan(continued) == {"figure": 1, "page": 1, "all": 1}  # the page lists the figures
    done = rerun(continued, "--cores", "1")
    assert done.returncode == 0, done.stdout[-5000:]
    assert (continued / "results" / SMOKE / "figures" / "robustness-all.png").is_file()


def test_one_more_interpolated_file(continued: Path, plan: Plan, edit):
    edit(continued, "\ninterpolate: [0.5]", "\ninterpolate: [0.5, 0.3]")
    assert plan(continued) == {"interpolate": 4, "provenance": 1, "all": 1}


def test_changed_drawing_draws_again(continued: Path, plan: Plan):
    with (continued / "src" / "wiseft" / "study" / "drawings" / "landscape.py").open("a") as stream:
        stream.write("\n# changed\n")
    assert plan(continued) == {"figure": 1, "all": 1}


def test_touched_files_recompute_nothing(continued: Path, plan: Plan):
    """As a checkout or a backup may do; contents decide."""
    for top in ("config", "src", "datasets", "data/models"):
        for path in (path for path in (continued / top).rglob("*") if path.is_file()):
            content = path.read_bytes()
            path.unlink()  # it may be a link
            path.write_bytes(content)
    assert plan(continued) == {}


def test_killed_run_continues_with_the_same_weights(continued: Path, snakemake):
    target = f"data/models/{MODEL}/weights.safetensors"
    weights, state = continued / target, continued / ".wiseft" / "state" / "pretrain" / MODEL
    before = weights.read_bytes()
    weights.unlink()
    command = [sys.executable, "-m", "snakemake", "--cores", "1", target]
    killed = subprocess.Popen([*command, "--config", f"experiment={SMOKE}"], cwd=continued)
    wait_until(lambda: any(state.rglob("*")) and killed.poll() is None)
    time.sleep(0.5)  # into the steps behind the state
    killed.kill()  # alone: the training is left, and ended by the next run
    killed.wait()
    assert not weights.exists()
    done = snakemake(continued, "--cores", "1", target)
    assert done.returncode == 0, done.stdout[-5000:]
    assert tensors_of(weights.read_bytes()) == tensors_of(before)
    assert "resum" in (continued / "logs" / "pretrain" / f"{MODEL}.log").read_text().lower()


def tensors_of(data: bytes) -> bytes:
    """Return the tensors of a safetensors file: all behind the header, which holds the commit."""
    return data[8 + int.from_bytes(data[:8], "little") :]


def wait_until(condition: Callable[[], bool], limit: float = 240) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "the state that is waited for did not appear"
        time.sleep(0.02)


def test_report(continued: Path, snakemake):
    done = snakemake(continued, "--report", "report.html")
    assert done.returncode == 0, done.stdout[-5000:]
    page = (continued / "report.html").read_text()
    for name in ("samples", "robustness-natural", "landscape", "summary.md"):
        assert name in page


def test_headline(finished: Path):
    table = finished / "data" / "tables" / f"{SMOKE}.parquet"
    command = [str(Path(sys.executable).parent / "wiseft"), "headline", "--table", str(table)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "zero-shot" in done.stdout
    assert "fine-tuned" in done.stdout
