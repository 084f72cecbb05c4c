"""Parameters of shared evaluations: the same for every experiment that has what it asks for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.workflow.conftest import SMOKE, copy_project

from wiseft.study.config import paths
from wiseft.study.targets import Targets

MODEL = "digits-rn-smoke-s0"
TUNED, LINEAR = f"end-to-end__{SMOKE}", f"linear-classifier__{SMOKE}"
SCRATCH = "from-scratch__n60-smoke"
ALL = "[weight, output, softmax, random]"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_project(tmp_path / "project")


def experiment(project: Path, name: str, alphas: str, combinations: str, more: str = "") -> Targets:
    folder = project / "config" / "experiments"
    text = (folder / f"{SMOKE}.yaml").read_text().partition("\nfigures:")[0]
    text = text.replace(f"experiment: {SMOKE}", f"experiment: {name}")
    text = text.replace("[0.0, 0.25, 0.5, 0.75, 1.0]", alphas)
    (folder / f"{name}.yaml").write_text(f"{text}\ncombinations: {combinations}\n{more}")
    return Targets.read(project, {"experiment": name})


def told(targets: Targets, method: str = TUNED) -> tuple[str, str, str]:
    """Return the parameters, as a run of the workflow that begins now has them."""
    targets = Targets.read(targets.catalogue.root, {"experiment": targets.name})
    model = "digits-rn-smoke" if method == SCRATCH else MODEL
    ask, members = targets.stored, targets.data.suites["digits"]
    of = (model, method, "0", members)
    return ask.alphas(*of), ask.combinations(*of), ask.logits(*of)


def evaluate(targets: Targets, method: str, *combinations: str, view: str = "all") -> None:
    """Add to the metrics what an evaluation of the experiment adds."""
    model = "digits-rn-smoke" if method == SCRATCH else MODEL
    for name in targets.data.suites["digits"]:
        run = paths.run_name(model, targets.reference, method)
        path = targets.catalogue.root / paths.metrics_path(run, 0, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = json.loads(path.read_text())["rows"] if path.exists() else []
        for alpha in targets.alphas(method):
            for combination in combinations:
                rows.append({"view": view, "combination": combination, "alpha": alpha})
        path.write_text(json.dumps({"rows": rows}))


STORED = {
    TUNED: ("weight", "output", "softmax", "random"),
    LINEAR: ("weight", "softmax", "random"),  # whose outputs are combined as its weights are
    SCRATCH: ("weight",),
}


@pytest.mark.parametrize("method", [TUNED, LINEAR, SCRATCH])
def test_both_agree_whoever_comes_first(project: Path, method: str) -> None:
    few = experiment(project, "few", "[0.0, 0.5, 1.0]", ALL)
    many = experiment(project, "many", "[0.0, 0.25, 0.5, 1.0]", "[weight, output]")
    stored = {few.name: STORED[method]}
    stored[many.name] = tuple(n for n in STORED[method] if n in ("weight", "output"))
    for first, second in ((few, many), (many, few)):
        alone = told(first, method)
        evaluate(first, method, *stored[first.name])
        assert told(first, method) == alone, "the same before and after the job"
        planned = told(second, method)
        assert (planned != alone) == (method != SCRATCH), "what is asked for is not there"
        evaluate(second, method, *stored[second.name])
        assert told(first, method) == told(second, method) == planned
        for path in project.rglob("metrics.json"):
            path.unlink()


def test_a_plain_grid_is_what_is_asked_for(project: Path) -> None:
    targets = experiment(project, "few", "[0.0, 0.5, 1.0]", "[weight, output]")
    assert told(targets) == ("0.000,0.500,1.000", "weight,output", "")
    assert told(targets, LINEAR) == ("0.000,0.500,1.000", "weight,output", "")
    assert told(targets, SCRATCH) == ("1.000", "weight,output", "")


def test_an_alpha_that_only_another_combination_has_is_new(project: Path) -> None:
    few = experiment(project, "few", "[0.0, 0.5, 1.0]", ALL)
    many = experiment(project, "many", "[0.0, 0.25, 0.5, 1.0]", "[weight, output]")
    for targets in (many, few):
        evaluate(targets, TUNED, *targets.told.combinations(TUNED).split(","))
    both = experiment(project, "both", "[0.0, 0.25, 0.5, 1.0]", ALL)
    assert told(both)[1] == told(few)[1]
    assert told(both)[0] != told(few)[0]


@pytest.mark.parametrize("content", ["", "[]", '{"rows": 1}', '{"rows": [1]}', '{"rows": [{}]}'])
def test_unreadable_metrics_hold_nothing(project: Path, content: str) -> None:
    targets = experiment(project, "few", "[0.0, 0.5, 1.0]", "[weight, output]")
    before = told(targets)
    evaluate(targets, TUNED, "weight")
    for path in project.rglob("metrics.json"):
        path.write_text(content)
    assert told(targets) == before


def test_logits_that_are_there_stay(project: Path) -> None:
    plain = experiment(project, "few", "[0.0, 0.5, 1.0]", "[weight, output]")
    pairs = experiment(
        project, "pairs", "[0.0, 0.5, 1.0]", "[weight, output]", f"pairs: [[zero-shot, {TUNED}]]\n"
    )
    assert told(pairs)[2] == "--logits 0.000,1.000"
    assert told(plain)[2] == ""
    run = paths.run_name(MODEL, plain.reference, TUNED)
    for name in plain.data.suites["digits"]:
        path = project / paths.logits_path(run, 0, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert told(plain)[2] == told(pairs)[2]


def test_a_key_of_later_changes_no_record(project: Path) -> None:
    plain = experiment(project, "plain", "[0.0, 0.5, 1.0]", "[weight]")
    assert not {"sweep", "keep"} & json.loads(plain.told.record())["experiment"].keys()


def test_settings_of_one_recipe_add_a_table_and_other_experiments_stay_as_they_are(project: Path):
    plain = experiment(project, "plain", "[0.0, 0.5, 1.0]", ALL)
    named = f"tuning: {{title: rate, methods: [{TUNED}, {LINEAR}]}}"
    tuned = experiment(project, "tuned", "[0.0, 0.5, 1.0]", ALL, named)
    table = paths.table_path("tuned", "tuning.csv")
    assert tuned.files.tuning() == [table]
    assert tuned.files.tables["tuning"] == table and table in tuned.files.table_files()
    assert json.loads(tuned.told.statistics())["tuning"]["methods"] == [TUNED, LINEAR]
    assert plain.files.tuning() == [] and "tuning" not in plain.files.tables
    assert "tuning" not in plain.told.statistics() + plain.told.record()
