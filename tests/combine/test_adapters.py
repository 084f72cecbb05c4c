"""A LoRA folder of PEFT as the second checkpoint of a merge. PEFT itself: tests/peers."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from wiseft.errors import WiseftError
from wiseft.tool.api import merge_files

ALPHA, RANK = 6, 4
BASE = {
    "blocks.0.fc.weight": torch.randn(5, 3, generator=torch.Generator().manual_seed(1)),
    "blocks.0.fc.bias": torch.arange(5.0),
    "blocks.1.fc.weight": torch.ones(5, 3),
    "conv.weight": torch.zeros(2, 3, 2, 2),
    "words.weight": torch.ones(7, 2),
    "head.weight": torch.zeros(4, 5),
}


def factors(module, out, into, rank=RANK, names=("lora_A.weight", "lora_B.weight")):
    draw = torch.Generator().manual_seed(len(module) + out)
    first = torch.randn(rank, *into, generator=draw)
    second = torch.randn(out, rank, *(1,) * (len(into) - 1), generator=draw)
    before = f"base_model.model.{module}."
    return {before + names[0]: first, before + names[1]: second}


def product(pair):
    second, first = (pair[key].flatten(1) for key in sorted(pair, reverse=True))
    return torch.einsum("or,ri->oi", second, first)


@pytest.fixture
def folder(tmp_path):
    """Write an adapter beside a base; return its path."""

    def folder(tensors, **config):
        save_file(BASE, tmp_path / "base.safetensors")
        (tmp_path / "adapter").mkdir()
        known = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "megatron_core": "x"}
        known |= {"init_lora_weights": True, "loftq_config": {}, "use_dora": False}
        (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(known | config))
        save_file(tensors, tmp_path / "adapter" / "adapter_model.safetensors")
        return tmp_path / "adapter"

    return folder


def merged(folder, alpha="1.000"):
    output = folder.parent / f"{alpha}.safetensors"
    merge_files(folder.parent / "base.safetensors", folder, alpha, output)
    return load_file(output)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_every_kind_of_change_is_scaled_by_alpha(folder):
    linear, again = factors("blocks.0.fc", 5, [3]), factors("blocks.1.fc", 5, [3], rank=2)
    conv = factors("conv", 2, [3, 2, 2])
    words = factors("words", 2, [7], names=("lora_embedding_A", "lora_embedding_B"))
    whole = {
        "base_model.model.head.weight": torch.full((4, 5), 8.0),
        "base_model.model.blocks.0.fc.base_layer.bias": torch.zeros(5),
    }
    patterns = {"rank_pattern": {"blocks.1.fc": 2}, "alpha_pattern": {r"1\.fc": 10}}
    adapter = folder(linear | again | conv | words | whole, **patterns)
    for alpha in ("0.000", "0.250", "1.000"):
        found, share = merged(adapter, alpha), float(alpha)
        expected = {
            "blocks.0.fc.weight": product(linear) * ALPHA / RANK,
            "blocks.0.fc.bias": -BASE["blocks.0.fc.bias"],
            "blocks.1.fc.weight": product(again) * 10 / 2,
            "conv.weight": (product(conv) * ALPHA / RANK).view(2, 3, 2, 2),
            "words.weight": product(words).T * ALPHA / RANK,
            "head.weight": torch.full((4, 5), 8.0),
        }
        close(found, {name: BASE[name] + share * expected[name] for name in BASE})


def test_rank_stabilised_and_transposed(folder):
    pair = factors("blocks.0.fc", 3, [5])
    found = merged(folder(pair, use_rslora=True, fan_in_fan_out=True))
    change = product(pair).T * ALPHA / math.sqrt(RANK)
    close(found["blocks.0.fc.weight"], BASE["blocks.0.fc.weight"] + change)
    assert torch.equal(found["head.weight"], BASE["head.weight"])


def test_a_dora_scales_every_row_to_its_norm(folder):
    pair, norms = factors("blocks.0.fc", 5, [3]), torch.arange(1.0, 6.0)
    vector = {"base_model.model.blocks.0.fc.lora_magnitude_vector": norms}
    found = merged(folder(pair | vector, use_dora=True))["blocks.0.fc.weight"]
    close(found.norm(dim=1), norms)
    whole = BASE["blocks.0.fc.weight"] + product(pair) * ALPHA / RANK
    close(found / norms[:, None], whole / whole.norm(dim=1, keepdim=True))


def test_an_adapter_is_scaled_and_what_is_none_is_refused(folder, tmp_path):
    pair = factors("blocks.0.fc", 5, [3])
    whole = {"base_model.model.head.weight": torch.ones(4, 5)}
    adapter, base = folder(pair | whole, alpha_pattern={"fc": 8}), tmp_path / "base.safetensors"
    merge_files(base, adapter, 0.25, tmp_path / "scaled", as_adapter=True)
    expected = merged(adapter, "0.250")
    merge_files(base, tmp_path / "scaled", 1, tmp_path / "again.safetensors")
    found = load_file(tmp_path / "again.safetensors")
    for name in BASE:
        close(found[name], expected[name])
    with pytest.raises(WiseftError, match="is no adapter of PEFT; leave out --as-adapter"):
        merge_files(base, base, 0.5, tmp_path / "c", as_adapter=True)
    with pytest.raises(WiseftError, match="exists and is not touched"):
        merge_files(base, adapter, 0.5, tmp_path / "scaled", as_adapter=True)
    config = json.loads((adapter / "adapter_config.json").read_text()) | {"use_dora": True}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(WiseftError, match="is a DoRA, whose norms are not linear in alpha"):
        merge_files(base, adapter, 0.5, tmp_path / "c", as_adapter=True)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"use_dora": True}, r"but no .*blocks\.0\.fc\.lora_magnitude_vector; copy it again"),
        ({"init_lora_weights": "pissa_niter_4"}, "has init_lora_weights: pissa_niter_4, but plain"),
        ({"peft_type": "IA3"}, "has peft_type: IA3"),
        ({"lora_bias": True}, "has lora_bias: True"),
        ({"r": 8}, r"blocks\.0\.fc has rank 4, but adapter_config\.json says 8"),
        ({"r": 0}, r"adapter_config\.json: key `r` is 0, but must be at least 1"),
        ({"lora_alpha": "x"}, 'key `lora_alpha` is "x", but must be a number'),
        ({"alpha_pattern": [1]}, "key `alpha_pattern` is"),
        ({"alpha_pattern": {"(": 1}}, "it is no name of modules"),
        # These would be tried for longer than anybody lives, on a name of thirty letters.
        ({"rank_pattern": {r"([a-z0-9.]+)+!": 1}}, "it is no name of modules"),
        ({"rank_pattern": {".*" * 20 + "!": 1}}, "it is no name of modules"),
    ],
)
def test_other_adapters_are_refused(folder, config, message):
    adapter = folder(factors("blocks.0.fc", 5, [3]), **config)
    with pytest.raises(WiseftError, match=message):
        merged(adapter)


def test_an_adapter_of_another_model_is_refused(folder):
    with pytest.raises(WiseftError, match=r"changes visual\.weight, which .* does not have"):
        merged(folder(factors("visual", 5, [3])))


def test_another_shape_and_half_a_pair_are_refused(folder):
    pair = factors("blocks.0.fc", 3, [5])
    adapter = folder(pair)
    with pytest.raises(WiseftError, match=r"shape \(5, 3\), but the adapter changes .* \(3, 5\)"):
        merged(adapter)
    for there, missing in (("lora_A", "lora_B"), ("lora_B", "lora_A")):
        half = {name: factor for name, factor in pair.items() if there in name}
        save_file(half, adapter / "adapter_model.safetensors")
        with pytest.raises(WiseftError, match=rf"has .*{there}.*, but no .*{missing}\.weight"):
            merged(adapter)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(WiseftError, match="has none of adapter_model"):
        merged(adapter)


def test_a_change_is_one_and_its_factors_fit(folder):
    pair = factors("blocks.0.fc", 5, [3])
    again = {name.removeprefix("base_model.model."): pair[name].clone() for name in pair}
    adapter = folder(pair | again)
    with pytest.raises(WiseftError, match=r"changes blocks\.0\.fc\.weight twice, the second time"):
        merged(adapter)
    (_, second) = pair
    for other in (torch.ones(5, RANK + 1), torch.tensor(1.0)):
        save_file(pair | {second: other}, adapter / "adapter_model.safetensors")
        with pytest.raises(WiseftError, match="the factors of its change have shapes"):
            merged(adapter)
