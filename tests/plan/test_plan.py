"""What an experiment costs: FLOPs that are counted, hours and disk space that follow from them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tools import costs
from typer.testing import CliRunner

from wiseft.cli import app
from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue, FinetuneSettings
from wiseft.study.plan import PEAKS, Assumptions, estimate, render
from wiseft.study.plan.hardware import peak_of
from wiseft.study.plan.needs import needs_of
from wiseft.study.plan.towers import count, tower_cost
from wiseft.study.plan.work import forward_work, training_work
from wiseft.study.targets import Targets

ROOT = Path(__file__).parents[2]
A100 = Assumptions("a100", PEAKS["a100"], utilisation=0.5)
MEASURED = {"digits": 8.3, "digits-seeds": 160, "digits-studies": 45, "photos": 60}
"""Minutes on two CPU cores (docs/digits.md, docs/digits-studies.md, docs/photos.md)."""


def targets_of(experiment: str) -> Targets:
    return Targets.read(ROOT, {"experiment": experiment})


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue(ROOT)


@pytest.mark.parametrize("model", ["clip-vit-b-32", "clip-rn50"])
def test_what_is_looked_up_is_what_is_counted(catalogue, model):
    """Two sources: open_clip's published table, and torch's counter over a model built here."""
    import open_clip

    entry, _ = catalogue.model(model)
    listed = tower_cost(catalogue, model)  # as both are in the table
    counted = count(open_clip.get_model_config(entry.architecture), entry.preprocessing.size)
    assert counted.width == listed.width
    for key in ("image_flops", "image_parameters", "text_parameters"):
        assert getattr(counted, key) == pytest.approx(getattr(listed, key), rel=2e-3), key
    # The table counts a text tower's attention as if nothing was masked.
    assert counted.text_flops == pytest.approx(listed.text_flops, rel=0.03)


def test_own_architectures_are_counted(catalogue):
    """The digits' image tower: a stem of convolutions; a multiply-add counts as two."""
    cost = tower_cost(catalogue, "digits-rn-s10")
    assert 1e5 < cost.image_parameters < 2e6
    assert 1e7 < cost.image_flops < 1e9
    assert tower_cost(catalogue, "digits-rn-s11") == cost


def test_hours_follow_from_images_and_flops():
    """ViT-B/16 on ImageNet by hand: 10 epochs of 1,271,167 images, three passes of 35.13 GFLOPs."""
    rows = {(row.model, row.method): row for row in estimate(targets_of("imagenet"), A100).rows}
    row = rows["clip-vit-b-16", "end-to-end"]
    by_hand = 10 * 1_271_167 * 3 * 35.13e9 / (19.5e12 * 0.5) / 3600
    assert row.training_hours == pytest.approx(by_hand)
    images = 60_000 + 10_000 + 30_000 + 50_889 + 18_574 + 7_500  # held out and tested, and shifts
    assert row.evaluation_hours == pytest.approx(21 * images * 35.13e9 / (19.5e12 * 0.5) / 3600)
    # A linear classifier needs every feature once, whatever alpha is.
    linear = rows["clip-vit-b-16", "linear-classifier__search-weight-decay"]
    assert linear.evaluation_hours == pytest.approx(row.evaluation_hours / 21)
    assert linear.training_hours == pytest.approx(by_hand * (1_281_167 / 12_711_670) / 3)


@pytest.mark.parametrize(
    ("changes", "images", "passes"),
    [
        ({}, 5 * 1000, 3),
        ({"train_samples": 100}, 5 * 100, 3),
        ({"samples_per_class": 2}, 5 * 20, 3),
        ({"steps": 7, "batch_size": 64}, 7 * 64, 3),
        ({"early_stopping": {"after": 3}, "batch_size": 64}, 3 * 64, 3),
        ({"distillation": 0.5}, 5 * 1000, 4),
    ],
)
def test_training_work_of_settings(catalogue, changes, images, passes):
    reference = catalogue.dataset("mnist").model_copy(
        update={"splits": {"train": 1000, "held-out": 50, "test": 100}}
    )
    cost = tower_cost(catalogue, "clip-vit-b-32")
    settings = FinetuneSettings.model_validate({"epochs": 5, "batch_size": 10, **changes})
    work = training_work(settings, reference, cost)
    assert work.trained_images == images
    assert work.training_flops == pytest.approx(images * passes * cost.image_flops)
    assert work.forward_flops == 0


