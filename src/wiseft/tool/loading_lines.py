"""Lines of Python that load the model of a sweep with the library that its format belongs to."""

from __future__ import annotations

import json
from pathlib import Path

from torch.serialization import get_unsafe_globals_in_checkpoint

from wiseft.base.messages import quiet
from wiseft.base.templates import render
from wiseft.errors import WiseftError
from wiseft.foreign.architecture import named_architecture
from wiseft.foreign.class_names import CLASSES, FEATURES, HEAD
from wiseft.foreign.door import Opened, open_model
from wiseft.foreign.formats import Checkpoint
from wiseft.foreign.model_folder import PROCESSORS
from wiseft.thetas.preprocessing import CLIP_PIXELS, Preprocessing, parse_preprocessing
from wiseft.tool.record import Result, Sweep

_CLASSIFIER = "ForImageClassification"


def loading_example(result: Result) -> str:
    """Return Python that classifies `photo.jpg` with the model as the sweep did.

    The library of its format loads it where that takes the file as it is and prepares images alike,
    else `wiseft.load`. Where nothing names the architecture, the line is for the program that the
    fine-tuned checkpoint is of, and an adapter's for the zero-shot model. Names of files, whoever
    chose them, stand in it as texts of Python.
    """
    record, path = result.record, result.model_path
    name, folder = record.architecture, path if path.is_dir() else path.parent
    whole = bool(record.evaluate) and record.model.loads_with != "wiseft"
    with quiet():  # its prefixes were told when it was made
        opened = None if whole or record.model.loads_with == "peft" else open_model(path)
    pixels = parse_preprocessing(record.preprocessing) if record.preprocessing else None
    said = pixels is None or (opened is not None and _says(record, opened, pixels))
    form = "peft" if opened is None else _form(record, opened, pixels, said)
    if whole:
        form = "whole" if record.model.loads_with == "transformers" else "own"
    by_file = form == "open_clip" and name.endswith(".json")  # open_clip then knows its stem
    silent = opened is not None and opened.architecture is None
    return render(
        "tool/loading.py.j2",
        form=form,
        file=_text(path.as_posix()),
        folder=path.is_dir(),
        model=name if name.isidentifier() else "AutoModel",
        local=_text(f"local-dir:{path.as_posix()}"),
        name=_text(Path(name).stem if by_file else name),
        added=_text(name) if by_file else "",
        silent=silent,
        pixels=pixels,
        said=said,
        classes=record.class_names,
        processor=any((path / each).is_file() for each in PROCESSORS),
        raw=(folder / FEATURES).is_file(),
        head=_text((folder / HEAD).as_posix()),
        names=_text((folder / CLASSES).as_posix()),
        tensors=_tensors(opened.checkpoint) if opened and silent else "",
    ).rstrip("\n")


def _text(value: str) -> str:
    return json.dumps(value)  # in double quotes, as the lines around it


def _says(record: Sweep, opened: Opened, pixels: Preprocessing) -> bool:
    """Whether a model says, or keeps silent and so means, the preprocessing of the sweep."""
    if not opened.preprocessing and record.architecture.endswith(_CLASSIFIER):
        return False
    known = {"size": pixels.size} | (opened.preprocessing or CLIP_PIXELS)
    return parse_preprocessing(known) == pixels


def _form(record: Sweep, opened: Opened, pixels: Preprocessing | None, said: bool) -> str:
    form, name = str(record.model.loads_with), record.architecture
    if opened.path.is_dir():
        form = "classifier" if form == "transformers" and name.endswith(_CLASSIFIER) else form
        takes = record.model.head or form in ("classifier", "timm")
        return form if said and takes else "wiseft"
    if opened.architecture is None:
        try:
            named_architecture(name, Path())
        except WiseftError:
            return "torch"
    native = form == "timm" or (form == "open_clip" and record.model.head)
    plain = pixels is None or (pixels.resize_size is None and pixels.crop == "round")
    plain &= form != "timm" or pixels is None or pixels.resize_mode == "shortest"
    return form if native and plain and _is_plain(opened.checkpoint) else "wiseft"


def _is_plain(checkpoint: Checkpoint) -> bool:
    """Whether open_clip and timm find the weights in a file."""
    if any(own != f"module.{name}" for name, own in checkpoint.own.items()):
        return False
    if checkpoint.kind == "safetensors":
        return checkpoint.path.suffix == ".safetensors"
    known = checkpoint.wrapper in ((), ("state_dict",))
    return known and not get_unsafe_globals_in_checkpoint(checkpoint.path)


def _tensors(checkpoint: Checkpoint) -> str:
    """Return Python that reads the tensors of a file under the names that they have there.

    torch takes NumPy's scalars or a Namespace beside tensors only as pickles. Here that is safe: it
    is a file that this program wrote, and it writes harmless kinds alone (`foreign.pickles`).
    """
    file = _text(checkpoint.path.as_posix())
    if checkpoint.kind == "safetensors":
        return f"safetensors.torch.load_file({file})"
    keys = "".join(f"[{_text(k) if isinstance(k, str) else k}]" for k in checkpoint.wrapper)
    harmless = not get_unsafe_globals_in_checkpoint(checkpoint.path)
    return f"torch.load({file}, weights_only={harmless}){keys}"
