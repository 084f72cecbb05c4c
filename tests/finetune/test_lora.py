"""`trainable: lora`: what is trained, what theta_1 holds, and that it goes on after a kill."""

import pytest
import torch
from tests import tiny_models as tiny

from wiseft.errors import WiseftError
from wiseft.models.classifier import build_classifier, classifier_tensors
from wiseft.study.config.training_parts import Lora
from wiseft.study.finetune.trained_model import add_lora, merge_lora
from wiseft.thetas.theta import load_theta, make_header

LORA = {"trainable": "lora", "lora": {"rank": 2, "lora_alpha": 4}}


def classifier():
    header = make_header(
        "zero-shot",
        "zeroshot",
        architecture=tiny.clip(),
        preprocessing=tiny.PREPROCESSING,
        class_names=["x", "y"],
        parents={},
    )
    return build_classifier(header, seed=1)


def test_it_starts_as_theta_0_and_merges_to_the_product():
    model = classifier()
    before = classifier_tensors(model)
    before = {name: tensor.clone() for name, tensor in before.items()}
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    logits = model(images)
    add_lora(model, Lora(rank=2, lora_alpha=4), seed=3)
    torch.testing.assert_close(model(images), logits)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name in trained if name.startswith("head.")} == {"head.weight", "head.bias"}
    low = {name: p for name, p in trained.items() if not name.startswith("head.")}
    assert low and all(name.endswith((".first", ".second")) for name in low)
    with torch.no_grad():
        for parameter in low.values():
            parameter.add_(0.1)
    factors = {name.replace("parametrizations.", ""): p.clone() for name, p in low.items()}
    changed = model(images)
    assert not torch.allclose(changed, logits)
    merge_lora(model)
    torch.testing.assert_close(model(images), changed)
    after = classifier_tensors(model)
    assert after.keys() == before.keys()
    for name, tensor in after.items():
        first, second = (factors.get(f"{name}.0.{end}") for end in ("first", "second"))
        change = 0.0 if first is None else (4 / 2 * second @ first).view(tensor.shape)
        torch.testing.assert_close(tensor, before[name] + change)
    assert sum(f"{name}.0.first" in factors for name in after) == len(low) / 2 >= 4


def test_theta_1_is_a_theta_like_any_other(train, settings):
    start = load_theta(train.theta_0)
    end = load_theta(train(settings(**LORA, learning_rate=1e-2)).theta_1)
    assert end.header.settings["lora"] == LORA["lora"]
    assert end.tensors.keys() == start.tensors.keys()
    moved = {k for k in end.tensors if not torch.equal(start.tensors[k], end.tensors[k])}
    assert {"head.weight", "head.bias"} < moved
    of_tower = [name for name in moved if name.startswith("image.")]
    assert of_tower and all(start.tensors[name].ndim >= 2 for name in of_tower)
    for name in of_tower:
        change = (end.tensors[name] - start.tensors[name]).flatten(1)
        assert torch.linalg.matrix_rank(change.double(), rtol=1e-4) <= 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora": {"rank": 2}}, "trainable is all and lora is rank=2"),
        ({"trainable": "lora"}, "trainable is lora and lora is None"),
        (LORA | {"ema": {"decay": 0.9}}, "ema is given and trainable is lora"),
        (LORA | {"init": "random"}, "trainable is lora and init is random"),
        (LORA | {"search": {"regulariser": "none"}}, "search is given and trainable is lora"),
    ],
)
def test_settings_that_make_no_sense_together(settings, changes, message):
    with pytest.raises((WiseftError, ValueError), match=message):
        settings(**changes)
