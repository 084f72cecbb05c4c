"""Training where memory is not enough for a batch: in parts, the same weights but for rounding.

No GPU is needed: torch's own error is raised in a convolution's real forward or backward pass.
"""

import pytest
import torch

from wiseft.errors import WiseftError
from wiseft.models import batch_size
from wiseft.study.config.machine import HowSettings
from wiseft.study.finetune.trainer import Execution
from wiseft.thetas.theta import load_theta


def tensors(outputs):
    return load_theta(outputs.theta_1).tensors


def distance(a, b):
    apart = sum((a[key] - b[key]).double().square().sum() for key in a)
    return float((apart / sum(a[key].double().square().sum() for key in a)).sqrt())


def how(**keys):
    return Execution(HowSettings(**keys))


@pytest.fixture
def memory_for(monkeypatch):
    """Let no more than n images through the first layer, forwards or backwards; list passes."""
    forward = torch.nn.Conv2d.forward

    def limit(n, backward=False, always=False):
        seen = []

        def full(*_):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

        def limited(self, images):
            first = images.shape[1] == 3 and (always or torch.is_grad_enabled())
            if first:
                seen.append(len(images))
            if first and len(images) > n and not backward:
                full()
            made = forward(self, images)
            if first and len(images) > n:
                made.register_hook(full)  # when layers behind have their gradients already
            return made

        monkeypatch.setattr(torch.nn.Conv2d, "forward", limited)
        return seen

    return limit


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("keys", [{}, {"workers": 2}, {"micro_batch": 5}])
def test_a_batch_that_does_not_fit_is_divided(train, settings, memory_for, keys, backward):
    chosen = settings(optimiser="sgd", learning_rate=0.1, l2_to_start=1e-3)
    whole = tensors(train(chosen))
    train.log.clear()
    seen = memory_for(2, backward)
    parts = tensors(train(chosen, name="parts", execution=how(**keys)))
    assert distance(load_theta(train.theta_0).tensors, whole) > 1e-4
    assert distance(whole, parts) < 1e-6
    failed = [n for n in seen if n > 2]
    assert failed == ([5, 3] if "micro_batch" in keys else [8, 4])  # never tried again
    (line,) = [line for line in train.log if "out of memory" in line]
    assert f"out of memory with {failed[0]} images at a time; going on with 2 at a time" in line


def test_no_image_fits(train, settings, memory_for):
    memory_for(0)
    with pytest.raises(WiseftError, match=r"with 1 images .*activation_checkpointing on, or train"):
        train(settings())


def test_a_batch_that_can_t_be_divided_is_not(train, settings, memory_for):
    memory_for(7)
    with pytest.raises(WiseftError, match=r"with 8 images .*not possible .*; lower batch_size, or"):
        train(settings(batch_norm="train"))


def test_features_that_do_not_fit_are_computed_in_parts(train, settings, memory_for):
    chosen = settings(trainable="head", optimiser="sgd", learning_rate=0.1)
    whole = tensors(train(chosen))
    seen = memory_for(3, always=True)
    assert distance(whole, tensors(train(chosen, name="parts"))) < 1e-6
    assert [n for n in seen if n > 3] == [20, 10, 5]
    assert any("out of memory with 20 images at a time; going on with 3" in x for x in train.log)


@pytest.fixture
def counted(monkeypatch):
    """Have batches counted that are small enough to fit everywhere, in a given memory."""

    def room(gigabytes):
        monkeypatch.setattr("wiseft.study.finetune.tasks.usual_batch_size", lambda *_: 1)
        monkeypatch.setenv(batch_size.DEVICE_MEMORY, str(gigabytes))

    return room


def test_auto_is_the_whole_batch_where_it_fits(train, settings, counted):
    plain = tensors(train(settings(), execution=how(micro_batch=None)))
    counted(16)
    auto = tensors(train(settings(), name="auto", execution=how(micro_batch="auto")))
    assert all(torch.equal(plain[name], auto[name]) for name in plain)
    assert "an optimiser step takes 8 images (fp32)" in train.log


def test_auto_is_as_much_as_fits(train, settings, counted, memory_for):
    chosen = settings(optimiser="sgd", learning_rate=0.1)
    whole = tensors(train(chosen, execution=how(micro_batch=None)))
    seen = memory_for(10**9)
    counted(0.5604)  # of which a tenth and 0.5 GB are spared
    parts = tensors(train(chosen, name="auto", execution=how(micro_batch="auto")))
    assert max(n for n in seen if n < 32) == 2  # those of 32 and 64 are counted on fake tensors
    assert distance(whole, parts) < 1e-6
    assert any("micro-batches of 2 at most, fp32)" in line for line in train.log)


def test_a_batch_that_is_not_divided_is_said(train, settings, counted):
    counted(0.1)
    train(settings(batch_norm="train"), execution=how(micro_batch="auto"))
    assert any("can't be divided: all 8 images are computed on at once" in x for x in train.log)


def test_heads_are_trained_on_whole_batches(train, settings, counted):
    counted(0.1)
    train(settings(trainable="head"), execution=how(micro_batch="auto"))
    assert "an optimiser step takes 8 images (fp32)" in train.log


def test_a_resumed_training_takes_no_more_images_than_before(train, settings, memory_for, tmp_path):
    from wiseft.study.finetune.state import State
    from wiseft.thetas.resume_state import Checkpoints

    model = torch.nn.Linear(2, 2)
    kept = Checkpoints(tmp_path / "state", "key")

    def state(size):
        optimiser = torch.optim.SGD(model.parameters())
        from wiseft.study.finetune.parallel import Team
        from wiseft.study.finetune.state import Precision

        made = State(model, optimiser, Precision("fp32", torch.device("cpu")))
        made.batch_size = None if size is None else batch_size.BatchSize(size)
        return made, Team()

    first, _ = state(4)
    first.save(kept)
    for size, expected in ((8, 4), (2, 2)):
        later, team = state(size)
        later.load(kept, team)
        assert later.batch_size.size == expected
