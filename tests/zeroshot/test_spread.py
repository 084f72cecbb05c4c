"""A head on a dataset's own names, spread over the classes of its label map's reference."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch

from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.evaluate.request import Request
from wiseft.evaluate.spaces import Head, like_projection, own_projection
from wiseft.evaluate.suite import evaluate_suite
from wiseft.evaluate.views import SuiteEvaluation
from wiseft.images.split import PreparedSplit
from wiseft.images.store import open_manifest
from wiseft.models.towers.open_clip_models import open_clip_model
from wiseft.study.data.prepared import write_prepared
from wiseft.thetas.damage import with_sum
from wiseft.thetas.theta import load_theta
from wiseft.zeroshot.spread import spread_head
from wiseft.zeroshot.theta_0 import make_theta_0

TEMPLATES = ["a photo of a {c}", "a blurry {c}"]
NAMES = ["bird", "dog", "boat"]
MEMBERS = [[4, 0, 6], [2], [1, 5]]
REFERENCE = ["robin", "canoe", "beagle", "apple", "wren", "ferry", "owl"]
N = 40
METADATA = {"model": "m", "method": "zero-shot", "variant": "", "run": "m", "seed": 0}


def images():
    colours = np.random.default_rng(5).integers(0, 256, (N, 4, 4, 3))
    return np.kron(colours, np.ones((1, 8, 8, 1))).astype(np.uint8)


def write(folder, name, class_names, members=None, reference="things"):
    split = PreparedSplit(
        images(),
        np.arange(N) % len(class_names),
        [f"s{index}" for index in range(N)],
    )
    optional = {"label_map": {"reference": reference, "members": members}} if members else {}
    return write_prepared(folder / name, name, {"test": split}, class_names, optional=optional)


@pytest.fixture
def things(tmp_path):
    return write(tmp_path, "things", REFERENCE)


@pytest.fixture
def video(tmp_path):
    return write(tmp_path, "video", NAMES, MEMBERS)


@pytest.fixture
def weights(resnet, write_weights):
    """Weights of a model that predicts each of the classes now and then."""

    def centre(tensors):
        generator = torch.Generator().manual_seed(0)
        projection = tensors["text_projection"]
        projection += torch.randn(projection.shape, generator=generator)
        # Without this the common part of the image features decides, and one class always wins.
        model = open_clip_model(resnet, seed=3).eval()
        pixels = torch.from_numpy(images()).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            features = model.encode_image((pixels - 0.5) / 0.25)
        tensors["visual.attnpool.c_proj.bias"] -= features.mean(dim=0)

    return write_weights(resnet, centre)


def evaluate(folder, theta, manifest, reference):
    (path,) = evaluate_suite(
        Request(
            theta_0=None,
            theta_1=theta,
            alphas=["1.000"],
            manifests=[manifest],
            evaluate=SuiteEvaluation.model_validate(
                {"video": {"splits": ["test"], "views": [{"name": "all"}]}}
            ),
            output_dir=folder,
            metadata=METADATA | {"reference": reference},
        )
    )
    return pd.read_parquet(path.with_name("predictions.parquet"))


def test_a_spread_head_predicts_what_the_head_does(weights, things, video, tmp_path):
    own, spread = tmp_path / "own.safetensors", tmp_path / "spread.safetensors"
    make_theta_0(weights, video, TEMPLATES, own)
    make_theta_0(weights, video, TEMPLATES, spread, spread_over=things)
    before = evaluate(tmp_path / "a", own, video, "video")
    after = evaluate(tmp_path / "b", spread, video, "things")
    column = "weight/all/1.000"
    assert after[f"{column}/prediction"].equals(before[f"{column}/prediction"])
    for part in ("top1", "top2"):
        np.testing.assert_allclose(after[f"{column}/{part}"], before[f"{column}/{part}"], rtol=1e-5)
    assert before[f"{column}/prediction"].nunique() == 3  # else equality would show little


def test_the_spread_theta_is_one_of_the_reference(weights, things, video, tmp_path):
    own, spread, other = (tmp_path / f"{name}.safetensors" for name in ("own", "spread", "other"))
    make_theta_0(weights, video, TEMPLATES, own)
    make_theta_0(weights, video, TEMPLATES, spread, spread_over=things)
    make_theta_0(weights, things, TEMPLATES, other)
    theta, head = load_theta(spread), load_theta(own).tensors["head.weight"]
    assert theta.header.class_names == REFERENCE == load_theta(other).header.class_names
    assert theta.header.settings["spread"] == {"from": "video", "over": "things"}
    assert theta.header.settings["prompt_names"] == [[name] for name in NAMES]
    assert {k: t.shape for k, t in theta.tensors.items()} == {
        k: t.shape for k, t in load_theta(other).tensors.items()
    }
    for row, members in zip(head, MEMBERS, strict=True):
        for place in members:
            assert torch.equal(theta.tensors["head.weight"][place], row)
    assert not theta.tensors["head.weight"][3].any()  # "apple" is of no class
    assert not theta.tensors["head.bias"].any()


def test_a_class_without_members_is_lost(things, tmp_path):
    video = open_manifest(write(tmp_path, "video", [*NAMES, "none"], [*MEMBERS, []]))
    weight = torch.arange(8.0).reshape(4, 2)
    spread = spread_head(weight, video, open_manifest(things))
    assert spread[[4, 0, 6]].tolist() == 3 * [[0.0, 1.0]]
    assert not any(torch.equal(row, weight[3]) for row in spread)


def test_a_preview_of_the_reference_serves(things, video):
    preview = dataclasses.replace(open_manifest(things), dataset="things-limit40")
    assert spread_head(torch.ones(3, 2), open_manifest(video), preview).sum() == 12


@pytest.mark.parametrize(
    ("members", "reference", "message"),
    [
        (None, "things", "its label map is to nothing"),
        (MEMBERS, "letters", "its label map is to letters"),
        ([[0], [7], [1]], "things", r"names class 7 of things, but each of 0\.\.6"),
        ([[0], [-1], [1]], "things", "names class -1"),
        ([[0, 2], [2], [1]], "things", "names class 2"),
    ],
)
def test_maps_that_do_not_fit(things, tmp_path, members, reference, message):
    video = write(tmp_path, "video", NAMES, members, reference)
    with pytest.raises(WiseftError, match=message):
        # Before the weights are read, which takes long.
        make_theta_0(
            tmp_path / "none", video, TEMPLATES, tmp_path / "theta.safetensors", spread_over=things
        )


def test_names_of_another_dataset_stand_in_the_prompts(weights, things, video, tmp_path):
    """Through the label map such a head is the dataset's own, and elsewhere the reference's."""
    named, own, plain = (tmp_path / f"{name}.safetensors" for name in ("named", "own", "plain"))
    make_theta_0(weights, things, TEMPLATES, named, names_of=video)
    make_theta_0(weights, video, TEMPLATES, own)
    make_theta_0(weights, things, TEMPLATES, plain)
    theta = load_theta(named)
    heads = [load_theta(path).tensors["head.weight"] for path in (named, own, plain)]
    for row, members in zip(heads[1], MEMBERS, strict=True):
        for place in members:
            torch.testing.assert_close(heads[0][place], row)
    torch.testing.assert_close(heads[0][3], heads[2][3])  # "apple" is of no class of video
    assert not torch.allclose(heads[0][0], heads[2][0])
    assert theta.header.class_names == REFERENCE  # what is predicted stays
    wanted = [["bird"], ["boat"], ["dog"], ["apple"], ["bird"], ["boat"], ["bird"]]
    assert theta.header.settings["prompt_names"] == wanted


def test_names_of_a_dataset_that_is_not_mapped_from_this_one(things, tmp_path):
    other = write(tmp_path, "video", NAMES, MEMBERS, "letters")
    with pytest.raises(WiseftError, match="its label map is to letters"):
        make_theta_0(tmp_path / "none", things, TEMPLATES, tmp_path / "t", names_of=other)


def test_command(weights, things, video, tmp_path):
    output = tmp_path / "theta_0.safetensors"
    options = {
        "--weights": weights,
        "--dataset": video,
        "--prompts": json.dumps(TEMPLATES),
        "--theta-0": output,
        "--spread-over": things,
        "--device": "cpu",
    }
    with pytest.raises(SystemExit) as left:
        main(["zeroshot", *(str(part) for option in options.items() for part in option)])
    assert left.value.code == 0
    assert load_theta(output).header.class_names == REFERENCE


def test_command_with_the_names_of_another_dataset(weights, things, video, tmp_path):
    output = tmp_path / "theta_0.safetensors"
    options = {
        "--weights": weights,
        "--dataset": things,
        "--prompts": json.dumps(TEMPLATES),
        "--theta-0": output,
        "--names-of": video,
        "--device": "cpu",
    }
    with pytest.raises(SystemExit) as left:
        main(["zeroshot", *(str(part) for option in options.items() for part in option)])
    assert left.value.code == 0
    assert load_theta(output).header.settings["prompt_names"][0] == ["bird"]


def test_a_class_without_members_borrows_a_place_that_only_the_dataset_itself_sees(
    weights, things, tmp_path
):
    names = [*NAMES, "cow"]
    plain = write(tmp_path, "video", names, [*MEMBERS, []])
    before, record = open_manifest(plain).identity(["test"]), json.loads(plain.read_text())
    assert "borrowed" not in record
    record.pop("sha256")
    plain.write_text(json.dumps(with_sum(record | {"borrowed": {"cow": 3}})))
    manifest = open_manifest(plain)
    assert manifest.identity(["test"]) != before
    own, spread = tmp_path / "own.safetensors", tmp_path / "spread.safetensors"
    make_theta_0(weights, plain, TEMPLATES, own)
    make_theta_0(weights, plain, TEMPLATES, spread, spread_over=things)
    predicted = evaluate(tmp_path / "a", own, plain, "video")["weight/all/1.000/prediction"]
    again = evaluate(tmp_path / "b", spread, plain, "things")["weight/all/1.000/prediction"]
    assert again.equals(predicted)
    assert 3 in set(predicted), "else equality would show little"
    head = Head(REFERENCE, "things")
    logits = torch.eye(7)
    mine = own_projection(manifest, head)(logits)
    assert mine[3].argmax() == 3
    seen = like_projection("v", "video", open_manifest(things), {"video": manifest}, head)(logits)
    assert seen[:, 3].isinf().all(), "the reference has no cow"
