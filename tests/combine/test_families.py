"""`wiseft merge` of models that wiseft itself cannot run: language, speech, robots, diffusion.

Each is tiny and random, and was written by its own library; docs/models.md lists them.
"""

import json
import re
from pathlib import Path

import pytest
import torch
import transformers
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file, load_model, save_file, save_model
from tests.weights.conftest import same
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as Decoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn

from wiseft.base.messages import shown
from wiseft.errors import WiseftError
from wiseft.tool.api import merge_files

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
SMALL |= {"num_attention_heads": 2}
TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
UNET, POLICY = "UNet in diffusers' layout", "policy in LeRobot's layout"
ALPHA = 0.3

# ----------------------------------------------------------------------------------- the families


def tokenizer(more=(), **options):
    """A byte-level BPE with further words, as language models have it."""
    words = ["<unk>", "<s>", "</s>", "<pad>", *sorted(ByteLevel.alphabet()), "he", *more]
    vocabulary = {word: place for place, word in enumerate(words)}
    made = Tokenizer(BPE(vocabulary, [("h", "e")], unk_token="<unk>"))
    made.pre_tokenizer, made.decoder = ByteLevel(add_prefix_space=False), Decoder()
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    options = {"chat_template": "{{ messages[0]['content'] }}"} | special | options
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **options)


def llama():
    config = transformers.LlamaConfig(**SMALL, **TOKENS, vocab_size=300, num_key_value_heads=1)
    return transformers.LlamaForCausalLM(config), tokenizer()


def qwen3():
    config = transformers.Qwen3Config(
        **SMALL,
        **TOKENS,
        vocab_size=300,
        num_key_value_heads=1,
        head_dim=8,
        tie_word_embeddings=True,
    )
    return transformers.Qwen3ForCausalLM(config), tokenizer()


def whisper():
    layers = {
        f"{side}_{key}": value
        for side in ("encoder", "decoder")
        for key, value in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))
    }
    sizes = {"max_source_positions": 10, "max_target_positions": 10, "num_mel_bins": 4}
    config = transformers.WhisperConfig(
        d_model=16, vocab_size=300, decoder_start_token_id=1, **layers, **sizes, **TOKENS
    )
    words = transformers.WhisperTokenizer(vocab={"<|endoftext|>": 0, "a": 1, "b": 2}, merges=[])
    sound = transformers.WhisperFeatureExtractor(feature_size=4)
    model = transformers.WhisperForConditionalGeneration(config)
    return model, transformers.WhisperProcessor(sound, words)


def dinov2():
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28
    )
    return transformers.Dinov2Model(config), transformers.BitImageProcessor()


def siglip():
    text = SMALL | TOKENS | {"vocab_size": 300}
    vision = SMALL | {"image_size": 32, "patch_size": 16}
    config = transformers.SiglipConfig(text_config=text, vision_config=vision)
    pixels = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    return transformers.SiglipModel(config), transformers.SiglipProcessor(pixels, tokenizer())


OF_TRANSFORMERS = {
    "Llama": llama,
    "Qwen3, tied weights": qwen3,
    "Whisper": whisper,
    "DINOv2": dinov2,
    "SigLIP": siglip,
}


class UNet(nn.Module):
    """Blocks under the names that a UNet of diffusers has; diffusers itself writes none here."""

    def __init__(self):
        super().__init__()
        self.conv_in = nn.Conv2d(4, 8, 3)
        self.time_embedding = nn.ModuleDict({"linear_1": nn.Linear(8, 32)})
        self.down_blocks = nn.ModuleList(
            [nn.ModuleDict({"resnets": nn.ModuleList([nn.Conv2d(8, 8, 3)])})]
        )
        self.conv_norm_out = nn.GroupNorm(4, 8)


