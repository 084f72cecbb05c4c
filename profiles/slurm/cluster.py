"""What the profile finds out about a cluster before the first job is submitted.

`profile.yaml` runs this file with the choices of its site block and takes what depends on them, or
on the cluster, from here. Nothing here submits a job.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from wiseft.base.typed import Count, Entry
from wiseft.base.validation import validate
from wiseft.errors import WiseftError
from wiseft.study.plan.resources import CLUSTER_GPUS, LONGEST, Resources
from wiseft.study.targets import Targets
from wiseft.study.targets.jobs import TRAININGS
from wiseft.tool.own_jobs import OwnSweep

Job = tuple[str, ...]
"""Model and, where it has one, method."""

# The executor plugin looks at its jobs every 180 s at the latest, so that Slurm must keep a
# finished job longer than that, or else one may never be seen as finished.
LONGEST_WAIT_S = 180
FIRST_WAIT_S = 15
# A run's evaluations may share a submission, those of different runs not: all members wait for
# the inputs of all, and a run whose training failed would hold up the others.
GROUP = "evaluate-{model}-{method}-{seed}"


class Choices(Entry):
    """The site block of the profile, where each key is explained."""

    account: str | int | None = None
    partition: str | int | None = None
    gpu_partition: str | int | None = None
    gpu_request: Literal["gpus", "gres", "none"] = "gpus"
    gpu_model: str | int | dict[str, Annotated[float, Field(gt=0)]] | None = None
    sbatch_options: str | None = ""
    warning_seconds: Annotated[int, Field(ge=0)] = 120
    evaluations_per_job: Count = 1
    status_command: Literal["auto", "sacct", "squeue"] = "auto"
    longest_minutes: Count | None = None
    resources: dict[str, dict[str, Any]] = Field({})


class Cluster:
    """The keys of the profile that depend on the site.

    Args:
        choices: the site block.
        arguments: the command line of Snakemake.

    Raises:
        WiseftError: if the cluster refuses the requests that the profile makes.
    """

    def __init__(self, choices: Choices, arguments: Sequence[str]):
        self.choices = choices
        self._targets, self._sweep = _targets(arguments), _sweep(arguments)
        self._jobs = self._targets.jobs if self._targets else None
        self._with_gpus = choices.gpu_request != "none"
        # The rules ask this process what their jobs take (wiseft.study.plan.resources).
        os.environ[CLUSTER_GPUS] = "1" if self._counts()[0] else ""
        os.environ[LONGEST] = str(choices.longest_minutes or "")
        self._by_job = self._asked()
        self.status_command = "squeue"
        self.first_status_check = FIRST_WAIT_S
        if shutil.which("sbatch") is None:
            _say("warning: there is no sbatch here; this profile can plan, but not submit")
            return
        self._find_status_command()
        self._try_requests()
        if re.search(r"^PreemptMode\s*=.*CANCEL", _configuration(), re.M):
            _say(
                "warning: this cluster cancels what it pre-empts (PreemptMode), and Snakemake "
                "waits for such a job for ever; use a partition or QOS that is not pre-empted"
            )

    @property
    def default_resources(self) -> dict[str, Any]:
        """What every job asks for that its rule does not ask for itself."""
        options = [self.choices.sbatch_options]
        if self.choices.warning_seconds:
            options.append(f"--signal=TERM@{self.choices.warning_seconds}")
        chosen = {
            "slurm_account": self.choices.account,
            "slurm_partition": self.choices.partition,
            "slurm_extra": " ".join(filter(None, options)) or None,
        }
        resources = {key: _text(value) for key, value in chosen.items() if value is not None}
        return {**resources, **({"turn": 1} if self.choices.evaluations_per_job > 1 else {})}

    @property
    def set_resources(self) -> dict[str, dict[str, Any]]:
        """What single rules ask for: GPUs, and what the site block adds or replaces."""
        asked = {rule: _together(of_jobs) for rule, of_jobs in self._by_job.items()}
        for name, more in self.choices.resources.items():
            for rule in self._jobs.rules_of(name) if self._jobs else [name]:
                asked[rule] = {**asked.get(rule, {}), **more}
        return asked

    @property
    def groups(self) -> dict[str, str]:
        """The group that the evaluations of a run form, by rule."""
        together = self._jobs and self.choices.evaluations_per_job > 1
        return dict.fromkeys(self._jobs.evaluations, GROUP) if together else {}

    @property
    def group_components(self) -> dict[str, int]:
        """How many evaluations go into one submission."""
        return {GROUP: self.choices.evaluations_per_job} if self.groups else {}

    def _counts(self, *of: str) -> tuple[dict[str, int], dict[str, int]]:
        """Return the GPUs of jobs by rule, and the CPUs of those that need several.

        Args:
            of: model and method.
        """
        if self._jobs is None:
            return {}, {}
        gpus = self._jobs.gpus_of_cluster(*of) if self._with_gpus else {}
        return gpus, self._jobs.cpus_of_cluster(gpus, *of)

    def _asked(self) -> dict[str, dict[Job, dict[str, Any]]]:
        """Return what the jobs of each rule ask for, by model and method."""
        if self._sweep:
            return self._asked_by_points(self._sweep)
        if self._targets is None:
            return {}
        resources = Resources(self._targets)
        jobs: dict[str, list[Job]] = {}
        for rule, *of in resources.jobs():
            jobs.setdefault(rule, []).append(tuple(of))
        asked: dict[str, dict[Job, dict[str, Any]]] = {}
        gpus, cpus = self._counts()
        for rule in {**gpus, **dict.fromkeys([*cpus, *TRAININGS])}:
            counted = "zeroshot" if rule == "zeroshot_own_head" else rule
            for of in jobs.get(counted, [()]):
                gpus, cpus = self._counts(*of)
                memory = resources.gpu_mem_mb(counted, *of) if of else 0
                found = self._gpu_resources(gpus[rule], self._kind(memory)) if rule in gpus else {}
                found |= {"cpus_per_task": cpus[rule]} if rule in cpus else {}
                if found:
                    asked.setdefault(rule, {})[of] = found
        return asked

    def _asked_by_points(self, sweep: OwnSweep) -> dict[str, dict[Job, dict[str, Any]]]:
        """Return what the alphas of workflow/sweep.smk ask for; a GPU is of the largest kind."""
        gpus, kind = sweep.resources.get("gpu"), sweep.resources.get("gpu_model")
        if not (self._with_gpus and gpus and isinstance(gpus, int)):
            return {}
        return {"point": {(): self._gpu_resources(gpus, kind or self._kind(math.inf))}}

    def _kind(self, memory_mb: float) -> str | int | None:
        """Return the kind of GPU that a job asks for: of several the smallest that holds it."""
        model = self.choices.gpu_model
        if not isinstance(model, dict):
            return model
        kinds = sorted(model, key=lambda kind: model[kind])
        return next((kind for kind in kinds if 1000 * model[kind] >= memory_mb), kinds[-1])

    def _gpu_resources(self, count: int, model: str | int | None) -> dict[str, Any]:
        if self.choices.gpu_request == "gres":
            kind = f"gpu:{model}" if model else "gpu"
            resources: dict[str, Any] = {"gpu": 0, "gres": f"{kind}:{count}"}
        else:
            resources = {"gpu": count, **({"gpu_model": str(model)} if model else {})}
        if count > 1:
            resources["nodes"] = 1  # else Slurm may give GPUs of several
        if self.choices.gpu_partition:
            resources["slurm_partition"] = str(self.choices.gpu_partition)
        return resources

    def _find_status_command(self) -> None:
        """Take sacct if accounting answers, else squeue, and check that squeue can tell."""
        chosen = self.choices.status_command
        self.status_command = (
            ("sacct" if _accounting_answers() else "squeue") if (chosen == "auto") else chosen
        )
        if self.status_command == "sacct":
            return
        kept = _min_job_age()
        if kept is None:
            return
        if kept <= LONGEST_WAIT_S:
            raise WiseftError(
                f"the end of a job cannot be seen here: accounting (sacct) does not answer, and "
                f"the controller forgets a finished job after {kept} s (MinJobAge), but must keep "
                f"it for more than {LONGEST_WAIT_S} s. Ask the site for accounting or a MinJobAge "
                "of 300, or run inside one allocation without this profile "
                "(docs/running.md)"
            )
        # The plugin would go back to sacct if a job could be gone after three first checks.
        self.first_status_check = min(FIRST_WAIT_S, kept // 3)

    def _try_requests(self) -> None:
        """Let sbatch check, without submitting, what jobs with and without a GPU ask for."""
        common = _options(account=self.choices.account)
        cpu = [*common, *_options(partition=self.choices.partition)]
        requests = [("without a GPU", cpu)]
        partition = self.choices.gpu_partition or self.choices.partition
        every = [asked for of_jobs in self._by_job.values() for asked in of_jobs.values()]
        largest: dict[Any, dict[str, Any]] = {}  # with a GPU, of each kind
        for asked in sorted(every, key=_size):
            if "gpu" in asked:
                kind = asked.get("gpu_model") or asked.get("gres", "").rpartition(":")[0]
                largest[kind] = asked
        for asked in largest.values():
            gpu = f"--gres={asked['gres']}" if "gres" in asked else f"--gpus={asked['gpu']}"
            if "gpu_model" in asked:
                gpu = f"--gpus={asked['gpu_model']}:{asked['gpu']}"
            more = _options(nodes=asked.get("nodes"))
            more += [f"--cpus-per-task={asked.get('cpus_per_task', 1)}"]
            requests.append(("with a GPU", [*common, *_options(partition=partition), gpu, *more]))
        for kind, options in requests:
            command = ["sbatch", "--test-only", *options, "--time=10", "--wrap=true"]
            done = _run(*command)
            if done.returncode != 0:
                raise WiseftError(_refusal(kind, " ".join(options), done.stderr))


def cluster(site: dict[str, Any], arguments: Sequence[str] | None = None) -> Cluster:
    """Return what the profile needs, given its site block; leave with a sentence if it can't."""
    try:
        choices = validate(Choices, site, "the site block")
        return Cluster(choices, sys.argv[1:] if arguments is None else arguments)
    except WiseftError as error:
        sys.exit(f"error: profiles/slurm: {error}")


