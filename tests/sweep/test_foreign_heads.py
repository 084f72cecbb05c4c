"""Heads of other programs: the names of their classes, their order, and the features they take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests import tiny_models as tiny
from tests.sweep.conftest import save_timm_folder, timm_model, tuned
from tools.rehearsal.checkpoints import weights_of

import wiseft
from wiseft.base.library import class_names
from wiseft.base.messages import shown
from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.foreign.class_names import names_brought
from wiseft.foreign.folder_classes import better_order, order_in, places_of
from wiseft.tool.sweep import sweep

COLOURS = {
    "blue": (40, 60, 200),
    "green": (40, 190, 60),
    "grey": (120, 120, 125),
    "red": (200, 50, 40),
}
CLASSES = list(COLOURS)
OTHER = ["red", "blue", "grey", "green"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """A reference and a shift of images of four colours, of a size that is not the model's."""
    root, rng = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for folder, n, noise in (("photos", 24, 40), ("sketches", 9, 55)):
        for name, colour in COLOURS.items():
            (root / folder / name).mkdir(parents=True)
            for number in range(n):
                pixels = rng.normal(colour, noise, (37, 45, 3)) * rng.uniform(0.5, 1.2)
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(root / folder / name / f"{number:02}.png")
    return root


def images(folder: Path) -> tuple[list[Path], list[str]]:
    files = sorted(folder.rglob("*.png"))
    return files, [file.parent.name for file in files]


def run(z, f, folders, output, **options):
    options = {"alphas": [0.5]} | options
    return sweep(z, f, folders / "photos", [folders / "sketches"], output, **options)


def correct(result, alpha: float, name: str = "sketches") -> int:
    (row,) = (
        a for a in result.record.accuracy if (a.set, a.split, a.alpha) == (name, "test", alpha)
    )
    return row.n_correct


# ----------------------------------------------------------------------------------- class names


def of_timm(folder: Path, data: Path) -> int:
    """Return how many images timm itself gets right, by the label_names of the folder."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    names = json.loads((folder / "config.json").read_text())["label_names"]
    files, labels = images(data)
    with torch.no_grad():
        logits = model(torch.stack([prepare(Image.open(file).convert("RGB")) for file in files]))
    return sum(
        names[k] == label for k, label in zip(logits.argmax(1).tolist(), labels, strict=True)
    )


def fit_timm(seed: int, folder: Path, data: Path, names: list[str]) -> Path:
    """Save a model of timm whose head was fitted to a folder, in an order of the classes."""
    model = timm_model(seed).eval()
    save_timm_folder(model, folder, names)
    prepare = timm.data.create_transform(
        **timm.data.resolve_model_data_config(
            timm.create_model(f"local-dir:{folder}", pretrained=True)
        )
    )
    files, labels = images(data)
    with torch.no_grad():
        pixels = torch.stack([prepare(Image.open(file).convert("RGB")) for file in files])
        features = model.forward_head(model.forward_features(pixels), pre_logits=True)
        weight, bias = probe(features, [names.index(label) for label in labels])
        model.head.weight.copy_(weight)
        model.head.bias.copy_(bias)
    save_timm_folder(model, folder, names)
    return folder


def probe(features: torch.Tensor, labels: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight and bias of a logistic regression on features as they are."""
    head = torch.nn.Linear(features.shape[1], 4)
    torch.nn.init.zeros_(head.weight)
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(head(features), torch.tensor(labels))
        loss = loss + 1e-4 * head.weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    return head.weight.detach(), head.bias.detach()


def test_the_names_of_timm_are_used_in_their_order(folders, tmp_path):
    """Two models that call their classes in two orders, neither of which is the folders'."""
    paths = [
        fit_timm(seed, tmp_path / name, folders / "photos", names)
        for seed, name, names in ((1, "z", OTHER), (2, "f", OTHER[::-1]))
    ]
    result = run(*paths, folders, tmp_path / "out")
    wanted = [of_timm(path, folders / "sketches") for path in paths]
    assert [correct(result, alpha) for alpha in (0.0, 1.0)] == wanted
    assert min(wanted) > 20
    assert result.record.class_names == OTHER[::-1], "as the configuration of the result says"
    between = json.loads((tmp_path / "out" / "model" / "config.json").read_text())
    assert between["label_names"] == result.record.class_names
    model = wiseft.load(paths[0])
    files, labels = images(folders / "sketches")
    hits = sum(map(str.__eq__, model.predict(files), labels))
    assert (hits, model.class_names) == (wanted[0], OTHER)


