"""bf16 and fp16: what is computed in them, and how the loss scale lives through everything."""

import functools
from dataclasses import replace

import pytest
import torch
from torch import nn

from wiseft.errors import WiseftError
from wiseft.study.config import FinetuneSettings
from wiseft.study.finetune import trainer
from wiseft.study.finetune.finetune import identity
from wiseft.study.finetune.state import Precision, make_optimiser
from wiseft.thetas.theta import load_theta

CPU = torch.device("cpu")


def tensors(outputs):
    return load_theta(outputs.theta_1).tensors


def distance(a, b):
    apart = sum((a[key] - b[key]).double().square().sum() for key in a)
    return float((apart / sum(a[key].double().square().sum() for key in a)).sqrt())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_half_precision_trains_like_fp32(
    train, settings, write_theta_0, monkeypatch, name, precision
):
    # A smaller scale than the usual one, at which the first steps here overflow.
    scaler = functools.partial(torch.amp.GradScaler, init_scale=2.0**8)
    monkeypatch.setattr(torch.amp, "GradScaler", scaler)
    theta_0 = write_theta_0(name)
    # SGD: Adam makes a whole step of a gradient that is nothing but rounding.
    keys = {"optimiser": "sgd", "learning_rate": 0.01}
    whole = tensors(train(settings(**keys), theta_0=theta_0))
    half = tensors(train(settings(precision=precision, **keys), theta_0=theta_0, name="half"))
    assert all(tensor.dtype == torch.float32 for tensor in half.values())
    moved = distance(load_theta(theta_0).tensors, whole)
    assert 0 < distance(whole, half) < 0.1 * moved


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_the_tower_computes_in_the_precision_and_the_loss_in_fp32(
    train, settings, monkeypatch, precision, dtype
):
    inside, outside = set(), set()
    step = trainer._Loop._gradients

    def watched(self, part, batch):
        task = self._task
        handle = task.model.head.register_forward_hook(lambda m, i, o: inside.add(o.dtype))

        def spy(wrapped, given):
            logits = wrapped(given.inputs)
            outside.add(logits.dtype)
            return task.objective.loss(wrapped, given)

        self._task = replace(task, objective=replace(task.objective, loss=spy))
        try:
            return step(self, part, batch)
        finally:
            handle.remove()
            self._task = task

    monkeypatch.setattr(trainer._Loop, "_gradients", watched)
    train(settings(precision=precision, epochs=1))
    assert inside == {dtype}
    assert outside == {torch.float32}


def test_a_linear_classifier_in_bf16(train, settings):
    start = load_theta(train.theta_0).tensors
    end = tensors(train(settings(trainable="head", precision="bf16")))
    assert torch.equal(start["image.conv1.weight"], end["image.conv1.weight"])
    assert not torch.equal(start["head.weight"], end["head.weight"])


@pytest.fixture(params=["sgd"])
def scaled(request):
    """A model, its optimiser, and steps in fp16 whose gradients are those that are given."""
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    chosen = FinetuneSettings(optimiser=request.param, learning_rate=1.0, weight_decay=0.0)
    optimiser = make_optimiser(model, chosen)
    precision = Precision("fp16", CPU)

    def step(gradient):
        optimiser.zero_grad()
        precision.backward((model.weight * torch.tensor(gradient)).sum())
        precision.unscale(optimiser)
        found = model.weight.grad.clone()
        precision.step(optimiser)
        return found

    return model, precision, step


def scale(precision):
    return float(precision.tensors()["loss_scale"][0])


def test_gradients_are_unscaled_before_they_are_used(scaled):
    model, precision, step = scaled
    assert scale(precision) == 2**16
    assert step([0.5, 0.25]).tolist() == [[0.5, 0.25]]
    assert model.weight.tolist() == [[0.5, 0.75]]
    assert scale(precision) == 2**16


def test_a_step_that_overflows_is_left_out_and_halves_the_scale(scaled):
    model, precision, step = scaled
    step([float("inf"), 0.5])
    assert model.weight.tolist() == [[1.0, 1.0]]
    assert scale(precision) == 2**15
    step([0.5, 0.5])
    assert model.weight.tolist() == [[0.5, 0.5]]


def test_gradients_that_always_overflow_are_told(scaled):
    _, _, step = scaled
    with pytest.raises(WiseftError, match="overflow at every scale of the loss; set precision to"):
        for _ in range(40):
            step([float("inf"), 0.5])


def test_the_scale_is_put_back(scaled):
    _, precision, step = scaled
    for gradient in (float("inf"), 0.5, 0.5):
        step([gradient, 0.5])
    kept = precision.tensors()
    fresh = Precision("fp16", CPU)
    fresh.load(kept)
    assert torch.equal(fresh.tensors()["loss_scale"], kept["loss_scale"])
    assert kept["loss_scale"].tolist() == [2**15, 2]


@pytest.mark.parametrize("scaled", ["adamw", "adam", "sgd"], indirect=True)
def test_an_optimiser_whose_first_step_is_left_out_starts_at_the_next(scaled):
    model, _, step = scaled
    for gradient in (float("inf"), float("nan"), 0.5):
        step([gradient, 0.5])
    # One step at a learning rate of 1: Adam moves by the sign, SGD by the gradient.
    assert model.weight[0, 0] == model.weight[0, 1]
    assert model.weight[0, 0].item() in (0.5, pytest.approx(0.0, abs=1e-6))


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_nothing_is_scaled_otherwise(name):
    precision = Precision(name, CPU)
    assert precision.tensors() == {}
    weight = torch.ones(1, requires_grad=True)
    precision.backward((3 * weight).sum())
    assert weight.grad.tolist() == [3.0]


def test_a_gpu_without_bf16_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    with pytest.raises(WiseftError, match="precision is bf16, but Old GPU has no bf16; use fp16"):
        Precision("bf16", torch.device("cuda"))


def test_fp32_convolutions_are_not_tf32():
    flags = torch.backends.cudnn
    before = flags.allow_tf32, flags.deterministic
    with Precision("fp32", CPU).kernels(deterministic=True):
        assert (flags.allow_tf32, flags.deterministic) == (False, True)
    with Precision("bf16", CPU).kernels(deterministic=False):
        assert (flags.allow_tf32, flags.deterministic) == (True, False)
    assert (flags.allow_tf32, flags.deterministic) == before


def test_tf32_is_asked_of_a_gpu_and_is_fp32_on_a_cpu(train, settings):
    products = torch.backends.cuda.matmul
    assert not products.allow_tf32
    for name in ("tf32", "fp32", "bf16"):
        with Precision(name, CPU).kernels(deterministic=False):
            assert products.allow_tf32 == (name == "tf32")
    plain = train(settings())
    other = train(settings(precision="tf32"), name="tf32")
    assert any("8 images (tf32)" in line for line in train.log)
    whole, short = load_theta(plain.theta_1), load_theta(other.theta_1)
    assert distance(whole.tensors, short.tensors) == 0
    assert identity(whole.header) != identity(short.header), "of a GPU they would differ"
