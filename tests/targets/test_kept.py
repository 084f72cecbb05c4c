"""Kept datasets: what of an experiment they add to, and that nothing else is told otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.targets.planning import dry_run, finish, rules_of
from tests.targets.test_stored import ALL, LINEAR, MODEL, TUNED, experiment
from tests.workflow.conftest import SMOKE, copy_project
from tools.rehearsal.compare import expected_rows

from wiseft.study.config import paths
from wiseft.study.targets import Targets

KEEP = "keep: [typefaces]\n"
RUN = paths.run_name(MODEL, "mnist", TUNED)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_project(tmp_path / "project")


def both(project: Path) -> tuple[Targets, Targets]:
    grid = "[0.0, 0.5, 1.0]"
    return experiment(project, "plain", grid, ALL), experiment(project, "keeps", grid, ALL, KEEP)


def test_what_it_adds(project: Path) -> None:
    plain, keeps = both(project)
    added = set(keeps.files.wanted("zeroshot", "evaluate"))
    added -= set(plain.files.wanted("zeroshot", "evaluate"))
    tuned = [paths.run_name(MODEL, "mnist", method) for method in (TUNED, LINEAR)]
    assert added == {
        f"data/models/{MODEL}/typefaces/theta_0.safetensors",
        *(
            f"data/runs/{run}/seed-{seed}/kept/typefaces/{name}"
            for run in tuned
            for seed in (0, 1)
            for name in ("metrics.json", "predictions.parquet")
        ),
    }, "nothing of a model from scratch, which knows no prompts"
    jobs = {rule: n - plain.jobs.by_rule().get(rule, 0) for rule, n in keeps.jobs.by_rule().items()}
    assert {rule: n for rule, n in jobs.items() if n} == {
        "data_prepare_typefaces": 1,
        "zeroshot": 1,
        "evaluate_kept-typefaces": 4,
    }
    assert json.loads(keeps.told.evaluation(["typefaces"])) == {
        "typefaces": {"splits": ["test"], "views": [{"name": "kept", "metric": "accuracy"}]}
    }
    rows = expected_rows(keeps) - expected_rows(plain)
    assert {row[:1] + row[2:5] for row in rows} == {
        (run, "typefaces", "test", "kept") for run in tuned
    }


def test_nothing_else_is_told_otherwise(project: Path) -> None:
    """Snakemake compares parameters: a shared artifact has the same ones in both experiments."""
    plain, keeps = both(project)
    for name in ("combinations", "logits"):
        assert getattr(plain.told, name)(TUNED) == getattr(keeps.told, name)(TUNED)
    assert "keep" not in json.loads(plain.told.record())["experiment"]
    assert json.loads(keeps.told.record())["experiment"]["keep"] == ["typefaces"]
    settings, with_kept = (json.loads(each.told.statistics()) for each in (plain, keeps))
    assert with_kept.pop("kept") == ["typefaces"]
    assert (settings.pop("views"), with_kept.pop("views")) == ({}, {"typefaces": "kept"})
    assert with_kept == settings
    assert settings["other_views"] == {}, "those that shared files have are left out"


def test_experiments_that_share_a_kept_evaluation_agree(project: Path) -> None:
    grid = "[0.0, 0.25, 0.5, 1.0]"
    pairs = f"pairs: [[zero-shot, {TUNED}]]\n"
    few = experiment(project, "few", "[0.0, 0.5, 1.0]", "[weight, output]", KEEP)
    many = experiment(project, "many", grid, "[weight, output]", KEEP + pairs)
    assert not many.files.logits(RUN, "0", ["typefaces"]), "no pair is compared there"
    path = project / paths.metrics_path(RUN, 0, "typefaces", kept=True)
    path.parent.mkdir(parents=True)
    alphas = many.alphas(TUNED)
    rows = [
        {"view": "kept", "combination": combination, "alpha": alpha}
        for combination in ("weight", "output")
        for alpha in alphas
    ]
    path.write_text(json.dumps({"rows": rows}))
    for targets in (few, many):
        of = (MODEL, TUNED, "0", ["typefaces"])
        assert targets.stored.alphas(*of) == ",".join(alphas)
        assert targets.stored.combinations(*of) == "weight,output"
        assert targets.stored.logits(*of) == ""


def test_a_finished_experiment_makes_what_it_keeps_and_no_model_again(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    finish(project, SMOKE)
    path = project / "config" / "experiments" / f"{SMOKE}.yaml"
    path.write_text(path.read_text().replace("\nfigures:", f"\n{KEEP}\nfigures:"))
    jobs = dry_run(project, SMOKE)
    made = rules_of(jobs)
    assert {
        "evaluate_kept-typefaces",
        "zeroshot",
        "data_prepare_typefaces",
        "tabulate",
    } <= made.keys()
    assert made["evaluate_kept-typefaces"] == 4 and made["zeroshot"] == 1
    again = {"pretrain", "finetune", "baseline", "evaluate_digits", "glyphs", "interpolate"}
    assert not again & made.keys()
    kept = [job for job in jobs if job.rule.name == "evaluate_kept-typefaces"]
    assert {job.wildcards.method for job in kept} == {TUNED, LINEAR}
    job = kept[0]
    assert list(job.input.head) == [f"data/models/{MODEL}/typefaces/theta_0.safetensors"]
    assert f"--head {job.input.head[0]}" in job.params.start
