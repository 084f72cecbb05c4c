"""A checkpoint that Lightning wrote is swept as it is: its prefix and names of modules."""

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from tests.foreign.test_of_transformers import classifier, saved
from tests.sweep.conftest import CLASSES, clips, photo, tiny_architecture, write_images
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from wiseft.errors import WiseftError
from wiseft.tool.loading_lines import loading_example
from wiseft.tool.sweep import sweep

__all__ = ["clips", "tiny_architecture"]  # fixtures

lightning = pytest.importorskip(
    "lightning", reason="Lightning is not installed; make test-peers installs it"
)


class Tuned(lightning.LightningModule):
    """A classifier of transformers, as in most of Lightning's examples."""

    def __init__(self, model, name: str = "tuned"):
        super().__init__()
        self.save_hyperparameters({"name": name, "labels": CLASSES})
        self.model = model

    def training_step(self, batch, _):
        return cross_entropy(self.model(pixel_values=batch[0]).logits, batch[1])

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_checkpoint_of_lightning_is_swept(compiled, tmp_path, said):
    start = saved(classifier("ViT"), tmp_path / "start")
    model = transformers.AutoModelForImageClassification.from_pretrained(start)
    pixels = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    data = DataLoader(TensorDataset(pixels, torch.arange(8) % 4), batch_size=4)
    tuned = Tuned(model)
    trainer = lightning.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(tuned, data)
    if compiled:
        tuned.model = torch.compile(model)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert any(compiled == ("_orig_mod." in name) for name in tuned.state_dict())
    saved(model, tmp_path / "end")
    images = write_images(tmp_path / "photos", 8, 1, CLASSES)
    shift = write_images(tmp_path / "sketches", 5, 2, CLASSES)
    ckpt, folder = (
        sweep(start, end, images, [shift], tmp_path / out, alpha=0.5, alphas=[0.5])
        for end, out in ((tmp_path / "last.ckpt", "one"), (tmp_path / "end", "two"))
    )
    assert ckpt.record.accuracy == folder.record.accuracy
    assert "last.ckpt: prefix model. of" in " ".join(said)
    made = torch.load(ckpt.model_path, weights_only=False)["state_dict"]
    assert made.keys() == tuned.state_dict().keys()
    expected = transformers.AutoModelForImageClassification.from_pretrained(folder.model_path)
    torch.testing.assert_close(
        made[next(name for name in made if name.endswith("classifier.weight"))],
        expected.classifier.weight.detach(),
        rtol=0,
        atol=1e-6,
    )


def fit(folder, steps, module, resumed=None):
    from wiseft.lightning_callback import WiseftCallback

    pixels = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    data = DataLoader(TensorDataset(pixels, torch.arange(8) % 4), batch_size=4)
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[WiseftCallback(folder / "wise")],
    )
    trainer.fit(module, data, ckpt_path=resumed)
    return trainer


def test_the_callback_writes_both_ends_of_a_training(tmp_path):
    start = saved(classifier("ViT"), tmp_path / "start")
    load = transformers.AutoModelForImageClassification.from_pretrained
    before = Tuned(load(start)).state_dict()
    trainer = fit(tmp_path, 2, tuned := Tuned(load(start)))
    ends = [tmp_path / "wise" / f"{name}.ckpt" for name in ("zero-shot", "fine-tuned")]
    for path, expected in zip(ends, (before, tuned.state_dict()), strict=True):
        found = torch.load(path, weights_only=True)
        assert "optimizer_states" not in found and found["pytorch-lightning_version"]
        assert all(torch.equal(found["state_dict"][name], expected[name]) for name in expected)
    assert any(not torch.equal(before[name], tuned.state_dict()[name]) for name in before)
    trainer.save_checkpoint(tmp_path / "resume.ckpt")
    fit(tmp_path, 3, Tuned(load(start)), tmp_path / "resume.ckpt")
    kept = torch.load(ends[0], weights_only=True)["state_dict"]
    assert all(torch.equal(kept[name], before[name]) for name in before)
    with pytest.raises(WiseftError, match=r"belongs to another training: it has a zero-shot\.ckpt"):
        fit(tmp_path, 1, Tuned(load(start)))
    ends[0].unlink()
    with pytest.raises(WiseftError, match=r"has no zero-shot\.ckpt"):
        fit(tmp_path, 4, Tuned(load(start)), tmp_path / "resume.ckpt")


def test_the_snippet_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs/sweep.md").read_text()
    (block,) = re.findall(r"```python\n(from wiseft.lightning_callback.*?)```", page, re.DOTALL)
    model = transformers.AutoModelForImageClassification.from_pretrained(
        saved(classifier("ViT"), tmp_path / "start")
    )
    pixels = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    data = DataLoader(TensorDataset(pixels, torch.arange(8) % 4), batch_size=4)
    short = partial(lightning.Trainer, max_steps=2, accelerator="cpu", logger=False)
    names = {"lightning": SimpleNamespace(Trainer=short), "module": Tuned(model), "data": data}
    exec(block, names)
    assert {path.name for path in Path("wise").glob("*.ckpt")} == {
        "zero-shot.ckpt",
        "fine-tuned.ckpt",
    }


def test_two_checkpoints_of_the_callback_are_swept(tmp_path, clips, monkeypatch):
    """A CLIP in a module of Lightning: both ends are plain files behind a prefix."""
    import open_clip

    class Clip(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = open_clip.create_model("Tiny")
            self.model.load_state_dict(clips[0])

        def training_step(self, batch, _):
            return self.model.encode_image(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.AdamW(self.model.visual.parameters(), lr=0.01)

    fit(tmp_path, 2, Clip())
    images = write_images(tmp_path / "photos", 8, 1, CLASSES)
    shift = write_images(tmp_path / "sketches", 5, 2, CLASSES)
    ends = [tmp_path / "wise" / f"{name}.ckpt" for name in ("zero-shot", "fine-tuned")]
    result = sweep(*ends, images, [shift], tmp_path / "out", alpha=0.5, alphas=[0.5])
    one, two, made = (
        torch.load(path, weights_only=True)["state_dict"] for path in (*ends, result.model_path)
    )
    for name, tensor in made.items():
        expected = torch.lerp(one[name].float(), two[name].float(), 0.5)
        torch.testing.assert_close(tensor.float(), expected, rtol=0, atol=1e-6)
    Clip().load_state_dict(made)
    photo(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(loading_example(result), {})
