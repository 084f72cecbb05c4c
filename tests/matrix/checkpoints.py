"""25 kinds of checkpoints, each made by its own library, which also says what it predicts."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip
import timm
import torch
import transformers
from open_clip.push_to_hf_hub import save_for_hf
from PIL import Image
from safetensors.torch import save_file
from tests import tiny_models as tiny
from tests.foreign.test_of_transformers import PLAIN, saved, siglip
from tests.matrix.sources import CLASSES, HEAD, folders, rows
from tests.sweep.conftest import clip_config, save_clip_folder
from torch import Tensor, nn

import wiseft
from wiseft.thetas.preprocessing import parse_preprocessing
from wiseft.tool.sweep import sweep

Images = Sequence[Image.Image]
PROMPTS = [f"a photo of a {name}." for name in CLASSES]
LABELS = {"id2label": dict(enumerate(HEAD)), "label2id": {c: k for k, c in enumerate(HEAD)}}
TIMM = "test_vit"
"""A model of 160 pixels that timm has for tests."""


@dataclass(frozen=True)
class Model:
    """A checkpoint as a user has it.

    Attributes:
        path: what is given to a command.
        logits: by its own library, (n, 4), of images.
        names: of the classes in the order of the logits.
        options: what the user must say of it.
        base: what an adapter changes.
    """

    path: Path | str
    logits: Callable[[Images], Tensor]
    names: list[str]
    options: dict[str, Any] = field(default_factory=dict)
    base: Path | None = None


def shaken(model: nn.Module, seed: int, size: float = 0.2) -> nn.Module:
    """Return a model whose predictions differ from image to image, and hang on no rounding."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in model.parameters():
            each.add_(size * torch.randn(each.shape, generator=generator))
    return model.eval()


# ------------------------------------------------------------------------------------ transformers


def processed(folder: Path, images: Images) -> Any:
    prepare = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    return prepare(list(images), return_tensors="pt")


def classified(folder: Path, images: Images) -> Tensor:
    model = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    return model(**processed(folder, images)).logits


def classifier(root: Path, name: str, seed: int = 1, **how: Any) -> Model:
    kind = getattr(transformers, f"{name}ForImageClassification")
    sizes = {"vision_config": PLAIN} if name in ("CLIP", "Siglip") else PLAIN
    torch.manual_seed(seed)
    model = shaken(kind(kind.config_class(**sizes, **LABELS)), seed)
    saved(model, root, name)
    with torch.no_grad():
        seen = processed(root, [row.image for row in rows(800)])
        model.classifier.bias -= model(**seen).logits.mean(dim=0)  # or one class always wins
    (root / "model.safetensors").unlink()
    model.save_pretrained(root, **how)
    return Model(root, partial(classified, root), HEAD)


def clip(root: Path) -> Model:
    torch.manual_seed(1)
    save_clip_folder(shaken(transformers.CLIPModel(clip_config()), 1), root)
    return Model(root, partial(compared, root, clip_tokens()), CLASSES)


def clip_tokens() -> dict[str, Tensor]:
    """The tokens of CLIP's own tokenizer, which needs no file."""
    return {"input_ids": open_clip.get_tokenizer("ViT-B-32")(PROMPTS, context_length=20)}


def compared(folder: Path, tokens: dict[str, Tensor], images: Images) -> Tensor:
    model = transformers.AutoModel.from_pretrained(folder).eval()
    return model(**tokens, **processed(folder, images)).logits_per_image


