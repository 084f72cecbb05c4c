"""How a batch is computed on changes nothing but rounding: parts, threads, formats, compilation."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from wiseft.base.io import read_json
from wiseft.base.messages import shown
from wiseft.errors import WiseftError
from wiseft.images.store import open_split
from wiseft.images.subsets import draw_subset
from wiseft.models.classifier import build_classifier, classifier_tensors
from wiseft.study.config import FinetuneSettings
from wiseft.study.config.machine import HowSettings
from wiseft.study.finetune.batches import Batch, Loader, joined
from wiseft.study.finetune.parallel import Team
from wiseft.study.finetune.schedule import epoch_order, step_seed
from wiseft.study.finetune.state import make_optimiser
from wiseft.study.finetune.trainer import Execution
from wiseft.thetas.theta import load_theta


def how(**keys):
    return Execution(HowSettings(**keys))


def tensors(outputs):
    return load_theta(outputs.theta_1).tensors


def assert_same(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def distance(a, b):
    """The norm of the difference, relative to the norm."""
    assert a.keys() == b.keys()
    apart = sum((a[key] - b[key]).double().square().sum() for key in a)
    return float((apart / sum(a[key].double().square().sum() for key in a)).sqrt())


@pytest.fixture(params=["resnet", "vit"])
def any_theta_0(request, write_theta_0):
    return write_theta_0(request.param)


ALONE = Team()


class Images:
    """Samples whose input shows position and epoch, so that a batch shows what was read."""

    labels = torch.arange(20) % 3
    image_shape = (1, 1, 3)

    def read(self, epoch, positions):
        shown = np.stack([positions, 0 * positions + epoch, 0 * positions], axis=-1)
        return torch.from_numpy(shown[:, None, None].astype(np.uint8)).permute(0, 3, 1, 2)


def loader(team=ALONE, batch_size=8, **keys):
    return Loader(Images(), batch_size, 7, torch.device("cpu"), HowSettings(**keys), team)


def test_plain_loop_in_bare_torch_gives_the_same_bits(train, settings, any_theta_0):
    """The loop adds nothing to the arithmetic of the recipe."""
    found = tensors(train(settings(), theta_0=any_theta_0))
    theta, chosen = load_theta(any_theta_0), settings()
    model = build_classifier(theta.header, theta.tensors)
    split = open_split(train.manifest, "train")
    subset = draw_subset(len(split), 20, 0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0.1, fused=True)
    for step in range(9):
        order = epoch_order(subset, 0, step // 3)
        rows = order[step % 3 * 8 : step % 3 * 8 + 8]
        images = torch.from_numpy(split.read(rows)).permute(0, 3, 1, 2)
        loss = functional.cross_entropy(model(images), torch.from_numpy(split.labels[rows]))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), chosen.clip_norm)
        share = (step + 1) / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / 7))
        optimiser.param_groups[0]["lr"] = chosen.learning_rate * share
        optimiser.step()
    assert_same(classifier_tensors(model), found)


@pytest.mark.parametrize("micro_batch", [1, 3, 7])
def test_gradients_of_micro_batches_add_up(train, settings, any_theta_0, micro_batch):
    # With SGD, weights differ as gradients do; Adam divides rounding errors by their own size.
    chosen = settings(optimiser="sgd", learning_rate=0.1, label_smoothing=0.1, l2_to_start=1e-3)
    whole = train(chosen, theta_0=any_theta_0)
    parts = train(chosen, theta_0=any_theta_0, name="parts", execution=how(micro_batch=micro_batch))
    assert distance(load_theta(any_theta_0).tensors, tensors(whole)) > 1e-4
    assert distance(tensors(whole), tensors(parts)) < 1e-6


def test_micro_batches_of_the_whole_batch_change_no_bit(train, settings):
    whole = train(settings())
    assert_same(
        tensors(whole), tensors(train(settings(), name="parts", execution=how(micro_batch=8)))
    )


def test_micro_batches_of_a_linear_classifier(train, settings):
    chosen = settings(trainable="head", optimiser="sgd", learning_rate=0.1)
    whole = train(chosen)
    parts = train(chosen, name="parts", execution=how(micro_batch=3))
    assert distance(tensors(whole), tensors(parts)) < 1e-6


def test_every_part_draws_its_own_random_numbers(train, settings, write_theta_0, monkeypatch):
    """The first part those of the whole batch, the others not the same again."""
    theta_0, seeds, seed = write_theta_0("vit-dropout"), [], torch.manual_seed
    whole = train(settings(), theta_0=theta_0)
    monkeypatch.setattr(torch, "manual_seed", lambda value: seeds.append(value) or seed(value))
    parts = train(settings(), theta_0=theta_0, name="parts", execution=how(micro_batch=4))
    # 3 epochs of batches of 8, 8 and 4; building the model may seed too.
    own = [value for value in seeds if any(value - step_seed(0, s) in (0, 4) for s in range(9))]
    assert own[:2] == [step_seed(0, 0), step_seed(0, 0) + 4]
    assert len(own) == len(set(own)) == 15
    assert distance(tensors(whole), tensors(parts)) > 1e-6


@pytest.mark.parametrize("augment", ["none", "polarity", "crop", "strong"])
def test_threads_that_read_ahead_change_no_bit(train, settings, augment):
    chosen = settings(augment=augment)
    plain = train(chosen)
    threads = train(chosen, name="threads", execution=how(workers=2))
    assert_same(tensors(plain), tensors(threads))
    assert plain.curve.read_bytes() == threads.curve.read_bytes()


def test_threads_and_micro_batches_together(train, settings):
    parts = train(settings(), name="parts", execution=how(micro_batch=3))
    both = train(settings(), name="both", execution=how(micro_batch=3, workers=3))
    assert_same(tensors(parts), tensors(both))


def test_an_error_in_a_thread_is_told(train, settings, monkeypatch):
    from wiseft.study.finetune.augment import TrainingImages

    def broken(self, epoch, positions):
        raise WiseftError("a.jpg is not a readable image")

    monkeypatch.setattr(TrainingImages, "read", broken)
    with pytest.raises(WiseftError, match=r"a\.jpg is not a readable image"):
        train(settings(), execution=how(workers=2))


def test_contiguous_format_is_the_same_training(train, settings, any_theta_0):
    chosen = settings(optimiser="sgd", learning_rate=0.1)
    last = train(chosen, theta_0=any_theta_0)
    first = train(chosen, theta_0=any_theta_0, name="first", execution=how(channels_last=False))
    assert distance(tensors(last), tensors(first)) < 1e-6


def test_activation_checkpointing_changes_no_bit(train, settings, write_theta_0, monkeypatch):
    from open_clip import transformer

    again = []
    checkpoint = transformer.checkpoint
    monkeypatch.setattr(
        transformer, "checkpoint", lambda *a, **k: again.append(1) or checkpoint(*a, **k)
    )
    theta_0 = write_theta_0("vit-dropout")
    plain = train(settings(), theta_0=theta_0)
    assert not again
    execution = how(activation_checkpointing=True)
    less = train(settings(), theta_0=theta_0, name="less", execution=execution)
    assert len(again) == 9
    assert_same(tensors(plain), tensors(less))


def test_activation_checkpointing_of_a_resnet_is_refused(train, settings):
    with pytest.raises(WiseftError, match="tower of kind ModifiedResNet has none; switch it off"):
        train(settings(), execution=how(activation_checkpointing=True))


def test_compilation_is_of_the_image_tower(train, settings, write_theta_0, monkeypatch):
    compiled = []
    plain_compile = torch.nn.Module.compile

    def eager(self, **options):
        compiled.append((type(self).__name__, options))
        plain_compile(self, backend="eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", eager)
    theta_0 = write_theta_0("vit")
    plain = train(settings(), theta_0=theta_0)
    assert not compiled
    fast = train(settings(), theta_0=theta_0, name="fast", execution=how(compile=True))
    assert compiled == [("VisionTransformer", {"dynamic": False})]
    assert_same(tensors(plain), tensors(fast))


def test_compilation_that_fails_is_told(train, settings, write_theta_0, monkeypatch):
    plain_compile = torch.nn.Module.compile

    def no_compiler(graph, inputs):
        raise OSError("no C++ compiler")

    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **o: plain_compile(self, backend=no_compiler, **o)
    )
    with pytest.raises(WiseftError, match=r"cannot be compiled .*switch training\.how\.compile"):
        train(settings(), theta_0=write_theta_0("vit"), execution=how(compile=True))


def test_batch_statistics_cannot_be_divided(train, settings):
    with pytest.raises(WiseftError, match="micro_batch is 4 and gpus is 1, but with batch_norm"):
        train(settings(batch_norm="train"), execution=how(micro_batch=4))
    train(settings(batch_norm="train"), execution=how(micro_batch=8))


def test_log_states_the_whole_batch(train, settings):
    train(settings(precision="bf16"), execution=how(micro_batch=3))
    sentence = "an optimiser step takes 8 images (3 micro-batches of 3 at most, bf16)"
    assert sentence in train.log


def test_steps_in_place_of_epochs(train, settings):
    outputs = train(settings(steps=7))
    lines = outputs.curve.read_text().splitlines()[1:]
    assert [line.split(",")[:2] for line in lines[-2:]] == [["6", "2"], ["7", "3"]]
    longer = train(settings(steps=9, epochs=1), name="longer")
    assert_same(tensors(longer), tensors(train(settings(), name="epochs")))


def test_record_tells_time_speed_and_memory(train, settings, tmp_path):
    from wiseft.study.finetune.finetune import Outputs, finetune

    outputs = train.outputs()
    outputs = Outputs(outputs.theta_1, outputs.curve, outputs.state, tmp_path / "training.json")
    execution = how(micro_batch=4)
    with shown(train.log.append):
        finetune(train.theta_0, train.manifest, settings(), 0, outputs, execution=execution)
    record = read_json(tmp_path / "training.json")
    assert (record["steps"], record["steps_before"], record["processes"]) == (9, 0, 1)
    assert record["seconds"] > 0
    assert record["images_per_second"] > 0
    assert 50 < record["peak_memory_mb"]["rss"] < 20_000
    assert record["peak_memory_mb"]["cuda"] is None
    assert record["how"]["micro_batch"] == 4
    assert record["batch_size"] == 8


def test_a_plan_covers_every_sample_once_an_epoch():
    parts = list(loader(micro_batch=3).parts(0, 3))
    assert [len(batch) for _, batch in parts] == [3, 3, 2, 3, 3, 2, 3, 1]
    seen = torch.cat([batch.positions for _, batch in parts])
    assert sorted(seen.tolist()) == list(range(20))
    assert seen.tolist() == epoch_order(np.arange(20), 7, 0).tolist()
    shares = [part.share for part, _ in parts]
    assert shares[:3] == [3 / 8, 3 / 8, 2 / 8]
    assert shares[6:] == [3 / 4, 1 / 4]


@pytest.mark.parametrize("workers", [None, 0, 2])
def test_batches_carry_labels_and_positions_of_their_inputs(workers):
    for part, batch in loader(workers=workers).parts(2, 5):
        assert isinstance(batch, Batch)
        assert torch.equal(batch.inputs[:, 0, 0, 0], batch.positions.to(torch.uint8))
        assert (batch.inputs[:, 1] == part.epoch).all()
        assert torch.equal(batch.labels, Images.labels[batch.positions])


@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_two_splits_are_read_as_one(workers):
    how = HowSettings(workers=workers)
    both = Loader(joined([Images(), Images()]), 8, 7, torch.device("cpu"), how, ALONE)
    seen = [batch for _, batch in both.parts(0, 5)]
    positions = torch.cat([batch.positions for batch in seen])
    assert sorted(positions.tolist()) == list(range(40))
    read = torch.cat([batch.inputs[:, 0, 0, 0] for batch in seen])
    assert torch.equal(read, (positions % 20).to(torch.uint8))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 11])
def test_processes_share_every_batch_without_overlap(size):
    teams = [Team(rank, size) for rank in range(size)]
    plans = [list(loader(team, micro_batch=2).parts(0, 6)) for team in teams]
    for step in range(6):
        own = [(p, b) for plan in plans for p, b in plan if p.step == step]
        assert all(any(p.step == step for p, _ in plan) for plan in plans)
        whole = torch.cat([batch.positions for _, batch in own])
        expected = epoch_order(np.arange(20), 7, step // 3)[step % 3 * 8 : step % 3 * 8 + 8]
        assert whole.tolist() == expected.tolist()
        assert sum(part.share for part, _ in own) == pytest.approx(1)


def test_optimisers_are_those_of_the_settings():
    model = torch.nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    for name, kind in kinds.items():
        chosen = FinetuneSettings(optimiser=name, weight_decay=0.2, betas=(0.5, 0.6))
        optimiser = make_optimiser(model, chosen)
        assert type(optimiser) is kind
        (group,) = optimiser.param_groups
        assert group["params"] == [model.weight]
        assert group["weight_decay"] == 0.2
        if name == "sgd":
            assert group["momentum"] == 0.9
        else:
            assert group["betas"] == (0.5, 0.6)
