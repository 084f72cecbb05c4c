"""A checkpoint that Lightning wrote is swept as it is: its prefix and names of modules."""

import pytest
import torch
import transformers
from tests.foreign.test_of_transformers import classifier, saved
from tests.sweep.conftest import CLASSES, write_images
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from wiseft.tool.sweep import sweep

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