def read(folder: Path, **how: Any) -> dict[str, Tensor]:
    """The tokens of a folder's own tokenizer."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return dict(tokenizer(PROMPTS, padding="max_length", return_tensors="pt", **how))


def siglip_model(root: Path) -> Model:
    siglip(root, masked=False)
    return Model(root, partial(compared, root, read(root, max_length=12, truncation=True)), CLASSES)


def align_model(root: Path) -> Model:
    torch.manual_seed(1)
    model = transformers.AlignModel(transformers.AlignConfig(**tiny.align()["config"]))
    shaken(model, 1, 0.5).save_pretrained(root)
    square = {"size": {"height": 32, "width": 32}, "do_center_crop": False}
    transformers.EfficientNetImageProcessor(**square, include_top=False).save_pretrained(root)
    tiny.write_word_pieces(root)
    return Model(root, partial(compared, root, read(root, max_length=64)), CLASSES)


# -------------------------------------------------------------------------------------------- timm


def timm_logits(model: nn.Module, images: Images) -> Tensor:
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    return model.eval()(torch.stack([prepare(image) for image in images]))


def timm_model(seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return shaken(timm.create_model(TIMM, num_classes=4), seed, 0.1)


def said(model: nn.Module) -> dict[str, Any]:
    """What a user says of a file of timm: nothing in it says so."""
    pixels = timm.data.resolve_model_data_config(model)
    edge = pixels["input_size"][-1]
    about = {key: list(pixels[key]) for key in ("mean", "std")} | {"size": edge}
    about |= {"resize_size": int(edge / pixels["crop_pct"])}
    about |= {"interpolation": pixels["interpolation"]}
    return {
        "architecture": TIMM,
        "classes": HEAD,
        "features": "raw",
        "preprocessing": parse_preprocessing(about),
    }


def timm_folder(root: Path) -> Model:
    about = {"label_names": HEAD}
    timm.models.save_for_hf(timm_model(), root, model_config=about, safe_serialization=True)
    model = timm.create_model(f"local-dir:{root}", pretrained=True)
    return Model(root, partial(timm_logits, model), HEAD)


def timm_file(root: Path) -> Model:
    torch.save(timm_model().state_dict(), root / "model.pth")
    model = timm.create_model(TIMM, num_classes=4, checkpoint_path=str(root / "model.pth"))
    return Model(root / "model.pth", partial(timm_logits, model), HEAD, said(model))


def timm_training(root: Path) -> Model:
    """What timm's `train.py` writes, with averages of the weights, which are meant."""
    model, args = timm_model(), argparse.Namespace(model=TIMM, lr=0.1)
    average = timm.utils.ModelEmaV3(model)
    average.module.load_state_dict(timm_model(2).state_dict())
    keeper = timm.utils.CheckpointSaver(
        model,
        torch.optim.AdamW(model.parameters()),
        args,
        model_ema=average,
        checkpoint_dir=str(root),
        recovery_dir=str(root),
    )
    keeper.save_checkpoint(3, metric=0.5)
    file, fresh = root / "last.pth.tar", timm.create_model(TIMM, num_classes=4)
    fresh.load_state_dict(timm.models.load_state_dict(file, use_ema=True, weights_only=False))
    how = said(fresh) | {"weights": "state_dict_ema"}
    return Model(file, partial(timm_logits, fresh), HEAD, how)


# --------------------------------------------------------------------------------------- open_clip


def clip_of_open_clip(seed: int = 2) -> open_clip.CLIP:
    torch.manual_seed(seed)
    return shaken(open_clip.CLIP(**tiny.clip()), seed, 0.5)


def zero_shot(model: Any, prepare: Callable[[Image.Image], Tensor], images: Images) -> Tensor:
    """Logits with the head that open_clip builds of the prompts."""
    tokenizer = partial(open_clip.get_tokenizer("ViT-B-32"), context_length=20)
    head = open_clip.build_zero_shot_classifier(
        model, tokenizer, CLASSES, ["a photo of a {}.".format]
    )
    features = model.encode_image(torch.stack([prepare(each) for each in images]))
    return 100 * nn.functional.normalize(features, dim=-1) @ head


def loaded(file: Path, name: str = "Tiny") -> Callable[[Images], Tensor]:
    """Logits of what open_clip itself loads of a file."""
    model, _, prepare = open_clip.create_model_and_transforms(name, pretrained=str(file))
    return partial(zero_shot, model.eval(), prepare)


def open_clip_file(root: Path, name: str = "model.pt") -> Model:
    weights = clip_of_open_clip().state_dict()
    (save_file if name.endswith("s") else torch.save)(weights, root / name)
    return Model(root / name, loaded(root / name), CLASSES, {"architecture": "Tiny"})


