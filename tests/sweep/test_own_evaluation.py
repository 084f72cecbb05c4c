"""`wiseft sweep Z F --evaluate ...`: any two checkpoints, evaluated by a program of the user's."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from PIL import Image
from safetensors.numpy import load_file, save_file
from tests.sweep.conftest import CLASSES, write_images
from tests.sweep.own import GRID, ROLES, SCRIPT, N, ends, runs, script

import wiseft
from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.tabulate.intervals import clopper_pearson
from wiseft.tool.hub import write_card
from wiseft.tool.own_points import measure_one
from wiseft.tool.record import Result
from wiseft.tool.summary import summary


def rights(z: Path, f: Path, name: str, alpha: float) -> np.ndarray:
    both = load_file(z)[name], load_file(f)[name]
    return np.float32(1 - alpha) * both[0] + np.float32(alpha) * both[1] > 0


def row(result: Result, name: str, alpha: float, split: str = "test"):
    table = result.table
    rows = table[(table["dataset"] == name) & (table["split"] == split)]
    return rows[(rows["alpha"] == alpha) & (rows["selection"] == "grid")].iloc[0]


def test_accuracies_choices_and_files(tmp_path):
    z, f = ends(tmp_path)
    result = wiseft.sweep_with(z, f, script(tmp_path), tmp_path / "out", **ROLES, **GRID)
    assert result.record.alphas == [0, 0.25, 0.5, 0.75, 1]
    assert runs(tmp_path) == 5
    for alpha in result.record.alphas:
        for name, dataset in (("test", "reference"), ("other", "other")):
            right = rights(z, f, name, alpha)
            found = row(result, dataset, alpha)
            assert (found["n_correct"], found["n"]) == (right.sum(), N[name])
            low, high = clopper_pearson(right.sum(), N[name])
            assert (found["ci_low"], found["ci_high"]) == (low, high)
    held = [rights(z, f, "val", alpha).mean() for alpha in result.record.alphas]
    assert result.choices["held-out"] == result.record.alphas[int(np.argmax(held))]
    assert result.recommended == result.choices["held-out-1se"]
    wrote, alpha = load_file(result.model_path), result.recommended
    assert result.model_path.name == "f.safetensors"
    for name, value in wrote.items():
        expected = (1 - alpha) * load_file(z)[name] + alpha * load_file(f)[name]
        np.testing.assert_allclose(value, expected, atol=1e-6)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"index.html", "curve.png", "gains.csv", "table.csv", "predictions.parquet"} < names
    page = result.page.read_text()
    assert "Samples that flip" in page and str(tmp_path) not in page
    assert not list((tmp_path / "out" / ".work").glob("*point*.tmp*")), "no scratch is left"
    assert "recommended: alpha" in summary(result)
    card = write_card(tmp_path / "out", "mit", None).read_text()
    assert "task_type" not in card or "image-classification" not in card


def test_images_have_the_numbers_of_the_image_sweep(tmp_path):
    for seed, split in enumerate(("held-out", "test")):
        write_images(tmp_path / "photos" / split, 12, seed, CLASSES)
    write_images(tmp_path / "sketches", 9, 2, CLASSES)
    data = {"val": "photos/held-out", "test": "photos/test", "sketches": "sketches"}
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "image_size": 32, "patch_size": 16}
    names = dict(enumerate(CLASSES))
    config = transformers.ViTConfig(**sizes, id2label=names, label2id={})
    for seed, name in enumerate("zf"):
        torch.manual_seed(seed)
        model = transformers.ViTForImageClassification(config)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim > 1:
                    weight.normal_(std=0.5)
        model.save_pretrained(tmp_path / name)
        transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(
            tmp_path / name
        )

    def evaluate(path):
        model = transformers.ViTForImageClassification.from_pretrained(path).eval()
        process = transformers.AutoImageProcessor.from_pretrained(path)
        for name, folder in data.items():
            for file in sorted((tmp_path / folder).rglob("*.png")):
                pixels = process(Image.open(file).convert("RGB"), return_tensors="pt")
                with torch.no_grad():
                    found = int(model(**pixels).logits.argmax())
                id_ = str(file.relative_to(tmp_path / folder))
                yield sample(name, id_, int(names[found] == file.parent.name))

    z, f = tmp_path / "z", tmp_path / "f"
    own = {"held_out": "val", "reference": "test", "shifts": ["sketches"]}
    # Of images, accuracy at chance is known, and then no alpha is recommended.
    given = {**GRID, "alpha": 0.75}
    mine = wiseft.sweep_with(z, f, evaluate, tmp_path / "own", **own, **given)
    folders = tmp_path / "photos", [tmp_path / "sketches"]
    images = wiseft.sweep(z, f, *folders, tmp_path / "images", **given)
    key, shown = ["dataset", "split", "alpha"], ["metric", "value", "n", "n_correct", "ci_method"]
    shown += ["ci_low", "ci_high"]
    grids = [
        each.table[each.table["selection"] == "grid"].set_index(key)[shown].sort_index()
        for each in (mine, images)
    ]
    assert grids[0]["value"].nunique() > 4
    pd.testing.assert_frame_equal(*grids)
    assert {**mine.choices, "unlabelled": images.choices["unlabelled"]} == images.choices
    assert [each.record.recommended.alpha for each in (mine, images)] == [0.75, 0.75]
    gains = [pd.read_csv(each.folder / "gains.csv") for each in (mine, images)]
    columns = ["contrast", "dataset", "difference", "p_value", "n_better", "n_worse"]
    pd.testing.assert_frame_equal(*(each[columns] for each in gains))
    ends = ["ci_low", "ci_high"]
    pd.testing.assert_frame_equal(*(each[ends] for each in gains))
    model = transformers.ViTForImageClassification.from_pretrained(mine.model_path)
    other = transformers.ViTForImageClassification.from_pretrained(images.model_path)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=0)


def test_a_budget_evaluates_few_alphas_and_says_which_it_did_not_see(tmp_path):
    z, f = ends(tmp_path)
    options = {**ROLES, "alphas": [step / 20 for step in range(21)]}
    whole = wiseft.sweep_with(z, f, counted(), tmp_path / "whole", **options)
    few = wiseft.sweep_with(z, f, counted(), tmp_path / "few", **options, budget=6)
    assert len(few.record.alphas) == 6 and {0, 0.5, 1} <= set(few.record.alphas)
    best = whole.choices["held-out"]
    held = [rights(z, f, "val", alpha).mean() for alpha in few.record.alphas]
    assert few.choices["held-out"] == few.record.alphas[int(np.argmax(held))]
    assert rights(z, f, "val", best).mean() - max(held) <= 0.05
    said = "15 of 21 alphas were not evaluated"
    assert said in summary(few) and said in few.page.read_text()
    assert "not evaluated" not in summary(whole) + whole.page.read_text()
    given = wiseft.sweep_with(z, f, counted(), tmp_path / "few", **options, budget=6, alpha=0.15)
    assert given.record.recommended.alpha == 0.15 and len(given.record.alphas) == 6
    for wrong, message in (({"budget": 2}, "too small"), ({"budget": 6, "jobs": 2}, "--jobs")):
        with pytest.raises(WiseftError, match=message):
            wiseft.sweep_with(z, f, counted(), tmp_path / "few", **options, **wrong)


def test_a_program_may_be_a_word_and_what_it_leaves_behind_ends(tmp_path):
    z, f = ends(tmp_path)
    leave = f"""
