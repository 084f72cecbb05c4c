"""The claims of the paper: verdicts follow from tables, and a check that cannot run is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import t as student_t

from wiseft.cli import main
from wiseft.study.config.claims import Check
from wiseft.study.paper import claims
from wiseft.study.published.numbers import rows
from wiseft.tabulate.schema import (
    COMPARISONS,
    SELECTION,
    TABLE,
    frame_of,
    write_csv,
    write_parquet,
)

REPOSITORY = Path(__file__).parents[2]
ENDS = {"zero-shot": 0.0, "fine-tuned": 1.0}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with our configuration, copies of tables and tests, and no data of its own."""
    (tmp_path / "config").mkdir()
    for path in (REPOSITORY / "config").iterdir():
        (tmp_path / "config" / path.name).symlink_to(path)
    for name in ("published", "tests"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    return tmp_path


Claimed = Callable[..., Path]


@pytest.fixture
def claimed(project: Path) -> Claimed:
    """Write a claim in place of the paper's; returns the project."""

    def write(**claim: Any) -> Path:
        path = project / claims.FILE
        path.unlink(missing_ok=True)
        path.write_text(yaml.safe_dump({"claims": [{"says": "So.", "paper": "Table 1", **claim}]}))
        return project

    return write


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(one) for one in arguments])
    return int(left.value.code or 0)


def measured(frame: pd.DataFrame, root: Path, experiment: str) -> None:
    """Write numbers of the paper as tables of an experiment, without intervals."""
    frame = frame.assign(source="measured", experiment=experiment, seed=0)
    write_parquet(root / f"data/tables/{experiment}.parquet", frame[list(TABLE)], TABLE)
    swept = frame[(frame["selection"] == "grid") & (frame["combination"] == "weight")]
    keys = ["model", "method", "variant", "run", "seed", "combination", "dataset"]
    wide = swept.pivot_table("value", keys, "alpha").reset_index()
    wide = wide.reindex(columns=[*wide.columns, *({0.0, 0.5, 1.0} - {*wide.columns})])
    contrasts = [
        wide.assign(contrast=f"0.500-vs-{end:.3f}", difference=wide[0.5] - wide[end])
        for end in ENDS.values()
    ]
    compared = pd.concat(contrasts).assign(experiment=experiment).reindex(columns=list(COMPARISONS))
    write_csv(root / f"data/tables/{experiment}.comparisons.csv", compared, COMPARISONS)
    alphas = [name for name in wide.columns if isinstance(name, float)]
    best = wide[alphas].max(axis=1)
    choices = [
        wide.assign(
            selection=selection,
            value=value,
            regret=best - value,
            **{f"over_{end.replace('-', '_')}": value - wide[at] for end, at in ENDS.items()},
        )
        for selection, value in (("fixed", wide[0.5]), ("oracle-column", best))
    ]
    chosen = pd.concat(choices).assign(experiment=experiment, reference="imagenet")
    write_csv(
        root / f"data/tables/{experiment}.selection.csv",
        chosen.reindex(columns=list(SELECTION)),
        SELECTION,
    )


def test_the_papers_own_numbers_refute_none_of_its_claims(project: Path) -> None:
    """Every check that is about numbers of Tables 1 to 13 holds for them: its rows, sign and bound
    are the paper's.
    """
    table = rows([4, 5, 2, 6, 7, 13])
    linear = (table["method"] == "linear-classifier") & (table["variant"] == "")
    table.loc[linear, "variant"] = "search-weight-decay"
    parts = {
        "imagenet": (table["reference"] == "imagenet")
        & table["experiment"].isin(["table-4", "table-5"]),
        "coop": table["experiment"].eq("table-7") & table["method"].ne("coop"),
        "further-shifts-video": table["dataset"].isin(["imagenet-vid-robust", "ytbb-robust"]),
        "further-shifts-cifar10": table["dataset"].isin(["cifar10.1", "cifar10.2"]),
        "independent-ensembles": table["experiment"].isin(["table-4", "table-13"])
        & table["method"].isin(["end-to-end", "independent-ensemble"])
        & table["model"].eq("clip-vit-l-14-336"),
    }
    parts["landscape"] = parts["imagenet"] & table["model"].eq("clip-vit-l-14-336")
    for name, those in parts.items():
        measured(table[those], project, name)
    found = [one for _, _, each in claims.judged(project) for one in each if one.where == "lab"]
    run_now = [one for one in found if one.state in (claims.HOLDS, claims.OPEN, claims.REFUTED)]
    assert {one.check.experiment for one in run_now} == parts.keys()
    assert [one for one in run_now if one.state != claims.HOLDS] == []
    assert len(run_now) > 25


def test_the_page_is_made_from_the_tables_in_git(project: Path, tmp_path: Path) -> None:
    """If this fails: wiseft claims --output docs/claims.md"""
    page = tmp_path / "claims.md"
    assert run("claims", "--root", project, "--output", page) == 0
    assert page.read_text() == (REPOSITORY / "docs" / "claims.md").read_text()


