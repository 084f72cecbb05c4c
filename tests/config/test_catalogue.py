"""The catalogue of a small project, and of this one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from wiseft.base.names import split_run_name
from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue, load_config, paths
from wiseft.study.config.catalogue import check_catalogue
from wiseft.study.config.paths import run_name
from wiseft.study.targets import Targets, experiment_runs
from wiseft.study.targets.resolve import resolve
from wiseft.study.targets.training_how import how_problems

from .conftest import Edit

REPOSITORY = Path(__file__).parents[2]


def test_names_resolve_to_entries_and_seeds(project: Path) -> None:
    catalogue = Catalogue(project)
    assert catalogue.model("tiny-s3")[0].name == "tiny"
    assert catalogue.model("tiny-s3")[1] == 3
    assert catalogue.model("tiny")[1] is None
    assert catalogue.model("brought")[1] is None
    toy = catalogue.dataset("toy")
    assert toy.display_names == ["0", "one"]
    assert toy.prompt_names == [["0", "zero"], ["one"]]
    assert catalogue.dataset_closure(["shift"]) == ["toy", "shift"]
    assert catalogue.suites(["toy", "shift"]) == {"small": ["toy"], "shift": ["shift"]}


def test_a_variant_changes_only_what_it_gives(project: Path) -> None:
    catalogue = Catalogue(project)
    method, short = catalogue.method_settings("tune"), catalogue.method_settings("tune__short")
    assert short == method.model_copy(update={"epochs": 1})
    # An explicit null is a value: the whole train split, although the method draws 60.
    assert catalogue.method_settings("tune__whole").train_samples is None
    assert catalogue.method_settings("tune__whole").warmup_max_fraction == 0.5


def test_the_defaults_are_the_papers_recipe() -> None:
    settings = Catalogue(REPOSITORY).method_settings("end-to-end")
    assert (settings.learning_rate, settings.weight_decay, settings.eps) == (3e-5, 0.1, 1e-8)
    assert (settings.betas, settings.clip_norm) == ((0.9, 0.999), 1.0)
    assert (settings.epochs, settings.batch_size, settings.warmup_steps) == (10, 512, 500)
    assert (settings.trainable, settings.init, settings.train_samples) == ("all", "zero-shot", None)


def test_entries_are_read_once(project: Path) -> None:
    catalogue = Catalogue(project)
    first = catalogue.dataset("toy")
    (project / "config/datasets/toy.yaml").write_text("broken: [")
    assert catalogue.dataset("toy") is first


def test_runs_of_an_experiment(project: Path) -> None:
    runs = experiment_runs(Catalogue(project).experiment("mini"))
    assert [f"{run.name}/seed-{run.seed}" for run in runs] == [
        "tiny-s3__toy__tune__short/seed-0",
        "tiny-s3__toy__tune__short/seed-1",
        "brought__toy__tune__short/seed-0",
        "brought__toy__tune__short/seed-1",
        "tiny__toy__scratch__n10/seed-0",
    ]
    assert [run.baseline for run in runs] == [False] * 4 + [True]


def test_run_names_split_into_their_parts() -> None:
    assert split_run_name(run_name("m-s1", "mnist", "tune__short")) == (
        "m-s1",
        "mnist",
        "tune",
        "short",
    )
    assert split_run_name(run_name("m", "mnist", "tune")) == ("m", "mnist", "tune", "")
    with pytest.raises(WiseftError, match="<model>__<reference>"):
        split_run_name("only__two")


def test_the_default_configuration_and_overrides(project: Path) -> None:
    path = project / "config/config.yaml"
    assert load_config(path).device == "auto"
    assert load_config(path, {"experiment": "other"}).experiment == "other"
    with pytest.raises(
        WiseftError, match=r"--config: unknown key `experimnt`; did you mean experiment"
    ):
        load_config(path, {"experimnt": "other"})


@pytest.mark.parametrize("key", ["paths", "part", "cache"])
def test_places_are_those_of_datasets_that_there_are(project: Path, edit, key: str) -> None:
    def places(*names: str) -> dict[str, object]:
        return {key: dict.fromkeys(names, "/data") if key == "paths" else list(names)}

    path = project / "config/config.yaml"
    edit("config", "datasets", places("toy", "shift"))
    assert list(getattr(load_config(path).datasets, key)) == ["toy", "shift"]
    edit("config", "datasets", places("toy", "shfit"))
    with pytest.raises(
        WiseftError, match=f"datasets.{key}` names an unknown dataset shfit; did you mean shift"
    ):
        load_config(path)


def test_every_file_of_this_project_is_valid() -> None:
    assert check_catalogue(REPOSITORY).endswith("files of the configuration")


@pytest.mark.parametrize("name", ["digits", "digits-seeds", "digits-smoke"])
def test_the_experiments_of_this_project(name: str) -> None:
    catalogue = Catalogue(REPOSITORY)
    experiment = catalogue.experiment(name)
    shifts = set(experiment.datasets) - {experiment.reference}
    assert len(shifts) == 8
    assert set(experiment.averages["shifts"]) == shifts
    natural, renditions = experiment.averages["natural"], experiment.averages["renditions"]
    assert set(natural) | set(renditions) == shifts
    assert not set(natural) & set(renditions)
    # One evaluate job covers all of these small sets.
    assert list(catalogue.suites(experiment.datasets)) == ["digits"]
    text = (REPOSITORY / f"config/experiments/{name}.yaml").read_text()
    for word in ("# What it reproduces", "# Time:", "# Numbers to expect:", "# Command:"):
        assert word in text


def test_the_datasets_of_the_paper_are_an_experiment_about_data_alone() -> None:
    catalogue = Catalogue(REPOSITORY)
    experiment = catalogue.experiment("paper-datasets")
    assert experiment.data_only
    assert experiment_runs(experiment) == []
    names = ("digits", "digits-studies", "photos", "photos-full", "icons", "icons-vendors")
    chosen = [catalogue.experiment(name) for name in names]
    ours = {dataset for entry in chosen for dataset in [*entry.datasets, *entry.keep]}
    assert set(experiment.datasets) == set(catalogue.names("datasets")) - ours
    assert experiment.datasets[-1] == "cifar10-c"
    text = (REPOSITORY / "config/experiments/paper-datasets.yaml").read_text()
    for word in ("# What it reproduces", "# Disk:", "# By hand:", "# Time:", "# Command:"):
        assert word in text
    # What the header says is needed by hand is what has no address.
    alone = [n for n in experiment.datasets if any(not f.urls for f in catalogue.dataset(n).files)]
    assert alone == ["imagenet", "cars"]


def test_every_dataset_has_a_preview_and_a_label_space_that_a_head_can_score() -> None:
    catalogue = Catalogue(REPOSITORY)
    for name in catalogue.names("datasets"):
        entry, preview = catalogue.dataset(name), catalogue.dataset(f"{name}-limit7")
        assert preview.bare_name == name
        assert set(preview.splits) == set(entry.splits)
        assert max(preview.splits.values()) <= 7
        if entry.label_map:
            assert entry.class_count < catalogue.dataset(entry.label_map.reference).class_count
            assert catalogue.dataset(entry.label_map.reference).label_map is None


def test_baselines_are_trained_long_enough() -> None:
    """A baseline of few samples must not be an untrained model: at least 300 steps each."""
    catalogue = Catalogue(REPOSITORY)
    baselines = catalogue.experiment("digits").baselines
    assert baselines is not None
    for method_id in baselines.methods:
        settings = catalogue.method_settings(method_id)
        assert settings.train_samples is not None
        steps = settings.epochs * -(-settings.train_samples // settings.batch_size)
        assert steps >= 300, method_id


def test_fresh_seeds_are_the_same_models_otherwise() -> None:
    """`digits-seeds` is `digits` with more seeds, so that they share artifacts."""
    one, ten = (resolve(REPOSITORY, name) for name in ("digits", "digits-seeds"))
    asks = {"about", "experiment", "interpolate", "title"}
    more = {"alphas", "methods", "model_seeds", "models", "seeds", "tuning"}
    assert {
        key for key in ten["experiment"] if one["experiment"].get(key) != ten["experiment"][key]
    } == asks | more
    assert set(one["experiment"]["alphas"]) < set(ten["experiment"]["alphas"])
    assert set(one["runs"]) < set(ten["runs"])


def test_no_two_models_share_fine_tuning_seeds() -> None:
    """The draws and orders of one pre-training are those of no other."""
    seeds = Catalogue(REPOSITORY).experiment("digits-seeds").model_seeds
    drawn = [seed for of_model in seeds.values() for seed in of_model]
    assert len(set(drawn)) == len(drawn) == 30


# --------------------------------------------------------------- models that are only combined

APART = {
    "name": "apart",
    "title": "Apart",
    "paper": "Table 13",
    "independent": {
        "other": {"model": "brought"},
        "scratch": {"model": "tiny", "baseline": "scratch__n10"},
        "bare": {"model": "tiny"},
    },
}


@pytest.fixture
def apart(project: Path, edit: Edit) -> Path:
    """The project, with a method that trains nothing and combines each of two other models."""
    (project / "config/methods/apart.yaml").write_text(yaml.safe_dump(APART))
    edit("experiments/mini", "models", ["tiny-s3"])
    edit("experiments/mini", "methods", ["tune__short", "apart__other", "apart__scratch"])
    edit("experiments/mini", "baselines.seeds", [0, 1])
    return project


def test_a_model_that_is_only_combined_stands_in_for_theta_1(apart: Path) -> None:
    targets = Targets.read(apart)
    assert targets.models == ["tiny-s3", "brought"]
    found = {
        (run.method_id, run.seed): (
            targets.has_theta_1(run),
            targets.theta_1(run.model, run.method_id, run.seed).as_posix(),
        )
        for run in targets.runs
    }
    runs = "data/runs/tiny__toy__scratch__n10/seed-1/theta_1.safetensors"
    assert found["apart__other", 0] == (False, "data/models/brought/toy/theta_0.safetensors")
    assert found["apart__scratch", 1] == (False, runs)
    assert found["scratch__n10", 1] == (True, runs)
    assert found["tune__short", 0][0]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("combinations", ["weight"], "methods lists apart__other, of which only outputs can be"),
        ("models", ["tiny-s3", "brought"], "which is brought, but models lists that too"),
        ("baselines", None, "which is the baseline scratch__n10 of tiny, but baselines must then"),
        ("baselines.seeds", [0], "must then list it, with every seed of apart__scr"),
        ("method_seeds", {"apart__scratch": [0, 7]}, "with every seed of apart__scratch"),
        ("methods", ["tune", "apart__bare"], "methods lists apart__bare of tiny, which is pre-tr"),
        ("methods", ["tune", "apart"], "method apart trains nothing; say which model it combines"),
        ("methods", ["tune", "apart__othr"], "method apart has no variant othr; did you mean oth"),
    ],
)
def test_a_model_that_is_only_combined_must_be_there(
    apart: Path, edit: Edit, key: str, value: object, expected: str
) -> None:
    edit("experiments/mini", key, value)
    with pytest.raises(WiseftError) as caught:
        Catalogue(apart).experiment("mini")
    assert expected in str(caught.value)


@pytest.mark.parametrize("more", [{"variants": {"a": {"epochs": 1}}}, {"checkpoint": "a.pt"}])
def test_a_method_trains_or_combines(apart: Path, more: dict[str, object]) -> None:
    (apart / "config/methods/apart.yaml").write_text(yaml.safe_dump(APART | more))
    with pytest.raises(WiseftError, match="nothing is trained then; leave them out"):
        Catalogue(apart).method("apart")


# ---------------------------------------------------------------- models that are made of others

MERGED = {
    "soup": {"of": "tune", "seeds": [0, 4], "recipe": {"kind": "soup-uniform"}},
    "patch": {"of": "tune__short", "recipe": {"kind": "patching", "alpha": 0.5}},
    "lost": {"of": "tune__shrt", "recipe": {"kind": "patching", "alpha": 0.5}},
    "again": {"of": "merged__soup", "recipe": {"kind": "patching", "alpha": 0.5}},
}


def write_merged(project: Path, merged: dict[str, object], **more: object) -> None:
    entry = {"name": "merged", "title": "Merged", "paper": "none", "merged": merged, **more}
    (project / "config/methods/merged.yaml").write_text(yaml.safe_dump(entry))


@pytest.fixture
def merged(project: Path, edit: Edit) -> Path:
    """The project, with a model of two seeds that are no runs, and one of each run's own seed."""
    write_merged(project, MERGED)
    edit("experiments/mini", "models", ["tiny-s3"])
    edit("experiments/mini", "methods", ["tune__short", "merged__soup", "merged__patch"])
    edit("experiments/mini", "method_seeds", {"merged__soup": [7]})
    return project


