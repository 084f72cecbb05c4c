import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.images.split import PreparedSplit
from wiseft.images.store import open_split
from wiseft.study.config import FinetuneSettings
from wiseft.study.data.prepared import write_prepared
from wiseft.study.finetune import search as module
from wiseft.study.finetune.finetune import Outputs
from wiseft.study.finetune.search import (
    SEARCHED,
    Trial,
    draw_trial,
    found_settings,
    run_search,
    winner,
    with_trial,
)
from wiseft.thetas.theta import load_theta

REGULARISERS = ["none", "weight-decay", "l1", "label-smoothing"]


def searching(regulariser="weight-decay", trials=4, **changes) -> FinetuneSettings:
    base = {
        "trainable": "head",
        "train_samples": 20,
        "epochs": 2,
        "warmup_steps": 1,
        "search": {"regulariser": regulariser, "trials": trials},
    }
    return FinetuneSettings.model_validate(base | changes)


@pytest.fixture(scope="session")
def held_out_manifest(tmp_path_factory, colours):
    """The dataset of the other tests with a split of mirrored images."""
    images, labels = colours
    ids = [f"s{i}" for i in range(30)]
    splits = {
        "train": PreparedSplit(images, labels, ids),
        "held-out": PreparedSplit(np.flip(images, axis=2).copy(), labels, ids),
    }
    folder = tmp_path_factory.mktemp("data") / "colours"
    return write_prepared(folder, "colours", splits, ["red", "green", "blue"])


def trials_of(outputs: Outputs) -> Path:
    return outputs.curve.with_name("trials.csv")


@pytest.fixture
def run(tmp_path, theta_0, held_out_manifest):
    def go(settings, name="run", seed=0, **changes) -> Outputs:
        folder = tmp_path / name
        paths = folder / "theta_1.safetensors", folder / "curve.csv", folder / "state"
        outputs = Outputs(*paths, **changes)
        run_search(theta_0, held_out_manifest, settings, seed, outputs, trials_of(outputs))
        return outputs

    return go


def rows(outputs):
    with trials_of(outputs).open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("regulariser", REGULARISERS)
def test_trials_are_drawn_from_the_papers_ranges(regulariser):
    drawn = [draw_trial(searching(regulariser), 0, number) for number in range(600)]
    values = {key: np.array([trial[key] for trial in drawn]) for key in SEARCHED}
    sizes, counts = np.unique(values["batch_size"], return_counts=True)
    assert sizes.tolist() == [64, 128, 256]
    assert counts.min() > 150
    exponents = -np.log10(values["learning_rate"])
    assert np.quantile(exponents, [0, 0.5, 1]) == pytest.approx([0, 3, 6], abs=0.35)
    assert set(values["epochs"]) == {2}
    expected = {"weight_decay": [0, 2, 4], "l1": [4, 6, 8], "label_smoothing": [0, 0.125, 0.25]}
    own = regulariser.replace("-", "_")
    for key, quantiles in expected.items():
        if key != own:
            assert not values[key].any()
            continue
        found = values[key] if key == "label_smoothing" else -np.log10(values[key])
        assert np.quantile(found, [0, 0.5, 1]) == pytest.approx(quantiles, rel=0.15, abs=0.15)


def test_a_trial_follows_from_seed_and_number_and_is_paired_over_regularisers():
    first = draw_trial(searching("l1"), 3, 7)
    assert first == draw_trial(searching("l1", trials=64), 3, 7)
    assert first != draw_trial(searching("l1"), 3, 8)
    assert first != draw_trial(searching("l1"), 4, 7)
    for regulariser in REGULARISERS:
        other = draw_trial(searching(regulariser), 3, 7)
        assert (other["batch_size"], other["learning_rate"]) == (
            first["batch_size"],
            first["learning_rate"],
        )


def test_epochs_are_drawn_too_where_there_is_a_largest_number():
    few = searching(search={"regulariser": "none", "max_epochs": 5})
    epochs = [draw_trial(few, 0, number)["epochs"] for number in range(200)]
    assert np.bincount(epochs, minlength=6)[1:].min() > 20
    assert max(epochs) == 5