class Policy(nn.Module):
    """A policy as older LeRobot saves it, with what it normalises by among the weights."""

    def __init__(self):
        super().__init__()
        self.model = nn.ModuleDict({"encoder": nn.Linear(6, 16), "action_head": nn.Linear(16, 2)})
        state = nn.ParameterDict(
            {key: nn.Parameter(torch.rand(6), False) for key in ("mean", "std")}
        )
        self.normalize_inputs = nn.ModuleDict({"buffer_observation_state": state})


def write_unet(folder, seed, dtype, sharded):
    torch.manual_seed(seed)
    tensors = {name: value.to(dtype) for name, value in UNet().state_dict().items()}
    name = "diffusion_pytorch_model{suffix}.safetensors"
    size = "2KB" if sharded else "1GB"
    folder.mkdir()
    save_torch_state_dict(tensors, folder, filename_pattern=name, max_shard_size=size)
    config = {"_class_name": "UNet2DConditionModel", "_diffusers_version": f"0.{seed}.0"}
    (folder / "config.json").write_text(json.dumps(config | {"sample_size": 8}))


def write_policy(folder, seed, dtype, sharded=False):
    torch.manual_seed(seed)
    folder.mkdir()
    save_model(Policy().to(dtype), str(folder / "model.safetensors"))
    config = {"type": "act", "n_obs_steps": 1, "chunk_size": 8, "device": f"cuda:{seed}"}
    config |= {"repo_id": f"me/{seed}", "optimizer_lr": 10**-seed}
    (folder / "config.json").write_text(json.dumps(config))
    state = "policy_preprocessor_step_3_normalizer_processor.safetensors"
    save_file({"observation.state.mean": torch.ones(6)}, folder / state)
    step = {"registry_name": "normalizer_processor", "config": {}, "state_file": state}
    steps = {"name": "policy_preprocessor", "steps": [step]}
    (folder / "policy_preprocessor.json").write_text(json.dumps(steps))
    (folder / "train_config.json").write_text("{}")


def write(family, folder, seed, dtype=torch.float32, sharded=False):
    if family == UNET:
        return write_unet(folder, seed, dtype, sharded)
    if family == POLICY:
        return write_policy(folder, seed, dtype, sharded)
    torch.manual_seed(seed)
    model, beside = OF_TRANSFORMERS[family]()
    for parameter in model.parameters():  # fresh biases and norms are alike
        nn.init.normal_(parameter, 0.5)
    model.to(dtype).save_pretrained(folder, max_shard_size="15KB" if sharded else "1GB")
    beside.save_pretrained(folder)
    return None


FAMILIES = [*OF_TRANSFORMERS, UNET, POLICY]


def stored(folder):
    """All tensors of a folder as they lie in its files."""
    files = sorted(path for path in folder.glob("*model*.safetensors"))
    return {name: value for file in files for name, value in load_file(file).items()}


def loaded(family, folder, dtype):
    """The state dict of what its library loads, without a word on missing or unexpected tensors."""
    if family == UNET:
        model = UNet().to(dtype)
        model.load_state_dict(stored(folder), strict=True)
    elif family == POLICY:
        model = Policy().to(dtype)
        assert load_model(model, folder / "model.safetensors", strict=True) == (set(), [])
    else:
        kind = type(OF_TRANSFORMERS[family]()[0])
        model, report = kind.from_pretrained(folder, output_loading_info=True, dtype="auto")
        assert not any(report.values()), report
    return dict(model.state_dict())


def merge(a, b, output, alpha=f"{ALPHA:.3f}"):
    said = []
    with shown(said.append):
        merge_files(a, b, alpha, output)
    return "\n".join(said)


CASES = [
    pytest.param(family, dtype, sharded, id=f"{family}, {dtype}, {'shards' if sharded else 'file'}")
    for family in FAMILIES
    for dtype in (torch.float32, torch.bfloat16)
    for sharded in (False, True)
    if not (sharded and family == POLICY)  # LeRobot saves one file
]


