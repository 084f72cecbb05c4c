"""Command lines that nobody means: a sentence or the usage, and nothing outside the folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.harness import command, run
from tests.faults.verdicts import Found, Ground
from tests.faults.world import steps

VALUES = [
    *("", " ", "-", "--", "-1", "0", "1", "1.5", "nan", "inf", "-inf", "1e400", "9" * 30, "0x10"),
    *("[]", "{}", "null", "true", '"x"', "[1", '{"a":', '{"a": 1}', '{"a": {"a": []}}', "[[[[]]]]"),
    *("@", "@absent.yaml", "@.", "@/dev/null", "@config", "@source/a.pt", "[" * 3000, '["{c}"]'),
    *(
        "absent",
        "absent.json",
        ".",
        "..",
        "/",
        "/dev/null",
        "config",
        "source/a.pt",
        "data",
        "x/y/z",
    ),
    *(
        "datasets/pets/manifest.json",
        "data/models/tiny/weights.safetensors",
        "results/mini/index.html",
    ),
    *(
        "data/models/tiny/pets/theta_0.safetensors",
        "data/tables/mini.csv",
        "data/tables/mini.parquet",
    ),
    *(
        "pets",
        "boxes",
        "mini",
        "tiny",
        "cpu",
        "cuda",
        "auto",
        "0.500",
        "0.5",
        "2",
        "0,1",
        "0.000,2.000",
    ),
    *(
        "a=b",
        "=",
        "thetas=absent",
        "é",
        "\u202e",
        "x" * 300,
        "a\nb",
        "a b",
        "*",
        "$(touch x)",
        "; ls",
    ),
    *("hf-hub:nobody/nothing", "ViT-B-32/openai", "nobody/nothing", "http://127.0.0.1:9/x", "-h"),
]


@cache
def commands() -> dict[tuple[str, ...], list[Any]]:
    """Return the parameters of every command by its words."""
    import typer

    from wiseft.cli import app

    found: dict[tuple[str, ...], list[Any]] = {}

    def visit(part: Any, words: tuple[str, ...]) -> None:
        if hasattr(part, "commands"):
            for name, inner in part.commands.items():
                visit(inner, (*words, name))
        else:
            found[words] = [one for one in part.params if one.name != "help"]

    visit(typer.main.get_command(app), ())
    return found


@cache
def _valid() -> list[tuple[str, ...]]:
    return [step.arguments for step in steps().values()]


def _line(rng: Random, number: int) -> list[str]:
    """Return a command line: one that is right but for some words, or one that is made up."""
    if number % 2:
        words = list(rng.choice(_valid()))
        for _ in range(rng.choice([1, 1, 2, 3])):
            place = rng.randrange(1, len(words))
            change = rng.choice(["value", "drop", "twice"])
            words[place : place + 1] = {
                "value": [rng.choice(VALUES)],
                "drop": [],
                "twice": [words[place]] * 2,
            }[change]
            if len(words) < 2:
                break
        return words
    known = commands()
    name = sorted(known)[number // 2 % len(known)]
    words = list(name)
    for parameter in known[name]:
        wanted = parameter.required or rng.random() < 0.25
        if not wanted or rng.random() < 0.05:
            continue
        if parameter.param_type_name == "argument":
            words.append(rng.choice(VALUES))
        else:
            words.append(rng.choice(parameter.opts))
            if not getattr(parameter, "is_flag", False):
                words.append(rng.choice(VALUES))
    return words


def _unasked(seen: list[str], words: list[str], folder: Path) -> list[str]:
    """Return what was noted but for files in folders that the line itself names, such as `..`."""
    named = {(folder / word).resolve() for word in words if len(word) < 256}
    return [one for one in seen if Path(one.removeprefix("writes ")).parent not in named]


def attack(ground: Ground, rng: Random, number: int) -> Found:
    """Give one command line."""
    words = _line(rng, number)
    what = "wiseft " + " ".join(repr(word[:60]) for word in words)
    folder = ground.world.copy(f"lines-{number}")
    try:
        ended = run(command(*words), folder)
        ended = replace(ended, seen=_unasked(ended.seen, words, folder))
        return ground.common(what, ended) or Found(what)
    finally:
        shutil.rmtree(folder)
