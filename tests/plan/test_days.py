"""Days on several GPUs: schedules against makespans that are known, and bounds that always hold."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from wiseft.cli import app
from wiseft.errors import WiseftError
from wiseft.study.plan import PEAKS, Assumptions, estimate
from wiseft.study.plan.days import (
    Job,
    Schedule,
    choices,
    gpus_key,
    jobs_of,
    schedule,
    widened,
    write_config,
)
from wiseft.study.targets import Targets

ROOT = Path(__file__).parents[2]
A100 = Assumptions("a100", PEAKS["a100"])


def targets_of(experiment: str, **settings: object) -> Targets:
    return Targets.read(ROOT, {"experiment": experiment, **settings})


def check(found: Schedule) -> None:
    """Each job begins once what it waits for has ended, and no GPU has two jobs."""
    ends = {job.name: found.start[job.name] + job.hours for job in found.jobs}
    for job in found.jobs:
        assert all(ends[before] <= found.start[job.name] for before in job.after), job
        now = found.start[job.name]
        held = [one.gpus for one in found.jobs if found.start[one.name] <= now < ends[one.name]]
        assert sum(held) <= found.gpus


@pytest.mark.parametrize(
    ("jobs", "gpus", "hours"),
    [
        ([], 4, 0),
        ([Job("a", 2), Job("b", 3, after=("a",)), Job("c", 4, after=("b",))], 8, 9),
        # Graham (1969): by falling length 3, 3, 2, 2, 2 take 7 on two machines; the best is 6.
        ([Job(str(i), hours) for i, hours in enumerate([2, 3, 2, 3, 2])], 2, 7),
        # Four of 2 fill two GPUs in 4; the diamond's ends wait for both arms.
        ([Job("a", 1), Job("b", 2, after=("a",)), Job("c", 5, after=("a",)),
          Job("d", 1, after=("b", "c"))], 2, 7),
        # The long way first: in order of appearance this would take 8.
        ([Job("x", 4), Job("y", 4), Job("a", 1), Job("b", 6, after=("a",))], 2, 8),
        ([Job("x", 2), Job("y", 2), Job("a", 1), Job("b", 6, after=("a",))], 2, 7),
        # A job of two GPUs waits for both; a short one runs beside none.
        ([Job("wide", 4, gpus=2), Job("a", 3), Job("b", 3)], 2, 7),
    ],
)  # fmt: skip
def test_known_makespans(jobs: list[Job], gpus: int, hours: float):
    found = schedule(jobs, gpus)
    check(found)
    assert found.hours == hours


@pytest.mark.parametrize("seed", range(20))
def test_bounds_hold_for_any_graph(seed: int):
    draw = random.Random(seed)
    gpus, jobs = draw.choice([1, 2, 3, 8]), []
    for i in range(draw.randrange(1, 60)):
        before = draw.sample(range(i), min(i, draw.choice([0, 0, 1, 3])))
        jobs.append(Job(f"j{i}", draw.randrange(1, 50), after=tuple(f"j{b}" for b in before)))
    found = schedule(jobs, gpus)
    check(found)
    longest: dict[str, float] = {}
    for job in jobs:
        longest[job.name] = job.hours + max((longest[b] for b in job.after), default=0)
    chain, work = max(longest.values()), sum(job.hours for job in jobs)
    assert sum(job.hours for job in found.path) == chain
    assert max(chain, work / gpus) <= found.hours <= work / gpus + (1 - 1 / gpus) * chain + 1e-9
    assert found.used == pytest.approx(work / (gpus * found.hours))
    wide = [job.on(draw.randrange(1, gpus + 1)) for job in jobs]
    check(schedule(wide, gpus))
    assert schedule(wide, gpus).hours >= work / gpus - 1e-9


def test_a_training_is_widened_where_that_shortens_the_whole():
    one = [Job("a", 80, of="m/a"), Job("b", 10, of="m/b"), Job("end", 2, after=("a",))]
    found = widened(one, 8)
    assert {job.name: job.gpus for job in found.jobs} == {"a": 8, "b": 4, "end": 1}
    assert found.hours == 12.5, "10 of a, then b beside the end; with all eight b would wait"
    assert schedule(one, 8).hours == 82
    filled = [Job(str(i), 5, of="m/a") for i in range(8)]
    assert {job.gpus for job in widened(filled, 8).jobs} == {1}, "all GPUs are used already"
    with pytest.raises(WiseftError, match="a takes 4 GPUs"):
        schedule([Job("a", 1, gpus=4)], 2)


@pytest.mark.parametrize(
    "experiment",
    ["imagenet", "independent-ensembles", "digits-studies", "few-shot-dtd", "objectnet-names"],
)
def test_jobs_are_those_of_the_workflow_and_their_hours_those_of_the_plan(experiment: str):
    targets = targets_of(experiment)
    plan = estimate(targets, A100)
    jobs = jobs_of(targets, plan)
    assert sum(job.hours * job.gpus for job in jobs) == pytest.approx(plan.hours)
    names = [job.name.split()[0] for job in jobs]
    wanted = {
        rule: n
        for rule, n in targets.jobs.by_rule().items()
        if rule in ("finetune", "search", "baseline") or rule.startswith("evaluate_")
    }
    assert {name: names.count(name) for name in names if name != "zeroshot"} == wanted
    after = {job.name: job.after for job in jobs}
    if experiment == "digits-studies":
        merged = next(name for name in after if "evaluate_digits" in name and "ties" in name)
        assert sum(name.startswith("finetune") for name in after[merged]) == 3
    if experiment == "few-shot-dtd":
        (tuned,) = (name for name in after if name.startswith("finetune") and "shots-50" in name)
        assert any(b.startswith("search") and "shots-25" in b for b in after[tuned])


def test_imagenet_on_eight_gpus():
    """As shipped 322 of 324 hours are one chain: head, training and evaluation of ViT-L/14@336."""
    found = choices(targets_of("imagenet"), A100, 8)
    plain, wide = found["as configured"], found["training.how.gpus"]
    assert plain.hours == pytest.approx(sum(job.hours for job in plain.path))
    assert 310 < plain.hours < 340 and plain.used == pytest.approx(0.15, abs=0.01)
    assert [job.name.split()[0] for job in plain.path] == [
        "zeroshot",
        "finetune",
        "evaluate_imagenet",
    ]
    assert wide.hours < 65 and wide.used > 0.75
    assert found["precision: bf16"].hours < found["precision: tf32"].hours < plain.hours / 4
    configured = targets_of(
        "imagenet", training={"how": {"gpus": {"clip-vit-l-14-336/end-to-end": 8}}}
    )
    assert choices(configured, A100, 8)["as configured"].hours < 80
    t4 = choices(targets_of("imagenet"), Assumptions("t4", PEAKS["t4"]), 8)
    assert "precision: tf32" not in t4 and "precision: bf16" in t4


def test_the_command_writes_a_configuration_and_overwrites_no_other(tmp_path: Path):
    file = tmp_path / "eight.yaml"
    command = ["plan", "imagenet", "--gpus", "8", "--gpu", "a100", "--root", str(ROOT)]
    done = CliRunner().invoke(app, [*command, "--write", str(file)])
    assert done.exit_code == 0, done.output
    assert "| as configured | 13.4 | 15% |" in done.output
    written = yaml.safe_load(file.read_text())
    targets = targets_of("imagenet", **written)
    targets.check()
    assert targets.jobs.processes("finetune", "clip-vit-l-14-336", "end-to-end") == 8
    assert targets.jobs.processes("search", "clip-vit-l-14-336", "end-to-end") == 1
    again = CliRunner().invoke(app, [*command, "--write", str(file)])
    assert again.exit_code == 0, "what is there is the same"
    found = choices(targets_of("imagenet"), Assumptions("a100", PEAKS["a100"]), 8)
    assert gpus_key(found["training.how.gpus"]) == written["training"]["how"]["gpus"]
    file.write_text(file.read_text() + "# mine\n")
    refused = CliRunner().invoke(app, [*command, "--write", str(file)])
    assert isinstance(refused.exception, WiseftError)
    assert "is there and says something else" in str(refused.exception)
    assert file.read_text().endswith("# mine\n")
    alone = CliRunner().invoke(app, [*command[:2], "--write", str(file), "--root", str(ROOT)])
    assert "--write is given without --gpus" in str(alone.exception)


def test_what_is_written_keeps_the_other_keys_of_training(tmp_path: Path):
    targets = targets_of("imagenet", training={"how": {"workers": 7}})
    found = choices(targets, A100, 8)["training.how.gpus"]
    write_config(tmp_path / "f.yaml", targets, found)
    how = yaml.safe_load((tmp_path / "f.yaml").read_text())["training"]["how"]
    assert how["workers"] == 7 and how["gpus"]["clip-vit-l-14-336/end-to-end"] == 8
