"""Classifiers of other programs, compared with their library's own pipeline on the same images.

Images are noise, so that one pixel or one key of the preprocessing changes what comes out. Where
folders are the classes, an image lies in the one that the library predicts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image
from tests.faults.foreign_models import (
    ABSENT,
    FAMILIES,
    OPEN_CLIP,
    VISION,
    Change,
    change_config,
    lively,
    load_open_clip,
    load_timm,
    save_timm,
)
from tests.faults.harness import Ended, as_command, command, run
from tests.faults.verdicts import Found, Ground, Verdict

CLASSES = ["bird", "cat", "dog"]
TIMM_LABELS = ["dog", "bird", "cat"]
IMAGES = 6
NEAR = 0.05
"""Differences of logits that two ways to resize (Pillow, torchvision) make, as a share of their
spread over the images: they make 0.015 at most. A crop that is one pixel off makes 1.9."""

Logits = tuple[list[str], Any]
"""Names of the classes, and logits of shape (images, classes)."""
PROCESSOR: list[Change] = [
    *(("do_normalize", False), ("do_rescale", False), ("rescale_factor", 1 / 127.5)),
    *(("rescale_factor", 1.0), ("image_mean", [0.0, 0.5, 1.0]), ("image_std", [1.0, 0.5, 0.25])),
    *(("size", {"shortest_edge": 40}), ("size", {"height": 32, "width": 32})),
    *(("size", 32), ("size", ABSENT), ("size", {"longest_edge": 32})),
    *(("size", {"height": 40, "width": 40}), ("size", {"shortest_edge": 37})),
    *(("size", {"height": 32, "width": 40}), ("size", {"shortest_edge": 32, "longest_edge": 36})),
    *(("crop_size", {"height": 28, "width": 28}), ("crop_size", 32), ("crop_size", ABSENT)),
    *(("do_center_crop", False), ("do_resize", False), ("do_convert_rgb", False)),
    *(("resample", 2), ("resample", 0), ("resample", 1), ("resample", 5), ("resample", ABSENT)),
    *(("image_mean", ABSENT), ("image_std", ABSENT), ("do_pad", True), ("pad_size", 48)),
    *(
        ("image_processor_type", "ViTImageProcessor"),
        ("image_processor_type", "ConvNextImageProcessor"),
    ),
    ("processor_config.json", True),
]
"""The last: the whole stands in the file of a processor, as transformers 5 writes it."""
TIMM: list[Change] = [
    *(("mean", [0.0, 0.5, 1.0]), ("std", [1.0, 0.5, 0.25]), ("mean", ABSENT), ("std", ABSENT)),
    *(("crop_pct", 0.8), ("crop_pct", 0.875), ("crop_pct", ABSENT), ("crop_mode", "squash")),
    *(("crop_mode", "border"), ("interpolation", "bilinear"), ("interpolation", "nearest")),
    *(("interpolation", "random"), ("interpolation", ABSENT), ("input_size", [3, 48, 48])),
    *(("input_size", ABSENT), ("input_size", [1, 32, 32]), ("test_input_size", [3, 40, 40])),
    *(("test_crop_pct", 0.7), ("fixed_input_size", True), ("input_size", [3, 32, 40])),
]
OPEN: list[Change] = [
    *(("mean", [0.0, 0.5, 1.0]), ("std", [1.0, 0.5, 0.25]), ("mean", ABSENT), ("std", ABSENT)),
    *(("interpolation", "bilinear"), ("interpolation", "random"), ("resize_mode", "longest")),
    *(("resize_mode", "squash"), ("size", [40, 40]), ("size", 32), ("size", ABSENT)),
    *(("mode", "L"), ("fill_color", 255), ("size", [32, 40])),
]


def draw(folder: Path, seed: int, number: int) -> list[Path]:
    """Write images of noise in sizes of their own."""
    rng, paths = np.random.default_rng(seed), []
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(number):
        height, width = rng.integers(36, 60, 2)
        coarse = rng.integers(0, 256, (height // 3 + 1, width // 3 + 1, 3))
        pixels = np.kron(coarse, np.ones((3, 3, 1)))[:height, :width].astype(np.uint8)
        paths.append(folder / f"{place:02}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


# ------------------------------------------------------------------------- the libraries' own way


def by_transformers(folder: Path, images: list[Path], classes: list[str]) -> list[Logits]:
    """Return logits of transformers' model and processor, by each of its two ways to resize."""
    import torch
    import transformers

    opened = [Image.open(path) for path in images]
    config = json.loads((folder / "config.json").read_text())
    whole = config["model_type"] == "clip" and "Classification" not in str(config["architectures"])
    name = "CLIPModel" if whole else config["architectures"][0]
    model = getattr(transformers, name).from_pretrained(folder).eval()
    found = []
    for backend in ("pil", "torchvision"):
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend=backend)
        each = [processor(image, return_tensors="pt")["pixel_values"] for image in opened]
        pixels = torch.cat(each)
        with torch.inference_mode():
            if not whole:
                names = [model.config.id2label[place] for place in range(len(classes))]
                found.append((names, model(pixel_values=pixels).logits))
                continue
            tokens = _tokens(classes)
            logits = model(pixel_values=pixels, input_ids=tokens).logits_per_image
        found.append((classes, logits))
    return found


