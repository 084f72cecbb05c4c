"""The commands `testbed` and `published`, and what an experiment may ask for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wiseft.base.validation import validate
from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue
from wiseft.study.config.experiment import ExperimentEntry
from wiseft.study.config.experiment_parts import PublishedSettings
from wiseft.study.published.addresses import SOURCES, source_path
from wiseft.study.targets import experiment_runs
from wiseft.tabulate.schema import read_table

REPOSITORY = Path(__file__).parents[2]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    return int(left.value.code or 0)


def entry(**changes: object) -> dict[str, object]:
    return {
        "experiment": "shown",
        "title": "Shown",
        "reference": "imagenet",
        "datasets": ["imagenet"],
        **changes,
    }


def test_published_writes_the_table_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from wiseft.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    table = tmp_path / "paper.parquet"
    arguments = ["published", "--published", '{"tables": [4, 1]}', "--root", str(REPOSITORY)]
    arguments += ["--table-parquet", str(table), "--table-csv", str(tmp_path / "paper.csv")]
    arguments += ["--datasets", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = read_table(table)
    assert set(found["experiment"]) == {"table-4", "table-1"}
    assert found.equals(read_table(table.with_suffix(".parquet")))


def test_published_joins_the_tables_it_is_given(tmp_path: Path, testbed: Path) -> None:
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    common = ["--datasets", str(testbed), "--root", str(REPOSITORY)]
    assert not run(
        *("published", "--published", '{"other_models": true}', *common),
        *("--table-parquet", str(first), "--table-csv", str(tmp_path / "a.csv")),
    )
    found = read_table(first)
    assert set(found["experiment"]) == {"testbed", "open-clip"}
    assert not run(
        *("published", "--published", '{"tables": [7]}', *common, "--table", str(first)),
        *("--table-parquet", str(second), "--table-csv", str(tmp_path / "b.csv")),
    )
    # Only measured rows of another table are taken over.
    assert set(read_table(second)["experiment"]) == {"table-7"}


def test_testbed_finds_files_that_are_there_and_refuses_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WISEFT_MIRROR_TESTBED", "http://127.0.0.1:9/nowhere")
    path = source_path(SOURCES[0], tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text("another file")
    assert run("testbed", "--datasets", str(tmp_path), "--root", str(REPOSITORY)) == 1
    said = capsys.readouterr().err
    assert "robustness_top1s.csv" in said and "expected 869425 bytes, found 12" in said
    assert path.read_text() == "another file"


def test_testbed_takes_the_pinned_files_from_a_mirror(
    tmp_path: Path, reference_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    folder = source_path(SOURCES[0], reference_data / "datasets").parent
    if not folder.is_dir():
        pytest.skip(f"{folder} has not the three files")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WISEFT_MIRROR_TESTBED", f"http://127.0.0.1:{server.server_port}")
        assert run("testbed", "--datasets", str(tmp_path), "--root", str(REPOSITORY)) == 0
        server.shutdown()
    assert all(source_path(file, tmp_path).is_file() for file in SOURCES)


def test_an_experiment_may_show_published_numbers_alone() -> None:
    published = {"tables": [4], "other_models": True}
    figures = {"a": {"draw": "landscape"}}
    found = validate(ExperimentEntry, entry(published=published, figures=figures), "shown.yaml")
    assert found.data_only and experiment_runs(found) == []
    with pytest.raises(WiseftError, match="figures needs trained models"):
        validate(ExperimentEntry, entry(figures=figures), "shown.yaml")


def test_an_experiment_may_be_about_zero_shot_models_alone() -> None:
    found = validate(ExperimentEntry, entry(models=["clip-rn50"], alphas=[0.0]), "shown.yaml")
    assert found.zero_shot_only and not found.data_only
    runs = experiment_runs(found)
    assert [one.name for one in runs] == ["clip-rn50__imagenet__zero-shot"]
    with pytest.raises(WiseftError, match="methods is empty"):
        validate(ExperimentEntry, entry(models=["clip-rn50"]), "shown.yaml")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"tables": [3]}, "tables lists 3, but must not"),
        ({"tables": [14]}, "must be at most 13"),
        ({"tables": [4, 4]}, "4 occurs twice"),
        ({"table": [4]}, "did you mean tables"),
    ],
)
def test_wrong_settings_are_a_sentence(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(WiseftError, match=expected):
        validate(PublishedSettings, settings, "published")


def test_every_experiment_that_is_joined_exists() -> None:
    catalogue = Catalogue(REPOSITORY)
    for name in catalogue.names("experiments"):
        published = catalogue.experiment_entry(name).published
        for other in published.measured if published else []:
            assert other in catalogue.names("experiments"), (name, other)