def test_names_that_are_no_folders_are_refused_with_both(folders, tmp_path, capsys):
    paths = [fit_timm(1, tmp_path / name, folders / "photos", OTHER) for name in "zf"]
    for path in paths:
        config = json.loads((path / "config.json").read_text())
        config["label_names"] = ["n1", "n2", "n3", "n4"]
        (path / "config.json").write_text(json.dumps(config))
    match = r"class blue is none of the 4 classes of label_names of .*, such as n1, n2.*--classes"
    with pytest.raises(WiseftError, match=match):
        run(*paths, folders, tmp_path / "refused")
    given = run(*paths, folders, tmp_path / "given", classes=OTHER)
    for path in paths:
        config = json.loads((path / "config.json").read_text())
        config["label_descriptions"] = dict(zip(config["label_names"], OTHER, strict=True))
        (path / "config.json").write_text(json.dumps(config))
    described = run(*paths, folders, tmp_path / "described")
    assert described.record.accuracy == given.record.accuracy
    config["label_names"] = ["n1", "n2", "n3", "n5"]
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        WiseftError, match=r"names the classes n1, .*, but label_names of .*--class"
    ):
        run(*paths, folders, tmp_path / "refused")


def test_names_of_transformers_are_those_that_somebody_gave(tmp_path):
    import transformers

    config = transformers.CLIPConfig(id2label={1: "dog", 0: "cat"})
    config.save_pretrained(tmp_path)
    about = json.loads((tmp_path / "config.json").read_text())
    assert names_brought(tmp_path, about)[0] == [["cat"], ["dog"]]
    assert names_brought(tmp_path, transformers.CLIPConfig(num_labels=3).to_dict()) is None
    (tmp_path / "classes.json").write_text('{"0": "cat"}')
    with pytest.raises(WiseftError, match="must be a list of names in the order of the head"):
        names_brought(tmp_path, about)


def test_folders_are_found_by_every_name_of_a_class():
    own = [["n02", "red fox"], ["n01", "crane"], ["n03", "crane"]]
    assert places_of(["Red_Fox", "n03"], ["Red Fox", "n03"], [["red fox"], ["n03"]], "it") == [0, 1]
    assert places_of(["Red_Fox"], ["Red Fox"], own, "it") == [0]
    assert places_of(["n01", "n03"], ["crane", "crane"], own, "it") == [1, 2]
    assert places_of(["2", "0"], ["2", "0"], own, "it") == [2, 0]
    with pytest.raises(WiseftError, match="none of the 3 classes of it"):
        places_of(["crane"], ["crane"], own, "it")


def test_rows_are_reordered_where_names_tell_them_apart():
    assert order_in([["B"], ["a_b"]], [["a b"], ["b"]]) == [1, 0]
    crane = [["crane"], ["crane"], ["b"]]
    assert order_in(crane, crane) == [0, 1, 2]
    assert order_in(crane, crane[::-1]) is order_in([["a"]], [["b"]]) is None


def test_another_order_is_seen_and_chance_is_not():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 12)
    order = rng.permutation(10)  # row p of the head is class order[p]
    predicted = np.argsort(order)[
        np.where(rng.random(120) < 0.8, labels, rng.integers(10, size=120))
    ]
    found, before, after = better_order(labels, predicted, 10)
    assert found == order.tolist() and before < 0.3 < 0.7 < after
    assert better_order(labels, order[predicted], 10) is None
    for _ in range(50):  # an order that fits one half by chance does not fit the other
        assert better_order(labels, rng.integers(10, size=120), 10) is None


# -------------------------------------------------------------------------------------- features