def test_forward_passes_that_come_on_top(catalogue):
    reference = catalogue.dataset("mnist").model_copy(
        update={"splits": {"train": 1000, "held-out": 50, "test": 100}}
    )
    cost = tower_cost(catalogue, "clip-vit-b-32")

    def seen(**changes: object) -> float:
        settings = FinetuneSettings.model_validate({"epochs": 5, "batch_size": 10, **changes})
        return training_work(settings, reference, cost).seen_images

    assert seen(early_stopping={"every": 100}) == 5 * 50
    assert seen(linear_probe={"epochs": 3, "learning_rate": 0.1}) == 1000
    assert seen(trainable="head") == 1000
    assert seen(trainable="head", search={"regulariser": "none"}) == 1050
    contrastive = FinetuneSettings.model_validate({"epochs": 1, "loss": "contrastive"})
    extra = training_work(contrastive, reference, cost).training_flops - 3000 * cost.image_flops
    assert extra == pytest.approx(3000 * cost.text_flops)


def test_measured_rates_replace_the_estimate(catalogue):
    given = Assumptions(
        "a100", PEAKS["a100"], training_rates={"clip-vit-b-16": 1000.0}, evaluation_rates={}
    )
    rows = {(row.model, row.method): row for row in estimate(targets_of("imagenet"), given).rows}
    row = rows["clip-vit-b-16", "end-to-end"]
    assert row.training_hours == pytest.approx(12_711_670 / 1000 / 3600)
    assert row.measured
    assert not rows["clip-vit-l-14-336", "end-to-end"].measured
    work = forward_work(7200, tower_cost(catalogue, "clip-vit-b-16"))
    seen = Assumptions("a100", PEAKS["a100"], evaluation_rates={"clip-vit-b-16": 2.0})
    assert seen.hours("clip-vit-b-16", work) == 1.0


def test_half_precision_has_its_own_peak():
    work = forward_work(1, tower_cost(Catalogue(ROOT), "clip-vit-b-16"))
    ratio = A100.hours("", work, "fp32") / A100.hours("", work, "bf16")
    assert ratio == pytest.approx(312 / 19.5)


def test_disk_space_is_that_of_the_files():
    """Against the tensors of a model that is built: parameters, and few buffers besides."""
    from wiseft.models import towers
    from wiseft.models.towers.open_clip_models import architecture_from_json

    architecture = architecture_from_json(ROOT / "config" / "models" / "digits-rn.json")
    model = towers.build(architecture, seed=0)
    weights = model.tensors()
    image = towers.image_tensors(architecture, weights)
    disk = estimate(targets_of("digits"), A100).disk_gb
    assert disk["zero-shot weights"] == pytest.approx(bytes_of(weights) / 1e9, rel=0.02)
    head = 10 * (towers.embed_dim(architecture) + 1) * 4
    assert disk["theta_0"] == pytest.approx((bytes_of(image) + head) / 1e9, rel=0.02)
    assert disk["theta_1"] == pytest.approx(17 * disk["theta_0"])
    assert disk["interpolated"] == pytest.approx(9 * disk["theta_0"])


def test_a_model_that_is_only_combined_sees_each_image_once(catalogue):
    plan = estimate(targets_of("independent-ensembles"), A100)
    rows = {row.method: row for row in plan.rows}
    ensemble = rows["independent-ensemble__ns-efficientnet-b6"]
    assert ensemble.training_hours == 0
    clip, other = (
        tower_cost(catalogue, name).image_flops
        for name in ("clip-vit-l-14-336", "ns-efficientnet-b6")
    )
    one_pass = rows["end-to-end"].evaluation_hours / 21
    assert ensemble.evaluation_hours == pytest.approx(one_pass * (1 + other / clip), rel=1e-6)
    wanted = {"weights": 3, "zeroshot": 1, "zeroshot_supervised": 2, "finetune": 1}
    assert {rule: plan.jobs[rule] for rule in wanted} == wanted


