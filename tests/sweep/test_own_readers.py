"""Results that other programs write; lm-eval and CLIP_benchmark themselves are in tests/peers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

from wiseft.errors import WiseftError
from wiseft.tabulate.reported import chosen
from wiseft.tool.own_readers import read_results

DATE = "2026-12-02T03-42-34.536387"


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def values(frame: pd.DataFrame) -> dict[str, float]:
    """Return the value of each metric, or the mean of its samples."""
    means = frame.groupby(["set", "metric"])["value"].mean()
    return {f"{name}/{metric}": value for (name, metric), value in means.items()}


# ------------------------------------------------------------------------------------ transformers


class Linear(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(2, 3)

    def forward(self, x, labels):
        logits = self.head(x)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def data(n: int, seed: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    made = generator.normal(size=(n, 2)).astype(np.float32), generator.integers(0, 3, n)
    return [{"x": x, "labels": int(label)} for x, label in zip(*made, strict=True)]


@pytest.fixture
def trainer(tmp_path: Path) -> transformers.Trainer:
    def right(outcome):
        hits = outcome.predictions.argmax(-1) == outcome.label_ids
        return {"accuracy": float(hits.mean()), "wer": float(1 - hits.mean())}

    torch.manual_seed(1)
    arguments = transformers.TrainingArguments(
        str(tmp_path / "results"), report_to=[], use_cpu=True, disable_tqdm=True
    )
    return transformers.Trainer(Linear(), arguments, compute_metrics=right)


def test_trainer(trainer, tmp_path):
    """One set, as the library's example scripts save it; more metrics are in their own file."""
    metrics = trainer.evaluate(data(12, 0))
    trainer.save_metrics("eval", metrics | {"eval_samples": 12})
    trainer.save_metrics("train", {"train_runtime": 3.0, "train_samples": 8, "train_loss": 1.0})
    trainer.save_state()
    write(tmp_path / "results" / "trainer_log.jsonl", '{"loss": 1.0}\n{"loss": 0.9}\n')
    write(tmp_path / "results" / "config.json", {"model_type": "bert"})
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert {"all_results.json", "eval_results.json", "trainer_state.json"} <= names
    frame = read_results(tmp_path / "results")
    assert values(frame) == {
        "eval/accuracy": metrics["eval_accuracy"],
        "eval/loss": metrics["eval_loss"],
        "eval/wer": metrics["eval_wer"],
    }
    rows = frame.set_index("metric")
    share = metrics["eval_accuracy"]
    assert 0 < share < 1
    assert dict(rows["higher_is_better"]) == {"accuracy": 1, "loss": 0, "wer": 0}
    error = (share * (1 - share) / 12) ** 0.5
    assert error < rows["stderr"]["accuracy"] < 1.1 * error
    assert rows["stderr"].isna().sum() == 2
    with pytest.raises(WiseftError, match=r"the set eval has .*accuracy.*choose one by --metric"):
        chosen(frame, ["eval"], [])
    with pytest.raises(WiseftError, match="reported no set val; did you mean eval"):
        chosen(frame, ["val"], ["accuracy"])
    assert chosen(frame, ["eval"], ["accuracy"]) == {"eval": "accuracy"}


def test_trainer_of_several_sets(trainer, tmp_path):
    """`eval_dataset` is a dictionary, one name begins as another does; and a prediction."""
    sets = {"val": data(6, 0), "val_far": data(9, 1), "train": data(5, 2)}
    metrics = trainer.evaluate(sets)
    metrics |= trainer.predict(data(7, 3)).metrics
    trainer.save_metrics("all", metrics)
    frame = read_results(tmp_path / "results")
    expected = {
        f"{name}/{metric}": metrics[f"{prefix}_{metric}"]
        for name, prefix in [*((name, f"eval_{name}") for name in sets), ("test", "test")]
        for metric in ("accuracy", "loss", "wer")
    }
    assert values(frame) == pytest.approx(expected, abs=0)


@pytest.mark.parametrize(
    "folders", [("results/val", "results/other"), ("results_val", "results-other")]
)
def test_trainer_called_for_each_set(tmp_path, folders):
    """The folders that a script was told, inside of the output or beside it."""
    for number, folder in enumerate(folders):
        write(tmp_path / folder / "all_results.json", {"eval_accuracy": number, "eval_runtime": 1})
    assert values(read_results(tmp_path / "results")) == {"other/accuracy": 1, "val/accuracy": 0}


def test_script_without_trainer(tmp_path):
    """The library's `*_no_trainer.py` save metrics alone."""
    write(tmp_path / "results" / "all_results.json", {"eval_accuracy": 0.25})
    assert values(read_results(tmp_path / "results")) == {"eval/accuracy": 0.25}


