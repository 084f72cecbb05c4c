"""What the rules share: the experiment as one object, and what only Snakemake makes of it."""

import re
import sys
from pathlib import Path

from snakemake.logging import logger
from snakemake.utils import min_version

try:
    import wiseft.study.targets
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"{sys.executable} runs Snakemake and finds no {error.name}. The rules need this workflow's"
        " package there: `make venv`, or `pip install .` in a clone of the workflow."
    ) from None

from wiseft.base.alphas import ALPHA_REGEX
from wiseft.study.config import paths
from wiseft.errors import WiseftError
from wiseft.study.plan.failures import failure_summary
from wiseft.study.plan import owner, resources as plan_resources
from wiseft.base.messages import shown
from wiseft.base.stages import VERSION
from wiseft.study.targets import Handed, repeat, Targets

min_version("9.19")

HANDED = Handed(workflow.storage_settings.default_storage_provider)
try:
    TARGETS = Targets.read(".", config)
    TARGETS.check(HANDED.travels)
except WiseftError as error:
    raise WorkflowError(str(error)) from None

# Before anything is locked, so that a run that is killed at any time holds up no later one.
OWNER = None
if workflow.is_main_process and not workflow.output_settings.dryrun:
    OWNER = shown(logger.warning)(owner.begin)()


onstart:
    owner.claim(OWNER, getattr(workflow.persistence, "_lockfile", {}).values())


NAME, EXPERIMENT = TARGETS.name, TARGETS.experiment
DATA, FILES, TOLD = TARGETS.data, TARGETS.files, TARGETS.told
STORED, JOBS, CODE = TARGETS.stored, TARGETS.jobs, TARGETS.code
RESOURCES = plan_resources.Resources(TARGETS)
ROOT = DATA.folder
RUN = "{model}__{reference}__{method}"


# The commands are those of the container or of the Python that runs the workflow. OpenMP threads
# that spin would take the cores of jobs beside them. No job but a fetch uses the network.
# How a training is carried out is no parameter of its rule: it must not make a model again.
shell.prefix(
    f"export {TOLD.commands(workflow.deployment_settings.deployment_method)}{TOLD.environment()}"
    " OMP_WAIT_POLICY=passive HF_HUB_OFFLINE=1; "
)


wildcard_constraints:
    alpha=ALPHA_REGEX,
    seed=r"0|[1-9]\d*",
    reference=re.escape(TARGETS.reference),


def one_of(names):
    """Return a regular expression for exactly these names; for none of them, one without match."""
    return "|".join(re.escape(name) for name in sorted(set(names))) or r"(?!)"


def reported(name, path):
    """Return the file of a table; one that can be read as text stands in the report."""
    entry = {"caption": "../report/tables.rst", "category": "Tables of numbers"}
    labels = {"table": name.removesuffix("_csv")}
    return report(path, labels=labels, **entry) if path.suffix == ".csv" else path
