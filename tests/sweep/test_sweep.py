"""`wiseft sweep Z F`: from two checkpoints and folders to tables, a page and a model that loads."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests import tiny_models as tiny
from tests.sweep.conftest import (
    CLASSES,
    HEAD,
    clip_config,
    photo,
    save_clip_folder,
    save_timm_folder,
    timm_model,
    tuned,
    write_images,
)
from tests.weights.conftest import same
from tools.rehearsal.checkpoints import Holder, torchscript, weights_of

import wiseft
import wiseft.tool.sweep
from wiseft.base.messages import shown
from wiseft.base.progress import Meter
from wiseft.cli import main
from wiseft.combine.files import interpolate_files
from wiseft.errors import WiseftError
from wiseft.evaluate.score import score_folder
from wiseft.models import towers
from wiseft.thetas.theta import load_theta, load_weights, make_header, save_theta, save_weights
from wiseft.tool.export import export_theta
from wiseft.tool.flips import section
from wiseft.tool.hub import write_card
from wiseft.tool.loading_lines import loading_example
from wiseft.tool.record import Result, read_record
from wiseft.tool.sweep import sweep
from wiseft.zeroshot.prompts import TEMPLATES
from wiseft.zeroshot.text_head import Prompts

__all__ = ["Holder"]  # TorchScript reads the source of the class


def run(z, f, photos, output, shifts=("sketches", "paintings"), **options) -> Result:
    options = {"architecture": "Tiny", "alphas": [0.25, 0.75]} | options
    folders = [photos / name for name in shifts]
    return sweep(z, f, photos / "photos", folders, output, **options)


def classified(result: Result, folder: Path, monkeypatch) -> str:
    """Return what the loading example prints of a photo."""
    photo(folder)
    monkeypatch.chdir(folder)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), torch.no_grad():
        exec(loading_example(result), {})
    return printed.getvalue().strip()


def loaded(result: Result, **options) -> list[str]:
    """Return what the library predicts of the photo with the model of a sweep."""
    return wiseft.load(result.model_path, **options).predict(["photo.jpg"])


def mixed(a, b, alpha):
    return {key: torch.lerp(a[key].float(), b[key].float(), alpha) for key in a}


def close(a, b) -> None:
    torch.testing.assert_close(dict(a), dict(b), rtol=0, atol=1e-6)


def encoder_and_head(image, names=("image_encoder.model.visual.", "classification_head.")):
    """Return the state dict of the authors' ImageClassifier."""
    own = {
        f"{names[0]}{k.removeprefix('visual.')}": v for k, v in image.items() if k[:7] == "visual."
    }
    return own | {f"{names[1]}{key}": value for key, value in HEAD.items()}


# ---------------------------------------------------------------------------------------- formats


def test_open_clip(clips, photos, tmp_path, monkeypatch):
    """Two towers with one text tower: the image tower is interpolated, a head lies beside."""
    for name, weights in zip(("z.pt", "f.pt"), clips, strict=True):
        torch.save({"state_dict": weights, "epoch": 3}, tmp_path / name)
    options = {"alpha": 0.35, "architecture": None}  # found by the tensors
    result = run(tmp_path / "z.pt", tmp_path / "f.pt", photos, tmp_path / "out", **options)
    assert result.record.architecture == "Tiny"
    model = open_clip.create_model("Tiny")
    open_clip.load_checkpoint(model, str(result.model_path), strict=True)
    close(model.state_dict(), mixed(*clips, 0.35))
    assert torch.load(result.model_path, weights_only=True)["epoch"] == 3
    assert classified(result, tmp_path, monkeypatch) in CLASSES
    assert "text towers are equal" in result.record.head


def test_the_example_classifies_as_the_sweep_did(clips, photos, tmp_path, monkeypatch):
    """Prediction by prediction: preprocessing, model and head of the files are the evaluated."""
    for name, weights in zip(("z.pt", "f.pt"), clips, strict=True):
        torch.save(weights, tmp_path / name)
    result = run(tmp_path / "z.pt", tmp_path / "f.pt", photos, tmp_path / "out", alpha=0.75)
    work = tmp_path / "out" / ".work"
    table = pd.read_parquet(work / "evaluation" / "paintings" / "predictions.parquet")
    names = read_record(tmp_path / "out").class_names
    monkeypatch.chdir(tmp_path)
    for path, place in zip(
        table["sample_id"][::7], table["weight/all/0.750/prediction"][::7], strict=True
    ):
        (tmp_path / "photo.jpg").write_bytes((photos / "paintings" / path).read_bytes())
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(loading_example(result), {})
        assert printed.getvalue().strip() == names[place]