def test_merged_models_are_runs_and_what_they_are_made_of_is_trained(merged: Path) -> None:
    targets = Targets.read(merged)
    runs = [(run.method_id, run.seed) for run in targets.runs if not run.baseline]
    assert ("merged__soup", 7) in runs and ("tune", 0) not in runs
    trained = [(run.method_id, run.seed) for run in targets.fine_tuned]
    assert trained == [("tune__short", 0), ("tune__short", 1), ("tune", 0), ("tune", 4)]
    soup, patch = (
        targets.files.ingredients("tiny-s3", f"merged__{name}", seed)
        for name, seed in (("soup", "7"), ("patch", "1"))
    )
    folder = "data/runs/tiny-s3__toy__"
    assert [str(path) for path in soup] == [
        f"{folder}tune/seed-{seed}/theta_1.safetensors" for seed in (0, 4)
    ]
    assert [str(path) for path in patch] == [
        "data/models/tiny-s3/toy/theta_0.safetensors",
        f"{folder}tune__short/seed-1/theta_1.safetensors",
    ]
    made = {kind.name: kind.files for kind in targets.files.kinds}
    assert made["merged models (theta_1)"] == [
        f"{folder}merged__soup/seed-7/theta_1.safetensors",
        *(f"{folder}merged__patch/seed-{seed}/theta_1.safetensors" for seed in (0, 1)),
    ]
    jobs = targets.jobs.by_rule()
    assert (jobs["finetune"], jobs["combine"], jobs["baseline"]) == (4, 3, 1)
    assert targets.methods_in_full()["merged__soup"] == MERGED["soup"]


