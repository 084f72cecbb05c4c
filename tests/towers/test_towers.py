"""The interface of every family, on tiny random models."""

import base64
import copy
import json
import zlib

import pytest
import timm
import torch
from tests import tiny_models as tiny

from wiseft.errors import WiseftError
from wiseft.models import towers
from wiseft.models.classifier import build_classifier
from wiseft.models.towers import align_models, timm_models, tokenizers
from wiseft.models.towers.open_clip_models import open_clip_model
from wiseft.thetas.theta import make_header

EVERY = tiny.WITH_TEXT | {"timm": tiny.timm}
PIXELS = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=EVERY)
def architecture(request):
    return EVERY[request.param]()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_the_image_tower_alone_is_that_of_the_whole(architecture):
    model = towers.build(architecture, seed=3)
    alone = towers.build_image(architecture, seed=8)
    weights = towers.image_tensors(architecture, model.tensors())
    own = {"image." + key: value for key, value in towers.floating(alone.state_dict()).items()}
    assert own.keys() == weights.keys()
    alone.load_state_dict({key[6:]: value for key, value in weights.items()}, strict=False)
    with torch.no_grad():
        expected = model.image(PIXELS)
        assert torch.equal(alone.eval()(PIXELS), expected)
    assert expected.shape == (2, towers.embed_dim(architecture))


@pytest.mark.parametrize("kind", ["clip", "resnet", "custom-argmax", "siglip", "timm"])
def test_a_seed_draws_the_same_image_tower_alone_as_with_the_rest(kind):
    """Baselines of before were drawn with a text tower behind the image tower."""
    architecture = EVERY[kind]()
    whole = towers.build(architecture, seed=5).image.state_dict()
    assert same(whole, towers.build_image(architecture, seed=5).state_dict())
    if kind == "clip":
        assert same(whole, open_clip_model(architecture, seed=5).visual.state_dict())


def test_building_leaves_the_global_random_state_alone(architecture):
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    towers.build(architecture, seed=5)
    towers.build_image(architecture, seed=5)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("kind", tiny.WITH_TEXT)
def test_both_towers_of_a_theta_make_the_whole_again(kind):
    architecture = tiny.WITH_TEXT[kind]()
    weights = towers.build(architecture, seed=1).tensors()
    theta = towers.image_tensors(architecture, weights) | towers.text_tensors(architecture, weights)
    assert len(theta) == len(weights)
    assert all(key.startswith((towers.IMAGE, towers.TEXT)) for key in theta)
    assert same(towers.whole_tensors(architecture, theta), weights)
    again = towers.load(architecture, weights, "weights")
    assert same(again.tensors(), weights)


def test_weights_are_floating_tensors_alone(architecture):
    model = towers.build(architecture, seed=1)
    assert all(value.is_floating_point() for value in model.tensors().values())
    assert not any("num_batches_tracked" in key for key in model.tensors())


def test_a_misfit_is_listed_in_full():
    architecture = tiny.clip()
    weights = towers.build(architecture, seed=1).tensors()
    weights["other.bias"] = weights.pop("ln_final.bias")
    weights["visual.proj"] = torch.zeros(3, 4)
    with pytest.raises(WiseftError) as caught:
        towers.load(architecture, weights, "mine.pt")
    message = str(caught.value)
    assert message.startswith("mine.pt does not fit the architecture:")
    assert "1 missing: ln_final.bias" in message
    assert "1 unexpected: other.bias" in message
    assert "1 of another shape: visual.proj (expected (16, 16), found (3, 4))" in message


def test_a_classifier_normalises_features_unless_the_model_is_supervised():
    for kind, normal in (("clip", True), ("siglip", True), ("timm", False)):
        architecture = EVERY[kind]()
        header = make_header(
            "zero-shot",
            "zeroshot",
            architecture=architecture,
            preprocessing=tiny.PREPROCESSING,
            class_names=["a", "b"],
            parents={},
        )
        model = build_classifier(header, seed=1)
        with torch.no_grad():
            norms = model.features((PIXELS * 255).byte()).norm(dim=-1)
        assert bool(torch.allclose(norms, torch.ones(2), atol=1e-5)) is normal


def test_an_unknown_family_is_named():
    with pytest.raises(WiseftError, match="family basic, but must be one of open_clip, align"):
        towers.build({"family": "basic"})


