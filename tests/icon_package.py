"""A package of icon sets in the form of ``@iconify/json``, and the two files that list them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from wiseft.study.data.builders import icon_sets

SQUARE = '<path fill="currentColor" d="M3 3h18v18H3z"/>'
BAR = '<path fill="currentColor" d="M2 10h20v4H2z"/>'
RING = '<circle cx="12" cy="12" r="8" fill="none" stroke="currentColor" stroke-width="2"/>'
RED = '<path fill="#f00" d="M3 3h18v18H3z"/>'
CROSS = '<path fill="currentColor" d="M10 2h4v8h8v4h-8v8h-4v-8H2v-4h8z"/>'

SETS: dict[str, dict[str, str]] = {
    "line-a": {"home-outline": RING, "home": BAR, "cup-of-tea": CROSS, "brand-x": BAR, "12": BAR},
    "line-b": {"house": SQUARE, "bell-filled": CROSS, "acme": BAR},
    "late": {"home": CROSS, "bell": RING},
    "emoji": {"house": RED, "bell": RED, "waving-hand-dark-skin-tone": RED},
}
LISTED = """
words: {end: [outline, filled], start: [], no_start: [brand], no_word: [skin]}
groups:
  web: [{designer: anna, sets: {line-a: null}}, {designer: eve, sets: {emoji: null}}]
  train: [{designer: bert, sets: {line-b: null}}]
  test: [{designer: carl, sets: {late: null}}]
classes: {home: [house], bell: []}
other_classes: {cup of tea: [], acme: []}
"""


def write_package(path: Path, licences: Mapping[str, str | None] | None = None) -> Path:
    """Write the package; `licences` are others than MIT, by set."""
    collections = {
        key: {
            "name": key.title(),
            "author": {"name": "A. N. Author"},
            "license": {"title": "x", **({"spdx": spdx} if spdx else {})},
            "palette": key == "emoji",
        }
        for key in SETS
        for spdx in [(licences or {}).get(key, "MIT")]
    }
    files: dict[str, Any] = {"collections.json": collections}
    for key, icons in SETS.items():
        bodies: dict[str, dict[str, Any]] = {name: {"body": body} for name, body in icons.items()}
        bodies["gone"] = {"body": BAR, "hidden": True}
        files[f"json/{key}.json"] = {"prefix": key, "width": 24, "height": 24, "icons": bodies}
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            data = json.dumps(content).encode()
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def use_listed(
    monkeypatch: pytest.MonkeyPatch, folder: Path, listed: str = LISTED, **left_out: Any
) -> str:
    """Put small files in the place of those of the project, and return their sum."""
    files = (folder / "icons.yaml", folder / "icons_left_out.json")
    files[0].write_text(listed)
    files[1].write_text(json.dumps({"brands": ["acme"], "left_out": {}} | left_out))
    monkeypatch.setattr(icon_sets, "FILES", files)
    icon_sets.listed.cache_clear()
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