def test_a_merged_method_is_swept_as_what_it_is_made_of(merged: Path, edit: Edit) -> None:
    """Which towers and held-out images it has seen follows from the ingredients."""
    edit("methods/tune", "settings", {"train_on_held_out": True, "loss": "contrastive"})
    edit("methods/tune", "variants", {"short": {"epochs": 1}})
    targets = Targets.read(merged)
    assert "merged__soup" in targets.trained_on_held_out
    assert {"tune", "merged__soup"} <= set(targets.contrastive)
    (start, _) = targets.files.ingredients("tiny-s3", "merged__patch", "0")
    assert start == paths.theta_0_with_text_path("tiny-s3", "toy")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("method_seeds", {}, "which is one model, made of the seeds 0, 4, but it would be made 2"),
        (
            "methods",
            ["merged__soup", "merged__lost"],
            "method merged__lost is made of others: method tune has no",
        ),
        (
            "methods",
            ["merged__soup", "merged__again"],
            "made of others: merged__soup trains nothing; name a method that does",
        ),
        (
            "methods",
            ["merged__soup", "merged__sup"],
            "method merged has no variant sup; did you mean soup",
        ),
        (
            "methods",
            ["merged__soup", "merged"],
            "method merged trains nothing; say which model it combines: merge",
        ),
        ("reference", "shift", "lists merged__patch, which has train_samples: 60, but the train"),
    ],
)
def test_what_a_merged_model_is_made_of_must_be_there(
    merged: Path, edit: Edit, key: str, value: object, expected: str
) -> None:
    edit("experiments/mini", key, value)
    edit("datasets/shift", "splits", {"train": 10, "test": 50})
    with pytest.raises(WiseftError) as caught:
        Catalogue(merged).experiment("mini")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"recipe": {"kind": "soup"}}, "there is no recipe 'soup'; choose one of dare"),
        ({"recipe": {}}, "recipe: key `kind` is missing"),
        ({"recipe": {"kind": "patching"}}, "key `alpha`"),
        ({"recipe": {"kind": "patching", "alpha": 2}}, "at most 1"),
        ({"seeds": None}, "recipe soup-uniform: key `thetas`"),
        ({"recipe": {"kind": "soup-greedy"}}, "also takes dataset, but there are only models for"),
        ({"recipe": {"kind": "fisher"}}, "also takes fisher, but there are only models for"),
        ({"of": ""}, "at least 1 character"),
    ],
)
def test_a_recipe_is_checked_before_anything_runs(
    merged: Path, change: dict[str, object], expected: str
) -> None:
    write_merged(merged, {"soup": {**MERGED["soup"], **change}})
    with pytest.raises(WiseftError) as caught:
        Catalogue(merged).method("merged")
    assert expected in str(caught.value)
    write_merged(merged, {"soup": MERGED["soup"]}, checkpoint="a.pt")
    with pytest.raises(WiseftError, match="checkpoint is given with merged, but nothing is train"):
        Catalogue(merged).method("merged")


