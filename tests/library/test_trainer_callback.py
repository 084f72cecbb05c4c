"""The callback in real trainings of transformers' Trainer."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from tests.sweep.conftest import CLASSES, write_images
from torch.utils.data import Dataset

pytest.importorskip("accelerate", reason="accelerate is not installed")

from wiseft.errors import WiseftError
from wiseft.evaluate.score import score_folder
from wiseft.tool.sweep import sweep
from wiseft.trainer_callback import WiseftCallback


class Images(Dataset):
    """Noise whose mean tells the class, the less the noisier."""

    def __init__(self, n: int, noise: float, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(3, (n,), generator=generator)
        noise = noise * torch.randn(n, 3, 8, 8, generator=generator)
        self.pixels = noise + (self.labels - 1.0)[:, None, None, None]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        return {"pixel_values": self.pixels[index], "labels": int(self.labels[index])}


HELD_OUT, SHIFT = Images(40, 2, 1), Images(30, 6, 2)


def tiny_vit() -> transformers.ViTForImageClassification:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_labels": 3}
    config = transformers.ViTConfig(**sizes, intermediate_size=16, image_size=8, patch_size=4)
    return transformers.ViTForImageClassification(config)


def trainer_in(folder: Path, model=None, epochs: int = 2, **options) -> transformers.Trainer:
    arguments = transformers.TrainingArguments(
        output_dir=str(folder / "trainer"),
        num_train_epochs=epochs,
        use_cpu=True,
        seed=0,
        per_device_train_batch_size=16,
        learning_rate=5e-3,
        save_strategy="epoch",
        report_to=[],
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(model or tiny_vit(), arguments, train_dataset=Images(64, 2, 0))
    sets = {"held_out": HELD_OUT, "shifts": {"noisy": SHIFT}, "alphas": [0, 0.3, 0.6, 1]}
    trainer.add_callback(WiseftCallback(trainer, folder / "wise", **(sets | options)))
    return trainer


def right(weights: dict, data: Images) -> int:
    model = tiny_vit().eval()
    model.load_state_dict(weights)
    with torch.no_grad():
        return int((model(data.pixels).logits.argmax(dim=1) == data.labels).sum())


def test_a_training_ends_with_the_curve_and_the_chosen_model(tmp_path):
    start = {name: tensor.clone() for name, tensor in tiny_vit().state_dict().items()}
    trainer = trainer_in(tmp_path)
    trainer.train()
    end = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    assert any(not torch.equal(start[name], end[name]) for name in start)
    assert_equal(load_file(tmp_path / "wise" / "theta_0.safetensors"), start)
    saved = transformers.ViTForImageClassification.from_pretrained(
        tmp_path / "trainer/checkpoint-8"
    )
    assert_equal(saved.state_dict(), end)  # measuring left the trained weights as they were

    curve = pd.read_csv(tmp_path / "wise" / "curve.csv")
    assert curve["alpha"].tolist() == [0, 0, 0.3, 0.3, 0.6, 0.6, 1, 1]
    for row in curve.itertuples():
        mixed = {name: torch.lerp(start[name], end[name], row.alpha) for name in start}
        data = {"held-out": HELD_OUT, "noisy": SHIFT}[row.set]
        assert (row.n, row.n_correct) == (len(data), right(mixed, data))
        assert (
            row.ci_low < row.accuracy == row.n_correct / row.n < row.ci_high
            or row.n_correct in (0, row.n)
        )
    own = curve[curve["set"] == "held-out"].set_index("alpha")["accuracy"]
    assert own[1] > own[0], "the training learned nothing, so that the choice is not tested"

    chosen = json.loads((tmp_path / "wise" / "choice.json").read_text())
    best = own.max()
    within = own[own >= best - (best * (1 - best) / 40) ** 0.5]
    assert chosen == {"alpha": within.index.min(), "rule": "held-out-1se"}
    model = transformers.ViTForImageClassification.from_pretrained(tmp_path / "wise" / "model")
    mixed = {name: torch.lerp(start[name], end[name], chosen["alpha"]) for name in start}
    assert_equal(model.state_dict(), mixed)


def assert_equal(found: dict, expected: dict) -> None:
    torch.testing.assert_close(dict(found), dict(expected), rtol=0, atol=1e-7)


def test_a_resumed_training_keeps_the_weights_that_it_started_from(tmp_path):
    trainer_in(tmp_path, epochs=1).train()
    before = load_file(tmp_path / "wise" / "theta_0.safetensors")
    torch.manual_seed(5)
    trainer_in(tmp_path, epochs=2).train(resume_from_checkpoint=True)
    assert_equal(load_file(tmp_path / "wise" / "theta_0.safetensors"), before)
    with pytest.raises(WiseftError, match="belongs to another training: it has a theta_0"):
        trainer_in(tmp_path).train()
    (tmp_path / "wise" / "theta_0.safetensors").unlink()
    with pytest.raises(WiseftError, match="has no theta_0"):
        trainer_in(tmp_path, epochs=3).train(resume_from_checkpoint=True)


def test_what_cannot_work_is_said_before_the_training(tmp_path):
    model = tiny_vit()
    model.peft_config = {"default": None}
    with pytest.raises(WiseftError, match="adapter of PEFT"):
        trainer_in(tmp_path, model).train()


class Folder(Dataset):
    """Images of class folders as a processor of transformers prepares them."""

    def __init__(self, folder: Path, processor) -> None:
        self.files = sorted(folder.rglob("*.png"))
        self.processor = processor

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict:
        file = self.files[index]
        image = self.processor(Image.open(file).convert("RGB"), return_tensors="pt")
        return {"pixel_values": image["pixel_values"][0], "labels": CLASSES.index(file.parent.name)}


def test_a_sweep_reads_what_the_callback_and_the_trainer_write(tmp_path):
    """theta_0 by the names of modules, the fine-tuned model by those of files: the same counts."""
    photos, shift = tmp_path / "photos", tmp_path / "sketches"
    processor = transformers.ViTImageProcessorPil(size={"height": 8, "width": 8})
    train, held_out, shifted = (
        Folder(write_images(folder, 8, seed, CLASSES), processor)
        for seed, folder in ((1, tmp_path / "train"), (2, photos), (3, shift))
    )
    model = tiny_vit()
    model = transformers.ViTForImageClassification(
        transformers.ViTConfig(**(model.config.to_dict() | {"id2label": dict(enumerate(CLASSES))}))
    )
    with torch.no_grad():
        model.classifier.weight.normal_(generator=torch.Generator().manual_seed(0))
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "trainer"),
        max_steps=2,
        use_cpu=True,
        learning_rate=0.05,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
    )
    trainer = transformers.Trainer(
        model, arguments, train_dataset=train, processing_class=processor
    )
    sets = {"held_out": held_out, "shifts": {"sketches": shifted}, "alphas": [0, 0.5, 1]}
    trainer.add_callback(WiseftCallback(trainer, wise := tmp_path / "wise", **sets))
    trainer.train()
    trainer.save_model(str(end := tmp_path / "end"))
    result = sweep(
        wise / "theta_0.safetensors", end, photos, [shift], tmp_path / "out", alphas=[0.5]
    )
    curve = pd.read_csv(wise / "curve.csv")
    own = {e.alpha: e.n_correct for e in result.record.accuracy if e.set == "sketches"}
    expected = curve[curve["set"] == "sketches"].set_index("alpha")["n_correct"].to_dict()
    assert own == expected
    assert len(set(own.values())) > 1, "the training changed nothing that is counted"
    chosen = json.loads((wise / "choice.json").read_text())["alpha"]
    assert score_folder(wise / "model", shift).n_correct == expected[chosen]


def test_the_snippet_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs/sweep.md").read_text()
    (block,) = re.findall(r"```python\n(from wiseft.trainer_callback.*?)```", page, re.DOTALL)
    trainer = trainer_in(tmp_path, epochs=1)
    trainer.callback_handler.callbacks = [
        each for each in trainer.callback_handler.callbacks if not isinstance(each, WiseftCallback)
    ]
    names = {"trainer": trainer, "held_out": HELD_OUT, "sketches": SHIFT}
    names["AutoModelForImageClassification"] = transformers.AutoModelForImageClassification
    exec(block, names)
    assert names["model"].config.num_labels == 3
    assert set(pd.read_csv("wise/curve.csv")["set"]) == {"held-out", "sketches"}
