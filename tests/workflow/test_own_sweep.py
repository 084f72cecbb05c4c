"""workflow/sweep.smk: a sweep with an evaluation of one's own, one job an alpha."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tests.processes import run_module
from tests.sweep.own import GRID, ROLES, SCRIPT, ends, runs, script
from tests.workflow.conftest import ROOT, job_counts
from tools.rehearsal.server import serving

import wiseft
from wiseft.errors import WiseftError
from wiseft.tool.own_jobs import OwnSweep
from wiseft.tool.record import read_record

TEMPLATE = ROOT / "workflow" / "sweep.yaml"
FAIL = """
import pathlib, sys
if sys.argv[2] == "0.25" and not pathlib.Path(__file__).with_name("go").exists():
    sys.exit("no GPU")
"""
FILES = ["table.csv", "table.parquet", "table.json", "gains.csv", "predictions.parquet"]
FILES += ["index.html", "curve.png", "model/f.safetensors"]


def configuration(folder: Path, **more: object) -> dict:
    """Write a sweep's configuration; what it evaluates notes every run."""
    z, f = ends(folder)
    entry = {"zero_shot": str(z), "fine_tuned": str(f), "output": "out", "held_out": "val"}
    entry |= {"reference": "test", "shift": ["other"], **GRID}
    entry["evaluate"] = script(folder, FAIL + SCRIPT) + " {alpha}"
    (folder / "sweep.yaml").write_text(yaml.safe_dump(entry | more))
    return entry


@pytest.mark.slow
def test_tables_are_those_of_the_command_and_a_failed_run_continues(tmp_path, every_format):
    entry = configuration(tmp_path)
    where = ("-s", str(ROOT / "workflow" / "sweep.smk"), "--configfile", "sweep.yaml")
    with serving(tmp_path / "commands") as variables:

        def snakemake() -> tuple[int, str]:
            asked = (*where, "--cores", "2", "--keep-going")
            done = run_module(tmp_path, "snakemake", *asked, variables=variables)
            return done.returncode, done.stdout

        code, said = snakemake()
        assert code == 1 and runs(tmp_path) == 5, said
        assert "no GPU" in (tmp_path / "logs" / "sweep" / "0.250.log").read_text()
        assert [path.name for path in (tmp_path / "out").iterdir()] == [".work"]
        assert not list((tmp_path / "out" / ".work").glob("point.tmp-*")), "no scratch is left"
        (tmp_path / "go").touch()
        code, said = snakemake()
        assert code == 0, said
        assert runs(tmp_path) == 6, "the others are kept"
        paths = [entry["zero_shot"], entry["fine_tuned"], entry["evaluate"]]
        wiseft.sweep_with(*paths, tmp_path / "own", **ROLES, **GRID)
        for name in FILES:
            mine, theirs = (tmp_path / each / name for each in ("out", "own"))
            assert mine.read_bytes() == theirs.read_bytes(), name
        ran = runs(tmp_path)
        configuration(tmp_path, held_out="other", shift=["val"])
        code, said = snakemake()
        assert code == 0 and re.search(r"^sweep +1$", said, re.MULTILINE), said
        assert read_record(tmp_path / "out").sets[0].n == {"held-out": 60, "test": 50}
        wiseft.sweep_with(*paths, tmp_path / "out", **ROLES, alphas=[0.3])
        assert runs(tmp_path) == ran + 1, "the command finds the results of the jobs"


def test_an_edited_file_of_a_folder_runs_the_jobs_again(tmp_path):
    z, f = (Path(each).with_suffix("") for each in ends(tmp_path))
    for folder in (z, f):
        folder.mkdir()
        folder.with_suffix(".safetensors").rename(folder / "model.safetensors")
        (folder / "config.json").write_text("{}")
    entry = {"zero_shot": str(z), "fine_tuned": str(f), "evaluate": script(tmp_path)}
    entry |= {"output": "out", "held_out": "val", "reference": "test", "shift": ["other"], **GRID}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(entry))
    points = tmp_path / "out" / ".work" / "alphas"
    points.mkdir(parents=True)
    for alpha in OwnSweep.read(entry).grid:
        (points / alpha).touch()
    asked = ["-s", str(ROOT / "workflow" / "sweep.smk"), "--configfile", "sweep.yaml"]
    asked += ["--rerun-triggers", "mtime", "-n"]

    def plan() -> dict[str, int]:
        return job_counts(run_module(tmp_path, "snakemake", *asked).stdout)

    assert plan() == {"sweep": 1}
    with (f / "config.json").open("a") as file:  # the folder keeps its own time
        file.write(" ")
    assert plan() == {"sweep": 1, "point": 5}


def test_the_template_has_every_key_and_its_default():
    text = TEMPLATE.read_text()
    given = yaml.safe_load(text)
    default = yaml.safe_load("\n".join(re.findall(r"^# (\w+: .*)$", text, re.MULTILINE)))
    assert given.keys() | default.keys() == OwnSweep.model_fields.keys()
    assert OwnSweep.read(given) == OwnSweep.read(given | default)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"budget": 7}, "unknown key `budget`"),
        ({"shift": "other"}, "key `shift` is"),
        ({"evaluate": "python my_eval.py"}, "has no {model}"),
        ({"alphas": [0.12345]}, "alpha 0.12345 has more than three decimals"),
    ],
)
def test_what_is_wrong_is_named_before_a_job(wrong, message):
    with pytest.raises(WiseftError, match=re.escape(message)):
        OwnSweep.read(yaml.safe_load(TEMPLATE.read_text()) | wrong)


def test_alphas_and_options_are_those_of_the_command():
    found = OwnSweep.read(yaml.safe_load(TEMPLATE.read_text()) | {"alphas": [0.3], "alpha": 0.25})
    assert found.grid == ["0.000", "0.250", "0.300", "0.500", "1.000"]
    odd = found.model_copy(update={"shift": ["a b", "c"], "keep": []})
    assert odd.options("held_out", "shift", "keep", "weights") == (
        "--held-out val --shift 'a b' --shift c"
    )
