"""What is written: the same bytes from the same inputs, and what reads it again."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from wiseft.base.io import write_json
from wiseft.cli import app
from wiseft.errors import DamagedFile, WiseftError
from wiseft.tabulate.schema import (
    COMPARISONS,
    FITS,
    SELECTION,
    TABLE,
    read,
    read_table,
    write_csv,
    write_parquet,
)
from wiseft.tabulate.stage import tabulate, write_tables
from wiseft.thetas.damage import check_sum, with_sum, write_sum

NAMES = {
    "parquet": "t.parquet",
    "csv": "t.csv",
    "comparisons": "c.csv",
    "selection": "s.csv",
    "fits": "f.csv",
}


@pytest.fixture
def full(bench):
    bench.add_small()
    bench.add_small(seed=1)
    bench.add_small(model="tiny-s1", method="linear-classifier", variant="v")
    for size, ref, one, two in ((1, 20, 8, 5), (2, 30, 12, 6), (3, 40, 16, 8)):
        bench.add_baseline(f"n{size}", ref, one, two)
    return bench.files


def write(folder, settings, metrics, predictions):
    paths = {key: folder / name for key, name in NAMES.items()}
    write_tables(tabulate("demo", settings, metrics, predictions), **paths)
    return {name: (folder / name).read_bytes() for name in NAMES.values()}


def test_same_inputs_same_bytes(full, make_settings, tmp_path):
    settings = make_settings()
    first = write(tmp_path / "a", settings, full.metrics, full.predictions)
    second = write(tmp_path / "b", settings, full.metrics[::-1], full.predictions[::-1])
    assert first == second
    other = write(
        tmp_path / "c",
        make_settings(bootstrap={"resamples": 200, "seed": 1}),
        full.metrics,
        full.predictions,
    )
    assert other["t.csv"] != first["t.csv"]


def test_csv_and_parquet_hold_the_same_table(full, make_settings, tmp_path):
    write(tmp_path, make_settings(), full.metrics, full.predictions)
    exact, rounded = read_table(tmp_path / "t.parquet"), read_table(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(exact, rounded, check_exact=False, rtol=0, atol=5.1e-7)
    assert not exact.duplicated(
        ["run", "seed", "combination", "alpha", "dataset", "view", "split", "metric", "selection"]
    ).any()
    assert exact["variant"].isin(["", "v", "n1", "n2", "n3"]).all()
    text = pd.read_csv(tmp_path / "t.csv", dtype=str)
    for column in ("value", "ci_low", "ci_high"):
        assert text[column].str.fullmatch(r"[01]\.\d{6}").all()
    assert b"\r" not in (tmp_path / "t.csv").read_bytes()


def test_the_other_tables_read_back(full, make_settings, tmp_path):
    settings = make_settings()
    write(tmp_path, settings, full.metrics, full.predictions)
    tables = tabulate("demo", settings, full.metrics, full.predictions)
    for schema, name, frame in (
        (COMPARISONS, "c.csv", tables.comparisons),
        (SELECTION, "s.csv", tables.selection),
        (FITS, "f.csv", tables.fits),
    ):
        assert len(frame)
        stored = read(tmp_path / name, schema, name)
        pd.testing.assert_frame_equal(stored, frame, check_exact=False, rtol=0, atol=5.1e-7)


def test_reading_what_is_no_table(full, make_settings, tmp_path):
    write(tmp_path, make_settings(), full.metrics, full.predictions)
    frame = pd.read_csv(tmp_path / "t.csv")
    frame.drop(columns="ci_low").assign(extra=1).to_csv(tmp_path / "bad.csv", index=False)
    write_sum(tmp_path / "bad.csv", len(frame))
    with pytest.raises(WiseftError, match=r"bad\.csv.*missing: ci_low, unknown: extra"):
        read_table(tmp_path / "bad.csv")
    frame.assign(value="much").to_csv(tmp_path / "text.csv", index=False)
    write_sum(tmp_path / "text.csv", len(frame))
    with pytest.raises(WiseftError, match="column value must hold float64"):
        read_table(tmp_path / "text.csv")
    (tmp_path / "broken.parquet").write_bytes(b"nothing")
    write_sum(tmp_path / "broken.parquet", 0)
    with pytest.raises(WiseftError, match=r"broken\.parquet cannot be read"):
        read_table(tmp_path / "broken.parquet")
    with pytest.raises(WiseftError, match="does not exist"):
        read_table(tmp_path / "absent.csv")


def test_a_table_that_is_not_what_was_written_is_refused(full, make_settings, tmp_path):
    write(tmp_path, make_settings(), full.metrics, full.predictions)
    comparisons = tmp_path / "c.csv"
    whole = comparisons.read_text()
    lines = whole.splitlines(keepends=True)
    comparisons.write_text("".join(lines[: len(lines) // 2]))
    with pytest.raises(DamagedFile, match=rf"c\.csv is damaged.*{len(lines) - 1} rows") as found:
        read(comparisons, COMPARISONS, "comparisons")
    assert found.value.files == [comparisons, tmp_path / "c.csv.sha256"]
    comparisons.write_text(whole)
    assert len(read(comparisons, COMPARISONS, "comparisons")) == len(lines) - 1
    for spoil in (lambda p: p.write_bytes(b"\xff" * 80), lambda p: p.unlink()):
        spoil(tmp_path / "c.csv.sha256")
        with pytest.raises(DamagedFile, match=r"c\.csv cannot be checked: c\.csv\.sha256 beside"):
            read(comparisons, COMPARISONS, "comparisons")


def test_a_table_with_another_number_of_rows_than_its_sum_says(full, make_settings, tmp_path):
    write(tmp_path, make_settings(), full.metrics, full.predictions)
    rows = len(read_table(tmp_path / "t.csv"))
    write_sum(tmp_path / "t.csv", rows + 1)
    with pytest.raises(DamagedFile, match=f"has {rows} rows; {rows + 1} were written"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("method", "numbers", "sentence"),
    [
        ("clopper-pearson", {"value": 0.999}, r"not n_correct / n in row \d+ .*: 0\.999 \["),
        ("clopper-pearson", {"ci_low": 0.99, "ci_high": 0.995}, "outside of its exact interval"),
        ("clopper-pearson", {"ci_low": None}, "no ends in order"),
        ("", {"value": None}, "not n_correct / n"),
        ("", {"n": 41}, "not n_correct / n"),
        ("cluster-bootstrap", {"ci_low": 0.7, "ci_high": 0.6}, "no ends in order between 0 and 1"),
        ("cluster-bootstrap", {"ci_high": None}, "no ends in order"),
        ("cluster-bootstrap", {"ci_low": -0.1}, "no ends in order"),
        ("cluster-bootstrap-conditional", {"ci_high": 1.1}, "no ends in order"),
    ],
)
@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_numbers_that_contradict_each_other_are_refused(
    full, make_settings, tmp_path, method, numbers, sentence, name
):
    tables = tabulate("demo", make_settings(), full.metrics, full.predictions)
    frame = tables.table
    place = frame.index[(frame["ci_method"] == "clopper-pearson") & (frame["n"] == 40)][0]
    frame.loc[place, "ci_method"] = method
    sound = tmp_path / "sound.parquet"
    write_parquet(sound, frame, TABLE)
    assert len(read_table(sound)) == len(frame)
    for column, value in numbers.items():
        frame.loc[place, column] = value
    {".csv": write_csv, ".parquet": write_parquet}[(tmp_path / name).suffix](
        tmp_path / name, frame, TABLE
    )
    with pytest.raises(DamagedFile, match=sentence):
        read_table(tmp_path / name)


def command(full, settings, folder):
    return [
        "tabulate",
        "--experiment=demo",
        f"--settings={settings}",
        *map(str, full.metrics),
        *map(str, full.predictions),
        f"--table-parquet={folder / 't.parquet'}",
        f"--table-csv={folder / 't.csv'}",
        f"--comparisons={folder / 'c.csv'}",
        f"--selection={folder / 's.csv'}",
        f"--fits={folder / 'f.csv'}",
    ]


def test_command(full, make_settings, tmp_path):
    settings = make_settings()
    expected = write(tmp_path / "a", settings, full.metrics, full.predictions)
    text = json.dumps(settings.model_dump(mode="json"))
    result = CliRunner().invoke(app, command(full, text, tmp_path / "b"))
    assert result.exit_code == 0, result.output
    assert {name: (tmp_path / "b" / name).read_bytes() for name in NAMES.values()} == expected


def test_an_upgrade_between_two_evaluations_is_named_and_changes_no_table(
    full, make_settings, tmp_path
):
    settings = make_settings()
    text = json.dumps(settings.model_dump(mode="json"))
    expected = write(tmp_path / "a", settings, full.metrics, full.predictions)
    for place, path in enumerate(full.metrics[:-1]):  # the last is of before
        how = {"versions": {"torch": "2.9"}, "commit": str(place)}
        if not place:  # a grid that grew after an upgrade
            how["earlier"] = [how | {"versions": {"torch": "2.8"}}]
        content = json.loads(path.read_text()) | {"how": how}
        content.pop("sha256", None)
        write_json(path, with_sum(content))
    result = CliRunner().invoke(app, command(full, text, tmp_path / "b"))
    assert result.exit_code == 0, result.output
    assert "tabulate: Evaluations differ in torch: 2.8, 2.9." in result.output
    assert "commit" not in result.output
    assert {name: (tmp_path / "b" / name).read_bytes() for name in NAMES.values()} == expected


def test_what_tables_were_made_with_is_written_beside_them(full, make_settings, tmp_path):
    machines = [{"cpu": cpu, "vector_extension": "AVX2", "threads": 1} for cpu in "AB"]
    for place, path in enumerate(full.metrics):
        how = {"versions": {"torch": "2.9"}, "commit": "c0ffee", "machine": machines[place % 2]}
        content = json.loads(path.read_text()) | {"how": how}
        content.pop("sha256", None)
        write_json(path, with_sum(content))
    settings, path = make_settings().model_dump(mode="json"), tmp_path / "b" / "made-with.json"
    recipes = {"methods": {"end-to-end": {"learning_rate": 0.1}}, "models": {"tiny-s0": {}}}
    arguments = [f"--made-with={path}", f"--recipes={json.dumps(recipes)}"]
    result = CliRunner().invoke(
        app, [*command(full, json.dumps(settings), tmp_path / "b"), *arguments]
    )
    assert result.exit_code == 0, result.output
    written = json.loads(path.read_text())
    evaluations = written.pop("evaluations")
    assert written == {**recipes, "settings": settings}
    assert sum(int(each.pop("evaluations")) for each in evaluations) == len(full.metrics)
    shared = {"commit": "c0ffee", "torch": "2.9", "vector_extension": "AVX2"}
    assert evaluations == [{**shared, "cpu": "A"}, {**shared, "cpu": "B"}]
    assert check_sum(path, "record") == 2


def test_command_with_wrong_settings_writes_nothing(full, make_settings, tmp_path):
    settings = make_settings().model_dump(mode="json")
    settings["averges"] = settings.pop("averages")
    result = CliRunner().invoke(app, command(full, json.dumps(settings), tmp_path / "b"))
    assert isinstance(result.exception, WiseftError)
    assert "averges" in str(result.exception)
    assert not (tmp_path / "b").exists()


def test_command_with_a_file_of_another_kind(full, make_settings, tmp_path):
    arguments = command(full, json.dumps(make_settings().model_dump(mode="json")), tmp_path / "b")
    result = CliRunner().invoke(app, [*arguments, "notes.txt"])
    assert isinstance(result.exception, WiseftError)
    assert "'notes.txt' is neither metrics" in str(result.exception)