@pytest.mark.parametrize(("family", "dtype", "sharded"), CASES)
def test_what_is_merged_loads_in_its_library_and_is_the_mean(family, dtype, sharded, tmp_path):
    paths = a, b, c = [tmp_path / name for name in "abc"]
    write(family, a, 1, dtype, sharded)
    write(family, b, 2, dtype, not sharded and family != POLICY)
    merge(a, b, c)
    one, other, found = (loaded(family, path, dtype) for path in paths)
    wanted = {n: torch.lerp(one[n].float(), other[n].float(), ALPHA).to(dtype) for n in one}
    assert same(found, wanted)
    assert all(value.dtype == dtype for value in found.values())
    assert not same(one, other)
    # All else that the folder is loaded with is there, byte for byte, and nothing is added.
    names = {p.name for p in a.iterdir()} - {"train_config.json"}
    assert {p.name for p in c.iterdir()} == names
    for name in names:
        if not re.search(r"model.*(safetensors|index\.json)", name):
            assert (c / name).read_bytes() == (a / name).read_bytes(), name
    assert len(list(c.glob("*-of-*"))) == (len(list(a.glob("*-of-*"))) if sharded else 0)
    assert (len(list(a.glob("*-of-*"))) > 1) == sharded


def test_the_page_names_the_families_that_are_tested():
    page = Path("docs/models.md").read_text()
    rows = page.split("| family |")[1].split("\n\n")[0].splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == FAMILIES


# ----------------------------------------------------------------------------------- configurations


@pytest.mark.parametrize("holder", ["a", "b"])
def test_a_copy_of_a_tied_tensor_may_be_in_one_file_alone(holder, tmp_path):
    """As in some Qwen3 on the Hub, which hold `lm_head.weight` though it is tied."""
    paths = {name: tmp_path / name for name in "abc"}
    for seed, name in enumerate("ab"):
        write("Qwen3, tied weights", paths[name], seed)
    file = paths[holder] / "model.safetensors"
    tensors = load_file(file)
    own, tied = "model.embed_tokens.weight", "lm_head.weight"
    assert tied not in tensors
    save_file(tensors | {tied: tensors[own].clone()}, file, metadata={"format": "pt"})
    assert f"{tied} is {own} under another name" in merge(*paths.values())
    found, before = (load_file(paths[name] / file.name) for name in "ca")
    assert found.keys() == before.keys()
    assert (tied in found) == (holder == "a")
    assert torch.equal(found.get(tied, found[own]), found[own])
    assert not torch.equal(found[own], before[own])
    one, other = (loaded("Qwen3, tied weights", paths[name], torch.float32) for name in "ab")
    wanted = {name: torch.lerp(one[name], other[name], ALPHA) for name in one}
    assert same(loaded("Qwen3, tied weights", paths["c"], torch.float32), wanted)
    # A head of its own is no copy: the two are of different architectures.
    save_file(tensors | {tied: tensors[own] + 1}, file, metadata={"format": "pt"})
    with pytest.raises(WiseftError, match=r"1 (missing|unexpected): lm_head\.weight"):
        merge(paths["a"], paths["b"], tmp_path / "d")


def test_where_a_language_model_stops_may_differ(tmp_path):
    a, b, c = (tmp_path / name for name in "abc")
    for seed, folder in enumerate((a, b)):
        write("Llama", folder, seed)
    config = json.loads((b / "config.json").read_text())
    (b / "config.json").write_text(json.dumps(config | {"eos_token_id": [2, 9], "pad_token_id": 0}))
    stops = json.loads((b / "generation_config.json").read_text())
    (b / "generation_config.json").write_text(json.dumps(stops | {"eos_token_id": [2, 9]}))
    (b / "chat_template.jinja").write_text("{{ messages[-1]['content'] }}")
    said = merge(a, b, c)
    assert (
        "differ in chat_template.jinja, generation_config.json; the result has the first's" in said
    )
    assert (c / "chat_template.jinja").read_text() == "{{ messages[0]['content'] }}"


# ----------------------------------------------------------------------------------- tokenizers


