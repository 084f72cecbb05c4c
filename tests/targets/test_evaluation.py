"""What an evaluation is told: its precision, which identifies it, and how, which does not."""

import shutil
from pathlib import Path

from tools.predictions import recipe

from wiseft.study.targets import Targets

REPOSITORY = Path(__file__).parents[2]


def read(root: Path, **changes) -> Targets:
    return Targets.read(root, {"experiment": "landscape", **changes})


def test_precision_is_the_model_s_and_part_of_what_is_evaluated(
    tmp_path: Path, monkeypatch
) -> None:
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    plain = read(tmp_path)
    (model,) = plain.models
    entry = tmp_path / "config" / "models" / f"{model}.yaml"
    before = plain.told.identity(model, "end-to-end", "0")
    assert "precision" not in before
    entry.write_text(entry.read_text() + "precision: bf16\n")
    changed = read(tmp_path)
    assert changed.told.identity(model, "end-to-end", "0") == f"{before} --precision bf16"
    # Nothing before the evaluation is made again.
    for told in ("weights", "preprocessing"):
        assert getattr(changed.told, told)(model) == getattr(plain.told, told)(model)
    assert recipe(changed) != recipe(plain)


def test_how_is_in_the_environment_of_commands_alone() -> None:
    plain = read(REPOSITORY).told.environment()
    how = {"evaluation": {"how": {"batch_size": 64, "compile": True}}, "device_memory_gb": 24}
    variables = read(REPOSITORY, **how).told.environment().removeprefix(plain).split()
    expected = ["DEVICE_MEMORY_GB=24.0", "BATCH_SIZE=64", "COMPILE=True"]
    assert variables == [f"WISEFT_{each}" for each in expected]


def test_the_folder_of_a_node_is_in_the_environment_alone() -> None:
    plain, node = read(REPOSITORY), read(REPOSITORY, datasets={"node": "$TMPDIR/${USER}"})
    added = node.told.environment().removeprefix(plain.told.environment())
    assert added == " WISEFT_NODE='$TMPDIR/${{USER}}'"  # a shell on the node gets it unfilled
    assert node.told.places() == plain.told.places()
    assert recipe(node) == recipe(plain)
