"""`wiseft sweep Z F`: from two checkpoints and folders to tables, a page and a model that loads."""

from __future__ import annotations

import torch
from tests.sweep.conftest import HEAD, photo

from wiseft.sweep.loading import loading_example
from wiseft.sweep.record import Result
from wiseft.sweep.run import sweep
from wiseft.sweep.show import summary


def run(z, f, photos, output, shifts=("sketches", "paintings", "camera"), **options) -> Result:
    options = {"architecture": "Tiny", "say": print, "alphas": [0.25, 0.75]} | options
    folders = [photos / name for name in shifts]
    return sweep(z, f, photos / "photos", folders, output, **options)


def test_open_clip(clips, photos, tmp_path, monkeypatch):
    for name, weights in zip(("z.pt", "f.pt"), clips, strict=True):
        torch.save({"state_dict": weights, "epoch": 3}, tmp_path / name)
    result = run(tmp_path / "z.pt", tmp_path / "f.pt", photos, tmp_path / "out")
    print(summary(result))
    photo(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(loading_example(result))