def _tokens(classes: list[str]) -> Any:
    from open_clip import SimpleTokenizer

    return SimpleTokenizer(context_length=20)([f"a photo of a {name}." for name in classes])


def by_open_clip(folder: Path, images: list[Path], classes: list[str]) -> list[Logits]:
    """Return logits of open_clip's model and transform."""
    import torch

    model, transform = load_open_clip(folder)
    with torch.inference_mode():
        pixels = torch.stack([transform(Image.open(path)) for path in images])
        image = model.encode_image(pixels, normalize=True)
        text = model.encode_text(_tokens(classes), normalize=True)
        return [(classes, model.logit_scale.exp() * image @ text.T)]


def by_timm(folder: Path, images: list[Path], classes: list[str]) -> list[Logits]:
    """Return logits of timm's model and transform, and its own names of the classes."""
    import timm
    import torch

    model = load_timm(folder)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    names = json.loads((folder / "config.json").read_text())["label_names"]
    with torch.inference_mode():
        pixels = torch.stack([transform(Image.open(path).convert("RGB")) for path in images])
        return [(names, model(pixels))]


Truth = Callable[[Path, list[Path], list[str]], list[Logits]]


# ------------------------------------------------------------------------------------- the models


def _clip(rng: Random, model: Path) -> tuple[str, Truth]:
    FAMILIES["CLIPModel"].save(model, rng.randrange(100))
    said = _process(rng, model)
    if rng.random() < 0.3:
        changes = [rng.choice(FAMILIES["CLIPModel"].changes)]
        change_config(model / "config.json", changes)
        said += f", {changes[0][0]}: {changes[0][1]}"
    return f"CLIPModel {said}", by_transformers


def _classifier(rng: Random, model: Path) -> tuple[str, Truth]:
    import transformers

    labels = dict(enumerate(rng.sample(CLASSES, 3)))
    if rng.random() < 0.5:
        config = transformers.ViTConfig(**VISION, id2label=labels)
        module = transformers.ViTForImageClassification(config)
    else:
        config = transformers.CLIPConfig(vision_config=VISION, projection_dim=16, id2label=labels)
        module = transformers.CLIPForImageClassification(config)
    lively(module, rng.randrange(100)).save_pretrained(model)
    edge = {"height": 32, "width": 32}
    transformers.ViTImageProcessor(size=edge).save_pretrained(model)
    return f"{type(module).__name__} {_process(rng, model)}", by_transformers


