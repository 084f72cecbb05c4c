"""Of two architectures of the same shapes, images tell which one a plain state dict is of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from tests import tiny_models as tiny
from tests.random_models import batch, blobs
from tests.sweep.conftest import CLASSES, photo, tuned
from tools.rehearsal.checkpoints import weights_of

import wiseft
from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.foreign.twins import told_apart
from wiseft.models import towers
from wiseft.tool.loading_lines import loading_example
from wiseft.tool.sweep import sweep
from wiseft.zeroshot.text_head import Prompts

LAYERS = tiny.VIT | {"layers": 2}
TWINS = {name: tiny.clip(LAYERS, **q) for name, q in (("B", {}), ("B-q", {"quick_gelu": True}))}
PIXELS = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}


def strong() -> dict[str, torch.Tensor]:
    """Return a CLIP whose activation counts: large weights before it."""
    weights = weights_of(TWINS["B"], 1)
    return {
        name: 4 * tensor if name.startswith("visual.") and tensor.ndim == 2 else tensor
        for name, tensor in weights.items()
    }


@torch.no_grad()
def predictions(images: np.ndarray, weights: dict) -> dict[str, np.ndarray]:
    """Return what the model predicts as either architecture, by open_clip's own forward pass."""
    mean, std = (torch.tensor(PIXELS[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    pixels = (batch(images) / 255 - mean) / std
    found = {}
    for name, architecture in TWINS.items():
        model = towers.load(architecture, weights, name)
        head = Prompts([[each] for each in CLASSES], ["a photo of a {c}."]).head(model)
        features = model.module.encode_image(pixels, normalize=True)
        found[name] = (features @ head["head.weight"].T).argmax(dim=1).numpy()
    return found


@pytest.fixture(autouse=True)
def twins(monkeypatch):
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(TWINS))
    monkeypatch.setattr(open_clip.factory, "list_models", lambda: list(TWINS))
    monkeypatch.setattr(open_clip, "list_models", lambda: list(TWINS))


@pytest.fixture(scope="module")
def pool():
    """Images, and what the one model predicts as either architecture."""
    images, weights = blobs(1200, 3), strong()
    return images, weights, predictions(images, weights)


def write(pool, folder: Path, right: str, differ: int) -> Path:
    """Write images of every class that the model gets right as an architecture; as the other it
    gets `differ` of them wrong.
    """
    images, _, found = pool
    wrong = found["B"] != found["B-q"]
    rows = [np.flatnonzero(~wrong & (found["B"] == k))[:4] for k in range(4)]
    rows = np.concatenate([np.flatnonzero(wrong)[:differ], *rows])
    for row in rows:
        (folder / CLASSES[found[right][row]]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[row]).save(folder / CLASSES[found[right][row]] / f"{row}.png")
    return folder


def ends(pool, folder: Path) -> list[str]:
    z = pool[1]
    moved = {
        k: torch.lerp(z[k], tuned(z, only="visual.")[k], 0.05) for k in z if k[:7] == "visual."
    }
    torch.save(z, folder / "z.pt")
    torch.save(z | moved, folder / "f.pt")
    return [str(folder / name) for name in ("z.pt", "f.pt")]


@pytest.mark.parametrize("right", TWINS)
def test_a_sweep_names_the_architecture_that_held_out_images_show(
    right, pool, tmp_path, said, monkeypatch
):
    paths, photos = ends(pool, tmp_path), write(pool, tmp_path / "photos", right, 24)
    shift = write(pool, tmp_path / "sketches", right, 5)
    result = sweep(*paths, photos, [shift], tmp_path / "out", alphas=[0.5])
    assert result.record.architecture == right
    (line,) = (line for line in said if "the tensors fit B, B-q" in line)
    assert f"100.0 % as {right}" not in line, "the fine-tuned end is counted, too"
    assert f": {right} is used; --architecture says otherwise" in line
    named = sweep(*paths, photos, [shift], tmp_path / "named", alphas=[0.5], architecture=right)
    assert named.record.accuracy == result.record.accuracy
    (start,) = (a for a in result.record.accuracy if (a.set, a.alpha) == ("sketches", 0))
    assert start.value == 1
    other = next(name for name in TWINS if name != right)
    wrong = sweep(*paths, photos, [shift], tmp_path / "wrong", alphas=[0.5], architecture=other)
    assert wrong.record.accuracy != result.record.accuracy
    photo(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(loading_example(result), found := {})
    assert (found["model"].visual.transformer.resblocks[0].mlp.gelu.__class__.__name__) == (
        "QuickGELU" if right == "B-q" else "GELU"
    )


def test_score_names_it_too_and_scores_all_models_and_folders_as_it(pool, tmp_path, capsys):
    paths = ends(pool, tmp_path)
    folders = [
        str(write(pool, tmp_path / n, "B-q", m)) for n, m in (("photos", 4), ("sketches", 9))
    ]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["score", *paths, "--data", *folders, "--json"])
    printed = capsys.readouterr()
    table = json.loads(printed.out)
    assert [table[name][0]["accuracy"] for name in ("photos", "sketches")] == [1, 1]
    share = 100 * (20 + 25 - 13) / 45
    line = f"right on images are 100.0 % as B-q and {share:.1f} % as B: B-q is used"
    assert line in printed.err and printed.err.count("the tensors fit") == 2


def test_what_cannot_be_told_apart_is_said(pool, tmp_path, said):
    paths, photos = ends(pool, tmp_path), write(pool, tmp_path / "photos", "B-q", 4)
    shift = write(pool, tmp_path / "sketches", "B", 6)
    result = sweep(*paths, photos, [shift], tmp_path / "out", alphas=[0.5])
    (line,) = (line for line in said if "the tensors fit" in line)
    assert f"does not tell them apart: {result.record.architecture} is used; say with" in line
    with pytest.raises(WiseftError, match=r"its tensors fit B, B-q.*--architecture"):
        wiseft.load(paths[0], classes=CLASSES)


def test_equal_ones_and_ends_that_disagree():
    yes, no = np.ones(10, bool), np.zeros(10, bool)
    name, line = told_apart({"B": {"z": yes, "f": no}, "B-q": {"z": yes, "f": no}})
    assert name == "B" and "does not tell them apart" in line
    assert told_apart({"B": {"z": no}, "B-q": {"z": yes}})[0] == "B-q"
    with pytest.raises(WiseftError, match=r"better are z as B-q and f as B, so there is no model"):
        told_apart({"B": {"z": no, "f": yes}, "B-q": {"z": yes, "f": no}})


def test_an_image_tower_alone_fits_once_for_each_activation(pool, tmp_path, monkeypatch, said):
    """Other text towers beside the same image tower make no further candidates."""
    longer = {
        f"{name}-long": TWINS[name] | {"text_cfg": tiny.TEXT | {"layers": 5}} for name in TWINS
    }
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", TWINS | longer)
    monkeypatch.setattr(open_clip, "list_models", lambda: [*TWINS, *longer])
    z = {name: tensor for name, tensor in pool[1].items() if name.startswith("visual.")}
    torch.save(z | {"head.weight": torch.randn(4, 16)}, tmp_path / "z.pt")
    photos = write(pool, tmp_path / "photos", "B", 4)
    shift = write(pool, tmp_path / "sketches", "B", 6)
    sweep(*2 * [tmp_path / "z.pt"], photos, [shift], tmp_path / "out", alphas=[0.5])
    assert any("the tensors fit B, B-q, and" in line for line in said)
