"""Lines of Python that load the model of a sweep with the library that its format belongs to."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from wiseft.foreign.class_names import FEATURES
from wiseft.foreign.processors import PROCESSORS
from wiseft.tool.record import Result

_WITH_HEAD = """import json, {library}, torch
from PIL import Image
from safetensors.torch import load_file

{model}
head = load_file({head})
{features}
logits = {normalised} @ head["weight"].T + head["bias"]
print(json.load(open({classes}))[logits.argmax()])"""
_MODELS = {
    "open_clip": "model, _, preprocess = open_clip.create_model_and_transforms({arguments})",
    "transformers": "model = transformers.CLIPModel.from_pretrained({arguments})\n"
    "preprocess = transformers.AutoImageProcessor.from_pretrained({arguments})",
    "clip": "model = transformers.CLIPModel.from_pretrained({arguments})\n"
    "size = model.config.vision_config.image_size\n"
    'square = {{"height": size, "width": size}}\n'
    'edge = {{"shortest_edge": size}}\n'
    "preprocess = transformers.CLIPImageProcessor(size=edge, crop_size=square)",
}
"""`clip`: a folder of transformers that does not say how images are prepared."""
_FEATURES = {
    "open_clip": 'features = model.eval().encode_image(preprocess(Image.open("photo.jpg"))[None])',
    "transformers": 'image = preprocess(Image.open("photo.jpg"), return_tensors="pt")\n'
    "features = model.visual_projection(model.vision_model(**image).pooler_output)",
}
_TIMM = """import json, timm
from PIL import Image

model = timm.create_model({arguments}).eval()
preprocess = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
logits = model(preprocess(Image.open("photo.jpg"))[None])
print(json.load(open({classes}))[logits.argmax()])"""
_PLAIN = """# The names are those of the fine-tuned checkpoint: load it where that was loaded, as in
import torch
model.load_state_dict(torch.load({file}, weights_only=True))"""


def loading_example(result: Result) -> str:
    """Return Python that loads the model and, of the three libraries, classifies `photo.jpg`.

    Names of files, whoever chose them, stand in it as texts of Python.
    """
    record, path = result.record, result.model_path
    file, library = path.as_posix(), record.model.loads_with
    name = _text(record.architecture)
    folder = path if path.is_dir() else path.parent
    beside = {
        key: _text((folder / f"{key}.{kind}").as_posix())
        for key, kind in (("head", "safetensors"), ("classes", "json"))
    }
    if library == "wiseft":
        return f"# a theta: wiseft score {shlex.quote(file)} FOLDER"
    if library == "timm":
        arguments = f"{_text(f'local-dir:{file}')}, pretrained=True"
        if not path.is_dir():
            classes = len(record.class_names)
            arguments = f"{name}, num_classes={classes}, checkpoint_path={_text(file)}"
        return _TIMM.format(arguments=arguments, **beside)
    unnamed = library == "open_clip" and not path.is_dir() and " " in record.architecture
    if library not in _MODELS or not record.model.head or unnamed:
        return _PLAIN.format(file=_text(file))
    arguments, before = _text(file), ""
    kind: str = library
    if library == "open_clip":
        if record.architecture.endswith(".json"):
            before = f"open_clip.add_model_config({name})\n"
            name = _text(Path(record.architecture).stem)
        arguments = f"{name}, pretrained={_text(file)}"
        if path.is_dir():
            arguments = _text(f"local-dir:{file}")
    elif not any((path / name).is_file() for name in PROCESSORS):
        kind = "clip"
    raw = (folder / FEATURES).is_file()
    beside["normalised"] = "features" if raw else "torch.nn.functional.normalize(features, dim=-1)"
    model = before + _MODELS[kind].format(arguments=arguments)
    features = _FEATURES[library]
    return _WITH_HEAD.format(library=library, model=model, features=features, **beside)


def _text(value: str) -> str:
    return json.dumps(value)  # in double quotes, as the lines around it
