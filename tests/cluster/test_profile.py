"""The profile on machines whose Slurm is made up: no daemon runs, nothing is submitted."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from tests.cluster.conftest import NO_PLUGIN, edit_site, whole_batches_not_needed
from tests.processes import environment, run_module
from tests.workflow.conftest import DIGITS, ROOT, SMOKE, copy_project

from wiseft.study.plan.resources import CLUSTER_GPUS, LONGEST, Resources
from wiseft.study.targets import Targets
from wiseft.study.targets.jobs import FEEDING

KEPT = "echo 'MinJobAge               = {} sec'"
TRAININGS = ["finetune", "baseline"]
RULES = [
    "zeroshot",
    "zeroshot_own_head",
    "zeroshot_calibrated",
    "search",
    *TRAININGS,
    "evaluate_digits",
]

KINDS = {"gpu_model": {"t4": 16, "a100": 80}}
"""Kinds of GPUs in a site block."""

Keys = Callable[..., dict]


@pytest.fixture
def commands(tmp_path: Path) -> Callable[..., Path]:
    """Make commands of Slurm that answer as told, and that note how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(**bodies: str) -> Path:
        defaults = {"sbatch": "true", "sacct": "exit 1", "scontrol": KEPT.format(300)}
        for name, body in {**defaults, **bodies}.items():
            note = f'echo "{name} $*" >> {folder}/calls'
            (folder / name).write_text(f"#!/bin/sh\n{note}\n{body}\n")
            (folder / name).chmod(0o755)
        return folder

    return make


@pytest.fixture
def cluster(
    monkeypatch: pytest.MonkeyPatch, commands: Callable[..., Path]
) -> Callable[..., object]:
    """What the profile's Python finds, for a site block and made-up commands."""
    monkeypatch.chdir(ROOT)
    for name in (CLUSTER_GPUS, LONGEST):  # they are put back
        monkeypatch.setenv(name, "")
    found = runpy.run_path("profiles/slurm/cluster.py")["cluster"]

    def make(
        *arguments: str, site: dict | None = None, experiment: str | None = SMOKE, **bodies: str
    ):
        monkeypatch.setenv("PATH", f"{commands(**bodies)}:/usr/bin:/bin")
        config = ["--config", f"experiment={experiment}"] if experiment else []
        return found(site or {}, [*config, *arguments])

    return make


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "bin" / "calls").read_text().splitlines()


def test_where_accounting_answers_it_is_asked(cluster):
    assert cluster(sacct="exit 0").status_command == "sacct"


@pytest.mark.parametrize("sacct", ["exit 1", "echo 'Slurm accounting storage is disabled'; exit 1"])
def test_where_accounting_does_not_answer_squeue_is_asked(cluster, sacct: str):
    assert cluster(sacct=sacct).status_command == "squeue"


def test_what_the_site_block_says_about_the_status_command_counts(cluster):
    assert cluster(sacct="exit 0", site={"status_command": "squeue"}).status_command == "squeue"


def test_the_first_look_comes_early_enough_for_the_plugin_to_keep_to_squeue(cluster):
    """With less than three first looks in MinJobAge the plugin turns to sacct by itself."""
    for kept in (300, 181):
        assert 3 * cluster(scontrol=KEPT.format(kept)).first_status_check <= kept


def test_a_controller_that_forgets_too_soon_is_an_error_not_an_endless_wait(cluster):
    with pytest.raises(SystemExit, match=r"forgets a finished job after 60 s \(MinJobAge\)"):
        cluster(scontrol=KEPT.format(60))
    assert cluster(scontrol=KEPT.format(60), sacct="exit 0").status_command == "sacct"


@pytest.mark.parametrize(
    ("refusal", "key"),
    [
        (
            "Batch job submission failed: Invalid account or account/partition combination",
            "account",
        ),
        ("allocation failure: No partition specified or system default partition", "partition"),
        ("allocation failure: Requested node configuration is not available", "gpu_request"),
    ],
)
def test_a_refused_request_names_the_key_of_the_site_block(cluster, refusal: str, key: str):
    with pytest.raises(SystemExit) as end:
        cluster(sbatch=f"echo 'sbatch: error: {refusal}' >&2; exit 1")
    assert refusal in str(end.value)
    assert f"Set `{key}`" in str(end.value)
    assert "profiles/slurm/profile.yaml" in str(end.value)