HALF = {"method": "end-to-end", "variant": "digits", "contrast": "0.500-vs-1.000"}
GAIN = {"experiment": "digits-seeds", "table": "comparisons", "value": "difference"}
GAIN |= {"rows": {**HALF, "dataset": "avg:shifts"}}
LAB = {**GAIN, "experiment": "imagenet", "bound": [0, None]}
LAB |= {"rows": {**HALF, "model": "clip-vit-b-16", "variant": "", "dataset": "avg:shifts"}}
MIXED = {
    "experiment": "digits-seeds",
    "rows": {"dataset": "mnist", "alpha": 1.0},
    "bound": [0, None],
}


def test_a_verdict_follows_from_bound_and_interval(claimed: Claimed) -> None:
    def verdict(**claim: Any) -> str:
        return claims.judged(claimed(**claim))[0][1]

    ((_, _, (one,)),) = claims.judged(claimed(small=[{**GAIN, "bound": [None, None]}]))
    assert one.low < one.number < one.high
    inside, below, across = one.low - 0.1, one.high + 0.1, one.number
    assert verdict(small=[{**GAIN, "bound": [inside, None]}]) == "measured small here"
    assert verdict(small=[{**GAIN, "bound": [inside, below]}]) == "measured small here"
    assert verdict(small=[{**GAIN, "bound": [below, None]}]) == "contradicted small here"
    assert verdict(small=[{**GAIN, "bound": [None, inside]}]) == "contradicted small here"
    assert verdict(small=[{**GAIN, "bound": [across, None]}]) == "open small here"
    both = [{**GAIN, "bound": [inside, None]}, {**GAIN, "bound": [below, None]}]
    assert verdict(small=both) == "contradicted small here"
    assert verdict(lab=[LAB]) == "not run"


