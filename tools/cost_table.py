"""The first table of docs/costs.md: what the experiments of the paper cost, by `wiseft plan`.

python -m tools.cost_table
"""

from __future__ import annotations

from pathlib import Path

from wiseft.study.config import Catalogue
from wiseft.study.plan import PEAKS, Assumptions, estimate
from wiseft.study.targets import Targets

HEADER = (
    "| experiment | trainings | jobs | GPU-hours | images, GB | archives, GB "
    "| weights and results, GB |"
)


def main() -> None:
    """Print a row for each experiment of the paper that runs models."""
    print(HEADER, "|---" * 7 + "|", sep="\n")
    for name in Catalogue(Path()).names("experiments"):
        targets = Targets.read(Path(), {"experiment": name})
        if not targets.fetched or targets.data.entries[targets.reference].builder:
            continue
        plan = estimate(targets, Assumptions("a100", PEAKS["a100"]))
        halves = {row.precision for row in plan.rows} == {"bf16"}
        trained = len(targets.trainings)
        images, archives = (plan.disk_gb.get(kind, 0) for kind in ("datasets", "archives"))
        rest = sum(plan.disk_gb.values()) - images - archives
        print(
            f"| `{name}`{' (bf16)' if halves else ''} | {trained} | {sum(plan.jobs.values())} "
            f"| {plan.hours:.1f} | {images:.0f} | {archives:.0f} | {rest:.1f} |"
        )


if __name__ == "__main__":
    main()
