"""Effective robustness as numbers: over own baselines and over the test bed's lines."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from wiseft.cli import main
from wiseft.study.config import Catalogue
from wiseft.study.paper.effective import effective_rows
from wiseft.study.paper.published import join
from wiseft.study.published.testbed import lines
from wiseft.tabulate.schema import EFFECTIVE, TABLE, conform, read, write_parquet
from wiseft.tabulate.settings import TabulateSettings

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "averages": {"shifts": ["a", "b"]},
    "test_split": "test",
    "reference": "ref",
    "bootstrap": {"resamples": 100, "seed": 0},
    "fit_exclude": ["from-scratch__odd"],
}


def settings(**changes: object) -> TabulateSettings:
    return TabulateSettings.model_validate(SETTINGS | changes)


def logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def expit(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def point(method: str, variant: str, alpha: float, places: dict[str, float], **more: object):
    """Rows of one model at one alpha; a place is a dataset or `dataset/view`."""
    for place, value in places.items():
        dataset, _, view = place.partition("/")
        row = {"source": "measured", "experiment": "e", "model": "m", "reference": "ref"}
        row |= {"method": method, "variant": variant, "run": f"m__ref__{method}__{variant}"}
        row |= {"seed": 0, "combination": "weight", "alpha": alpha, "selection": "grid"}
        row |= {"dataset": dataset, "view": view or "all", "split": "test", "metric": "accuracy"}
        yield row | {"value": value} | more


def table_of(*points: Iterable[dict[str, object]]) -> pd.DataFrame:
    records = [row for rows in points for row in rows]
    return conform(pd.DataFrame(records).reindex(columns=list(TABLE)), TABLE)


def baselines() -> list[dict[str, object]]:
    """Three models on logit(y) = 0.5 logit(x) - 1, and one that is left out of the fit."""
    rows: list[dict[str, object]] = []
    for variant, x in (("small", 0.6), ("middle", 0.8), ("large", 0.9)):
        y = expit(0.5 * logit(x) - 1)
        rows += point("from-scratch", variant, 1.0, {"ref": x, "avg:shifts": y, "a": y})
    return rows + list(point("from-scratch", "odd", 1.0, {"ref": 0.7, "avg:shifts": 0.69}))


def test_over_models_from_scratch_by_hand() -> None:
    table = table_of(
        baselines(),
        point("tuned", "", 0.5, {"ref": 0.8, "avg:shifts": 0.7}),
        point("tuned", "", 1.0, {"ref": 0.95, "avg:shifts": 0.3}),
        point("tuned", "", 0.5, {"ref": 0.1, "avg:shifts": 0.1}, selection="fixed"),
    )
    rows = effective_rows(table, settings(), other_models=False)
    assert list(rows) == list(EFFECTIVE)
    assert set(rows["line"]) == {"from-scratch"}
    tuned = rows[rows["method"] == "tuned"].set_index("alpha")
    assert len(tuned) == 2
    beta = expit(0.5 * logit(0.8) - 1)
    assert tuned.loc[0.5, "beta"] == pytest.approx(beta)
    assert tuned.loc[0.5, "effective_robustness"] == pytest.approx(0.7 - beta)
    beta = expit(0.5 * logit(0.95) - 1)
    assert tuned.loc[1.0, "effective_robustness"] == pytest.approx(0.3 - beta)
    assert tuned["extrapolated"].to_list() == [0, 1]
    own = rows[rows["method"] == "from-scratch"].set_index("variant")
    assert own.loc[["small", "middle", "large"], "effective_robustness"].abs().max() < 1e-12
    odd = 0.69 - expit(0.5 * logit(0.7) - 1)
    assert own.loc["odd", "effective_robustness"] == pytest.approx(odd)


def test_without_a_line_there_are_no_rows() -> None:
    table = table_of(point("tuned", "", 0.5, {"ref": 0.8, "avg:shifts": 0.7}))
    assert effective_rows(table, settings(), other_models=False).empty


def test_over_the_test_beds_lines_the_published_numbers() -> None:
    catalogue = Catalogue(ROOT)
    experiment = catalogue.experiment("paper")
    assert experiment.published is not None
    table = join([], experiment.published, catalogue, ROOT / "none")
    chosen = settings(reference="imagenet", averages=experiment.averages)
    rows = effective_rows(table, chosen, other_models=True)
    known = lines().set_index(["kind", "dataset", "x_view"])
    here = rows[(rows["experiment"] == "table-5") & (rows["method"] == "end-to-end")]
    half = here[(here["alpha"] == 0.5) & (here["model"] == "clip-vit-b-16")].set_index("dataset")
    assert len(half) == 6
    for dataset, kind in (("avg:shifts", "standard"), ("imagenet-a", "standard-above-knee")):
        line = known.loc[(kind, dataset, "all")]
        beta = expit(line["intercept"] + line["slope"] * logit(0.817))
        assert half.loc[dataset, "line"] == kind
        assert half.loc[dataset, "x"] == pytest.approx(0.817)
        assert half.loc[dataset, "beta"] == pytest.approx(beta)
    start = here[(here["alpha"] == 0.0) & (here["model"] == "clip-vit-b-16")].set_index("dataset")
    assert start.loc["imagenet-a", "line"] == "standard-below-knee"


def test_below_the_lower_piece_of_a_line_with_a_knee_the_lower_one_counts() -> None:
    known = lines()
    lower = known[(known["dataset"] == "imagenet-a") & (known["kind"] == "standard-below-knee")]
    x = float(lower["x_min"].min()) - 0.05
    table = table_of(
        point("tuned", "", 0.5, {"imagenet": x, "imagenet-a": 0.01}, reference="imagenet")
    )
    rows = effective_rows(table, settings(reference="imagenet", averages={}), other_models=True)
    assert rows["line"].tolist() == ["standard-below-knee"]
    assert rows["extrapolated"].tolist() == [1]


def test_the_shifts_own_classes_are_on_the_x_axis_where_they_are_measured() -> None:
    places = {"imagenet": 0.8, "imagenet/imagenet-r-classes": 0.92, "imagenet-r": 0.7}
    plain = {"imagenet": 0.8, "imagenet-r": 0.7, "imagenet-v2": 0.7}
    table = table_of(
        point("tuned", "both", 0.5, places, reference="imagenet"),
        point("tuned", "plain", 0.5, plain, reference="imagenet"),
    )
    rows = effective_rows(table, settings(reference="imagenet", averages={}), other_models=True)
    found = {(row.variant, row.dataset): (row.x_view, row.x) for row in rows.itertuples()}
    assert found == {
        ("both", "imagenet-r"): ("imagenet-r-classes", 0.92),
        ("plain", "imagenet-r"): ("all", 0.8),
        ("plain", "imagenet-v2"): ("all", 0.8),
    }


def test_a_reference_accuracy_may_be_of_another_experiment() -> None:
    table = table_of(
        baselines(),
        point("tuned", "", 0.5, {"ref": 0.8}, experiment="first"),
        point("tuned", "", 0.5, {"avg:shifts": 0.7}, experiment="second"),
    )
    rows = effective_rows(table, settings(), other_models=False)
    (row,) = rows[rows["method"] == "tuned"].itertuples()
    assert (row.experiment, row.x, row.y) == ("second", 0.8, 0.7)


def test_command_writes_what_the_reader_reads(tmp_path: Path) -> None:
    table = table_of(baselines(), point("tuned", "", 0.5, {"ref": 0.8, "avg:shifts": 0.7}))
    write_parquet(tmp_path / "table.parquet", table, TABLE)
    arguments = ["effective-robustness", "--table", str(tmp_path / "table.parquet")]
    arguments += ["--settings", settings().model_dump_json(), "--output", str(tmp_path / "e.csv")]
    with pytest.raises(SystemExit) as leave:
        main(arguments)
    assert leave.value.code == 0
    wanted = effective_rows(table, settings(), other_models=False)
    found = read(tmp_path / "e.csv", EFFECTIVE, "effective robustness")
    pd.testing.assert_frame_equal(found, wanted, atol=1e-6)
