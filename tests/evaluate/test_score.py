"""`wiseft score MODEL FOLDER`: a model of the user's on images of the user's."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
import scipy.stats
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from tests import tiny_models as tiny
from tests.evaluate.conftest import CLASSES, blobs, tiny_header, tiny_tensors
from tests.weights.conftest import OPENAI_MEAN, OPENAI_STD, weights_of
from torch.nn.functional import normalize
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from wiseft.base import library
from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.evaluate import score as score_module
from wiseft.evaluate.score import Score, score_folder, score_folders
from wiseft.models import towers
from wiseft.models.classifier import build_classifier
from wiseft.thetas.theta import save_theta
from wiseft.tool.api import merge_files
from wiseft.zeroshot.head import build_head
from wiseft.zeroshot.prompts import TEMPLATES

PER_CLASS = 25


def write_folder(folder: Path, names: list[str]) -> Path:
    for place, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(blobs(PER_CLASS, place)):
            Image.fromarray(image).save(folder / name / f"{number:02}.png")
    return folder


def images(place: int) -> torch.Tensor:
    """Return the images that `write_folder` writes for a class, uint8 (n, 3, 32, 32)."""
    return torch.from_numpy(blobs(PER_CLASS, place)).permute(0, 3, 1, 2)


def score(model: Path, data: Path, **options) -> Score:
    return score_folder(model, data, **options)


@pytest.fixture
def theta(tmp_path: Path) -> Path:
    save_theta(tmp_path / "theta.safetensors", tiny_tensors(1), tiny_header())
    return tmp_path / "theta.safetensors"


def right(place: int, label: int, among: list[int]) -> int:
    """Return how many images of a class the tiny theta gets right among some classes."""
    with torch.no_grad():
        logits = build_classifier(tiny_header(), tiny_tensors(1))(images(place))
    best = torch.tensor(among)[logits[:, among].argmax(dim=1)]
    return int((best == label).sum())


@pytest.mark.parametrize("names", [CLASSES, [name.upper() for name in CLASSES], list("0123")])
def test_a_theta_predicts_its_own_classes(tmp_path, theta, names):
    """Folders are called as the classes are, in any order of the file system, or numbered."""
    found = score(theta, write_folder(tmp_path / "photos", names))
    expected = {CLASSES[i]: (PER_CLASS, right(i, i, [0, 1, 2, 3])) for i in range(4)}
    assert found.classes == expected
    assert found.n == 4 * PER_CLASS
    assert found.n_correct == sum(hits for _, hits in expected.values())
    assert 0 < found.n_correct < found.n, "the test would not see a wrong order of classes"
    assert found.restricted == 0


@pytest.mark.parametrize(
    ("how", "steps"),
    [
        ({}, [Resize(32, InterpolationMode.BICUBIC), CenterCrop(32)]),
        (
            {"resize_mode": "squash", "interpolation": "bilinear", "resize_size": 35},
            [Resize((35, 35), InterpolationMode.BILINEAR), CenterCrop(32)],
        ),
    ],
)
def test_images_go_through_the_transform_of_the_model(tmp_path, how, steps):
    header = tiny_header()
    header = dataclasses.replace(header, preprocessing=header.preprocessing | how)
    save_theta(tmp_path / "theta.safetensors", tiny_tensors(1), header)
    model = build_classifier(header, tiny_tensors(1))
    expected = {}
    for place, name in enumerate(CLASSES):
        (tmp_path / "photos" / name).mkdir(parents=True)
        photos = [Image.fromarray(image).resize((61, 43)) for image in blobs(PER_CLASS, place)]
        for number, photo in enumerate(photos):
            photo.save(tmp_path / "photos" / name / f"{number:02}.png")
        shown = np.stack([np.asarray(Compose(steps)(photo)) for photo in photos])
        with torch.no_grad():
            logits = model(torch.from_numpy(shown).permute(0, 3, 1, 2))
        expected[name] = (PER_CLASS, int((logits.argmax(dim=1) == place).sum()))
    assert score(tmp_path / "theta.safetensors", tmp_path / "photos").classes == expected


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1]])
def test_another_order_of_the_classes_that_fits_far_better_is_said(tmp_path, capsys, order):
    """The head's rows are the means of the classes' features, which tell them apart."""
    tensors = dict(tiny_tensors(1))
    model = build_classifier(tiny_header(), tensors)
    with torch.no_grad():
        features = [model.image(model.pixels(images(place))) for place in range(4)]
        means = torch.stack([normalize(each, dim=-1).mean(dim=0) for each in features])
    rows = normalize(means - means.mean(dim=0), dim=-1)
    tensors |= {"head.weight": rows[order], "head.bias": -rows[order] @ means.mean(dim=0)}
    save_theta(tmp_path / "theta.safetensors", tensors, tiny_header())
    folder = write_folder(tmp_path / "photos", CLASSES)
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["score", str(tmp_path / "theta.safetensors"), str(folder)])
    said = capsys.readouterr().err
    if order == sorted(order):
        assert "order" not in said
    else:
        expected = sorted(f"{CLASSES[row]} is {CLASSES[at]}" for row, at in enumerate(order))
        found = re.search(r"the head is right on .* in another order: what it calls (.*);", said)
        assert found and sorted(found[1].split(", ")) == expected


def test_predictions_are_among_the_folders_classes(tmp_path, theta):
    found = score(theta, write_folder(tmp_path / "photos", ["three", "one"]))
    assert found.classes == {
        "one": (PER_CLASS, right(1, 1, [1, 3])),
        "three": (PER_CLASS, right(0, 3, [1, 3])),
    }
    assert found.restricted == 2


def test_folders_may_be_called_otherwise(tmp_path, theta):
    data = write_folder(tmp_path / "photos", ["eins", "one_more"])
    found = score(theta, data, class_names={"eins": "one", "one_more": "Two"})
    assert list(found.classes) == ["one", "two"]
    with pytest.raises(WiseftError, match=r"eins is none of the 4 classes of .*, such as .*one"):
        score(theta, data)
    with pytest.raises(WiseftError, match=r"given for zwei, but .* has no folder"):
        score(theta, data, class_names={"zwei": "two"})


def test_wnids_are_places_in_imagenet(tmp_path):
    """Two of ImageNet's classes share a name, so that names alone would not do."""
    names = list(library.class_names("imagenet"))
    header = tiny_header(class_names=names)
    model = build_classifier(header, seed=3)
    tensors = dict(tiny_tensors(1)) | {
        "head.weight": model.head.weight.detach(),
        "head.bias": model.head.bias.detach(),
    }
    save_theta(tmp_path / "theta.safetensors", tensors, header)
    ids = library.class_ids("imagenet")
    places = [134, 517, 638, 639]  # two birds and machines called crane, two maillots
    found = score(
        tmp_path / "theta.safetensors",
        write_folder(tmp_path / "photos", [ids[place] for place in places]),
    )
    model = build_classifier(header, tensors)
    with torch.no_grad():
        expected = [
            int((model(images(i))[:, places].argmax(dim=1) == i).sum()) for i in range(len(places))
        ]
    assert found.n_correct == sum(expected)
    with pytest.raises(WiseftError, match="n00000001 is no class of ImageNet-1k"):
        score(
            tmp_path / "theta.safetensors",
            write_folder(tmp_path / "more", [ids[0], "n00000001"]),
        )


