"""Lines of Python that load the model of a sweep with the library that its format belongs to."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from wiseft.base.templates import render
from wiseft.foreign.class_names import CLASSES, FEATURES, HEAD
from wiseft.foreign.processors import PROCESSORS
from wiseft.tool.record import Result


def loading_example(result: Result) -> str:
    """Return Python that loads the model and, of the three libraries, classifies `photo.jpg`.

    Names of files, whoever chose them, stand in it as texts of Python.
    """
    record, path = result.record, result.model_path
    name, form = record.architecture, str(record.model.loads_with)
    folder = path if path.is_dir() else path.parent
    unnamed = form == "open_clip" and not path.is_dir() and " " in name
    if form in ("open_clip", "transformers") and (not record.model.head or unnamed):
        form = "torch"
    processor = any((path / each).is_file() for each in PROCESSORS)
    if processor and name.endswith("ForImageClassification"):
        form = "classifier"
    if record.evaluate and form != "wiseft":
        form = "whole" if record.model.loads_with == "transformers" else "own"
    by_file = form == "open_clip" and name.endswith(".json")  # open_clip then knows its stem
    return render(
        "tool/loading.py.j2",
        form=form,
        shell=shlex.quote(path.as_posix()),
        file=_text(path.as_posix()),
        folder=path.is_dir(),
        model=name if name.isidentifier() else "AutoModel",
        local=_text(f"local-dir:{path.as_posix()}"),
        name=_text(Path(name).stem if by_file else name),
        added=_text(name) if by_file else "",
        classes=record.class_names,
        processor=processor,
        raw=(folder / FEATURES).is_file(),
        head=_text((folder / HEAD).as_posix()),
        names=_text((folder / CLASSES).as_posix()),
    ).rstrip("\n")


def _text(value: str) -> str:
    return json.dumps(value)  # in double quotes, as the lines around it
