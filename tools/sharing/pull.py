"""Get published results to continue from: pull, verify, prepare datasets, mark as up to date.

A pull gives every file a new time, in any order, so the workflow would run everything again.
"""

from __future__ import annotations

from pathlib import Path

from tools.sharing.commands import OUTS, dvc, last_lines, snakemake, some
from tools.sharing.complete import artifact_problems, table_problems
from tools.sharing.manifest import NAME, read_manifest, shared_files, verify

from wiseft.errors import WiseftError
from wiseft.study.config import paths
from wiseft.study.targets import Targets


def pull(root: Path, experiment: str, cores: str) -> None:
    """Get data/, check it and mark it as up to date.

    Args:
        root: the project's root.
        experiment: to continue.
        cores: for preparing datasets, which are never shared.

    Raises:
        WiseftError: if the remote does not answer, a file is not the published one, or the
            results are not those of the present configuration: then nothing is marked.
    """
    targets = Targets.read(root, {"experiment": experiment})
    _get(root)
    data = root / paths.DATA
    _verify(data)
    _check_published(data, experiment)
    problems = table_problems(targets)
    problems += artifact_problems(targets)
    if problems:
        raise WiseftError(
            f"{problems[0]} ({len(problems)} such problems). What was pulled is whole, but the "
            "configuration here is another one than it was made with, and marking it as up to "
            f"date would pass it off as made with this one. Check out the commit of {OUTS}, or "
            "undo your changes, pull, and make them again: then exactly what they touch is "
            "computed."
        )
    print("Preparing the datasets, which are never shared")
    _run(root, experiment, cores, "data")
    print("Marking what was pulled as up to date")
    _run(root, experiment, cores, "--touch", "--quiet", "all")
    print(f"Ready. Figures and whatever you add: make run EXPERIMENT={experiment}")


def _get(root: Path) -> None:
    if not (root / OUTS).is_file():
        raise WiseftError(f"{root / OUTS} does not exist: nothing was published in this commit")
    print("Pulling data/")
    done = dvc(root, "pull", OUTS)
    if done.returncode == 0:
        return
    text = last_lines(done.stderr, 12)
    if "unsaved files" in text:
        raise WiseftError(
            f"data/ holds files that were never published, and pulling would remove them:\n{text}\n"
            "Move them away, or publish them first (make publish)."
        )
    if absent := absent_remote(root):
        raise WiseftError(
            f"{absent}, so nothing can be pulled: name the place that was published to (dvc remote "
            "modify --local default url PLACE), or draw the figures of published experiments "
            "without data/ (make figures EXPERIMENT=...)"
        )
    raise WiseftError(
        f"dvc pull failed:\n{text}\nIs the remote the one that was published to? `dvc remote list` "
        "shows it; `dvc remote modify --local default url PLACE` names another "
        "(docs/running.md)."
    )


def absent_remote(root: Path) -> str:
    """Return what is missing of the remote, in words; empty if it is there or on a server."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        name = repo.config["core"].get("remote")
        remotes = repo.config["remote"]
    if name not in remotes:
        return "DVC has no remote"
    place = str(remotes[name]["url"])
    if "://" in place or Path(place).is_dir():
        return ""
    return f"DVC's remote, the folder {place}, does not exist"


def _verify(data: Path) -> None:
    """Compare all files with the manifest, if there is one."""
    if (data / NAME).is_file():
        sums = read_manifest(data)
        print(f"Verifying {len(sums)} files")
        verify(data, sums)
        names = [path.relative_to(data).as_posix() for path in shared_files(data)]
        if unlisted := [name for name in names if name not in sums]:
            raise WiseftError(
                f"{data / unlisted[0]} is not listed in {data / NAME} ({len(unlisted)} such "
                "files): it was published by `dvc add` alone. Have it published by `make publish`."
            )
    else:
        print(f"note: published without {NAME}, so only DVC's own sums were compared")


def _check_published(data: Path, experiment: str) -> None:
    if (data.parent / paths.table_path(experiment, "parquet")).is_file():
        return
    names = sorted(path.stem for path in (data / "tables").glob("*.parquet"))
    raise WiseftError(
        f"{experiment} is not among what was published; there are {some(names, 10) or 'no tables'}."
        f" What was pulled stays in data/; make pull EXPERIMENT=... marks one of those as up to "
        "date."
    )


def _run(root: Path, experiment: str, cores: str, *arguments: str) -> None:
    done = snakemake(root, experiment, cores, *arguments)
    if done.returncode:
        raise WiseftError(f"snakemake {' '.join(arguments)} failed:\n{last_lines(done.stdout, 20)}")
