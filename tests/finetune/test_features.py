import dataclasses
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from wiseft.base.messages import shown
from wiseft.images import feed
from wiseft.images.index_folder import index_folder
from wiseft.images.store import open_manifest, open_split
from wiseft.models.classifier import ImageClassifier, build_classifier
from wiseft.study.finetune import features
from wiseft.study.finetune.features import FeatureSamples, FeatureStore
from wiseft.study.finetune.finetune import finetune
from wiseft.thetas.partial_tensors import PartialTensors
from wiseft.thetas.tensor_file import read_file_header, tensors_sha256
from wiseft.thetas.theta import load_theta

SOME = np.array([1, 4, 20])


@pytest.fixture
def theta(theta_0):
    return load_theta(theta_0)


@pytest.fixture
def passes(monkeypatch):
    """How many images went through a tower."""
    seen = []
    features = ImageClassifier.features
    monkeypatch.setattr(
        ImageClassifier,
        "features",
        lambda self, images: seen.append(len(images)) or features(self, images),
    )
    return seen


@pytest.fixture
def store(theta, tmp_path):
    def make(tensors=None, header=None, folder="features", precision="fp32"):
        header = header or theta.header
        classifier = build_classifier(header, tensors or theta.tensors)
        where = None if folder is None else tmp_path / folder
        return FeatureStore(classifier, header, where, precision)

    return make


def expected(theta, manifest, indices):
    classifier = build_classifier(theta.header, theta.tensors)
    images = torch.from_numpy(open_split(manifest, "train").read(indices)).permute(0, 3, 1, 2)
    with torch.no_grad():
        return classifier.features(images)


def test_features_are_the_towers_and_computed_once(theta, manifest, store, passes):
    dataset = open_manifest(manifest)
    first = store().features(dataset, "train", SOME)
    assert passes == [3]
    again = store().features(dataset, "train", SOME)
    assert passes == [3]
    assert torch.equal(first, again)
    torch.testing.assert_close(first, expected(theta, manifest, SOME))
    assert first.dtype == torch.float32


def test_features_of_files_that_changed_are_computed_again(theta, store, passes, tmp_path):
    """A user's own images: drawn again under the same names and sizes."""
    folder = tmp_path / "mine" / "bird"
    folder.mkdir(parents=True)

    def draw(level: int) -> None:
        for number in range(3):
            pixels = np.full((32, 32, 3), level + number, np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.bmp")  # always of one size

    draw(0)
    path = index_folder(folder.parent, tmp_path / "set" / "manifest.json", "mine", ["train"])
    dataset = open_manifest(path)
    first = store().features(dataset, "train")
    assert torch.equal(store().features(dataset, "train"), first) and passes == [3]
    draw(200)
    assert not torch.equal(store().features(dataset, "train"), first) and passes == [3, 3]
    draw(0)
    assert torch.equal(store().features(dataset, "train"), first) and passes == [3, 3]


def test_images_that_are_read_ahead_change_no_feature(manifest, store, monkeypatch):
    dataset = open_manifest(manifest)
    plain = store(folder=None).features(dataset, "train")
    monkeypatch.setattr(feed, "usual_reading", lambda *_: feed.Reading(3, 2))
    assert torch.equal(store(folder=None).features(dataset, "train"), plain)


def test_a_subset_is_taken_from_the_whole_where_that_is_kept(manifest, store, passes):
    dataset = open_manifest(manifest)
    whole = store().features(dataset, "train")
    assert torch.equal(store().features(dataset, "train", SOME), whole[torch.from_numpy(SOME)])
    assert torch.equal(store().features(dataset, "train", np.arange(30)), whole)
    assert passes == [30]


def test_other_samples_are_others(manifest, store, passes):
    dataset = open_manifest(manifest)
    store().features(dataset, "train", SOME)
    store().features(dataset, "train", SOME + 1)
    assert passes == [3, 3]


def other_weights(theta):
    return {"tensors": {k: v * 1.01 if "conv1" in k else v for k, v in theta.tensors.items()}}


def other_preprocessing(theta):
    pixels = {**theta.header.preprocessing, "mean": [0.4, 0.5, 0.5]}
    return {"header": dataclasses.replace(theta.header, preprocessing=pixels)}


def other_activation(theta):
    # The same tensors in another architecture.
    layers = {**theta.header.architecture, "quick_gelu": True}
    return {"header": dataclasses.replace(theta.header, architecture=layers)}


@pytest.mark.parametrize(
    "change",
    [other_weights, other_preprocessing, other_activation, lambda theta: {"precision": "bf16"}],
)
def test_another_tower_or_preprocessing_never_meets_them(theta, manifest, store, passes, change):
    dataset = open_manifest(manifest)
    store().features(dataset, "train", SOME)
    store(**change(theta)).features(dataset, "train", SOME)
    assert passes == [3, 3]


def test_another_head_meets_them(theta, manifest, store, passes):
    dataset = open_manifest(manifest)
    store().features(dataset, "train", SOME)
    heads = {k: v + 1 if k.startswith("head.") else v for k, v in theta.tensors.items()}
    store(tensors=heads).features(dataset, "train", SOME)
    assert passes == [3]


def test_another_preparation_of_a_dataset_never_meets_them(
    manifest, store, passes, write_dataset, tmp_path
):
    store().features(open_manifest(manifest), "train", SOME)
    labels = [(i + 1) % 3 for i in range(30)]
    other = write_dataset(tmp_path / "other", labels=labels)  # of the same name
    store().features(open_manifest(other), "train", SOME)
    assert passes == [3, 3]


def test_a_dataset_that_moved_meets_them(manifest, store, passes, write_dataset, tmp_path):
    store().features(open_manifest(manifest), "train", SOME)
    store().features(open_manifest(write_dataset(tmp_path / "moved")), "train", SOME)
    assert passes == [3]


@pytest.mark.parametrize("damage", ["cut", "changed", "not ours"])
def test_damaged_features_are_computed_again(manifest, store, passes, tmp_path, said, damage):
    dataset = open_manifest(manifest)
    first = store().features(dataset, "train", SOME).clone()
    (file,) = (tmp_path / "features").iterdir()
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[:-8])
    elif damage == "changed":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        save_file({"features": first}, file)
    assert torch.equal(store().features(dataset, "train", SOME), first)
    assert passes == [3, 3]
    assert any("computing the features again" in line for line in said)
    assert torch.equal(store().features(dataset, "train", SOME), first)
    assert passes == [3, 3]