@pytest.fixture
def llamas(tmp_path):
    """Two Llamas whose tokenizers are alike, and where their mean goes."""
    paths = [tmp_path / name for name in "abc"]
    for seed, folder in enumerate(paths[:2]):
        write("Llama", folder, seed)
    return paths


def test_alike_tokenizers_may_be_written_otherwise(llamas):
    """As an older version writes merges, and with the lengths of the last batch."""
    a, b, c = llamas
    file = b / "tokenizer.json"
    content = json.loads(file.read_text())
    assert content["model"]["merges"] == [["h", "e"]]
    del content["model"]["ignore_merges"]
    content["model"]["merges"] = ["h e"]
    content["truncation"] = {"direction": "Right", "max_length": 9, "strategy": "LongestFirst"}
    file.write_text(json.dumps(content | {"truncation": content["truncation"] | {"stride": 0}}))
    assert "differ" not in merge(a, b, c)
    assert (c / "tokenizer.json").read_bytes() == (a / "tokenizer.json").read_bytes()


def write_tokenizer(folder, how=None):
    """Write a tokenizer that differs in one thing, or a plain one."""
    made = tokenizer(more=["zz"] if how == "word" else ())
    if how == "added":
        made.add_tokens(["<tool>"], special_tokens=True)
    made.save_pretrained(folder)
    file = folder / ("tokenizer.json" if how == "case" else "tokenizer_config.json")
    key = (
        {"normalizer": {"type": "Lowercase"}}
        if how == "case"
        else {"add_bos_token": how == "begin"}
    )
    file.write_text(json.dumps(json.loads(file.read_text()) | key))


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("word", r"tokenizer\.json \(model, token zz\)"),
        ("added", r"tokenizer\.json \(added_tokens, token <tool>\)"),
        ("case", r"tokenizer\.json \(normalizer\)"),
        ("begin", r"tokenizer_config\.json \(add_bos_token\)"),
    ],
)
def test_tokenizers_that_differ_are_refused_by_name(how, named, llamas):
    a, b, c = llamas
    for folder in (a, b):
        write_tokenizer(folder, how)
    merge(a, b, c)  # what both have is no difference
    write_tokenizer(a)
    with pytest.raises(WiseftError, match=f"read their inputs differently: {named}") as caught:
        merge(a, b, c.with_name("d"))
    assert "\n" not in str(caught.value)
    assert not c.with_name("d").exists()


def test_a_larger_vocabulary_is_refused_by_name(llamas):
    a, b, c = llamas
    model = transformers.LlamaForCausalLM.from_pretrained(b)
    model.resize_token_embeddings(301, mean_resizing=False)
    model.save_pretrained(b)
    with pytest.raises(WiseftError, match="vocab_size is 300 and 301"):
        merge(a, b, c)


def test_tokenizers_of_parts_are_compared_too(llamas):
    a, b, c = llamas
    for folder in (a, b):
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.json").write_text('{"a": 0, "b": 1}')
        (folder / "merges.txt").write_text("#version: 0.2\n")
    merge(a, b, c)
    (b / "vocab.json").write_text('{"b": 0, "a": 1}')
    with pytest.raises(WiseftError, match=r"vocab\.json \(a, b\)"):
        merge(a, b, c.with_name("d"))


def test_a_robot_that_normalises_otherwise_is_refused(tmp_path):
    a, b, c = (tmp_path / name for name in "abc")
    for seed, folder in enumerate((a, b)):
        write(POLICY, folder, seed)
    (b / "policy_preprocessor.json").write_text('{"name": "policy_preprocessor", "steps": []}')
    assert "differ in policy_preprocessor.json" in merge(a, b, c)
    state = next(b.glob("*_processor.safetensors"))
    save_file({"observation.state.mean": torch.zeros(6)}, state)
    with pytest.raises(WiseftError, match=rf"read their inputs differently: {state.name}"):
        merge(a, b, c.with_name("d"))