def test_the_example_of_the_document_is_the_one_that_is_printed(
    clips, photos, tmp_path, monkeypatch
):
    text = (Path(__file__).parents[2] / "docs" / "sweep.md").read_text()
    lines = text.split("```python\n")[1].split("```")[0]
    for name, weights in zip(("z.pt", "finetuned.pt"), clips, strict=True):
        torch.save(weights, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    options = {"alphas": [0.5]}
    result = run(Path("z.pt"), Path("finetuned.pt"), photos, Path("out"), **options)
    same_code = [ast.dump(ast.parse(text)) for text in (lines, loading_example(result))]
    assert same_code[0].replace("ViT-B-32-quickgelu", "Tiny") == same_code[1]
    assert classified(result, tmp_path, monkeypatch) in CLASSES


def test_examples_of_what_no_name_or_file_describes(clips, photos, tmp_path, monkeypatch):
    """An architecture in a file, or in the other checkpoint alone; a CLIPModel without processor;
    an image tower alone, whose head lies beside it.
    """
    for name in ("_MODEL_CONFIGS", "_MODEL_CONFIG_PATHS"):  # which `add_model_config` changes
        monkeypatch.setattr(open_clip.factory, name, getattr(open_clip.factory, name).copy())
    monkeypatch.chdir(tmp_path)
    Path("own.json").write_text(json.dumps(tiny.clip()))
    z, f = clips
    torch.save(z, "z.pt")
    torch.save(f, "f.pt")
    torch.save({key: value for key, value in f.items() if key[:7] == "visual."}, "tower.pt")
    own = {"alphas": [0.5], "architecture": "own.json"}
    result = run("z.pt", "f.pt", photos, Path("named"), **own)
    assert "add_model_config(" in loading_example(result)
    assert [classified(result, tmp_path, monkeypatch)] == loaded(result, architecture="own.json")
    result = run("z.pt", "tower.pt", photos, Path("tower"), **own)
    assert loaded(result, architecture="own.json")[0] in CLASSES
    Path("folder").mkdir()
    config = {"model_cfg": tiny.clip(), "preprocess_cfg": {}}
    Path("folder", "open_clip_config.json").write_text(json.dumps(config))
    save_file(z, "folder/open_clip_model.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(open_clip, "list_models", list)
        result = run("folder", "f.pt", photos, Path("unnamed"), alphas=[0.5], architecture=None)
    assert "load it where that was loaded" in loading_example(result)
    for name, seed in (("zero", 0), ("fine", 1)):
        torch.manual_seed(seed)
        transformers.CLIPModel(clip_config()).save_pretrained(name)
    result = run("zero", "fine", photos, Path("bare"), alphas=[0.5], architecture=None)
    assert [classified(result, tmp_path, monkeypatch)] == loaded(result)


def test_text_towers_that_differ_are_interpolated_too(clips, photos, tmp_path):
    """Of contrastive fine-tuning: the head is that of the interpolated text tower."""
    f = tuned(clips[0])
    save_file(clips[0], tmp_path / "z.safetensors")
    save_file(f, tmp_path / "f.safetensors")
    said = []
    with shown(said.append):
        result = run(
            tmp_path / "z.safetensors",
            tmp_path / "f.safetensors",
            photos,
            tmp_path / "out",
            alpha=0.4,
        )
    found = load_file(result.model_path)
    close({k: v for k, v in found.items() if v.is_floating_point()}, mixed(clips[0], f, 0.4))
    assert any("text towers differ" in line for line in said)
    score = score_folder(result.model_path, photos / "paintings", architecture="Tiny")
    assert score.n_correct == correct(result, "paintings", 0.4)


def correct(result: Result, name: str, alpha: float) -> int:
    (row,) = (
        a for a in result.record.accuracy if (a.set, a.split, a.alpha) == (name, "test", alpha)
    )
    return row.n_correct


def test_one_of_several_mappings_is_named(clips, photos, tmp_path):
    """As a program saves its model beside the model that taught it."""
    z, f = tmp_path / "z.pt", tmp_path / "f.pt"
    for path, tensors in zip((z, f), clips, strict=True):
        torch.save(tensors, path)
    torch.save({"student": clips[1], "teacher": clips[0]}, tmp_path / "both.pt")
    with pytest.raises(WiseftError, match=r"under student, teacher, but .* --weights KEY"):
        run(z, tmp_path / "both.pt", photos, tmp_path / "refused")
    found = run(z, tmp_path / "both.pt", photos, tmp_path / "chosen", weights="student")
    plain = run(z, f, photos, tmp_path / "plain")
    values = [result.table["value"].tolist() for result in (found, plain)]
    assert values[0] == values[1]
    how = {"architecture": "Tiny", "templates": TEMPLATES}
    scores = [
        score_folder(path, photos / "paintings", **how, weights=key).n_correct
        for path, key in ((tmp_path / "both.pt", "student"), (f, None))
    ]
    assert scores[0] == scores[1]


def test_transformers(photos, tmp_path, monkeypatch):
    torch.manual_seed(0)
    z = transformers.CLIPModel(clip_config())
    save_clip_folder(z, tmp_path / "z")
    before = {key: value.clone() for key, value in z.state_dict().items()}
    z.load_state_dict(tuned(before, only="vision_model."))
    save_clip_folder(z, tmp_path / "f")
    result = run(
        tmp_path / "z", tmp_path / "f", photos, tmp_path / "out", alpha=0.3, architecture=None
    )
    found, notes = transformers.CLIPModel.from_pretrained(
        result.model_path, output_loading_info=True
    )
    assert not any(notes[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    expected = mixed(before, z.state_dict(), 0.3)
    close(
        {k: v for k, v in found.state_dict().items() if v.is_floating_point()},
        {k: v for k, v in expected.items() if before[k].is_floating_point()},
    )
    assert classified(result, tmp_path, monkeypatch) in CLASSES


def test_timm(photos, tmp_path, monkeypatch):
    """Classifiers of one label set: the head is in the model."""
    z = timm_model(1)
    f = timm_model(2)
    for name, model in (("z", z), ("f", f)):
        save_timm_folder(model, tmp_path / name, CLASSES)
    result = run(
        tmp_path / "z", tmp_path / "f", photos, tmp_path / "out", alpha=0.2, architecture=None
    )
    assert not (tmp_path / "out" / "model" / "head.safetensors").exists()
    model = timm.create_model(f"local-dir:{result.model_path}", pretrained=True)
    close(model.state_dict(), mixed(z.state_dict(), f.state_dict(), 0.2))
    timm_model(3).load_state_dict(load_file(result.model_path / "model.safetensors"), strict=True)
    assert classified(result, tmp_path, monkeypatch) in CLASSES


def test_its_progress_counts_what_is_computed_to_the_end_and_no_further(
    photos, tmp_path, monkeypatch
):
    ended = []

    class Seen(Meter):
        def close(self):
            ended.append((self.n, self.total))
            super().close()

    monkeypatch.setattr("wiseft.tool.sweep.Meter", Seen)
    for name, seed in (("z", 1), ("f", 2)):
        save_timm_folder(timm_model(seed), tmp_path / name, CLASSES)
    paths = tmp_path / "z", tmp_path / "f", photos, tmp_path / "out"
    with shown():
        for alphas in ([0.25], [0.25], [0.25, 0.75]):
            run(*paths, alphas=alphas, architecture=None)
    first, nothing, one = dict.fromkeys(ended)
    assert first[0] == first[1] > 0
    assert nothing == (0, 0)
    assert one[0] == one[1] == first[0] / 4, "of the alphas 0, 0.25, 0.5 and 1"


def test_the_papers_own(clips, photos, tmp_path):
    """A whole zero-shot CLIP, OpenAI's archive, and an encoder with a head of another program."""
    z, f = clips
    torchscript(z, tmp_path / "z.pt")
    torch.save(encoder_and_head(f), tmp_path / "f.pt")
    result = run(tmp_path / "z.pt", tmp_path / "f.pt", photos, tmp_path / "out", alpha=0.5)
    found = torch.load(result.model_path, weights_only=True)
    assert found.keys() == encoder_and_head(f).keys()
    middle = mixed(z, f, 0.5)
    close(
        {k: v for k, v in found.items() if "head" not in k},
        {k: v for k, v in encoder_and_head(middle).items() if "head" not in k},
    )
    zero_shot = zero_shot_head(z)
    close(
        {"weight": found["classification_head.weight"], "bias": found["classification_head.bias"]},
        mixed(zero_shot, HEAD, 0.5),
    )
    assert result.record.templates == ["a photo of a {c}."]


def zero_shot_head(weights):
    model = towers.load(tiny.clip(), weights, "test")
    head = Prompts([[name] for name in CLASSES], ["a photo of a {c}."]).head(model)
    return {"weight": head["head.weight"], "bias": head["head.bias"]}


def test_thetas_and_weights_of_this_program(photos, tmp_path):
    """A theta is an end as it is; its classes are the head's, in its order."""
    weights = weights_of(tiny.clip(), 1)
    classes = [*reversed(CLASSES), "bird number"]
    paths = []
    for name, image in (("z", weights), ("f", tuned(weights))):
        theta = towers.image_tensors(tiny.clip(), image)
        theta |= {"head.weight": torch.randn(5, 16), "head.bias": torch.zeros(5)}
        about = {"architecture": tiny.clip(), "preprocessing": tiny.PREPROCESSING}
        header = make_header("zero-shot", "zeroshot", class_names=classes, parents={}, **about)
        paths.append(tmp_path / f"{name}.safetensors")
        save_theta(paths[-1], theta, header)
    result = run(*paths, photos, tmp_path / "out", alpha=0.25, architecture=None)
    interpolate_files(*paths, 0.25, tmp_path / "expected.safetensors")
    expected = load_theta(tmp_path / "expected.safetensors").tensors
    assert same(load_theta(result.model_path).tensors, expected)
    score = score_folder(result.model_path, photos / "paintings")
    assert score.n_correct == correct(result, "paintings", 0.25)
    assert result.record.model.loads_with == "wiseft"


def test_weights_of_this_program(clips, photos, tmp_path):
    paths = [tmp_path / "z.safetensors", tmp_path / "f.safetensors"]
    about = {"architecture": tiny.clip(), "preprocessing": tiny.PREPROCESSING}
    for path, weights in zip(paths, clips, strict=True):
        save_weights(path, weights, about)
    result = run(*paths, photos, tmp_path / "out", alpha=0.25, architecture=None)
    close(load_weights(result.model_path)[0], mixed(*clips, 0.25))
    score = score_folder(result.model_path, photos / "paintings")
    assert score.n_correct == correct(result, "paintings", 0.25)


def test_an_encoder_without_a_head_gets_the_zero_shot_one(clips, photos, tmp_path):
    z, f = clips
    torch.save(z, tmp_path / "z.pt")
    torch.save({k: v for k, v in f.items() if k.startswith("visual.")}, tmp_path / "f.pt")
    save_file(HEAD, tmp_path / "head.safetensors")
    first = run(tmp_path / "z.pt", tmp_path / "f.pt", photos, tmp_path / "out", alpha=1)
    head = load_file(tmp_path / "out" / "model" / "head.safetensors")
    close(head, zero_shot_head(z))
    assert "both ends have that of the zero-shot model" in first.record.head
    given = {"alpha": 1, "head": tmp_path / "head.safetensors"}
    run(tmp_path / "z.pt", tmp_path / "f.pt", photos, tmp_path / "other", **given)
    close(load_file(tmp_path / "other" / "model" / "head.safetensors"), HEAD)


# --------------------------------------------------------------- a fine-tuned end that is merged


def test_the_fine_tuned_end_is_what_a_recipe_makes(clips, photos, tmp_path):
    """Z is (1 - a) Z + a mean(F, F'): the mean of the two has F's place, in F's format."""
    z, f = clips
    other = tuned(z, seed=6, only="visual.")
    for name, weights in {"z": z, "f": encoder_and_head(f), "other": other}.items():
        torch.save(weights, tmp_path / f"{name}.pt")
    save_file(HEAD, tmp_path / "head.safetensors")
    paths = [tmp_path / f"{name}.pt" for name in "zf"]
    given = {"alpha": 0.25, "more": [tmp_path / "other.pt"], "head": tmp_path / "head.safetensors"}
    given |= {"recipe": {"kind": "soup-uniform"}}
    result = run(*paths, photos, tmp_path / "out", **given)
    mean = mixed(f, other, 0.5)
    expected = encoder_and_head(mixed(z, mean, 0.25))
    head = {name: torch.lerp(zero_shot_head(z)[name], HEAD[name], 0.25) for name in HEAD}
    expected |= {f"classification_head.{name}": tensor for name, tensor in head.items()}
    close(torch.load(result.model_path, weights_only=True), expected)
    record = read_record(tmp_path / "out")
    assert record.recipe == given["recipe"]
    assert [Path(end.path).name for end in record.more] == ["other.pt"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "soup-uniform" in page and "other.pt" in page
    text = write_card(tmp_path / "out", None, None).read_text()
    assert 'of 2 fine-tuned models by `{"kind": "soup-uniform"}`' in text
    assert text.count("\n| fine-tuned |") == 2 and "other.pt: other.pt" in text
    assert not (tmp_path / "out" / ".work" / "more").exists()
    run(*paths, photos, tmp_path / "out", **given)  # continues
    with pytest.raises(WiseftError, match="is no sweep of these checkpoints"):
        run(*paths, photos, tmp_path / "out", **given | {"more": [tmp_path / "f.pt"]})


def test_a_recipe_takes_no_models_of_which_some_trained_the_text_tower(clips, photos, tmp_path):
    z, _ = clips
    for name, only in (("z", None), ("f", ""), ("other", "visual.")):
        weights = z if only is None else tuned(z, seed=6, only=only)
        torch.save(weights, tmp_path / f"{name}.pt")
    ends = (tmp_path / f"{name}.pt" for name in "zf")
    given = {"recipe": {"kind": "soup-uniform"}, "more": [tmp_path / "other.pt"]}
    refused(*ends, photos, tmp_path, r"other\.pt has no text tower of its own, unlike", **given)


def test_a_recipe_that_starts_from_zero_shot_takes_it_first(clips, photos, tmp_path, capsys):
    """Patching with alpha 0.5: what stands at alpha 1 is halfway."""
    for name, weights in zip("zf", clips, strict=True):
        torch.save(weights, tmp_path / f"{name}.pt")
    recipe = json.dumps({"kind": "patching", "alpha": 0.5})
    (tmp_path / "tiny.json").write_text(json.dumps(tiny.clip()))
    options = ["--recipe", recipe, "--alphas", "0.5", "--alpha", "1"]
    command(tmp_path, photos, *shifts_of(photos, "paintings"), *options)
    close(torch.load(tmp_path / "out" / "model" / "f.pt", weights_only=True), mixed(*clips, 0.5))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("by image")]
    assert len(lines) == 1 and lines[0].endswith("dawin (transductive, several models)")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"more": ["f.pt"]}, "f.pt is a further model, but no recipe says what it is for"),
        ({"recipe": {"kind": "soup-uniform"}}, "recipe soup-uniform: key `thetas`"),
        ({"recipe": {"kind": "soups"}}, "there is no recipe 'soups'"),
        ({"recipe": {"kind": "patching"}}, "key `alpha`"),
        ({"recipe": {"kind": "fisher"}, "more": ["f.pt"]}, "which also takes fisher"),
        (
            {"recipe": {"kind": "soup-uniform"}, "more": ["lost.pt"]},
            "checkpoint lost.pt is not there",
        ),
    ],
)
def test_a_recipe_is_refused_before_checkpoints_are_read(
    clips, photos, tmp_path, monkeypatch, options, sentence
):
    monkeypatch.chdir(tmp_path)
    for name, weights in zip("zf", clips, strict=True):
        torch.save(weights, f"{name}.pt")
    monkeypatch.setattr(wiseft.tool.sweep, "open_model", None)
    with pytest.raises(WiseftError, match=sentence):
        run(Path("z.pt"), Path("f.pt"), photos, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


# --------------------------------------------------------------------- numbers, choices and files


@pytest.fixture(scope="session")
def whole(photos, tmp_path_factory):
    """A sweep over 21 alphas, by the command."""
    folder = tmp_path_factory.mktemp("whole")
    z = weights_of(tiny.clip(), 1)
    (folder / "tiny.json").write_text(json.dumps(tiny.clip()))
    torch.save(z, folder / "z.pt")
    torch.save(encoder_and_head(tuned(z, only="visual.")), folder / "f.pt")
    return folder


def command(folder: Path, photos: Path, *more: str, out: str = "out", code: int = 0) -> None:
    arguments = ["sweep", str(folder / "z.pt"), str(folder / "f.pt"), "-o", str(folder / out)]
    arguments += ["--reference", str(photos / "photos")]
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--architecture", str(folder / "tiny.json"), *more])
    assert left.value.code == code


def shifts_of(photos: Path, *names: str) -> list[str]:
    return [part for name in names for part in ("--shift", str(photos / name))]


def test_the_command(whole, photos, capsys, every_format):
    """Tables, page, curve and model; the printed accuracies are those of `score` on the model."""
    command(whole, photos, *shifts_of(photos, "sketches", "paintings", "camera"))
    printed = capsys.readouterr()
    out = whole / "out"
    names = {path.name for path in out.iterdir()}
    assert names >= {"index.html", "sweep.json", "gains.csv", "model"}
    assert names >= {f"curve.{kind}" for kind in ("png", "pdf", "svg")}
    assert names >= {f"table.{kind}" for kind in ("csv", "parquet", "json")}
    result = Result.read(out)
    assert len(result.record.alphas) == 21
    assert result.choices.keys() == {"fixed", "held-out", "held-out-1se", "unlabelled"}
    grid = result.table[result.table["selection"] == "grid"]
    held_out = grid[(grid["dataset"] == "reference") & (grid["split"] == "held-out")]
    best = held_out.loc[held_out["value"].idxmax()]
    error = np.sqrt(best["value"] * (1 - best["value"]) / best["n"])
    near = held_out[held_out["value"] >= best["value"] - error]
    assert result.choices["held-out-1se"] == near["alpha"].min()
    assert result.recommended is None, "random models: see test_sanity.py"
    assert "no alpha is recommended. Neither end is better than chance" in printed.out
    assert "camera" not in set(result.table["dataset"]), "nothing is told of what has no labels"
    assert {each.set for each in result.record.accuracy} == {"reference", "sketches", "paintings"}
    assert not list((out / ".work").glob("*.safetensors")), "as large as the checkpoints"
    assert str(whole) not in (out / "index.html").read_text(), "a page goes to other people"
    assert "Zero-shot: z.pt; fine-tuned: f.pt" in (out / "index.html").read_text()
    assert len([line for line in printed.err.splitlines() if "evaluat" in line]) <= 1


def test_predictions_of_every_image_are_a_table_of_names(whole, photos):
    """They count what the table counts; images lie where `image` says, in the class's folder."""
    command(whole, photos, *shifts_of(photos, "sketches", "camera"), "--alphas", "0.3", out="named")
    result = Result.read(whole / "named")
    images = pd.read_parquet(whole / "named" / "predictions.parquet")
    columns = [f"prediction/{alpha:.3f}" for alpha in result.record.alphas]
    assert list(images.columns) == ["set", "split", "image", "label", *columns]
    known = images[images["set"] != "camera"]
    assert all(
        Path(image).parent.name == label for image, label in known[["image", "label"]].values
    )
    assert all(
        (photos / "sketches" / image).is_file() for image in known.image[known.set == "sketches"]
    )
    for each in result.record.accuracy:
        part = images[(images["set"] == each.set) & (images["split"] == each.split)]
        right = part[f"prediction/{each.alpha:.3f}"] == part["label"]
        assert (right.sum(), len(part)) == (each.n_correct, each.n)
    unlabelled = images[images["set"] == "camera"]
    assert unlabelled["label"].isna().all() and unlabelled[columns].isin(CLASSES).all().all()


def test_the_page_counts_and_names_the_images_that_flip():
    right = {"0.000": "rrwww", "0.400": "rwrwr", "1.000": "wwrwr", "0.200": "wwwrw"}
    names = {"r": "bird", "w": "<tail>"}
    frame = pd.DataFrame({"image": [f"bird/IMG_{n}.png" for n in range(5)]})
    frame = frame.assign(set="sketches", split="test", label="bird")
    for alpha in sorted(right):
        frame[f"prediction/{alpha}"] = [names[letter] for letter in right[alpha]]
    page = section(frame, 0.4)
    assert "<td>2 (1)</td><td>2 (2)</td><td>1 (0)</td>" in page
    assert (
        "<li>only between: IMG_3.png (bird; zero-shot &lt;tail&gt;, fine-tuned &lt;tail&gt;)"
        in page
    )
    assert section(frame.assign(label=None), 0.4) == "", "nothing is right without labels"


def test_unlabelled_is_the_surest_alpha_of_all_shifts_together(whole, photos):
    command(whole, photos, *shifts_of(photos, "camera", "paintings"), out="surest")
    record = read_record(whole / "surest")
    means = {}
    for name in ("camera", "paintings"):
        file = whole / "surest" / ".work" / "evaluation" / name / "predictions.parquet"
        frame = pd.read_parquet(file)
        means[name] = [frame[f"weight/all/{a:.3f}/confidence"].mean() for a in record.alphas]
        assert record.unlabelled[name] == record.alphas[int(np.argmax(means[name]))]
    together = np.mean(list(means.values()), axis=0)
    assert record.choices["unlabelled"] == record.alphas[int(np.argmax(together))]


def test_without_any_labelled_shift(whole, photos):
    command(whole, photos, *shifts_of(photos, "camera"), "--alphas", "0.2,0.8", out="none")
    record = read_record(whole / "none")
    assert {each.set for each in record.accuracy} == {"reference"}
    assert "camera" in record.unlabelled
    assert "Without labels, so without accuracies: camera" in (
        (whole / "none" / "index.html").read_text()
    )


def test_it_continues_and_refuses_what_is_something_else(whole, photos, capsys):
    few = [*shifts_of(photos, "paintings"), "--alphas", "0.2,0.8"]
    command(whole, photos, *few, out="again")
    before = read_record(whole / "again")
    written = whole / "again" / ".work" / "evaluation" / "paintings" / "metrics.json"
    time = written.stat().st_mtime_ns
    command(whole, photos, *few, "--alpha", "0.8", out="again")
    after = read_record(whole / "again")
    assert (after.recommended.alpha, after.recommended.choice) == (0.8, "given")
    assert after.accuracy == before.accuracy
    assert written.stat().st_mtime_ns >= time
    capsys.readouterr()
    for changed in (["--seed", "3"], shifts_of(photos, "sketches")):
        command(whole, photos, *few, *changed, out="again", code=1)
        assert "is no sweep of these checkpoints" in capsys.readouterr().err


@pytest.mark.parametrize("only", ["visual.", ""])  # one text tower, or two that differ
def test_what_is_retained_is_what_the_merged_model_knows(clips, photos, tmp_path, only):
    """The model between, as written, with prompts of the kept classes: `score` on its file."""
    z, f = clips[0], tuned(clips[0], only=only)
    for name, weights in (("z.pt", z), ("f.pt", f)):
        torch.save(weights, tmp_path / name)
    words = ["cat", "dog", "horse", "kite", "owl"]
    kept = write_images(tmp_path / "animals", 9, 8, words)
    result = run(
        *(tmp_path / name for name in ("z.pt", "f.pt")),
        photos,
        tmp_path / "out",
        alpha=0.4,
        keep=[kept],
    )
    score = score_folder(result.model_path, kept, architecture="Tiny", templates=TEMPLATES)
    assert score.n_correct == correct(result, "animals", 0.4)
    ends = [correct(result, "animals", alpha) for alpha in (0.0, 1.0)]
    assert ends[0] != ends[1], "or a number of one model would pass for that of another"
    (about,) = (each for each in result.record.sets if each.role == "kept")
    assert (about.name, about.n) == ("animals", {"test": 45})
    share = [f"{100 * n / 45:.1f}" for n in (score.n_correct, *ends)]
    said = f"Retained on animals: {share[0]} % (zero-shot {share[1]}, fine-tuned {share[2]})."
    assert result.record.recommended.why == f"It was given. {said}"
    average = result.table[result.table["dataset"] == "avg:shifts"]
    assert set(average["n"]) == {30 + 44}, "what is kept is no shift"


def test_keep_by_the_command(whole, photos, tmp_path, capsys):
    """No choice looks at what is kept, which joins a sweep that was there; and it is shown."""
    few = [*shifts_of(photos, "paintings"), "--alphas", "0.2,0.8"]
    command(whole, photos, *few, out="keeps")
    before = read_record(whole / "keeps")
    capsys.readouterr()
    kept = write_images(tmp_path / "birds", 7, 8, ["owl", "wren", "swan"])
    command(whole, photos, *few, "--keep", str(kept), out="keeps")
    printed, record = capsys.readouterr().out, read_record(whole / "keeps")
    assert record.choices == before.choices
    others = [each for each in record.accuracy if each.set != "birds"]
    assert others == before.accuracy and len(others) < len(record.accuracy)
    header = next(line for line in printed.splitlines() if line.startswith("alpha"))
    assert "birds, retained" in header
    assert "Retained on birds: " in printed.split("alpha is recommended")[1]
    assert "birds, retained" in (whole / "keeps" / "index.html").read_text()
    torch.save(encoder_and_head(torch.load(whole / "z.pt")), tmp_path / "z.pt")
    (tmp_path / "f.pt").write_bytes((whole / "f.pt").read_bytes())
    (tmp_path / "tiny.json").write_bytes((whole / "tiny.json").read_bytes())
    command(tmp_path, photos, *few, "--keep", str(kept), code=1)
    assert "z.pt has not both towers; give the whole zero-shot model" in capsys.readouterr().err
    command(whole, photos, *few, "--keep", str(photos / "camera"), out="keeps", code=1)
    assert "must be a folder with a folder of images for every class" in capsys.readouterr().err


def test_an_adapter_changes_the_zero_shot_model_and_the_result_is_like_it(clips, photos, tmp_path):
    z, _ = clips
    torch.save(z, tmp_path / "z.pt")
    name = next(key for key in z if key.startswith("visual.") and key.endswith("c_fc.weight"))
    out, into = z[name].shape
    low, up = torch.randn(2, into), torch.randn(out, 2)
    (tmp_path / "lora").mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 1, "init_lora_weights": True}
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(config))
    module = f"base_model.model.{name.removesuffix('.weight')}"
    tensors = {f"{module}.lora_A.weight": low, f"{module}.lora_B.weight": up}
    save_file(tensors, tmp_path / "lora" / "adapter_model.safetensors")
    result = run(tmp_path / "z.pt", tmp_path / "lora", photos, tmp_path / "out", alpha=0.5)
    made = torch.load(tmp_path / "out" / result.record.model.file, weights_only=True)
    close(made, {**z, name: z[name] + 0.5 * (up @ low) / 2})
    files = {"adapter_model.safetensors", "adapter_config.json"}
    assert result.record.fine_tuned.sha256.keys() == files
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 2}))
    with pytest.raises(WiseftError, match="is no sweep of these checkpoints"):
        run(tmp_path / "z.pt", tmp_path / "lora", photos, tmp_path / "out", alpha=0.5)
    refused(tmp_path / "lora", tmp_path / "z.pt", photos, tmp_path, "lora is an adapter")