# ---------------------------------------------------- how trainings are carried out, and which can


@pytest.mark.parametrize(
    ("how", "settings", "sentence"),
    [
        ({"gpus": 2}, {}, ""),
        ({"gpus": {"tune__short": 2}}, {"loss": "contrastive"}, "training.how.gpus is 2, but tune"),
        ({"gpus": {"brought": 2}}, {}, ""),
        ({"gpus": 2}, {"loss": "contrastive"}, "training.how.gpus is 2, but tune__short of"),
        ({"micro_batch": 8}, {"loss": "contrastive"}, "training.how.micro_batch is 8, but tune"),
        ({"micro_batch": 60}, {"loss": "contrastive"}, ""),  # a batch has 60 samples
        ({"gpus": 2}, {"batch_norm": "train"}, "the statistics are those of a batch"),
        ({"gpus": 2}, {"batch_norm": "train", "trainable": "head"}, ""),
        ({}, {"loss": "contrastive"}, ""),
    ],
)
def test_trainings_that_need_whole_batches_are_known_ahead(
    project: Path, edit: Edit, how: dict, settings: dict, sentence: str
) -> None:
    (project / "config/models/tiny.json").write_text('{"vision_cfg": {"layers": [1, 1, 1, 1]}}')
    edit("methods/tune", "settings", {"train_samples": 60} | settings)
    edit("experiments/mini", "baselines", None)
    found = how_problems(Targets.read(project, {"training": {"how": how}}))
    if sentence:
        assert len(found) == 2, "of two models"
        assert sentence in found[0]
    else:
        assert found == []


