"""The repository itself: its files agree with each other."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.conftest import justified_skips

ROOT = Path(__file__).parents[1]
TEXTS = {".py", ".smk", ".yaml", ".yml", ".toml", ".md", ".ipynb", ".sh", ".json", ".lock"}
BUILDS = {"torch", "torchvision"}  # they differ by machine: a CPU and a CUDA build must both serve

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def requirements(name: str) -> list[str]:
    """Return the lines of a file of requirements, each with those that continue it."""
    text = (ROOT / name).read_text().replace("\\\n", "")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


HASHED = [line.split(" --hash=") for line in requirements("requirements.lock")]
TORCH = requirements("requirements-torch.txt")
LOCK = [line.split()[0] for line, *_ in HASHED] + TORCH


def tracked() -> list[Path]:
    """Return the files of the repository: what git tracks, and what it would not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


def by_name(requirements: list[str]) -> dict[str, Requirement]:
    parsed = [Requirement(text) for text in requirements]
    return {canonicalize_name(one.name): one for one in parsed}


def test_environment_file_names_what_the_package_requires():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    from_conda = [item for item in dependencies if isinstance(item, str)]
    from_pip = next(item["pip"] for item in dependencies if isinstance(item, dict))
    assert f"python{PROJECT['requires-python']}" in from_conda
    assert from_pip[-1] == "--editable .[workflow]"
    listed = by_name([item for item in from_conda if not item.startswith("python")] + from_pip[:-1])
    assert listed == by_name(PROJECT["dependencies"] + EXTRAS["workflow"])


def test_the_version_is_one():
    import wiseft

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["version"] == wiseft.__version__ == citation["version"]
    assert PROJECT["version"] in (ROOT / "CHANGELOG.md").read_text()


def test_metadata_for_archives_say_what_the_citation_says():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    codemeta = json.loads((ROOT / "codemeta.json").read_text())
    zenodo = json.loads((ROOT / ".zenodo.json").read_text())
    names = [author["name"] for author in citation["authors"]]
    assert names == [author["name"] for author in codemeta["author"]]
    assert names == [author["name"] for author in zenodo["creators"]]
    assert codemeta["license"] == f"https://spdx.org/licenses/{citation['license']}"
    assert zenodo["license"] == citation["license"] == PROJECT["license"]
    assert codemeta["name"] == PROJECT["name"] and zenodo["title"] == citation["title"]
    assert codemeta["runtimePlatform"] == f"Python {PROJECT['requires-python']}"
    paper = citation["preferred-citation"]
    assert codemeta["referencePublication"] == {
        "@type": "ScholarlyArticle",
        "name": paper["title"],
        "url": paper["url"],
    }
    assert [one["identifier"] for one in zenodo["related_identifiers"]] == [
        one["value"] for one in paper["identifiers"]
    ]
    for found in (codemeta, zenodo):
        assert found["version"] == PROJECT["version"]
        assert found["description"] == PROJECT["description"]
        assert found["keywords"] == citation["keywords"]


def test_lock_satisfies_the_package_and_its_tools():
    locked = by_name(LOCK)
    dev = [text for text in EXTRAS["dev"] if not text.startswith("wiseft[")]
    wanted = PROJECT["dependencies"] + EXTRAS["workflow"] + EXTRAS["trainer"] + dev
    for name, requirement in by_name(wanted).items():
        assert name in locked, f"{name} is missing from requirements.lock"
        (pin,) = locked[name].specifier
        assert requirement.specifier.contains(pin.version), f"{name} is locked to {pin.version}"


def test_lock_pins_exactly_and_serves_every_build():
    for line in LOCK:
        requirement = Requirement(line)  # refuses options and index lines
        assert requirement.url is None, line
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), line
        assert not re.match(r"(nvidia|cuda|triton)", requirement.name), line
    assert {Requirement(line).name for line in TORCH} == BUILDS


def test_everything_locked_has_hashes_but_the_builds_of_torch():
    for line, *hashes in HASHED:
        assert hashes, f"{line} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", each) for each in hashes), line
        assert Requirement(line.split()[0]).name not in BUILDS
    install = (ROOT / "Makefile").read_text()
    assert "--require-hashes --no-deps -r requirements.lock" in install


def test_actions_and_the_base_image_are_named_by_what_they_are():
    for path in (ROOT / ".github" / "workflows").iterdir():
        used = re.findall(r"uses: *(\S+)", path.read_text())
        assert used
        assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", each) for each in used), path.name
    image = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE_DIGEST=sha256:[0-9a-f]{64}$", image, re.MULTILINE)
    (base,) = re.findall(r"^FROM (\S+)", image, re.MULTILINE)
    assert base.endswith("@${BASE_DIGEST}")
    assert re.findall(r"^USER (\S+)", image, re.MULTILINE) == ["1000:1000"], "not root"


def test_no_absolute_paths():
    """A path of somebody's machine makes a repository work on that machine only."""
    here = re.compile(r"(?<![\w.])/(work|home|root|Users|mnt)/[\w.-]+")
    for path in tracked():
        if path.suffix in TEXTS:
            found = here.search(path.read_text())
            allowed = found and found.group().startswith(("/mnt/", "/home/me", "/home/you"))
            assert found is None or allowed, f"{path.relative_to(ROOT)}: {found.group()}"


def test_no_large_or_binary_data_in_git():
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        assert path.stat().st_size < 2_000_000, f"{name} is large; data belongs to DVC"
        # Those of published/tables are listed (test_copies.py); the others are compared with them.
        if not name.startswith(("published/tables/", "tests/evidence/second-cpu/")):
            banned = {".pt", ".pkl", ".npy", ".npz", ".safetensors", ".parquet", ".gz"}
            assert path.suffix not in banned, name


def test_package_does_not_use_the_workflow_engine():
    """Commands work outside a workflow; a message may name the tool, the code may not use it."""
    used = re.compile(r"\b(import|from)\s+snakemake\b|\bsnakemake\.(input|output|params|config)")
    for path in (ROOT / "src").rglob("*.py"):
        assert not used.search(path.read_text()), path.relative_to(ROOT)


def test_rule_files_are_short_and_hold_only_rules():
    functions = 0
    for path in sorted((ROOT / "workflow").rglob("*.smk")):
        text = path.read_text()
        lines = text.splitlines()
        assert len(lines) <= 210, f"{path.name} has {len(lines)} lines"
        # A workflow of its own may import the typed model of its configuration.
        banned = "def|class" if path.stem == "sweep" else "def|class|import|from"
        python = [line for line in lines if re.match(rf"\s*({banned}) ", line)]
        functions += sum(line.lstrip().startswith("def ") for line in python)
        if path.stem != "common":
            assert not python, f"{path.name}: Python belongs to wiseft.study.targets: {python[0]}"
        block = re.search(r"^\s*run:", text, re.MULTILINE)
        assert not block, f"{path.name}: a run block takes seconds a job"
    assert functions <= 10
    common = (ROOT / "workflow" / "rules" / "common.smk").read_text()
    assert len(common.splitlines()) <= 80


def test_skips_that_are_justified_still_exist():
    """The other way round, every run compares its skips with the table: tests/conftest.py."""
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    reasons = justified_skips()
    assert len(reasons) == len(set(reasons)) > 10
    for reason in reasons:
        assert all(part in sources for part in reason.split("*")), f"nothing skips for: {reason}"
