"""Models of hubs and addresses, served here in the layout that the real ones have."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from tests import tiny_models as tiny
from tests.data.fetching.http_server import Fault
from tests.weights.conftest import (
    COMMIT,
    OPENAI_MEAN,
    clip_weights,
    safetensors_of,
    same,
)
from tools.rehearsal.checkpoints import torchscript, weights_of

from wiseft.base import speed
from wiseft.base.io import sha256_file
from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.foreign.huggingface import from_open_clip
from wiseft.foreign.named import text_revision
from wiseft.foreign.processors import preprocessing as processor_preprocessing
from wiseft.images.decode import decode
from wiseft.models import towers
from wiseft.models.classifier import ImageClassifier
from wiseft.models.towers.tokenizers import unpacked
from wiseft.study.config import Catalogue
from wiseft.study.weights.fetch import fetch_weights
from wiseft.study.weights.sources import from_entry, from_tag
from wiseft.thetas.preprocessing import parse_preprocessing
from wiseft.thetas.theta import load_weights
from wiseft.zeroshot.head import build_head

REPOSITORY = "org/tiny"
NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def torch_bytes(content, tmp_path):
    torch.save(content, tmp_path / "content.pt")
    return (tmp_path / "content.pt").read_bytes()


@pytest.fixture
def fetch(tmp_path, said):
    def fetch(tag, name="weights.safetensors", **changes):
        import dataclasses

        source = dataclasses.replace(from_tag(tag) if isinstance(tag, str) else tag, **changes)
        output = tmp_path / "out" / name
        fetch_weights(source, output, tmp_path / "fetched")
        return load_weights(output)

    return fetch


@pytest.fixture
def tiny_tag(register, hub):
    """A tag of a CLIP in a repository that has safetensors and a torch file."""
    register("Tiny", tiny.clip(), hf_hub=f"{REPOSITORY}/")
    hub.add(REPOSITORY, {NAMES[0]: safetensors_of(clip_weights())}, COMMIT)
    return "Tiny/tag"


# ------------------------------------------------------------------------------------ open_clip


def test_a_tag_is_fetched_from_the_hub_as_safetensors(tiny_tag, fetch, hub, said):
    tensors, header = fetch(tiny_tag)
    assert same(tensors, clip_weights())
    assert header["architecture"] == tiny.clip()
    assert header["preprocessing"]["size"] == 32
    assert header["preprocessing"]["mean"] == list(OPENAI_MEAN)
    source = header["source"]
    assert source["spec"] == "Tiny/tag"
    assert (source["repository"], source["revision"]) == (REPOSITORY, COMMIT)
    assert source["file"] == NAMES[0]
    assert len(source["sha256"]) == 64
    assert not any(name.endswith(".bin") for name in hub.asked)
    assert f"revision: {COMMIT}" in said[-1], "it says how to pin what was not pinned"


def test_a_torch_file_is_taken_where_there_is_no_other(tiny_tag, fetch, hub, tmp_path):
    content = {"state_dict": {f"module.{k}": v for k, v in clip_weights().items()}, "epoch": 3}
    hub.add(REPOSITORY, {NAMES[1]: torch_bytes(content, tmp_path)}, COMMIT)
    tensors, header = fetch(tiny_tag)
    assert same(tensors, clip_weights())
    assert header["source"]["file"] == NAMES[1]


def test_a_pickled_module_of_a_hub_is_refused(tiny_tag, fetch, hub, tmp_path):
    hub.add(REPOSITORY, {NAMES[1]: torch_bytes(torch.nn.Linear(2, 2), tmp_path)}, COMMIT)
    with pytest.raises(WiseftError, match=r"pickled objects of torch\.nn\.modules\.linear\.Linear"):
        fetch(tiny_tag)


def test_what_was_fetched_is_not_fetched_again(tiny_tag, fetch, hub, said, tmp_path):
    fetch(tiny_tag)
    hub.asked.clear()
    before = (tmp_path / "out" / "weights.safetensors").stat().st_mtime_ns
    fetch(tiny_tag)
    assert not hub.asked
    assert said[-1].endswith("already there, made of Tiny/tag")
    assert (tmp_path / "out" / "weights.safetensors").stat().st_mtime_ns == before
    plain = load_weights(tmp_path / "out" / "weights.safetensors")[1]["preprocessing"]
    pixels = {"size": 32, "mean": [0.0] * 3, "std": [1.0] * 3}
    for key, value in (
        ("spec", "Tiny/other"),
        ("revision", "d" * 40),
        ("sha256", "e" * 64),
        ("given", pixels),
        ("given", plain | {"resize_mode": "squash"}),
    ):
        with pytest.raises(WiseftError, match=r"is there already, with .*; it was not touched"):
            fetch(from_tag(tiny_tag), **{key: value})


def test_pins_are_kept_to(tiny_tag, fetch, hub):
    source = from_tag(tiny_tag)
    _, header = fetch(source, revision=COMMIT)
    assert all(f"/resolve/{COMMIT}/" in path for path in hub.asked)
    fetch(source, name="again", sha256=header["source"]["sha256"])
    with pytest.raises(WiseftError, match=r"org/tiny has no revision d{40}"):
        fetch(source, name="other", revision="d" * 40)
    with pytest.raises(WiseftError, match=r"not the file that .* pins: expected SHA-256 e{64}"):
        fetch(source, name="other", sha256="e" * 64)


def test_without_the_hub_the_message_says_what_to_bring_and_where(
    tiny_tag, fetch, monkeypatch, tmp_path, said
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WiseftError) as caught:
        fetch(tiny_tag, revision=COMMIT)
    message = str(caught.value)
    assert "outgoing traffic has been disabled" in message
    assert f"hf download {REPOSITORY} --revision {COMMIT}" in message
    folder = tmp_path / "fetched" / "Tiny-tag"
    assert f"or put {NAMES[0]} or {NAMES[1]} of it into {folder}/" in message
    folder.mkdir(parents=True)
    (folder / NAMES[0]).write_bytes(safetensors_of(clip_weights()))
    tensors, header = fetch(tiny_tag, revision=COMMIT)
    assert same(tensors, clip_weights())
    assert header["source"]["sha256"] == sha256_file(folder / NAMES[0])


def test_a_cached_file_serves_without_the_hub(tiny_tag, fetch, monkeypatch):
    fetch(tiny_tag)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tensors, header = fetch(tiny_tag, name="again")
    assert same(tensors, clip_weights())
    assert header["source"]["revision"] == COMMIT


def test_an_unknown_repository_is_named(register, fetch, hub):
    register("Tiny", tiny.clip(), hf_hub="org/gone/")
    with pytest.raises(WiseftError, match="no repository org/gone"):
        fetch("Tiny/tag")
    hub.add("org/gone", {"README.md": b""})
    with pytest.raises(WiseftError, match=r"org/gone has none of open_clip_model\.safetensors"):
        fetch("Tiny/tag")


def test_weights_of_another_architecture_are_refused(tiny_tag, register, fetch):
    register("Tiny", tiny.clip(tiny.VIT | {"width": 32}), hf_hub=f"{REPOSITORY}/")
    with pytest.raises(WiseftError, match=r"(?s)of another shape: visual\.class_embedding"):
        fetch(tiny_tag)


def test_weights_with_a_nan_are_refused(tiny_tag, hub, fetch):
    tensors = clip_weights()
    tensors["visual.proj"][0, 0] = torch.nan
    hub.add(REPOSITORY, {NAMES[0]: safetensors_of(tensors)}, COMMIT)
    with pytest.raises(WiseftError, match=r"tensor visual\.proj holds a NaN"):
        fetch(tiny_tag)


# ------------------------------------------------------------------------------------ OpenAI's own


@pytest.fixture
def openai(register, web, hub, tmp_path):
    """A tag like OpenAI's: an archive of TorchScript in fp16 under an address with its SHA-256."""
    sizes = {"input_resolution": 32, "context_length": 20, "vocab_size": 49408}
    tensors = {key: value.half() for key, value in clip_weights().items()}
    torchscript(tensors | {k: torch.tensor(v) for k, v in sizes.items()}, tmp_path / "Tiny.pt")
    digest = sha256_file(tmp_path / "Tiny.pt")
    url = web.serve(f"openaipublic/{digest}/Tiny.pt", (tmp_path / "Tiny.pt").read_bytes())
    register("Tiny", tiny.clip(), hf_hub=f"{REPOSITORY}/", url=url, quick_gelu=True)
    hub.add(REPOSITORY, {NAMES[0]: safetensors_of(clip_weights())}, COMMIT)
    return url, digest