@pytest.fixture
def merged(tmp_path, monkeypatch) -> Path:
    """Two checkpoints of open_clip, merged: a file that does not say its architecture."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny", tiny.clip())
    for seed in (1, 2):
        save_file(weights_of(tiny.clip(), seed), tmp_path / f"{seed}.safetensors")
    output = tmp_path / "merged.safetensors"
    merge_files(tmp_path / "1.safetensors", tmp_path / "2.safetensors", 0.5, output)
    return output


@pytest.mark.parametrize("templates", [None, ["a drawing of a {c}", "my {c}"]])
def test_a_zero_shot_model_gets_a_head_of_prompts(tmp_path, merged, templates):
    names = ["ant", "bee", "cow", "dog", "red fox", "tabby cat", "zebra"]
    data = write_folder(tmp_path / "photos", [name.replace(" ", "_") for name in names])
    model = open_clip.create_model("Tiny", pretrained=str(merged))
    ours = towers.load(tiny.clip(), dict(model.state_dict()), "merged")
    head = build_head(ours, [[name] for name in names], templates or TEMPLATES)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (OPENAI_MEAN, OPENAI_STD))
    (data / "zebra" / "00.png").unlink()
    found = score(merged, data, architecture="Tiny", templates=templates)
    recalls, top5 = [], 0
    for place, name in enumerate(names):
        shown = images(place)[1 if name == "zebra" else 0 :]
        with torch.no_grad():
            features = model.encode_image((shown / 255 - mean) / std, normalize=True)
        top = (features @ head.T).topk(5, dim=1).indices == place
        hits, top5 = int(top[:, 0].sum()), top5 + int(top.sum())
        assert found.classes[name] == (len(shown), hits)
        recalls.append(hits / len(shown))
    assert found.accuracy == found.n_correct / (7 * PER_CLASS - 1)
    assert found.n_top5 == top5 < found.n
    assert found.mean_recall == pytest.approx(sum(recalls) / 7)


def test_the_command_prints_and_keeps_nothing(tmp_path, theta, capsys, monkeypatch):
    data = write_folder(tmp_path / "photos", CLASSES)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as end:
        main(["score", str(theta), str(data)])
    assert not end.value.code
    output = capsys.readouterr().out
    found = score(theta, data)
    assert f"accuracy {100 * found.accuracy:.2f} % [" in output
    assert f"{found.n_correct} of 100 images" in output
    assert all(name in output for name in CLASSES)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_json_and_what_was_left_out(tmp_path, theta, capsys):
    data = write_folder(tmp_path / "photos", CLASSES)
    (data / "one" / "00.png").write_bytes(b"no image")
    with pytest.raises(SystemExit) as end:
        main(["score", str(theta), str(data), "--json", "--skip-broken"])
    assert not end.value.code
    output = capsys.readouterr()
    found, numbers = score(theta, data, skip_broken=True), json.loads(output.out)
    assert (found.n, len(found.broken)) == (4 * PER_CLASS - 1, 1)
    assert "00.png is not a readable image" in found.broken[0]
    assert f"left out 1:\n  {found.broken[0]}" in output.err
    low, high = numbers.pop("interval")
    assert low < numbers["accuracy"] < high
    assert numbers == found.numbers()
    assert numbers["top5"] is None
    assert numbers["classes"]["one"]["n"] == PER_CLASS - 1
    with pytest.raises(WiseftError, match=r"00\.png is not a readable image"):
        score(theta, data)


@pytest.fixture
def several(tmp_path, theta) -> list[Path]:
    """Two models and two folders."""
    save_theta(tmp_path / "other.safetensors", tiny_tensors(2), tiny_header())
    folders = [write_folder(tmp_path / "photos", CLASSES)]
    folders.append(write_folder(tmp_path / "sketches", CLASSES[:2]))
    return [theta, tmp_path / "other.safetensors", *folders]


def test_several_models_are_compared_image_by_image(several, tmp_path, capsys):
    """Counts are those of single scores; p is scipy's, the interval statsmodels' kind of one."""
    models, folders = several[:2], several[2:]
    words = [
        "score",
        *models,
        "--data",
        *folders,
        "--json",
        "--predictions",
        tmp_path / "p.parquet",
    ]
    with pytest.raises(SystemExit) as end:
        main(list(map(str, words)))
    assert not end.value.code
    numbers = json.loads(capsys.readouterr().out)
    frame = pd.read_parquet(tmp_path / "p.parquet")
    columns = [
        "set",
        "image",
        "label",
        "prediction/theta.safetensors",
        "prediction/other.safetensors",
    ]
    assert list(frame.columns) == columns
    for folder in folders:
        rows = numbers[folder.name]
        part = frame[frame["set"] == folder.name]
        assert all((folder / image).is_file() for image in part["image"])
        right = [part[column] == part["label"] for column in columns[3:]]
        for row, path, own in zip(rows, models, right, strict=True):
            found = score(path, folder)
            assert (
                (row["n"], row["n_correct"]) == (found.n, found.n_correct) == (len(own), own.sum())
            )
        over = rows[1]["over_first"]
        better, worse = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())
        assert (over["n_better"], over["n_worse"]) == (better, worse) and better + worse
        assert over["p_value"] == scipy.stats.binomtest(better, better + worse, 0.5).pvalue
        assert over["difference"] == pytest.approx((better - worse) / len(part))
        differences = right[1].to_numpy(float) - right[0].to_numpy(float)
        expected = scipy.stats.bootstrap((differences,), np.mean, method="percentile")
        ends = expected.confidence_interval
        assert [over["ci_low"], over["ci_high"]] == pytest.approx([ends.low, ends.high], abs=0.02)


def test_a_model_is_opened_once_for_all_its_images(several, monkeypatch):
    opened, inner = [], score_module.open_model
    monkeypatch.setattr(
        score_module, "open_model", lambda path, **how: opened.append(path) or inner(path, **how)
    )
    found = score_folders(several[:2], several[2:])
    assert opened == several[:2]
    for folder in several[2:]:
        for model in several[:2]:
            assert found[folder.name][model.name] == score(model, folder)


def test_a_limit_draws_the_same_images_for_every_model(several, capsys):
    theta, other, photos, _ = several
    found = [score(model, photos, limit=30) for model in (theta, other)]
    assert found[0].images.keys() == found[1].images.keys() and found[0].n == 30
    whole = score(theta, photos)
    assert all(whole.images[name] == pair for name, pair in found[0].images.items())
    assert {Path(name).parent.name for name in found[0].images} == set(CLASSES)
    assert score(theta, photos, limit=10_000) == whole
    one = score(theta, photos, limit=1)
    assert sum(n for n, _ in one.classes.values()) == 1
    assert one.mean_recall in (0.0, 1.0), "a class without images has no share"
    words = ["score", theta, other, "--data", photos, "--limit", "30"]
    with pytest.raises(SystemExit) as end:
        main(list(map(str, words)))
    output = capsys.readouterr().out
    assert not end.value.code and "at most 30 images of each folder, drawn at random by" in output
    assert "photos: 30 images" in output and "points [" in output


def test_some_of_imagenets_folders_get_their_names(tmp_path, merged):
    data = write_folder(tmp_path / "photos", ["n01440764", "other_fish"])
    found = score(merged, data, architecture="Tiny")
    assert list(found.classes) == ["tench", "other fish"]
    (data / "n00000001").mkdir()
    with pytest.raises(WiseftError, match="n00000001 is called as a wnid, which is no class"):
        score(merged, write_folder(tmp_path / "more", ["n00000001"]), architecture="Tiny")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "{theta}", "{data}", "--architecture", "Tiny"], "leave out --architecture"),
        (["score", "{theta}", "{empty}"], "but there is none"),
        (["score", "{theta}", "{data}", "--class-names", "[1]"], "names: is .1., but must"),
        (["score", "{empty}/model.pt", "{data}"], "is not there"),
        (["score", "{theta}"], "give a model and its images, or several models and --data"),
        (
            ["score", "{theta}", "{theta}", "{data}"],
            "give a model and its images, or several models",
        ),
        (["score", "{theta}", "{theta}", "--data", "{data}"], "theta.safetensors is given twice"),
    ],
)
def test_what_is_wrong_is_a_sentence(tmp_path, theta, capsys, arguments, message):
    (tmp_path / "empty").mkdir()
    data = write_folder(tmp_path / "photos", CLASSES)
    known = {"theta": theta, "data": data, "empty": tmp_path / "empty"}
    with pytest.raises(SystemExit) as end:
        main([word.format(**known) for word in arguments])
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error

    assert re.search(message, error), error


def test_a_classifier_without_a_text_tower_is_imported_first(tmp_path, merged):
    image = {k: v for k, v in weights_of(tiny.clip()).items() if k.startswith("visual.")}
    save_file(image, tmp_path / "image.safetensors")
    data = write_folder(tmp_path / "photos", CLASSES)
    with pytest.raises(WiseftError, match="of a classifier without a text tower make a theta"):
        score(tmp_path / "image.safetensors", data, architecture="Tiny")
    model = timm.create_model("test_vit", num_classes=2)
    about = {"label_names": CLASSES[:2], "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    timm.models.save_for_hf(model, tmp_path / "timm", model_config=about, safe_serialization=True)
    with pytest.raises(WiseftError, match=r"class three is none of the 2 classes of .*zero, one"):
        score(tmp_path / "timm", data)  # it brings a head, and the names of its classes
    with pytest.raises(WiseftError, match=r"no text tower that reads prompts\. .*wiseft\.load"):
        score(tmp_path / "timm", data, templates=TEMPLATES)
