"""Say of every sentence whether a model is right: python evaluate.py MODEL [SENTENCES]"""

import csv
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

SENTENCES = Path(__file__).resolve().parents[2] / "build/sentiment/sentences.csv"


def sentence_logits(model, tokenizer, texts):
    """Return the means over each sentence's tokens, shape (sentences, 2)."""
    batch = tokenizer(texts, truncation=True, max_length=64, padding=True, return_tensors="pt")
    mask = batch["attention_mask"].unsqueeze(-1)
    return (model(**batch).logits * mask).sum(1) / mask.sum(1)


def main(folder, sentences=SENTENCES):
    """Print a line of JSON for each of the sentences that no model was trained on."""
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with Path(sentences).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] != "amazon-train"]
    rows.sort(key=lambda row: len(row["text"]))  # little padding
    for start in range(0, len(rows), 64):
        part = rows[start : start + 64]
        with torch.inference_mode():
            found = sentence_logits(model, tokenizer, [row["text"] for row in part]).argmax(1)
        for row, label in zip(part, found.tolist(), strict=True):
            right = int(label == int(row["label"]))
            print(json.dumps({"set": row["set"], "id": row["id"], "score": right}))


if __name__ == "__main__":
    main(*sys.argv[1:])
