import numpy as np
import pytest
import torch
from torch import nn

from wiseft.combine.linear_combination import combine
from wiseft.errors import WiseftError
from wiseft.study.config.training_parts import EarlyStopping, MovingAverage
from wiseft.study.finetune.state import Averager, BestWeights, make_follower
from wiseft.thetas.theta import load_theta


def walk(model, steps):
    """A few steps of some training."""
    random = torch.Generator().manual_seed(0)
    for _ in range(steps):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.01 * torch.randn(parameter.shape, generator=random))
        yield {k: v.detach().double().clone() for k, v in model.state_dict().items()}


def model_and_start():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    return model, {k: v.clone() for k, v in model.state_dict().items() if v.is_floating_point()}


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.99, 0.9999, 0.999999])
@pytest.mark.parametrize("start", ["zeros", "theta_0"])
def test_the_average_is_the_papers(decay, start):
    model, theta_0 = model_and_start()
    averager = Averager(model, MovingAverage(decay=decay, start=start), theta_0)
    zero = start == "zeros"
    mean = {k: torch.zeros_like(v) if zero else v.double() for k, v in theta_0.items()}
    for step, theta in enumerate(walk(model, 50), start=1):
        mean = {k: decay * mu + (1 - decay) * theta[k] for k, mu in mean.items()}
        assert averager.update(step) is False
    if zero:
        mean = {k: mu / (1 - decay**50) for k, mu in mean.items()}
    result = averager.result()
    assert result.keys() == mean.keys()
    for key, mu in mean.items():
        torch.testing.assert_close(result[key].double(), mu, atol=2e-7, rtol=2e-6)
        # What matters is how far it is from theta_0, which is tiny for a large decay.
        moved, expected = result[key].double() - theta_0[key].double(), mu - theta_0[key].double()
        torch.testing.assert_close(moved, expected, atol=6e-8, rtol=1e-3)


def test_what_is_not_trained_stays_that_of_theta_0():
    model, theta_0 = model_and_start()
    averager = Averager(model, MovingAverage(decay=0.9), theta_0)
    for step, _ in enumerate(walk(model, 5), start=1):
        averager.update(step)
    assert torch.equal(averager.result()["1.running_var"], theta_0["1.running_var"])
    assert not torch.equal(averager.result()["0.weight"], theta_0["0.weight"])


def test_an_average_goes_on_from_its_state():
    model, theta_0 = model_and_start()
    averager = Averager(model, MovingAverage(decay=0.9), theta_0)
    resumed = None
    for step, _ in enumerate(walk(model, 8), start=1):
        if step == 5:
            resumed = Averager(model, MovingAverage(decay=0.9), theta_0)
            resumed.load_extra_state({k: v.clone() for k, v in averager.extra_state().items()})
        averager.update(step)
        if resumed:
            resumed.update(step)
    assert resumed is not None
    for key, tensor in averager.result().items():
        assert torch.equal(tensor, resumed.result()[key])


def test_debiased_average_at_alpha_is_the_biased_one(train, settings):
    """WiSE-FT with alpha = 1 - beta^T on the debiased average (paper Figures 11 and 12)."""
    decay, steps = 0.9, 9
    ends = {
        start: load_theta(
            train(settings(ema={"decay": decay, "start": start}), name=start).theta_1
        ).tensors
        for start in ("zeros", "theta_0")
    }
    alpha = 1 - decay**steps
    mixed = combine([load_theta(train.theta_0).tensors, ends["zeros"]], [1 - alpha, alpha])
    for key, tensor in ends["theta_0"].items():
        torch.testing.assert_close(mixed[key], tensor, atol=1e-6, rtol=1e-6)
    assert not torch.equal(ends["zeros"]["head.weight"], ends["theta_0"]["head.weight"])


@pytest.mark.parametrize("changes", [{}, {"trainable": "head"}])
def test_a_small_decay_is_training_without_an_average(train, settings, changes):
    plain = load_theta(train(settings(**changes)).theta_1).tensors
    averaged = settings(ema={"decay": 1e-9}, **changes)
    last = load_theta(train(averaged, name="averaged").theta_1).tensors
    for key, tensor in plain.items():
        torch.testing.assert_close(last[key], tensor, atol=1e-6, rtol=1e-6)