def open_clip_folder(root: Path) -> Model:
    model, config = clip_of_open_clip(3), tiny.clip()
    pixels = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.4, 0.3), "resize_mode": "squash"}
    open_clip.model.set_model_preprocess_cfg(model, pixels | {"interpolation": "bilinear"})
    tokenizer = SimpleNamespace(save_pretrained=lambda folder: None)  # CLIP's comes with open_clip
    save_for_hf(model, tokenizer, config, root)
    model, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{root}")
    return Model(root, partial(zero_shot, model.eval(), prepare), CLASSES)


def open_clip_training(root: Path) -> Model:
    """What open_clip's own trainer writes of a model on several GPUs."""
    model = clip_of_open_clip()
    optimizer = torch.optim.AdamW(model.parameters())
    whole = {"epoch": 3, "name": "run", "state_dict": nn.DataParallel(model).state_dict()}
    torch.save(whole | {"optimizer": optimizer.state_dict()}, root / "epoch_3.pt")
    file = root / "epoch_3.pt"
    return Model(file, loaded(file), CLASSES, {"architecture": "Tiny"})


def open_clip_compiled(root: Path) -> Model:
    model = clip_of_open_clip()
    torch.save(torch.compile(model).state_dict(), root / "model.pt")
    assert all(name.startswith("_orig_mod.") for name in torch.load(root / "model.pt"))
    prepare = open_clip.image_transform(32, is_train=False)
    how = {"architecture": "Tiny"}
    return Model(root / "model.pt", partial(zero_shot, model, prepare), CLASSES, how)


def open_clip_scripted(root: Path) -> Model:
    file, model = root / "model.pt", clip_of_open_clip()
    torch.jit.script(model).save(str(file))
    prepare = open_clip.image_transform(32, is_train=False)
    made = partial(zero_shot, torch.jit.load(str(file)), prepare)
    return Model(file, made, CLASSES, {"architecture": "Tiny"})