def _targets(arguments: Sequence[str]) -> Targets | None:
    """Return the experiment, read as the workflow reads it; where its settings are wrong, the
    workflow says so, and not the profile. A sweep (workflow/sweep.smk) has none.
    """
    given = _overrides(arguments)
    try:
        return None if "evaluate" in given else Targets.read(".", given)
    except WiseftError:
        return None


def _sweep(arguments: Sequence[str]) -> OwnSweep | None:
    """Return the configuration of workflow/sweep.smk, likewise."""
    given = _overrides(arguments)
    try:
        return OwnSweep.read(given) if "evaluate" in given else None
    except WiseftError:
        return None


def _size(asked: dict[str, Any]) -> tuple[int, int]:
    gpus = str(asked.get("gres", asked.get("gpu", 0))).rpartition(":")[2]
    return int(gpus), asked.get("cpus_per_task", 1)


def _together(of_jobs: dict[Job, dict[str, Any]]) -> dict[str, Any]:
    """Return what a rule asks for: the same for all its jobs, or by model and method."""
    asked: dict[str, Any] = {}
    for key in dict.fromkeys(key for one in of_jobs.values() for key in one):
        values = {of: one.get(key, 1) for of, one in of_jobs.items()}  # one node, one CPU
        first = next(iter(values.values()))
        if len(set(values.values())) == 1:
            asked[key] = _text(first) if isinstance(first, str) else first
        else:
            names = ["wildcards.model", "wildcards.method"][: len(next(iter(values)))]
            asked[key] = f"{values!r}[{', '.join(names)},]"
    return asked


