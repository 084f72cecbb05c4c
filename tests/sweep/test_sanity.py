"""When `wiseft sweep` recommends no alpha: the reason stands everywhere in its place."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tests import tiny_models as tiny
from tests.sweep.conftest import CLASSES, tuned, write_images
from tests.sweep.test_sweep import encoder_and_head, run
from tools.rehearsal.checkpoints import weights_of

import wiseft
from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.figures.page.content import signed
from wiseft.images.index_folder import index_folder
from wiseft.tool.hub import write_card
from wiseft.tool.record import ImageSet, Result
from wiseft.tool.sanity import doubts
from wiseft.tool.side_by_side import page_of
from wiseft.tool.summary import summary


@pytest.fixture
def able(tmp_path) -> Path:
    """Two ends, and images in folders of the classes that the fine-tuned one sees in them."""
    architecture = tmp_path / "tiny.json"
    architecture.write_text(json.dumps(tiny.clip()))
    z = weights_of(tiny.clip(), 1)
    torch.save(z, tmp_path / "z.pt")
    weights = encoder_and_head(tuned(z, only="visual."))
    images = sorted(write_images(tmp_path / "drawn", 300, 7, None).rglob("*.png"))

    def seen() -> wiseft.Classifier:
        torch.save(weights, tmp_path / "f.pt")
        return wiseft.load(tmp_path / "f.pt", classes=CLASSES, architecture=str(architecture))

    (bias,) = (name for name in weights if name.endswith("head.bias"))
    weights[bias] = weights[bias] - torch.as_tensor(seen().logits(images)).mean(0)
    for place, (image, name) in enumerate(zip(images, seen().predict(images), strict=True)):
        folder = tmp_path / ("photos" if place % 3 else "sketches") / name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, folder / f"{place}.png")
    return tmp_path


def swept(able: Path, out: str = "out", f: str = "f.pt", **options) -> Result:
    options = {"architecture": str(able / "tiny.json")} | options
    return run(able / "z.pt", able / f, able, able / out, ["sketches"], **options)


def everywhere(result: Result) -> list[str]:
    """Return the texts that say what is recommended: terminal, page and card."""
    card = write_card(result.folder, "mit", None, replace=True).read_text()
    return [summary(result), result.page.read_text(), card]


def test_an_alpha_is_recommended_where_nothing_speaks_against_it(able):
    result = swept(able)
    assert result.record.recommended.unsure == ""
    assert result.recommended == result.choices["held-out-1se"]
    printed, page, card = everywhere(result)
    assert f"recommended: alpha {result.recommended:g}. It is the smallest alpha" in printed
    assert f'"recommended":{result.recommended:g}' in page
    assert not any("o alpha is recommended" in text for text in (printed, page, card))


def test_the_page_leads_with_the_gains_of_the_recommended_alpha(able):
    """Numbers and intervals are those of gains.csv, and no folder of the user's is named."""
    result = swept(able)
    gains = pd.read_csv(result.folder / "gains.csv").set_index(["contrast", "dataset"])
    alpha, page = result.recommended, result.page.read_text()
    end = "0.000" if alpha == 1 else "1.000"
    row = gains.loc[(f"{alpha:.3f}-vs-{end}", "sketches")]
    ends = f"[{100 * row.ci_low:.1f}, {100 * row.ci_high:.1f}]".replace("-", "−")
    assert f"{signed(100 * row.difference)} points {ends} on sketches, " in page
    assert str(able) not in page
    assert "Images that flip" in page and 'href="predictions.parquet"' in page


def test_sweeps_stand_side_by_side_on_the_images_that_they_share(able, tmp_path):
    """A sentence of paired differences, a curve each; other images are refused or left out."""
    first = swept(able)
    torch.save(tuned(torch.load(able / "f.pt"), seed=8, only="image"), able / "g.pt")
    kept = write_images(able / "more", 5, 3, CLASSES)
    run(
        able / "z.pt",
        able / "g.pt",
        able,
        able / "other",
        ["sketches", kept.name],
        architecture=str(able / "tiny.json"),
        alphas=[0.25, 0.75],
        alpha=0.75,
    )
    both = ["page", str(first.folder), str(able / "other"), "-o", str(able / "both.html")]
    with pytest.raises(SystemExit) as end:
        main(both)
    assert not end.value.code
    page = (able / "both.html").read_text()
    frames = [pd.read_parquet(able / name / "predictions.parquet") for name in ("out", "other")]
    right = [
        frame[(frame.set == "sketches")].set_index("image").eval(f"label == `prediction/{a:.3f}`")
        for frame, a in zip(frames, (first.record.recommended.alpha, 0.75), strict=True)
    ]
    points = 100 * (right[1].mean() - right[0].mean())
    assert re.search(
        rf"other at α = 0\.75 over out at α = .*: .*{re.escape(signed(points))} points \[.*\] on "
        r"sketches\.</p>",
        page,
    )
    assert "Not in all of them, and so not here: avg:shifts, more" not in page
    assert "Not in all of them, and so not here: more." in page
    assert '"label":"out/"' in page and '"label":"other/"' in page
    next((able / "photos").rglob("*.png")).unlink()
    swept(able, out="fewer")
    with pytest.raises(WiseftError, match="share sketches, but a page needs the images of the ref"):
        page_of([first.folder, able / "fewer"], able / "both.html")
    with pytest.raises(WiseftError, match="needs two folders"):
        page_of([first.folder], able / "both.html")