def test_requests_are_tried_as_the_jobs_will_make_them(cluster, tmp_path: Path):
    cluster(
        site={"account": "lab", "partition": "cpu", "gpu_partition": "gpu", "gpu_model": "a100"}
    )
    tried = [call for call in calls(tmp_path) if call.startswith("sbatch")]
    assert [re.findall(r"--(?:account|partition|gpus|test-only)\S*", call) for call in tried] == [
        ["--test-only", "--account=lab", "--partition=cpu"],
        ["--test-only", "--account=lab", "--partition=gpu", "--gpus=a100:1"],
    ]


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ({}, {"gpu": 1}),
        ({"gpu_partition": "long gpu"}, {"gpu": 1, "slurm_partition": "'long gpu'"}),
        ({"gpu_model": "a100"}, {"gpu": 1, "gpu_model": "'a100'"}),
        ({"gpu_request": "gres"}, {"gpu": 0, "gres": "'gpu:1'"}),
        ({"gpu_request": "gres", "gpu_model": "a100"}, {"gpu": 0, "gres": "'gpu:a100:1'"}),
    ],
)
def test_what_a_rule_with_a_gpu_asks_for(cluster, site: dict, expected: dict):
    fed = {**expected, "cpus_per_task": FEEDING}
    without_images = dict.fromkeys(["zeroshot", "zeroshot_own_head"], expected)
    assert cluster(site=site).set_resources == dict.fromkeys(RULES, fed) | without_images


@pytest.mark.parametrize(
    ("how", "site", "expected"),
    [
        ("gpus: 4", {}, {"gpu": 4, "nodes": 1, "cpus_per_task": 4 * FEEDING}),
        ("gpus: 2, workers: 7", {}, {"gpu": 2, "nodes": 1, "cpus_per_task": 16}),
        ("workers: 3", {}, {"gpu": 1, "cpus_per_task": 4}),
        (
            "gpus: 2",
            {"gpu_request": "gres"},
            {"gpu": 0, "gres": "'gpu:2'", "nodes": 1, "cpus_per_task": 2 * FEEDING},
        ),
        ("gpus: 2", {"gpu_request": "none"}, {"cpus_per_task": 2}),
    ],
)
def test_a_training_on_several_gpus_is_one_task_with_all_of_them(
    cluster, how: str, site: dict, expected: dict
):
    asked = cluster(f"training={{how: {{{how}}}}}", site=site).set_resources
    assert [asked[rule] for rule in TRAININGS] == [expected, expected]
    others = [asked[rule] for rule in RULES if rule in asked and rule not in TRAININGS]
    assert all(other.get("cpus_per_task") in (None, FEEDING) for other in others)
    assert all("nodes" not in other for other in others)


def by_job(asked: dict, key: str, **wildcards: str) -> object:
    """Return what Snakemake makes of a rule's resource: it evaluates text."""
    value = asked[key]
    names = {"wildcards": SimpleNamespace(**wildcards)}
    return eval(value, names) if isinstance(value, str) else value


def test_trainings_on_different_numbers_of_gpus_ask_for_their_own(cluster, tmp_path: Path):
    gpus = "{digits-rn-smoke/from-scratch__n500-smoke: 4, end-to-end__digits-smoke: 2}"
    asked = cluster(f"training={{how: {{gpus: {gpus}}}}}").set_resources
    of = {"model": "digits-rn-smoke", "method": "from-scratch__n500-smoke"}
    for method, n in ((of["method"], 4), ("from-scratch__n60-smoke", 1)):
        found = asked["baseline"]
        keys = ("gpu", "nodes", "cpus_per_task")
        assert [by_job(found, key, model=of["model"], method=method) for key in keys] == [
            n,
            1,
            n * FEEDING,
        ]
    tuned = {"model": "digits-rn-smoke-s0", "method": "linear-classifier__digits-smoke"}
    assert by_job(asked["finetune"], "gpu", **tuned) == 1
    tuned["method"] = "end-to-end__digits-smoke"
    assert by_job(asked["finetune"], "gpu", **tuned) == 2
    assert asked["evaluate_digits"] == {"gpu": 1, "cpus_per_task": FEEDING}
    tried = [call for call in calls(tmp_path) if call.startswith("sbatch")]
    assert f"--gpus=4 --nodes=1 --cpus-per-task={4 * FEEDING}" in tried[-1]


@pytest.mark.parametrize("request_", ["gpus", "gres"])
def test_each_job_asks_for_the_smallest_kind_of_gpu_that_holds_it(
    cluster, tmp_path: Path, request_: str
):
    kinds = {"a100": 80, "t4": 16, "l40s": 48}
    site = {"gpu_model": kinds, "gpu_request": request_}
    made = cluster("experiment=imagenet", site=site)
    resources = Resources(Targets.read(ROOT, {"experiment": "imagenet"}))
    asked, seen = made.set_resources, set()
    for rule, *of in resources.jobs():
        if rule not in asked:
            continue
        wildcards = dict(zip(("model", "method"), of, strict=False))
        key = "gpu_model" if request_ == "gpus" else "gres"
        kind = by_job(asked[rule], key, **wildcards)
        kind = kind.split(":")[1] if request_ == "gres" else kind
        need = resources.gpu_mem_mb(rule, *of) / 1000
        assert kind == min((k for k in kinds if kinds[k] >= need), key=kinds.get), (rule, of)
        seen.add(kind)
    assert seen == set(kinds)
    tried = [call for call in calls(tmp_path) if call.startswith("sbatch") and "--g" in call]
    assert len(tried) == 3, "one of each kind"