def test_the_winner_is_the_most_accurate_of_equals_the_earlier():
    trials = {i: Trial(i, {}, accuracy) for i, accuracy in enumerate([0.5, None, 0.9, 0.9, 0.1])}
    assert winner(trials).number == 2
    with pytest.raises(WiseftError, match="all of the 2 trials diverged"):
        winner({0: Trial(0, {}, None), 1: Trial(1, {}, None)})


@pytest.mark.parametrize("changes", [{}, {"head_init": "random"}])
def test_theta_1_is_what_finetune_makes_with_the_settings_that_won(
    run, train, held_out_manifest, changes
):
    outputs = run(searching(**changes))
    found = rows(outputs)
    assert [row["trial"] for row in found] == ["1", "2", "3", "4"]
    best = max(found, key=lambda row: (float(row["held_out_accuracy"]), -int(row["trial"])))
    assert [row["trial"] for row in found if row["chosen"] == "1"] == [best["trial"]]
    chosen = with_trial(searching(**changes), draw_trial(searching(), 0, int(best["trial"]) - 1))
    again = train(chosen, manifest=held_out_manifest, name="again")
    theta, expected = load_theta(outputs.theta_1), load_theta(again.theta_1)
    assert all(torch.equal(theta.tensors[k], expected.tensors[k]) for k in expected.tensors)
    assert theta.header.settings == chosen.model_dump(mode="json")
    assert outputs.curve.read_bytes() == again.curve.read_bytes()


def test_the_accuracy_is_that_of_the_classifier_on_held_out_images(run, held_out_manifest):
    from wiseft.models.classifier import build_classifier

    outputs = run(searching())
    best = next(row for row in rows(outputs) if row["chosen"] == "1")
    theta = load_theta(outputs.theta_1)
    split = open_split(held_out_manifest, "held-out")
    with torch.no_grad():
        logits = build_classifier(theta.header, theta.tensors)(
            torch.from_numpy(split.read(slice(None))).permute(0, 3, 1, 2)
        )
    right = (logits.argmax(dim=-1).numpy() == split.labels).mean()
    assert float(best["held_out_accuracy"]) == pytest.approx(right)