def _process(rng: Random, model: Path) -> str:
    """Change what a folder of transformers says of images."""
    changes = rng.sample(PROCESSOR, rng.choice([0, 1, 1, 1, 2]))
    file = model / "preprocessor_config.json"
    change_config(file, [each for each in changes if each[0] != "processor_config.json"])
    if any(key == "processor_config.json" for key, _ in changes):
        content = {
            "image_processor": json.loads(file.read_text()),
            "processor_class": "CLIPProcessor",
        }
        (model / "processor_config.json").write_text(json.dumps(content))
        file.unlink()
    return _words(changes)


def _words(changes: list[Change]) -> str:
    said = [f"{key}: {'absent' if value is ABSENT else value}" for key, value in changes]
    return f"with {', '.join(said)}" if said else "as it is"


def _open(rng: Random, model: Path) -> tuple[str, Truth]:
    FAMILIES["open_clip"].save(model, rng.randrange(100))
    changes = rng.sample(OPEN, rng.choice([0, 1, 1, 2]))
    said = [(f"preprocess_cfg.{key}", value) for key, value in changes]
    if rng.random() < 0.3:
        said += [rng.choice(FAMILIES["open_clip"].changes)]
    change_config(model / "open_clip_config.json", said)
    assert OPEN_CLIP["embed_dim"] == 16  # `said` went to the file, not to what all share
    return f"open_clip {_words(said)}", by_open_clip


def _timm(rng: Random, model: Path) -> tuple[str, Truth]:
    save_timm(model, rng.randrange(100), TIMM_LABELS)
    changes = rng.sample(TIMM, rng.choice([0, 1, 1, 2]))
    change_config(model / "config.json", [(f"pretrained_cfg.{k}", v) for k, v in changes])
    return f"timm {_words(changes)}", by_timm


# --------------------------------------------------------------------------------------- the attack


def attack(ground: Ground, rng: Random, number: int, folder: Path) -> Found:
    """Classify images by a model of another library, in one of three ways."""
    make = [_clip, _timm, _open, _classifier, _clip, _timm][number % 6]
    key, model = rng.random(), folder / "model"
    noted = folder / "what.txt"

    def write() -> None:
        what, truth = make(Random(key), model)
        noted.write_text(f"{what}\n{truth.__name__}")

    made = run(write, folder)
    assert made.code == 0, made.output
    what, name = noted.read_text().split("\n")
    truth: Truth = globals()[name]
    if truth is by_timm and rng.random() < 0.5:
        return _sweep(ground, f"sweep: {what}", model, folder)
    if truth is not by_timm and rng.random() < 0.4:
        return _score(ground, f"score: {what}", truth, model, folder)
    return _load(ground, f"load: {what}", truth, model, folder)


def _load(ground: Ground, what: str, truth: Truth, model: Path, folder: Path) -> Found:
    images = draw(folder / "images", 1, IMAGES)
    heads = truth is by_timm or "Classification" in what

    def work() -> None:
        import wiseft

        classifier = wiseft.load(model, classes=None if heads else CLASSES)
        found = classifier.class_names, classifier.logits(images).tolist()
        (folder / "found.json").write_text(json.dumps(found))

    ended = run(as_command(work), folder)
    judge = partial(_judge_logits, truth, model, images, folder / "found.json")
    return _concluded(ground, what, ended, folder, judge)


def _concluded(
    ground: Ground, what: str, ended: Ended, folder: Path, judge: Callable[[], str]
) -> Found:
    from tests.faults.foreign_checkpoints import judged

    if found := ground.common(what, ended):
        return found
    if ended.code:
        if what.endswith("as it is") and "Classification" not in what:
            return Found(what, Verdict.UNCLEAR, f"is refused\n{ended.output[-600:]}")
        return Found(what)
    return judged(what, ended, folder, judge)


def _logits(truth: Truth, model: Path, images: list[Path]) -> list[Logits] | str:
    try:
        return truth(model, images, CLASSES)
    except Exception as error:
        return f"the library itself classifies nothing: {type(error).__name__}: {error}"[:300]


def _judge_logits(truth: Truth, model: Path, images: list[Path], file: Path) -> str:
    names, found = json.loads(file.read_text())
    expected = _logits(truth, model, images)
    if isinstance(expected, str):
        return expected
    faults = [far(names, np.array(found), own, logits.numpy()) for own, logits in expected]
    return "" if "" in faults else faults[0]


