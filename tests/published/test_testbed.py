"""Other models' accuracies: parsed, joined, and the lines through them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue
from wiseft.study.config.experiment_parts import PublishedSettings
from wiseft.study.paper import published as joined
from wiseft.study.published import numbers
from wiseft.study.published import testbed as testbed_module
from wiseft.study.published.addresses import (
    ACCURACIES,
    MODEL_TYPES,
    SOURCES,
    source_path,
)
from wiseft.study.published.testbed import CONDITIONS, model_types
from wiseft.tabulate.schema import TABLE, conform

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def rows(testbed: Path) -> pd.DataFrame:
    return testbed_module.testbed_rows(testbed)


def test_rows_are_those_of_the_tidy_table(rows: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(conform(rows, TABLE), rows)
    assert rows["value"].between(0, 1).all()
    key = ["model", "method", "dataset", "view"]
    assert not rows.duplicated(key).any()


def test_categories_are_parsed_and_never_executed(testbed: Path) -> None:
    found = model_types(source_path(MODEL_TYPES, testbed))
    assert found["more"] == "MORE_DATA"
    assert len(found) == 13
    assert "snapshot_0" not in found  # added in a loop


def test_only_models_of_a_kind_that_is_drawn_are_read(rows: pd.DataFrame) -> None:
    here = rows[rows["experiment"] == "testbed"]
    kinds = here.groupby("method")["model"].unique().map(sorted).to_dict()
    assert kinds["more-data"] == ["more"]
    assert kinds["standard"] == sorted([*(f"s{i}" for i in range(10)), "resnet50"])
    assert set(kinds) == {"more-data", "standard"}


def test_counts_are_whole_samples_and_blanks_stay_out(rows: pd.DataFrame) -> None:
    here = rows[(rows["experiment"] == "testbed") & (rows["dataset"] != "avg:shifts")]
    assert (here["n_correct"] / here["n"] == here["value"]).all()
    first = here[here["model"] == "s0"]
    assert "imagenet-r" not in set(first["dataset"])
    assert set(first["view"]) == set(CONDITIONS["view"])


def test_the_average_needs_all_five_shifts(rows: pd.DataFrame) -> None:
    here = rows[rows["dataset"] == "avg:shifts"]
    assert "s0" not in set(here["model"])  # has no ImageNet-R
    one = rows[(rows["model"] == "s3") & (rows["view"] == "all")].set_index("dataset")["value"]
    five = ["imagenet-v2", "imagenet-r", "imagenet-sketch", "objectnet", "imagenet-a"]
    assert one["avg:shifts"] == pytest.approx(one[five].mean())
    assert pd.isna(here["n"]).all()


def test_zero_shot_clips_have_the_catalogues_names(testbed: Path) -> None:
    rows = testbed_module.testbed_rows(testbed, Catalogue(REPOSITORY))
    here = rows[rows["method"] == "zero-shot"]
    assert here["model"].nunique() == 9
    assert "clip-vit-l-14-336" in set(here["model"])
    assert set(here["alpha"]) == {0.0}
    fifty = here[(here["model"] == "clip-rn50") & (here["dataset"] == "imagenet")].iloc[0]
    assert (fifty["value"], fifty["n"]) == (0.6, 50_000)  # OpenAI's, not another tag's
    food = here[here["dataset"] == "food101"].iloc[0]
    assert (food["reference"], food["n"]) == ("food101", 25_250)


def test_the_line_is_that_of_the_standard_models(rows: pd.DataFrame) -> None:
    line = joined.model_line(rows, "imagenet-v2")
    assert line.n == 11
    assert line.slope == pytest.approx(1.0, abs=0.01)
    assert line.intercept == pytest.approx(-1.0, abs=0.01)


def test_a_model_of_zero_percent_has_no_logit_and_is_left_out(rows: pd.DataFrame) -> None:
    points = joined.model_points(rows, "imagenet-a")
    assert points.set_index("model")["y"]["resnet50"] == 0.0
    assert joined.model_line(rows, "imagenet-a").n == 10


def test_the_x_axis_is_the_view_that_was_asked_for(rows: pd.DataFrame) -> None:
    changed = rows.copy()
    seen = (changed["dataset"] == "imagenet") & (changed["view"] == "imagenet-r-classes")
    changed.loc[seen, "value"] += 0.1
    plain = joined.model_points(changed, "imagenet-r").set_index("model")["x"]
    view = joined.CLASS_VIEWS["imagenet-r"]
    restricted = joined.model_points(changed, "imagenet-r", x_view=view).set_index("model")["x"]
    assert np.allclose(restricted - plain, 0.1, atol=1e-3)  # other numbers of samples


def test_pieces_for_imagenet_a_meet_at_resnet_50(rows: pd.DataFrame) -> None:
    changed = rows.copy()
    x = (changed["dataset"] == "imagenet") & (changed["view"] == "all")
    knee = 0.7613
    shares = dict(zip([f"s{i}" for i in range(10)], np.linspace(0.70, 0.82, 10), strict=True))
    changed.loc[x, "value"] = changed.loc[x, "model"].map(shares).fillna(knee)
    kinds = (joined.BELOW_KNEE, joined.ABOVE_KNEE)
    lower, upper = (joined.kind_points(changed, "imagenet-a", kind, "all") for kind in kinds)
    assert lower["x"].max() < knee <= upper["x"].min()
    assert "resnet50" not in {*lower["model"], *upper["model"]}
    lines = [joined.model_line(changed, "imagenet-a", kind) for kind in kinds]
    assert [line.n for line in lines] == [len(lower), len(upper)]
    assert len(lower) + len(upper) == 10


def test_without_the_models_the_known_line_stands_in() -> None:
    empty = conform(pd.DataFrame(columns=list(TABLE)), TABLE)
    line = joined.model_line(empty, "avg:shifts")
    assert line.n == 82
    # Facts of the paper's Figure 1: 39.0 % at 80 %, 47.9 % at 85 % on the drawn line.
    assert 100 * line.predict([0.80, 0.85]) == pytest.approx([39.0, 47.9], abs=0.1)
    low, high = line.band([0.7])
    assert low[0] < line.predict([0.7])[0] < high[0]
    assert joined.model_line(empty, "imagenet-sketch", joined.ZERO_SHOT).n == 9


@pytest.mark.parametrize(
    ("dataset", "slope", "intercept", "r2"),
    [
        ("imagenet-v2", 0.923, -0.498, 0.996),
        ("imagenet-r", 0.637, -2.110, 0.888),
        ("imagenet-sketch", 1.071, -2.372, 0.868),
        ("objectnet", 0.980, -1.926, 0.952),
        ("imagenet-a", 1.997, -7.673, 0.814),
        ("imagenet-vid-robust", 0.533, -1.459, 0.948),
        ("ytbb-robust", 0.339, -1.112, 0.827),
        ("avg:shifts", 1.045, -1.895, 0.946),
    ],
)
def test_known_lines(dataset: str, slope: float, intercept: float, r2: float) -> None:
    """Fits that were made of the same files independently, to three decimals."""
    known = testbed_module.lines()
    view = joined.CLASS_VIEWS.get(dataset, "all")
    found = known[(known["kind"] == "standard") & (known["dataset"] == dataset)]
    line = found[found["x_view"] == view].iloc[0]
    assert [line["slope"], line["intercept"], line["r2"]] == pytest.approx(
        [slope, intercept, r2], abs=6e-4
    )


def test_a_line_that_nobody_knows_is_a_sentence() -> None:
    empty = conform(pd.DataFrame(columns=list(TABLE)), TABLE)
    with pytest.raises(WiseftError, match="there is no line of kind zero-shot for ytbb-robust"):
        joined.model_line(empty, "ytbb-robust", joined.ZERO_SHOT)


def test_known_lines_are_those_of_the_pinned_files(reference_data: Path) -> None:
    root = reference_data / "datasets"
    if not testbed_module.at_hand(root):
        pytest.skip(f"{root} has not the three files")
    table = testbed_module.testbed_rows(root)
    known = testbed_module.lines()
    for want in known.to_dict("records"):
        line = joined.model_line(table, want["dataset"], want["kind"], want["x_view"])
        assert len(joined.kind_points(table, want["dataset"], want["kind"], want["x_view"])) >= 3
        for name in ("slope", "intercept", "r2", "residual_se", "x_min", "x_max", "x_mean", "x_ss"):
            assert getattr(line, name) == pytest.approx(want[name], abs=2e-6), (want, name)
        assert line.n == want["n"]


def test_join_puts_published_rows_behind_measured_ones(testbed: Path) -> None:
    catalogue = Catalogue(REPOSITORY)
    measured = conform(numbers.rows([1]).assign(source="measured", experiment="mine"), TABLE)
    settings = PublishedSettings(tables=[4], models=["clip-vit-l-14-336"], other_models=True)
    found = joined.join([measured, measured], settings, catalogue, testbed)
    assert (found["source"] == "measured").sum() == len(measured)
    assert set(found["experiment"]) == {"mine", "table-4", "testbed", "open-clip"}
    assert found["source"].is_monotonic_increasing
    again = joined.join([found], settings, catalogue, testbed)
    pd.testing.assert_frame_equal(again, found)
    without = joined.join(
        [], settings.model_copy(update={"other_models": False}), catalogue, testbed
    )
    assert set(without["experiment"]) == {"table-4"}
    stale = measured.assign(value=measured["value"] + 0.001)
    with pytest.raises(WiseftError, match="the tables have different values of run clip-vit-l"):
        joined.join([measured, stale], settings, catalogue, testbed)


def test_join_leaves_other_models_out_where_they_are_not_at_hand(tmp_path: Path) -> None:
    settings = PublishedSettings(tables=[4], other_models=True)
    found = joined.join([], settings, Catalogue(REPOSITORY), tmp_path)
    assert set(found["experiment"]) == {"table-4"}


def test_a_broken_file_is_named(testbed: Path) -> None:
    path = source_path(ACCURACIES, testbed)
    path.write_text("model,val\na,1\n")
    with pytest.raises(WiseftError, match=r"must have the columns .* but lacks"):
        testbed_module.testbed_rows(testbed)
    types = source_path(MODEL_TYPES, testbed)
    for text, expected in [
        ("x = 1", "has no mapping model_types_map"),
        ("model_types_map = {'a': evil()}", "must be a mapping of texts to ModelTypes"),
        ("model_types_map = [", "is no Python"),
    ]:
        types.write_text(text)
        with pytest.raises(WiseftError, match=expected):
            model_types(types)


def test_sources_are_pinned() -> None:
    for file in SOURCES:
        assert file.git_blob and file.size
        assert re.search(r"/[0-9a-f]{40}/", file.urls[0])


def test_the_line_knows_the_range_of_its_models(rows: pd.DataFrame) -> None:
    line = joined.model_line(rows, "imagenet-v2")
    points = joined.model_points(rows, "imagenet-v2")
    assert line.x_mean == pytest.approx(logit(points["x"]).mean())
    assert (line.x_min, line.x_max) == (points["x"].min(), points["x"].max())
