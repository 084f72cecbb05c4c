"""DVC shares data/: an author publishes, a colleague draws the figures or goes on computing."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.processes import run_module
from tests.sharing.conftest import run_in
from tests.workflow.conftest import copy_finished

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SMOKE = "digits-smoke"
FIGURES = ("robustness-natural", "robustness-renditions", "landscape")
ALONE = ("-s", "workflow/figures.smk")
DRAWN = {"figure": 3, "page": 1, "provenance": 1, "report": 1, "all": 1}
HEADLINE = f"data/tables/{SMOKE}.metrics.json"

Plan = Callable[..., dict[str, int]]


def dvc(folder: Path, *arguments: str) -> str:
    done = run_module(folder, "dvc", *arguments)
    assert done.returncode == 0, f"dvc {arguments}:\n{done.stdout}"
    return done.stdout


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    return run_in(folder, "git", *identity, *arguments)


def share(folder: Path, what: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Do what `make publish` or `make pull` does."""
    return run_module(folder, "tools.sharing", what, "--experiment", SMOKE, *options)


def publish_and_commit(folder: Path) -> str:
    done = share(folder, "publish")
    assert done.returncode == 0, done.stdout
    git(folder, "add", "data.dvc", "dvc.yaml", "published")
    git(folder, "commit", "--quiet", "--file", ".wiseft/publish-message")
    return done.stdout


@pytest.fixture(scope="module")
def author(finished: Path, tmp_path_factory) -> Path:
    """An author has run the small experiment and published it."""
    author = copy_finished(finished, tmp_path_factory.mktemp("dvc") / "author")
    for name in (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore", "dvc.yaml"):
        (author / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, author / name)
    git(author, "init", "--quiet")
    git(author, "add", ".")
    git(author, "commit", "--quiet", "--message", "Code")
    publish_and_commit(author)
    return author


def clone_of(author: Path, name: str, commit: str = "HEAD") -> Path:
    """A colleague clones the author's repository beside it; there is no data in it."""
    folder = author.parent / name
    git(author.parent, "clone", "--quiet", str(author), name)
    git(folder, "checkout", "--quiet", commit)
    assert not (folder / "data").exists()
    return folder


@pytest.fixture(scope="module")
def published(author: Path) -> str:
    """The commit of the first publication; the author publishes again later."""
    return git(author, "rev-parse", "HEAD").strip()


@pytest.fixture(scope="module")
def pulled(author: Path, published: str, finished: Path) -> Path:
    """A clone into which everything was pulled, in order to go on."""
    folder = clone_of(author, "pulled", published)
    # Packages with images are never shared; having them spares a download.
    shutil.copytree(finished / "datasets" / ".packages", folder / "datasets" / ".packages")
    done = share(folder, "pull")
    assert done.returncode == 0, done.stdout
    assert f"make run EXPERIMENT={SMOKE}" in done.stdout
    return folder


def test_only_results_are_published(author: Path, published: str):
    tracked = git(author, "ls-tree", "-r", "--name-only", published).splitlines()
    assert "data.dvc" in tracked
    assert not [name for name in tracked if name.startswith(("data/", "datasets/", "results/"))]
    shared = {path.suffix for path in (author / "data").rglob("*") if path.is_file()}
    assert shared == {".csv", ".json", ".parquet", ".safetensors", ".sha256"}


def test_message_names_experiment_and_commit(author: Path, published: str):
    message = git(author, "log", "-1", "--format=%B", published)
    code = git(author, "rev-parse", f"{published}~").strip()
    assert message.startswith(f"Publish the results of {SMOKE}\n")
    assert f"Code: {code}\n" in message
    # The commit also names the experiment's headline, so that `dvc metrics` shows it.
    assert f"  - {HEADLINE}\n" in git(author, "show", f"{published}:dvc.yaml")


def test_publishing_leaves_the_authors_run_up_to_date(author: Path, published: str, plan: Plan):
    assert plan(author) == {}
    assert dvc(author, "status").strip() == "Data and pipelines are up to date."


def test_the_authors_tables_are_those_that_are_published(author: Path, published: str):
    done = run_module(author, "wiseft.cli", "compare", SMOKE)
    assert done.returncode == 0, done.stdout
    assert f"{SMOKE}, compared with what is published: equal, byte for byte" in done.stdout
    assert "not recorded" not in done.stdout


def test_manifest_is_what_sha256sum_reads(author: Path, published: str):
    checked = run_in(author / "data", "sha256sum", "--check", "MANIFEST.sha256")
    files = [path for path in (author / "data").rglob("*") if path.is_file()]
    assert checked.count(": OK\n") == len(files) - 1


def test_tables_are_enough_for_the_figures(
    author: Path, published: str, plan: Plan, snakemake, rerun
):
    folder = clone_of(author, "figures", published)
    for place in (f"published/tables/{SMOKE}", "data/tables"):
        again = place.startswith("data")
        if again:
            dvc(folder, "pull", place)
            assert not (folder / "data" / "runs").exists()
        assert plan(folder, *ALONE) == DRAWN
        run = rerun if again else snakemake
        done = run(folder, *ALONE, "--cores", "1")
        assert done.returncode == 0, done.stdout[-5000:]
        assert f"drawn from the tables in {place}." in done.stdout
        files = [f"figures/{name}.{suffix}" for name in FIGURES for suffix in ("pdf", "png", "svg")]
        for name in [*files, "summary.md"]:
            drawn = folder / "results" / SMOKE / name
            original = author / drawn.relative_to(folder)
            assert drawn.read_bytes() == original.read_bytes(), f"{name} differs"
    # Publishing from here would lose all that was not pulled.
    refused = share(folder, "publish")
    assert refused.returncode == 1
    assert "files that were published are missing here: data/" in refused.stdout
    assert "make pull" in refused.stdout


def test_after_a_full_pull_nothing_old_is_planned(pulled: Path, author: Path, plan: Plan):
    assert plan(pulled) == {"data_samples": 1, **DRAWN}
    assert dvc(pulled, "status").strip() == "Data and pipelines are up to date."
    manifest = "data/MANIFEST.sha256"
    assert (pulled / manifest).read_bytes() == (author / manifest).read_bytes()


def test_one_more_alpha_plans_exactly_the_new_work(pulled: Path, plan: Plan, edit):
    """Two methods with two seeds are swept again; baselines have no alpha."""
    edit(pulled, "alphas: [0.0, 0.25,", "alphas: [0.0, 0.1, 0.25,")
    assert plan(pulled) == {
        "evaluate_digits": 4,
        "tabulate": 1,
        "effective_robustness": 1,
        "headline": 1,
        "data_samples": 1,
        **DRAWN,
    }
    edit(pulled, "alphas: [0.0, 0.1, 0.25,", "alphas: [0.0, 0.25,")


def test_one_more_seed_plans_exactly_the_new_work(pulled: Path, plan: Plan, edit):
    edit(pulled, "\nseeds: [0, 1]\n", "\nseeds: [0, 1, 2]\n")
    jobs = plan(pulled)
    edit(pulled, "\nseeds: [0, 1, 2]\n", "\nseeds: [0, 1]\n")
    assert (jobs["finetune"], jobs["evaluate_digits"]) == (2, 2)
    assert not {"glyphs", "pretrain", "zeroshot", "baseline"} & set(jobs)
    assert not [rule for rule in jobs if rule.startswith("data_prepare")]


def test_pull_does_not_pass_results_off_as_those_of_other_settings(
    author: Path, published: str, edit
):
    folder = clone_of(author, "edited", published)
    path = folder / "config" / "methods" / "end-to-end.yaml"
    before = path.read_text()
    smoke = before.index("  digits-smoke:")
    path.write_text(before[:smoke] + before[smoke:].replace("epochs: 4", "epochs: 5", 1))
    done = share(folder, "pull")
    assert done.returncode == 1
    assert (
        "theta_1.safetensors was made with epochs: 4, but the configuration says 5" in done.stdout
    )
    path.write_text(before)
    edit(folder, "alphas: [0.0, 0.25,", "alphas: [0.0, 0.1, 0.25,")
    done = share(folder, "pull")
    assert done.returncode == 1
    assert "at alpha 0.100" in done.stdout
    assert not (folder / ".snakemake" / "metadata").exists(), "something was marked as up to date"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("runs/sample.png", b"\x89PNG\r\n\x1a\n", "is a PNG image"),
        ("runs/renamed.json", b"\xff\xd8\xff\xe0photo", "is a JPEG image"),
        ("tables/notes.docx", b"text", "is of a kind that data/ does not hold"),
    ],
)
def test_images_cannot_be_published(author: Path, name, content, sentence):
    before = (author / "data.dvc").read_bytes()
    intruder = author / "data" / name
    intruder.write_bytes(content)
    done = share(author, "publish")
    intruder.unlink()
    assert done.returncode == 1
    assert f"data/{name} {sentence}" in done.stdout
    assert (author / "data.dvc").read_bytes() == before