def best(model, accuracies, **settings):
    values = iter(accuracies)
    return BestWeights(model, EarlyStopping(**settings), lambda: next(values))


def test_the_most_accurate_weights_are_kept_the_earlier_of_equals(said):
    model, _ = model_and_start()
    keeper = best(model, [0.2, 0.7, 0.7, 0.5], every=2)
    weights = {}
    for step, theta in enumerate(walk(model, 8), start=1):
        assert keeper.update(step) is False
        weights[step] = theta
    assert torch.equal(keeper.result()["0.weight"].double(), weights[4]["0.weight"])
    assert len(said) == 4
    assert said[2] == "step 6: 0.7000 of the split held-out right; best: 0.7000, after step 4"


def test_training_ends_after_as_many_evaluations_without_a_gain():
    model, _ = model_and_start()
    keeper = best(model, [0.5, 0.4, 0.6, 0.6, 0.1], every=1, patience=2)
    assert [keeper.update(step) for step in range(1, 6)] == [False, False, False, False, True]


def test_training_ends_after_a_step_of_the_schedule_with_its_weights():
    model, _ = model_and_start()
    keeper = best(model, [], after=3)
    assert [keeper.update(step) for step in (1, 2, 3)] == [False, False, True]
    assert keeper.result() == {}


def test_a_choice_goes_on_from_its_state():
    model, _ = model_and_start()
    keeper = best(model, [0.5, 0.4], every=1, patience=2)
    steps = walk(model, 3)
    next(steps)
    keeper.update(1)
    chosen = keeper.result()["0.weight"].clone()
    next(steps)
    keeper.update(2)
    resumed = best(model, [0.45], every=1, patience=2)
    resumed.load_extra_state({k: v.clone() for k, v in keeper.extra_state().items()})
    assert resumed.update(3) is True
    assert torch.equal(resumed.result()["0.weight"], chosen)


def test_every_module_is_back_in_its_mode_after_an_evaluation():
    model, _ = model_and_start()
    model.train()
    model[1].eval()
    modes = []
    keeper = BestWeights(
        model,
        EarlyStopping(every=1),
        lambda: modes.append((model[0].training, torch.is_grad_enabled())) or 0.5,
    )
    keeper.update(1)
    assert modes == [(False, False)]
    assert (model.training, model[0].training, model[1].training) == (True, True, False)


def test_without_held_out_images_there_is_nothing_to_choose_by(settings):
    model, _ = model_and_start()
    chosen = settings(early_stopping={"every": 2})
    with pytest.raises(WiseftError, match="needs held-out images"):
        make_follower(chosen, model, {}, None)
    assert make_follower(settings(), model, {}, None) is None


@pytest.fixture
def held_out(tmp_path, write_dataset, colours):
    """The dataset with a split of other images that are held out."""
    from wiseft.images.split import PreparedSplit
    from wiseft.study.data.prepared import write_prepared

    images, labels = colours
    ids = [f"s{i}" for i in range(30)]
    splits = {
        "train": PreparedSplit(images, labels, ids),
        "held-out": PreparedSplit(np.flip(images, axis=2)[:12].copy(), labels[:12], ids[:12]),
    }
    return write_prepared(tmp_path / "held-out", "colours", splits, ["red", "green", "blue"])


@pytest.mark.parametrize("changes", [{}, {"trainable": "head", "learning_rate": 3e-2}])
def test_theta_1_is_the_most_accurate_along_the_training(train, settings, held_out, changes):
    chosen = settings(early_stopping={"every": 3}, **changes)
    outputs = train(chosen, manifest=held_out, name="chosen")
    lines = [line for line in train.log if "of the split held-out right" in line]
    assert len(lines) == 3
    accuracies = [float(line.split()[2]) for line in lines]
    step = 3 * (1 + accuracies.index(max(accuracies)))
    stopped = settings(early_stopping={"after": step}, **changes)
    there = train(stopped, manifest=held_out, name="stopped")
    a, b = load_theta(outputs.theta_1).tensors, load_theta(there.theta_1).tensors
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert len(there.curve.read_text().splitlines()) == 1 + step
    assert len(outputs.curve.read_text().splitlines()) == 1 + 9


def test_a_split_that_is_not_there_is_named(train, settings):
    with pytest.raises(WiseftError, match="no split 'held-out'"):
        train(settings(early_stopping={"every": 3}))
