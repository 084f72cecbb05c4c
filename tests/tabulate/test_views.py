"""Views and metrics other than accuracy: their draws, their rows, and what is chosen by them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from wiseft.base.metrics import Truth, all_right, measure
from wiseft.errors import WiseftError
from wiseft.tabulate.bootstrap import POINTS_A_BLOCK, ClusterBootstrap, statistic
from wiseft.tabulate.predictions import Cell, Point
from wiseft.tabulate.stage import tabulate

GRID = ("0.000", "0.500", "1.000")
N = 60


def cell(metric: str, n: int = 24, n_points: int = POINTS_A_BLOCK + 2, ignore=()) -> Cell:
    """Random predictions of three labels, some of a class that never occurs; four groups."""
    rng = np.random.default_rng(3)
    truth = Truth(
        labels=rng.integers(0, 3, n),
        base_ids=np.array([f"v{index // 3}" for index in range(n)]),
        groups=np.array([["a", "b", "c", "d"][index % 4] for index in range(n)], dtype=object),
    )
    points = [Point("run", 0, "weight", f"0.{index:03}") for index in range(n_points)]
    predictions = {
        point: np.where(rng.random(n) < 0.6, truth.labels, rng.integers(0, 5, n)).astype(np.int32)
        for point in points
    }
    return Cell(metric, tuple(ignore), truth.base_ids, truth, truth.base_ids, predictions)


@pytest.mark.parametrize(
    "metric", ["accuracy", "all-frames-accuracy", "worst-group-accuracy", "macro-f1"]
)
def test_a_draw_is_the_metric_of_the_samples_drawn(metric, monkeypatch):
    mine = cell(metric)
    found = statistic(mine)
    assert found.values.tolist() == [mine.measure(point).value for point in mine.predictions]
    # A second dataset shares some of the base ids, so that there are two strata.
    resampled = ClusterBootstrap({"x": found.base_ids, "y": np.array(["v0", "v5"])}, 40, 0)
    draws = resampled.draws({"x": found.blocks})["x"]
    assert draws.shape == (40, len(mine.predictions))
    strata = [["v1", "v2", "v3", "v4", "v6", "v7"], ["v0", "v5"]]
    (weights,) = list(resampled._weights())
    for draw in range(40):
        times = {
            base: int(count)
            for bases, stratum in zip(strata, weights, strict=True)
            for base, count in zip(bases, stratum[draw], strict=True)
        }
        # Samples are repeated; a base id that is drawn twice is two of them.
        rows = [(i, k) for i, base in enumerate(mine.truth.base_ids) for k in range(times[base])]
        chosen = np.array([i for i, _ in rows])
        again = Truth(
            mine.truth.labels[chosen],
            np.array([f"{mine.truth.base_ids[i]}-{k}" for i, k in rows]),
            groups=mine.truth.groups[chosen],
        )
        expected = [measure(metric, p[chosen], again).value for p in mine.predictions.values()]
        assert draws[draw] == pytest.approx(expected, abs=1e-12)


def test_a_resample_without_a_group_or_class_leaves_it_out():
    right = np.array([True, False, True, True])
    truth = Truth(
        labels=np.array([0, 0, 1, 2]),
        base_ids=np.array(["v0", "v1", "v2", "v3"]),
        groups=np.array(["a", "a", "b", "c"], dtype=object),
    )
    predictions = {Point("run", 0, "weight", "0.500"): np.where(right, truth.labels, 2)}
    for metric, expected in (("worst-group-accuracy", 1.0), ("macro-f1", 1.0)):
        block = statistic(
            Cell(metric, (), truth.base_ids, truth, truth.base_ids, predictions)
        ).blocks[0]
        only_v0 = np.asarray(block.counts @ np.eye(block.counts.shape[1]))[:1]
        assert block.value(only_v0).tolist() == [[expected]]


def samples(groups: bool = False) -> pd.DataFrame:
    frame = pd.DataFrame({"split": "test", "label": np.arange(N) % 4})
    if groups:
        frame["group_region"] = [["Asia", "Other", "Europe"][index % 3] for index in range(N)]
    return frame


def guesses(labels, shares, seed=0):
    """Predictions of both combinations, of which about these shares are right, for each alpha."""
    rng = np.random.default_rng(seed)
    return {
        (combination, alpha): np.where(rng.random(len(labels)) < share, labels, (labels + 1) % 4)
        for combination in ("weight", "output")
        for alpha, share in zip(GRID, shares, strict=True)
    }


def both(frame: pd.DataFrame) -> pd.DataFrame:
    """The samples as a held-out and as a test split."""
    return pd.concat([frame.assign(split="held-out"), frame], ignore_index=True)


ACCURACY = {"all": {"metric": "accuracy"}}
WORST = {"worst": {"metric": "worst-group-accuracy", "group": "region", "ignore": ["Other"]}}


@pytest.fixture
def bench_with_reference(bench):
    frame = both(samples())
    bench.add_views("ref", frame, ACCURACY, guesses(frame["label"], (0.7, 0.9, 0.95)))
    return bench


def add(bench, dataset, views, seed=0, frame=None):
    frame = samples(groups=True) if frame is None else frame
    bench.add_views(dataset, frame, views, guesses(frame["label"], (0.5, 0.8, 0.6), seed))


def run(bench, settings):
    return tabulate("demo", settings, bench.metrics, bench.predictions)


def grid_of(tables, dataset, view):
    table = tables.table
    return table[
        (table["dataset"] == dataset) & (table["view"] == view) & (table["selection"] == "grid")
    ]


def test_intervals_of_every_metric(bench_with_reference, make_settings):
    frame = samples(groups=True)
    frame["base_id"] = [f"video{index // 4}" for index in range(N)]
    views = {
        **ACCURACY,
        **WORST,
        "f1": {"metric": "macro-f1"},
        "frames": {"metric": "all-frames-accuracy"},
    }
    add(bench_with_reference, "one", views, frame=frame)
    tables = run(bench_with_reference, make_settings(averages={}))
    for view, method in (
        ("all", "cluster-bootstrap"),  # four frames of each video
        ("frames", "clopper-pearson"),
        ("worst", "cluster-bootstrap"),
        ("f1", "cluster-bootstrap"),
    ):
        rows = grid_of(tables, "one", view)
        assert len(rows) == 6
        assert set(rows["ci_method"]) == {method}
        assert (rows["ci_low"] <= rows["value"]).all()
        assert (rows["value"] <= rows["ci_high"]).all()
        assert (rows["ci_low"] < rows["ci_high"]).all()
        assert rows["n_correct"].isna().all() == (view == "f1")
    frames = grid_of(tables, "one", "frames").iloc[0]
    expected = binomtest(int(frames["n_correct"]), 15).proportion_ci(0.95, "exact")
    assert frames["n"] == 15
    assert (frames["ci_low"], frames["ci_high"]) == pytest.approx((expected.low, expected.high))


def test_a_dataset_of_four_families_has_no_interval_but_its_families(
    bench_with_reference, make_settings
):
    """15 images of each family, of which three glyphs are rendered five times each."""
    frame = samples(groups=True)
    names = [f"family{index % 4}" for index in range(N)]
    frame["group_family"] = names
    frame["base_id"] = [f"{name}/{index // 4 % 3}" for index, name in enumerate(names)]
    add(bench_with_reference, "one", ACCURACY, frame=frame)
    add(bench_with_reference, "two", ACCURACY, seed=1)
    averages = {"shifts": ["one", "two"], "other": ["two"]}
    settings = make_settings(averages=averages, clusters={"one": "family"})
    tables = run(bench_with_reference, settings)
    whole = grid_of(tables, "one", "all")
    assert set(whole["ci_method"]) == {"too-few-clusters"}
    assert whole[["ci_low", "ci_high"]].isna().all(axis=None)
    parts = [grid_of(tables, "one", f"all/family{index}") for index in range(4)]
    assert [part["n"].unique().tolist() for part in parts] == [[15]] * 4
    mean = sum(part["value"].to_numpy() for part in parts) / 4
    assert mean == pytest.approx(whole["value"].to_numpy())
    assert all(part["ci_low"].isna().all() for part in parts)
    shifts, other = (grid_of(tables, f"avg:{name}", "all") for name in averages)
    assert set(shifts["ci_method"]) == {"cluster-bootstrap-conditional"}
    assert set(other["ci_method"]) == {"cluster-bootstrap"}
    assert (shifts["ci_low"] < shifts["ci_high"]).all()
    rows = tables.comparisons.query("contrast == '0.500-vs-0.000' and seed == '0'")
    rows = rows.set_index("dataset")
    assert rows.loc["one", ["ci_low", "p_value", "p_holm"]].isna().all()
    assert (rows.loc["one", "n_clusters"], rows.loc["one", "test"]) == (4, "")
    assert rows.loc["two", "p_holm"] == rows.loc["two", "p_value"], "the only shift with a test"
    selected = tables.table.query("selection != 'grid'")
    assert not selected["view"].str.contains("family").any()


def test_many_declared_clusters_are_what_is_resampled(bench_with_reference, make_settings):
    frame = samples(groups=True)
    frame["group_writer"] = [f"writer{index // 5}" for index in range(N)]
    add(bench_with_reference, "one", ACCURACY, frame=frame)
    by_image = grid_of(run(bench_with_reference, make_settings(averages={})), "one", "all")
    settings = make_settings(averages={}, clusters={"one": "writer"})
    tables = run(bench_with_reference, settings)
    assert set(by_image["ci_method"]) == {"clopper-pearson"}
    assert set(grid_of(tables, "one", "all")["ci_method"]) == {"cluster-bootstrap"}
    row = tables.comparisons.query("dataset == 'one' and seed == '0'").iloc[0]
    assert (row["n_clusters"], row["test"]) == (12, "cluster-bootstrap")


def test_the_primary_view_goes_into_averages_and_comparisons(bench_with_reference, make_settings):
    bench = bench_with_reference
    add(bench, "one", {**ACCURACY, **WORST})
    add(bench, "two", {"f1": {"metric": "macro-f1"}, **ACCURACY}, seed=1)
    tables = run(bench, make_settings(views={"one": "worst", "two": "f1"}))
    average = grid_of(tables, "avg:shifts", "all")
    assert set(average["metric"]) == {"mean"}
    assert set(average["ci_method"]) == {"cluster-bootstrap"}
    one, two = grid_of(tables, "one", "worst"), grid_of(tables, "two", "f1")
    for row in average.to_dict("records"):
        key = (row["combination"], row["alpha"])
        members = [
            frame.set_index(["combination", "alpha"]).loc[key, "value"] for frame in (one, two)
        ]
        assert row["value"] == pytest.approx(np.mean(members))
        assert row["ci_low"] < row["value"] < row["ci_high"]
    assert set(average["n"]) == {2 * N - N // 3}  # the samples of "Other" count nowhere
    comparisons = tables.comparisons[tables.comparisons["seed"] == "0"]
    found = comparisons[comparisons["contrast"] == "0.500-vs-0.000"].set_index("dataset")
    f1 = two[two["combination"] == "weight"].set_index("alpha")["value"]
    assert found.loc["two", "difference"] == pytest.approx(f1[0.5] - f1[0.0])
    assert (
        found.loc["two", "ci_low"] <= found.loc["two", "difference"] <= found.loc["two", "ci_high"]
    )
    assert found.loc["two", "test"] == found.loc["one", "test"] == "cluster-bootstrap"
    assert found.loc["ref", "test"] == "mcnemar-exact"
    assert found.loc[["one", "two"], "n_better"].isna().all()
    assert found.loc[["one", "two"], "p_holm"].notna().all()
    # The best of each column is that of its own metric, also in views that are not primary.
    oracle = tables.table[
        (tables.table["selection"] == "oracle-column") & (tables.table["combination"] == "weight")
    ]
    best = oracle.set_index(["dataset", "view"])["value"]
    assert best["two", "f1"] == f1.max()
    assert ("one", "all") in best.index
    assert set(tables.selection["dataset"]) == {"ref", "avg:shifts"}
    table13 = tables.table[tables.table["selection"] == "oracle-table13"]
    weight = table13[table13["combination"] == "weight"]["value"].iloc[0]
    assert weight == pytest.approx((best["one", "worst"] + best["two", "f1"]) / 2)


def test_frames_are_compared_by_base_id(bench_with_reference, make_settings):
    frame = samples()
    frame["base_id"] = [f"video{index // 3}" for index in range(N)]
    add(bench_with_reference, "one", {"frames": {"metric": "all-frames-accuracy"}}, frame=frame)
    tables = run(
        bench_with_reference, make_settings(averages={"s": ["one"]}, views={"one": "frames"})
    )
    rows = tables.comparisons[tables.comparisons["seed"] == "0"].set_index(["contrast", "dataset"])
    row = rows.loc[("0.500-vs-0.000", "one")]
    path = next(path for path in bench_with_reference.predictions if path.parent.name == "one")
    found = pd.read_parquet(path)
    first, second = (
        all_right(
            (found[f"weight/frames/{alpha}/prediction"] == found["label"]).to_numpy(),
            found["base_id"].to_numpy(dtype=str),
        )[1]
        for alpha in ("0.500", "0.000")
    )
    assert (row["n"], row["n_clusters"], row["test"]) == (20, 20, "cluster-bootstrap")
    assert (row["n_better"], row["n_worse"]) == ((first & ~second).sum(), (~first & second).sum())
    assert row["difference"] == pytest.approx(first.mean() - second.mean())
    assert row["ci_low"] <= row["difference"] <= row["ci_high"]


def test_alpha_is_chosen_by_the_primary_metric(bench, make_settings):
    frame = both(samples())
    # Class 3 is rare; the middle of the grid is better on it and worse on all others.
    place = np.arange(2 * N) % N
    frame["label"] = np.where(place % 12 == 11, 3, place % 3)
    rare, often = frame["label"] == 3, place % 10 < 7
    right = {"0.000": ~rare, "0.500": rare | often, "1.000": ~rare & (place > 0)}
    predictions = {
        ("weight", alpha): np.where(good, frame["label"], (frame["label"] + 1) % 3)
        for alpha, good in right.items()
    }
    bench.add_views("ref", frame, {"f1": {"metric": "macro-f1"}, **ACCURACY}, predictions)
    wanted = {"averages": {}, "bootstrap": {"resamples": 2000, "seed": 0}}
    by_f1 = run(bench, make_settings(views={"ref": "f1"}, **wanted))
    by_accuracy = run(bench, make_settings(**wanted))
    chosen = {
        name: tables.selection.set_index("selection").loc["held-out", "alpha"]
        for name, tables in (("f1", by_f1), ("accuracy", by_accuracy))
    }
    assert chosen["f1"] == 0.5
    assert chosen["accuracy"] != 0.5
    # Within one standard error, here the spread of the metric itself over resamples.
    held_out = grid_of(by_f1, "ref", "f1")
    held_out = held_out[held_out["split"] == "held-out"].set_index("alpha")
    values = held_out["value"]
    error = (held_out.loc[0.5, "ci_high"] - held_out.loc[0.5, "ci_low"]) / (2 * 1.96)
    expected = min(values.index[values >= values.max() - error])
    assert by_f1.selection.set_index("selection").loc["held-out-1se", "alpha"] == expected


def with_like(frame: pd.DataFrame) -> pd.DataFrame:
    """Labels through a map of classes 0 and 1 to 0, 2 to 1 and 3 to none."""
    return frame.assign(**{"other-classes/label": np.array([0, 0, 1, -1])[frame["label"]]})


LIKE = {"other-classes": {"metric": "accuracy", "like": "other"}}


def test_views_of_the_reference_stand_in_the_table(bench, make_settings):
    frame = with_like(both(samples()))
    bench.add_views("ref", frame, ACCURACY | LIKE, guesses(frame["label"], (0.7, 0.9, 0.95)))
    add(bench, "one", ACCURACY)
    settings = {"averages": {"shifts": ["one"]}}
    tables = run(bench, make_settings(**settings))
    rows = grid_of(tables, "ref", "other-classes")
    assert set(rows["n"]) == {3 * N // 4}
    row = rows[(rows["split"] == "test") & (rows["alpha"] == 1.0)].iloc[0]
    found = pd.read_parquet(bench.predictions[0]).query("split == 'test'")
    guessed = found[f"{row['combination']}/other-classes/1.000/prediction"]
    assert row["n_correct"] == (guessed == found["other-classes/label"])[guessed >= 0].sum()
    # The files are shared: another experiment may have asked for that view.
    without = run(bench, make_settings(other_views={}, **settings))
    assert not len(grid_of(without, "ref", "other-classes"))
    kept = tables.table[tables.table["view"] == "all"].reset_index(drop=True)
    pd.testing.assert_frame_equal(without.table, kept)
    pd.testing.assert_frame_equal(without.comparisons, tables.comparisons)
    wanted = run(bench, make_settings(other_views={"ref": ["other-classes"]}, **settings))
    pd.testing.assert_frame_equal(wanted.table, tables.table)


def test_further_labels_count_as_right(bench_with_reference, make_settings):
    frame = samples()
    frame["other_labels"] = [[(label + 1) % 4] if label else [] for label in frame["label"]]
    add(bench_with_reference, "one", ACCURACY, frame=frame)
    tables = run(bench_with_reference, make_settings(averages={"s": ["one"]}))
    row = grid_of(tables, "one", "all").iloc[0]
    assert 3 * N // 4 <= row["n_correct"] < N  # a wrong guess is the next label
    average = grid_of(tables, "avg:s", "all").iloc[0]
    assert average["value"] == pytest.approx(row["value"])


def test_macro_f1_of_the_table_is_scikit_learns(bench_with_reference, make_settings):
    add(bench_with_reference, "one", {"f1": {"metric": "macro-f1"}})
    tables = run(bench_with_reference, make_settings(averages={}, views={"one": "f1"}))
    found = pd.read_parquet(bench_with_reference.predictions[-1])
    for row in grid_of(tables, "one", "f1").to_dict("records"):
        guessed = found[f"{row['combination']}/f1/{row['alpha']:.3f}/prediction"]
        expected = f1_score(found["label"], guessed, average="macro")
        assert row["value"] == pytest.approx(expected)


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("views"), r"view worst is of metric accuracy, but its rows are of worst"),
        (lambda c: c["views"]["worst"].update(metric="macro-f1"), "view worst is of metric macro"),
        (lambda c: c["views"]["worst"].update(group="continent"), "lacks group_continent"),
        (lambda c: c["views"]["worst"].update(like="other"), "lacks worst/label"),
        (lambda c: c["views"]["worst"].update(ignore=[]), r"says \d+ of 20 right .* has"),
        (lambda c: c["rows"][0].update(value=0.123), r"says value 0\.123 .* right"),
    ],
)
def test_definitions_that_do_not_fit(bench_with_reference, make_settings, change, message):
    frame = samples(groups=True)
    # "Other" is the worst, so that it matters whether it is ignored.
    shares = guesses(frame["label"], (0.5, 0.8, 0.6))
    wrong = frame["group_region"] == "Other"
    found = {key: np.where(wrong, (frame["label"] + 1) % 4, value) for key, value in shares.items()}
    bench_with_reference.add_views("one", frame, WORST, found)
    edit(bench_with_reference.metrics[-1], change)
    with pytest.raises(WiseftError, match=message):
        run(bench_with_reference, make_settings(averages={}, views={"one": "worst"}))


def test_macro_f1_that_the_predictions_do_not_confirm(bench_with_reference, make_settings):
    add(bench_with_reference, "one", {"f1": {"metric": "macro-f1"}})
    edit(bench_with_reference.metrics[-1], lambda c: c["rows"][0].update(value=0.5))
    with pytest.raises(WiseftError, match=r"says value 0\.5 .* gives 0\.\d+, 60 samples"):
        run(bench_with_reference, make_settings(averages={}))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"worst": WORST["worst"] | {"ignore": []}}, "ignores other groups"),
        (
            {"worst": {"metric": "accuracy"}},
            "is of metric accuracy, in .* of worst",
        ),
    ],
)
def test_runs_that_score_differently(bench_with_reference, make_settings, other, message):
    bench = bench_with_reference
    add(bench, "one", WORST)
    for dataset, views, frame in (
        ("ref", ACCURACY, both(samples())),
        ("one", other, samples(groups=True)),
    ):
        found = guesses(frame["label"], (0.5, 0.8, 0.6))
        bench.add_views(dataset, frame, views, found, seed=1)
    with pytest.raises(WiseftError, match=message):
        run(bench, make_settings(averages={}, views={"one": "worst"}))


def test_groups_that_differ_between_runs(bench_with_reference, make_settings):
    bench = bench_with_reference
    add(bench, "one", WORST)
    frame = samples(groups=True)
    found = guesses(frame["label"], (0.5, 0.8, 0.6))
    frame.loc[0, "group_region"] = "Europe"
    bench.add_views("one", frame, WORST, found, seed=1)
    with pytest.raises(WiseftError, match="other samples or labels of one"):
        run(bench, make_settings(averages={}, views={"one": "worst"}))


def test_a_primary_view_that_nobody_evaluated(bench_with_reference, make_settings):
    add(bench_with_reference, "one", ACCURACY)
    settings = make_settings(averages={"s": ["one"]}, views={"one": "pm-0"})
    with pytest.raises(WiseftError, match=r"no predictions of its split test for output/pm-0/0\.0"):
        run(bench_with_reference, settings)


def test_a_baseline_fit_goes_through_accuracies_only(bench_with_reference, make_settings):
    add(bench_with_reference, "one", {"f1": {"metric": "macro-f1"}})
    settings = make_settings(averages={"s": ["one"]}, views={"one": "f1"})
    tables = run(bench_with_reference, settings)
    assert not len(tables.fits)