def test_unfinished_experiment_cannot_be_published(author: Path, edit):
    edit(author, "\nseeds: [0, 1]\n", "\nseeds: [0, 1, 2]\n")
    done = share(author, "publish")
    edit(author, "\nseeds: [0, 1, 2]\n", "\nseeds: [0, 1]\n")
    assert done.returncode == 1
    assert "seed-2/theta_1.safetensors is missing (" in done.stdout
    assert "Run it first: make run EXPERIMENT=digits-smoke" in done.stdout


def test_metrics_are_compared_between_commits(author: Path, published: str, rerun, edit):
    """The author narrows the experiment to one seed: no training, other tables."""
    edit(author, "\nseeds: [0, 1]\n", "\nseeds: [1]\n")
    done = rerun(author, "--cores", "all")
    assert done.returncode == 0, done.stdout[-5000:]
    told = publish_and_commit(author)
    assert "Since the last time: " in told
    shown = compare(author, "show", HEADLINE)
    assert shown[""]["data"][HEADLINE]["data"] == json.loads((author / HEADLINE).read_text())
    # A clone compares two commits, too. For old ones, DVC finds no remote by a relative path.
    folder = clone_of(author, "compared")
    dvc(folder, "remote", "modify", "--local", "default", "url", str(author.parent / "wiseft-dvc"))
    differences = [compare(place, "diff", published, "HEAD") for place in (author, folder)]
    assert differences[0] == differences[1]
    changed = differences[0][HEADLINE]
    assert changed, "one seed alone has the headline of two"
    for key, change in changed.items():
        assert change["new"] == flat(json.loads((author / HEADLINE).read_text()))[key]
        assert change["diff"] == pytest.approx(change["new"] - change["old"])


def compare(folder: Path, what: str, *arguments: str) -> dict:
    """Return what `dvc metrics` prints as JSON; before it, it warns of files that are not there."""
    return json.loads(dvc(folder, "metrics", what, "--json", *arguments).splitlines()[-1])


def flat(nested: dict, prefix: str = "") -> dict[str, float]:
    """Return the numbers of nested dictionaries by their keys, joined by dots."""
    found: dict[str, float] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found