def test_a_name_that_no_training_can_have_is_told(project: Path) -> None:
    gpus = {"tiny/tune__short": 2, "tiny-s3/tune__shrt": 2}
    (found,) = how_problems(Targets.read(project, {"training": {"how": {"gpus": gpus}}}))
    assert "training.how.gpus names tune__shrt, which is neither a model nor a method" in found


@pytest.mark.parametrize("source", ["align", "timm", "file"])
def test_random_texts_need_a_text_tower_of_clips_tokens(
    project: Path, edit: Edit, source: str
) -> None:
    about = {"align": {"repository": "a/b", "architecture": None}, "timm": {"architecture": "x.y"}}
    for key, value in {"source": source, **about.get(source, {})}.items():
        edit("models/brought", key, value)
    edit("methods/tune", "settings", {"train_samples": 60, "lipsum": {}})
    if source == "file":  # its tokens are known once the checkpoint is read
        Catalogue(project).experiment("mini")
        return
    with pytest.raises(WiseftError) as caught:
        Catalogue(project).experiment("mini")
    assert "methods lists tune__short, which has lipsum, but brought has no text" in str(
        caught.value
    )
    assert "tiny-s3" not in str(caught.value)


def test_random_texts_are_read_in_training_alone(project: Path, edit: Edit) -> None:
    plain = Targets.read(project)
    assert plain.start("tiny-s3", "tune__short") == plain.theta_0("tiny-s3", "tune__short")
    edit("methods/tune", "settings", {"train_samples": 60, "lipsum": {}})
    targets = Targets.read(project)
    assert targets.start("tiny-s3", "tune__short").name == "theta_0_with_text.safetensors"
    assert targets.theta_0("tiny-s3", "tune__short").name == "theta_0.safetensors"
    assert targets.jobs.by_rule()["text_tower"] == 2


def test_transformers_have_no_statistics_of_batches(project: Path, edit: Edit) -> None:
    (project / "config/models/tiny.json").write_text('{"vision_cfg": {"layers": 12}}')
    edit("methods/tune", "settings", {"train_samples": 60, "batch_norm": "train"})
    edit("experiments/mini", "baselines", None)
    assert how_problems(Targets.read(project, {"training": {"how": {"gpus": 2}}})) == []
