"""Models that are folders, whose files are edited in place: sweeps compute again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from tests.sweep.conftest import CLASSES, clip_config, save_clip_folder, write_images
from tests.sweep.own import GRID, ROLES, SCRIPT, ends, runs, script

import wiseft
from wiseft.errors import WiseftError
from wiseft.tool.own_points import measure_one

IN_FOLDER = SCRIPT.replace("sys.argv[1]", "sys.argv[1] + '/model.safetensors'")
BESIDE = {
    "config.json": {"architectures": ["Scores"], "n_heads": 2},
    "tokenizer.json": {"model": {"vocab": {"good": 0, "bad": 1}}},
    "tokenizer_config.json": {"bos_token": "<s>"},
}
EDITED = {
    "config.json": '{"architectures": ["Scores"], "n_heads": 4}',
    "tokenizer.json": '{"model": {"vocab": {"good": 1, "bad": 0}}}',
    "chat_template.jinja": "{{ messages }}",
}


def folders(root: Path) -> tuple[Path, Path]:
    """Write both models as folders with a configuration and a tokenizer."""
    found = []
    for file in ends(root):
        folder = file.with_suffix("")
        folder.mkdir()
        file.rename(folder / "model.safetensors")
        for name, content in BESIDE.items():
            (folder / name).write_text(json.dumps(content))
        found.append(folder)
    return found[0], found[1]


@pytest.mark.parametrize("name", EDITED)
def test_an_edited_file_beside_the_weights_is_evaluated_again(name, tmp_path):
    both, command = folders(tmp_path), script(tmp_path, IN_FOLDER)

    def sweep():
        return wiseft.sweep_with(*both, command, tmp_path / "out", **ROLES, alphas=[])

    sweep()
    assert runs(tmp_path) == 3
    (both[1] / "README.md").write_text("no program reads this")
    sweep()
    assert runs(tmp_path) == 3, "nothing that a model is loaded with has changed"
    for folder in both if name in BESIDE else both[1:]:
        (folder / name).write_text(EDITED[name])
    found = sweep()
    assert runs(tmp_path) == 6
    assert (found.model_path / name).read_text() == EDITED[name]
    measure_one(*both, command, tmp_path / "out", 0.5)
    assert runs(tmp_path) == 6, "a job finds the new results"


def test_a_sweep_of_images_computes_again_after_an_edit_of_its_folders(tmp_path):
    both = []
    for seed, name in enumerate("zf"):
        torch.manual_seed(seed)
        model = transformers.CLIPModel(clip_config())
        with torch.no_grad():
            for tensor in model.parameters():
                tensor.normal_(std=0.3)
        both.append(save_clip_folder(model, tmp_path / name))
    photos = write_images(tmp_path / "photos", 9, 1, CLASSES)
    shift = write_images(tmp_path / "sketches", 9, 2, CLASSES)

    def sweep(out: str):
        return wiseft.sweep(*both, photos, [shift], tmp_path / out, alphas=[], alpha=1).table

    before = sweep("out")
    for folder in both:
        file = next(folder.glob("p*processor_config.json"))
        said = json.loads(file.read_text())
        said.get("image_processor", said)["image_mean"] = [0.9, 0.1, 0.5]
        file.write_text(json.dumps(said))
    after = sweep("out")
    assert after.equals(sweep("fresh")) and not after.equals(before)


@pytest.mark.parametrize("jobs", [1, 3])
def test_room_is_for_all_models_that_are_on_the_disk_at_once(jobs, tmp_path, monkeypatch):
    both, command = folders(tmp_path), script(tmp_path, IN_FOLDER)
    size = sum(file.stat().st_size for file in both[1].iterdir())
    monkeypatch.setattr("wiseft.base.io.MARGIN", 0)
    free = type("Usage", (), {"free": jobs * size - 1})
    monkeypatch.setattr("wiseft.base.io.shutil.disk_usage", lambda path: free)
    how = {**ROLES, **GRID, "jobs": jobs}
    what = "a model between the two" if jobs == 1 else "room for 3 models at once"
    with pytest.raises(WiseftError, match=f"{what} needs"):
        wiseft.sweep_with(*both, command, tmp_path / "out", **how)
    assert runs(tmp_path) == 0
    free.free += 1
    assert wiseft.sweep_with(*both, command, tmp_path / "out", **how).record.alphas[1] == 0.25