def test_image_sizes():
    assert towers.image_size(tiny.clip()) == 32
    assert towers.image_size(tiny.timm()) == 32
    assert towers.image_size(tiny.align()) is None
    assert towers.image_size({"vision_cfg": {}, "embed_dim": 4}) == 224
    assert towers.image_size(tiny.clip(tiny.VIT | {"image_size": [32, 32]})) == 32
    with pytest.raises(WiseftError, match="must be square"):
        towers.image_size(tiny.clip(tiny.VIT | {"image_size": [32, 64]}))


# ------------------------------------------------------------------------------------------- ALIGN


def test_align_matches_images_to_prompts_as_transformers_does():
    architecture = tiny.align()
    model = towers.build(architecture, seed=2)
    # Statistics that differ from their start, so that eval mode is not train mode.
    for name, buffer in model.module.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-0.1, 0.1)
    prompts = ["a photo of a bird", "seven"]
    tokens = model.tokenize(prompts)
    with torch.no_grad():
        theirs = model.module(
            input_ids=tokens, pixel_values=PIXELS, attention_mask=(tokens != 0).long()
        ).logits_per_image
        image = torch.nn.functional.normalize(model.image(PIXELS), dim=-1)
        text = torch.nn.functional.normalize(model.encode_text(tokens[:, :7]), dim=-1)
        ours = model.logit_scale.exp() * image @ text.T
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_aligns_batch_norm_statistics_are_among_the_weights():
    architecture = tiny.align()
    weights = towers.build(architecture, seed=2).tensors()
    names = towers.image_tensors(architecture, weights)
    assert any(name.endswith("running_mean") for name in names)
    assert any(name.endswith("running_var") for name in names)


def test_an_align_config_says_nothing_of_who_wrote_it():
    architecture = tiny.align()
    config = architecture["config"] | {"transformers_version": "1", "_name_or_path": "/home/me/x"}
    assert align_models.describe(config, None)["config"] == architecture["config"]
    with pytest.raises(WiseftError, match=r"model_type align\), found clip"):
        align_models.describe({"model_type": "clip"}, None)


def test_a_bad_align_config_is_a_sentence():
    architecture = tiny.align()
    architecture["config"]["text_config"]["hidden_size"] = 17
    with pytest.raises(WiseftError, match="transformers cannot build Align"):
        towers.build(architecture)


def test_align_without_a_tokenizer_reads_no_prompts():
    architecture = tiny.align()
    del architecture["tokenizer"]
    with pytest.raises(WiseftError, match="came without a tokenizer"):
        towers.build(architecture).tokenize(["a"])


# -------------------------------------------------------------------------------------------- timm


def test_a_supervised_model_is_timms():
    architecture = tiny.timm(classes=5)
    model = towers.build(architecture, seed=4)
    whole = timm.create_model(
        "vit_tiny_patch16_224", num_classes=5, **architecture["options"]
    ).eval()
    model.load(whole.state_dict(), "weights")
    with torch.no_grad():
        ours = model.classifier(model.image(PIXELS))
        assert torch.equal(ours, whole(PIXELS))
    assert model.tensors().keys() == whole.state_dict().keys()
    with pytest.raises(WiseftError, match="has no text tower"):
        model.tokenize(["a"])
    with pytest.raises(WiseftError, match="has no text tower"):
        towers.text_tensors(architecture, model.tensors())


def test_timms_own_label_sets_are_known_by_their_size():
    architecture = timm_models.describe("vit_base_patch16_224.augreg_in21k")
    assert architecture["num_classes"] == 21843
    assert architecture["label_set"] == "imagenet-21k-goog"
    labels = timm_models.labels(architecture)
    assert len(labels) == 21843
    assert "n01440764" in labels  # tench
    assert timm_models.preprocessing({"input_size": (3, 240, 240)})["size"] == 240


def test_labels_of_another_number_are_refused():
    architecture = tiny.timm(classes=5) | {"labels": ["a", "b"]}
    with pytest.raises(WiseftError, match="has 5 classes, but 2 ids of them are known"):
        timm_models.labels(architecture)
    del architecture["labels"]
    with pytest.raises(WiseftError, match="but no ids of them are known"):
        timm_models.labels(architecture)


def test_an_unknown_timm_model_is_named_with_the_nearest():
    with pytest.raises(WiseftError, match=r"no model vit_base_patch16_225; near: vit_base_patch"):
        timm_models.describe("vit_base_patch16_225", num_classes=3)


# -------------------------------------------------------------------------------------- tokenizers


