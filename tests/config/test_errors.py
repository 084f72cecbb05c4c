"""Bad configurations: one sentence for each problem, with file, key, value and what is allowed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from wiseft.base.loading import parse_settings, read_yaml
from wiseft.base.validation import validate
from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue, ExperimentEntry, FinetuneSettings

MINI = "experiments/mini"


def message(project: Path, experiment: str = "mini") -> str:
    with pytest.raises(WiseftError) as caught:
        Catalogue(project).experiment(experiment)
    return str(caught.value)


@pytest.mark.parametrize(
    ("entry", "key", "value", "expected"),
    [
        (MINI, "alhpas", [0, 1], "unknown key `alhpas`; did you mean alphas?"),
        (MINI, "bootstrap", {"resample": 5}, "`bootstrap.resample`; did you mean resamples?"),
        (MINI, "bootstrap", {"resamples": 5}, "`bootstrap.resamples` is 5, but must be at least"),
        (MINI, "seeds", [0, 0], "`seeds`: 0 occurs twice, but values must be distinct"),
        (MINI, "seeds", [-1], "`seeds.0` is -1, but must be at least 0"),
        (MINI, "seeds", ["x"], '`seeds.0` is "x", but must be an integer'),
        (MINI, "seeds", [], "`seeds` is [], but must be a collection of at least 1"),
        (MINI, "alphas", [0, 0.5], "alphas is 0.000, 0.500, but must contain 0, 0.5 and 1"),
        (MINI, "alphas", [0, 1], "alphas is 0.000, 1.000, but must contain 0, 0.5 and 1"),
        (MINI, "held_out.split", "test", "held_out.split is test, which is test_split too, but"),
        (MINI, "test_split", "held-out", "held_out.split is held-out, which is test_split too"),
        (
            MINI,
            "figures.robustness.options.variants",
            ["long"],
            "figures.robustness.options.variants lists long, but the experiment has short",
        ),
        (MINI, "alphas", [0, 1.5], "outside [0, 1]"),
        (MINI, "alphas", [0, 0.1234, 1], "more than three decimals"),
        (MINI, "alphas", [0, 0.5, 0.5, 1], "0.500 more than once"),
        (MINI, "alphas", [0, "half", 1], '`alphas.1` is "half", but must be a number'),
        (MINI, "alphas", [0, float("nan"), 1], "`alphas.1` is NaN, but must be a finite number"),
        (MINI, "interpolate", [2], "outside [0, 1]"),
        (MINI, "page", ["tune"], "page lists tune, but must list only methods: tune__short"),
        (MINI, "method_seeds", {"tune": [1]}, "method_seeds lists tune, but must list only meth"),
        (MINI, "method_seeds", {"tune__short": []}, "at least 1"),
        (
            MINI,
            "tuning",
            {"title": "rate", "methods": ["tune__short", "tune"]},
            "tuning lists tune, but must list only methods: tune__short",
        ),
        (MINI, "tuning", {"title": "rate", "methods": ["tune__short"]}, "at least 2"),
        (MINI, "reference", "shfit", "reference is shfit, but must be one of datasets"),
        (MINI, "averages", {"a": ["toys"]}, "averages.a lists toys, but must list only datasets"),
        (MINI, "held_out.dataset", "x", "held_out.dataset is x, but must be one of datasets"),
        (MINI, "held_out.split", "val", "held_out.split is val, but must be one of the evaluated"),
        (
            MINI,
            "reference_split",
            {"split": "val"},
            "reference_split.split is val, but must be one",
        ),
        (MINI, "reference_split", {"split": "test"}, "is test, which has another role already"),
        (MINI, "held_out.split", "train", "held_out.split is train, but must be one of the eval"),
        (MINI, "test_split", "tset", "test_split is tset, but dataset toy evaluates only"),
        (MINI, "datasets", ["toy", "shift", "shfit"], "unknown dataset shfit; did you mean shift?"),
        (MINI, "models", ["tny-s3"], "unknown model tny-s3; did you mean tiny?"),
        (MINI, "models", ["tiny"], "models lists tiny, which is pre-trained here, but must then"),
        (MINI, "models", ["brought-s1"], "brought-s1 has a pre-training seed, but brought is not"),
        (MINI, "models", ["tiny-s03"], "unknown model tiny-s03"),
        (MINI, "methods", ["tuen"], "unknown method tuen; did you mean tune?"),
        (MINI, "methods", ["tune__shrt"], "method tune has no variant shrt; did you mean short?"),
        (MINI, "methods", ["scratch"], "methods lists scratch, which has init: random, but must"),
        (MINI, "methods", ["a__b__c"], '`methods.0` is "a__b__c", but must be text of the form'),
        (MINI, "baselines.methods", ["tune"], "baselines.methods lists tune, which has init: zero"),
        (MINI, "baselines.model", "tiny-s3", "must be the bare entry tiny"),
        (
            MINI,
            "figures.robustness.draw",
            "pie",
            "but must be one of 'bars', 'diversity', 'frontier'",
        ),
        (MINI, "figures.robustness.options", {"average": "al"}, "options.average is al, but must"),
        (MINI, "experiment", "maxi", "key `experiment` is maxi, but must be mini"),
        ("datasets/toy", "disk_gb", 0, "`disk_gb` is 0, but must be greater than 0"),
        (MINI, "keep", ["shift"], "keep lists shift, which datasets lists too"),
        (MINI, "keep", ["shfit"], "key `keep`: unknown dataset shfit; did you mean shift?"),
        ("datasets/toy", "evaluate", ["val"], "evaluate lists val, but the splits are train"),
        ("datasets/toy", "class_names", [3, "x"], "`class_names.0` is 3, but must be text or a l"),
        ("datasets/toy", "class_names", ["x", "x"], "x occurs twice"),
        ("datasets/toy", "class_names", [[], "x"], "class_names has an empty name"),
        ("datasets/toy", "splits", {"train": 0}, "`splits.train` is 0, but must be at least 1"),
        ("datasets/toy", "splits", {"held-out": 2, "test": 5}, "but it must have a split train"),
        ("datasets/toy", "splits.train", 59, "but the train split of toy holds only 59"),
        ("datasets/toy", "builder", None, "`arrays` needs a builder"),
        ("datasets/toy", "root", "/x", "layout `arrays` reads no root"),
        ("datasets/toy", "views", [{"nam": "all"}], "unknown key `views.0.nam`; did you mean name"),
        ("datasets/toy", "packages", ["toy-dat"], "unknown package toy-dat; did you mean toy-data"),
        ("datasets/toy", "prompts", "plian", "unknown prompt set plian; did you mean plain?"),
        (
            "datasets/toy",
            "depends",
            ["shift"],
            "key `depends` leads in a circle: toy -> shift -> toy",
        ),
        ("datasets/shift", "class_names", ["a", "b"], "class_names are not those of the referen"),
        ("prompts/plain", "templates", ["a photo"], "'a photo' must be a sentence with {c}"),
        ("models/tiny", "source", "file", "source is file, but pretrain is given"),
        ("models/tiny", "pretrain", None, "source is pretrain, but must then have pretrain"),
        ("models/tiny", "pretrain.step", 3, "unknown key `pretrain.step`; did you mean steps"),
        ("models/tiny", "architecture", "none.json", "whose architecture"),
        ("models/tiny", "preprocessing.std", [0, 1, 1], "`preprocessing.std.0` is 0, but must be"),
        (
            "methods/tune",
            "settings.trainable",
            "some",
            "but must be one of 'all', 'head' or 'lora'",
        ),
        ("methods/tune", "variants.short", {"epoch": 1}, "did you mean epochs"),
        (
            "methods/scratch",
            "variants.n10",
            {"trainable": "head"},
            "variant n10: trainable is head",
        ),
        ("methods/scratch", "settings.lr", 1, "unknown key `settings.lr`; "),
        ("packages", "packages.toy-data.sha256", "abc", 'sha256` is "abc", but must be text of'),
    ],
)
def test_each_problem_is_one_sentence(
    project: Path, edit, entry: str, key: str, value: object, expected: str
) -> None:
    edit(entry, key, value)
    text = message(project)
    line = next((line for line in text.split("\n") if expected in line), None)
    assert line is not None, text
    assert f"config/{entry}.yaml: " in line or "config/experiments/mini.yaml: " in line
    assert "pydantic" not in text


def test_what_is_kept_needs_prompts_and_fine_tuning(project: Path, edit) -> None:
    other = yaml.safe_load((project / "config/datasets/shift.yaml").read_text())
    other |= {"name": "other", "class_names": ["cat", "dog", "owl"], "depends": []}
    (project / "config/datasets/other.yaml").write_text(yaml.safe_dump(other))
    edit(MINI, "keep", ["other"])
    Catalogue(project).experiment("mini")
    edit("models/brought", "names_of", "shift")
    assert "keep lists other, whose heads are made of prompts alone, but" in message(project)
    edit("models/brought", "names_of", None)
    edit("datasets/other", "prompts", "plian")
    assert "unknown prompt set plian" in message(project)
    edit("datasets/other", "prompts", "plain")
    edit(MINI, "test_split", "final")
    assert "but dataset other evaluates only test" in message(project)
    edit(MINI, "test_split", "test")
    edit(MINI, "methods", [])
    assert "keep is about models that are fine-tuned, but methods is empty" in message(project)


def test_a_pair_needs_the_seeds_of_its_second_model_of_the_first_too(project: Path, edit) -> None:
    edit(MINI, "seeds", [0, 1])
    edit(MINI, "methods", ["tune", "tune__short"])
    edit(MINI, "pairs", [["tune", "tune__short"]])
    Catalogue(project).experiment("mini")
    edit(MINI, "method_seeds", {"tune": [0]})
    assert "pairs has tune and tune__short, but tune__short has seeds that tune has" in (
        message(project)
    )


def test_settings_that_a_search_finds_need_the_search_with_their_seeds(project: Path, edit) -> None:
    head = {"trainable": "head", "search": {"regulariser": "none"}}
    edit("methods/tune", "variants.looked", head)
    edit("methods/tune", "variants.takes", {"trainable": "head", "from_search": ["looked"]})
    edit(MINI, "methods", ["tune__takes"])
    assert "tune__takes, whose settings are those that tune__looked found; list" in message(project)
    edit(MINI, "methods", ["tune__takes", "tune__looked"])
    Catalogue(project).experiment("mini")
    edit(MINI, "method_seeds", {"tune__looked": [0]})
    assert "list that too, with the same seeds" in message(project)


def test_training_on_held_out_images_needs_some(project: Path, edit) -> None:
    edit("methods/tune", "variants.short", {"train_on_held_out": True})
    Catalogue(project).experiment("mini")
    edit("datasets/toy", "splits", {"train": 100, "test": 50})
    edit("datasets/toy", "evaluate", ["test"])
    edit("datasets/shift", "splits", {"val": 50, "test": 50})
    edit("datasets/shift", "evaluate", ["val", "test"])
    edit(MINI, "held_out", {"dataset": "shift", "split": "val"})
    assert "tune__short, which has train_on_held_out, but toy has no split" in message(project)


def test_all_problems_are_named_at_once(project: Path, edit) -> None:
    edit(MINI, "datasets", ["toy", "shift", "shfit"])
    edit(MINI, "methods", ["tuen"])
    lines = message(project).split("\n")
    assert len(lines) == 2
    assert all("config/experiments/mini.yaml: key" in line for line in lines)


def test_a_missing_key_says_what_it_means(project: Path) -> None:
    (project / "config/prompts/plain.yaml").write_text("templates: ['a {c}']\n")
    assert "plain.yaml: key `name` is missing, but must be given (Name of the prompt set" in (
        message(project)
    )


def test_an_unknown_experiment_lists_the_nearest(project: Path) -> None:
    assert "unknown experiment mni; did you mean mini?" in message(project, "mni")
    assert "valid: mini" in message(project, "zzzzzzzz")
    # No path of the user's choice may leave the folder of experiments.
    assert "unknown experiment" in message(project, "../prompts/plain")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("experiment: [", "is not valid YAML: line 1, column"),
        ("experiment: mini\nexperiment: mini\n", "key `experiment` occurs twice, again in line 2"),
        ("a: {b: 1, b: 2}", "key `b` occurs twice"),
        ("- a\n- b\n", 'is ["a", "b"], but must be a mapping'),
        ("", "key `experiment` is missing"),
        ("a: 1\ntitle: 2020-99-99", 'line 2, column 8: "2020-99-99" is no timestamp (month must'),
        ("a: !!int abc", 'line 1, column 4: "abc" is no int (invalid literal'),
        ("a: !!bool maybe", '"maybe" is no bool'),
        ("a: !!timestamp soon", '"soon" is no timestamp'),
        ("a: " + "9" * 5000, "is no int (Exceeds the limit"),
        ("a: !!float ''", '"" is no float'),
        ("a: 1\n? [b]\n: 2", "line 2: a list or mapping is no key"),
        ("a: 1\nb: *a", "line 2, column 4: found undefined alias 'a'"),
        ("a: 1\nb: &b [*b]", "line 2: the value that begins here contains itself"),
        ("a: 1\nb: \0", "line 2: character #x0000 is not allowed"),
        ("[" * 2000, "mini.yaml is nested too deeply"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor for the tag"),
    ],
)
def test_broken_files(project: Path, text: str, expected: str) -> None:
    (project / "config/experiments/mini.yaml").write_text(text)
    said = message(project)
    assert expected in said
    assert str(project / "config/experiments/mini.yaml") in said


@pytest.mark.parametrize("value", ["[{0}, {0}, {0}, {0}]", "{{<<: [{0}, {0}, {0}, {0}]}}"])
def test_aliases_that_stand_for_more_than_memory_holds(project: Path, value: str) -> None:
    """Each line is four times the one before it: 4 ** 30 values in the last."""
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {value.format(f'*a{n - 1}')}" for n in range(1, 31)]
    (project / "config/experiments/mini.yaml").write_text("\n".join(lines))
    expected = (
        r"mini\.yaml: line 1\d: the aliases in what begins here stand for more than 1,000,000"
    )
    assert re.search(expected, message(project))


def test_a_file_that_is_absent_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(WiseftError, match=r"list none\.yaml does not exist"):
        read_yaml(Path("none.yaml"), "list")
    (tmp_path / "x.yaml").write_bytes(b"a: \xff")
    with pytest.raises(WiseftError, match="not UTF-8"):
        read_yaml(tmp_path / "x.yaml")


def test_settings_from_the_command_line(tmp_path: Path) -> None:
    settings = parse_settings(FinetuneSettings, '{"epochs": 2, "learning_rate": 1e-3}')
    assert (settings.epochs, settings.learning_rate) == (2, 1e-3)
    file = tmp_path / "settings.yaml"
    file.write_text("epochs: 3\n")
    assert parse_settings(FinetuneSettings, f"@{file}").epochs == 3
    for text in ("epochs: 3", "[" * 10**5, "9" * 5000):
        with pytest.raises(WiseftError, match="--settings is not valid JSON"):
            parse_settings(FinetuneSettings, text)
    with pytest.raises(WiseftError, match="--settings: unknown key `epoch`; did you mean epochs"):
        parse_settings(FinetuneSettings, '{"epoch": 3}')
    with pytest.raises(WiseftError, match=r"the file of --settings .*absent\.yaml does not exist"):
        parse_settings(FinetuneSettings, f"@{tmp_path / 'absent.yaml'}")


def test_a_slip_in_an_anchor_is_said_once(project: Path) -> None:
    path = project / "config" / "methods" / "tune.yaml"
    path.write_text(
        "name: tune\ntitle: Tuned\npaper: '2'\nvariants:\n"
        "  base: &base {epochz: 1}\n  short: {<<: *base}\n  other: {<<: *base, epochz: 2}\n"
    )
    lines = message(project).splitlines()
    assert [line.partition(": ")[2] for line in lines if "variants" in line] == [
        "unknown key `variants.base.epochz`; did you mean epochs? "
        "(1 more of `variants` have it too)",
        "unknown key `variants.other.epochz`; did you mean epochs?",
    ]


def test_of_very_many_problems_the_first_are_told() -> None:
    text = "{" + ", ".join(f'"slip{n}": 1' for n in range(500)) + "}"
    with pytest.raises(WiseftError) as caught:
        parse_settings(FinetuneSettings, text)
    lines = str(caught.value).split("\n")
    assert "slip0" in lines[0]
    assert lines[-1] == f"--settings: and {500 - len(lines) + 1} problems more" and len(lines) < 60


def test_wrong_and_missing_keys_do_not_hide_what_else_is_wrong():
    data = {"experiment": "mine", "models": ["m"], "sedes": [1], "page": ["none"]}
    data |= {"reference": "a", "datasets": ["b"], "combinations": "weight"}
    with pytest.raises(WiseftError) as error:
        validate(ExperimentEntry, data, "mine.yaml")
    lines = str(error.value).splitlines()
    assert all(line.startswith("mine.yaml: ") for line in lines)
    for part in (
        "key `title` is missing, but must be given (",
        "unknown key `sedes`; did you mean ",
        'key `combinations` is "weight", but must be a list',
        "key `alphas` is missing, but must be given where a model is trained",
        "key `held_out` is missing, but must be given where a model is trained",
        "reference is a, but must be one of datasets: b",
        "page lists none, but must list only methods",
    ):
        assert sum(part in line for line in lines) == 1, part
    del data["datasets"], data["reference"]
    with pytest.raises(WiseftError) as error:
        validate(ExperimentEntry, data, "mine.yaml")
    assert "must be one of datasets" not in str(error.value), "nothing is said of what is missing"
    assert "page lists none" in str(error.value)


def test_keys_that_do_not_go_together_are_all_named():
    text = '{"trainable": "head", "init": "random", "optimiser": "lbfgs", "l1": 0.1}'
    with pytest.raises(WiseftError) as error:
        parse_settings(FinetuneSettings, text)
    lines = str(error.value).splitlines()
    for part in ("a linear classifier must start", "a number of `steps`", "l1 is given and optimi"):
        assert any(part in line and line.startswith("--settings: ") for line in lines), part
