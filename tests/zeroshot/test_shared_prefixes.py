import json
from pathlib import Path

import open_clip
import pytest
import torch
from tests import tiny_models as tiny
from torch.nn import functional

from wiseft.base.loading import read_yaml
from wiseft.models import precision, towers
from wiseft.zeroshot import shared_prefixes
from wiseft.zeroshot.head import BATCH_SIZE, build_head, encode_prompts
from wiseft.zeroshot.prompts import fill_templates
from wiseft.zeroshot.shared_prefixes import order_to_share, tree_of

CONFIG = Path(__file__).parents[2] / "config"
TEMPLATES = [function("{c}") for function in open_clip.OPENAI_IMAGENET_TEMPLATES]
NAMES = ["tench", "great white shark", "tiger shark", "great grey owl", "hen", "hen"]
CAUSAL = [kind for kind in tiny.OPEN_CLIP if kind not in tiny.FULL]


@pytest.fixture
def always(monkeypatch):
    """Share beginnings however few they are."""
    monkeypatch.setattr(shared_prefixes, "_WORTH", 1)


def long_clip(**text):
    """A small CLIP with room for the prompts of ImageNet."""
    return tiny.clip(text_cfg=tiny.TEXT | {"context_length": 40} | text, custom_text=bool(text))


@pytest.mark.parametrize(
    "text",
    [
        {},
        {"pool_type": "eos", "eos_id": 49407},
        {"proj_bias": True},
        {"proj_type": "none"},
        {"qk_norm": True, "scale_heads": True, "scale_fc": True},
        {"width": 256, "heads": 4},
    ],
)
@pytest.mark.parametrize("batch_size", [5, 256])
def test_heads_of_shared_beginnings_are_open_clips(always, monkeypatch, text, batch_size):
    """All forms of a causal tower, against open_clip's own builder."""
    model = towers.build(long_clip(**text), seed=1)
    monkeypatch.setattr(model, "encode_text", None)  # prompt by prompt is not what is tested
    head = build_head(model, [[name] for name in NAMES], TEMPLATES, batch_size)
    theirs = open_clip.build_zero_shot_classifier(
        model.module, model.tokenize, NAMES, open_clip.OPENAI_IMAGENET_TEMPLATES
    )
    expected = (theirs.T * model.logit_scale.exp()).detach()
    torch.testing.assert_close(head, expected, atol=2e-5, rtol=0)
    torch.testing.assert_close(head[4], head[5], atol=1e-5, rtol=0)  # a class given twice
    assert (head[0] - head[1]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", tiny.WITH_TEXT)
def test_only_causal_towers_share(always, kind):
    model = towers.build(tiny.WITH_TEXT[kind](), seed=1)
    sharing = model.prefix_sharing()
    assert (sharing is not None) == (kind in CAUSAL)
    tokens = model.tokenize(["a photo of a bird", "a photo of a 7"])
    shared = []
    if sharing:
        taken = sharing._replace(encode=lambda *tree: shared.append(tree) or torch.ones(2, 16))
        model.prefix_sharing = lambda: taken
    encode_prompts(model, tokens)
    assert bool(shared) == (kind in CAUSAL)


def test_a_node_attends_to_what_its_prompts_begin_with():
    tokens = torch.tensor([[9, 1, 2, 8, 0], [9, 1, 3, 4, 8], [9, 1, 3, 8, 0], [9, 1, 3, 8, 0]])
    lengths = torch.tensor([4, 5, 4, 4])
    order = order_to_share(tokens, lengths, 10**12)
    assert tokens[order].tolist() == sorted(tokens.tolist())
    nodes, depths, seen, ends = tree_of(tokens[order], lengths[order])
    assert (
        len(nodes) == len({tuple(row[:k]) for row in tokens.tolist() for k in (1, 2, 3, 4, 5)}) - 2
    )
    for prompt, end in zip(tokens[order].tolist(), ends.tolist(), strict=True):
        path = seen[end].nonzero().flatten()
        assert nodes[path[depths[path].argsort()]].tolist() == [t for t in prompt if t]


def before(model, tokens):
    """Return features as they were made before beginnings were shared."""
    lengths = model.lengths(tokens)
    order = torch.argsort(lengths, stable=True)
    with torch.no_grad():
        parts = [
            model.encode_text(tokens[chosen][:, : int(lengths[chosen].max())])
            for chosen in order.split(BATCH_SIZE)
        ]
    features = functional.normalize(torch.cat(parts), dim=-1)
    return torch.empty_like(features).index_copy_(0, order, features)


@pytest.mark.parametrize(
    ("model", "prompts", "classes", "names"),
    [("digits-rn", "digits", 10, 3), ("icons-rn", "icons", 304, 3)],
)
def test_heads_of_digits_and_icons_stay_bit_for_bit(model, prompts, classes, names):
    clip = towers.build(json.loads((CONFIG / f"models/{model}.json").read_text()), seed=1)
    templates = read_yaml(CONFIG / f"prompts/{prompts}.yaml")["templates"]
    most = classes * names * len(templates)  # prompts, each as long as the context
    longest = torch.full((most,), clip.module.context_length)
    tokens = torch.zeros(most, clip.module.context_length, dtype=torch.int64)
    assert order_to_share(tokens, longest, clip.prefix_sharing().weights) is None
    some = [["3", "three"], ["alarm clock", "alarm"], ["band aid", "bandage"], ["plane"]]
    filled = [prompt for each in fill_templates(some, templates) for prompt in each]
    tokens = clip.tokenize(filled)
    assert torch.equal(encode_prompts(clip, tokens), before(clip, tokens))


def test_sharing_is_decided_by_what_it_saves():
    clip = open_clip.get_tokenizer("ViT-B-32")

    def shared(names, weights):
        tokens = clip([t.replace("{c}", name) for name in names for t in TEMPLATES])
        return order_to_share(tokens, tokens.argmax(dim=-1) + 1, weights) is not None

    of_vit_b = 12 * 12 * 512**2
    assert shared(NAMES[:2], of_vit_b) and not shared(NAMES[:2], of_vit_b // 10)
    alike = clip([f"{chr(97 + n)} thing number {n}" for n in range(26)])
    assert order_to_share(alike, alike.argmax(dim=-1) + 1, 10**12) is None, "nothing is shared"


def test_slow_half_precision_is_said_once_and_auto_avoids_it(monkeypatch, said):
    cpu = torch.device("cpu")
    precision._say_if_slow.cache_clear()
    monkeypatch.setattr(precision, "slowdown", lambda name, threads: 6.0)
    for _ in range(2):
        assert precision.Arithmetic("bf16", cpu).name == "bf16"  # what is asked for is done
    assert sum("bf16 takes 6.0 times as long as fp32 on this CPU" in line for line in said) == 1
    assert precision.settled("auto", cpu) == "fp32" and precision.settled("bf16", cpu) == "bf16"
    monkeypatch.setattr(precision, "slowdown", lambda name, threads: 0.5)
    assert precision.settled("auto", cpu) == "bf16" and precision.settled("fp16", cpu) == "fp16"
    precision._say_if_slow.cache_clear()


def test_the_probe_measures_products():
    precision.slowdown.cache_clear()
    assert 0.01 < precision.slowdown("bf16", torch.get_num_threads()) < 1000
