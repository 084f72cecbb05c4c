"""Commands that are killed anywhere: run again, they end as if nothing had been."""

from __future__ import annotations

import shutil
from multiprocessing import RawValue
from pathlib import Path
from random import Random

from tests.faults.harness import count_events, end_after, kill_at_event
from tests.faults.verdicts import Found, Ground, Verdict
from tests.faults.world import leftovers, steps

NAMES = [
    *("finetune", "evaluate", "prepare-pets", "tabulate", "cache", "merge", "weights", "zeroshot"),
    *("linear", "diversity", "fisher-0", "combine", "interpolate", "fetch-pets", "prepare-boxes"),
    *("report-csv", "headline-parquet", "figure", "evaluate-linear", "merge-folder"),
]


def attack(ground: Ground, rng: Random, number: int) -> Found:
    """Kill a command once or twice, then let it end."""
    world, name = ground.world, NAMES[number % len(NAMES)]
    step, said = steps()[name], ""
    folder = world.copy(f"kills-{number}", step.outputs)
    try:
        counter = RawValue("q", 0)
        unpacked_again(name, folder)
        whole = world.do(name, folder, before=count_events(counter))
        assert whole.code == 0, whole.output
        shutil.rmtree(folder)
        world.copy(f"kills-{number}", step.outputs)
        unpacked_again(name, folder)
        for _ in range(rng.choice([1, 1, 2])):
            if rng.random() < 0.75:
                event = rng.randrange(1, counter.value + 1)
                said += f", killed at event {event} of {counter.value}"
                world.do(name, folder, before=kill_at_event(event))
            else:
                seconds = rng.uniform(0.05, 1.0)
                said += f", ended after {seconds:.2f} s"
                world.do(name, folder, before=end_after(seconds))
        what = f"{name}{said}"
        ended = world.do(name, folder)
        if found := ground.common(what, ended):
            return found
        if ended.code and name.startswith("merge") and world.same(name, folder):
            return Found(f"{what}, when it had written all")  # what is there it never touches
        if ended.code:
            return Found(what, Verdict.HAND, ended.output[-600:])
        if not world.same(name, folder):
            return Found(what, Verdict.SILENT, f"other files\n{ended.output[-600:]}")
        if rubbish := leftovers(folder):
            return Found(what, Verdict.UNCLEAR, f"left {rubbish}")
        return Found(what)
    finally:
        shutil.rmtree(folder)


def unpacked_again(name: str, folder: Path) -> None:
    """Take away the folders that a command makes."""
    made = {"prepare-pets": "datasets/pets/files", "merge-folder": "merged"}
    if name in made:
        shutil.rmtree(folder / made[name])
