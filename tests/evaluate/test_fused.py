"""Linear layers and attention by oneDNN give the features that torch's own give."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch
from torch import nn

from wiseft.models.fused import use_onednn

VISION = {"image_size": 64, "layers": 2, "width": 256, "head_width": 64, "patch_size": 16}
TEXT = {"context_length": 8, "vocab_size": 50, "width": 64, "heads": 2, "layers": 1}


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_a_vision_transformer_gives_the_same_features(quick_gelu):
    torch.manual_seed(0)
    plain = open_clip.CLIP(256, VISION, TEXT, quick_gelu=quick_gelu).visual.eval()
    fast = copy.deepcopy(plain)
    changed = use_onednn(fast)
    layers = [part for part in fast.modules() if isinstance(part, nn.Linear | nn.GELU)]
    assert any("forward" in vars(part) for part in layers) == changed
    images = torch.rand(3, 3, 64, 64)
    with torch.inference_mode():
        for _ in range(2):
            expected = plain(images)
            torch.testing.assert_close(fast(images), expected, rtol=0, atol=1e-5 * expected.max())
            for part in (plain, fast):  # weights that are set later count
                part.transformer.resblocks[0].mlp.c_fc.weight.mul_(2)
    assert fast.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("shape", [(5, 256), (2, 3, 256), (2, 3, 4, 256)])
@pytest.mark.parametrize("after", [nn.GELU(), nn.GELU(approximate="tanh"), nn.ReLU()])
def test_layers_of_any_shape_and_what_follows(shape, after):
    plain = nn.Sequential(nn.Linear(256, 300, bias=False), after, nn.Linear(300, 256))
    fast = copy.deepcopy(plain)
    use_onednn(fast)
    values = torch.randn(shape)
    strided = values.transpose(0, -2).contiguous().transpose(0, -2)
    with torch.inference_mode():
        for given in (values, strided):
            torch.testing.assert_close(fast(given), plain(given), rtol=0, atol=1e-5)


def test_attention_to_itself_with_masks_and_to_another():
    plain = nn.MultiheadAttention(256, 4, batch_first=True).eval()
    nn.init.normal_(plain.in_proj_bias)
    fast = copy.deepcopy(plain)
    assert use_onednn(fast) == ("forward" in vars(fast))
    one, other = torch.randn(2, 3, 5, 256)
    mask, padding = torch.ones(5, 5).triu(1).bool(), torch.arange(5).expand(3, 5) > 2
    for given in ((one, one, one), (one, other, other), (one, one, other)):
        for more in ({"attn_mask": None}, {"attn_mask": mask}, {"key_padding_mask": padding}):
            for need_weights in (True, False):
                with torch.inference_mode():
                    expected = plain(*given, need_weights=need_weights, **more)
                    found = fast(*given, need_weights=need_weights, **more)
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_another_processor_changes_nothing(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    layer = nn.Linear(256, 256)
    assert not use_onednn(layer)
    assert "forward" not in vars(layer)