@pytest.mark.parametrize(("share", "n"), [(93.0, 100), (0.5, 0), (0.5, None), (-1, 9), (True, "9")])
def test_accuracy_that_is_no_share(tmp_path, share, n):
    """Percent, or no number of samples: the value stays, without an interval."""
    found = {"eval_accuracy": share, "eval_runtime": 1, "eval_samples": n}
    write(tmp_path / "results" / "all_results.json", found)
    frame = read_results(tmp_path / "results")
    assert list(frame["value"]) == [share]
    assert frame["stderr"].isna().all()


@pytest.mark.parametrize("share", [0, 1])
def test_extreme_accuracy_is_not_certain(tmp_path, share):
    found = {"eval_accuracy": share, "eval_runtime": 1, "eval_samples": 20}
    write(tmp_path / "results" / "all_results.json", found)
    assert 0.05 < read_results(tmp_path / "results")["stderr"][0] < 0.1


# ----------------------------------------------------------------------------------------- lm-eval


def log(scores: list[Any], metric: str = "acc", **more: Any) -> str:
    """Return a log of samples as lm-eval 0.4.13 writes it, without what is not read."""
    entries = [{"doc_id": k, "filter": "none", "metrics": [metric]} for k in range(len(scores))]
    return "".join(
        json.dumps(entry | {metric: score} | more) + "\n"
        for entry, score in zip(entries, scores, strict=True)
    )


def lm_eval(folder: Path, metrics: Any, logs: str = "", task: str = "arc") -> Path:
    found = {
        "results": {task: {"alias": task, **metrics}},
        "higher_is_better": {task: {"acc": True}},
    }
    write(folder / "model" / f"results_{DATE}.json", found)
    if logs:
        write(folder / "model" / f"samples_{task}_{DATE}.jsonl", logs)
    return folder


def test_samples_of_lm_eval_in_place_of_their_mean(tmp_path):
    metrics = {"acc,none": 0.75, "acc_stderr,none": 0.25, "f1,none": 0.5, "f1_stderr,none": "N/A"}
    frame = read_results(lm_eval(tmp_path / "results", metrics, log([1.0, 1.0, 0.0, True])))
    assert list(frame["metric"]) == ["acc"] * 4 + ["f1"]
    assert list(frame["id"][:4]) == ["0", "1", "2", "3"]
    assert values(frame) == {"arc/acc": 0.75, "arc/f1": 0.5}


@pytest.mark.parametrize("scores", [[0.0, 0.0], [[-7.5, 1], [-7.4, 1]], ["1", "0"], []])
def test_samples_that_are_not_what_the_metric_is_the_mean_of(tmp_path, scores):
    metrics = {"acc,none": 0.5, "acc_stderr,none": 0.1}
    frame = read_results(lm_eval(tmp_path / "results", metrics, log(scores)))
    assert frame[["id", "value", "stderr"]].to_numpy().tolist() == [["", 0.5, 0.1]]


def test_unknown_standard_error(tmp_path):
    for error in ("N/A", float("nan")):
        frame = read_results(
            lm_eval(tmp_path / "results", {"acc,none": 1, "acc_stderr,none": error})
        )
        assert frame["stderr"].isna().all()


# ------------------------------------------------------------------------------------ lines and CSV


LINES = '{"set": "a", "id": 1, "score": 0.5}\n{"set": "a", "id": 2, "score": 1}\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results", LINES),
        ("results.jsonl", "\n" + LINES),
        ("results.json", LINES),
        (
            "results/mine.json",
            json.dumps([json.loads(line) for line in LINES.split("\n")[:2]], indent=1),
        ),
        ("results", "set,id,score\na,1,0.5\na,2,1\n"),
        ("results.csv", '\ufeffset,id,score,metric\r\na,1,0.5,\r\n"a",2,1,\r\n'),
        ("results/of/mine.csv", "id,set,score,higher_is_better\n1,a,0.5,true\n2,a,1,true\n"),
    ],
)
def test_samples(tmp_path, name, content):
    write(tmp_path / name, content)
    frame = read_results(tmp_path / "results")
    assert frame[["set", "id", "metric", "value"]].to_numpy().tolist() == [
        ["a", "1", "score", 0.5],
        ["a", "2", "score", 1.0],
    ]


def test_csv_of_metrics(tmp_path):
    rows = "set,metric,value,stderr,correct,n,higher_is_better\n"
    rows += "a,ppl,12.5,0.5,,,false\nb,accuracy,,,41,50,\n"
    frame = read_results(write(tmp_path / "results.csv", rows).with_suffix(""))
    assert values(frame) == {"a/ppl": 12.5, "b/accuracy": 0.82}
    assert list(frame["higher_is_better"]) == [0, 1]
    assert frame["stderr"][0] == 0.5 and frame["n_correct"][1] == 41


def test_other_files_are_not_read(tmp_path):
    """Beside results there may be predictions, logs, weights and configurations of any form."""
    write(tmp_path / "results" / "mine.jsonl", LINES)
    write(tmp_path / "results" / "predictions.csv", "text,label\na,1,2,3\n")
    write(tmp_path / "results" / "generated.jsonl", '{"predict": "x"}\nnot JSON\n')
    write(tmp_path / "results" / "labels.json", [1, 2])
    write(tmp_path / "results" / "config.json", {"hidden_size": 16})
    (tmp_path / "results" / "model.safetensors").write_bytes(b"\xff\xfe")
    assert len(read_results(tmp_path / "results")) == 2