@pytest.fixture(scope="module")
def program(folders, tmp_path_factory):
    """A program of its own: `fc(visual(x))` with a head that was trained on features as they are,
    beside the zero-shot CLIP; what it predicts by hand on both kinds of features.
    """
    root = tmp_path_factory.mktemp("program")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny", tiny.clip())
        z = weights_of(tiny.clip(), 1)
        f = tuned(z, only="visual.")
        model, _, prepare = open_clip.create_model_and_transforms("Tiny")
        model.load_state_dict(f)
    seen = {}
    for name in ("photos", "sketches"):
        files, labels = images(folders / name)
        with torch.no_grad():
            pixels = torch.stack([prepare(Image.open(file)) for file in files])
            seen[name] = model.eval().encode_image(pixels), labels
    features, labels = seen["photos"]
    weight, bias = probe(features, [CLASSES.index(label) for label in labels])
    own = {f"visual.{k.removeprefix('visual.')}": v for k, v in f.items() if k[:7] == "visual."}
    torch.save(z, root / "z.pt")
    torch.save(own | {"fc.weight": weight, "fc.bias": bias}, root / "f.pt")
    rows = [CLASSES.index(name) for name in OTHER]
    torch.save(own | {"fc.weight": weight[rows], "fc.bias": bias[rows]}, root / "other.pt")
    features, labels = seen["sketches"]
    unit = torch.nn.functional.normalize(features, dim=-1)
    hits = [
        sum(CLASSES[k] == label for k, label in zip(best.tolist(), labels, strict=True))
        for best in ((each @ weight.T + bias).argmax(1) for each in (features, unit))
    ]
    return root, hits


def test_features_are_those_that_the_head_was_trained_on(folders, program, tmp_path, capsys):
    root, (raw, normalised) = program
    assert raw > normalised + 5, "or the test shows nothing"
    ends, said = (root / "z.pt", root / "f.pt"), []
    options = {"architecture": "Tiny"}
    with shown(said.append):
        result = run(*ends, folders, tmp_path / "out", alpha=1, **options)
    assert correct(result, 1.0) == raw
    assert any("fine-tuned model is right on" in s and "with raw features" in s for s in said)
    assert result.record.head.endswith("of raw features")
    stated = run(*ends, folders, tmp_path / "stated", features="normalised", **options)
    assert correct(stated, 1.0) == normalised
    assert correct(stated, 0.0) == correct(result, 0.0), "prompts predict alike on both"
    files, labels = images(folders / "sketches")
    model = wiseft.load(result.model_path, architecture="Tiny")  # whose folder says it
    assert sum(map(str.__eq__, model.predict(files), labels)) == raw
    (tmp_path / "tiny.json").write_text(json.dumps(tiny.clip()))
    data, given = str(folders / "sketches"), ["--architecture", str(tmp_path / "tiny.json")]
    names = ["--classes", json.dumps(CLASSES)]
    for model, more, n in (
        (str(result.model_path), [], raw),
        (str(ends[1]), [*names, "--features", "raw"], raw),
        (str(ends[1]), names, normalised),
    ):
        with pytest.raises(SystemExit):
            main(["score", model, data, "--json", *given, *more])
        printed = capsys.readouterr()
        assert json.loads(printed.out)["n_correct"] == n
        assert (f"raw the accuracy is {100 * raw / 36:.2f} %" in printed.err) == (n == normalised)
    with pytest.raises(WiseftError, match="features is raww, but must be raw or normalised"):
        run(*ends, folders, tmp_path / "no", features="raww", **options)
    with pytest.raises(WiseftError, match="of a head, but neither checkpoint has one"):
        run(ends[0], ends[0], folders, tmp_path / "no", features="raw", **options)


def test_an_order_that_is_not_the_folders_is_seen(folders, program, tmp_path):
    root, _ = program
    said: list[str] = []
    options = {"architecture": "Tiny", "features": "raw"}
    ends = root / "z.pt", root / "other.pt"
    with shown(said.append):
        result = run(*ends, folders, tmp_path / "out", **options)
    (warning,) = (line for line in said if "warning" in line)
    assert f"give --classes '{json.dumps(OTHER)}'" in warning
    assert "warning: the head of the fine-tuned model" in result.record.head
    said.clear()
    with shown(said.append):
        right = run(*ends, folders, tmp_path / "n", classes=OTHER, **options)
    assert correct(right, 1.0) == program[1][0] > correct(result, 1.0) + 10
    assert not [line for line in said if "warning" in line]