import subprocess
child = subprocess.Popen(["sleep", "600"])
open({str(tmp_path / "child.txt")!r}, "w").write(str(child.pid))
"""
    code = "# " + "a long program" * 30 + leave + SCRIPT
    command = shlex.join([sys.executable, "-c", code, "{model}"])
    result = wiseft.sweep_with(z, f, command, tmp_path / "out", **ROLES, alphas=[])
    assert result.record.evaluate == command
    assert ended(wait_for(tmp_path / "child.txt"))


# ------------------------------------------------------------------------------ kept and continued


def test_another_alpha_costs_one_evaluation_and_other_roles_none(tmp_path):
    z, f = ends(tmp_path)
    command = script(tmp_path)
    wiseft.sweep_with(z, f, command, tmp_path / "out", **ROLES, alphas=[])
    assert runs(tmp_path) == 3
    wiseft.sweep_with(z, f, command, tmp_path / "out", **ROLES, alphas=[0.3])
    assert runs(tmp_path) == 4
    turned = {"held_out": "other", "reference": "test", "shifts": ["val"]}
    again = wiseft.sweep_with(z, f, command, tmp_path / "out", **turned, alphas=[0.3])
    assert runs(tmp_path) == 4
    assert again.record.sets[0].n == {"held-out": 60, "test": 50}
    path = tmp_path / "my_eval.py"
    path.write_text(path.read_text() + "# another program\n")
    wiseft.sweep_with(z, f, command, tmp_path / "out", **ROLES, alphas=[])
    assert runs(tmp_path) == 7, "results of an edited script are not those of the first"


def test_a_damaged_result_is_made_again(tmp_path, said):
    z, f = ends(tmp_path)
    command = script(tmp_path)
    wiseft.sweep_with(z, f, command, tmp_path / "out", **ROLES, alphas=[])
    first = sorted((tmp_path / "out" / ".work" / "points").glob("*.parquet"))[0]
    first.write_bytes(first.read_bytes()[:-3])
    wiseft.sweep_with(z, f, command, tmp_path / "out", **ROLES, alphas=[])
    assert runs(tmp_path) == 4
    assert any("is damaged" in line for line in said)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_child_and_no_scratch_and_the_sweep_goes_on(
    tmp_path, fork, number, monkeypatch
):
    z, f = ends(tmp_path)
    # The third run starts a child and waits, as a launcher of several processes does.
    wait = f"""