def test_the_header_says_what_features_are_of(theta, manifest, store, tmp_path):
    store().features(open_manifest(manifest), "train")
    (file,) = (tmp_path / "features").iterdir()
    of = read_file_header(file, "features")["of"]
    tower = {name: each for name, each in theta.tensors.items() if name.startswith("image.")}
    assert of["tower"] == tensors_sha256(tower)
    assert of["architecture"] == theta.header.architecture
    assert (of["split"], of["samples"], of["augment"]) == ("train", None, "none")


def test_without_a_folder_nothing_is_kept(manifest, store, passes, tmp_path):
    dataset = open_manifest(manifest)
    first = store(folder=None).features(dataset, "train", SOME)
    assert torch.equal(first, store(folder=None).features(dataset, "train", SOME))
    assert passes == [3, 3]
    assert list(tmp_path.iterdir()) == []


def test_writing_into_features_does_not_change_what_is_kept(manifest, store):
    dataset = open_manifest(manifest)
    first = store().features(dataset, "train", SOME)
    before = first.clone()
    first.zero_()
    assert torch.equal(store().features(dataset, "train", SOME), before)


def test_samples_of_features_are_the_same_in_every_epoch():
    features = torch.randn(5, 2)
    samples = FeatureSamples(features, torch.arange(5))
    rows = np.array([4, 0, 4])
    assert torch.equal(samples.read(0, rows), features[[4, 0, 4]])
    assert torch.equal(samples.read(7, rows), features[[4, 0, 4]])


def test_seeds_and_methods_share_features(train, settings, passes, tmp_path):
    """Three trainings of one model: all images go through the frozen tower once."""

    def run(name, seed, **changes):
        passes.clear()
        outputs = dataclasses.replace(train.outputs(name), features=tmp_path / "features")
        chosen = settings(train_samples=None, batch_size=10, epochs=1, **changes)
        with shown(train.log.append):
            finetune(train.theta_0, train.manifest, chosen, seed, outputs)
        return list(passes)

    assert run("a", 0, trainable="head") == [30]
    assert run("b", 1, trainable="head", distillation=0.5) == []
    # What is left are the batches of the training after the probe.
    assert run("c", 1, linear_probe={"epochs": 1, "learning_rate": 1e-2}) == [10, 10, 10]


def test_a_killed_pass_goes_on_and_ends_with_the_same_bytes(
    theta_0, manifest, store, passes, tmp_path, monkeypatch, fork, wait, said
):
    monkeypatch.setattr(features, "BATCH_SIZE", 4)
    monkeypatch.setenv("WISEFT_SAVE_SECONDS", "0")
    save = PartialTensors.save

    def save_or_die(self, rows):
        if rows > 20:  # after two batches that nothing notes
            os.kill(os.getpid(), signal.SIGKILL)
        if rows <= 12:
            save(self, rows)

    with monkeypatch.context() as deadly:
        deadly.setattr(PartialTensors, "save", save_or_die)
        process = fork(lambda: store().features(open_manifest(manifest), "train"))
    assert wait(process) == -signal.SIGKILL
    dataset = open_manifest(manifest)
    continued = store().features(dataset, "train").clone()
    assert passes == [4, 4, 4, 4, 2]
    assert "resuming after 12 samples" in said
    assert torch.equal(store(folder="whole").features(dataset, "train"), continued)
    (file,) = (tmp_path / "features").iterdir()
    assert file.read_bytes() == (tmp_path / "whole" / file.name).read_bytes()
