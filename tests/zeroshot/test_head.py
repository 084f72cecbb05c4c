import math

import open_clip
import pytest
import torch
from tests import tiny_models as tiny

from wiseft.cli.options import parse_templates
from wiseft.errors import WiseftError
from wiseft.models import towers
from wiseft.zeroshot.head import build_head, encode_prompts
from wiseft.zeroshot.prompts import fill_templates

TEMPLATES = ["{c}", "a photo of the number {c}.", "a blurry photo of a bright {c} on paper"]
NAMES = ["7", "seven", "an eight with a tail"]


def make(kind):
    return towers.build(tiny.WITH_TEXT[kind](), seed=1)


@pytest.fixture(params=tiny.WITH_TEXT)
def model(request):
    return make(request.param)


@pytest.fixture(params=tiny.OPEN_CLIP)
def open_clip_model(request):
    return make(request.param)


def full_features(model, prompts):
    """Features of the whole context, by the towers' own code."""
    with torch.no_grad():
        features = model.encode_text(model.tokenize(prompts))
    return features / features.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("batch_size", [2, 256])
def test_head_is_open_clips_times_the_scale(open_clip_model, batch_size):
    model = open_clip_model
    head = build_head(model, [[name] for name in NAMES], TEMPLATES, batch_size)
    callables = [lambda name, t=t: t.replace("{c}", name) for t in TEMPLATES]
    theirs = open_clip.build_zero_shot_classifier(model.module, model.tokenize, NAMES, callables)
    expected = theirs.T * model.logit_scale.exp()
    assert head.shape == (3, 16)
    assert not head.requires_grad
    torch.testing.assert_close(head, expected.detach(), atol=1e-5, rtol=0)
    # Classes must differ, or the order of the rows would go untested.
    assert (head[0] - head[1]).abs().max() > 1e-3


def test_rows_have_the_length_of_the_scale():
    model = make("clip")
    with torch.no_grad():
        model.module.logit_scale.fill_(math.log(13.0))
    head = build_head(model, [["a", "b"], ["c"]], TEMPLATES)
    torch.testing.assert_close(head.norm(dim=-1), torch.full((2,), 13.0))


def test_all_names_of_a_class_are_averaged(model):
    head = build_head(model, [["7", "seven"], ["8"]], TEMPLATES)
    prompts = [t.replace("{c}", name) for name in ("7", "seven") for t in TEMPLATES]
    mean = full_features(model, prompts).mean(dim=0)
    expected = mean / mean.norm() * model.logit_scale.exp().detach()
    torch.testing.assert_close(head[0], expected, atol=1e-5, rtol=0)


def test_prompts_cut_to_their_length_give_the_same_features(model):
    prompts = [t.replace("{c}", name) for name in NAMES for t in TEMPLATES]
    full = full_features(model, prompts)
    tokens = model.tokenize(prompts)
    for batch_size in (1, 2, 100):
        cut = encode_prompts(model, tokens, batch_size)
        torch.testing.assert_close(cut, full, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", tiny.WITH_TEXT)
def test_only_towers_that_see_nothing_behind_the_end_are_cut(kind):
    model = make(kind)
    seen, encode = [], model.encode_text
    model.encode_text = lambda tokens: seen.append(tokens.shape[1]) or encode(tokens)
    tokens = model.tokenize(["7", "a photo of the number 7", "a"])
    encode_prompts(model, tokens, batch_size=2)
    assert seen == ([20, 20] if kind in tiny.FULL else [3, 8])


def test_prompts_that_do_not_fit_are_encoded_in_parts(model, monkeypatch, said):
    tokens = model.tokenize([f"a photo of {n} cats" for n in range(7)])
    whole, encode = encode_prompts(model, tokens), model.encode_text

    def limited(batch):
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return encode(batch)

    monkeypatch.setattr(model, "encode_text", limited)
    torch.testing.assert_close(encode_prompts(model, tokens), whole, rtol=1e-4, atol=1e-5)
    assert any("out of memory with 7 prompts at a time; going on with 2" in line for line in said)


def test_bf16_is_close_and_in_fp32(model):
    names = [[name] for name in NAMES]
    head = build_head(model, names, TEMPLATES)
    low = build_head(model, names, TEMPLATES, precision="bf16")
    assert low.dtype == torch.float32
    assert not torch.equal(low, head)
    cosines = torch.nn.functional.cosine_similarity(low, head)
    assert cosines.min() > 0.999
    with pytest.raises(WiseftError, match="precision is fp8, but must be one of fp32, bf16"):
        build_head(model, names, TEMPLATES, precision="fp8")


@pytest.mark.parametrize("kind", ["clip", "siglip", "align"])
def test_a_prompt_longer_than_the_context_is_refused(kind):
    model = make(kind)
    context = model.tokenize(["a"]).shape[1]
    exact = " ".join(["a"] * (context - 2))  # start and end take one each
    build_head(model, [[exact]], ["{c}"])
    message = rf"has {context + 1} tokens, but the model reads {context}"
    with pytest.raises(WiseftError, match=message):
        build_head(model, [["7"], [exact + " 7"]], ["{c}"])


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
        ('"a {c}"', "must be a list"),
        ("[]", "must be a collection of at least 1"),
        ('["a photo"]', r"'a photo' must be a sentence with \{c\}"),
        ("[3]", "key `0` is 3, but must be text"),
        ('["a {c}", "a {c}"]', "occurs twice"),
    ],
)
def test_bad_templates_are_refused(text, message):
    with pytest.raises(WiseftError, match=message):
        parse_templates(text)
