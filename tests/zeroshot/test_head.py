import math

import open_clip
import pytest
import torch

from wiseft.classifier import open_clip_model
from wiseft.errors import WiseftError
from wiseft.zeroshot import build_head, encode_prompts, fill_templates, parse_templates

TEMPLATES = ["{c}", "a photo of the number {c}.", "a very blurry photo of a bright {c} on paper"]
NAMES = ["7", "seven", "an eight with a tail"]


@pytest.fixture
def tokenizer():
    return open_clip.SimpleTokenizer(context_length=20)


@pytest.fixture
def model(architecture):
    return open_clip_model(architecture, seed=1).eval()


def test_head_is_open_clips_times_the_scale(model, tokenizer):
    head = build_head(model, tokenizer, [[name] for name in NAMES], TEMPLATES, batch_size=2)
    callables = [lambda name, t=t: t.replace("{c}", name) for t in TEMPLATES]
    theirs = open_clip.build_zero_shot_classifier(model, tokenizer, NAMES, callables)
    expected = theirs.T * model.logit_scale.exp()
    assert head.shape == (3, 16)
    assert not head.requires_grad
    torch.testing.assert_close(head, expected.detach(), atol=1e-5, rtol=0)
    # Classes must differ, or the order of the rows would go untested.
    assert (head[0] - head[1]).abs().max() > 1e-3


def test_rows_have_the_length_of_the_scale(model, tokenizer):
    with torch.no_grad():
        model.logit_scale.fill_(math.log(13.0))
    head = build_head(model, tokenizer, [["a", "b"], ["c"]], TEMPLATES)
    torch.testing.assert_close(head.norm(dim=-1), torch.full((2,), 13.0))


def test_all_names_of_a_class_are_averaged(model, tokenizer):
    head = build_head(model, tokenizer, [["7", "seven"], ["8"]], TEMPLATES)
    prompts = [t.replace("{c}", name) for name in ("7", "seven") for t in TEMPLATES]
    with torch.no_grad():
        features = model.encode_text(tokenizer(prompts))
    features = features / features.norm(dim=-1, keepdim=True)
    mean = features.mean(dim=0)
    expected = mean / mean.norm() * model.logit_scale.exp().detach()
    torch.testing.assert_close(head[0], expected, atol=1e-5, rtol=0)


def test_prompts_cut_to_their_length_give_the_same_features(model, tokenizer):
    prompts = [t.replace("{c}", name) for name in NAMES for t in TEMPLATES]
    tokens = tokenizer(prompts)
    with torch.no_grad():
        full = model.encode_text(tokens, normalize=True)
    for batch_size in (1, 2, 100):
        cut = encode_prompts(model, tokens, batch_size)
        torch.testing.assert_close(cut, full, atol=1e-5, rtol=0)


def test_only_causal_towers_are_cut(model, tokenizer):
    seen = []
    text_tower = getattr(model, "text", model)
    text_tower.transformer.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].shape[1])
    )
    tokens = tokenizer(["7", "a photo of the number 7", "a"])
    encode_prompts(model, tokens, batch_size=2)
    assert seen == ([3, 8] if isinstance(model, open_clip.CLIP) else [20, 20])


def test_a_prompt_longer_than_the_context_is_refused(resnet, tokenizer):
    model = open_clip_model(resnet, seed=0).eval()
    exact = " ".join(["a"] * 18)
    build_head(model, tokenizer, [[exact]], ["{c}"])
    with pytest.raises(WiseftError, match=r"has 21 tokens, but the model reads 20"):
        build_head(model, tokenizer, [["7"], [exact + " b"]], ["{c}"])


def test_templates_are_filled_name_by_name():
    assert fill_templates([["7", "seven"], ["8"]], ["a {c}", "{c} {c}"]) == [
        ["a 7", "7 7", "a seven", "seven seven"],
        ["a 8", "8 8"],
    ]


def test_templates_are_read_from_json():
    assert parse_templates('["a {c}", "the {c}"]') == ["a {c}", "the {c}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a {c}", "not valid JSON"),
        ('"a {c}"', "must be a JSON list"),
        ("[]", "must be a JSON list"),
        ('["a photo"]', r"'a photo' must be a sentence with \{c\}"),
        ("[3]", r"3 must be a sentence with \{c\}"),
        ('["a {c}", "a {c}"]', "given twice"),
    ],
)
def test_bad_templates_are_refused(text, message):
    with pytest.raises(WiseftError, match=message):
        parse_templates(text)