def test_a_tokenizer_survives_packing(tmp_path):
    (tmp_path / "vocab.json").write_text('{"x": 1}')
    (tmp_path / "spiece.model").write_bytes(bytes(range(256)))
    (tmp_path / "folder").mkdir()
    packed = tokenizers.pack(path for path in tmp_path.iterdir() if path.is_file())
    assert packed.keys() == {"vocab.json", "spiece.model"}
    with tokenizers.unpacked(packed) as folder:
        assert (folder / "spiece.model").read_bytes() == bytes(range(256))
    assert not folder.exists()


def test_a_damaged_or_hostile_tokenizer_is_refused():
    for name in ("../vocab.txt", "evil.py"):
        hostile = pytest.raises(WiseftError, match=rf"file '{name}', but may have tokenizer\.json")
        with hostile, tokenizers.unpacked({name: ""}):
            pass
    for text in ("AAAA", None, packed_zeros(2**28 + 2**20)):
        damaged = pytest.raises(WiseftError, match=r"file vocab\.txt is damaged")
        with damaged, tokenizers.unpacked({"vocab.txt": text}):
            pass


def packed_zeros(n: int) -> str:
    """Return n zero bytes as a packed file."""
    packer, part = zlib.compressobj(1), bytes(2**20)
    packed = b"".join(packer.compress(part) for _ in range(n // 2**20)) + packer.flush()
    return base64.b64encode(packed).decode()


@pytest.mark.parametrize("kind", ["siglip", "hf-text", "align"])
def test_code_beside_a_tokenizer_or_named_by_a_configuration_is_never_run(kind, tmp_path):
    """transformers runs it where `trust_remote_code` is set, and asks where it is not."""
    architecture = copy.deepcopy(EVERY[kind]())
    module = tmp_path / "evil.py"
    module.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    files = architecture["tokenizer"]["files"]
    with tokenizers.unpacked(files) as folder:
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config["auto_map"] = {"AutoTokenizer": ["evil.Evil", None]}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    files |= tokenizers.pack([tmp_path / "tokenizer_config.json"])
    if kind != "align":
        text = architecture["text_cfg"]
        text["tokenizer_kwargs"] = text.get("tokenizer_kwargs", {}) | {"trust_remote_code": True}
    if kind == "hf-text":
        text["hf_config"] |= {"auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}}
    tokens = towers.build(architecture, seed=0).tokenize(["A photo of a bird."])
    assert (tokens[0] != 0).sum() == (7 if kind == "siglip" else 8)
    architecture["tokenizer"]["files"] = files | tokenizers.pack([module])
    with pytest.raises(WiseftError, match=r"has a file 'evil\.py'"):
        towers.build(architecture, seed=0).tokenize(["A photo of a bird."])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"),
    [
        ("clip", ("vision_cfg", "layers"), 10**9, "has layers 1000000000, which no model has"),
        ("clip", ("vision_cfg", "layers"), 10**7, r"of a far larger model than the \d+ tensors"),
        ("clip", ("vision_cfg", "width"), 10**5, "of a far larger model|can't allocate"),
        ("clip", ("vision_cfg", "image_size"), 10**5, "has image_size 100000, which no model has"),
        ("clip", ("text_cfg", "context_length"), 10**5, "has context_length 100000"),
        ("clip", ("embed_dim",), 2**200, "has embed_dim 16069"),
        ("clip", ("vision_cfg",), None, "cannot build the architecture: TypeError"),
        ("clip", ("text_cfg",), [], "cannot be built"),
        ("resnet", ("vision_cfg", "layers"), [10**7, 1, 1, 1], "of a far larger model"),
        ("align", ("config", "text_config", "num_hidden_layers"), 10**7, "of a far larger model"),
        ("timm", ("options",), {"depth": 10**5}, "of a far larger model"),
        ("timm", ("options",), {"checkpoint_path": "x.pt"}, "name a checkpoint_path"),
        ("timm", ("model",), 3, "cannot be built: AttributeError"),
    ],
)
def test_no_model_far_larger_than_its_weights_is_built(kind, path, value, message):
    architecture = copy.deepcopy(EVERY[kind]())
    weights = towers.build(architecture, seed=0).tensors()
    described = architecture
    for key in path[:-1]:
        described = described[key]
    described[path[-1]] = value
    with pytest.raises(WiseftError, match=message):
        towers.load(architecture, weights, "weights")


def test_a_tokenizer_is_read_without_a_hub(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for kind in ("siglip", "hf-text", "align"):
        architecture = copy.deepcopy(EVERY[kind]())
        tokens = towers.build(architecture, seed=0).tokenize(["A photo of a bird."])
        assert tokens.dtype == torch.int64
        assert (tokens[0] != 0).sum() == (7 if kind == "siglip" else 8)