def test_openais_archive_is_read_and_gets_quick_gelu(openai, fetch, hub, said):
    tensors, header = fetch("Tiny/tag")
    assert same(tensors, {k: v.half().float() for k, v in clip_weights().items()})
    assert header["architecture"] == tiny.clip() | {"quick_gelu": True}
    assert header["source"] == {
        "spec": "Tiny-quickgelu/tag",
        "url": openai[0],
        "sha256": openai[1],
    }
    assert any("trained with QuickGELU, so Tiny is taken as Tiny-quickgelu" in s for s in said)
    assert not hub.asked, "an address with its checksum is pinned by itself"


def test_a_pinned_revision_goes_before_the_address(openai, fetch, web):
    _, header = fetch("Tiny/tag", revision=COMMIT)
    assert header["source"]["repository"] == REPOSITORY
    assert not web.log


def test_the_hub_serves_where_the_address_does_not(openai, fetch, web, said):
    web.files[f"/{openai[0].split('/', 3)[3]}"].always = Fault(status=404)
    tensors, header = fetch("Tiny/tag")
    assert same(tensors, clip_weights())
    assert header["source"]["repository"] == REPOSITORY
    assert any(line.endswith("trying the other source") for line in said)


def test_another_file_under_openais_address_is_refused(openai, fetch, web, hub):
    web.files[f"/{openai[0].split('/', 3)[3]}"].content = b"something else"
    hub.files.clear()
    with pytest.raises(WiseftError) as caught:
        fetch("Tiny/tag")
    assert f"expected sha256 {openai[1]}" in str(caught.value)
    assert "no repository org/tiny" in str(caught.value), "both sources are reported"


