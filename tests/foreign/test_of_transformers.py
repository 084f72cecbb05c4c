"""Models that transformers makes: their logits, accuracies and results are the library's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.sweep.conftest import CLASSES, photo, write_images
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import wiseft
from wiseft.errors import WiseftError
from wiseft.evaluate.score import score_folder
from wiseft.images.decode import decode
from wiseft.models.classifier import build_classifier
from wiseft.thetas.preprocessing import parse_preprocessing
from wiseft.tool.api import merge_files
from wiseft.tool.loading_lines import loading_example
from wiseft.tool.sweep import sweep

LABELS = {"id2label": dict(enumerate(CLASSES)), "label2id": {c: k for k, c in enumerate(CLASSES)}}
PLAIN = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
PLAIN |= {"intermediate_size": 32, "image_size": 32, "patch_size": 8}
STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}
WINDOWS = {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}
LEVIT = {"image_size": 64, "hidden_sizes": [16, 24, 32], "num_attention_heads": [1, 2, 3]}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
SQUARE = ("ViTImageProcessor", {"size": {"height": 32, "width": 32}})
CROPPED = {"size": {"height": 40, "width": 40}, "crop_size": {"height": 32, "width": 32}}
CASES = {
    "ViT": (PLAIN, SQUARE),
    "DeiT": (PLAIN, ("DeiTImageProcessor", CROPPED)),
    "Beit": (PLAIN, ("BeitImageProcessor", SQUARE[1])),
    "Dinov2": (PLAIN, ("BitImageProcessor", {"size": {"shortest_edge": 36}, "crop_size": 28})),
    "CLIP": ({"vision_config": PLAIN}, ("CLIPImageProcessor", {"size": 32, "crop_size": 32})),
    "Siglip": ({"vision_config": PLAIN}, ("SiglipImageProcessor", SQUARE[1])),
    "ConvNext": (STAGES, ("ConvNextImageProcessor", {"size": {"shortest_edge": 32}})),
    "ConvNextV2": (STAGES, ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}})),
    "Swin": (WINDOWS | {"image_size": 32, "patch_size": 4}, SQUARE),
    "ResNet": (RESNET, ("ConvNextImageProcessor", {"size": {"shortest_edge": 40}})),
    "Levit": (
        LEVIT | {"depths": [1, 1, 1], "key_dim": [4, 4, 4]},
        ("ViTImageProcessor", {"size": 64}),
    ),
}


def classifier(name: str, seed: int = 0):
    kind = getattr(transformers, f"{name}ForImageClassification")
    torch.manual_seed(seed)
    model = kind(kind.config_class(**CASES[name][0], **LABELS)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in model.parameters():  # predictions that hang on no rounding
            each.add_(0.2 * torch.randn(each.shape, generator=generator))
    return model


def saved(model, folder: Path, name: str = "ViT") -> Path:
    model.save_pretrained(folder)
    kind, options = CASES[name][1]
    getattr(transformers, kind)(**options).save_pretrained(folder)
    return folder


def theirs(folder: Path, files: list[Path]) -> torch.Tensor:
    """Logits by the library alone, with its processor on Pillow."""
    model = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    prepare = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    images = [Image.open(file).convert("RGB") for file in files]
    with torch.no_grad():
        return model(**prepare(images, return_tensors="pt")).logits


def ours(theta, files: list[Path]) -> torch.Tensor:
    model = build_classifier(theta.header, theta.tensors)
    how = parse_preprocessing(theta.header.preprocessing).transform
    pixels = torch.stack([torch.from_numpy(np.array(decode(file, how))) for file in files])
    with torch.no_grad():
        return model(pixels.permute(0, 3, 1, 2))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images") / "photos", 8, 1, CLASSES)


@pytest.fixture(scope="module")
def shift(images):
    return write_images(images.with_name("sketches"), 5, 2, CLASSES)


def files_of(images: Path) -> tuple[list[Path], torch.Tensor]:
    files = sorted(images.rglob("*.png"))
    return files, torch.tensor([CLASSES.index(file.parent.name) for file in files])


@pytest.mark.parametrize("name", CASES)
def test_logits_and_accuracy_of_a_classifier_are_the_librarys(name, images, tmp_path):
    folder, (files, labels) = saved(classifier(name), tmp_path / "model", name), files_of(images)
    expected = theirs(folder, files)
    assert expected.std() > 0.02
    read = wiseft.load(folder)
    assert list(read.theta.header.class_names) == CLASSES
    torch.testing.assert_close(ours(read.theta, files), expected, rtol=0, atol=1e-4)
    done = score_folder(folder, images)
    assert (done.n, done.n_correct) == (32, int((expected.argmax(dim=1) == labels).sum()))


def test_a_sweep_of_classifiers_writes_what_the_library_interpolates(images, shift, tmp_path, said):
    ends = [saved(classifier("ViT", seed), tmp_path / f"{seed}") for seed in (0, 1)]
    result = sweep(*ends, images, [shift], tmp_path / "out", alpha=0.3, alphas=[0.3])
    load = transformers.AutoModelForImageClassification.from_pretrained
    one, two, made = (load(each).eval() for each in (*ends, result.model_path))
    for key, tensor in made.state_dict().items():
        expected = torch.lerp(one.state_dict()[key], two.state_dict()[key], 0.3)
        torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-6)
    assert made.config.id2label == LABELS["id2label"]
    shown = next(
        each for each in result.record.accuracy if (each.set, each.alpha) == ("sketches", 0.3)
    )
    files, labels = files_of(shift)
    right = (theirs(result.model_path, files).argmax(dim=1) == labels).sum()
    assert (shown.n, shown.n_correct) == (20, int(right))
    assert result.record.model.loads_with == "transformers"
    photo(tmp_path)
    run = [sys.executable, "-c", loading_example(result)]
    printed = subprocess.run(run, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert (
        printed.strip()
        == CLASSES[int(theirs(result.model_path, [tmp_path / "photo.jpg"])[0].argmax())]
    )


def test_a_theta_of_a_classifier_is_an_end_and_is_scored(images, shift, tmp_path, said):
    ends = [saved(classifier("ResNet", seed), tmp_path / f"{seed}", "ResNet") for seed in (0, 1)]
    wiseft.load(ends[0]).save(tmp_path / "theta.safetensors")
    accuracies = [
        sweep(z, ends[1], images, [shift], tmp_path / out, alphas=[0.5]).record.accuracy
        for z, out in ((ends[0], "one"), (tmp_path / "theta.safetensors", "two"))
    ]
    assert accuracies[0] == accuracies[1]
    assert "prefix" not in " ".join(said)
    one, two = (score_folder(end, images) for end in (ends[0], tmp_path / "theta.safetensors"))
    assert one.n_correct == two.n_correct


def lightning(model, file: Path, before: str = "model.", also: dict | None = None) -> Path:
    state = {f"{before}{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state | (also or {}), "epoch": 1}, file)
    return file


@pytest.mark.parametrize("before", ["model.", "net.", "model._orig_mod.", "module.model."])
def test_a_prefix_of_lightning_is_taken_off_and_named(before, images, shift, tmp_path, said):
    """Also in the names that modules have, which are others than those of files."""
    folder = saved(classifier("ViT", 0), tmp_path / "start")
    file = lightning(classifier("ViT", 1), tmp_path / "last.ckpt", before)
    alone = saved(classifier("ViT", 1), tmp_path / "end")
    names = list(load_file(alone / "model.safetensors"))
    assert not set(names) <= {key.removeprefix(before) for key in torch.load(file)["state_dict"]}
    found, expected = (
        sweep(folder, end, images, [shift], tmp_path / out, alpha=1, alphas=[0.5]).record.accuracy
        for end, out in ((file, "one"), (alone, "two"))
    )
    assert found == expected
    n = len(names)
    assert (
        f"last.ckpt: prefix {'model.' if 'model' in before else 'net.'} of {n} tensors"
        in " ".join(said)
    )


def test_what_lies_beside_a_classifier_in_a_file_is_no_half_match(images, shift, tmp_path):
    folder = saved(classifier("ViT", 0), tmp_path / "start")
    more = {"model.teacher.weight": torch.ones(2, 2)}
    file = lightning(classifier("ViT", 1), tmp_path / "last.ckpt", also=more)
    with pytest.raises(WiseftError, match=r"1 unexpected: model\.teacher\.weight"):
        sweep(folder, file, images, [shift], tmp_path / "out")


@pytest.mark.parametrize("first", ["plain", "wrapped"])
def test_a_merge_takes_off_a_prefix_that_one_has_alone(first, tmp_path, said):
    tensors = {"stem.weight": torch.ones(2, 2), "head.bias": torch.ones(3)}
    save_file(tensors, tmp_path / "plain.safetensors")
    wrapped = {f"net.{name}": 3 * each for name, each in tensors.items()}
    save_file(wrapped, tmp_path / "wrapped.safetensors")
    other = "wrapped" if first == "plain" else "plain"
    files = [tmp_path / f"{name}.safetensors" for name in (first, other, "made")]
    merge_files(files[0], files[1], 0.5, files[2])
    assert "wrapped.safetensors: prefix net. of 2 tensors taken off" in " ".join(said)
    found = load_file(files[2])
    assert found.keys() == (tensors if first == "plain" else wrapped).keys()
    assert all(torch.equal(each, torch.full_like(each, 2)) for each in found.values())


@pytest.mark.parametrize("wrapper", ["_fsdp_wrapped_module.", "_checkpoint_wrapped_module."])
def test_wrappers_within_names_are_taken_off_and_put_back(wrapper, tmp_path):
    plain = {"block.0.weight": torch.ones(2, 2), "head.bias": torch.ones(3)}
    inner = {k.replace("0.", f"0.{wrapper}"): 3 * v for k, v in plain.items()}
    save_file(plain, tmp_path / "a.safetensors")
    save_file(inner, tmp_path / "b.safetensors")
    for a, b, names in (("a", "b", plain), ("b", "a", inner)):
        output = tmp_path / f"{a}{b}.safetensors"
        merge_files(tmp_path / f"{a}.safetensors", tmp_path / f"{b}.safetensors", 0.5, output)
        assert load_file(output).keys() == names.keys()


def test_a_clip_that_lightning_saved_is_swept(images, shift, tmp_path, said):
    from tests.sweep.conftest import clip_config, save_clip_folder

    torch.manual_seed(0)
    model = transformers.CLIPModel(clip_config())
    folder = save_clip_folder(model, tmp_path / "start")
    with torch.no_grad():
        model.visual_projection.weight.add_(0.5)
    file = lightning(model, tmp_path / "last.ckpt")
    result = sweep(folder, file, images, [shift], tmp_path / "out", alpha=0.5, alphas=[0.5])
    assert "prefix model. of" in " ".join(said)
    made = torch.load(result.model_path)["state_dict"]
    assert made.keys() == torch.load(file)["state_dict"].keys()
    start = load_file(folder / "model.safetensors")["visual_projection.weight"]
    torch.testing.assert_close(made["model.visual_projection.weight"], start + 0.25)


def test_a_merge_knows_the_names_of_modules_and_of_files(tmp_path):
    """Of a folder of transformers and what Lightning or our callback writes of the same model."""
    one, two = classifier("ViT", 0), classifier("ViT", 1)
    folder = saved(one, tmp_path / "start")
    save_file(two.state_dict(), tmp_path / "modules.safetensors")
    wrapped = lightning(two, tmp_path / "last.ckpt")
    load = transformers.AutoModelForImageClassification.from_pretrained
    for place, other in enumerate((tmp_path / "modules.safetensors", wrapped)):
        merge_files(folder, other, 0.25, made := tmp_path / f"{place}")
        found = load(made).state_dict()
        for key, tensor in one.state_dict().items():
            expected = torch.lerp(tensor, two.state_dict()[key], 0.25)
            torch.testing.assert_close(found[key], expected, rtol=0, atol=1e-6)
    merge_files(wrapped, folder, 1, tmp_path / "back.ckpt")
    back = torch.load(tmp_path / "back.ckpt")["state_dict"]
    assert torch.equal(back["model.classifier.weight"], one.state_dict()["classifier.weight"])
    large = dict(two.state_dict()) | {"extra.weight": torch.ones(2)}
    save_file(large, tmp_path / "large.safetensors")
    with pytest.raises(WiseftError, match=r"1 unexpected: extra\.weight"):
        merge_files(folder, tmp_path / "large.safetensors", 0.5, tmp_path / "no")


# ------------------------------------------------------------------------------------------ SigLIP

TEXT = {k: v for k, v in PLAIN.items() if k not in ("image_size", "patch_size")}
WORDS = ["<pad>", "<eos>", "<unk>", "a", "photo", "of", ".", *CLASSES]


def siglip(folder: Path, masked: bool, end: str = "<eos>") -> Path:
    """Save a SiglipModel with a tokenizer and a processor, as transformers does."""
    torch.manual_seed(3)
    text = TEXT | {"vocab_size": len(WORDS), "max_position_embeddings": 12}
    config = transformers.SiglipConfig(text_config=text, vision_config=PLAIN)
    model = transformers.SiglipModel(config)
    with torch.no_grad():
        for each in model.parameters():
            each.add_(0.3 * torch.randn(each.shape))
        model.logit_scale.fill_(2.0)
        model.logit_bias.fill_(-3.0)
    model.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({w: k for k, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, WORDS.index(end))]
    )
    names = ["input_ids", *(["attention_mask"] if masked else [])]
    options = {"pad_token": "<pad>", "eos_token": end, "model_input_names": names}
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=words, **options)
    prepare = transformers.SiglipImageProcessor(**SQUARE[1])
    transformers.SiglipProcessor(prepare, made).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("masked", "end"), [(False, "<eos>"), (True, "<eos>"), (True, "<pad>")])
def test_a_siglip_classifies_as_the_library_does(masked, end, images, tmp_path):
    folder, (files, labels) = siglip(tmp_path / "model", masked, end), files_of(images)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    read = transformers.AutoTokenizer.from_pretrained(folder)
    prompts = [f"a photo of a {name}." for name in CLASSES]
    tokens = read(
        prompts, padding="max_length", max_length=12, truncation=True, return_tensors="pt"
    )
    assert ("attention_mask" in tokens) == masked
    prepare = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    pixels = prepare([Image.open(file).convert("RGB") for file in files], return_tensors="pt")
    with torch.no_grad():
        expected = model(**tokens, **pixels).logits_per_image
    theta = wiseft.load(folder, classes=CLASSES).theta
    torch.testing.assert_close(ours(theta, files), expected, rtol=0, atol=1e-4)
    done = score_folder(folder, images)
    assert done.n_correct == int((expected.argmax(dim=1) == labels).sum())


def test_a_sweep_of_siglips_whose_text_towers_differ(images, shift, tmp_path):
    ends = [siglip(tmp_path / name, False) for name in ("one", "two")]
    model = transformers.AutoModel.from_pretrained(ends[1])
    with torch.no_grad():
        for each in model.parameters():
            each.add_(0.1 * torch.randn(each.shape, generator=torch.Generator().manual_seed(1)))
    model.save_pretrained(ends[1])
    result = sweep(*ends, images, [shift], tmp_path / "out", alpha=0.5, alphas=[0.5])
    assert "interpolated text tower" in result.record.head
    load = transformers.AutoModel.from_pretrained
    one, two, made = (load(each).state_dict() for each in (*ends, result.model_path))
    for key, tensor in made.items():
        torch.testing.assert_close(tensor, torch.lerp(one[key], two[key], 0.5), rtol=0, atol=1e-6)
    shown = [e.n_correct for e in result.record.accuracy if e.alpha == 0.5 and e.split == "test"]
    assert score_folder(result.model_path, images, classes=CLASSES).n == 32 and shown
    photo(tmp_path)
    run = [sys.executable, "-c", loading_example(result)]
    printed = subprocess.run(run, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert printed.strip() in CLASSES


def test_a_long_prompt_is_refused_where_the_end_token_fills_rows(images, tmp_path):
    folder = siglip(tmp_path / "model", False, "<pad>")
    with pytest.raises(WiseftError, match="has 13 tokens, but the model reads 12"):
        score_folder(folder, images, templates=["a photo of a photo of a photo of a {c} ."])


# ------------------------------------------------------------------------------------------ refused


def changed(folder: Path, **keys) -> None:
    about = json.loads((folder / "config.json").read_text()) | keys
    (folder / "config.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"architectures": ["EvilForImageClassification"]},
            "transformers has no image classifier Ev",
        ),
        ({"model_type": "bert"}, "of the model type bert"),
        (
            {"architectures": ["DeiTForImageClassificationWithTeacher"], "model_type": "deit"},
            "its configuration is none of",
        ),
        ({"num_hidden_layers": 2**23}, "far larger model than"),
        ({"num_hidden_layers": 1}, "unexpected: vit"),
        ({"hidden_size": "x"}, "transformers cannot build ViTForImageClassification"),
    ],
)
def test_a_configuration_that_is_not_the_models_is_refused(keys, message, images, tmp_path):
    folder = saved(classifier("ViT"), tmp_path / "model")
    changed(folder, **keys)
    with pytest.raises(WiseftError, match=message):
        score_folder(folder, images)


def test_logits_of_two_heads_and_other_forwards_are_refused(images, tmp_path):
    model = transformers.SwiftFormerForImageClassification(
        transformers.SwiftFormerConfig(depths=[1, 1], embed_dims=[8, 8], **LABELS)
    )
    folder = saved(model, tmp_path / "model")
    with pytest.raises(WiseftError, match="are not those of one linear layer"):
        score_folder(folder, images)


def test_a_classifier_without_its_processor_or_head_is_refused(images, shift, tmp_path):
    classifier("ViT").save_pretrained(tmp_path / "model")
    with pytest.raises(WiseftError, match=r"has no preprocessor_config\.json, so nothing says"):
        score_folder(tmp_path / "model", images)
    size = {"size": {"height": 40, "width": 40}}
    transformers.ViTImageProcessor(**size).save_pretrained(tmp_path / "model")
    with pytest.raises(WiseftError, match="images of 40 pixels, but the model reads 32"):
        score_folder(tmp_path / "model", images)
    folder = saved(classifier("ViT"), tmp_path / "headless")
    weights = load_file(folder / "model.safetensors")
    rest = {k: v for k, v in weights.items() if not k.startswith("classifier")}
    save_file(rest, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WiseftError, match=r"has no classifier\.weight"):
        sweep(folder, folder, images, [shift], tmp_path / "out")
