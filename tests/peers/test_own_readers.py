"""What lm-eval and CLIP_benchmark write is read as they report it; lm-eval evaluates a sweep."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from tests import tiny_models as tiny
from tokenizers import Tokenizer, models, pre_tokenizers

from wiseft.tool.own_readers import read_results

TOKENS = ["<unk>", "<s>", "</s>", *"0123456789?"]
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: {kind}
doc_to_text: "{{{{question}}}}"
"""
TASKS = {
    "pick": (
        "multiple_choice",
        'doc_to_choice: ["0", "1"]\n'
        "doc_to_target: label\n"
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n",
    ),
    "say_it": (
        "generate_until",
        'doc_to_target: "{{answer}}"\n'
        'generation_kwargs: {until: ["?"], max_gen_toks: 4, do_sample: false}\n'
        "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n"
        "filter_list:\n"
        "  - name: strict\n"
        '    filter: [{function: regex, regex_pattern: "^([0-9])"}, {function: take_first}]\n'
        "  - name: last\n"
        '    filter: [{function: regex, regex_pattern: "([0-9])", group_select: -1},'
        " {function: take_first}]\n",
    ),
    "text": (
        "loglikelihood_rolling",
        'doc_to_target: "{{question}}"\nmetric_list: [{metric: word_perplexity}]\n',
    ),
}
GROUP = """
group: both
task: [pick, say_it]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
"""


def llama(folder: Path, seed: int = 0, spread: float = 0.02) -> Path:
    tokenizer = Tokenizer(models.WordLevel({t: k for k, t in enumerate(TOKENS)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    special = dict(zip(("unk_token", "bos_token", "eos_token"), TOKENS, strict=False))
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(
        folder
    )
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "max_position_embeddings": 64, "vocab_size": len(TOKENS)}
    sizes |= {"initializer_range": spread}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)).save_pretrained(folder)
    return folder


def lm_eval(tasks: str, model: str, include: Path, output: str) -> list[str]:
    """Return the words of its command."""
    pytest.importorskip("lm_eval", reason="lm-eval is not installed; make test-peers installs it")
    words = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--tasks", tasks]
    words += ["--model_args", f"pretrained={model},dtype=float32", "--include_path", str(include)]
    return [*words, "--device", "cpu", "--batch_size", "4", "--output_path", output]


@pytest.mark.parametrize("samples", [True, False])
def test_lm_eval(tmp_path, samples):
    """Tasks of three kinds and a group, with its command: samples, errors and directions."""
    data, tasks = tmp_path / "data.jsonl", tmp_path / "tasks"
    docs = [{"question": f"{k}?", "answer": f"{k * 7 % 10}", "label": k % 2} for k in range(12)]
    data.write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    tasks.mkdir()
    for name, (kind, more) in TASKS.items():
        (tasks / f"{name}.yaml").write_text(TASK.format(name=name, kind=kind, data=data) + more)
    (tasks / "both.yaml").write_text(GROUP)
    output = tmp_path / "out" / "results"
    words = lm_eval("both,text", str(llama(tmp_path / "model")), tasks, str(output))
    words += ["--log_samples"] * samples
    alone = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    ended = subprocess.run(words, capture_output=True, text=True, env=os.environ | alone)
    assert ended.returncode == 0, ended.stderr[-2000:]

    [path] = output.rglob("results_*.json")
    own: dict[str, Any] = json.loads(path.read_text())["results"]
    frame = read_results(output)
    expected = {
        ("both", "acc"): own["both"]["acc,none"],
        ("pick", "acc"): own["pick"]["acc,none"],
        ("say_it", "exact_match,last"): own["say_it"]["exact_match,last"],
        ("say_it", "exact_match,strict"): own["say_it"]["exact_match,strict"],
        ("text", "word_perplexity"): own["text"]["word_perplexity,none"],
    }
    by_metric = frame.groupby(["set", "metric"])
    assert dict(by_metric["value"].mean()) == pytest.approx(expected, abs=1e-12)
    assert dict(by_metric["higher_is_better"].max()) == {key: key[0] != "text" for key in expected}
    sampled = (
        {("pick", "acc"), *(key for key in expected if key[0] == "say_it")} if samples else set()
    )
    for key, rows in by_metric:
        ids = {str(k) for k in range(12)} if key in sampled else {""}
        assert set(rows["id"]) == ids and len(rows) == len(ids)
    errors = by_metric["stderr"].first()
    assert np.isnan(errors["text", "word_perplexity"])
    assert errors["both", "acc"] == own["both"]["acc_stderr,none"] > 0
    if not samples:
        assert errors["pick", "acc"] == own["pick"]["acc_stderr,none"] > 0


