"""Put the results of a finished experiment under DVC and push them.

Refuses what is unfinished, what is bound by a licence, and what would lose published files.
"""

from __future__ import annotations

from pathlib import Path

from tools.sharing.commands import (
    OUTS,
    data_status,
    dvc,
    git_state,
    last_lines,
    planned,
    some,
)
from tools.sharing.complete import (
    artifact_problems,
    check_content,
    missing_files,
    table_problems,
)
from tools.sharing.copies import write_copies
from tools.sharing.guard import check_shareable, check_tracked
from tools.sharing.manifest import NAME, shared_files, write_manifest

from wiseft.base.io import write_text
from wiseft.errors import WiseftError
from wiseft.study.config import Config, paths
from wiseft.study.targets import Targets

MESSAGE = Path(".wiseft/publish-message")


def publish(root: Path, experiment: str, cores: str, *, replace: bool = False) -> None:
    """Check, write the manifest, add and push data/, and say how to commit it.

    Args:
        root: the project's root.
        experiment: that is to be whole; all of data/ is published.
        cores: of Snakemake's dry run.
        replace: even if files that were published before are missing here.

    Raises:
        WiseftError: if something is unfinished, must not be shared or would be lost, or DVC fails.
    """
    targets = Targets.read(root, {"experiment": experiment})
    data = root / paths.DATA
    if not data.is_dir():
        raise WiseftError(f"{data} does not exist; run the experiment first: make run")
    print(f"Checking that {experiment} is finished and that nothing in data/ is bound by a licence")
    check_tracked(root)
    files = shared_files(data)
    check_shareable(files, data, dataset_folders(root, targets.settings))
    changes = _changes(root, replace)
    _check_finished(root, targets)
    _refuse(experiment, artifact_problems(targets))
    check_content(targets, files)
    write_manifest(data, files)
    print(changes)
    _list_metrics(root, experiment)
    for arguments in (("add", "--quiet", "data"), ("push", OUTS)):
        if dvc(root, *arguments, show=True).returncode:
            raise WiseftError(
                f"dvc {' '.join(arguments)} failed, as it says above; nothing else was changed"
            )
    write_copies(root)
    _say(root, experiment, files)


def dataset_folders(root: Path, config: Config) -> list[Path]:
    """Return the folders in which datasets lie: fetched ones and the user's own."""
    places = config.datasets
    given = [places.folder, *([places.root] if places.root else []), *places.paths.values()]
    return [root / Path(place).expanduser() for place in given]


def _check_finished(root: Path, targets: Targets) -> None:
    # Of a table that is there, Snakemake does not ask what it was once made from.
    experiment = targets.name
    _refuse(experiment, missing_files(targets))
    jobs = planned(root, experiment, ["tables", *map(str, targets.files.headline())])
    jobs.pop("tables", None)
    if jobs:
        listed = ", ".join(f"{rule} ({count})" for rule, count in sorted(jobs.items()))
        raise WiseftError(
            f"{experiment} is not finished; jobs are still to be run: {listed}. Run it first: "
            f"make run EXPERIMENT={experiment}"
        )
    _refuse(experiment, table_problems(targets))


def _refuse(experiment: str, problems: list[str]) -> None:
    if problems:
        raise WiseftError(
            f"{problems[0]} ({len(problems)} such problems). Run it first: make run "
            f"EXPERIMENT={experiment}"
        )


def _changes(root: Path, replace: bool) -> str:
    """Return in words what differs from what was published last.

    Raises:
        WiseftError: if published files are missing here, unless they are to be replaced.
    """
    if not (root / OUTS).is_file():
        return "Nothing was published before."
    status = data_status(root)
    uncommitted = status.get("uncommitted", {})
    kinds = {
        kind: [name for name in uncommitted.get(key, []) if not name.endswith("/")]
        for key, kind in (("added", "new"), ("modified", "changed"), ("deleted", "missing"))
    }
    unknown = "data/" in status.get("not_in_cache", []) and not kinds["missing"]
    if unknown and not replace:
        raise WiseftError(
            f"{OUTS} names a version that cannot be read here, so what it holds would be lost; get "
            "it first (make pull), or publish in its place: make publish REPLACE=1"
        )
    if kinds["missing"] and not replace:
        raise WiseftError(
            f"{len(kinds['missing'])} files that were published are missing here: "
            f"{some(kinds['missing'])}. Get them first (make pull), or publish without them: make "
            "publish REPLACE=1"
        )
    told = [f"{len(names)} {kind} ({some(names, 2)})" for kind, names in kinds.items() if names]
    if unknown:
        return "What was published before is replaced."
    return f"Since the last time: {'; '.join(told) or 'no change'}."


def _list_metrics(root: Path, experiment: str) -> None:
    """Name the experiment's headline in dvc.yaml, for `dvc metrics show` and `diff`."""
    file, path = root / "dvc.yaml", paths.table_path(experiment, "metrics.json").as_posix()
    if not (root / path).is_file() or not file.is_file():
        return
    text = file.read_text(encoding="utf-8")
    if f"- {path}\n" in text:
        return
    before, separator, after = text.partition("\nmetrics:\n")
    if not separator:
        raise WiseftError(f"{file} has no key `metrics`; add one that lists {path}")
    write_text(file, f"{before}{separator}  - {path}\n{after}")
    print(f"Listed {path} in dvc.yaml")


def _say(root: Path, experiment: str, files: list[Path]) -> None:
    clean = dvc(root, "status", OUTS)
    if clean.returncode or "up to date" not in clean.stdout:
        raise WiseftError(
            f"data/ changed while it was published; run it again. dvc status says: "
            f"{last_lines(clean.stdout + clean.stderr)}"
        )
    size = sum(path.stat().st_size for path in files)
    commit = git_state(root)
    message = (
        f"Publish the results of {experiment}\n\n"
        f"Experiment: {experiment}\nCode: {commit}\n"
        f"Data: {len(files)} files, {size / 1e6:.0f} MB, listed in data/{NAME}\n"
    )
    write_text(root / MESSAGE, message)
    add = f"{OUTS} dvc.yaml {paths.PUBLISHED}"
    print(f"\nPublished. Now commit it:\n  git add {add} && git commit -F {MESSAGE}\n")
    print("\n".join(f"    {line}".rstrip() for line in message.splitlines()))
    if commit.endswith("-dirty"):
        print("\nnote: there are uncommitted changes, so that commit is not all that made them")