def test_a_short_checksum_in_an_address_is_compared(register, web, fetch, tmp_path):
    content = torch_bytes(clip_weights(), tmp_path)
    digest = sha256_file(tmp_path / "content.pt")
    good = web.serve(f"mlfoundations/tiny-{digest[:8]}.pt", content)
    register("Tiny", tiny.clip(), url=good)
    _, header = fetch("Tiny/tag")
    assert header["source"] == {"spec": "Tiny/tag", "url": good, "sha256": digest}
    register("Tiny", tiny.clip(), url=web.serve("mlfoundations/tiny-01234567.pt", content))
    with pytest.raises(WiseftError, match=r"its address says 01234567"):
        fetch("Tiny/tag", name="other")


# ------------------------------------------------------------------------------ whole repositories


def tokenizer_files():
    with unpacked(tiny.word_pieces()) as folder:
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_repository_of_open_clip_says_everything_itself(fetch, hub):
    config = {
        "model_cfg": tiny.clip(),
        "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
    }
    files = {NAMES[0]: safetensors_of(clip_weights())}
    hub.add(REPOSITORY, files | {"open_clip_config.json": json.dumps(config).encode()}, COMMIT)
    tensors, header = fetch(f"hf-hub:{REPOSITORY}@{COMMIT}")
    assert same(tensors, clip_weights())
    assert header["architecture"] == tiny.clip()
    expected = {"size": 32, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    assert header["preprocessing"] == expected


def test_a_repository_of_a_clip_model_is_taken_too(fetch, hub):
    """Of transformers: no open_clip_config.json, and other names."""
    towers_of = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 64}
    text = {"num_hidden_layers": 2, "max_position_embeddings": 20, "hidden_act": "gelu"}
    vision = {"num_hidden_layers": 1, "image_size": 32, "patch_size": 16, "hidden_act": "gelu"}
    config = {"model_type": "clip", "projection_dim": 16}
    config |= {"text_config": towers_of | text, "vision_config": towers_of | vision}
    processor = {"crop_size": 32, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    files = {
        "config.json": json.dumps(config).encode(),
        "processor_config.json": json.dumps({"image_processor": processor}).encode(),
        "model.safetensors": safetensors_of(from_open_clip(clip_weights())),
    }
    hub.add(REPOSITORY, files, COMMIT)
    tensors, header = fetch(f"hf-hub:{REPOSITORY}")
    assert same(tensors, clip_weights())
    how = {"size": 32, "resize_size": 224, "crop": "floor"}  # 224 is what transformers fills in
    assert header["preprocessing"] == {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]} | how
    assert header["source"]["file"] == "model.safetensors"
    pixels = torch.rand(1, 3, 32, 32)
    ours = towers.load(header["architecture"], tensors, "w").image(pixels)
    assert torch.equal(ours, towers.load(tiny.clip(), tensors, "w").image(pixels))


