import copy
import dataclasses

import open_clip
import pytest
import torch
from torch.nn import functional

from wiseft.cli import main
from wiseft.combine.linear_combination import combine
from wiseft.errors import WiseftError
from wiseft.models import towers
from wiseft.models.classifier import build_classifier
from wiseft.study.config.machine import HowSettings
from wiseft.study.finetune import finetune as stage
from wiseft.study.finetune.objectives import contrastive
from wiseft.study.finetune.objectives.contrastive import clip_loss
from wiseft.study.finetune.trained_model import TwoTowers
from wiseft.study.finetune.trainer import Execution
from wiseft.thetas.theta import Theta, load_theta, save_weights
from wiseft.zeroshot.prompts import fill_templates
from wiseft.zeroshot.text_head import HeadBuilder, Prompts, has_text
from wiseft.zeroshot.text_tower import add_text_tower
from wiseft.zeroshot.theta_0 import make_theta_0

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
VIT = {"image_size": 32, "patch_size": 16, "layers": 1, "width": 16, "head_width": 8}
ARCHITECTURE = {"embed_dim": 16, "vision_cfg": VIT, "text_cfg": TEXT}
PREPROCESSING = {"size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
TEMPLATES = ["a photo of {c}", "{c}", "this long sentence shows a thing that is all {c}"]
SETTINGS = {"loss": "contrastive", "train_samples": None, "batch_size": 10, "learning_rate": 1e-3}


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "weights.safetensors"
    tensors = towers.build(ARCHITECTURE, seed=3).tensors()
    header = {"architecture": copy.deepcopy(ARCHITECTURE), "preprocessing": PREPROCESSING}
    save_weights(path, tensors, header)
    return path


@pytest.fixture(scope="session")
def without_text(weights, manifest, tmp_path_factory):
    path = tmp_path_factory.mktemp("theta") / "theta_0.safetensors"
    make_theta_0(weights, manifest, TEMPLATES, path)
    return path


@pytest.fixture(scope="session")
def with_text(weights, without_text):
    path = without_text.with_name("theta_0-text.safetensors")
    add_text_tower(without_text, weights, path)
    return path


@pytest.fixture
def start(with_text) -> Theta:
    return load_theta(with_text)


def test_the_loss_is_open_clips():
    torch.manual_seed(0)
    image = functional.normalize(torch.randn(6, 4), dim=-1).requires_grad_()
    text = functional.normalize(torch.randn(6, 4), dim=-1).requires_grad_()
    scale = torch.tensor(7.0)
    expected = open_clip.ClipLoss()(image, text, scale)
    torch.testing.assert_close(clip_loss(image, text, scale), expected)


def test_the_text_tower_is_added_to_the_same_classifier(without_text, with_text, weights):
    before, after = load_theta(without_text), load_theta(with_text)
    assert not has_text(before.tensors)
    assert has_text(after.tensors)
    assert after.header == before.header
    assert all(torch.equal(after.tensors[k], before.tensors[k]) for k in before.tensors)
    added = after.tensors.keys() - before.tensors.keys()
    assert "text.logit_scale" in added
    assert all(name.startswith("text.") for name in added)


def test_the_weights_must_be_those_of_theta_0(without_text, weights, tmp_path):
    other = tmp_path / "other.safetensors"
    header = {"architecture": ARCHITECTURE, "preprocessing": PREPROCESSING}
    save_weights(other, towers.build(ARCHITECTURE, seed=4).tensors(), header)
    with pytest.raises(WiseftError, match=r"was made of weights with identity .* but .*other"):
        add_text_tower(without_text, other, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_command_text_tower(without_text, weights, with_text, tmp_path):
    output = tmp_path / "theta_0.safetensors"
    arguments = ["--theta-0", without_text, "--weights", weights, "--output", output]
    with pytest.raises(SystemExit) as left:
        main(["text-tower", *map(str, arguments)])
    assert left.value.code == 0
    assert output.read_bytes() == with_text.read_bytes()


def test_at_theta_0_the_rebuilt_head_is_its_own(start):
    rebuilt = start.tensors | HeadBuilder(start.header, start.tensors).head(start.tensors)
    assert all(torch.equal(rebuilt[key], start.tensors[key]) for key in start.tensors)


def test_a_calibrated_head_is_rebuilt_with_its_temperature(start):
    calibrated = {**start.header.settings, "calibration": {"temperature": 2.0}}
    header = dataclasses.replace(start.header, settings=calibrated)
    rebuilt = start.tensors | HeadBuilder(header, start.tensors).head(start.tensors)
    assert torch.equal(rebuilt["head.weight"], start.tensors["head.weight"] / 2.0)


def test_a_head_that_does_not_follow_from_prompts_is_refused(start):
    bare = dataclasses.replace(start.header, settings={})
    with pytest.raises(WiseftError, match="says nothing of the prompts"):
        HeadBuilder(bare, start.tensors)
    spread = {**start.header.settings, "spread": {"from": "a", "over": "b"}}
    with pytest.raises(WiseftError, match="spread over the classes of b"):
        Prompts.of(dataclasses.replace(start.header, settings=spread))


def test_prompts_are_drawn_of_the_class_and_follow_torchs_seed(start):
    model = TwoTowers(start)
    labels = torch.tensor([2, 0, 1] * 40)
    torch.manual_seed(5)
    tokens = model.draw_prompts(labels)
    torch.manual_seed(5)
    assert torch.equal(tokens, model.draw_prompts(labels))
    torch.manual_seed(6)
    other = model.draw_prompts(labels)
    assert tokens.shape != other.shape or not torch.equal(tokens, other)
    prompts = fill_templates([["red"], ["green"], ["blue"]], TEMPLATES)
    tokenizer = open_clip.SimpleTokenizer(context_length=16)
    for label in range(3):
        own = {tuple(row[: tokens.shape[1]].tolist()) for row in tokenizer(prompts[label])}
        drawn = {tuple(row.tolist()) for row in tokens[labels == label]}
        assert drawn == own  # of 40 draws each template is among them
    assert tokens.shape[1] < 16  # cut to the longest prompt


def test_both_towers_and_the_scale_get_gradients_that_are_clips(start, colours):
    model = TwoTowers(start).train()
    images, labels = (torch.from_numpy(array[:9]) for array in colours)
    pixels = images.permute(0, 3, 1, 2)
    torch.manual_seed(1)
    tokens = model.draw_prompts(labels)
    clip_loss(*model(pixels, tokens)).backward()
    found = {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}
    # open_clip's own forward pass over the whole context.
    reference = towers.load(ARCHITECTURE, start_weights(start), "reference").module.train()
    padded = functional.pad(tokens, (0, 16 - tokens.shape[1]))
    classifier = build_classifier(start.header, start.tensors)
    outputs = reference(classifier.pixels(pixels), padded)
    open_clip.ClipLoss()(*outputs).backward()
    expected = {f"whole.{k}": p.grad for k, p in reference.named_parameters()}
    assert found.keys() == {k for k, grad in expected.items() if grad is not None}
    for key, gradient in found.items():
        torch.testing.assert_close(gradient, expected[key], atol=1e-5, rtol=1e-3)
    assert found["whole.logit_scale"].abs() > 0


def start_weights(theta):
    return towers.whole_tensors(ARCHITECTURE, theta.tensors)


def test_names_of_tensors_go_to_a_theta_and_back(start):
    model = TwoTowers(start)
    own = model.own_names(start.tensors)
    assert own.keys() == {k for k, v in model.state_dict().items() if v.is_floating_point()}
    back = model.theta()
    assert back.keys() == start.tensors.keys()
    assert all(torch.equal(back[key], start.tensors[key]) for key in back)


@pytest.fixture
def tuned(train, settings, with_text):
    def go(name="run", **changes):
        return load_theta(
            train(settings(**(SETTINGS | changes)), theta_0=with_text, name=name).theta_1
        )

    return go


def test_theta_1_holds_both_towers_and_the_head_that_follows(tuned, start):
    theta = tuned()
    assert theta.tensors.keys() == start.tensors.keys()
    for key in ("image.conv1.weight", "text.text_projection", "text.logit_scale", "head.weight"):
        assert not torch.equal(theta.tensors[key], start.tensors[key]), key
    rebuilt = theta.tensors | HeadBuilder(theta.header, theta.tensors).head(theta.tensors)
    assert torch.equal(rebuilt["head.weight"], theta.tensors["head.weight"])
    assert not theta.tensors["head.bias"].any()
    assert Prompts.of(theta.header) == Prompts.of(start.header)


def test_between_the_ends_the_head_is_that_of_the_mixed_text_tower(tuned, start):
    theta = tuned()
    mixed = combine([start.tensors, theta.tensors], [0.5, 0.5])
    builder = HeadBuilder(start.header, start.tensors)
    head = builder.head(mixed)["head.weight"]
    model = towers.load(ARCHITECTURE, towers.whole_tensors(ARCHITECTURE, mixed), "mixed")
    prompts = fill_templates(start.header.settings["prompt_names"], TEMPLATES)
    rows = []
    with torch.no_grad():
        for of_class in prompts:
            features = functional.normalize(model.encode_text(model.tokenize(of_class)), dim=-1)
            rows.append(functional.normalize(features.mean(dim=0), dim=-1))
    expected = torch.stack(rows) * model.logit_scale.exp().detach()
    torch.testing.assert_close(head, expected, atol=1e-5, rtol=1e-5)
    # Which is not the mean of the two heads.
    assert (head - mixed["head.weight"]).abs().max() > 1e-4
    # A builder is used again and again.
    again = builder.head(start.tensors)["head.weight"]
    assert torch.equal(again, start.tensors["head.weight"])


def test_training_learns(tuned, colours):
    theta = tuned(epochs=20, learning_rate=5e-3)
    images, labels = colours
    with torch.no_grad():
        logits = build_classifier(theta.header, theta.tensors)(
            torch.from_numpy(images).permute(0, 3, 1, 2)
        )
    assert (logits.argmax(dim=-1).numpy() == labels).mean() > 0.9


def test_same_seed_same_weights(tuned):
    first, second = tuned(), tuned(name="again")
    assert all(torch.equal(first.tensors[k], second.tensors[k]) for k in first.tensors)


def test_a_killed_training_ends_with_the_same_weights(train, tuned, monkeypatch):
    whole = tuned(name="whole")

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


def test_averages_and_distances_are_of_both_towers(tuned, start):
    averaged = tuned(ema={"decay": 0.5}, name="ema")
    assert not torch.equal(
        averaged.tensors["text.text_projection"], start.tensors["text.text_projection"]
    )
    rebuilt = averaged.tensors | HeadBuilder(averaged.header, averaged.tensors).head(
        averaged.tensors
    )
    assert torch.equal(rebuilt["head.weight"], averaged.tensors["head.weight"])
    free, held = tuned(name="free"), tuned(name="held", l2_to_start=1e3, weight_decay=0.0)

    def distance(theta, tower):
        keys = [key for key in start.tensors if key.startswith(tower)]
        return sum((theta.tensors[k] - start.tensors[k]).square().sum() for k in keys)

    for tower in ("image.", "text."):
        assert distance(held, tower) < 0.5 * distance(free, tower)


def test_theta_0_needs_its_text_tower(train, settings, without_text):
    with pytest.raises(WiseftError, match="theta_0 has none; make it with the text tower"):
        train(settings(**SETTINGS), theta_0=without_text)


def test_a_batch_cannot_be_divided(train, settings, with_text):
    assert contrastive.Options.separable is False
    with pytest.raises(WiseftError, match="compares all samples of a batch"):
        train(
            settings(**SETTINGS),
            theta_0=with_text,
            execution=Execution(how=HowSettings(micro_batch=4)),
        )
