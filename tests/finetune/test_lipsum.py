"""Lipsum-FT: the gap of energies, by hand and by open_clip's own towers; and in a training."""

import copy

import numpy as np
import pytest
import torch
from tests.finetune.test_contrastive import (
    ARCHITECTURE,
    start_weights,
    weights,
    with_text,
    without_text,
)
from torch.nn import functional

from wiseft.errors import WiseftError
from wiseft.models import towers
from wiseft.models.classifier import build_classifier
from wiseft.study.config import FinetuneSettings
from wiseft.study.config.machine import HowSettings
from wiseft.study.finetune import finetune as stage
from wiseft.study.finetune.batches import Batch, Part, divided
from wiseft.study.finetune.objective import make_objective, random_texts
from wiseft.study.finetune.trainer import Execution
from wiseft.thetas.theta import load_theta

__all__ = ["weights", "with_text", "without_text"]  # fixtures

LIPSUM = {"coefficient": 0.5, "texts": 6, "length": 4}
SETTINGS = {"train_samples": 20, "lipsum": LIPSUM}


@pytest.fixture
def start(with_text):
    return load_theta(with_text)


@pytest.fixture
def batch(colours):
    images, labels = (torch.from_numpy(array[:9]) for array in colours)
    return Batch(images.permute(0, 3, 1, 2), labels, torch.arange(9), seed=11)


def moved(start):
    """A classifier that is no longer theta_0."""
    model = build_classifier(start.header, start.tensors).train()
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def drawn_as_the_authors_do(seed):
    """49406, random tokens below it, 49407, zeros up to the context of the tests' models."""
    random = torch.randint(49406, (6, 4), generator=torch.Generator().manual_seed(seed))
    ends = torch.tensor([[49406]] * 6), torch.tensor([[49407]] * 6)
    return functional.pad(torch.cat([ends[0], random, ends[1]], dim=1), (0, 16 - 6))


def test_the_gap_is_that_of_energies_by_open_clips_own_towers(start, batch):
    model = moved(start)
    whole = towers.load(ARCHITECTURE, start_weights(start), "theta_0").module
    now = copy.deepcopy(whole)
    now.visual.load_state_dict(model.image.state_dict())
    pixels = model.pixels(batch.inputs)
    with torch.no_grad():
        texts = whole.encode_text(drawn_as_the_authors_do(11), normalize=True)
        scale = whole.logit_scale.exp()
        before = scale * whole.encode_image(pixels, normalize=True) @ texts.t()
        after = scale * now.encode_image(pixels, normalize=True) @ texts.t()
        gap = (after - before).square().sum(dim=-1) / (2 * 6)
        plain = make_objective(FinetuneSettings(), model, start).loss(model, batch)
        found = make_objective(FinetuneSettings(lipsum=LIPSUM), model, start).loss(model, batch)
    assert gap.mean() > 0.01
    torch.testing.assert_close(found - plain, 0.5 * gap.mean(), rtol=1e-4, atol=1e-6)


def test_the_gradient_is_that_of_the_formula(start, batch):
    model = moved(start)
    objective = make_objective(FinetuneSettings(lipsum=LIPSUM), model, start)
    objective.loss(model, batch).backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    whole = towers.load(ARCHITECTURE, start_weights(start), "theta_0")
    features, pixels = model.features(batch.inputs), model.pixels(batch.inputs)
    with torch.no_grad():
        texts = functional.normalize(whole.encode_text(drawn_as_the_authors_do(11)), dim=-1)
        before = functional.normalize(whole.image(pixels), dim=-1)
        scale = whole.logit_scale.exp()
    gap = scale * (features @ texts.t() - before @ texts.t())
    loss = functional.cross_entropy(model.logits(features), batch.labels)
    (loss + 0.5 * gap.square().sum() / (2 * 6 * 9)).backward()
    assert found.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5)


def test_at_theta_0_there_is_no_gap(start, batch):
    model = build_classifier(start.header, start.tensors)
    plain = make_objective(FinetuneSettings(), model, start).loss(model, batch)
    found = make_objective(FinetuneSettings(lipsum=LIPSUM), model, start).loss(model, batch)
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-6)