def _overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """Return what `--configfile FILE ...` and `--config key=value ...` give; the latter wins."""
    files: dict[str, Any] = {}
    given: dict[str, Any] = {}
    option = ""
    for argument in arguments:
        if argument.startswith("-"):
            option, _, argument = argument.partition("=")
        key, equals, value = argument.partition("=")
        if option in ("--config", "-C") and equals:
            given[key] = yaml.safe_load(value)
        elif option in ("--configfile", "--configfiles") and Path(argument).is_file():
            files |= yaml.safe_load(Path(argument).read_text()) or {}
    return {**files, **given}


def _accounting_answers() -> bool:
    if shutil.which("sacct") is None:
        return False
    return _run("sacct", "-X", "--noheader", "--starttime=now-1minutes").returncode == 0


def _min_job_age() -> int | None:
    """Return for how long the controller keeps a finished job, in seconds."""
    setting = re.search(r"^MinJobAge\s*=\s*(\d+)", _configuration(), re.M)
    return int(setting[1]) if setting else None


def _configuration() -> str:
    return _run("scontrol", "show", "config").stdout


def _refusal(kind: str, options: str, message: str) -> str:
    told = " ".join(line.split("error: ", 1)[-1] for line in message.strip().splitlines())
    hints = {
        "account": "`account` (yours: `sacctmgr show associations user=$USER format=account`)",
        "partition": "`partition` and `gpu_partition` (those there are: `sinfo -o '%R %G %l'`)",
        "gpu|gres|node configuration": "`gpu_request`, `gpu_model` and `gpu_partition` "
        "(GPUs there are: `sinfo -o '%R %G'`)",
    }
    keys = [hint for words, hint in hints.items() if re.search(words, told, re.I)]
    return (
        f"this cluster refuses a job {kind} (sbatch {options or 'without options'}): {told}. "
        f"Set {' or '.join(keys) or 'what it asks for'} in the site block of "
        "profiles/slurm/profile.yaml"
    )


def _run(*command: str, seconds: float = 20) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 124, "", str(error))


def _options(**values: Any) -> list[str]:
    return [f"--{key}={value}" for key, value in values.items() if value is not None]


def _text(value: Any) -> str:
    """Return a value such that Snakemake, which evaluates expressions, takes it for text."""
    return repr(str(value))


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