def test_the_tokenizer_comes_along(fetch, hub, register, monkeypatch, said):
    """Like SigLIP: a tag whose architecture names a tokenizer in a repository."""
    architecture = tiny.siglip()
    architecture["text_cfg"]["hf_tokenizer_name"] = REPOSITORY
    register("Tiny", architecture, hf_hub=f"{REPOSITORY}/", resize_mode="squash")
    weights = weights_of(tiny.siglip())
    hub.add(REPOSITORY, {NAMES[0]: safetensors_of(weights), **tokenizer_files()}, COMMIT)
    tensors, header = fetch("Tiny/tag")
    assert header["preprocessing"]["resize_mode"] == "squash"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = towers.load(header["architecture"], tensors, "weights")
    expected = towers.load(tiny.siglip(), tensors, "weights")
    names, templates = [["bird"], ["seven"]], ["a photo of a {c}."]
    assert torch.equal(build_head(model, names, templates), build_head(expected, names, templates))


def test_a_missing_tokenizer_is_found_when_it_is_fetched(fetch, hub, register):
    architecture = tiny.siglip()
    register("Tiny", architecture, hf_hub=f"{REPOSITORY}/")
    hub.add(REPOSITORY, {NAMES[0]: safetensors_of(weights_of(architecture))}, COMMIT)
    hub.add("some/name", {}, COMMIT)
    with pytest.raises(WiseftError, match="some/name has no files of a tokenizer"):
        fetch("Tiny/tag")


def test_the_configuration_of_a_text_tower_comes_along(fetch, hub, register, monkeypatch):
    architecture = tiny.hf_text()
    register("Tiny", architecture, hf_hub=f"{REPOSITORY}/")
    weights = weights_of(architecture)
    hub.add(REPOSITORY, {NAMES[0]: safetensors_of(weights)}, COMMIT)
    config = json.dumps(architecture["text_cfg"]["hf_config"]).encode()
    hub.add("some/name", {"config.json": config, **tokenizer_files()}, COMMIT)
    tensors, header = fetch("Tiny/tag")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = towers.load(header["architecture"], tensors, "weights")
    assert model.tokenize(["a bird"]).shape == (1, 20)


