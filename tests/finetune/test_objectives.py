import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from wiseft.models.classifier import build_classifier
from wiseft.study.config import FinetuneSettings
from wiseft.study.finetune.batches import Batch
from wiseft.study.finetune.objective import PredictedClasses, make_objective, tensors_of
from wiseft.study.finetune.objectives.sigmoid import sigmoid_loss
from wiseft.thetas.theta import Theta, load_theta, make_header


@pytest.fixture
def start(theta_0) -> Theta:
    return load_theta(theta_0)


@pytest.fixture
def batch(colours):
    images, labels = colours
    pixels = torch.from_numpy(images[:12]).permute(0, 3, 1, 2)
    return Batch(pixels, torch.from_numpy(labels[:12]), torch.arange(12))


def head_of(never_predicted=()):
    """A head, features and labels for it, and a theta_0 that holds the head."""
    torch.manual_seed(0)
    head = nn.Linear(6, 4)
    header = make_header(
        "zero-shot",
        "zeroshot",
        architecture={},
        preprocessing={},
        class_names=list("abcd"),
        parents={},
        never_predicted=list(never_predicted),
    )
    tensors = {f"head.{k}": v.detach().clone() for k, v in head.state_dict().items()}
    features = Batch(torch.randn(9, 6), torch.arange(9) % 4, torch.arange(9))
    return head, features, Theta(tensors, header)


def moved(head):
    with torch.no_grad():
        head.weight.add_(0.1 * torch.randn_like(head.weight))
    return head


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_plain_loss_is_cross_entropy_bit_for_bit(start, batch, smoothing):
    model = build_classifier(start.header, start.tensors)
    objective = make_objective(FinetuneSettings(label_smoothing=smoothing), model, start)
    expected = functional.cross_entropy(
        model(batch.inputs), batch.labels, label_smoothing=smoothing
    )
    assert torch.equal(objective.loss(model, batch), expected)
    assert objective.penalty() is None
    assert objective.separable


def test_the_sigmoid_loss_sums_a_binary_cross_entropy_over_classes():
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 4), torch.tensor([0, 3, 1, -100, 2])
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    total = 0.0
    for row, label in zip(p, labels.tolist(), strict=True):
        total -= sum(np.log(q if i == label else 1 - q) for i, q in enumerate(row))
    assert sigmoid_loss(logits, labels).item() == pytest.approx(total / 5, rel=1e-6)


def test_sigmoid_is_the_loss_that_the_settings_ask_for():
    head, features, theta = head_of()
    objective = make_objective(FinetuneSettings(loss="sigmoid"), head, theta)
    expected = sigmoid_loss(head(features.inputs), features.labels)
    assert torch.equal(objective.loss(head, features), expected)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_distillation_mixes_labels_with_the_outputs_of_the_zero_shot_model(share):
    head, features, theta = head_of()
    zero_shot = head(features.inputs).detach().softmax(dim=-1)
    objective = make_objective(FinetuneSettings(distillation=share), head, theta)
    logits = moved(head)(features.inputs)
    soft = -(zero_shot * logits.log_softmax(dim=-1)).sum(dim=-1).mean()
    hard = functional.cross_entropy(logits, features.labels)
    found = objective.loss(head, features)
    torch.testing.assert_close(found, (1 - share) * hard + share * soft)


def test_full_distillation_has_its_minimum_at_theta_0(start, batch):
    model = build_classifier(start.header, start.tensors)
    objective = make_objective(FinetuneSettings(distillation=1.0), model, start)
    objective.loss(model, batch).backward()
    assert max(p.grad.abs().max() for p in model.parameters()) < 1e-5
    assert all(p.grad is not None for p in model.parameters())


def test_the_teacher_is_theta_0_wherever_training_starts_and_stays_so(start, batch):
    model = build_classifier(start.header, start.tensors)
    expected = model(batch.inputs).detach().softmax(dim=-1)
    with torch.no_grad():
        model.head.weight.zero_()  # a random head, say
    objective = make_objective(FinetuneSettings(distillation=1.0), model, start)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    logits = model(batch.inputs)
    soft = -(expected * logits.log_softmax(dim=-1)).sum(dim=-1).mean()
    torch.testing.assert_close(objective.loss(model, batch), soft)


