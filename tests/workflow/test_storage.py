"""A run whose jobs share no disk: each is handed, by a storage provider, what its rule names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.data.project import pets, pinned, tar
from tests.workflow.conftest import SMOKE, Run
from tests.workflow.test_data import EXPERIMENT, add_dataset, add_experiment

from wiseft.images.index import read_index
from wiseft.images.manifest import open_manifest

pytest.importorskip(
    "snakemake_storage_plugin_fs",
    reason="snakemake-storage-plugin-fs is not installed; make test-storage installs it",
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed"),
]


def stored(folder: Path) -> list[str]:
    """Return the options by which all files go through a folder."""
    kinds = ["--default-storage-provider", "fs", "--shared-fs-usage", "none"]
    return [*kinds, "--default-storage-prefix", str(folder), "--cores", "2"]


def test_the_small_experiment_gives_the_same_tables(
    finished: Path, project: Path, tmp_path: Path, rerun: Run
):
    store = tmp_path / "store"
    shutil.copytree(finished / "datasets" / ".packages", store / "datasets" / ".packages")
    config = project / "config" / "config.yaml"  # and each job keeps copies of images, as on a node
    near = f"datasets:\n  node: {tmp_path / 'node'}\n"
    config.write_text(config.read_text().replace("datasets:\n", near, 1))
    done = rerun(project, *stored(store))
    assert done.returncode == 0, done.stdout[-5000:]
    tables = sorted(path.name for path in (finished / "data" / "tables").iterdir())
    assert tables and tables == sorted(path.name for path in (store / "data/tables").iterdir())
    for name in tables:
        table = (store / "data" / "tables" / name).read_bytes()
        assert table == (finished / "data" / "tables" / name).read_bytes(), name
    assert (store / "results" / SMOKE / "summary.md").is_file()
    assert not (project / "data").exists(), "nothing went another way"
    assert list((tmp_path / "node").rglob("*.npy"))
    again = rerun(project, "-n", *stored(store))
    assert "Nothing to be done" in again.stdout, again.stdout[-3000:]


def test_a_dataset_of_files_lies_in_a_folder_that_all_see(
    project: Path, tmp_path: Path, snakemake: Run
):
    add_dataset(project, "pets", files=[pinned("pets.tar.gz", tar(pets()), how="Ask Ann")])
    add_experiment(project, ["pets", "pets-limit4"])
    done = snakemake(project, "-n", "data", *stored(tmp_path / "store"), experiment=EXPERIMENT)
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert "dataset pets is read from files, which stay where they are" in done.stdout
    for name, content in pets(top="").items():
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    config = project / "config" / "config.yaml"
    places = f"datasets: {{folder: datasets, paths: {{pets: {tmp_path / 'mine'}}}}}\n"
    config.write_text(f"experiment: {EXPERIMENT}\n{places}")
    done = snakemake(project, "data", *stored(tmp_path / "store"), experiment=EXPERIMENT)
    assert done.returncode == 0, done.stdout
    folder = tmp_path / "store" / "datasets"
    whole = open_manifest(folder / "pets" / "manifest.json")
    assert (whole.root, whole.splits["test"].n) == (tmp_path / "mine", 6)
    assert len(read_index(open_manifest(folder / "pets-limit4" / "manifest.json"), "test")) == 4
    assert len(list((tmp_path / "mine").rglob("*"))) == 2 + 6, "it is only read"