def test_align_is_fetched_with_tokenizer_and_preprocessing(fetch, hub):
    architecture = tiny.align()
    processor = {"size": {"height": 40, "width": 40}, "crop_size": {"height": 32, "width": 32}}
    processor |= {"do_center_crop": True, "resample": 2, "rescale_offset": True}
    processor |= {"rescale_factor": 1 / 127.5, "do_normalize": False, "include_top": False}
    files = {
        "config.json": json.dumps(architecture["config"]).encode(),
        "model.safetensors": safetensors_of(weights_of(architecture)),
        "preprocessor_config.json": json.dumps(processor).encode(),
    }
    hub.add(REPOSITORY, files | tokenizer_files(), COMMIT)
    tensors, header = fetch(f"align:{REPOSITORY}")
    assert same(tensors, towers.floating(weights_of(architecture)))
    assert header["architecture"] == architecture
    expected = {"size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    expected |= {"resize_mode": "squash", "interpolation": "bilinear", "resize_size": 40}
    assert header["preprocessing"] == expected
    model = towers.load(header["architecture"], tensors, "weights")
    assert build_head(model, [["bird"]], ["a {c}"]).shape == (1, 24)


# ------------------------------------------------------------------------- the image transform


@pytest.fixture
def repository(hub):
    """A repository of open_clip whose `preprocess_cfg` says this besides mean and std."""

    def repository(**about):
        pixels = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
        config = {"model_cfg": tiny.clip(), "preprocess_cfg": pixels | about}
        files = {NAMES[0]: safetensors_of(clip_weights())}
        hub.add(REPOSITORY, files | {"open_clip_config.json": json.dumps(config).encode()}, COMMIT)
        return from_tag(f"hf-hub:{REPOSITORY}"), pixels | {"size": 32}

    return repository


@pytest.mark.parametrize(
    ("about", "how"),
    [
        ({"mode": "RGB", "resize_mode": "shortest", "fill_color": 0}, {}),
        ({"resize_mode": "squash", "interpolation": "bilinear"}, None),
        ({"resize_mode": "longest", "interpolation": "random"}, {"resize_mode": "longest"}),
    ],
)
def test_what_a_repository_says_of_resizing_is_honoured(repository, fetch, about, how):
    source, pixels = repository(**about)
    assert fetch(source)[1]["preprocessing"] == pixels | (about if how is None else how)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"resize_mode": "pad"}, r'`resize_mode` is "pad", but must be one of .*squash'),
        ({"interpolation": "nearest"}, r'`interpolation` is "nearest", .* one of .bicubic'),
        ({"resize_mode": "longest", "fill_color": 7}, r"fill_color is 7, but must be 0"),
        ({"mean": 0.5}, r"`mean` is 0\.5, but must be a list"),
    ],
)
def test_what_a_repository_says_that_is_not_modelled_is_refused(repository, fetch, about, message):
    source, _ = repository(**about)
    with pytest.raises(WiseftError, match=message):
        fetch(source)


def test_what_is_given_must_speak_where_the_model_is_not_as_clip(repository, fetch, said):
    source, pixels = repository(resize_mode="squash")
    with pytest.raises(WiseftError, match=r"has resize_mode: squash, of which .* says nothing"):
        fetch(source, given=pixels)
    for mode in ("squash", "shortest"):
        _, header = fetch(source, mode, given=pixels | {"resize_mode": mode})
        assert header["preprocessing"].get("resize_mode", "shortest") == mode
    notes = [line for line in said if "resize_mode" in line]
    assert notes == [
        f"note: the preprocessing of {source.spec} has resize_mode: squash; here it is "
        "shortest, as given"
    ]


SIDES = {"height": 32, "width": 32}
PROCESSOR = {"size": {"shortest_edge": 40}, "crop_size": SIDES, "do_center_crop": True}


@pytest.mark.parametrize(
    ("about", "name"),
    [
        ({"size": 36, "crop_size": 32}, "32-of36-floor"),
        ({"crop_size": SIDES}, "32-of224-floor"),
        ({"size": {"shortest_edge": 32, "longest_edge": None}, "crop_size": SIDES}, "32-floor"),
        (PROCESSOR, "32-of40-floor"),
        (PROCESSOR | {"resample": 2}, "32-bilinear-of40-floor"),
        ({"size": SIDES, "do_center_crop": False, "crop_size": SIDES}, "32-squash"),
        ({"feature_extractor_type": "ViTFeatureExtractor", "size": 32}, "32-squash-bilinear"),
    ],
)
def test_the_processor_of_a_clip_model_says_how_it_resizes(about, name):
    pixels = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    found = parse_preprocessing(processor_preprocessing(about | pixels))
    assert found.transform.name == name
    assert found.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (
            {"size": {"longest_edge": 32}},
            r'size is {"longest_edge": 32}, but must be shortest_edge',
        ),
        ({"size": SIDES | {"width": 31}}, r"size is .*31.*, but must be .* that are equal"),
        ({"do_center_crop": False}, r"do_center_crop is false, but must be true where"),
        ({"do_resize": False}, r"do_resize is false, but must be true"),
        ({"resample": 0}, r"resample is 0, but must be one of 2 \(bilinear\), 3 \(bicubic\)"),
        ({"rescale_offset": True, "include_top": True}, r"include_top is true, but must be false"),
        ({"size": {"shortest_edge": 32, "longest_edge": 64}}, r"size is .*, but must be shortest_"),
        ({"size": {"shortest_edge": "40"}}, r"size is .*, but must be a number of pixels"),
        ({"rescale_factor": 0}, r"rescale_factor is 0, but must be a number, above 0"),
        ({"image_mean": "half"}, r'image_mean is "half", but must be a number'),
        ({"do_pad": True}, r"do_pad is true, but must be false, or left out"),
        ({"crop_pct": 0.875}, r"crop_pct is 0.875, but must be false, or left out"),
        ({"size_divisor": 32}, r"size_divisor is 32, but must be false, or left out"),
        ({"crop_size": {"shortest_edge": 32}}, r"crop_size is .*, but must be height and width"),
        (
            {"image_processor_type": "MobileViTImageProcessorFast"},
            r'type is "MobileViTImageProcessorFast", but must be one of CLIPImageProcessor, ',
        ),
        (
            {"image_processor_type": "ConvNextImageProcessorFast"},
            r"do_center_crop is true, but must be false, since crop_pct says",
        ),
        (
            {"image_processor_type": "ConvNextImageProcessor", "crop_pct": "x"}
            | {"do_center_crop": False},
            r"size is .*, but must be shortest_edge alone, with a crop_pct above 0",
        ),
    ],
)
def test_a_processor_that_is_not_modelled_is_refused(about, message):
    with pytest.raises(WiseftError, match=message):
        processor_preprocessing(PROCESSOR | about)


