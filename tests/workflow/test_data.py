"""Datasets of files in the workflow: what is planned, what is said, and a small one for real."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from tests.data.fetching.http_server import running
from tests.data.project import entry, pets, pinned, tar

from wiseft.images.index import read_index
from wiseft.images.manifest import open_manifest
from wiseft.study.config.layouts import LAYOUTS
from wiseft.study.data import layouts
from wiseft.study.targets import Targets
from wiseft.study.targets.data import STORED

EXPERIMENT = "pets-data"


def write_yaml(path: Path, content: dict) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def add_dataset(project: Path, name: str, **changes) -> None:
    described = entry(prompts="digits", **changes)
    write_yaml(project / "config" / "datasets" / f"{name}.yaml", {"name": name, **described})


def add_experiment(project: Path, datasets: list[str], **changes) -> None:
    content = {
        "experiment": EXPERIMENT,
        "title": "Pets",
        "reference": datasets[0],
        "datasets": datasets,
        **changes,
    }
    write_yaml(project / "config" / "experiments" / f"{EXPERIMENT}.yaml", content)


def test_datasets_of_the_paper_can_be_planned_without_any_data(project, snakemake):
    done = snakemake(project, "-n", "data", experiment="paper-datasets")
    assert done.returncode == 0, done.stdout
    for name in ("imagenet", "objectnet", "fmow", "cars", "ytbb-robust", "cifar10-c"):
        assert re.search(rf"data_prepare(_files)?: {name}\n", done.stdout)
    said = "dataset imagenet needs ILSVRC2012_img_val.tar (6.74 GB): put it at datasets/.archives"
    assert said in done.stdout
    assert "Sign up at https://image-net.org" in done.stdout


def test_one_file_is_a_new_dataset_fetched_and_indexed(project, rerun, monkeypatch):
    content = tar(pets())
    file = pinned("pets.tar.gz", content, urls=["https://example.invalid/pets.tar.gz"])
    add_dataset(project, "pets", files=[file], top="pets")
    add_experiment(project, ["pets", "pets-limit4"])
    with running() as server:
        server.serve("mirror/pets.tar.gz", content)
        monkeypatch.setenv("WISEFT_MIRROR_PETS", f"{server.url}/mirror")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        done = rerun(project, "--cores", "2", "data", experiment=EXPERIMENT)
    assert done.returncode == 0, done.stdout
    assert open_manifest(project / "datasets/pets/manifest.json").splits["test"].n == 6
    assert open_manifest(project / "datasets/pets-limit4/manifest.json").splits["test"].n == 4
    again = rerun(project, "-n", "data", experiment=EXPERIMENT)
    assert "Nothing to be done" in again.stdout, again.stdout

    # All that preparing writes is an output, but for unpacked files: they may be all that there is.
    data = Targets.read(project, {"experiment": EXPERIMENT}).data
    folder = project / "datasets"
    written = {path for path in folder.glob("pets*/*/*") if path.parent.name != "files"}
    assert written == {project / path for name in data.prepared for path in data.split_files(name)}
    index = folder / "pets" / "test" / "index.json"
    before, unpacked = index.stat().st_ino, sorted(folder.glob("pets/files/**/*"))
    rule = "data_prepare_files_pets"
    done = rerun(project, "--cores", "1", "data", "--forcerun", rule, experiment=EXPERIMENT)
    assert done.returncode == 0, done.stdout
    assert index.stat().st_ino == before, "what is indexed is not scanned again"
    assert sorted(folder.glob("pets/files/**/*")) == unpacked != []


def test_a_preview_of_a_part_needs_no_whole_dataset(project, rerun):
    """Of 186 images 16 are there. The preview is drawn from them, and nothing else is prepared."""
    splits = {"train": 100, "held-out": 20, "test": 60}
    held_out = {"of": "train", "count": 20}
    mine = project / "mine"
    add_dataset(project, "pets", splits=splits, held_out=held_out, root=str(mine))
    for split, n in (("train", 5), ("test", 3)):
        for name, content in pets(n, top="").items():
            path = mine / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    add_experiment(project, ["pets-limit4"])
    done = rerun(project, "--cores", "1", "data", experiment=EXPERIMENT)
    assert done.returncode == 1
    said = "list pets under `datasets.part` in config/config.yaml, and use a preview, pets-limit<N>"
    logs = "".join(path.read_text() for path in project.glob("logs/data_prepare_files/*.log"))
    assert "expected exactly 120 images, found 10" in logs and said in logs
    config = project / "config" / "config.yaml"
    folder = "  folder: datasets"
    config.write_text(config.read_text().replace(folder, f"  part: [pets]\n{folder}"))
    done = rerun(project, "--cores", "1", "data", experiment=EXPERIMENT)
    assert done.returncode == 0, done.stdout
    found = open_manifest(project / "datasets/pets-limit4/manifest.json")
    assert {name: files.n for name, files in found.splits.items()} == dict.fromkeys(splits, 4)
    ids = {name: set(read_index(found, name)["sample_id"]) for name in splits}
    assert not ids["train"] & ids["held-out"] and found.limit == 4
    assert not (project / "datasets/pets/manifest.json").exists()
    written = set((project / "datasets").glob("pets*/*/*"))
    data = Targets.read(project, {"experiment": EXPERIMENT}).data
    assert written == {project / path for path in data.split_files("pets-limit4")}
    again = rerun(project, "-n", "data", experiment=EXPERIMENT)
    assert "Nothing to be done" in again.stdout, again.stdout
    add_experiment(project, ["pets"])
    done = rerun(project, "-n", "data", experiment=EXPERIMENT)
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert "lists pets, but the experiment uses all of it; name pets-limit<N> there" in done.stdout


APPTAINER = """\
#!/bin/sh
[ "$1" != --version ] || exec echo "apptainer version 1.3.4"
while [ "$1" != image.sif ]; do shift; done
shift
PATH="{}:$PATH" exec "$@"
"""


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def test_rules_take_the_commands_of_a_container(project, tmp_path, snakemake):
    """With a stand-in for apptainer: an image is a folder with a `wiseft` of its own."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    write_program(outside / "apptainer", APPTAINER.format(inside))
    ran = f'echo "$2" >> {tmp_path}/ran; exec {sys.executable} -m wiseft.cli "$@"\n'
    write_program(inside / "wiseft", f"#!/bin/sh\n{ran}")
    add_dataset(project, "pets", root=str(project / "mine"))
    for name, content in pets(top="").items():
        path = project / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    add_experiment(project, ["pets"])
    config = project / "config" / "config.yaml"
    config.write_text(f"{config.read_text()}\ncontainer: image.sif\n")
    (project / "image.sif").touch()
    variables = {"PATH": f"{outside}:{os.environ['PATH']}"}
    command = ("--cores", "1", "data", "--forceall")
    given = {"experiment": EXPERIMENT, "variables": variables}
    done = snakemake(project, *command, "--software-deployment-method", "apptainer", **given)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "ran").read_text() == "fetch\nprepare\n"
    done = snakemake(project, *command, **given)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "ran").read_text() == "fetch\nprepare\n", "without the option: none"