def test_several_gpus_are_tried_as_the_jobs_will_ask_for_them(cluster, tmp_path: Path):
    cluster("training={how: {gpus: 4}}")
    tried = [call for call in calls(tmp_path) if call.startswith("sbatch")]
    assert f"--gpus=4 --nodes=1 --cpus-per-task={4 * FEEDING}" in tried[-1]


@pytest.mark.parametrize(
    ("site", "resources", "expected"),
    [
        ({"gpu_partition": "g"}, {"mem_mb": 9000}, {}),
        ({"gpu_partition": "g"}, {"gpu": 1}, {"gpu": 1, "slurm_partition": "'g'"}),
        ({"gpu_request": "gres"}, {"gpu": 1}, {"gpu": 0, "gres": "'gpu:1'"}),
        (KINDS, {"gpu": 2}, {"gpu": 2, "gpu_model": "'a100'", "nodes": 1}),
        (KINDS, {"gpu": 1, "gpu_model": "t4"}, {"gpu": 1, "gpu_model": "'t4'"}),
        ({"gpu_request": "none"}, {"gpu": 1}, {}),
    ],
)
def test_an_alpha_of_a_sweep_asks_for_gpus_as_the_site_has_them(
    cluster, tmp_path: Path, site: dict, resources: dict, expected: dict
):
    entry = yaml.safe_load((ROOT / "workflow" / "sweep.yaml").read_text())
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump(entry | {"resources": resources}))
    found = cluster("--configfile", str(file), site=site, experiment=None)
    assert found.set_resources == ({"point": expected} if expected else {})
    with_gpu = [call for call in calls(tmp_path) if "gpu" in call.replace("gpu_", "")]
    assert bool(with_gpu) == bool(expected), "it is tried before a job is submitted"


def test_settings_of_a_file_count_too(cluster, tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("device: cuda\ntraining: {how: {gpus: 2}}\n")
    for options in (["--configfile", str(file)], [f"--configfile={file}"]):
        assert cluster(*options).set_resources["finetune"]["gpu"] == 2
        assert "gpu" not in cluster("device=cpu", *options).set_resources["finetune"]


def test_without_gpus_nothing_asks_for_one(cluster):
    assert cluster(site={"gpu_request": "none"}).set_resources == {}
    assert cluster("device=cpu").set_resources == {}


def test_what_every_job_asks_for(cluster):
    site = {"account": 12345, "partition": "a,b", "sbatch_options": "--mail-type=FAIL"}
    assert cluster(site=site).default_resources == {
        "slurm_account": "'12345'",
        "slurm_partition": "'a,b'",
        "slurm_extra": "'--mail-type=FAIL --signal=TERM@120'",
    }
    assert cluster(site={"warning_seconds": 0}).default_resources == {}


def test_evaluations_form_groups_only_where_that_is_asked_for(cluster):
    assert not cluster().groups
    grouped = cluster(site={"evaluations_per_job": 20})
    assert list(grouped.groups) == ["evaluate_digits"]
    assert list(grouped.group_components.values()) == [20]
    assert grouped.default_resources["turn"] == 1


def test_resources_of_the_site_block_add_to_what_a_rule_asks_for(cluster):
    more = {"finetune": {"mem_mb": 9000}, "evaluate": {"runtime": 7}, "pretrain": {"runtime": 9}}
    more["data_prepare"] = {"runtime": 5}
    prepared = {f"data_prepare_{name}" for name in DIGITS}
    asked = cluster(site={"resources": more}).set_resources
    assert asked["finetune"] == {"gpu": 1, "cpus_per_task": FEEDING, "mem_mb": 9000}
    assert asked["evaluate_digits"] == {"gpu": 1, "cpus_per_task": FEEDING, "runtime": 7}
    assert asked["pretrain"] == {"runtime": 9}
    assert {rule for rule in asked if asked[rule] == {"runtime": 5}} == prepared
    assert cluster("device=cpu", site={"resources": more}).set_resources == {
        "finetune": {"mem_mb": 9000},
        "evaluate_digits": {"runtime": 7},
        "pretrain": {"runtime": 9},
        **{rule: {"runtime": 5} for rule in prepared},
    }


def test_a_cluster_that_cancels_what_it_pre_empts_is_warned_of(cluster, capsys):
    cluster(scontrol=KEPT.format(300))
    assert "warning" not in capsys.readouterr().err
    cluster(scontrol=f"{KEPT.format(300)}; echo 'PreemptMode             = GANG,CANCEL'")
    assert "waits for such a job for ever" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ({"gpu_request": "tpu"}, '`gpu_request` is "tpu", but must be one of .gpus'),
        ({"evaluations_per_job": 0}, "`evaluations_per_job` is 0, but must be at least 1"),
        (
            {"resources": {"finetune": 600}},
            "`resources.finetune` is 600, but must be a mapping",
        ),
        ({"acount": "lab"}, "unknown key `acount`; did you mean account"),
    ],
)
def test_a_wrong_site_block_is_one_sentence(cluster, site: dict, message: str):
    with pytest.raises(SystemExit, match=message):
        cluster(site=site)


