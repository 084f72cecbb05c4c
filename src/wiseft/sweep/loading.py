"""Lines of Python that load the model of a sweep with the library that its format belongs to."""

from __future__ import annotations

from wiseft.sweep.record import Result

_IMPORTS = (
    "import json, torch, {library}; from PIL import Image; from safetensors.torch import load_file"
)
_HEAD = """head, names = load_file("{folder}/head.safetensors"), open("{folder}/classes.json")
features = torch.nn.functional.normalize({features}, dim=-1)
print(json.load(names)[(features @ head["weight"].T + head["bias"]).argmax()])"""
_EXAMPLES = {
    "open_clip": (
        "model, _, preprocess = open_clip.create_model_and_transforms({arguments})",
        'model.eval().encode_image(preprocess(Image.open("photo.jpg"))[None])',
    ),
    "transformers": (
        "model, processor = (transformers.AutoModel.from_pretrained({file}), "
        "transformers.AutoImageProcessor.from_pretrained({file}))",
        "model.visual_projection(model.vision_model("
        '**processor(Image.open("photo.jpg"), return_tensors="pt")).pooler_output)',
    ),
}
_TIMM = """import json, timm; from PIL import Image
model = timm.create_model({arguments}).eval()
preprocess = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
classes = json.load(open("{folder}/classes.json"))
print(classes[model(preprocess(Image.open("photo.jpg"))[None]).argmax()])"""
_PLAIN = """# The names are those of the fine-tuned checkpoint: load it where that was loaded, as in
import torch
model.load_state_dict(torch.load("{file}", weights_only=True))"""


def loading_example(result: Result) -> str:
    """Return Python that loads the model and, of the three libraries, classifies `photo.jpg`."""
    record, path = result.record, result.model_path
    file, name, library = path.as_posix(), record.architecture, record.model.loads_with
    folder = (path if path.is_dir() else path.parent).as_posix()
    if library == "wiseft":
        return f"# a theta: wiseft score {file} FOLDER"
    if library == "timm":
        arguments = f'"local-dir:{file}", pretrained=True'
        if not path.is_dir():
            classes = len(record.class_names)
            arguments = f'"{name}", num_classes={classes}, checkpoint_path="{file}"'
        return _TIMM.format(arguments=arguments, folder=folder)
    if library not in _EXAMPLES or not record.model.head:
        return _PLAIN.format(file=file)
    model, features = _EXAMPLES[library]
    arguments = f'"local-dir:{file}"' if path.is_dir() else f'"{name}", pretrained="{file}"'
    return "\n".join(
        [
            _IMPORTS.format(library=library),
            model.format(arguments=arguments, file=f'"{file}"'),
            _HEAD.format(folder=folder, features=features),
        ]
    )