def test_broken_images_are_left_out_and_listed(clips, photos, tmp_path):
    (z, f), mine = clips, tmp_path / "photos"
    shutil.copytree(photos, mine)
    torch.save(z, tmp_path / "z.pt")
    torch.save(f, tmp_path / "f.pt")
    broken = [next((mine / name).rglob("*.png")) for name in ("photos", "sketches", "camera")]
    for path, size in zip(broken, (60, 60, 0), strict=True):
        path.write_bytes(path.read_bytes()[:size])
    ends = tmp_path / "z.pt", tmp_path / "f.pt"
    refused(*ends, mine, tmp_path, broken[0].name)
    said: list[str] = []
    shifts = ("sketches", "camera")
    with shown(said.append):
        result = run(*ends, mine, tmp_path / "o", shifts, skip_broken=True)
    left_out = [line for line in said if "left out" in line]
    assert len(left_out) == 3
    assert all(any(str(path) in line for line in left_out) for path in broken)
    n = {each.name: sum(each.n.values()) for each in result.record.sets}
    assert n == {"reference": 63, "sketches": 29, "camera": 20}


def test_a_reference_with_splits_keeps_them(clips, photos, tmp_path):
    for name, weights in zip(("z.pt", "f.pt"), clips, strict=True):
        torch.save(weights, tmp_path / name)
    write_images(tmp_path / "both" / "val", 5, 1, CLASSES)
    write_images(tmp_path / "both" / "test", 7, 2, CLASSES)
    result = sweep(
        tmp_path / "z.pt",
        tmp_path / "f.pt",
        tmp_path / "both",
        [photos / "paintings"],
        tmp_path / "out",
        architecture="Tiny",
        alphas=[0.5],
    )
    (reference,) = (each for each in result.record.sets if each.role == "reference")
    assert reference.n == {"held-out": 20, "test": 28}
    half = run(tmp_path / "z.pt", tmp_path / "f.pt", photos, tmp_path / "half", alphas=[0.5])
    assert half.record.sets[0].n == {"held-out": 32, "test": 32}
    assert "by seed 0" in half.record.sets[0].split


