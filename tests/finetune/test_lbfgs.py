"""L-BFGS finds the optimum that scikit-learn finds."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from wiseft.study.config import FinetuneSettings
from wiseft.study.finetune import head as module
from wiseft.study.finetune.features import FeatureSamples
from wiseft.study.finetune.head import fit_lbfgs
from wiseft.study.finetune.objective import make_objective
from wiseft.study.finetune.trainer import Task
from wiseft.thetas.resume_state import Checkpoints
from wiseft.thetas.theta import load_theta

N, WIDTH, CLASSES, DECAY = 300, 12, 4, 1e-2


def lbfgs(**changes) -> FinetuneSettings:
    base = {"trainable": "head", "optimiser": "lbfgs", "steps": 200, "weight_decay": DECAY}
    return FinetuneSettings.model_validate(base | changes)


@pytest.fixture
def samples():
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, N)
    features = random.normal(size=(N, WIDTH)) + 0.8 * np.eye(CLASSES, WIDTH)[labels]
    return FeatureSamples(torch.from_numpy(features).float(), torch.from_numpy(labels))


def fitted(samples, folder, settings, seed=0):
    torch.manual_seed(seed)
    head = nn.Linear(WIDTH, CLASSES)
    task = Task(head, samples, make_objective(settings, head, None))
    curve = fit_lbfgs(task, settings, 0, Checkpoints(folder, "key"))
    return head, curve


@pytest.mark.parametrize("chunk", [2**14, 70])
def test_the_optimum_is_that_of_scikit_learn(samples, tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(module, "CHUNK", chunk)
    head, curve = fitted(samples, tmp_path, lbfgs())
    # The bias as one more weight, because ours decays too.
    inputs = np.c_[samples.features.double().numpy(), np.ones(N)]
    known = LogisticRegression(C=1 / (N * DECAY), fit_intercept=False, tol=1e-12, max_iter=10_000)
    known.fit(inputs, samples.labels.numpy())
    logits = torch.from_numpy(inputs @ known.coef_.T)
    optimum = nn.functional.cross_entropy(logits, samples.labels) + DECAY / 2 * np.sum(
        known.coef_**2
    )
    found = torch.cat([head.weight, head.bias[:, None]], dim=1).detach().numpy()
    assert min(step.loss for step in curve) == pytest.approx(float(optimum), abs=1e-6)
    assert found == pytest.approx(known.coef_, abs=3e-3)
    assert len(curve) < 200, "it ends by itself"


def test_another_start_ends_in_the_same_place(samples, tmp_path):
    heads = [fitted(samples, tmp_path, lbfgs(), seed)[0].weight for seed in (0, 1)]
    assert torch.allclose(*heads, atol=3e-3)


def test_a_linear_classifier_is_fitted_twice_the_same_and_keeps_its_tower(train, theta_0):
    settings = lbfgs(train_samples=20, steps=15, weight_decay=0.0, checkpoint_every=5)
    first = train(settings, name="first")
    again = train(settings.model_copy(update={"checkpoint_every": 1}), name="again")
    one, two = load_theta(first.theta_1), load_theta(again.theta_1)
    start = load_theta(theta_0).tensors
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in start)
    assert not torch.equal(one.tensors["head.weight"], start["head.weight"])
    towers = [name for name in start if name.startswith("image.")]
    assert all(torch.equal(one.tensors[name], start[name]) for name in towers)
    losses = [float(line.split(",")[2]) for line in first.curve.read_text().splitlines()[1:]]
    assert min(losses) < 0.5 * losses[0]
