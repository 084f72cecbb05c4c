"""Every form of a model with every command: the same model comes out, or a sentence why not."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import open_clip
import pytest
import torch
import transformers
from safetensors.torch import save_file
from tests import tiny_models as tiny
from tests.sweep.conftest import (
    CLASSES,
    HEAD,
    clip_config,
    save_clip_folder,
    save_timm_folder,
    timm_model,
    write_images,
)
from tools.rehearsal.checkpoints import Holder, torchscript

import wiseft
from wiseft.errors import WiseftError
from wiseft.evaluate.score import score_folder
from wiseft.foreign.door import open_model
from wiseft.foreign.huggingface import to_open_clip
from wiseft.models import towers
from wiseft.study.finetune.import_checkpoint import import_theta_1
from wiseft.study.weights.fetch import fetch_weights
from wiseft.study.weights.sources import from_tag
from wiseft.thetas.theta import load_theta, load_weights, save_weights
from wiseft.tool.api import merge_files
from wiseft.tool.export import export_theta
from wiseft.tool.sweep import sweep

__all__ = ["Holder"]  # TorchScript reads the source of the class

ADAPTER = "is an adapter, not a model; give the model that it changes"
OTHER = "its configuration is none of CLIPModel, SiglipModel, AlignModel or an image classifier"
UNFIT = "does not fit the architecture"
SILENT = "the weights came without a tokenizer"
NO_TEXT = "has no text tower"
FORMS = {
    "state dict": {},
    "safetensors": {},
    "TorchScript": {},
    "open_clip folder": {},
    "CLIPModel folder": {},
    "encoder and head": {"weights": UNFIT},
    "timm folder": {},
    "weights of wiseft": {"merge": "was written by wiseft"},
    "theta": {"weights": "not the weights of both towers"},
    "model of a sweep": {},
    "adapter": dict.fromkeys(["load", "score", "export", "import", "weights"], ADAPTER),
    "AlignModel folder": dict.fromkeys(["load", "score", "sweep"], SILENT)
    | dict.fromkeys(["export", "import"], UNFIT),
    "ViT classifier folder": {"weights": NO_TEXT} | dict.fromkeys(["export", "import"], UNFIT),
    "folder of another model": dict.fromkeys(["load", "score", "sweep", "weights"], OTHER)
    | dict.fromkeys(["export", "import"], UNFIT),
}
"""By name of a form, what each command says that cannot use it."""
COMMANDS = ("load", "score", "sweep", "merge", "export", "import", "weights")
NAMED = ("timm folder", "ViT classifier folder", "theta", "model of a sweep")
"""Forms that name the classes of a head."""
OTHERS = (
    "timm folder",
    "AlignModel folder",
    "ViT classifier folder",
    "folder of another model",
)
"""Forms of other models than the one that all the rest hold."""


@dataclass(frozen=True)
class World:
    """Models of all forms below a folder; `image` is the image tower of those of a CLIP."""

    root: Path
    image: dict[str, torch.Tensor]

    def form(self, name: str) -> Path:
        return next(self.root.glob(f"forms/{name}*"))

    def file(self, name: str) -> Path:
        return self.root / name


def _adapter(folder: Path, start: dict, end: dict) -> None:
    """Write the difference of two models as an adapter that holds whole tensors."""
    folder.mkdir()
    about = {"peft_type": "LORA", "r": 1, "lora_alpha": 1}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    changed = {f"base_model.model.{k}": end[k] for k in end if not torch.equal(start[k], end[k])}
    save_file(changed, folder / "adapter_model.safetensors")


def _folder_of_open_clip(folder: Path, weights: dict) -> None:
    folder.mkdir()
    pixels = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    about = {"model_cfg": tiny.clip(), "preprocess_cfg": pixels | {"resize_mode": "shortest"}}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    save_file(weights, folder / "open_clip_model.safetensors")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    (root / "forms").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny", tiny.clip())
        write_images(root / "photos", 16, 1, CLASSES)
        write_images(root / "sketches", 5, 2, CLASSES)
        torch.manual_seed(1)
        model = transformers.CLIPModel(clip_config())
        with torch.no_grad():  # of a size at which no prediction hangs on rounding
            model.visual_projection.weight.mul_(20)
        end = {k: v.contiguous() for k, v in to_open_clip(model.state_dict()).items()}
        start = {k: v + 0.01 if k == "visual.proj" else v for k, v in end.items()}
        torch.save(start, root / "start.pt")
        forms = root / "forms"
        torch.save(end, forms / "state dict.pt")
        save_file(end, forms / "safetensors.safetensors")
        torchscript(end, forms / "TorchScript.pt")
        _folder_of_open_clip(forms / "open_clip folder", end)
        save_clip_folder(model, forms / "CLIPModel folder")
        tower = {f"model.visual.{k}": v for k, v in towers.prefixed(end, "visual.").items()}
        torch.save(tower | {f"head.{k}": v for k, v in HEAD.items()}, forms / "encoder and head.pt")
        save_timm_folder(timm_model(1), forms / "timm folder", CLASSES)
        about = {"architecture": tiny.clip(), "preprocessing": tiny.PREPROCESSING}
        save_weights(forms / "weights of wiseft.safetensors", end, about)
        wiseft.load(forms / "state dict.pt", classes=CLASSES).save(forms / "theta.safetensors")
        _adapter(forms / "adapter", start, end)
        align = transformers.AlignModel(transformers.AlignConfig(**tiny.align()["config"]))
        align.save_pretrained(forms / "AlignModel folder")
        square = {"size": {"height": 32, "width": 32}, "do_center_crop": False}
        processor = transformers.EfficientNetImageProcessor(**square, include_top=False)
        processor.save_pretrained(forms / "AlignModel folder")
        labels = {"id2label": dict(enumerate(CLASSES)), "label2id": {c: c for c in CLASSES}}
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = transformers.ViTConfig(**sizes, **labels, image_size=32, patch_size=16)
        folder = forms / "ViT classifier folder"
        transformers.ViTForImageClassification(config).save_pretrained(folder)
        transformers.ViTImageProcessor(size=square["size"]).save_pretrained(folder)
        small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = transformers.BertConfig(vocab_size=20, intermediate_size=8, **small)
        transformers.BertModel(config).save_pretrained(forms / "folder of another model")
        wiseft.load(forms / "timm folder").save(root / "timm.safetensors")
        made = sweep(
            *(root / "start.pt", forms / "state dict.pt", root / "photos"),
            *([root / "sketches"], root / "out"),
            alpha=1,
            alphas=[0.5],
        )
        (root / "out" / "model").rename(forms / "model of a sweep")
        assert made.record.model.head
        yield World(root, towers.prefixed(end, "visual."))


def _predicted(model: wiseft.Classifier, world: World) -> dict[str, str]:
    """Return the class of each photo by a model of the library, by its path in the folder."""
    photos = world.file("photos")
    files = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    return dict(zip(files, model.predict([photos / file for file in files]), strict=True))


def _run(world: World, command: str, name: str, output: Path) -> dict[str, torch.Tensor] | None:
    """Run a command on a form and return the image tower that it saw, as far as it shows it."""
    path, timm = world.form(name), name == "timm folder"
    theta = world.file("timm.safetensors") if timm else world.form("theta")
    if name == "model of a sweep":
        path = path / "state dict.pt"
    classes = None if name in NAMED else CLASSES
    zero = path if name in OTHERS or name.endswith("model") else world.file("start.pt")
    # Archives of TorchScript are taken for OpenAI's, whose activation is another.
    named = "Tiny" if name == "TorchScript" else None
    if command == "load":
        read = wiseft.load(path, classes=classes, architecture=named)
        return towers.prefixed(read.theta.tensors, "image.")
    if command == "score":
        chosen = CLASSES if name == "encoder and head" else None
        done = score_folder(path, world.file("photos"), classes=chosen, architecture=named)
        assert done.n == 64
        own = wiseft.load(path, classes=classes, architecture=named)
        assert _predicted(own, world) == {file: found for file, (_, found) in done.images.items()}
        return None
    if command == "sweep":
        folders = world.file("photos"), [world.file("sketches")]
        given = CLASSES if name == "encoder and head" else None
        found = sweep(zero, path, *folders, output, alpha=1, alphas=[0.5], classes=given).table
        at = (found["dataset"] == "reference") & (found["selection"] == "grid")
        right = found[at & (found["alpha"] == 1)]["n_correct"].sum()
        end = world.form("state dict") if name == "adapter" else path
        own = wiseft.load(end, classes=classes, architecture=named)
        predicted = _predicted(own, world)
        assert right == sum(file.split("/")[0] == name for file, name in predicted.items())
        return None
    if command == "merge":
        base = zero if name == "adapter" else path
        merge_files(base, path, 1, output)
        return towers.prefixed(open_model(output).tensors, "visual.") if base != path else None
    if command == "export":
        export_theta(theta, path, output / path.name)
        made = output / path.name
        if name == "CLIPModel folder":
            return towers.prefixed(to_open_clip(open_model(made).tensors), "visual.")
        tensors = open_model(made).tensors
        before = "image." if name == "theta" else "model.visual." if "head" in name else "visual."
        return None if name in OTHERS else towers.prefixed(tensors, before)
    if command == "import":
        import_theta_1(path, theta, output)
        return towers.prefixed(load_theta(output).tensors, "image.")
    silent = path.suffix == ".pt" or name == "safetensors"
    source = from_tag(str(path), "Tiny" if silent else None)
    pixels = {"mean": [0.5] * 3, "std": [0.5] * 3, "size": 32} if silent else {}
    fetch_weights(replace(source, given=pixels), output)
    return towers.prefixed(load_weights(output)[0], "visual.")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_used_whole_or_refused(name, command, world, tmp_path, monkeypatch):
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny", tiny.clip())
    output = tmp_path / "out"
    if (refusal := FORMS[name].get(command)) is not None:
        with pytest.raises(WiseftError, match=refusal):
            _run(world, command, name, output)
        assert not output.exists() or not (output / "model").exists()
        return
    image = _run(world, command, name, output)
    if image is None or name in OTHERS:
        return
    assert image.keys() == world.image.keys()
    for key, tensor in world.image.items():
        torch.testing.assert_close(image[key], tensor, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", FORMS)
def test_a_model_is_written_back_in_its_own_form(name, world, tmp_path, monkeypatch):
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny", tiny.clip())
    base = open_model(world.file("start.pt")) if name == "adapter" else None
    path = world.form(name) / "state dict.pt" if name == "model of a sweep" else world.form(name)
    opened = open_model(path, base)
    if opened.header is not None or name == "adapter":
        return  # `export` writes a theta with the header of the new one; an adapter is no model
    opened.write(opened.tensors, tmp_path / path.name)
    again = open_model(tmp_path / path.name)
    if name != "folder of another model":
        assert again.architecture == opened.architecture
        assert again.preprocessing == opened.preprocessing
    assert again.tensors.keys() == opened.tensors.keys()
    assert all(torch.equal(again.tensors[key], opened.tensors[key]) for key in opened.tensors)
