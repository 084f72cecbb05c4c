"""The named methods against each other: what must be equal is equal, what should differ does."""

import numpy as np
import pytest
import torch

from wiseft.combine.linear_combination import combine_logits, interpolate
from wiseft.images.store import open_split
from wiseft.models.classifier import build_classifier
from wiseft.study.config import FinetuneSettings
from wiseft.study.finetune import finetune as stage
from wiseft.study.finetune import head as probe
from wiseft.study.finetune.head import probe_settings
from wiseft.thetas.theta import load_theta

PROBE = {"epochs": 2, "learning_rate": 1e-2}


@pytest.fixture
def theta_1(train, settings):
    """Fine-tunes and returns the tensors of theta_1."""

    def go(name, **changes):
        return load_theta(train(settings(**changes), name=name).theta_1).tensors

    return go


def assert_same(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def differs(a, b, key="head.weight"):
    return not torch.equal(a[key], b[key])


def logits_of(theta, tensors, images):
    with torch.no_grad():
        return build_classifier(theta.header, tensors)(images)


@pytest.mark.parametrize("alpha", ["0.000", "0.300", "0.500", "1.000"])
def test_interpolated_linear_classifier_is_the_ensemble_of_logits(train, settings, manifest, alpha):
    """In weight space and in output space it is the same (paper section 3, appendix F)."""
    start = load_theta(train.theta_0)
    end = load_theta(train(settings(trainable="head", learning_rate=3e-2)).theta_1)
    images = torch.from_numpy(open_split(manifest, "train").read(slice(None))).permute(0, 3, 1, 2)
    ends = [logits_of(start, theta.tensors, images) for theta in (start, end)]
    in_weights = logits_of(start, interpolate(start.tensors, end.tensors, alpha), images)
    in_outputs = combine_logits(ends, [1 - float(alpha), float(alpha)])
    torch.testing.assert_close(in_weights, in_outputs, atol=1e-4, rtol=1e-5)
    assert (ends[0] - ends[1]).abs().max() > 0.1  # so that there is something to compare


@pytest.mark.parametrize("changes", [{}, {"trainable": "head"}])
def test_distillation_with_nothing_of_the_teacher_is_plain(theta_1, changes):
    plain, distilled = theta_1("plain", **changes), theta_1("a", distillation=0.0, **changes)
    assert_same(plain, distilled)
    assert differs(plain, theta_1("b", distillation=0.5, **changes))


def test_lp_ft_without_probing_is_end_to_end(theta_1):
    plain = theta_1("plain")
    assert_same(plain, theta_1("none", linear_probe={"epochs": 0, "learning_rate": 1.0}))
    assert differs(plain, theta_1("some", linear_probe=PROBE))


@pytest.mark.parametrize("head_init", ["zero-shot", "random"])
def test_lp_ft_begins_with_the_linear_classifier(train, settings, theta_1, head_init):
    """End-to-end steps so small that nothing moves leave the head of the probe."""
    both = settings(linear_probe=PROBE, head_init=head_init, learning_rate=1e-30, weight_decay=0.0)
    probed = load_theta(train(both, name="both").theta_1).tensors
    alone = load_theta(train(probe_settings(both), name="alone").theta_1).tensors
    for key, tensor in alone.items():
        torch.testing.assert_close(probed[key], tensor, atol=1e-25, rtol=0)
    assert differs(alone, load_theta(train.theta_0).tensors)


@pytest.mark.parametrize("changes", [{}, {"trainable": "head"}])
def test_a_random_head_is_the_seeds(train, settings, changes):
    chosen = settings(head_init="random", **changes)
    found = {
        name: load_theta(train(chosen, seed=seed, name=name).theta_1).tensors
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    }
    assert_same(found["a"], found["b"])
    assert differs(found["a"], found["c"])
    plain = load_theta(train(settings(**changes), name="plain").theta_1).tensors
    assert differs(found["a"], plain)


def test_regularisation_towards_theta_0_holds_the_weights_there(train, theta_1):
    start = load_theta(train.theta_0).tensors

    def distance(theta):
        return sum((theta[key] - start[key]).square().sum().item() for key in start)

    changes = {"weight_decay": 0.0, "clip_norm": None, "epochs": 6}
    distances = [
        distance(theta_1(f"l2-{strength}", l2_to_start=strength, **changes))
        for strength in (0.0, 1.0, 100.0)
    ]
    assert distances[0] > distances[1] > distances[2]


def test_l1_shrinks_the_head(theta_1):
    changes = {"trainable": "head", "weight_decay": 0.0, "learning_rate": 3e-2}
    free, bound = theta_1("free", **changes), theta_1("bound", l1=1e-2, **changes)
    assert bound["head.weight"].abs().sum() < free["head.weight"].abs().sum()


def test_full_distillation_keeps_a_linear_classifier_where_it_is(train, theta_1):
    start = load_theta(train.theta_0).tensors
    changes = {"trainable": "head", "weight_decay": 0.0, "optimiser": "sgd"}
    distilled = theta_1("teacher", distillation=1.0, **changes)
    torch.testing.assert_close(distilled["head.weight"], start["head.weight"], atol=1e-5, rtol=0)
    assert differs(distilled, theta_1("labels", **changes))


@pytest.mark.parametrize("changes", [{}, {"trainable": "head"}])
def test_few_shots_train_on_as_many_of_every_class(train, settings, changes):
    shots = settings(train_samples=None, samples_per_class=2, batch_size=4, **changes)
    train(shots)
    assert "training on 6 images of colours: 6 steps" in train.log
    assert len(train.outputs().curve.read_text().splitlines()) == 1 + 6


@pytest.mark.parametrize("augment", ["crop", "strong"])
def test_augmented_training_learns(train, settings, colours, augment):
    theta = load_theta(train(settings(augment=augment, train_samples=None, epochs=8)).theta_1)
    images, labels = colours
    logits = logits_of(theta, theta.tensors, torch.from_numpy(images).permute(0, 3, 1, 2))
    assert (logits.argmax(dim=-1).numpy() == labels).mean() > 0.8


def test_augmented_training_is_the_seeds(theta_1):
    first = theta_1("first", augment="strong")
    assert_same(first, theta_1("second", augment="strong"))
    assert differs(first, theta_1("plain"))


def test_the_sigmoid_loss_learns(train, settings, colours):
    theta = load_theta(train(settings(loss="sigmoid", train_samples=None, epochs=8)).theta_1)
    images, labels = colours
    logits = logits_of(theta, theta.tensors, torch.from_numpy(images).permute(0, 3, 1, 2))
    assert (logits.argmax(dim=-1).numpy() == labels).mean() > 0.9


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_other_optimisers_are_torchs(theta_1, train, optimiser):
    """One step on the head, by hand."""
    changes = {
        "trainable": "head",
        "train_samples": None,
        "batch_size": 30,
        "steps": 1,
        "warmup_steps": 0,
        "clip_norm": None,
    }
    found = theta_1(optimiser, optimiser=optimiser, **changes)
    theta = load_theta(train.theta_0)
    classifier = build_classifier(theta.header, theta.tensors)
    split = open_split(train.manifest, "train")
    order = np.random.default_rng([1, 0, 0]).permutation(30)
    images = torch.from_numpy(split.read(order)).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = classifier.features(images)
    kinds = {
        "adam": lambda p: torch.optim.Adam(p, lr=3e-3, weight_decay=0.1),
        "sgd": lambda p: torch.optim.SGD(p, lr=3e-3, momentum=0.9, weight_decay=0.1),
    }
    by_hand = kinds[optimiser](classifier.head.parameters())
    labels = torch.from_numpy(split.labels[order])
    torch.nn.functional.cross_entropy(classifier.head(features), labels).backward()
    by_hand.step()
    torch.testing.assert_close(
        found["head.weight"], classifier.head.weight.detach(), atol=1e-5, rtol=1e-5
    )


def test_settings_of_a_probe_are_those_of_a_linear_classifier():
    whole = FinetuneSettings(
        linear_probe={"epochs": 3, "learning_rate": 0.5},
        ema={"decay": 0.9},
        augment="crop",
        steps=7,
        distillation=0.25,
        batch_size=6,
    )
    expected = FinetuneSettings(
        trainable="head", epochs=3, learning_rate=0.5, distillation=0.25, batch_size=6
    )
    assert probe_settings(whole) == expected


class Killed(BaseException):
    """Stands for a signal: no handler of the code under test may catch it."""


KILLED = {
    "lp-ft": {"linear_probe": PROBE},
    "lp-ft, random head": {"linear_probe": PROBE, "head_init": "random"},
    "biased average": {"ema": {"decay": 0.9, "start": "theta_0"}},
    "early stopping": {"early_stopping": {"every": 2, "split": "train"}},
    "few shots, crops": {"train_samples": None, "samples_per_class": 7, "augment": "crop"},
    "lora": {"trainable": "lora", "lora": {"rank": 2}, "learning_rate": 1e-2},
    "linear classifier": {"trainable": "head", "head_init": "random", "l1": 1e-4},
}


PLACES = [*((kind, stage) for kind in KILLED), ("lp-ft, random head", probe)]


@pytest.mark.parametrize(("kind", "module"), PLACES)
def test_a_killed_method_ends_with_the_same_weights(train, settings, monkeypatch, kind, module):
    """Killed after five steps, of the training itself or of the probing before it."""
    chosen = settings(**KILLED[kind])
    whole = load_theta(train(chosen, name="whole").theta_1).tensors
    of_module = module.Progress

    class Deadly(of_module):
        def __call__(self, step, *arguments):
            super().__call__(step, *arguments)
            if step == 5:
                raise Killed

    monkeypatch.setattr(module, "Progress", Deadly)
    with pytest.raises(Killed):
        train(chosen)
    monkeypatch.setattr(module, "Progress", of_module)
    train.log.clear()
    assert_same(whole, load_theta(train(chosen).theta_1).tensors)
    assert "resuming after step 4" in train.log
    assert not train.outputs().state.exists()
