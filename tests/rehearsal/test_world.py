"""The made-up world: what is fetched of an experiment, in the official forms, read by the real
commands with a catalogue of its own.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tools.rehearsal.datasets import FORMS, HELD_OUT, halved
from tools.rehearsal.world import SHOTS, TRAIN_SAMPLES, build

from wiseft.base.io import sha256_file
from wiseft.cli import main
from wiseft.images.manifest import open_manifest
from wiseft.images.store import Split, open_split
from wiseft.images.subsets import draw_indices
from wiseft.models import towers
from wiseft.study.config import Catalogue, paths
from wiseft.study.finetune.schedule import draw_half
from wiseft.study.targets import Targets
from wiseft.thetas.preprocessing import Transform
from wiseft.thetas.theta import load_weights

PROJECT = Path(__file__).parents[2]
EXPERIMENTS = Catalogue(PROJECT).names("experiments")
CHOSEN = {
    "imagenet": "open_clip",
    "jft": "timm",
    "independent-ensembles": "timm",
    "align": "align",
    "objectnet-names": "open_clip",
    "pretraining-compute": "open_clip",
    "further-shifts-video": "open_clip",
    "further-shifts-cifar10": "open_clip",
    "further-shifts-fmow": "open_clip",
    "further-shifts-iwildcam": "open_clip",
    "few-shot-cars": "open_clip",
    "few-shot-cifar100": "open_clip",
    "few-shot-dtd": "open_clip",
    "few-shot-sun397": "open_clip",
    "few-shot-food101": "open_clip",
    "photos": "timm",
}
"""Each layout and each form of weights at least once; the family of the last model of each."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with a copy of the catalogue, in which all experiments are rehearsed."""
    root = tmp_path_factory.mktemp("rehearsal")
    shutil.copytree(PROJECT / "config", root / "config")
    with contextlib.chdir(root), pytest.MonkeyPatch.context() as patch:
        patch.setattr("tools.rehearsal.learning.STEPS", 2)  # what models know is not looked at
        yield root


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert not left.value.code


def opened(dataset: str, split: str) -> Split:
    return open_split(paths.manifest_path(dataset), split, Transform(size=32))


def prepare(targets: Targets, made: Catalogue) -> None:
    """Run the commands that fetch and prepare an experiment's datasets, as the rules do."""
    data, told = targets.data, targets.told
    for name in data.fetched_prompts:
        run("data", "prompts", name, "--output", paths.prompts_path(name))
    for name in data.prepared:
        manifest, entry = paths.manifest_path(name), made.dataset(name)
        if manifest.is_file():
            continue
        more = [part for n in entry.depends for part in ("--depends", paths.manifest_path(n))]
        if name in data.filed:
            run("data", "fetch", name, "--places", told.places())
            more = ["--fetched", paths.fetched_path(name)]
        run("data", "prepare", name, "--manifest", manifest, *more)


@pytest.mark.parametrize("name", CHOSEN)
def test_commands_fetch_prepare_and_convert_what_is_made_up(root, name, caplog):
    targets = Targets.read(PROJECT, {"experiment": name})
    caplog.set_level("INFO", "tools")
    build(targets, root)
    made = Catalogue(root)
    prepare(targets, made)
    for dataset, real in targets.data.entries.items():
        entry, manifest = made.dataset(dataset), open_manifest(paths.manifest_path(dataset))
        assert len(manifest.class_names) == real.class_count
        assert not real.display_names or manifest.class_names == real.display_names
        assert entry.views == real.views and entry.label_map == real.label_map
        assert {k: len(opened(dataset, k)) for k in entry.splits} == entry.splits
    train = opened(targets.reference, "train")
    classes = targets.data.entries[targets.reference].class_count
    assert np.bincount(train.labels, minlength=classes).min() >= SHOTS
    assert len(train) >= TRAIN_SAMPLES
    for model in targets.fetched:
        convert(targets, made, model)
    _, header = load_weights(paths.weights_path(targets.fetched[-1]))
    assert towers.family(header["architecture"]) == CHOSEN[name]
    build(targets, root)
    said = [each.message for each in caplog.records if each.name.startswith("tools.")]
    assert said and len(said) == len(set(said))


def convert(targets: Targets, made: Catalogue, model: str) -> None:
    """Bring a model as the rule does, and run an image of its size through it."""
    output = paths.weights_path(model)
    package = [
        part
        for key in targets.data.model_packages(model)
        for part in ("--package", paths.package_path(made.package(key).file))
    ]
    run("weights", model, "--output", output, *package)
    tensors, header = load_weights(output)
    tower = towers.build_image(header["architecture"], seed=0)
    size = made.model(model)[0].preprocessing.size
    with torch.inference_mode():
        assert tower.eval()(torch.zeros(1, 3, size, size)).isfinite().all()
    assert sum(tensor.numel() for tensor in tensors.values()) < 3e6


def test_the_sharing_entry_has_the_same_weights(root):
    """ObjectNet's names stand in the prompts of a model, whose weights are another entry's."""
    models = ("clip-vit-l-14-336", "clip-vit-l-14-336-objectnet-names")
    targets = Targets.read(PROJECT, {"experiment": "objectnet-names"})
    build(targets, root)
    for model in models:
        convert(targets, Catalogue(root), model)
    one, other = (load_weights(paths.weights_path(model))[0] for model in models)
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_dataset_of_files_has_a_generator(name):
    assert set(Targets.read(PROJECT, {"experiment": name}).data.filed) <= FORMS.keys()


def test_either_half_of_a_train_split_has_every_class():
    labels = np.repeat(np.arange(1000), halved(1000))
    train = np.delete(labels, draw_indices(len(labels), HELD_OUT, 0))
    for half in (1, 2):
        assert len(np.unique(train[draw_half(np.arange(len(train)), half, 0)])) == 1000
    assert np.bincount(train).min() >= SHOTS


def test_what_the_project_fetched_is_linked_and_never_written(tmp_path):
    """A package of weights is made up, even where a link to the project's own lies in its place."""
    shutil.copytree(PROJECT / "config", tmp_path / "root" / "config")
    targets = Targets.read(PROJECT, {"experiment": "photos"})
    file = targets.catalogue.package("efficientnet-lite0").file
    link = tmp_path / "root" / paths.package_path(file)
    link.parent.mkdir(parents=True)
    (tmp_path / "real.whl").write_bytes(b"real")
    link.symlink_to(tmp_path / "real.whl")
    build(targets, tmp_path / "root")
    assert (tmp_path / "real.whl").read_bytes() == b"real"
    assert not link.is_symlink()
    pinned = Catalogue(tmp_path / "root").package("efficientnet-lite0")
    assert sha256_file(link) == pinned.sha256
