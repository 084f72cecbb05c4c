"""Sweeps of folders with links: the Hub's cache, and a stranger's link to a file of the user's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
import transformers
from tests.sweep.conftest import clip_config, save_clip_folder

from wiseft.errors import WiseftError
from wiseft.tool.sweep import sweep


def saved(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    save_clip_folder(transformers.CLIPModel(clip_config()), folder)
    return folder


def as_snapshot(folder: Path) -> Path:
    """Lay a folder out as the Hub's cache does; tests/weights/test_folders.py has the real one."""
    snapshot = folder.with_name(f"models--{folder.name}") / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parent.parent / "blobs").mkdir()
    for path in folder.iterdir():
        blob = hashlib.sha256(path.read_bytes()).hexdigest()
        path.rename(snapshot.parent.parent / "blobs" / blob)
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob)
    return snapshot


def test_snapshots_are_swept_and_a_strangers_link_is_not(photos, tmp_path):
    z, f = (as_snapshot(saved(tmp_path / name, seed)) for seed, name in enumerate("zf"))
    shifts, quiet = [photos / "sketches"], {"alphas": []}
    result = sweep(z, f, photos / "photos", shifts, tmp_path / "out", **quiet)
    files = list(result.model_path.iterdir())
    assert "preprocessor_config.json" in {path.name for path in files}
    assert not any(path.is_symlink() for path in files)
    transformers.CLIPModel.from_pretrained(result.model_path)
    (tmp_path / "id_rsa").write_text("secret")
    (f / "special_tokens_map.json").symlink_to(tmp_path / "id_rsa")
    expected = r"special_tokens_map\.json is a link out of its folder, .* Put a copy of the file"
    with pytest.raises(WiseftError, match=expected):
        sweep(z, f, photos / "photos", shifts, tmp_path / "other", **quiet)
    assert not (tmp_path / "other" / "model").exists()
