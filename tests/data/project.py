"""A project of one's own: a catalogue in a folder, and small archives of images."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image


def write_project(root: Path, entries: dict[str, dict[str, Any]]) -> Path:
    """Write `config/` with a prompt set `plain`, config.yaml and the dataset entries."""
    config = root / "config"
    for kind in ("datasets", "prompts"):
        (config / kind).mkdir(parents=True, exist_ok=True)
    folder = str(root / "datasets")
    (config / "config.yaml").write_text(yaml.safe_dump({"datasets": {"folder": folder}}))
    (config / "packages.yaml").write_text(yaml.safe_dump({"packages": {}}))
    prompts = {"name": "plain", "templates": ["a photo of {c}"]}
    (config / "prompts" / "plain.yaml").write_text(yaml.safe_dump(prompts))
    for name, entry in entries.items():
        (config / "datasets" / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, **entry}))
    return root


def entry(**changes: Any) -> dict[str, Any]:
    """Return an entry of a made-up dataset: an archive of class folders."""
    return {
        "title": "Pets",
        "licence": "CC0",
        "citation": "nobody",
        "layout": "image-folder",
        "class_names": ["cat", "dog"],
        "prompts": "plain",
        "splits": {"test": 6},
        "evaluate": ["test"],
        **changes,
    }


def image(colour: tuple[int, int, int], side: int = 12) -> bytes:
    """Return a PNG of one colour."""
    stream = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), colour, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def tar(members: dict[str, bytes]) -> bytes:
    """Return a gzipped tar archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def pets(n: int = 3, top: str = "pets/") -> dict[str, bytes]:
    """Return n images a class by their names in the archive; cats are red, dogs blue."""
    return {
        f"{top}{name}/{index}.png": image((10 * index, 0, blue))
        for name, blue in (("cat", 0), ("dog", 200))
        for index in range(n)
    }


def pinned(name: str, content: bytes, **changes: Any) -> dict[str, Any]:
    """Return a file of an entry with its true checksum and size."""
    sha256 = hashlib.sha256(content).hexdigest()
    return {"file": name, "size": len(content), "sha256": sha256, **changes}