class Tuned(nn.Module):
    """A classifier as the authors of the paper have it: both towers, and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.image_encoder = nn.Module()
        self.image_encoder.model = clip_of_open_clip()
        self.classification_head = nn.Linear(16, 4)
        self.prepare = open_clip.image_transform(32, is_train=False)

    def forward(self, images: Images) -> Tensor:
        pixels = torch.stack([self.prepare(each) for each in images])
        features = self.image_encoder.model.encode_image(pixels)
        return self.classification_head(nn.functional.normalize(features, dim=-1))


def authors(root: Path) -> Model:
    model = Tuned().eval()
    torch.save({"model": model.state_dict(), "epoch": 3, "best_acc1": 0.5}, root / "model.pt")
    how = {"architecture": "Tiny", "classes": HEAD, "features": "normalised"}
    return Model(root / "model.pt", model, HEAD, how)


# ---------------------------------------------------------------------------- Lightning, PEFT, ours


def lightning(root: Path) -> Model:
    """A checkpoint of a module that holds a model of timm."""
    library = importlib.import_module("lightning")
    model = timm_model()

    class Module(library.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"lr": 0.1, "labels": HEAD})
            self.net = model

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.001)

    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = library.Trainer(
        max_steps=1, accelerator="cpu", default_root_dir=root, **dict.fromkeys(quiet, False)
    )
    data = torch.utils.data.TensorDataset(torch.randn(2, 3, 160, 160))
    trainer.fit(Module(), torch.utils.data.DataLoader(data, batch_size=2))
    trainer.save_checkpoint(root / "last.ckpt")
    return Model(root / "last.ckpt", partial(timm_logits, model), HEAD, said(model))


def adapter(root: Path, base: Model, load: Callable[..., nn.Module], **how: Any) -> Model:
    """An adapter of a model, which the user gives beside it."""
    library = importlib.import_module("peft")
    config = library.LoraConfig(r=4, lora_alpha=6, **how)
    model = library.get_peft_model(load(base.path), config)
    tuned = [each for each in model.parameters() if each.requires_grad]
    with torch.no_grad():
        for each in tuned:
            each.add_(0.2 * torch.randn(each.shape, generator=torch.Generator().manual_seed(3)))
    model.save_pretrained(root / "adapter")
    again = library.PeftModel.from_pretrained(load(base.path), root / "adapter").eval()

    def logits(images: Images) -> Tensor:
        pixels = processed(Path(base.path), images)
        if base.names == HEAD:
            return again(**pixels).logits
        return again(**clip_tokens(), **pixels).logits_per_image

    return Model(root / "adapter", logits, base.names, base=Path(base.path))


def lora(root: Path) -> Model:
    load = transformers.AutoModelForImageClassification.from_pretrained
    how = {"target_modules": ["q_proj", "fc1"], "modules_to_save": ["classifier"]}
    return adapter(root, classifier(root / "base", "ViT"), load, **how)


def dora(root: Path) -> Model:
    how = {"target_modules": ["q_proj", "fc1"], "use_dora": True}
    return adapter(root, clip(root / "base"), transformers.AutoModel.from_pretrained, **how)


def of_a_sweep(root: Path) -> Model:
    """What a sweep of two classifiers writes at 0.5, which transformers loads."""
    ends = [classifier(root / end, "ViT").path for end in ("z", "f")]
    tuned = transformers.AutoModelForImageClassification.from_pretrained(ends[1])
    shaken(tuned, 7, 0.05).save_pretrained(ends[1])
    reference, shift = folders(root / "a", rows(500)), folders(root / "b", rows(501))
    made = sweep(*ends, reference, [shift], root / "out", alpha=0.5, alphas=[0.5])
    return Model(made.model_path, partial(classified, made.model_path), HEAD)


def theta(root: Path) -> Model:
    """A zero-shot CLIPModel with a head, as `wiseft.load(...).save` writes it."""
    made = clip(root / "clip")
    wiseft.load(made.path, classes=HEAD).save(root / "theta.safetensors")
    return Model(root / "theta.safetensors", made.logits, CLASSES)


def on_hub(root: Path) -> Model:
    """A repository, which timm asks the hub for, too; whoever takes it puts `root` there."""
    timm_folder(root)
    name = "hf-hub:me/model"

    def logits(images: Images) -> Tensor:
        return timm_logits(timm.create_model(name, pretrained=True), images)

    return Model(name, logits, HEAD)


KINDS: dict[str, Callable[..., Model]] = {
    "transformers: CLIPModel": clip,
    "transformers: CLIPForImageClassification": partial(classifier, name="CLIP"),
    "transformers: ViTForImageClassification": partial(classifier, name="ViT"),
    "transformers: ViT in several files": partial(classifier, name="ViT", max_shard_size="20KB"),
    "transformers: DINOv2 with a head": partial(classifier, name="Dinov2"),
    "transformers: BEiT": partial(classifier, name="Beit"),
    "transformers: SiglipModel": siglip_model,
    "transformers: SiglipForImageClassification": partial(classifier, name="Siglip"),
    "transformers: AlignModel": align_model,
    "timm: folder": timm_folder,
    "timm: state dict": timm_file,
    "timm: average in a file of `train.py`": timm_training,
    "open_clip: state dict": open_clip_file,
    "open_clip: safetensors": partial(open_clip_file, name="model.safetensors"),
    "open_clip: folder": open_clip_folder,
    "open_clip: `epoch_K.pt` of its trainer (`module.`)": open_clip_training,
    "open_clip: of `torch.compile` (`_orig_mod.`)": open_clip_compiled,
    "open_clip: TorchScript": open_clip_scripted,
    "image tower and head under `model`": authors,
    "Lightning: `.ckpt`": lightning,
    "PEFT: LoRA of a classifier": lora,
    "PEFT: DoRA of a CLIPModel": dora,
    "wiseft: model of a sweep": of_a_sweep,
    "wiseft: theta": theta,
    "`hf-hub:OWNER/NAME` (timm)": on_hub,
}
NEED = {"Lightning: `.ckpt`": "lightning", "PEFT: LoRA of a classifier": "peft"}
NEED |= {"PEFT: DoRA of a CLIPModel": "peft"}
"""Libraries that only `make test-peers` has."""
