"""Experiments that share runs: what one evaluates besides makes nothing of another stale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.workflow.conftest import SMOKE, Run

pytestmark = pytest.mark.slow

Plan = Callable[..., dict[str, int]]
OTHER = "digits-other"


def table(experiment: str) -> str:
    return f"data/tables/{experiment}.csv"


def run(folder: Path, rerun: Run, experiment: str) -> None:
    done = rerun(folder, "--cores", "2", table(experiment), experiment=experiment)
    assert done.returncode == 0, done.stdout[-5000:]


def other(folder: Path, more: str = "") -> None:
    """Write an experiment of the same runs."""
    experiments = folder / "config" / "experiments"
    text = (experiments / f"{SMOKE}.yaml").read_text()
    text = text.replace(f"experiment: {SMOKE}", f"experiment: {OTHER}", 1)
    text = text.replace("[0.0, 0.25, 0.5, 0.75, 1.0]", "[0.0, 0.4, 0.5, 1.0]")
    text = text.partition("\nfigures:")[0] + "\ncombinations: [weight, output, softmax, random]\n"
    (experiments / f"{OTHER}.yaml").write_text(text + more)


def test_two_experiments_of_the_same_runs(continued: Path, rerun: Run, plan: Plan):
    """Each has an alpha that the other has not, and one has combinations of its own."""
    other(continued)

    def planned(experiment: str) -> dict[str, int]:
        return plan(continued, table(experiment), experiment=experiment)

    assert planned(OTHER) == {"evaluate_digits": 2 * 2, "tabulate": 1}
    run(continued, rerun, OTHER)
    assert planned(OTHER) == {}
    # The files that its table is made from are others, with all that it asks for.
    assert planned(SMOKE) == {"tabulate": 1}
    run(continued, rerun, SMOKE)
    assert planned(SMOKE) == planned(OTHER) == {}


def test_a_run_that_is_in_no_pair_is_evaluated_as_the_others(continued: Path, plan: Plan):
    """Pairs need stored logits, which an evaluation by an experiment without pairs lacks."""
    other(continued, "pairs:\n  - [zero-shot, end-to-end__digits-smoke]\n")
    planned = plan(continued, table(OTHER), experiment=OTHER)
    # The models from scratch too: a suite is evaluated in one way throughout an experiment.
    assert planned == {"evaluate_digits": 2 * 2 + 2, "diversity_digits": 2, "tabulate": 1}