def test_l1_is_of_the_heads_weight_alone(start):
    for model in (build_classifier(start.header, start.tensors), head_of()[0]):
        head = model if isinstance(model, nn.Linear) else model.head
        penalty = make_objective(FinetuneSettings(l1=0.5), model, None).penalty()
        assert penalty.item() == pytest.approx(0.5 * head.weight.abs().sum().item(), rel=1e-6)
        penalty.backward()
        torch.testing.assert_close(head.weight.grad, 0.5 * head.weight.sign())
        assert head.bias.grad is None


@pytest.mark.parametrize("only_head", [True, False])
def test_l2_is_the_squared_distance_of_what_is_trained_from_theta_0(start, only_head):
    classifier = build_classifier(start.header, start.tensors)
    model = classifier.head if only_head else classifier
    objective = make_objective(FinetuneSettings(l2_to_start=2.0), model, start)
    assert objective.penalty().item() == 0.0
    with torch.no_grad():
        model.load_state_dict({k: v + 0.5 for k, v in model.state_dict().items()})
    numbers = sum(parameter.numel() for parameter in model.parameters())
    assert objective.penalty().item() == pytest.approx(2.0 * numbers * 0.25, rel=1e-5)
    objective.penalty().backward()
    for parameter in model.parameters():
        torch.testing.assert_close(parameter.grad, torch.full_like(parameter, 2.0))


def test_both_penalties_add_up():
    head, _, theta = head_of()
    both = make_objective(FinetuneSettings(l1=0.1, l2_to_start=3.0), moved(head), theta)
    parts = [
        make_objective(FinetuneSettings(**{key: value}), head, theta).penalty()
        for key, value in (("l1", 0.1), ("l2_to_start", 3.0))
    ]
    torch.testing.assert_close(both.penalty(), parts[0] + parts[1])


NEVER = {"plain": {}, "smoothed": {"label_smoothing": 0.1}, "sigmoid": {"loss": "sigmoid"}}


@pytest.mark.parametrize("kind", [*NEVER, "distilled"])
def test_classes_that_are_never_predicted_take_no_part(kind):
    head, features, theta = head_of(never_predicted=[1])
    zero_shot = head(features.inputs).detach()[:, [0, 2, 3]].softmax(dim=-1)
    settings = FinetuneSettings(**NEVER.get(kind, {"distillation": 0.5}))
    objective = make_objective(settings, moved(head), theta)
    loss = objective.loss(head, features)
    # As if there were no such class; a sample of it has no loss of its own.
    logits = head(features.inputs)[:, [0, 2, 3]]
    labels = torch.tensor([0, -100, 1, 2])[features.labels]
    smoothing = settings.label_smoothing
    hard = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="sum") / 9
    soft = -(zero_shot * logits.log_softmax(dim=-1)).sum(dim=-1).mean()
    expected = {"sigmoid": sigmoid_loss(logits, labels), "distilled": (hard + soft) / 2}
    torch.testing.assert_close(loss, expected.get(kind, hard))
    loss.backward()
    assert not head.weight.grad[1].any()
    assert head.weight.grad[0].any()


def test_without_such_classes_nothing_is_selected():
    kept, logits, labels = PredictedClasses([], 3), torch.randn(2, 3), torch.tensor([0, 2])
    assert kept.logits(logits) is logits
    assert kept.labels(labels) is labels
    some = PredictedClasses([1], 3)
    assert torch.equal(some.logits(logits), logits[:, [0, 2]])
    assert some.labels(torch.tensor([0, 1, 2])).tolist() == [0, -100, 1]


def test_a_model_is_given_the_tensors_of_a_theta_by_its_own_names(start):
    classifier = build_classifier(start.header, start.tensors)
    assert set(tensors_of(classifier.head, start)) == {"weight", "bias"}
    assert set(tensors_of(classifier, start)) == set(start.tensors)
    assert tensors_of(classifier, None) == {}
