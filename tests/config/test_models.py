"""Entries of models: what each source needs, and what it may not have."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue
from wiseft.study.config.entries import ModelEntry

PIXELS = {"size": 32, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
COMMIT = "a" * 40
PACKAGE = {"key": "mine", "member": "mine.pth"}


def entry(source: str, **keys: object) -> ModelEntry:
    about = {"name": "mine", "title": "Mine", "source": source, "preprocessing": PIXELS}
    return ModelEntry.model_validate(about | keys)


@pytest.mark.parametrize(
    ("source", "keys", "fetched"),
    [
        ("pretrain", {"architecture": "mine.json", "pretrain": {}}, False),
        ("file", {}, False),
        ("file", {"architecture": "mine.json"}, False),
        ("file", {"path": "checkpoints/mine.pt", "architecture": "ViT-B-32"}, True),
        ("file", {"path": "checkpoints/folder", "sha256": "0" * 64}, True),
        ("open_clip", {"architecture": "ViT-B-32", "pretrained": "openai"}, True),
        (
            "open_clip",
            {"architecture": "ViT-B-32", "pretrained": "openai", "revision": COMMIT},
            True,
        ),
        ("open_clip", {"repository": "laion/CLIP-ViT-B-32"}, True),
        ("align", {"repository": "kakaobrain/align-base", "calibrate": "train"}, True),
        ("timm", {"architecture": "vit_base_patch16_224.augreg_in21k"}, True),
        ("timm", {"architecture": "vit_base_patch16_224.x", "label_map": "map.json"}, True),
        ("timm", {"architecture": "vit_base_patch16_224.x", "package": PACKAGE}, True),
    ],
)
def test_what_a_source_needs_is_enough(source: str, keys: dict, fetched: bool) -> None:
    assert entry(source, **keys).fetched is fetched


@pytest.mark.parametrize(
    ("source", "keys", "message"),
    [
        ("pretrain", {"architecture": "mine.json"}, "must then have pretrain"),
        ("pretrain", {"pretrain": {}}, "must then have architecture"),
        ("pretrain", {"architecture": "ViT-B-32", "pretrain": {}}, "needs a file that ends"),
        ("file", {"pretrain": {}}, "pretrain is given, which it has not"),
        ("file", {"sha256": "0" * 64}, "sha256 is given without path"),
        ("open_clip", {"architecture": "ViT-B-32"}, "architecture and pretrained, or repository"),
        ("open_clip", {}, "architecture and pretrained, or repository"),
        (
            "open_clip",
            {"architecture": "ViT-B-32", "pretrained": "openai", "repository": "a/b"},
            "architecture and pretrained, or repository",
        ),
        ("open_clip", {"repository": "a/b", "path": "x.pt"}, "path is given"),
        ("align", {}, "must then have repository"),
        ("align", {"repository": "a/b", "label_map": "map.json"}, "label_map is given"),
        ("timm", {"repository": "a/b"}, "must then have architecture"),
        ("file", {"package": PACKAGE}, "package is given, which it has not"),
        (
            "timm",
            {"architecture": "x", "package": PACKAGE, "sha256": "0" * 64},
            "weights come from one place",
        ),
        ("timm", {"architecture": "x", "revision": "main"}, "should match pattern"),
        ("align", {"repository": "align-base"}, "should match pattern"),
        ("timm", {"architecture": "../x"}, "should match pattern"),
        ("jft", {}, "Input should be 'pretrain', 'file', 'open_clip', 'align' or 'timm'"),
    ],
)
def test_what_does_not_belong_to_a_source_is_refused(source: str, keys: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        entry(source, **keys)


def test_random_weights_need_an_architecture_in_a_file() -> None:
    catalogue = Catalogue(".")
    mine = entry("open_clip", architecture="ViT-B-32", pretrained="openai")
    with pytest.raises(WiseftError, match=r"mine\.yaml: architecture is ViT-B-32, but training"):
        catalogue.architecture_path(mine)
    local = entry("file", architecture="mine.json")
    assert catalogue.architecture_path(local).name == "mine.json"
