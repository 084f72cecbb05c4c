"""The tidy table, selections and comparisons of small runs, against numbers done by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from wiseft.errors import WiseftError
from wiseft.tabulate.predictions import ENDS, Point, dawin
from wiseft.tabulate.schema import COMPARISONS, FITS, SELECTION, SELECTIONS, TABLE
from wiseft.tabulate.selection import best_alpha, binomial_error, one_standard_error_alpha
from wiseft.tabulate.stage import tabulate


def run(files, settings):
    return tabulate("demo", settings, files.metrics, files.predictions)


def only(frame, **wanted):
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1, frame
    return frame.iloc[0]


@pytest.fixture
def tables(small, make_settings):
    return run(small, make_settings())


def test_columns(tables):
    assert list(tables.table) == list(TABLE)
    assert list(tables.comparisons) == list(COMPARISONS)
    assert list(tables.selection) == list(SELECTION)
    assert list(tables.fits) == list(FITS)


def test_every_metrics_row_has_its_exact_interval(tables):
    grid = tables.table[
        (tables.table["selection"] == "grid") & ~tables.table["dataset"].str.startswith("avg:")
    ]
    assert len(grid) == 4 * 5  # ref held-out, ref, one, two; five alphas
    assert set(grid["ci_method"]) == {"clopper-pearson"}
    row = only(grid, dataset="one", alpha=0.25)
    expected = binomtest(36, 40).proportion_ci(0.95, "exact")
    assert (row["value"], row["n"], row["n_correct"]) == (0.9, 40, 36)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((expected.low, expected.high))


def test_rows_are_sorted_by_what_they_are(bench, make_settings):
    bench.add_small(seed=10)
    bench.add_small(seed=2)
    tables = run(bench.files, make_settings())
    assert tables.table["seed"].is_monotonic_increasing
    first = tables.table[tables.table["seed"] == 2]
    assert list(dict.fromkeys(first["selection"])) == list(SELECTIONS)
    assert list(dict.fromkeys(tables.comparisons["seed"])) == ["2", "10", "all"]


def test_average_weighs_datasets_equally(tables):
    row = only(tables.table, dataset="avg:shifts", alpha=0.5, selection="grid")
    assert row["value"] == pytest.approx((34 / 40 + 16 / 20) / 2)
    assert row["ci_method"] == "cluster-bootstrap"
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert row["n"] == 60
    assert pd.isna(row["n_correct"])


@pytest.mark.parametrize(
    ("selection", "alpha"),
    # Held-out: 96 of 100 at .75 and 1, the tie goes to .75. Standard error of .96 with n = 100:
    # .0196, so that .95 at alpha .5 is within and .90 at alpha .25 is not.
    [("fixed", 0.5), ("held-out", 0.75), ("held-out-1se", 0.5)],
)
def test_selected_alphas(tables, selection, alpha):
    rows = tables.table[tables.table["selection"] == selection]
    assert set(rows["alpha"]) == {alpha}
    assert sorted(rows["dataset"]) == ["avg:shifts", "one", "ref", "ref", "two"]
    grid = tables.table[(tables.table["selection"] == "grid") & (tables.table["alpha"] == alpha)]
    on = ["dataset", "split"]
    pd.testing.assert_frame_equal(
        rows.drop(columns="selection").sort_values(on, ignore_index=True),
        grid.drop(columns="selection").sort_values(on, ignore_index=True),
    )


def test_oracle_is_the_best_of_each_column(tables):
    rows = tables.table[tables.table["selection"] == "oracle-column"]
    best = {row["dataset"]: (row["alpha"], row["value"]) for _, row in rows.iterrows()}
    assert best == {
        "ref": (0.75, 1.0),
        "one": (0.25, 0.9),
        "two": (0.75, 0.9),
        "avg:shifts": (0.5, pytest.approx(0.825)),
    }
    assert set(rows["split"]) == {"test"}


def test_table13_averages_the_optima_of_the_datasets(tables):
    row = only(tables.table, selection="oracle-table13")
    assert row["dataset"] == "avg:shifts"
    assert row["value"] == pytest.approx((36 / 40 + 18 / 20) / 2)
    assert pd.isna(row["alpha"])
    assert row["ci_low"] < row["value"] < row["ci_high"]


@pytest.mark.parametrize(("criterion", "one", "two"), [("entropy", 36, 12), ("confidence", 20, 18)])
def test_without_labels_alpha_is_chosen_for_each_dataset(bench, make_settings, criterion, one, two):
    bench.add_small()
    bench.add("three", {"test": bench.curve(30, (3, 6, 9, 12, 15))})
    table = run(bench.files, make_settings(unlabelled=criterion)).table
    rows = table[table["selection"] == "unlabelled"].set_index("dataset")
    assert set(rows["split"]) == {"test"}
    assert rows.loc["one", "alpha"] == {"entropy": 0.25, "confidence": 0.75}[criterion]
    assert (rows.loc["one", "n_correct"], rows.loc["two", "n_correct"]) == (one, two)
    assert rows.loc["avg:shifts", "value"] == pytest.approx((one / 40 + two / 20) / 2)
    assert pd.isna(rows.loc["avg:shifts", "alpha"])
    assert "three" in rows.index, "every dataset, of an average or not"


SWEEP = ("run", 0, "weight")


def points(values, alphas):
    return {
        Point(*SWEEP, alpha): np.array(each) for alpha, each in zip(alphas, values, strict=True)
    }


def test_the_surer_end_counts_for_more_in_each_sample():
    grid = ("0.000", "0.250", "0.500", "0.750", "1.000")
    predictions = points([[place] * 6 for place in range(5)], grid)
    # sigmoid(H_0 - H_1): 0.5, 0.73, 0.12, 0.85, and on either side of 0.625, halfway.
    half = np.log(0.625 / 0.375)
    ends = points([[1, 1, 0, 2, half - 1e-9, half + 1e-9], [1, 0, 2, 0.25, 0, 0]], ENDS)
    found = dawin(predictions, ends)
    assert found.keys() == {Point(*SWEEP, "per-sample")}
    assert found[Point(*SWEEP, "per-sample")].tolist() == [2, 3, 0, 3, 2, 3]
    assert dawin(predictions, dict(list(ends.items())[:1])) == {}, "a model without another end"
    coarse = {point: values for point, values in predictions.items() if point.alpha in ENDS}
    equal = points([[0.5] * 6] * 2, ENDS)
    assert set(*dawin(coarse, equal).values()) == {0}, "of two alphas as near the smaller"


def test_an_alpha_for_each_sample_adds_rows_and_changes_none(bench, make_settings):
    """Zero-shot is right of the first 30 of `one`, alpha 1 of the first 10, 0.5 of 34."""
    bench.add_small()
    before = run(bench.files, make_settings()).table
    file = bench.predictions[1]
    frame = pd.read_parquet(file)
    index = np.arange(len(frame))
    sure = np.select([index < 20, index < 30], [0.0, 3.0], 9.0)  # 0: its own end; 3: alpha 0.5
    frame["weight/all/0.000/entropy"] = sure.astype(np.float32)
    frame["weight/all/1.000/entropy"] = np.where(index < 20, 9, 3).astype(np.float32)
    frame.to_parquet(file, index=False)
    table = run(bench.files, make_settings()).table
    rest = [each[each["selection"] != "dawin"].reset_index(drop=True) for each in (before, table)]
    pd.testing.assert_frame_equal(*rest, check_exact=True)
    rows = table[table["selection"] == "dawin"].set_index("dataset")
    assert sorted(rows.index) == ["avg:shifts", "one", "ref", "two"]
    assert set(rows["split"]) == {"test"} and rows["alpha"].isna().all()
    # 20 by alpha 0, all right; 10 by 0.5, all right; 10 by alpha 1, all wrong.
    one = rows.loc["one"]
    assert (one["n_correct"], one["n"], one["value"]) == (30, 40, 0.75)
    interval = binomtest(30, 40).proportion_ci(0.95, "exact")
    assert (one["ci_low"], one["ci_high"]) == pytest.approx((interval.low, interval.high))
    average = rows.loc["avg:shifts"]
    assert average["value"] == pytest.approx((30 / 40 + 16 / 20) / 2)
    assert average["ci_method"] == "cluster-bootstrap"
    assert average["ci_low"] < average["value"] < average["ci_high"]


def test_regret(tables):
    regret = {
        (row["selection"], row["dataset"]): row["regret"] for _, row in tables.selection.iterrows()
    }
    assert regret == {
        ("fixed", "ref"): pytest.approx(0.04),
        ("fixed", "avg:shifts"): pytest.approx(0),
        ("held-out", "ref"): pytest.approx(0),
        ("held-out", "avg:shifts"): pytest.approx(0.825 - 0.7),
        ("held-out-1se", "ref"): pytest.approx(0.04),
        ("held-out-1se", "avg:shifts"): pytest.approx(0),
        ("unlabelled", "ref"): pytest.approx(0),
        ("unlabelled", "avg:shifts"): pytest.approx(0.825 - 0.7),
        ("dawin", "ref"): pytest.approx(0.04),
        ("dawin", "avg:shifts"): pytest.approx(0),
        ("oracle-column", "ref"): 0,
        ("oracle-column", "avg:shifts"): 0,
        ("oracle-table13", "avg:shifts"): pytest.approx(0.825 - 0.9),
    }


def test_ties_and_the_standard_error_by_hand():
    accuracies = pd.Series({0.5: 0.9, 0.0: 0.7, 0.25: 0.8, 1.0: 0.9})
    assert best_alpha(accuracies) == 0.5
    # sqrt(.9 * .1 / 9) = .1 exactly reaches .8; with n = 10 it does not.
    assert one_standard_error_alpha(accuracies, binomial_error(0.9, 9)) == 0.25
    assert one_standard_error_alpha(accuracies, binomial_error(0.9, 10)) == 0.5


def test_comparison_with_zero_shot_by_hand(tables):
    # The same first samples are right, so that all discordant samples point one way.
    one = only(tables.comparisons, seed="0", contrast="0.500-vs-0.000", dataset="one")
    assert one["difference"] == pytest.approx(4 / 40)
    assert (one["n_better"], one["n_worse"], one["n"], one["n_clusters"]) == (4, 0, 40, 40)
    assert one["test"] == "mcnemar-exact"
    assert one["p_value"] == pytest.approx(2 / 2**4)
    assert one["ci_low"] <= one["difference"] <= one["ci_high"]
    # Holm over one (p = 2/16) and two (p = 2/64): 2 * 2/64 = .0625, then max(.0625, .125).
    two = only(tables.comparisons, seed="0", contrast="0.500-vs-0.000", dataset="two")
    assert two["p_holm"] == pytest.approx(0.0625)
    assert one["p_holm"] == pytest.approx(0.125)
    ref = only(tables.comparisons, seed="0", contrast="0.500-vs-0.000", dataset="ref")
    assert pd.isna(ref["p_holm"])


def test_a_kept_dataset_is_no_shift_and_leaves_other_rows_alone(bench, tables, make_settings):
    """Its own base ids, so the resamples of the others stay; Holm is over the two shifts."""
    bench.add("kept", {"test": bench.curve(30, (30, 29, 20, 10, 2))})
    more = run(bench.files, make_settings(kept=["kept"]))
    for name in ("table", "comparisons", "selection", "fits"):
        frame = getattr(more, name)
        rest = frame[frame["dataset"] != "kept"] if "dataset" in frame else frame
        pd.testing.assert_frame_equal(rest.reset_index(drop=True), getattr(tables, name))
    row = only(more.comparisons, seed="0", contrast="0.500-vs-0.000", dataset="kept")
    assert row["difference"] == pytest.approx(-1 / 3) and pd.isna(row["p_holm"])
    assert only(more.table, dataset="kept", selection="held-out-1se")["alpha"] == 0.5


def test_comparison_of_averages(tables):
    row = only(tables.comparisons, seed="0", contrast="0.500-vs-1.000", dataset="avg:shifts")
    assert row["difference"] == pytest.approx((24 / 40 + 2 / 20) / 2)
    assert row["ci_low"] <= row["difference"] <= row["ci_high"]
    assert row["p_value"] == pytest.approx(2 / 201)
    assert row["test"] == "cluster-bootstrap"


def test_pairing_makes_the_interval_of_a_difference_narrow(tables):
    row = only(tables.comparisons, seed="0", contrast="0.500-vs-0.000", dataset="avg:shifts")
    ends = [
        only(tables.table, dataset="avg:shifts", alpha=alpha, selection="grid")
        for alpha in (0.5, 0.0)
    ]
    unpaired = np.hypot(*[end["ci_high"] - end["ci_low"] for end in ends])
    assert row["ci_high"] - row["ci_low"] < 0.8 * unpaired


def test_a_dataset_with_repeated_base_ids_is_tested_by_the_bootstrap(bench, make_settings):
    bench.add_small()
    base = [f"image-{index // 2}" for index in range(20)]
    bench.add(
        "three",
        {"test": bench.curve(20, (10, 12, 16, 18, 14))},
        base_ids={"test": base},
    )
    tables = run(bench.files, make_settings(bootstrap={"resamples": 2000, "seed": 0}))
    row = only(tables.comparisons, seed="0", contrast="0.500-vs-0.000", dataset="three")
    assert (row["n"], row["n_clusters"], row["test"]) == (20, 10, "cluster-bootstrap")
    # Six samples are three images: the probability that a resample of ten misses them all is
    # .7 ** 10 = .028, twice that is the p value, and McNemar's would be 2 / 2 ** 6 = .031.
    assert row["p_value"] == pytest.approx(0.0565, abs=0.02)
    two = only(tables.comparisons, seed="0", contrast="0.500-vs-0.000", dataset="two")
    assert row["ci_high"] - row["ci_low"] > two["ci_high"] - two["ci_low"]


def test_shared_base_ids_widen_the_interval_of_an_average(bench, make_settings, tmp_path):
    def width(name, base_ids):
        here = type(bench)(tmp_path / name)
        here.add("ref", {"held-out": here.curve(10, [9] * 5), "test": here.curve(10, [9] * 5)})
        for dataset in ("one", "two"):
            here.add(dataset, {"test": here.curve(100, [60] * 5)}, base_ids=base_ids)
        row = only(
            run(here.files, make_settings()).table,
            dataset="avg:shifts",
            alpha=0.5,
            selection="grid",
        )
        return row["ci_high"] - row["ci_low"]

    shared = width("shared", {"test": [f"image-{index}" for index in range(100)]})
    assert shared > 1.2 * width("apart", None)


def test_summaries_over_seeds_and_models(bench, make_settings):
    for model, seed, count in (("a-s0", 0, 16), ("a-s0", 1, 12), ("a-s1", 0, 20), ("a-s1", 1, 20)):
        about = {"model": model, "seed": seed}
        held_out = {"held-out": bench.curve(10, [5] * 5), "test": bench.curve(20, [10] * 5)}
        bench.add("ref", held_out, **about)
        for dataset in ("one", "two"):
            bench.add(dataset, {"test": bench.curve(20, (10, 10, count, 10, 10))}, **about)
    comparisons = run(bench.files, make_settings()).comparisons
    wanted = {"contrast": "0.500-vs-0.000", "dataset": "avg:shifts"}
    a = only(comparisons, model="a-s0", seed="all", **wanted)
    assert (a["difference"], a["low"], a["high"]) == pytest.approx((0.2, 0.1, 0.3))
    assert pd.isna(a["p_value"])
    assert pd.isna(a["n"])
    both = only(comparisons, model="a", seed="all", **wanted)
    assert (both["difference"], both["low"], both["high"]) == pytest.approx((0.35, 0.2, 0.5))
    assert both["run"] == "all"
    assert list(dict.fromkeys(comparisons["model"])) == ["a-s0", "a-s1", "a"]


def test_one_model_has_no_summary_over_models(tables):
    assert "all" in set(tables.comparisons["seed"])
    for part in (tables.table, tables.comparisons, tables.selection):
        assert "all" not in set(part["run"])


def test_weight_against_output_space(bench, make_settings):
    def both(n, weight, output):
        return bench.curve(n, weight) | bench.curve(n, output, "output")

    flat, better = [10] * 5, (10, 12, 15, 12, 10)
    bench.add("ref", {"held-out": both(20, flat, flat), "test": both(20, better, flat)})
    bench.add("one", {"test": both(20, better, flat)})
    bench.add("two", {"test": both(20, flat, better)})
    tables = run(bench.files, make_settings())
    rows = tables.comparisons[tables.comparisons["contrast"] == "weight-vs-output"]
    found = {row["dataset"]: row["difference"] for _, row in rows.iterrows() if row["seed"] == "0"}
    assert found == pytest.approx({"ref": 0.25, "one": 0.25, "two": -0.25, "avg:shifts": 0.0})
    # Each combination chooses its own alpha, and only weight space is compared with the ends.
    assert set(tables.selection["combination"]) == {"weight", "output"}
    assert set(tables.comparisons["combination"]) == {"weight"}


def test_baselines_are_fitted_but_neither_selected_nor_compared(bench, make_settings):
    bench.add_small()
    for size, ref, one, two in ((1, 20, 8, 5), (2, 30, 12, 6), (3, 40, 16, 8), (4, 45, 20, 9)):
        bench.add_baseline(f"n{size}", ref, one, two)
    tables = run(bench.files, make_settings(fit_exclude=["from-scratch__n4"]))
    scratch = tables.table[tables.table["method"] == "from-scratch"]
    assert set(scratch["selection"]) == {"grid"}
    assert only(scratch, variant="n1", dataset="avg:shifts")["value"] == pytest.approx(0.225)
    assert "from-scratch" not in set(tables.comparisons["method"])
    fit = only(tables.fits, average="avg:shifts")
    assert (fit["n"], fit["x_min"], fit["x_max"]) == (3, 0.4, 0.8)


def test_alphas_outside_the_grid_of_the_experiment_are_left_out(small, make_settings, tables):
    fewer = run(small, make_settings(alphas=[0.0, 0.5, 1.0]))
    assert sorted(set(fewer.table["alpha"].dropna())) == [0.0, 0.5, 1.0]
    held_out = fewer.selection[fewer.selection["selection"] == "held-out"]
    assert set(held_out["alpha"]) == {1.0}  # 96 of 100, now that .75 is no candidate
    pd.testing.assert_frame_equal(fewer.comparisons, tables.comparisons)


def test_settings_without_averages(small, make_settings):
    tables = run(small, make_settings(averages={}))
    assert not tables.table["dataset"].str.startswith("avg:").any()
    assert set(tables.selection["dataset"]) == {"ref"}
    assert set(tables.comparisons["dataset"]) == {"ref", "one", "two"}


def test_a_grid_without_the_fixed_alpha(small, make_settings):
    with pytest.raises(WiseftError, match=r"alpha 0\.300 is needed .* the grid of run tiny-s0"):
        run(small, make_settings(fixed_alpha=0.3))


def test_alpha_must_not_be_chosen_on_test_samples(make_settings):
    with pytest.raises(ValueError, match="must not be chosen"):
        make_settings(held_out={"dataset": "ref", "split": "test"})


def test_a_held_out_split_that_was_not_evaluated(small, make_settings):
    with pytest.raises(WiseftError, match="alpha is chosen in ref, split spare, but run tiny-s0"):
        run(small, make_settings(held_out={"dataset": "ref", "split": "spare"}))


def test_of_a_run_that_was_trained_on_held_out_images_alpha_is_only_fixed(small, make_settings):
    before = run(small, make_settings())
    (name,) = set(before.table["run"])
    method = "__".join(name.split("__")[2:])
    after = run(small, make_settings(trained_on_held_out=[method]))
    gone = {"held-out", "held-out-1se"}
    assert set(before.table["selection"]) - set(after.table["selection"]) == gone
    assert set(before.selection["selection"]) - set(after.selection["selection"]) == gone
    kept = before.table[~before.table["selection"].isin(gone)].reset_index(drop=True)
    pd.testing.assert_frame_equal(after.table.reset_index(drop=True), kept)