def test_a_merged_model_is_swept_and_what_it_is_made_of_is_trained():
    """One seed of the recipe is a run of digits-studies; those of two more are merged alone."""
    targets = targets_of("digits-studies")
    plan = estimate(targets, A100)
    rows = {row.method: row for row in plan.rows}
    merged, recipe, other = (
        rows[name]
        for name in ("merged__digits-ties", "end-to-end__digits", "end-to-end__digits-lr-6e-4")
    )
    assert merged.training_hours == 0
    assert merged.evaluation_hours == recipe.evaluation_hours == other.evaluation_hours > 0
    assert recipe.training_hours == pytest.approx(3 * other.training_hours)
    disk = plan.disk_gb
    thetas = len(targets.combined) + 2 + sum(run.baseline for run in targets.runs)
    heads = 1 + len(targets.experiment.keep)  # theta_0 of the reference, and of what is kept
    assert disk["theta_1"] == pytest.approx(thetas * disk["theta_0"] / heads)
    assert plan.jobs["combine"] == len(targets.merged) == 8


def test_disk_space_has_archives_and_features_and_of_a_linear_classifier_no_state_of_the_tower():
    few_shot = estimate(targets_of("few-shot-imagenet"), A100).disk_gb
    width, classes = 768, 1000
    drawn = [n * classes for n in (1, 5, 10, 25, 50)]
    images = 1_271_167 + 10_000 + sum(drawn)
    assert few_shot["kept features"] == pytest.approx(4 * width * images / 1e9)
    assert "resume state" not in few_shot
    assert few_shot["archives"] == pytest.approx(154.64, abs=0.01)
    check = estimate(targets_of("zeroshot-check"), A100).disk_gb  # validation images alone
    assert few_shot["datasets"] == 155 and check["datasets"] < 155 + 197
    diversity = estimate(targets_of("diversity"), A100).disk_gb
    assert diversity["logits"] > diversity["predictions"]


def bytes_of(tensors: dict) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def test_an_unknown_gpu_is_one_sentence():
    assert peak_of("82.6,165.2").half == 165.2
    for name in ("gtx", "1,2,3", "-1,2"):
        with pytest.raises(WiseftError, match=f"unknown GPU {name}; give one of t4, v100"):
            peak_of(name)


@pytest.mark.parametrize(
    "experiment", sorted(path.stem for path in (ROOT / "config" / "experiments").glob("*.yaml"))
)
def test_every_experiment_can_be_estimated(experiment):
    targets = targets_of(experiment)
    plan = estimate(targets, Assumptions("a100", PEAKS["a100"]))
    assert plan.hours >= 0
    disk = sum(plan.disk_gb.values())
    header = (ROOT / "config" / "experiments" / f"{experiment}.yaml").read_text()
    for said, counted in ((r"Disk: about (\d+) GB", disk), (r"GPU-hours: about (\d+)", plan.hours)):
        if found := re.search(said, header):
            assert float(found[1]) == pytest.approx(counted, rel=0.1, abs=1), found[0]
    needs = needs_of(targets)
    assert needs.disk_gb == pytest.approx(disk)
    if needs.machine == "one A100":
        assert needs.minutes == pytest.approx(60 * plan.hours)
    if measured := MEASURED.get(experiment):
        assert measured / 2 < needs.minutes < measured * 2
    assert f"Estimate for {experiment}: one a100" in render(plan)


def test_the_command_takes_another_gpu():
    done = CliRunner().invoke(app, ["plan", "imagenet", "--gpu", "h100", "--root", str(ROOT)])
    assert done.exit_code == 0, done.output
    assert "one h100" in done.output
    assert "(of 67 TFLOP/s)" in done.output and "(of 989.5)" in done.output
    assert "evaluate 24" in done.output


@pytest.mark.parametrize("experiment", ["linear-alternatives", "objectnet-names"])
def test_features_that_linear_classifiers_share_are_computed_once(experiment):
    """Of one image tower, whatever names are in the prompts: one pass over the training images."""
    targets = Targets.read(ROOT, {"experiment": experiment})
    plan = estimate(targets, Assumptions("a100", PEAKS["a100"]))
    linear = [row.training_hours for row in plan.rows if row.method.startswith("linear-classifier")]
    assert len(linear) > 1 and sum(map(bool, linear)) == 1


def test_the_page_of_costs_is_that_of_today():
    """If this fails: python -m tools.costs > docs/costs.md"""
    assert costs.page(ROOT) == (ROOT / "docs" / "costs.md").read_text()