def test_layouts_that_store_arrays_are_those_whose_reader_makes_some():
    """Which files preparing writes is known before anything is read."""
    readers = {name: Path(layouts.__path__[0], f"{name.replace('-', '_')}.py") for name in LAYOUTS}
    own = {name for name, path in readers.items() if path.is_file()}
    assert {n for n in own if "PreparedSplit(" in readers[n].read_text()} == STORED - {"arrays"}


def test_a_users_file_outlives_a_rerun(project, rerun):
    """Snakemake deletes the outputs of a job before it runs; the files must be none."""
    content = tar(pets())
    add_dataset(project, "pets", files=[pinned("pets.tar.gz", content, how="Ask Ann")], top="pets")
    add_experiment(project, ["pets"])
    place = project / "datasets" / ".archives" / "pets" / "pets.tar.gz"
    done = rerun(project, "--cores", "1", "data", experiment=EXPERIMENT)
    assert done.returncode == 1 and f"put it at {place.relative_to(project)}" in done.stdout
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    for force in ([], ["--forceall"]):
        done = rerun(project, "--cores", "1", "data", *force, experiment=EXPERIMENT)
        assert done.returncode == 0, done.stdout
        assert place.read_bytes() == content
    with tarfile.open(place) as archive:
        assert len(archive.getnames()) == 6


@pytest.fixture
def mapped(project: Path) -> Path:
    """A reference of three classes and a shift of two of them, as ImageNet and ImageNet-R are."""
    own = {"layout": "image-folder", "root": str(project / "nowhere")}
    names = {"class_names": ["eel", "dog", "cat"], "class_ids": ["n01", "n09", "n02"]}
    splits = {"splits": {"train": 9, "held-out": 3, "test": 9}, "evaluate": ["held-out", "test"]}
    add_dataset(project, "base", **own, **names, **splits)
    add_dataset(
        project,
        "shift",
        **own,
        class_ids=["n02", "n09"],
        options={"naming": "class-id"},
        label_map={"reference": "base", "by": "class-ids"},
    )
    add_experiment(
        project,
        ["base", "shift"],
        models=["digits-rn-s0"],
        methods=["end-to-end"],
        seeds=[0],
        alphas=[0.0, 0.5, 1.0],
        held_out={"dataset": "base", "split": "held-out"},
        averages={"shifts": ["shift"]},
    )
    return project


def test_reference_is_seen_through_the_classes_of_its_shift(mapped, snakemake):
    done = snakemake(mapped, "-n", "-p", experiment=EXPERIMENT)
    assert done.returncode == 0, done.stdout
    commands = [line.strip() for line in done.stdout.splitlines() if "wiseft evaluate" in line]
    words = dict.fromkeys(("base", "shift"))
    for command in commands:
        parts = shlex.split(command)
        evaluation = json.loads(parts[parts.index("--evaluate") + 1])
        words[next(iter(evaluation))] = (evaluation, parts)
    base, parts = words["base"]
    assert base["base"]["views"][1] == {
        "name": "shift-classes",
        "metric": "accuracy",
        "like": "shift",
    }
    assert parts[parts.index("--like") + 1] == "datasets/shift/manifest.json"
    shift, parts = words["shift"]
    assert [view["name"] for view in shift["shift"]["views"]] == ["all"]
    assert "--like" not in parts
    assert "nothing is there" in done.stdout  # the user's folder that is not there