ALL, NAN = "results/all_results.json", float("nan")
CLIP = {"dataset": "cars", "model": "ViT-B-32", "metrics": {"acc1": 0.5}}
BAD: list[tuple[str, Any, str]] = [
    ("results.json", '{"set": "a",', r"results.json is not valid JSON \(Expecting property"),
    ("results.json", "[1, 2]", "item 1 of results.json is no JSON object but 1"),
    ("results.json", "7", "results.json is no JSON object but 7"),
    ("results", LINES + "{", "line 3 of results is no JSON object: '{'"),
    ("results", "done\nok\n", "line 2 of results has the keys done, but must have `set` with"),
    ("results", "", r"nothing that the evaluation wrote .* has a known form \(results\)"),
    ("results.txt", "a", r"nothing that .* has a known form \(results.txt\)"),
    ("results.jsonl", '{"id": 1, "score": 1}', "line 1 of results.jsonl.*`set`"),
    ("results.jsonl", '{"set": "a", "score": 1}', "line 1 of results.jsonl.*`id`"),
    ("results.jsonl", '{"set": "a", "value": 1}', "line 1 of results.jsonl.*`metric`"),
    ("results.jsonl", LINES.replace("0.5", "NaN"), "line 1 of results.jsonl.*`score`.*finite"),
    ("results.jsonl", LINES.replace("0.5", '"right"'), "line 1 of results.jsonl.*`score`.*number"),
    ("results.jsonl", LINES * 2, "reported the sample '1' of the set a, score, twice"),
    ("results.csv", "set,id,score\na,1\n", "line 2 of results.csv.*`score`"),
    ("results.csv", "set,id,score\na,1,0.5,3\n", "line 2 of results.csv.*cells without a name"),
    ("results.csv", "set;id;score\na;1;0.5\n", "line 2 of results.csv has the keys set;id;score"),
    ("results.csv", "set,id,score\na,1,nan\n", "line 2 of results.csv.*`score`.*finite"),
    ("results.csv", "set,id,score\na,1,x\n", "line 2 of results.csv.*`score`.*number"),
    ("results.csv", "set,id,score,note\na,1,1,x\n", "line 2 of results.csv.*`note`"),
    ("results.csv", 'set,id,score\na,"1"2,1\n', r"results.csv is no CSV \(.*, line 2\)"),
    ("results.csv", "set,metric,value,stderr\na,f1,1,-1\n", "line 2 of results.csv.*`stderr`.*0"),
    (ALL, {"eval_runtime": 1.0, "eval_loss": NAN}, "loss of eval in all_results.*finite"),
    (ALL, {"perplexity": 3}, "all_results.json has the keys perplexity, but"),
    (ALL, {"train_runtime": 3}, r"known form \(all_results.json\)"),
    ("results/cars.json", CLIP | {"metrics": {"acc1": 1e999}}, "acc1 of cars in cars.json.*finite"),
    ("results/cars.json", CLIP | {"metrics": {"acc1": "0.5"}}, r"known form \(cars.json\)"),
    ("results/cars.json", CLIP | {"metrics": None}, "cars.json has the keys dataset, model"),
    ("results/r.json", {"results": {"arc": 0.5}}, "r.json has the keys results, but must have"),
    ("results/r.json", {"results": {"arc": {"acc,none": NAN}}}, "acc of arc in r.json.*finite"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_bad(tmp_path, name, content, message):
    write(tmp_path / name, content)
    with pytest.raises(WiseftError, match=message) as caught:
        read_results(tmp_path / "results")
    assert "\n" not in str(caught.value)


def test_nothing(tmp_path):
    with pytest.raises(WiseftError, match=r"the evaluation wrote nothing to \{output\}"):
        read_results(tmp_path / "results")


def test_not_text(tmp_path):
    (tmp_path / "results.csv").write_bytes("set,id,score\nä,1,1\n".encode("latin-1"))
    with pytest.raises(WiseftError, match=r"results\.csv is not text in UTF-8"):
        read_results(tmp_path / "results")


@pytest.mark.parametrize(
    ("logs", "message"),
    [
        (log([1.0]).replace("doc_id", "id"), "line 1 of samples_arc_.* has no `doc_id`"),
        (log([1.0]).replace('"acc":', '"f1":'), "line 1 of samples_arc_.* has no `acc`"),
        (log([1.0, 1.0])[:-9], "line 2 of samples_arc_.* is no JSON object"),
        (log([1.0, 1.0], doc_id=3), "reported the sample '3' of the set arc, acc, twice"),
    ],
)
def test_bad_log(tmp_path, logs, message):
    with pytest.raises(WiseftError, match=message):
        read_results(lm_eval(tmp_path / "results", {"acc,none": 1.0}, logs))