def test_texts_follow_the_seed_alone():
    framed = drawn_as_the_authors_do(0)
    torch.manual_seed(0)
    first = random_texts(framed, 4, 7)
    torch.manual_seed(1)
    assert torch.equal(first, random_texts(framed, 4, 7))
    assert torch.equal(first, drawn_as_the_authors_do(7))
    assert not torch.equal(first, random_texts(framed, 4, 8))
    assert len({tuple(row.tolist()) for row in first}) == 6


@pytest.fixture
def tuned(train, settings, with_text):
    def go(name="run", **changes):
        outputs = train(
            settings(**(SETTINGS | changes.get("changes", {}))),
            theta_0=with_text,
            name=name,
            execution=Execution(how=HowSettings(**changes.get("how", {}))),
        )
        return load_theta(outputs.theta_1)

    return go


def distance(a, b):
    return sum((a.tensors[k] - b.tensors[k]).double().square().sum() for k in a.tensors) ** 0.5


@pytest.mark.parametrize("more", [{}, {"trainable": "lora", "lora": {"rank": 4}}])
def test_theta_1_is_a_classifier_that_stays_nearer(tuned, start, without_text, colours, more):
    plain_theta_0 = load_theta(without_text)
    held = tuned("held", changes={"lipsum": LIPSUM | {"coefficient": 100.0}, **more})
    free = tuned("free", changes={"lipsum": None, **more})
    assert held.tensors.keys() == plain_theta_0.tensors.keys()  # no text tower
    pixels = torch.from_numpy(colours[0]).permute(0, 3, 1, 2)

    def features(theta):
        own = {k: v for k, v in theta.tensors.items() if not k.startswith("text.")}
        return build_classifier(theta.header, own).features(pixels)

    with torch.no_grad():
        origin = features(start)
        gaps = [(features(theta) - origin).norm() for theta in (held, free)]
    assert gaps[0] < 0.5 * gaps[1]
    assert held.header.settings["lipsum"] == LIPSUM | {"coefficient": 100.0}
    assert "lipsum" not in free.header.settings


def test_parts_of_a_batch_have_its_gradient(start, batch):
    model = moved(start)
    objective = make_objective(FinetuneSettings(lipsum=LIPSUM), model, start)
    assert objective.separable

    def gradient(size):
        model.zero_grad()
        whole = Part(0, 0, np.arange(9), 0, 1.0)
        for part, smaller in divided([(whole, batch)], size):
            (objective.loss(model, smaller) * part.share).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    expected = gradient(9)
    assert (gradient(4) - expected).norm() < 1e-5 * expected.norm()
    assert (gradient(1) - expected).norm() < 1e-5 * expected.norm()


def test_micro_batches_train_on_the_same_texts(tuned):
    whole, free = tuned("whole"), tuned("free", changes={"lipsum": None})
    assert distance(whole, tuned("parts", how={"micro_batch": 3})) < 0.01 * distance(whole, free)


def test_a_killed_training_ends_with_the_same_weights(train, tuned, monkeypatch):
    whole = tuned("whole")

    class Deadly(stage.Progress):
        def __call__(self, step, *arguments):
            super().__call__(step, *arguments)
            if step == 5:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, "Progress", Deadly)
        with pytest.raises(KeyboardInterrupt):
            tuned()
    again = tuned()
    assert "resuming after step 4" in train.log
    assert all(torch.equal(whole.tensors[k], again.tensors[k]) for k in whole.tensors)


def test_theta_0_needs_its_text_tower(train, settings, without_text):
    with pytest.raises(WiseftError, match="lipsum needs a text tower, but theta_0 has none"):
        train(settings(**SETTINGS), theta_0=without_text)


def test_texts_must_fit_the_context(train, settings, with_text):
    changes = SETTINGS | {"lipsum": {"length": 15}}
    with pytest.raises(WiseftError, match=r"length is 15, but .* reads 16 tokens, .* at most 14"):
        train(settings(**changes), theta_0=with_text)


def test_settings_without_it_say_nothing_of_it():
    assert "lipsum" not in FinetuneSettings().model_dump()
    assert FinetuneSettings(lipsum={}).model_dump()["lipsum"] == {
        "coefficient": 1.0,
        "texts": 80,
        "length": 8,
    }
