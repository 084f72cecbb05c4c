"""`wiseft plan` counts the jobs that the workflow plans."""

from __future__ import annotations

import pytest

from wiseft.config import Catalogue
from wiseft.plan import PEAKS, Assumptions, estimate


@pytest.mark.parametrize("experiment", ["digits", "imagenet"])
def test_jobs_are_those_of_the_workflow(project, plan, experiment):
    jobs = plan(project, experiment=experiment)
    given = Assumptions("a100", PEAKS["a100"])
    counted = estimate(Catalogue(project), experiment, given).jobs
    for stage in ("zeroshot", "finetune", "search", "baseline", "interpolate"):
        assert jobs.get(stage, 0) == counted.get(stage, 0), stage
    evaluations = sum(n for rule, n in jobs.items() if rule.startswith("evaluate"))
    assert evaluations == counted["evaluate"]
    prepared = sum(n for rule, n in jobs.items() if rule.startswith("data_prepare"))
    assert prepared == counted["datasets"]
