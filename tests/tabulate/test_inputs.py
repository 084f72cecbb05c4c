"""Metrics and predictions that are missing, broken or contradict each other."""

import json

import pandas as pd
import pytest

from wiseft.base.io import sha256_file
from wiseft.errors import DamagedFile, WiseftError
from wiseft.tabulate.stage import tabulate
from wiseft.thetas.damage import with_sum


def run(files, settings):
    return tabulate("demo", settings, files.metrics, files.predictions)


def edit_metrics(files, change, dataset="one"):
    path = next(path for path in files.metrics if path.parent.name == dataset)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_predictions(files, change, dataset="one"):
    path = next(path for path in files.predictions if path.parent.name == dataset)
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def test_no_files(make_settings):
    with pytest.raises(WiseftError, match="no metrics file was given"):
        tabulate("demo", make_settings(), [], [])


def test_a_file_that_is_not_there(small, make_settings):
    small.predictions[0].unlink()
    with pytest.raises(WiseftError, match=r"predictions file .* does not exist"):
        run(small, make_settings())


def test_metrics_without_predictions(small, make_settings):
    with pytest.raises(WiseftError, match=r"no predictions were given for .*two/metrics\.json"):
        tabulate("demo", make_settings(), small.metrics, small.predictions[:-1])


def test_predictions_without_metrics(small, make_settings):
    with pytest.raises(WiseftError, match=r"no metrics were given for .*two/predictions\.parquet"):
        tabulate("demo", make_settings(), small.metrics[:-1], small.predictions)


def test_the_same_file_twice(small, make_settings):
    with pytest.raises(WiseftError, match="two metrics files of the same folder"):
        tabulate("demo", make_settings(), small.metrics * 2, small.predictions)


def test_two_files_of_the_same_run(small, make_settings):
    edit_metrics(small, lambda content: content.update(dataset="two"))
    with pytest.raises(WiseftError, match="dataset two, as another metrics file does"):
        run(small, make_settings())


def test_duplicate_rows(small, make_settings):
    edit_metrics(small, lambda content: content["rows"].append(content["rows"][0]))
    with pytest.raises(WiseftError, match=r"two rows for test, all, weight, 0\.000"):
        run(small, make_settings())


def test_metrics_without_rows(small, make_settings):
    edit_metrics(small, lambda content: content.update(rows=[]))
    with pytest.raises(WiseftError, match="has no rows"):
        run(small, make_settings())


def test_metrics_of_a_sparse_sweep(small, make_settings):
    edit_metrics(small, lambda content: content["rows"][0].update(audit={"skipped": 1}))
    with pytest.raises(DamagedFile, match="is of a sparse sweep"):
        run(small, make_settings())


def test_metrics_of_another_format(small, make_settings):
    edit_metrics(small, lambda content: content.update(format=0))
    with pytest.raises(WiseftError, match="not a metrics file of format 1"):
        run(small, make_settings())


def test_metrics_that_lack_a_field(small, make_settings):
    edit_metrics(small, lambda content: content.pop("seed"))
    with pytest.raises(WiseftError, match="lacks seed"):
        run(small, make_settings())


def test_what_the_experiment_does_not_name_is_left_out(bench, make_settings):
    """Files are shared: another experiment may have combined the same ends in further ways."""
    counts = (30, 36, 34, 20, 10)
    bench.add("ref", {"test": bench.curve(40, counts), "held-out": bench.curve(40, counts)})
    both = bench.curve(40, counts) | bench.curve(40, counts, combination="random")
    bench.add("one", {"test": both})
    averages = {"shifts": ["one"]}
    with pytest.raises(WiseftError, match=r"ref is the reference, but .* has no predictions"):
        run(bench, make_settings(averages=averages))
    named = run(bench, make_settings(averages=averages, combinations=["weight", "output"])).table
    assert set(named["combination"]) == {"weight"}


def test_counts_that_the_predictions_do_not_confirm(small, make_settings):
    edit_metrics(small, lambda content: content["rows"][0].update(n_correct=31))
    with pytest.raises(WiseftError, match=r"says 31 of 40 right .* has 30 of 40"):
        run(small, make_settings())


def test_a_value_that_is_not_its_counts(small, make_settings):
    edit_metrics(small, lambda content: content["rows"][0].update(value=0.76))
    with pytest.raises(WiseftError, match=r"says value 0\.76 .* gives 0\.75, 30 of 40 right"):
        run(small, make_settings())


def test_a_prediction_that_changed(small, make_settings):
    def flip(frame):
        frame.loc[0, "weight/all/0.250/prediction"] = 9
        return frame

    edit_predictions(small, flip)
    with pytest.raises(WiseftError, match=r"says 36 of 40 right .* has 35 of 40"):
        run(small, make_settings())


def test_what_contradicts_each_other_is_made_again_together(small, make_settings):
    edit_metrics(small, lambda content: content["rows"][0].update(n_correct=31))
    with pytest.raises(DamagedFile) as found:
        run(small, make_settings())
    folder = small.metrics[1].parent
    assert found.value.files == [folder / "metrics.json", folder / "predictions.parquet"]