def test_a_killed_search_goes_on_with_the_trials_that_are_left(run, monkeypatch, said):
    whole = run(searching(), name="whole")
    trained = []
    fit = module.fit

    def counted(*arguments):
        if len(trained) == 2 and arguments[3].key not in trained:
            raise KeyboardInterrupt
        trained.append(arguments[3].key)
        return fit(*arguments)

    monkeypatch.setattr(module, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        run(searching())
    monkeypatch.setattr(module, "fit", lambda *a: trained.append(a[3].key) or fit(*a))
    outputs = run(searching())
    assert "2 trials are finished already" in said
    assert len(trained) == len(set(trained)) == 4
    assert trials_of(outputs).read_bytes() == trials_of(whole).read_bytes()
    a, b = load_theta(whole.theta_1).tensors, load_theta(outputs.theta_1).tensors
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not outputs.state.exists() or list(outputs.state.iterdir()) == []


def test_finished_trials_of_another_search_and_damaged_lines_do_not_count(run, tmp_path, said):
    state = tmp_path / "run" / "state"
    state.mkdir(parents=True)
    foreign = {"key": "another", "number": 0, "settings": {}, "accuracy": 1.0}
    (state / "trials.jsonl").write_text(json.dumps(foreign) + '\n{"key": "cut\n[]\n')
    outputs = run(searching(trials=1))
    assert "0 trials are finished already" in said
    assert sum("damaged line" in line for line in said) == 2
    assert float(rows(outputs)[0]["held_out_accuracy"]) < 1.0 or len(rows(outputs)) == 1


def test_a_trial_that_diverges_is_noted_and_does_not_win(run, monkeypatch):
    fit = module.fit

    def diverging(task, settings, *arguments):
        if settings.batch_size == draw_trial(searching(), 0, 0)["batch_size"]:
            raise WiseftError("the loss is nan")
        return fit(task, settings, *arguments)

    monkeypatch.setattr(module, "fit", diverging)
    outputs = run(searching(trials=6))
    assert rows(outputs)[0]["held_out_accuracy"] == ""
    assert next(row for row in rows(outputs) if row["chosen"] == "1")["held_out_accuracy"] != ""


def test_trials_share_one_pass_through_the_tower(run, monkeypatch, tmp_path):
    from wiseft.models.classifier import ImageClassifier

    seen = []
    features = ImageClassifier.features
    monkeypatch.setattr(
        ImageClassifier,
        "features",
        lambda self, images: seen.append(len(images)) or features(self, images),
    )
    run(searching(), features=tmp_path / "features")
    assert seen == [20, 30]
    run(searching("l1"), name="l1", features=tmp_path / "features")
    assert seen == [20, 30]


def test_settings_without_a_search_and_finetune_with_one_are_refused(run, train):
    with pytest.raises(WiseftError, match="ask for no search"):
        run(FinetuneSettings(trainable="head"))
    with pytest.raises(WiseftError, match="that is what `wiseft search` does"):
        train(searching())


def test_command(tmp_path, theta_0, held_out_manifest, capsys):
    folder = tmp_path / "out"
    options = {
        "theta-0": theta_0,
        "dataset": held_out_manifest,
        "settings": searching(trials=2).model_dump_json(),
        "seed": 0,
        "state": folder / "state",
        "theta-1": folder / "theta_1.safetensors",
        "curve": folder / "curve.csv",
        "trials": folder / "trials.csv",
        "device": "cpu",
    }
    arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    with pytest.raises(SystemExit) as left:
        main(["search", *arguments])
    assert left.value.code == 0
    assert (folder / "trials.csv").read_text().startswith("trial,batch_size,learning_rate")
    assert load_theta(folder / "theta_1.safetensors").header.kind == "fine-tuned"
    assert "trial 2/2: batch_size" in capsys.readouterr().err


def test_a_training_takes_what_the_best_of_several_searches_found(run, train, held_out_manifest):
    searches = [run(searching(name), name=name) for name in ("none", "l1")]
    found = [row for search in searches for row in rows(search) if row["chosen"] == "1"]
    best = max(found, key=lambda row: float(row["held_out_accuracy"]))
    files = [str(trials_of(search)) for search in searches]
    base = searching(search=None, distillation=0.3)
    chosen = found_settings(base.model_copy(update={"from_search": files}))
    assert {key: float(getattr(chosen, key)) for key in SEARCHED} == {
        key: float(best[key]) for key in SEARCHED
    }
    assert chosen.distillation == 0.3
    assert chosen.from_search == []
    assert found_settings(base) is base
    # By the command, and without distillation, it is the very classifier of that search.
    plain = searching(search=None).model_copy(update={"from_search": files})
    train.manifest = held_out_manifest
    with pytest.raises(SystemExit, match="0"):
        main(train.command(plain))
    theta = load_theta(train.outputs().theta_1)
    winner = load_theta(searches[found.index(best)].theta_1)
    assert theta.identity == winner.identity
    assert theta.header.settings == winner.header.settings
    with pytest.raises(WiseftError, match=r"none\.csv has no trial that was chosen"):
        found_settings(plain.model_copy(update={"from_search": ["none.csv"]}))


@pytest.mark.parametrize("trainable", ["head", "all"])
def test_held_out_images_are_trained_on_behind_the_others(
    train, held_out_manifest, tmp_path, colours, settings, trainable
):
    images, labels = colours
    both = np.concatenate([images, np.flip(images, axis=2)])
    ids = [f"s{i}" for i in range(60)]
    split = PreparedSplit(both, np.concatenate([labels, labels]), ids)
    whole = write_prepared(tmp_path / "whole", "whole", {"train": split}, ["red", "green", "blue"])
    plain = settings(trainable=trainable, train_samples=None, epochs=2, batch_size=16)
    expected = train(plain, manifest=whole, name="whole")
    joined = plain.model_copy(update={"train_on_held_out": True})
    made = train(joined, manifest=held_out_manifest, name="joined")
    one, two = load_theta(expected.theta_1).tensors, load_theta(made.theta_1).tensors
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert expected.curve.read_bytes() == made.curve.read_bytes()
    without = train(plain, manifest=held_out_manifest, name="without")
    assert not torch.equal(load_theta(without.theta_1).tensors["head.weight"], one["head.weight"])