def test_a_rehearsal_counts_as_one_and_a_labs_table_before_small_ones(claimed: Claimed) -> None:
    project = claimed(lab=[LAB])
    measured(rows([5]), project / claims.REHEARSAL, "imagenet")
    assert claims.judged(project)[0][1] == "rehearsed"
    measured(rows([5]), project, "imagenet")
    assert claims.judged(claimed(lab=[LAB]))[0][1] == "measured by a lab"
    wrong = [{**GAIN, "bound": [99, None]}]
    assert claims.judged(claimed(lab=[LAB], small=wrong))[0][1] == "measured by a lab"
    refuting = [{**LAB, "bound": [None, 0]}]
    assert claims.judged(claimed(lab=refuting))[0][1] == "contradicted by a lab"


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ({"tests": ["tests/published/test_claims.py::test_gone"]}, "no such test"),
        ({"tests": ["tests/published/gone.py::test_gone"]}, "no such test"),
        ({"small": [{**LAB}]}, "there is no table of imagenet"),
        ({"lab": [{**LAB, "experiment": "imagenets"}]}, "unknown experiment imagenets"),
        (
            {"lab": [{**LAB, "rows": {**LAB["rows"], "variant": "lp"}}]},
            "imagenet has no method end-to-end__lp",
        ),
        (
            {"lab": [{**LAB, "rows": {**LAB["rows"], "dataset": "mnist"}}]},
            "imagenet has no dataset mnist",
        ),
        (
            {"small": [{**GAIN, "bound": [0, None], "rows": {**GAIN["rows"], "contrast": "no"}}]},
            "has no row with",
        ),
        (
            {"small": [{**GAIN, "bound": [0, None], "rows": {**GAIN["rows"], "alphas": 1}}]},
            "has no column alphas",
        ),
        (
            {"small": [MIXED]},
            "name a model and a method: there are digits-rn end-to-end, digits-rn",
        ),
    ],
)
def test_a_check_that_cannot_be_computed_is_an_error(
    claim: dict[str, Any], said: str, claimed: Claimed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("claims", "--root", claimed(**claim)) == 1
    assert said in capsys.readouterr().err


def test_a_bound_is_needed(claimed: Claimed, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("claims", "--root", claimed(small=[GAIN])) == 1
    assert "bound" in capsys.readouterr().err


def grid(values: dict[tuple[str, str, float], list[float]], half: float = np.nan) -> pd.DataFrame:
    """Return a table with a value for every dataset, variant, alpha and seed."""

    def each() -> Iterator[dict[str, Any]]:
        for (dataset, variant, alpha), seeds in values.items():
            for seed, value in enumerate(seeds):
                about = {"model": "m", "method": "end-to-end", "variant": variant, "run": variant}
                about |= {"seed": seed, "dataset": dataset, "alpha": alpha, "value": value}
                yield about | {"ci_low": value - half, "ci_high": value + half, **claims.USUAL}

    return frame_of(list(each()), TABLE)


def test_differences_are_paired_by_run_and_their_interval_is_students() -> None:
    first, second = [0.61, 0.64, 0.60, 0.66], [0.50, 0.55, 0.47, 0.58]
    table = grid({("s", "v", 0.5): first, ("s", "v", 1.0): second})
    check = Check(
        experiment="x",
        rows={"method": "end-to-end", "variant": "v", "dataset": "s", "alpha": 0.5},
        against={"alpha": 1.0},
        bound=(0, None),
    )
    number, low, high, about = claims.measure(check, table)
    from scipy.stats import ttest_rel

    ends = ttest_rel(first, second).confidence_interval()
    assert (low, high) == pytest.approx((ends.low, ends.high))
    assert number == pytest.approx(np.mean(first) - np.mean(second))
    assert about == "4 seeds"
    two = grid({("s", "v", 0.5): first[:2], ("s", "v", 1.0): second[:2]}, half=0.03)
    number, low, high, about = claims.measure(check, two)
    assert (number - low, high - number) == pytest.approx((0.03 * 2**0.5,) * 2)
    assert about == "test images, unpaired"
    _, low, _, _ = claims.measure(check, table.assign(ci_low=0.4, ci_high=0.46))
    spread = student_t.ppf(0.975, 3) * np.std(np.subtract(first, second), ddof=1) / 2
    assert number - low > spread


def test_differences_to_both_ends_are_paired_over_images() -> None:
    """One run's accuracies on the same images, resampled; known is alpha 0.5 against the ends."""
    random = np.random.default_rng(5)
    right = random.random((2000, 1)) < [0.5, 0.7, 0.8]  # columns: alphas 0, 0.5, 1
    right[:1500] = right[:1500, :1]  # most images are right or wrong for all of them
    draws = np.array([right[random.integers(2000, size=2000)].mean(axis=0) for _ in range(2000)])

    def ends(draws: np.ndarray) -> tuple[float, float, float]:
        return draws.mean(), *np.quantile(draws, [0.025, 0.975])

    about = {"model": "m", "method": "end-to-end", "run": "r", "seed": "0", "dataset": "s"}
    about |= {"combination": "weight"}
    names = ("difference", "ci_low", "ci_high")
    contrasts = ["0.500-vs-0.000", "0.500-vs-1.000"]
    found = [ends(draws[:, 1] - draws[:, at]) for at in (0, 2)]
    compared = [
        {**about, "contrast": name, **dict(zip(names, each, strict=True))}
        for name, each in zip(contrasts, found, strict=True)
    ]
    table = frame_of(compared, COMPARISONS)

    def measure(contrast: Any, against: dict[str, Any]) -> claims.Number:
        rows = {"method": "end-to-end", "dataset": "s", "contrast": contrast}
        asked = {"rows": rows, "against": against, "bound": (0, None)}
        return claims.measure(
            Check(experiment="x", table="comparisons", value="difference", **asked), table
        )

    one = {"contrast": contrasts[1]}
    for got, true in (
        (measure(contrasts, {}), ends(draws[:, 1] - draws[:, [0, 2]].mean(axis=1))),
        (measure(contrasts[0], one), ends(draws[:, 2] - draws[:, 0])),
    ):
        number, low, high, about_what = got
        assert number == pytest.approx(true[0])
        assert low <= true[1] + 1e-3 and true[2] - 1e-3 <= high, "no narrower than the true one"
        unpaired = np.hypot(*[np.diff(ends(draws[:, at])[1:])[0] for at in (0, 2)])
        assert high - low < unpaired, "and narrower than one that takes images for different"
        assert about_what == "test images"


def test_the_height_above_a_curve() -> None:
    curve = {0.0: (0.80, 0.70), 0.5: (0.90, 0.80), 1.0: (0.95, 0.60)}
    table = grid(
        {("r", "curve", alpha): [x] for alpha, (x, _) in curve.items()}
        | {("s", "curve", alpha): [y] for alpha, (_, y) in curve.items()}
        | {("r", "on", 1.0): [0.925], ("s", "on", 1.0): [0.70]}
        | {("r", "over", 1.0): [0.925], ("s", "over", 1.0): [0.73]}
        | {("r", "beyond", 1.0): [0.97], ("s", "beyond", 1.0): [0.55]},
        half=0.01,
    )

    def height(*variants: str) -> float:
        rows = {"method": "end-to-end", "variant": list(variants), "alpha": 1.0, "dataset": "s"}
        check = Check(
            experiment="x",
            rows=rows,
            curve="r",
            against={"variant": "curve", "alpha": None},
            bound=(None, 0),
        )
        return claims.measure(check, table)[0]

    assert height("on") == pytest.approx(0, abs=1e-3)
    assert height("on", "over", "beyond") == pytest.approx(0.03, abs=1e-3)
    assert height("beyond") == pytest.approx(0.55 - 0.60)