def test_every_tag_of_open_clip_has_its_own_transform(tmp_path):
    """All tags: the pixels of the transform that open_clip itself builds for the model."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg
    from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict

    pixels = np.random.default_rng(0).integers(0, 256, (61, 97, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "odd.png")
    expected, names = {}, set()
    for name, tag in open_clip.list_pretrained():
        source = from_tag(f"{name}/{tag}")
        size = towers.image_size(source.architecture)
        ours = parse_preprocessing({"size": size} | source.preprocessing)
        about = merge_preprocess_dict(PreprocessCfg(size=size), get_pretrained_cfg(name, tag))
        library = image_transform_v2(PreprocessCfg(**about), is_train=False)
        key = repr(library)
        if key not in expected:
            expected[key] = library(Image.open(tmp_path / "odd.png"))
        found = torch.from_numpy(np.array(decode(tmp_path / "odd.png", ours.transform)))
        head = ImageClassifier(torch.nn.Identity(), torch.nn.Linear(1, 1), ours.model_dump())
        found = head.pixels(found.permute(2, 0, 1)[None])[0]
        torch.testing.assert_close(found, expected[key], rtol=0, atol=1e-6)
        names.add(ours.transform.name.removeprefix(str(size)))
    assert names == {"", "-bilinear", "-squash", "-squash-bilinear"}


def test_a_timm_model_is_fetched_with_its_classifier(fetch, hub):
    name = "resnet10t.c3_in1k"
    model = timm.create_model("resnet10t", pretrained=False)
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    hub.add(f"timm/{name}", {"model.safetensors": safetensors_of(tensors)}, COMMIT)
    found, header = fetch(f"timm:{name}")
    assert same(found, towers.floating(tensors))
    assert found["fc.weight"].shape == (1000, 512)
    assert header["architecture"]["label_set"] == "imagenet-1k"
    assert header["preprocessing"]["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert header["preprocessing"]["resize_size"] == int(176 / 0.875)


# ----------------------------------------------------------------------------------------- tags


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("ViT-B-32/opnai", r"no weights ViT-B-32/opnai; ViT-B-32 has: ViT-B-32/openai, .* more"),
        ("ViT-B-33/openai", r"no architecture ViT-B-33; near: ViT-B-32"),
        ("ViT-H-14/openai", r"openai is a tag of: .*ViT-L-14"),
        ("ViT-e-14/openai", r"ViT-e-14 has: none at all; openai is a tag of"),
        ("nothing", r"neither an entry of config/models nor a file; a tag is ARCHITECTURE/TAG"),
        ("hf-hub:nothing", r"expected ORGANISATION/NAME"),
        ("align:a/b@main", r"expected ORGANISATION/NAME, perhaps with @ and a commit"),
        ("timm:vit_base_patch16_224", r"no weights vit_base_patch16_224 on the hub"),
        ("timm:vit_bse_patch16_224.x", r"no model vit_bse_patch16_224; near: vit_base_patch16"),
    ],
)
def test_a_wrong_tag_is_answered_with_the_nearest(tag, message):
    with pytest.raises(WiseftError, match=message):
        from_tag(tag)


@pytest.mark.parametrize("tag", ["ViT-B-32/openai", "ViT-B/32/openai", "ViT-B-32:openai"])
def test_openais_tags_mean_quick_gelu(tag):
    source = from_tag(tag)
    assert source.spec == "ViT-B-32-quickgelu/openai"
    assert source.architecture["quick_gelu"] is True
    assert len(source.url_sha256) == 64
    assert "taken as ViT-B-32-quickgelu" in source.notes[0]
    assert from_tag("ViT-B-32-quickgelu/openai").notes == ()
    assert "quick_gelu" not in from_tag("ViT-B-32/laion2b_s34b_b79k").architecture


def test_every_tag_of_open_clip_has_a_source():
    import open_clip

    for name, tag in open_clip.list_pretrained():
        source = from_tag(f"{name}/{tag}")
        assert source.repository or source.url
        assert source.files[0].endswith((".safetensors", ".pt", ".bin", ".pth"))
        if name.endswith("-quickgelu") or tag == "openai":
            assert source.architecture["quick_gelu"]


# ----------------------------------------------------------------------------------------- entries

OPENAI = {
    "clip-rn50": ("RN50", 224),
    "clip-rn101": ("RN101", 224),
    "clip-rn50x4": ("RN50x4", 288),
    "clip-rn50x16": ("RN50x16", 384),
    "clip-rn50x64": ("RN50x64", 448),
    "clip-vit-b-32": ("ViT-B-32", 224),
    "clip-vit-b-16": ("ViT-B-16", 224),
    "clip-vit-l-14": ("ViT-L-14", 224),
    "clip-vit-l-14-336": ("ViT-L-14-336", 336),
}


@pytest.mark.parametrize("name", OPENAI)
def test_all_nine_openai_models_are_entries(project, name):
    entry, _ = Catalogue(project).model(name)
    architecture, size = OPENAI[name]
    assert entry.preprocessing.size == size
    assert entry.preprocessing.mean == OPENAI_MEAN
    source = from_entry(entry, project)
    assert source.spec == f"{architecture}-quickgelu/openai"
    assert towers.image_size(source.architecture) == size
    assert len(source.url_sha256) == 64


def test_every_entry_has_a_source_that_fits_it(project):
    catalogue = Catalogue(project)
    for name in catalogue.names("models"):
        entry, _ = catalogue.model(name)
        if not entry.fetched:
            continue
        source = from_entry(entry, project)
        assert source.name == name
        assert source.repository or source.url or source.path
        if source.architecture is not None:
            size = towers.image_size(source.architecture)
            assert size in (entry.preprocessing.size, None)
        if source.preprocessing and not entry.package:  # whose network has pixels of its own
            own = parse_preprocessing(source.given | source.preprocessing)
            assert own == entry.preprocessing, "an entry says what its tag says"


@pytest.fixture
def project():
    return Path(__file__).parents[2]


def test_command_fetches_an_entry(tiny_tag, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config" / "models").mkdir(parents=True)
    (tmp_path / "config" / "models" / "mine.yaml").write_text(
        "name: mine\ntitle: Mine\nsource: open_clip\narchitecture: Tiny\npretrained: tag\n"
        f"revision: {COMMIT}\n"
        "preprocessing: {size: 32, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}\n"
    )
    with pytest.raises(SystemExit) as left:
        main(["weights", "mine", "--output", "data/weights.safetensors"])
    assert left.value.code == 0
    tensors, header = load_weights("data/weights.safetensors")
    assert same(tensors, clip_weights())
    assert header["preprocessing"]["mean"] == [0.5, 0.5, 0.5], "the entry's own"
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main(["weights", "mine", "--output", "x", "--architecture", "Tiny"])
    assert left.value.code == 1
    assert "which says its architecture" in capsys.readouterr().err
    assert "HF_HUB_OFFLINE" not in os.environ


# ------------------------------------------------------------------- sums that no entry has


def sums(tmp_path):
    return json.loads((tmp_path / "fetched-sums.json").read_text())


def test_a_mirror_with_other_bytes_is_refused_after_the_first_fetch(
    tiny_tag, fetch, hub, said, tmp_path
):
    """A commit is a name: whoever holds the mirror can answer it with anything."""
    fetch(tiny_tag, revision=COMMIT)
    name = f"{REPOSITORY}/{NAMES[0]} at {COMMIT}"
    (line,) = [line for line in said if "recorded in" in line]
    assert line.startswith(f"{name}: SHA-256 {sums(tmp_path)[name]}, recorded in ")
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(tmp_path / "fetched", ignore_errors=True)
    said.clear()
    fetch(tiny_tag, "again.safetensors", revision=COMMIT)
    assert not [line for line in said if "recorded in" in line], "it is said once"
    shutil.rmtree(tmp_path / "cache")
    hub.add(REPOSITORY, {NAMES[0]: safetensors_of(clip_weights(2))}, COMMIT)
    with pytest.raises(WiseftError, match=r"sums\.json records [0-9a-f]{64} from the first fetch"):
        fetch(tiny_tag, "other.safetensors", revision=COMMIT)
    assert not (tmp_path / "out" / "other.safetensors").exists()
    pin = sha256_file(next((tmp_path / "cache").rglob(f"snapshots/*/{NAMES[0]}")))
    fetch(tiny_tag, "pinned.safetensors", revision=COMMIT, sha256=pin)


def test_an_address_is_held_to_its_first_bytes(register, fetch, web, said, tmp_path):
    for seed in (1, 2):
        url = web.serve("tiny.pt", torch_bytes(clip_weights(seed), tmp_path))
        register("Tiny", tiny.clip(), url=url)
        if seed == 1:
            fetch("Tiny/tag")
            assert sums(tmp_path)[url] == sha256_file(tmp_path / "fetched" / "Tiny-tag" / "tiny.pt")
            (tmp_path / "fetched" / "Tiny-tag" / "tiny.pt").unlink()
    with pytest.raises(WiseftError, match=r"Ask its publisher which is right; delete the entry"):
        fetch("Tiny/tag", "other.safetensors")


def test_a_text_tower_is_asked_at_a_pinned_commit(fetch, hub, register, monkeypatch, tmp_path):
    architecture = tiny.hf_text()
    register("Tiny", architecture, hf_hub=f"{REPOSITORY}/")
    hub.add(REPOSITORY, {NAMES[0]: safetensors_of(weights_of(architecture))}, COMMIT)
    config = json.dumps(architecture["text_cfg"]["hf_config"]).encode()
    hub.add("some/name", {"config.json": config, **tokenizer_files()}, "d" * 40)
    monkeypatch.setattr("wiseft.study.weights.fetch.text_revision", {"some/name": "d" * 40}.get)
    fetch("Tiny/tag")
    asked = [path for path in hub.asked if path.startswith("some/name")]
    assert asked
    assert all(path.startswith(f"some/name/resolve/{'d' * 40}/") for path in asked)
    shutil.rmtree(tmp_path / "cache")
    hub.add("some/name", {"config.json": config + b" ", **tokenizer_files()}, "d" * 40)
    with pytest.raises(WiseftError, match=r"some/name/config\.json at d+: .* from the first fetch"):
        fetch("Tiny/tag", "other.safetensors")


def test_the_text_towers_of_open_clip_have_commits():
    configs = map(open_clip.get_model_config, open_clip.list_models())
    names = {c["text_cfg"].get(f"hf_{w}_name") for c in configs for w in ("model", "tokenizer")}
    known = {name for name in names if name and not name.startswith("timm/")}
    commits = {name: text_revision(name) for name in known}
    assert len(commits) == 9, "a repository of timm's is that of the weights"
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in commits.values()), commits


@pytest.mark.parametrize("slow", [True, False])
def test_a_hub_that_trickles_or_sends_a_page_is_told(tiny_tag, fetch, hub, monkeypatch, slow):
    monkeypatch.setattr(speed, "WINDOW", 0.1)
    hub.pause, hub.kind = (0.02, "application/octet-stream") if slow else (0.0, "text/html")
    match = "the server is too slow: " if slow else "answered with a web page, as a login"
    with pytest.raises(WiseftError, match=match):
        fetch(tiny_tag)