def test_the_package_is_what_it_does(clips, photos, tmp_path):
    """`wiseft.sweep(...)` and `wiseft.sweep.Result`, whatever was imported before."""
    for name, weights in zip(("z.pt", "f.pt"), clips, strict=True):
        torch.save(weights, tmp_path / name)
    paths = [str(tmp_path / name) for name in ("z.pt", "f.pt")]
    folders = [str(photos / "photos"), [str(photos / "camera")], str(tmp_path / "out")]
    result = wiseft.sweep(*paths, *folders, alphas=[0.5])
    assert isinstance(result, wiseft.sweep.Result)
    assert wiseft.sweep.Result.read(tmp_path / "out").record == result.record


# ---------------------------------------------------------------------------------------- refusals


def refused(z, f, photos, tmp_path, match, **options):
    with pytest.raises(WiseftError, match=match):
        run(z, f, photos, tmp_path / "refused", **options)


def test_refusals(clips, photos, tmp_path, monkeypatch):
    z, f = clips
    torch.save(z, tmp_path / "z.pt")
    torch.save(f, tmp_path / "f.pt")
    ends = tmp_path / "z.pt", tmp_path / "f.pt"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    refused(*ends, photos, tmp_path, "device is mps, but torch finds no GPU of a Mac", device="mps")
    merging = {"device": "mps", "recipe": {"kind": "lines"}}  # takes fp64, which MPS lacks
    refused(*ends, photos, tmp_path, "device .mps. is not one of auto, cpu, cuda", **merging)
    refused(*ends, photos, tmp_path, "nothing at", shifts=["nowhere"])
    refused(tmp_path / "no.pt", ends[1], photos, tmp_path, "is not there")
    refused(*ends, photos, tmp_path, "no folder has that name", class_names={"eins": "x"})
    visual = {key: value for key, value in z.items() if key.startswith("visual.")}
    torch.save(visual, tmp_path / "encoder.pt")
    refused(tmp_path / "encoder.pt", ends[1], photos, tmp_path, "neither a head nor both towers")
    torch.save(encoder_and_head(f) | {"classification_head.weight": torch.zeros(7, 16)}, ends[1])
    refused(*ends, photos, tmp_path, "head of 7 classes, but the reference folder names 4.*--class")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "pickled.pt")
    refused(ends[0], tmp_path / "pickled.pt", photos, tmp_path, r"weights_only=False.*state_dict")