def test_the_site_block_names_every_choice_and_its_default(cluster):
    text = (ROOT / "profiles" / "slurm" / "profile.yaml").read_text()
    site = yaml.safe_load(text)["__variables__"]["site"]
    choices = runpy.run_path(str(ROOT / "profiles" / "slurm" / "cluster.py"))["Choices"]
    assert choices(**site) == choices()
    assert set(site) == set(choices.model_fields)


def test_it_repeats_the_default_profile():
    """A workflow profile replaces the default one: nothing of it may be lost."""
    default, slurm = (
        yaml.safe_load((ROOT / "profiles" / name / "profile.yaml").read_text())
        for name in ("default", "slurm")
    )
    meant_for_one_machine = {"resources"}
    other = {"show-failed-logs"}  # Slurm's own logs would drown them; the summary shows their ends
    for key in default.keys() - meant_for_one_machine - other:
        assert slurm[key] == default[key], key


def test_every_rule_that_runs_a_model_on_the_device_gets_a_gpu(cluster):
    """Read from the rules themselves: no experiment plans all of them."""
    resources = Resources(Targets.read(ROOT, {"experiment": "digits"}))
    asking, passing = set(), set()
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for name, block in re.findall(r"^ *rule ?(\w*):\n((?: .*\n|\n)+)", path.read_text(), re.M):
            rule = name or re.findall(r'f"(\w+_)\{\w+\}"', block)[0] + "digits"
            (asked,) = re.findall(r'\*\*RESOURCES\.of\(f?"([^"]+)"\),', block) or [""]
            if asked and "gpu" in resources.of(asked.replace("{suite}", "digits")):
                asking.add(rule)
                assert asked.replace("{suite}", "digits") == rule, "each asks for itself"
            if "--device {resources.device}" in block:
                passing.add(rule)
        for of, name in re.findall(r"^use rule (\w+) as (\w+)", path.read_text(), re.M):
            for rules in (asking, passing):
                if of in rules:
                    rules.add(name)
    assert asking == passing == set(cluster().set_resources) == set(RULES)


def test_the_plan_asks_for_gpus_where_the_workflow_does(
    commands: Callable[..., Path], tmp_path: Path
):
    """What the profile says of rules is what the workflow says, seen in two dry runs."""
    pytest.importorskip("snakemake_executor_plugin_slurm", reason=NO_PLUGIN)
    folder = copy_project(tmp_path / "project")
    edit_site(folder, gpu_partition="big")
    whole_batches_not_needed(folder)
    path = {"PATH": f"{commands()}:{environment()['PATH']}"}

    def gpus(*options: str) -> dict[str, int]:
        given = ["--config", f"experiment={SMOKE}", "training={how: {gpus: 2}}"]
        command = ("snakemake", "-n", "--quiet", "host", *given, *options)
        done = run_module(folder, *command, variables=path)
        assert done.returncode == 0, done.stdout
        blocks = re.split(r"^(?:local)?rule ", done.stdout, flags=re.MULTILINE)
        asked = {block.partition(":")[0]: re.search(r"\bgpu=(\d+)\b", block) for block in blocks}
        return {rule: int(count[1]) for rule, count in asked.items() if count}

    for text in (folder / "workflow" / "rules").glob("*.smk"):  # messages hide the resources
        text.write_text(re.sub(r"(?m)^ +message:\n.*\n", "", text.read_text()))
    wanted = gpus("device=cuda", "--resources", "gpu=8")
    assert wanted == {"zeroshot": 1, "finetune": 2, "baseline": 2, "evaluate_digits": 1}
    assert gpus("--workflow-profile", "profiles/slurm") == wanted
