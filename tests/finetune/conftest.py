"""A tiny theta_0 and a small dataset whose classes can be learned."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from wiseft.base.messages import shown
from wiseft.images.split import PreparedSplit
from wiseft.models.classifier import build_classifier, classifier_tensors
from wiseft.study.config import FinetuneSettings
from wiseft.study.data.prepared import write_prepared
from wiseft.study.finetune.finetune import Outputs, finetune
from wiseft.thetas.theta import make_header, save_theta

TEXT = {"context_length": 8, "vocab_size": 64, "width": 8, "heads": 2, "layers": 1}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}
VIT = {"image_size": 32, "patch_size": 16, "layers": 1, "width": 16, "head_width": 8}
ARCHITECTURES = {
    "resnet": {"embed_dim": 16, "vision_cfg": RESNET, "text_cfg": TEXT},
    "vit": {"embed_dim": 16, "vision_cfg": VIT, "text_cfg": TEXT},
    "vit-dropout": {
        "embed_dim": 16,
        "vision_cfg": VIT | {"patch_dropout": 0.5},
        "text_cfg": TEXT,
    },
}
PREPROCESSING = {"size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
CLASSES = ["red", "green", "blue"]
SETTINGS = {
    "train_samples": 20,
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 3e-3,
    "warmup_steps": 2,
    "checkpoint_every": 2,
}
"""3 epochs of 3 batches (8, 8 and 4 images): 9 steps; states after steps 2, 4, 6 and 8."""


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def colours():
    """30 noisy images; the class is the brightest channel."""
    random = np.random.default_rng(0)
    labels = np.arange(30) % 3
    images = random.integers(0, 120, (30, 32, 32, 3))
    images[np.arange(30), :, :, labels] += 80
    return images.astype(np.uint8), labels.astype(np.int64)


@pytest.fixture(scope="session")
def write_dataset(colours):
    def write(folder, class_names=CLASSES, labels=None) -> Path:
        images, own = colours
        labels = own if labels is None else np.asarray(labels, dtype=np.int64)
        split = PreparedSplit(images, labels, [f"s{i}" for i in range(len(labels))])
        return write_prepared(folder, "colours", {"train": split}, class_names)

    return write


@pytest.fixture(scope="session")
def manifest(tmp_path_factory, write_dataset) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="session")
def write_theta_0(tmp_path_factory, colours):
    def write(name="resnet", preprocessing=PREPROCESSING, seed=5) -> Path:
        header = make_header(
            "zero-shot",
            "zeroshot",
            architecture=copy.deepcopy(ARCHITECTURES[name]),
            preprocessing=preprocessing,
            class_names=CLASSES,
            parents={},
        )
        classifier = build_classifier(header, seed=seed)
        with torch.no_grad():
            # Running statistics of these images, as after a pre-training; with those of random
            # weights (0 and 1) hardly a signal would come through.
            classifier.train()
            images = torch.from_numpy(colours[0]).permute(0, 3, 1, 2)
            for _ in range(30):
                classifier(images)
            classifier.head.weight.mul_(10)
            classifier.head.bias.zero_()
        path = tmp_path_factory.mktemp("theta") / "theta_0.safetensors"
        save_theta(path, classifier_tensors(classifier), header)
        return path

    return write


@pytest.fixture(scope="session")
def theta_0(write_theta_0) -> Path:
    return write_theta_0()


@pytest.fixture
def settings():
    def make(**changes) -> FinetuneSettings:
        return FinetuneSettings.model_validate(SETTINGS | changes)

    return make


@dataclass
class Trainings:
    """Fine-tunes into one folder of a test and keeps the log."""

    folder: Path
    theta_0: Path
    manifest: Path
    log: list[str]

    def outputs(self, name="run") -> Outputs:
        folder = self.folder / name
        return Outputs(folder / "theta_1.safetensors", folder / "curve.csv", folder / "state")

    def command(self, settings, *more, name="run") -> list[str]:
        """Return the arguments of the command that does the same."""
        outputs = self.outputs(name)
        options = {
            "--theta-0": self.theta_0,
            "--dataset": self.manifest,
            "--settings": settings.model_dump_json(),
            "--seed": 0,
            "--state": outputs.state,
            "--theta-1": outputs.theta_1,
            "--curve": outputs.curve,
            "--device": "cpu",
        }
        return ["finetune", *(str(part) for option in options.items() for part in option), *more]

    def __call__(
        self, settings, seed=0, name="run", theta_0=None, manifest=None, execution=None
    ) -> Outputs:
        outputs = self.outputs(name)
        with shown(self.log.append):
            finetune(
                theta_0 or self.theta_0,
                manifest or self.manifest,
                settings,
                seed,
                outputs,
                execution=execution,
            )
        return outputs


@pytest.fixture
def train(tmp_path, theta_0, manifest) -> Trainings:
    return Trainings(tmp_path, theta_0, manifest, [])


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory, theta_0, manifest) -> Outputs:
    """The results of a training that nobody kills, with the settings as they are."""
    torch.set_num_threads(1)
    train = Trainings(tmp_path_factory.mktemp("uninterrupted"), theta_0, manifest, [])
    return train(FinetuneSettings.model_validate(SETTINGS))