def far(names: list[str], found: Any, own: list[str], logits: Any) -> str:
    if sorted(names) != sorted(own):
        return f"the classes are {names}, those of the library {own}"
    logits = logits[:, [own.index(name) for name in names]]
    spread = float(logits.std(axis=0).max())
    off = float(np.abs(found - logits).max()) / spread
    if off <= NEAR:
        return ""
    return f"logits are off by {off:.2f} of their spread over the images ({spread:.3g})"


def _predicted(truth: Truth, model: Path, folder: Path, seed: int) -> list[tuple[str, str, bool]]:
    """Write images into folders of the classes that the library predicts among the folders' own;
    return class, prediction and whether it is near another, of each image.
    """
    images = draw(folder / "drawn", seed, 24)
    expected = truth(model, images, CLASSES)
    names, logits = expected[0][0], [each.numpy() for _, each in expected]
    told = []
    for place, image in enumerate(images):
        best = names[int(logits[0][place].argmax())]
        top = np.sort(logits[0][place])
        near = top[-1] - top[-2] < 2 * NEAR * float(logits[0].std(axis=0).max())
        # The first of each class make sure that every class has images.
        label = CLASSES[place] if place < len(CLASSES) else best
        (folder / label).mkdir(exist_ok=True)
        image.rename(folder / label / image.name)
        told.append((label, best, bool(near)))
    (folder / "drawn").rmdir()
    return told


def _label(truth: Truth, model: Path, folder: Path, seed: int) -> tuple[int, int]:
    """Write labelled images in a process of its own; return between which two numbers of right
    predictions the library's lies. Where it predicts nothing, both are -1.
    """
    file = folder / "told.json"

    def write() -> None:
        told: Any = []
        try:
            told = _predicted(truth, model, folder / "photos", seed)
        except Exception:
            for name in CLASSES:
                draw(folder / "photos" / name, seed, 4)
        file.write_text(json.dumps(told))

    made = run(write, folder)
    assert made.code == 0, made.output
    told = json.loads(file.read_text())
    if not told:
        return -1, -1
    sure = sum(label == best and not near for label, best, near in told)
    return sure, sure + sum(near for _, _, near in told)


def _between(n: int, least: int, most: int) -> str:
    if most < 0:
        return f"{n} right, but the library itself classifies nothing"
    if least <= n <= most:
        return ""
    return f"{n} right; by the library it is {least}{f' to {most}' if most > least else ''}"


def _score(ground: Ground, what: str, truth: Truth, model: Path, folder: Path) -> Found:
    least, most = _label(truth, model, folder, 2)
    ended = run(command("score", "model", "photos", "--json", "--threads", 1), folder)

    def judge() -> str:
        n = json.loads(ended.output[ended.output.index("{") :])["n_correct"]
        return _between(n, least, most)

    return _concluded(ground, what, ended, folder, judge)


def _sweep(ground: Ground, what: str, model: Path, folder: Path) -> Found:
    """Sweep between two classifiers of timm; the labels are what the second predicts."""

    def write() -> None:
        save_timm(folder / "zero", 7, TIMM_LABELS)
        about = json.loads((model / "config.json").read_text())
        (folder / "zero" / "config.json").write_text(json.dumps(about))
        for name in CLASSES:
            draw(folder / "reference" / name, 3, 4)

    made = run(write, folder)
    assert made.code == 0, made.output
    least, most = _label(by_timm, model, folder, 4)
    given = ("zero", "model", "--reference", "reference", "--shift", "photos", "-o", "out")
    ended = run(command("sweep", *given, "--alphas", "0,1"), folder)

    def judge() -> str:
        rows = json.loads((folder / "out" / "sweep.json").read_text())["accuracy"]
        (row,) = [each for each in rows if each["set"] == "photos" and each["alpha"] == 1]
        return _between(row["n_correct"], least, most)

    return _concluded(ground, what, ended, folder, judge)
