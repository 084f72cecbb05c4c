"""A sweep with an evaluation of one's own on Slurm: a job an alpha, and the command's tables."""

from __future__ import annotations

from pathlib import Path

import yaml
from tests.cluster.conftest import Submission, edit_site, new_project
from tests.cluster.loopback import Loopback, rule_of
from tests.sweep.own import ROLES, ends, runs, script

import wiseft


def test_an_alpha_is_a_job_and_tables_are_those_of_the_command(slurm: Loopback, tmp_path: Path):
    folder = new_project(tmp_path / "project")
    edit_site(folder, partition="cpu", gpu_partition="gpu")
    z, f = ends(folder)
    entry = {"zero_shot": z.name, "fine_tuned": f.name, "output": "out", "held_out": "val"}
    entry |= {"reference": "test", "shift": ["other"], "alphas": [], "evaluate": script(folder)}
    entry["resources"] = {"gpu": 1, "runtime": 30}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(entry))
    asked = ("-s", "workflow/sweep.smk", "--configfile", "sweep.yaml")
    with Submission(folder, *asked, experiment=None) as submission:
        assert submission.wait(1200) == 0, submission.output[-6000:] + slurm.logs()
    points = [job for job in slurm.jobs() if rule_of(job) == "point"]
    (last,) = [job for job in slurm.jobs() if rule_of(job) == "sweep"]
    asked_for = {(job["TresPerJob"], job["Partition"], job["TimeLimit"]) for job in points}
    assert len(points) == runs(folder) == 3
    assert asked_for == {("gres/gpu:1", "gpu", "00:30:00")}
    assert "TresPerJob" not in last and last["Partition"] == "cpu"
    wiseft.sweep_with(z, f, entry["evaluate"], tmp_path / "own", **ROLES, alphas=[])
    for name in ("table.csv", "table.parquet", "gains.csv", "predictions.parquet"):
        mine, theirs = folder / "out" / name, tmp_path / "own" / name
        assert mine.read_bytes() == theirs.read_bytes(), name