def test_a_sweep_evaluates_with_lm_eval(tmp_path, monkeypatch):
    """Its command as `--evaluate`: each sample's score equals that of its run on a mean of ours."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    kind, more = TASKS["pick"]
    for name, factor in (("val", 7), ("own", 3), ("other", 11)):
        docs = [{"question": f"{k * factor}?", "label": k * k % 3 % 2} for k in range(24)]
        data = tmp_path / f"{name}.jsonl"
        data.write_text("".join(json.dumps(doc) + "\n" for doc in docs))
        task = TASK.format(name=name, kind=kind, data=data) + more
        (tmp_path / f"{name}.yaml").write_text(task)
    base, tuned, mean = (llama(tmp_path / name, seed, 0.3) for seed, name in enumerate("ZFM"))
    weights = [load_file(folder / "model.safetensors") for folder in (base, tuned)]
    mixed = {name: (weights[0][name] + weights[1][name]) / 2 for name in weights[0]}
    save_file(mixed, mean / "model.safetensors", {"format": "pt"})

    sets = "val,own,other"
    words = [*lm_eval(sets, "{model}", tmp_path, "{output}"), "--log_samples"]
    out = tmp_path / "out"
    options = ["--evaluate", shlex.join(words), "--alphas", "0,0.5,1", "-o", str(out)]
    options += ["--held-out", "val", "--reference", "own", "--shift", "other"]
    sweep = [sys.executable, "-m", "wiseft.cli", "sweep", str(base), str(tuned), *options]
    ended = subprocess.run(sweep, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]

    alone = [*lm_eval(sets, str(mean), tmp_path, str(tmp_path / "alone")), "--log_samples"]
    subprocess.run(alone, check=True, capture_output=True)
    expected = read_results(tmp_path / "alone").set_index(["set", "id"])["value"]
    frame = pd.read_parquet(out / "predictions.parquet")
    roles = {
        "val": ("reference", "held-out"),
        "own": ("reference", "test"),
        "other": ("other", "test"),
    }
    assert len(frame) == len(expected) == 72
    for name, (role, split) in roles.items():
        rows = frame[(frame["set"] == role) & (frame["split"] == split)].set_index("image")
        assert rows["prediction/0.500"].to_dict() == expected[name].to_dict()
    columns = [tuple(frame[f"prediction/{alpha}"]) for alpha in ("0.000", "0.500", "1.000")]
    assert len(set(columns)) == 3, "alpha changes nothing"


def shards(root: Path, classes: int) -> Path:
    """Write images of classes in CLIP_benchmark's own form."""
    (root / "test").mkdir(parents=True)
    (root / "test" / "nshards.txt").write_text("1")
    (root / "classnames.txt").write_text("\n".join(f"number {k}" for k in range(classes)))
    (root / "zeroshot_classification_templates.txt").write_text("a photo of {c}")
    generator = np.random.default_rng(0)
    with tarfile.open(root / "test" / "0.tar", "w") as tar:
        for k in range(4 * classes):
            image, file = generator.integers(0, 255, (32, 32, 3), np.uint8), io.BytesIO()
            Image.fromarray(image).save(file, "PNG")
            for ending, content in (("cls", f"{k % classes}".encode()), ("png", file.getvalue())):
                member = tarfile.TarInfo(f"s{k:07}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return root


def test_clip_benchmark(tmp_path, monkeypatch):
    """Its command on data of two and of six classes; `acc5` of two is not a number."""
    reason = "CLIP_benchmark is not installed; make test-peers installs it"
    cli = pytest.importorskip("clip_benchmark.cli", reason=reason)
    import open_clip

    def accuracy(logits, target, topk):  # its own needs NumPy below 2.4
        hits = logits.topk(max(topk), 1)[1] == target[:, None]
        return [float(hits[:, :k].any(1).float().mean()) for k in topk]

    monkeypatch.setattr(cli.zeroshot_classification, "accuracy", accuracy)
    (tmp_path / "tiny-reader.json").write_text(json.dumps(tiny.clip()))
    open_clip.add_model_config(tmp_path / "tiny-reader.json")
    torch.manual_seed(0)
    model = tmp_path / "model.pt"
    torch.save(open_clip.create_model("tiny-reader").state_dict(), model)
    output = tmp_path / "out" / "results"
    output.parent.mkdir()
    for classes in (2, 6):
        shards(tmp_path / f"wds/of-{classes}", classes)
    words = ["clip_benchmark", "eval", "--model", "tiny-reader", "--pretrained", str(model)]
    words += ["--dataset", "wds/of-2", "wds/of-6", "--dataset_root", f"{tmp_path}/wds/{{dataset}}"]
    words += ["--num_workers", "0", "--no_amp", "--output", f"{output}_{{dataset}}.json"]
    monkeypatch.setattr(sys, "argv", words)
    cli.main()

    files = sorted(output.parent.iterdir())
    own = [json.loads(path.read_text()) for path in files]
    assert np.isnan(own[0]["metrics"]["acc5"])
    frame = read_results(output)
    values = frame.set_index(["set", "metric"])["value"]
    expected = {(f["dataset"], key): value for f in own for key, value in f["metrics"].items()}
    del expected["wds/of-2", "acc5"]
    assert dict(values) == expected and 0 < values["wds/of-6", "acc1"] < 1
    assert (frame["higher_is_better"] == 1).all()
