"""Rehearse experiments: the real workflow on few images and tiny models, to the last figure.

    python -m tools.rehearsal imagenet          # or several names, or all, or few: each family once

All of it lies in `.wiseft/rehearsal`, a project of its own. What has come out there is kept while
neither code nor configuration changes, so that a killed rehearsal continues.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
from pathlib import Path

from tools.rehearsal import cut, real
from tools.rehearsal.run import FEW, Outcome, rehearse, table
from tools.rehearsal.server import serving

from wiseft.base.io import read_json, sha256_file, sha256_json, write_json
from wiseft.base.locks import exclusive
from wiseft.base.validation import suggest
from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue

PROJECT = Path(__file__).parents[2]
ROOT = Path(".wiseft/rehearsal")
OF_PROJECT = ("Snakefile", "src", "workflow", "config", "profiles", "tools/rehearsal")
STAMP = "rehearsal.json"


def main(arguments: list[str] | None = None) -> int:
    """Rehearse what is asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.rehearsal", description=__doc__)
    parser.add_argument("experiments", nargs="+", help="names; `all`; `few`")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--root", type=Path, default=PROJECT / ROOT)
    parser.add_argument("--real", action="store_true", help="measure with your data and weights")
    parser.add_argument("--keep", action="store_true", help="go on although the code has changed")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stdout, format="  %(message)s")
    logging.getLogger("tools").setLevel(logging.INFO)
    # So that what was started ends as well.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        names = experiments(options.experiments)
        if options.real:
            return measure_all(names, options.root.absolute(), options.cores)
        outcomes = run(names, options.root.absolute(), options.cores, options.keep)
    except WiseftError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("", table(outcomes), sep="\n")
    return int(any(outcome.error for outcome in outcomes))


def experiments(names: list[str]) -> list[str]:
    """Return the experiments that are meant. Raises WiseftError for one that there is not."""
    known = Catalogue(PROJECT).names("experiments")
    lists = {"all": known, "few": list(FEW)}
    found = [name for given in names for name in lists.get(given, [given])]
    for name in found:
        if name not in known:
            raise WiseftError(f"unknown experiment {name}; {suggest(name, known)}; or all, or few")
    # Those that show others' tables come last, so that these are there.
    late = [name for name in found if name in ("paper", "few-shot")]
    return [*dict.fromkeys(name for name in found if name not in late), *dict.fromkeys(late)]


def run(names: list[str], root: Path, cores: int, keep: bool) -> list[Outcome]:
    """Rehearse experiments one after the other in a folder that is made for it.

    Raises:
        WiseftError: if the configuration is wrong; what fails in a rehearsal is in its outcome.
    """
    with exclusive(root.with_name(f".{root.name}.lock")):
        made = read_json(root / STAMP) if (root / STAMP).is_file() else None
        state = {"format": 1, "project": fingerprint()}
        if made is None or (made != state and not keep):
            prepare(root)
        elif made != state:
            cut.copy_again(PROJECT, root)
        write_json(root / STAMP, state)
        with serving(root / "logs") as variables:
            outcomes = []
            for number, name in enumerate(names, 1):
                outcomes.append(rehearse(PROJECT, root, name, cores, variables))
                print(f"[{number}/{len(names)}] {outcomes[-1]}", flush=True)
            return outcomes


def measure_all(names: list[str], root: Path, cores: int) -> int:
    """Measure experiments with the user's own data and weights; return the exit code.

    Raises:
        WiseftError: as `real.measure` does.
    """
    for name in names:
        folder = root.with_name(f"{root.name}-real") / name
        shutil.rmtree(folder, ignore_errors=True)
        for rate in real.measure(PROJECT, folder, name, cores):
            speed = f"{rate['images_per_second']:,.0f} images/s on {rate['device']}"
            print(f"{rate['rule']} {rate['model']} {rate['method']}: {speed}", flush=True)
    print(f"Rates: {real.RATES}")
    return 0


def fingerprint() -> str:
    """Return a hash of all that a rehearsal follows from."""
    tops = [PROJECT / name for name in OF_PROJECT]
    files = [f for top in tops for f in ([top] if top.is_file() else sorted(top.rglob("*")))]
    sums = {
        str(path.relative_to(PROJECT)): sha256_file(path)
        for path in files
        if path.is_file() and "__pycache__" not in path.parts
    }
    return sha256_json(sums)


def prepare(root: Path) -> None:
    """Make a folder that looks like a project: its code by links, its configuration cut."""
    shutil.rmtree(root, ignore_errors=True)
    cut.link_project(PROJECT, root)
    cut.write_config(root)


if __name__ == "__main__":
    sys.exit(main())
