"""Fit a head on frozen features, then fine-tune encoder and head: two folders of transformers.

`python examples/sentiment/train.py --seed 1 --learning-rate 5e-5` prints the accuracy on the
held-out sentences and writes nothing: the learning rate was chosen by it.
"""

import argparse
import csv
from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression
from transformers import AutoModelForTokenClassification, AutoTokenizer

from evaluate import SENTENCES, sentence_logits

EPOCHS, BATCH = 2, 16


def read(sentences, part):
    """Return texts and labels of a set, of similar lengths beside each other."""
    with sentences.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] == part]
    rows.sort(key=lambda row: len(row["text"]))
    return [row["text"] for row in rows], torch.tensor([int(row["label"]) for row in rows])


def logits_of(model, tokenizer, texts):
    """Return logits of all texts, computed in batches, without dropout."""
    model.eval()
    with torch.inference_mode():
        parts = [texts[start : start + 64] for start in range(0, len(texts), 64)]
        return torch.cat([sentence_logits(model, tokenizer, part) for part in parts])


def make_base(encoder, sentences, folder):
    """Write the base: the encoder as it is, and a linear classifier on the mean of its tokens.

    A token classifier's logits are linear in a token's features, so their mean over a sentence is
    the head on the mean of the features, as the encoder was trained to be read.
    """
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    names = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
    model = AutoModelForTokenClassification.from_pretrained(encoder, num_labels=2, **names)
    head, model.classifier = model.classifier, torch.nn.Identity()
    texts, labels = read(sentences, "amazon-train")
    features = logits_of(model, tokenizer, texts)
    probe = LogisticRegression(max_iter=1000).fit(features.numpy(), labels.numpy())
    weight = torch.tensor(probe.coef_[0], dtype=torch.float32) / 2
    bias = torch.tensor(probe.intercept_[0], dtype=torch.float32) / 2
    with torch.no_grad():
        head.weight.copy_(torch.stack([-weight, weight]))
        head.bias.copy_(torch.stack([-bias, bias]))
    model.classifier = head
    save(model, tokenizer, folder)


def batches(count):
    """Yield random places; lengths in a batch are similar, for texts are sorted by length."""
    for places in torch.randperm(count).split(8 * BATCH):
        yield from places.sort().values.split(BATCH)


def fine_tune(base, sentences, seed, learning_rate):
    """Return model and tokenizer after two epochs of AdamW, whose learning rate falls to 0."""
    torch.manual_seed(seed)
    model = AutoModelForTokenClassification.from_pretrained(base).train()
    tokenizer = AutoTokenizer.from_pretrained(base)
    texts, labels = read(sentences, "amazon-train")
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    steps = EPOCHS * -(-len(texts) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    for _ in range(EPOCHS):
        for places in batches(len(texts)):
            logits = sentence_logits(model, tokenizer, [texts[place] for place in places])
            torch.nn.functional.cross_entropy(logits, labels[places]).backward()
            optimiser.step()
            optimiser.zero_grad()
            schedule.step()
    return model.eval(), tokenizer


def save(model, tokenizer, folder):
    """Write a folder of transformers whole: it has its name when it is finished."""
    part = folder.with_name(f"{folder.name}.part")
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    part.rename(folder)


def main():
    """Fine-tune and print the accuracy on the held-out sentences."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--base", type=Path, default=SENTENCES.with_name("base"))
    parser.add_argument("--sentences", type=Path, default=SENTENCES)
    asked = parser.parse_args()
    model, tokenizer = fine_tune(asked.base, asked.sentences, asked.seed, asked.learning_rate)
    texts, labels = read(asked.sentences, "amazon-held-out")
    right = logits_of(model, tokenizer, texts).argmax(1) == labels
    print(f"learning rate {asked.learning_rate:g}: {100 * right.float().mean():.1f} % held-out")


if __name__ == "__main__":
    main()
