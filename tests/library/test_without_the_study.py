"""Who has two checkpoints runs no line of the study."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.evaluate.conftest import CLASSES, tiny_header, tiny_tensors
from tests.sweep.conftest import write_images
from tests.sweep.own import ends, script

from wiseft.thetas.theta import save_theta

PROGRAM = """
import json, sys
from wiseft.cli import main
for arguments in json.load(sys.stdin):
    try:
        main(arguments)
    except SystemExit as end:
        assert not end.code, arguments
print(*(name for name in sys.modules if name.startswith("wiseft.study")), file=sys.stderr)
"""


def test_sweeps_merges_and_scores_load_nothing_of_the_study(tmp_path: Path) -> None:
    z, f = (str(tmp_path / f"{name}.safetensors") for name in ("theta_0", "theta_1"))
    for seed, path in enumerate((z, f)):
        save_theta(Path(path), tiny_tensors(seed), tiny_header())
    photos, sketches = (
        str(write_images(tmp_path / name, 8, seed, CLASSES))
        for seed, name in enumerate(("photos", "sketches"))
    )
    own = [*map(str, ends(tmp_path)), "--evaluate", script(tmp_path), "--held-out", "val"]
    own += ["--reference", "test", "--shift", "other", "--alphas", "0.5"]
    images = [z, f, "--reference", photos, "--shift", sketches, "--alphas", "0.5"]
    commands = [
        ["sweep", *images, "--output", str(tmp_path / "images")],
        ["sweep", *own, "--output", str(tmp_path / "own")],
        ["merge", z, f, "--output", str(tmp_path / "merged.safetensors")],
        ["score", f, photos],
    ]
    given = {"input": json.dumps(commands), "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", PROGRAM], **given)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == ""
    for name in ("images", "own"):  # both draw panels of shifts
        assert "between the two checkpoints" in (tmp_path / name / "curve.svg").read_text()
