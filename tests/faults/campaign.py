"""The campaign: attacks by class, their number at each size, and the table of what they came to.

python -m tests.faults                       the large campaign
python -m tests.faults --size small          what CI runs
python -m tests.faults --only archives --case 17 --seed 3    one attack again
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import pkgutil
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.faults.verdicts import Attack, Found, Ground, Verdict
from tests.faults.world import World


@dataclass(frozen=True)
class Kind:
    """A class of attacks: the module of its `attack`, and how many at each size.

    The small size has each form of file, link and server at least once.
    """

    module: str
    small: int
    large: int

    @property
    def attack(self) -> Attack:
        found: Attack = importlib.import_module(f"tests.faults.{self.module}").attack
        return found


KINDS = {
    "killed commands": Kind("kills", 10, 60),
    "killed runs": Kind("runs", 1, 12),
    "damaged files": Kind("corruptions", 42, 560),
    "configurations": Kind("configs", 30, 220),
    "command lines": Kind("command_lines", 40, 520),
    "archives": Kind("archives", 20, 220),
    "model files": Kind("model_files", 36, 320),
    "tables and arrays": Kind("foreign_tables", 22, 120),
    "full disks": Kind("disks", 10, 70),
    "permissions": Kind("permissions", 12, 60),
    "foreign checkpoints": Kind("foreign_checkpoints", 36, 480),
    "changed images": Kind("changed_images", 8, 64),
    "links": Kind("outside_links", 21, 189),
    "mirrors": Kind("mirrors", 12, 120),
}


def preload() -> None:
    """Import what commands import, once, and start no thread: every attack is a fork of this."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    import wiseft

    for module in pkgutil.walk_packages(wiseft.__path__, "wiseft."):
        # No command imports the callback for Lightning, which need not be here.
        if not module.name.endswith(("__main__", "lightning_callback")):
            importlib.import_module(module.name)
    import torch
    from tests.faults.foreign_models import import_libraries

    from wiseft.base.provenance import git_commit, versions

    torch.set_num_threads(1)
    import_libraries()
    git_commit()
    versions()


def attacks(names: list[str], size: str, case: int | None) -> Iterator[tuple[str, int]]:
    """Yield class and number of every attack."""
    for name in names:
        numbers = range(getattr(KINDS[name], size)) if case is None else [case]
        yield from ((name, number) for number in numbers)


def carry_out(one: tuple[Ground, str, int, int]) -> Found:
    """Carry out one attack; a fault of the campaign itself counts as a failure too."""
    ground, name, number, seed = one
    rng = Random(f"{seed}/{name}/{number}")
    try:
        return KINDS[name].attack(ground, rng, number)
    except Exception as error:
        import traceback

        why = "".join(traceback.format_exception(error))[-1500:]
        return Found("the campaign itself", Verdict.UNCLEAR, why)


def table(found: dict[str, list[Found]]) -> str:
    """Return the outcomes as a Markdown table, and the sentence that counts."""
    head = ["class", "tried", *Verdict]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    totals: Counter[str] = Counter()
    for name, outcomes in found.items():
        counts = Counter(outcome.verdict for outcome in outcomes)
        totals.update(counts)
        rows.append([name, str(len(outcomes)), *(str(counts[verdict]) for verdict in Verdict)])
    tried = sum(len(outcomes) for outcomes in found.values())
    rows.append(["all", str(tried), *(str(totals[verdict]) for verdict in Verdict)])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    counted = (
        f"{totals[Verdict.SILENT]} silent, {totals[Verdict.CODE]} code run, "
        f"{totals[Verdict.HAND]} needing a hand, {totals[Verdict.UNCLEAR]} unclear"
    )
    return "\n".join([*lines, "", counted])


def prepare() -> Ground:
    """Import everything and build the world, below a folder that is the only one written to."""
    base = Path(tempfile.mkdtemp(prefix="wiseft-faults-"))
    base.chmod(0o755)
    for variable, place in (("TMPDIR", "tmp"), ("HOME", "home"), ("MPLCONFIGDIR", "home")):
        (base / place).mkdir(exist_ok=True)
        (base / place).chmod(0o777)  # some commands run as nobody
        os.environ[variable] = str(base / place)
    os.environ |= {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    tempfile.tempdir = None
    preload()
    return Ground(World.build(base), base)


def campaign(
    ground: Ground, names: list[str], size: str, seed: int, case: int | None, jobs: int
) -> bool:
    """Carry out the attacks, tell of those that came through, and print the table; whether none
    did.
    """
    found: dict[str, list[Found]] = {name: [] for name in names}
    wanted = list(attacks(names, size, case))
    # Each worker is a process without threads, which can be forked again without harm.
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        outcomes = pool.imap(carry_out, [(ground, *one, seed) for one in wanted])
        for (name, number), outcome in zip(wanted, outcomes, strict=True):
            found[name].append(outcome)
            if outcome.verdict is not Verdict.SURVIVED or case is not None:
                _tell(name, number, seed, outcome)
    print(f"\n{table(found)}")
    every = [outcome for outcomes in found.values() for outcome in outcomes]
    for note in sorted({outcome.note for outcome in every} - {""}):
        print(note)
    return all(outcome.verdict is Verdict.SURVIVED for outcome in every)


def _tell(name: str, number: int, seed: int, outcome: Found) -> None:
    again = f'python -m tests.faults --only "{name}" --case {number} --seed {seed}'
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in outcome.why)
    why = shown.strip().replace("\n", "\n    ")
    print(f"{outcome.verdict.upper()}: {outcome.what}\n    {why}\n    again: {again}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.faults")
    parser.add_argument("--size", choices=["small", "large"], default="large")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--only", choices=list(KINDS), action="append", help="a class; repeat")
    parser.add_argument("--case", type=int, help="one attack, by its number")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    given = parser.parse_args()
    start, ground = time.monotonic(), prepare()
    print(f"seed {given.seed}; the world stands after {time.monotonic() - start:.0f} s", flush=True)
    try:
        names = given.only or list(KINDS)
        whole = campaign(ground, names, given.size, given.seed, given.case, given.jobs)
    finally:
        shutil.rmtree(ground.base, ignore_errors=True)
    print(f"{given.size}, seed {given.seed}: {time.monotonic() - start:.0f} s")
    sys.exit(0 if whole else 1)