def test_at_chance_the_reason_stands_everywhere(able):
    """Class folders of other names, in another order: nobody is right more often than by chance."""
    for root in ("photos", "sketches"):
        names = sorted(path.name for path in (able / root).iterdir())
        for name in names:
            (able / root / name).rename(able / root / f"{names.index(name)}")
        for place in range(len(names)):
            (able / root / f"{place}").rename(able / root / names[(place + 1) % len(names)])
    result = swept(able)
    record = result.record
    assert result.recommended is None
    assert (record.recommended.choice, record.recommended.alpha) == ("fixed", 0.5)
    assert "Neither end is better than chance on the " in record.recommended.unsure
    printed, page, card = everywhere(result)
    for text in (printed, page, card):
        assert "o alpha is recommended. Neither end is better than chance" in text.replace(
            "α", "alpha"
        )
        assert "the reference loses nothing" not in text
    assert "The model is written at alpha 0.5." in printed
    assert '"recommended":0' not in page, "the page marks no alpha"
    assert result.model_path.is_file() and Result.read(result.folder).recommended is None
    given = swept(able, alpha=0.25)
    assert (given.record.recommended.choice, given.record.recommended.alpha) == ("given", 0.25)
    assert given.recommended is None
    assert "The model is written at alpha 0.25. It was given." in summary(given)


def test_two_ends_that_are_one_model(able):
    shutil.copy(able / "f.pt", able / "z.pt")
    result = swept(able, classes=CLASSES)
    assert result.recommended is None
    assert result.record.recommended.unsure.startswith("Both ends are the same model")


def test_images_that_are_in_both(able):
    one = next((able / "photos").rglob("*.png"))
    shutil.copy(one, able / "sketches" / one.parent.name / "another-name.png")
    result = swept(able)
    assert result.recommended is None
    assert "The reference and sketches share images (1, such as " in summary(result)
    assert "another-name.png" in result.record.recommended.unsure


@pytest.mark.parametrize("how", ["itself", "link", "its test images"])
def test_a_shift_that_is_the_reference_is_refused(able, how):
    shift = able / "photos"
    if how == "link":
        shift = able / "elsewhere"
        shift.symlink_to(able / "photos")
    if how == "its test images":
        for name in ("held-out", "test"):
            shutil.copytree(able / "photos", able / "parts" / name)
        (able / "photos").rename(able / "whole")
        (able / "parts").rename(able / "photos")
        shift = able / "photos" / "test"
    with pytest.raises(WiseftError, match="has the very images of the reference"):
        run(able / "z.pt", able / "f.pt", able, able / "out", [shift])
    assert not (able / "out").exists(), "nothing was computed"


# ------------------------------------------------------------------------ predictions made up


def judged(tmp_path: Path, labels, ends, alpha: float = 0.5, middle=None) -> str:
    frame = pd.DataFrame({"split": "held-out", "label": labels})
    middle = ends[1] if middle is None else middle
    for name, found in (("0.000", ends[0]), ("0.500", middle), ("1.000", ends[1])):
        frame[f"weight/all/{name}/prediction"] = np.asarray(found, np.int32)
        frame[f"weight/all/{name}/top1"] = np.float32(0.5 + 0.1 * float(name))
    frame.to_parquet(tmp_path / "predictions.parquet")
    return doubts(tmp_path / "predictions.parquet", tmp_path, [], alpha, CLASSES)


def test_chance_is_the_share_of_the_most_frequent_class(tmp_path):
    labels = np.repeat([0, 1, 2, 3], [70, 10, 10, 10])
    always, half = np.zeros(100, int), np.where(np.arange(100) % 2, labels, (labels + 1) % 4)
    spread = np.roll(labels, 35)
    assert "better than chance" in judged(tmp_path, labels, (always, half), middle=half)
    found = judged(tmp_path, labels, (spread, half), middle=half)
    assert "always naming the most frequent class gives 70.0 %" in found
    assert judged(tmp_path, labels, (half, labels)) == "", "one end that is better will do"


def test_one_class_for_nearly_everything(tmp_path):
    labels = np.arange(100) % 4
    collapsed = np.where(np.arange(100) < 96, 2, labels)
    found = judged(tmp_path, labels, (labels, labels), middle=collapsed)
    assert found == (
        "At alpha 0.5 the model predicts paper for 97.0 % of the held-out images; 25.0 % are of it."
    )
    assert judged(tmp_path, labels, (labels, labels), alpha=1.0, middle=collapsed) == ""
    rare = np.repeat([2, 0], [97, 3])
    assert "predicts paper" not in judged(tmp_path, rare, (rare, rare)), "the labels are so"


def test_images_of_equal_size_are_told_apart_by_their_bytes(tmp_path):
    for folder, first in (("reference", 0), ("shift", 7)):
        (tmp_path / folder / "a").mkdir(parents=True)
        for number in range(4):
            content = bytes([first + number]) * 99
            (tmp_path / folder / "a" / f"{number}.bmp").write_bytes(content)
        index_folder(tmp_path / folder, tmp_path / "data" / folder / "manifest.json", folder)
    about = {"path": "", "labelled": True, "n": {"test": 4}, "sha256": "ab" * 32}
    sets = [ImageSet(name="shift", role="shift", **about)]
    labels = np.arange(8) % 2
    frame = pd.DataFrame({"split": "held-out", "label": labels})
    for place, name in enumerate(("0.000", "1.000")):
        frame[f"weight/all/{name}/prediction"] = labels
        frame[f"weight/all/{name}/top1"] = 0.5 + 0.1 * place
    frame.to_parquet(tmp_path / "predictions.parquet")
    found = doubts(tmp_path / "predictions.parquet", tmp_path / "data", sets, 1.0, CLASSES)
    assert found == ""
