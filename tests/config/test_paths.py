"""Paths are those of docs/design.md, and take the wildcards of a workflow."""

from __future__ import annotations

from wiseft.study.config import paths


def test_paths_of_the_design() -> None:
    run = paths.run_name("digits-rn-s10", "mnist", "end-to-end__digits")
    folder = "data/runs/digits-rn-s10__mnist__end-to-end__digits/seed-0"
    expected = {
        paths.package_path("x.whl"): "datasets/.packages/x.whl",
        paths.manifest_path("mnist", "/big"): "/big/mnist/manifest.json",
        paths.glyphs_folder("digits-rn"): "datasets/glyphs/digits-rn",
        paths.weights_path("digits-rn-s10"): "data/models/digits-rn-s10/weights.safetensors",
        paths.pretrain_curve_path("digits-rn-s10"): "data/models/digits-rn-s10/pretrain.csv",
        paths.theta_0_path("m-s1", "mnist"): "data/models/m-s1/mnist/theta_0.safetensors",
        paths.theta_0_own_head_path("m", "imagenet", "v"): "data/models/m/imagenet/theta_0_for_v"
        ".safetensors",
        paths.theta_1_path(run, 0): f"{folder}/theta_1.safetensors",
        paths.training_curve_path(run, 0): f"{folder}/training.csv",
        paths.theta_path(run, 0, "0.500"): f"{folder}/combine/theta_0.500.safetensors",
        paths.metrics_path(run, 0, "mnist"): f"{folder}/evaluate/mnist/metrics.json",
        paths.predictions_path(run, 0, "mnist"): f"{folder}/evaluate/mnist/predictions.parquet",
        paths.table_path("digits"): "data/tables/digits.csv",
        paths.table_path("digits", "comparisons.csv"): "data/tables/digits.comparisons.csv",
        paths.table_path("digits", "selection.csv"): "data/tables/digits.selection.csv",
        paths.figure_path("digits", "landscape", "pdf"): "results/digits/figures/landscape.pdf",
        paths.summary_path("digits"): "results/digits/summary.md",
        paths.state_path("finetune", run, 0): f".wiseft/state/finetune/{run}/0",
    }
    assert {str(path): text for path, text in expected.items()} == {
        text: text for text in expected.values()
    }


def test_wildcards_and_dots_stay_as_they_are() -> None:
    assert str(paths.theta_path("{run}", "{seed}", "{alpha}")) == (
        "data/runs/{run}/seed-{seed}/combine/theta_{alpha}.safetensors"
    )