def test_a_class_that_the_head_lacks_is_named(clips, photos, tmp_path):
    for name, weights in zip(("z.pt", "f.pt"), clips, strict=True):
        torch.save(weights, tmp_path / name)
    write_images(tmp_path / "odd", 3, 1, ["bird", "vogel"])
    ends = tmp_path / "z.pt", tmp_path / "f.pt"
    refused(*ends, photos, tmp_path, "vogel is none of the 4 classes", shifts=[tmp_path / "odd"])


# ------------------------------------------------------------------------------------------ export


def test_export(clips, tmp_path):
    """A theta of the workflow in the format of a checkpoint, back and forth without a change."""
    z, f = clips
    theta = towers.image_tensors(tiny.clip(), f)
    theta |= {"head.weight": HEAD["weight"], "head.bias": HEAD["bias"]}
    about = {"architecture": tiny.clip(), "preprocessing": tiny.PREPROCESSING}
    header = make_header("zero-shot", "zeroshot", class_names=CLASSES, parents={}, **about)
    save_theta(tmp_path / "theta.safetensors", theta, header)
    half = {f"module.{key}": value.half() for key, value in encoder_and_head(z).items()}
    torch.save({"model": half, "epoch": 1}, tmp_path / "like.pt")
    arguments = ["export", str(tmp_path / "theta.safetensors"), "--like", str(tmp_path / "like.pt")]
    with pytest.raises(SystemExit) as left:
        main([*arguments, "-o", str(tmp_path / "out" / "wise.pt")])
    assert left.value.code == 0
    found = torch.load(tmp_path / "out" / "wise.pt", weights_only=True)["model"]
    assert same(found, {f"module.{k}": v.half() for k, v in encoder_and_head(f).items()})
    assert json.loads((tmp_path / "out" / "classes.json").read_text()) == CLASSES
    with pytest.raises(WiseftError, match="exists and is not touched"):
        export_theta(
            tmp_path / "theta.safetensors", tmp_path / "like.pt", tmp_path / "out" / "wise.pt"
        )
    torch.save(z, tmp_path / "clip.pt")
    exported = (tmp_path / name for name in ("theta.safetensors", "clip.pt", "clip/wise.pt"))
    theta_file, like, output = exported
    export_theta(theta_file, like, output)
    output.unlink()  # as after a kill: head and classes are there, the model is not
    export_theta(theta_file, like, output)
    output.unlink()
    (tmp_path / "clip" / "classes.json").write_text("[]")
    with pytest.raises(WiseftError, match=r"classes\.json exists and is not touched"):
        export_theta(theta_file, like, output)
    (tmp_path / "clip" / "classes.json").unlink()
    export_theta(theta_file, like, output)
    assert same(load_file(tmp_path / "clip" / "head.safetensors"), HEAD)
    expected = {k: f[k] if k.startswith("visual.") else v for k, v in z.items()}
    assert same(torch.load(tmp_path / "clip" / "wise.pt", weights_only=True), expected)