@pytest.mark.parametrize("name", ["metrics.json", "predictions.parquet"])
def test_every_byte_of_metrics_and_predictions_counts(small, make_settings, name):
    """Also those that no number is recounted from: names, settings, entropies."""
    for metrics in small.metrics:
        content = json.loads(metrics.read_text())
        of_predictions = sha256_file(metrics.with_name("predictions.parquet"))
        metrics.write_text(json.dumps(with_sum(content, predictions_sha256=of_predictions)))
    sound = run(small, make_settings())
    path = small.metrics[1].with_name(name)
    whole = path.read_bytes()
    place = whole.index(b"tiny-s0") if name == "metrics.json" else len(whole) // 2
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(DamagedFile, match=rf"{name} is damaged: expected SHA-256"):
        run(small, make_settings())
    path.write_bytes(whole)
    pd.testing.assert_frame_equal(run(small, make_settings()).table, sound.table)


@pytest.mark.parametrize("rows", [["x"], [7], {"a": 1}, "text"])
def test_metrics_of_another_form(small, make_settings, rows):
    edit_metrics(small, lambda content: content.update(rows=rows))
    with pytest.raises(DamagedFile, match=r"metrics\.json"):
        run(small, make_settings())


def test_missing_prediction_columns(small, make_settings):
    name = "weight/all/0.250/prediction"
    edit_predictions(small, lambda frame: frame.drop(columns=name))
    with pytest.raises(WiseftError, match=f"lacks {name}"):
        run(small, make_settings())


def test_an_alpha_that_one_dataset_lacks(small, make_settings):
    edit_metrics(
        small,
        lambda content: content.update(
            rows=[row for row in content["rows"] if row["alpha"] != "0.250"]
        ),
    )
    with pytest.raises(
        WiseftError, match=r"dataset one belongs to the average shifts, .* weight/all/0\.250"
    ):
        run(small, make_settings())


def test_an_average_that_names_an_absent_dataset(small, make_settings):
    settings = make_settings(averages={"shifts": ["one", "absent"]})
    with pytest.raises(WiseftError, match="dataset absent belongs to the average shifts, but run"):
        run(small, settings)


def test_a_run_of_another_reference(small, make_settings):
    with pytest.raises(WiseftError, match="reference of the experiment is one, but run tiny-s0"):
        run(small, make_settings(reference="one"))


def test_a_test_split_that_nobody_has(small, make_settings):
    with pytest.raises(WiseftError, match="no prediction has the split exam"):
        run(small, make_settings(test_split="exam"))


def test_runs_that_saw_other_samples(bench, make_settings):
    bench.add_small()
    bench.add_small(seed=1)

    def rename(frame):
        return frame.assign(sample_id="other-" + frame["sample_id"])

    path = bench.predictions[-1]
    rename(pd.read_parquet(path)).to_parquet(path, index=False)
    with pytest.raises(DamagedFile, match="about other samples or labels of two") as found:
        run(bench.files, make_settings())
    # Nothing says which of the two is wrong, so both evaluations are made again.
    assert {*found.value.files} == {*bench.metrics[2::3], *bench.predictions[2::3]}


def test_a_sample_that_occurs_twice(small, make_settings):
    edit_predictions(small, lambda frame: pd.concat([frame, frame.iloc[[3]]]))
    with pytest.raises(WiseftError, match="has the sample one/test/3 twice"):
        run(small, make_settings())


def test_order_of_samples_does_not_matter(small, make_settings):
    before = run(small, make_settings())
    edit_predictions(small, lambda frame: frame.sample(frac=1, random_state=0))
    after = run(small, make_settings())
    pd.testing.assert_frame_equal(before.table, after.table)
    pd.testing.assert_frame_equal(before.comparisons, after.comparisons)


def test_broken_files(small, make_settings):
    small.predictions[0].write_bytes(b"PAR1 nothing")
    with pytest.raises(WiseftError, match="cannot be read"):
        run(small, make_settings())
    small.metrics[0].write_text("{")
    with pytest.raises(WiseftError, match="not valid JSON"):
        run(small, make_settings())


def test_samples_outside_a_view_are_not_counted(small, make_settings):
    def leave_out(frame):  # the last five samples, of which none was right at any alpha
        columns = [name for name in frame.columns if name.endswith("/prediction")]
        frame.loc[frame.index[-5:], columns] = -1
        return frame

    def recount(content):
        for row in content["rows"]:
            n_correct = min(row["n_correct"], 35)
            row.update(n=35, n_correct=n_correct, value=n_correct / 35)

    edit_predictions(small, leave_out)
    edit_metrics(small, recount)
    tables = run(small, make_settings())
    row = tables.comparisons.query("dataset == 'one' and seed == '0'").iloc[0]
    assert row["n"] == 35
    assert row["difference"] == pytest.approx(4 / 35)


def test_a_view_of_two_metrics(small, make_settings):
    edit_metrics(small, lambda content: content["rows"][0].update(metric="macro-f1"))
    with pytest.raises(WiseftError, match=r"view all is of metric accuracy, .* accuracy, macro-f1"):
        run(small, make_settings())


def test_a_view_that_covers_other_samples_at_one_alpha(small, make_settings):
    def leave_out(frame):
        frame.loc[frame.index[0], "weight/all/0.250/prediction"] = -1
        return frame

    edit_predictions(small, leave_out)
    with pytest.raises(WiseftError, match="view all covers no sample of a split, or not the same"):
        run(small, make_settings())