import subprocess, os
if len(open({str(tmp_path / "runs.txt")!r}).read()) == 3 and not os.path.exists("go"):
    child = subprocess.Popen(["sleep", "600"])
    open({str(tmp_path / "child.txt")!r}, "w").write(str(child.pid))
    child.wait()
"""
    command = script(tmp_path, wait + SCRIPT)
    monkeypatch.chdir(tmp_path)
    options = {**ROLES, "alphas": []}

    def sweep() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        wiseft.sweep_with(z, f, command, tmp_path / "out", **options)

    process = fork(sweep)
    child = wait_for(tmp_path / "child.txt")
    assert list((tmp_path / "out" / ".work").glob("point.tmp-*/model/f.safetensors")), "one model"
    os.kill(process, number)
    assert os.waitpid(process, 0)[1] != 0
    assert ended(child)
    assert not list((tmp_path / "out" / ".work").glob("point.tmp-*"))
    (tmp_path / "go").touch()
    result = wiseft.sweep_with(z, f, command, tmp_path / "out", **options)
    assert runs(tmp_path) == 4, "both ends are kept"
    assert result.record.alphas == [0, 0.5, 1]


def ended(process: int) -> bool:
    """Whether a process ended; init may take a moment to forget it."""
    for _ in range(100):
        stat = Path(f"/proc/{process}/stat")
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def wait_for(path: Path) -> int:
    for _ in range(3000):
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.02)
    raise AssertionError(f"{path.name} does not come")


def test_jobs_run_at_a_time(tmp_path):
    z, f = ends(tmp_path)
    result = wiseft.sweep_with(z, f, counted(), tmp_path / "out", **ROLES, **GRID, jobs=3)
    assert result.record.alphas == [0, 0.25, 0.5, 0.75, 1]


# ------------------------------------------------------------------------------------ what is wrong


def test_a_point_may_run_beside_another_whose_program_makes_links(tmp_path):
    z, f = ends(tmp_path)
    out, seen = tmp_path / "out", []

    def evaluate(model):
        seen.append(model.parts[-3].partition(".")[0])
        if len(seen) == 1:
            model.with_name("latest").symlink_to(model)
            measure_one(z, f, evaluate, out, 0.25)
        yield {"set": "val", "id": "s1", "score": 1}

    measure_one(z, f, evaluate, out, 0.5)
    assert seen == ["point", "point"]
    (out / ".work" / "points" / "link").symlink_to(z)
    with pytest.raises(WiseftError, match="points/link is a link"):
        measure_one(z, f, evaluate, out, 0.75)


def test_a_failing_program_stops_with_its_last_lines_and_keeps_what_is_there(tmp_path):
    z, f = ends(tmp_path)
    fail = "import sys\nif 'point' in sys.argv[1]:\n    sys.exit('no GPU, ' * 2)\n"
    command = script(tmp_path, fail + SCRIPT)
    with pytest.raises(WiseftError, match="ended with exit status 1:\n  no GPU, no GPU"):
        wiseft.sweep_with(z, f, command, tmp_path / "out", **ROLES, alphas=[])
    assert len(list((tmp_path / "out" / ".work" / "points").glob("*.parquet"))) == 2
    assert not list((tmp_path / "out" / ".work").glob("point.tmp-*"))


def reports(lines):
    return lambda model: lines


def sample(name="val", number=0, score=1, **more):
    return {"set": name, "id": number, "score": score, **more}


WRONG = {
    "id": ([{"set": "val", "score": 1}], "key `id` is missing"),
    "key": ([sample(colour="red")], "unknown key `colour`"),
    "text": ([sample(score="right")], 'key `score` is "right", but must be a number'),
    "nan": ([sample(score=float("nan"))], "key `score` is NaN, but must be a finite number"),
    "form": ([{"accuracy": 0.8}], "has the keys accuracy, but must have `set` with `id`"),
    "twice": ([sample(), sample()], "reported the sample '0' of the set val, score, twice"),
    "none": ([], "the evaluation reported nothing"),
    "counts": (
        [{"set": "val", "metric": "accuracy", "correct": 3, "n": 2}],
        "`correct` is 3, but `n` is 2",
    ),
    "role": (
        [sample("vall"), sample("test"), sample("other")],
        "the evaluation reported no set val; did you mean vall",
    ),
    "metrics": (
        [sample(), sample(metric="f1"), sample("test"), sample("other")],
        "the set val has score, f1; choose one by --metric NAME",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line(case, tmp_path):
    lines, message = WRONG[case]
    z, f = ends(tmp_path)
    with pytest.raises(WiseftError) as error:
        wiseft.sweep_with(z, f, reports(lines), tmp_path / "out", **ROLES)
    assert message in str(error.value) and "\n" not in str(error.value)


def three(model: Path) -> list[dict]:
    return [sample(name, number) for name in N for number in range(12)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda lines: lines[:-1],
            "'11' of score on other at alpha 0, but not at alpha 1",
        ),
        (
            lambda lines: lines[:24],
            "'0' of score on other at alpha 0, but not at alpha 1",
        ),
        (
            lambda lines: [*lines, sample("more")],
            "'0' of score on more at alpha 1, but not at alpha 0",
        ),
    ],
)
def test_all_alphas_are_of_the_same_samples(change, message, tmp_path):
    z, f = ends(tmp_path)

    def evaluate(model):
        return change(three(model)) if model.name == f.name else three(model)

    with pytest.raises(WiseftError, match=message):
        wiseft.sweep_with(z, f, evaluate, tmp_path / "out", **ROLES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"held_out": "test"}, "the set test has two roles"),
        ({"shifts": ["reference"]}, "the set reference has a name that tables need"),
        ({"metrics": ["f1"]}, "the set val has score, not f1"),
    ],
)
def test_roles(options, message, tmp_path):
    z, f = ends(tmp_path)
    with pytest.raises(WiseftError, match=message):
        wiseft.sweep_with(z, f, three, tmp_path / "out", **ROLES | options)


def test_what_does_not_merge_is_refused_before_an_evaluation(tmp_path):
    z, f = ends(tmp_path)
    save_file({"val": np.zeros(3, np.float32)}, f, {"format": "pt"})
    with pytest.raises(WiseftError, match="beside"):
        wiseft.sweep_with(z, f, script(tmp_path), tmp_path / "out", **ROLES)
    assert runs(tmp_path) == 0


def test_no_room_for_a_model(tmp_path, monkeypatch):
    z, f = ends(tmp_path)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("wiseft.base.io.shutil.disk_usage", lambda path: usage)
    with pytest.raises(WiseftError, match="a model between the two needs"):
        wiseft.sweep_with(z, f, script(tmp_path), tmp_path / "out", **ROLES)
    assert runs(tmp_path) == 0


def test_the_command_line(tmp_path, capsys):
    z, f = map(str, ends(tmp_path))
    sets = ["--reference", "test", "--shift", "other", "-o", str(tmp_path / "out")]
    for options, message in (
        (["--evaluate", "python x.py", "--held-out", "val"], "has no {model}"),
        (["--evaluate", "python 'x.py {model}", "--held-out", "val"], "cannot be split into words"),
        (["--held-out", "val"], "needs both --evaluate and --held-out"),
        (["--evaluate", "x {model}", "--held-out", "val", "--head", "h"], "leave out --head"),
        (["--evaluate", "no-such-program {model}", "--held-out", "val"], "cannot be run: No such"),
    ):
        with pytest.raises(SystemExit):
            main(["sweep", z, f, *sets, *options])
        assert message in capsys.readouterr().err
    how = ["--evaluate", script(tmp_path), "--held-out", "val", "--alphas", "0.4"]
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["sweep", z, f, *sets, *how])
    assert "chosen by" in capsys.readouterr().out


# --------------------------------------------------------------------------------------- statistics


def scores(model: Path) -> dict[str, np.ndarray]:
    return {name: values > 0 for name, values in load_file(model).items()}


def counted():
    def evaluate(model):
        for name, right in scores(model).items():
            line = {"set": name, "metric": "accuracy"}
            yield {**line, "correct": int(right.sum()), "n": len(right)}

    return evaluate


def with_errors(model):
    for name, right in scores(model).items():
        error = right.std() / np.sqrt(len(right))
        line = {"set": name, "metric": "accuracy", "value": float(right.mean())}
        yield {**line, "stderr": float(error)}


def test_counts_and_standard_errors_give_intervals_too(tmp_path):
    z, f = ends(tmp_path)
    found = {
        name: wiseft.sweep_with(z, f, how, tmp_path / name, **ROLES, **GRID)
        for name, how in (("counts", counted()), ("errors", with_errors))
    }
    for alpha in (0, 0.25, 0.5, 0.75, 1):
        right = rights(z, f, "other", alpha)
        one, two = (row(each, "other", alpha) for each in found.values())
        assert one["value"] == two["value"] == right.mean()
        assert (one["ci_low"], one["ci_high"]) == clopper_pearson(right.sum(), 60)
        half = 1.959964 * right.std() / np.sqrt(60)
        np.testing.assert_allclose(two["ci_high"] - two["value"], half, rtol=0.01)
    assert found["counts"].choices == found["errors"].choices
    gains = pd.read_csv(tmp_path / "errors" / "gains.csv")
    gains = gains[gains["dataset"] == "other"].set_index("contrast")
    alpha = found["errors"].record.recommended.alpha
    at, end = (rights(z, f, "other", each) for each in (alpha, 1))
    spread = np.sqrt((at.var() + end.var()) / 60)
    contrast = gains.loc[f"{alpha:.3f}-vs-1.000"]
    assert contrast["difference"] == pytest.approx(at.mean() - end.mean(), abs=1e-6)
    assert contrast["ci_high"] - contrast["ci_low"] == pytest.approx(2 * 1.96 * spread, rel=0.15)


def loss(model, stderr=None):
    for name, values in load_file(model).items():
        line = {"set": name, "metric": "loss", "value": float(((values - 2) ** 2).mean())}
        yield {**line, "stderr": stderr, "higher_is_better": False}


def test_a_loss_is_turned_around(tmp_path):
    z, f = ends(tmp_path)
    result = wiseft.sweep_with(z, f, loss, tmp_path / "out", **ROLES, **GRID)
    table = result.table
    assert set(table["metric"]) == {"neg_loss"} and (table["value"] < 0).all()
    held = table[(table["split"] == "held-out") & (table["selection"] == "grid")]
    assert result.choices["held-out"] == held.loc[held["value"].idxmax(), "alpha"]
    assert result.choices["held-out-1se"] == result.choices["held-out"]  # no error is known
    assert held["ci_low"].isna().all()
    text = summary(result)
    assert "neg_loss" in text and "%" not in text.split("recommended")[0]
    assert "Neg_loss on other" in result.page.read_text()


def test_scores_that_are_no_shares(tmp_path):
    z, f = ends(tmp_path)

    def evaluate(model):
        for name, values in load_file(model).items():
            for number, value in enumerate(values):
                yield {"set": name, "id": number, "score": 9 * float(value), "metric": "reward"}

    result = wiseft.sweep_with(z, f, evaluate, tmp_path / "out", **ROLES, **GRID)
    for alpha in (0, 0.5, 1):
        values = 9 * ((1 - alpha) * load_file(z)["other"] + alpha * load_file(f)["other"])
        found = row(result, "other", alpha)
        assert found["value"] == pytest.approx(values.mean(), abs=1e-5)
        half = 1.96 * values.std() / np.sqrt(60)
        assert found["ci_high"] - found["ci_low"] == pytest.approx(2 * half, rel=0.15)
        assert found["ci_method"] == "bootstrap"
    page, printed = result.page.read_text(), summary(result)
    said = [line.strip() for line in printed.splitlines() if "gain over" in line]
    assert said and all(line.count("[") == 2 for line in said)
    for line in said:
        assert (
            f"At α = {result.recommended:g}, {line.replace('reference', 'the reference')}." in page
        )


def test_means_between_0_and_1_of_scores_beyond_are_no_percent(tmp_path):
    z, f = ends(tmp_path)

    def evaluate(model):
        for name, values in load_file(model).items():
            for number, value in enumerate(values):
                score = 0.3 + 0.1 * float(value) + (3 if number % 2 else -3)
                yield {"set": name, "id": number, "score": score, "metric": "reward"}

    result = wiseft.sweep_with(z, f, evaluate, tmp_path / "out", **ROLES, **GRID)
    assert result.table["value"].between(0, 1).all() and (result.table["ci_low"] < 0).any()
    assert "%" not in summary(result).split("recommended")[0]


def test_one_model_twice_is_not_recommended(tmp_path):
    z, _ = ends(tmp_path)
    result = wiseft.sweep_with(z, z, counted(), tmp_path / "out", **ROLES, alphas=[])
    assert result.recommended is None
    assert "Both ends are the same model" in result.record.recommended.unsure


@pytest.mark.parametrize("twin", ["val", "third"])
def test_two_sets_of_the_same_samples(twin, tmp_path):
    z, f = ends(tmp_path)
    source = {"val": "val", "test": "test", "other": "other", "third": "other"}
    source |= {"val": "test"} if twin == "val" else {}

    def evaluate(model):
        right = scores(model)
        for name, which in source.items():
            yield from (sample(name, n, int(each)) for n, each in enumerate(right[which]))

    roles = ROLES | {"shifts": ["other", "third"] if twin == "third" else ["other"]}
    result = wiseft.sweep_with(z, f, evaluate, tmp_path / "out", **roles, alphas=[])
    both = "val and test" if twin == "val" else "other and third"
    assert f"{both} are the same samples" in result.record.recommended.unsure
