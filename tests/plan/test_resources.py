"""What jobs ask for: memory, GPU memory and time, of every experiment."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.processes import environment
from tests.targets.conftest import project  # noqa: F401
from tests.targets.planning import dry_run

from wiseft.base.io import write_json
from wiseft.models.footprint import training_bytes
from wiseft.study.config import Catalogue
from wiseft.study.plan import doctor, footprints
from wiseft.study.plan.footprints import footprint_of
from wiseft.study.plan.rates import FIXED, RATES, of_towers, read_rates
from wiseft.study.plan.resources import CLUSTER_GPUS, LONGEST, Need, Resources
from wiseft.study.targets import Targets

ROOT = Path(__file__).parents[2]
EXPERIMENTS = Catalogue(ROOT).names("experiments")
END_TO_END = ("clip-vit-l-14-336", "end-to-end")


def resources_of(experiment: str, root: Path = ROOT, **settings: object) -> Resources:
    return Resources(Targets.read(root, {"experiment": experiment, **settings}))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_no_job_needs_more_than_80_gb_of_a_gpu_or_asks_less_than_is_counted(experiment: str):
    resources = resources_of(experiment, device="cuda")
    assert resources.notes() == []
    for job in resources.jobs():
        need = resources.need(*job)
        assert need is not None, job
        asked = resources.gpu_mem_mb(*job)
        assert need.device / 1e6 <= asked <= 80_000, job
        assert need.memory / 1e6 <= resources.mem_mb(*job), job
        assert 60 * need.hours < resources.runtime(*job), job
        if need.batch and need.device:
            assert need.device >= _least(resources, job, need.batch), job


def test_what_is_merged_alone_has_jobs_and_so_has_merging():
    resources = resources_of("digits-studies", device="cuda")
    model = "digits-rn-s20"
    one = [
        ("finetune", model, "end-to-end__digits"),
        ("evaluate_digits", model, "merged__digits-ties"),
    ]
    assert all(resources.jobs().count(job) == 1 for job in one)
    assert ("finetune", model, "merged__digits-ties") not in resources.jobs()
    heads = resources.mem_mb("import_checkpoint", model)
    assert resources.mem_mb("combine", model, "merged__digits-ties") == heads
    assert resources.gpu_mem_mb("combine", model, "merged__digits-ties") == 0


def test_low_rank_changes_are_trained_through_the_whole_tower():
    resources = resources_of("digits-studies", device="cuda")
    lora, whole, head = (
        resources.need("finetune", "digits-rn-s20", f"{name}__digits").device
        for name in ("lora", "end-to-end", "linear-classifier")
    )
    assert head < lora == whole


def _least(resources: Resources, job: tuple[str, ...], batch: int) -> float:
    """Return weights and activations at a batch, from the table of footprints alone."""
    rule, model, *_ = job
    catalogue = Catalogue(ROOT)
    if rule in ("finetune", "baseline"):
        settings = catalogue.method_settings(job[2])
        if settings.trainable == "all":
            counted = footprint_of(catalogue, model, settings, "cuda")
            return training_bytes(counted, batch, moments=1 if settings.optimiser == "sgd" else 2)
    counted = footprint_of(catalogue, model, None, "cuda")
    return counted.weights + batch * counted.peak


def test_batches_become_smaller_where_memory_is():
    l_14 = resources_of("imagenet", device="cuda").need("finetune", *END_TO_END)
    assert l_14.batch == 32, "512, halved until it fits"
    small = resources_of("imagenet", device="cuda", device_memory_gb=24)
    assert small.need("finetune", *END_TO_END).batch == 8
    assert small.gpu_mem_mb("finetune", *END_TO_END) <= 24_000
    b6 = resources_of("independent-ensembles", device="cuda")
    passes = {job: b6.need(*job).batch for job in b6.jobs() if job[0] == "evaluate_imagenet"}
    assert min(passes.values()) < 500
    notes = resources_of("imagenet", device="cuda", device_memory_gb=4).notes()
    assert any(n.startswith("finetune of clip-vit-l-14-336 end-to-end needs 7 GB") for n in notes)
    assert all("there are 4 GB" in note for note in notes)


def test_the_workflow_asks_for_what_is_counted(project: Path):  # noqa: F811
    resources = resources_of("imagenet", project, device="cuda")
    jobs = dry_run(project, "imagenet", device="cuda")
    kinds = {job[0] for job in resources.jobs()}
    seen = [job for job in jobs if job.rule.name in kinds]
    assert {job.rule.name for job in seen} == kinds
    for job in seen:
        of = [job.wildcards.get(key) for key in ("model", "method")]
        of = [each for each in of if each is not None]
        asked = {key: job.resources[key] for key in ("mem_mb", "runtime")}
        name = job.rule.name
        assert asked == {
            "mem_mb": resources.mem_mb(name, *of),
            "runtime": resources.runtime(name, *of),
        }, job
        if job.resources.get("gpu"):
            assert job.resources["gpu_mem_mb"] == resources.gpu_mem_mb(name, *of)


def test_rules_ask_by_their_own_names_and_what_is_fixed_is_of_rules():
    rules = "".join(path.read_text() for path in ROOT.glob("workflow/rules/*.smk"))
    names = re.findall(r'^rule (\w+):|^ +f"(\w+)_{(?:suite|dataset)}"$', rules, re.M)
    asked = re.findall(r'resources:\n +\*\*RESOURCES\.of\(f?"(\w+?)(?:_{suite})?"\),\n', rules)
    assert asked == [rule or of_suites for rule, of_suites in names]
    assert set(FIXED) < set(asked)
    assert resources_of("digits").of("tabulate") == {"mem_mb": 2000, "runtime": 30}


def test_on_a_cpu_batches_fit_the_memory_that_is_given():
    def trained(**settings: object) -> Need:
        found = resources_of("imagenet", device="cpu", **settings).need("finetune", *END_TO_END)
        assert found is not None
        return found

    whole, given = trained(), trained(device_memory_gb=32)
    assert whole.batch == 512 and given.batch == 16
    assert whole.memory > 500e9 > 50e9 > given.memory


def test_digits_stay_small():
    resources = resources_of("digits", device="cpu")
    assert max(resources.mem_mb(*job) for job in resources.jobs()) <= 2000
    assert max(resources.runtime(*job) for job in resources.jobs()) <= 120


def test_a_further_attempt_asks_for_more_up_to_the_longest(monkeypatch: pytest.MonkeyPatch):
    resources = resources_of("imagenet", device="cuda")
    job = ("finetune", *END_TO_END)
    assert resources.mem_mb(*job, attempt=2) == 2 * resources.mem_mb(*job)
    assert resources.runtime(*job, attempt=2) >= 2 * resources.runtime(*job) - 1
    monkeypatch.setenv(LONGEST, "1440")
    assert resources_of("imagenet", device="cuda").runtime(*job) == 1440


def test_what_needs_longer_than_is_allowed_is_said_and_tried_often_enough(
    monkeypatch: pytest.MonkeyPatch,
):
    """Tries that only go on ask for the same memory; two failures besides ask for more."""
    job = ("finetune", *END_TO_END)
    short = ("search", "clip-vit-b-16", "linear-classifier__search-weight-decay")
    free = resources_of("imagenet", device="cuda")
    assert (free.links(*job), free.retries("finetune")) == (1, None)
    assert not any("at most" in note for note in free.notes())
    hours = free.runtime(*job) / 60
    monkeypatch.setenv(LONGEST, "1440")
    limited = resources_of("imagenet", device="cuda")
    links = limited.links(*job)
    assert (links - 1) * 24 < hours <= links * 24
    assert limited.retries("finetune") == links + 1
    memory = [limited.mem_mb(*job, attempt=n) for n in (1, links, links + 1, links + 2, 99)]
    assert [m // memory[0] for m in memory] == [1, 1, 2, 3, 3]
    assert limited.links(*short) == 1
    assert limited.mem_mb(*short, attempt=9) == 3 * limited.mem_mb(*short)
    said = [note for note in limited.notes() if "and a job 24 h at most" in note]
    assert any(
        note.startswith(f"finetune of {' '.join(END_TO_END)} may take {hours:.0f} h")
        for note in said
    )
    assert any(f"Up to {links} jobs continue each other" in note for note in said)


def test_a_cluster_has_gpus_whatever_this_machine_has(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wiseft.study.targets.jobs.devices", list)
    assert resources_of("imagenet").device_type == "cpu"
    monkeypatch.setenv(CLUSTER_GPUS, "1")
    assert resources_of("imagenet").device_type == "cuda"
    assert resources_of("imagenet", device="cpu").device_type == "cpu"


def test_what_was_measured_replaces_the_estimate(project: Path, tmp_path: Path):  # noqa: F811
    root = shutil.copytree(project, tmp_path / "project")
    job = ("finetune", *END_TO_END)
    before = resources_of("imagenet", root, device="cuda").need(*job)
    row = {"rule": "finetune", "device": "NVIDIA A100", "images_per_second": 1000.0}
    row |= dict(zip(("model", "method"), END_TO_END, strict=True))
    others = [row | {"device": "cpu"}, row | {"method": "linear-classifier"}]
    write_json(root / RATES, {"format": 1, "rates": [row, *others]})
    rated = resources_of("imagenet", root, device="cuda").need(*job)
    assert rated.hours == pytest.approx(10 * 1_271_167 / 1000 / 3600, rel=0.01)
    assert rated.safety < before.safety and rated.device == before.device
    targets = Targets.read(root, {"experiment": "imagenet"})
    assert of_towers(read_rates(root, "cuda"), "training", targets) == {END_TO_END[0]: 1000.0}
    run = root / "data/runs/clip-vit-l-14-336__imagenet__end-to-end/seed-7/training.json"
    record = {"images_per_second": 4000.0, "processes": 8, "device_type": "cuda"}
    write_json(run, record)
    measured = resources_of("imagenet", root, device="cuda").need(*job)
    assert measured.hours == pytest.approx(2 * rated.hours)
    write_json(run, record | {"device_type": "cpu"})
    assert resources_of("imagenet", root, device="cuda").need(*job).hours == rated.hours


def test_a_model_that_was_not_counted_is_said_and_asks_for_much(project: Path, tmp_path: Path):  # noqa: F811
    root = shutil.copytree(project, tmp_path / "project")
    file = root / "config/models/digits-rn-smoke.json"
    file.write_text(file.read_text().replace('"width": 8', '"width": 24'))
    resources = resources_of("digits-smoke", root, device="cpu")
    (sentence,) = resources.notes()
    assert "python -m wiseft.study.plan.footprints --write" in sentence
    assert resources.mem_mb("pretrain", "digits-rn-smoke") == 16_000


def test_planning_needs_no_torch():
    code = (
        "import sys; from wiseft.study.targets import Targets; "
        "from wiseft.study.plan.resources import Resources; "
        "r = Resources(Targets.read('.', {'experiment': 'imagenet', 'device': 'cuda'})); "
        "[(r.mem_mb(*j), r.gpu_mem_mb(*j), r.runtime(*j)) for j in r.jobs()]; r.notes(); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), check=False)
    assert done.returncode == 0


def test_the_table_is_what_is_counted(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(ROOT)
    models = ["digits-rn-smoke", "efficientnet-lite0"]
    assert footprints.main(["--check", *models]) == 0
    rows = footprints._rows()
    key = next(key for key in rows if key[0].startswith("tf_efficientnet_lite0"))
    monkeypatch.setattr(
        footprints, "_rows", lambda: rows | {key: replace(rows[key], peak=rows[key].peak + 1)}
    )
    assert footprints.main(["--check", *models]) == 1
    assert "efficientnet-lite0" in capsys.readouterr().out


def test_doctor_compares_with_what_is_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(doctor, "_memory_gb", lambda: 0.5)
    monkeypatch.setattr(doctor, "_free_disk_gb", lambda root: 0.1)
    found = doctor.examine(ROOT, "digits")
    memory, disk = found["experiment"]["lacks"]
    assert "GB of memory, and this machine has 0.5 GB" in memory
    assert "GB of disk beside what is there, and 0.1 GB are free: set" in disk
    assert memory in doctor.render(found)
    monkeypatch.setattr(doctor, "_memory_gb", lambda: 1000.0)
    monkeypatch.setattr(doctor, "_free_disk_gb", lambda root: 1000.0)
    assert doctor.examine(ROOT, "digits")["experiment"]["lacks"] == []


def test_doctor_asks_for_no_room_for_what_is_there(tmp_path: Path):
    def to_come(**paths: str) -> float:
        places = {"folder": str(tmp_path), "paths": paths}
        given = {"experiment": "few-shot-food101", "datasets": places}
        return doctor._disk_to_come(Targets.read(ROOT, given))

    archive = tmp_path / ".archives" / "food101" / "food-101.tar.gz"
    whole, (archive_gb, images_gb) = to_come(), (4.996278331, 5.1)
    archive.parent.mkdir(parents=True)
    archive.touch()
    assert to_come() == pytest.approx(whole - archive_gb)
    archive.unlink()
    own = tmp_path / "food-101"
    own.mkdir()
    assert to_come(food101=str(own)) == pytest.approx(whole - archive_gb - images_gb)