# ----------------------------------------------------------------------------------- a head beside


def test_score_takes_the_head_that_lies_beside(folders, program, tmp_path, capsys):
    """As the sweep counted and `load` predicts; `test/` of a root with splits."""
    z = torch.load(program[0] / "z.pt")
    torch.save(z, tmp_path / "z.pt")
    torch.save(tuned(z, only="visual."), tmp_path / "f.pt")
    (tmp_path / "tiny.json").write_text(json.dumps(tiny.clip()))
    named = {"class_names": {name: f"a {name} thing" for name in CLASSES}}
    options = {"architecture": str(tmp_path / "tiny.json"), "alpha": 1, **named}
    result = run(tmp_path / "z.pt", tmp_path / "f.pt", folders, tmp_path / "out", **options)
    beside = tmp_path / "out" / "model"
    assert load_file(beside / "head.safetensors")["weight"].shape == (4, 16)
    own = torch.load(program[0] / "f.pt")  # a head that prompts do not make
    head = {name: own[f"fc.{name}"] for name in ("weight", "bias")}
    save_file(head, beside / "head.safetensors")
    (beside / "features.json").write_text('"raw"')
    files, labels = images(folders / "sketches")
    model = wiseft.load(result.model_path, architecture=options["architecture"])
    hits = [p == f"a {label} thing" for p, label in zip(model.predict(files), labels, strict=True)]
    (tmp_path / "root").mkdir()
    for split in ("train", "val", "test"):
        (tmp_path / "root" / split).symlink_to(folders / "sketches")
    command = ["score", str(result.model_path), "--architecture", options["architecture"]]
    command += ["--json", "--class-names", json.dumps(named["class_names"])]
    counts = []
    for data, more in (("root", []), ("root", ["--prompts", '["a photo of a {c}."]'])):
        with pytest.raises(SystemExit):
            main([*command, str(tmp_path / data), *more])
        counts.append(json.loads(capsys.readouterr().out)["n_correct"])
    assert counts[0] == sum(hits) != counts[1] == correct(result, 1.0)
    (tmp_path / "root" / "test").unlink()
    with pytest.raises(SystemExit):
        main([*command, str(tmp_path / "root")])
    assert "no folders of classes but of splits: train, val" in capsys.readouterr().err
    again = run(tmp_path / "z.pt", result.model_path, folders, tmp_path / "again", **options)
    assert correct(again, 1.0) == sum(hits), "as the fine-tuned end of another sweep"
    torch.save(z, tmp_path / "out" / "model" / "other.pt")
    with pytest.raises(WiseftError, match=r"the head of one of f\.pt, other\.pt, but nothing says"):
        wiseft.load(result.model_path, architecture=options["architecture"])


@pytest.mark.parametrize("rows", [OTHER, None])
def test_an_order_that_is_not_imagenets_is_seen_too(folders, program, tmp_path, rows):
    """A head of 1000 classes that nothing names: two of its rows exchanged, or all of them."""
    root, _ = program
    content, known = torch.load(root / "f.pt", weights_only=True), class_names("imagenet")
    places = torch.randperm(1000, generator=torch.Generator().manual_seed(0))[:4].tolist()
    if rows:
        places = [rows.index(name) for name in CLASSES]
    for name, value in (("fc.weight", 0.0), ("fc.bias", -9.0)):
        whole = torch.full((1000, *content[name].shape[1:]), value)
        whole[places] = content[name]
        content[name] = whole
    torch.save(content, tmp_path / "f.pt")
    said: list[str] = []
    named = dict(zip(CLASSES, known[:4], strict=True))
    with shown(said.append):
        how = {"architecture": "Tiny", "features": "raw", "class_names": named}
        run(root / "z.pt", tmp_path / "f.pt", folders, tmp_path / "out", **how)
    (warning,) = (line for line in said if "warning" in line)
    assert "head of the fine-tuned model is right on" in warning
    assert ("in another order; if that" if rows else "no more than by chance; if its") in warning
    assert "give --classes" in warning
