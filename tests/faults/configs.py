"""Slips and tricks in the files of config/: a sentence with the file, or a valid configuration."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.faults.harness import command, run
from tests.faults.verdicts import Found, Ground, Verdict
from tests.faults.world import replace

SCALARS = [
    *(
        "2020-99-99",
        "!!int abc",
        "!!float x",
        "!!timestamp y",
        "!!binary '*'",
        "*nobody",
        "&a [*a]",
    ),
    *("~", "''", "yes", "-1", "0", "1e400", ".nan", ".inf", "0x7fffffffffffffff", "9" * 400),
    *("[]", "{}", "[[]]", "{a: }", "{{a: 1}: 2}", "? [a, b]", "<<", "!", "!!set {a, b}", "'\\'"),
    *("!!python/object/apply:os.system ['touch CANARY']", "!!python/name:os.system", "!local x"),
    *("'%s'" % ("x" * 5000), '"\\u0000"', '"\\ud800"', "../../etc/passwd", "/dev/zero", "a\tb"),
    *("[1, 2", "{a: 1", "'open", "- -", "@at", "`tick`", "%percent", "!!map [1]", "!!seq {a: 1}"),
    *("1_000", "0o17", "1:30:00", "null", "[~]", "[a, a]", "[1, [2, [3]]]", "{<<: 3}", "{<<: [1]}"),
]


def _bomb(text: str, rng: Random) -> str:
    """Aliases of aliases: nine lines that unfold to 10^9 items."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    return text + "\n" + "\n".join(lines) + "\n"


def _merges(text: str, rng: Random) -> str:
    """The same with merged mappings."""
    lines = ["m0: &m0 {" + ", ".join(f"k{n}: 1" for n in range(50)) + "}"]
    lines += [f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 12)}]}}" for n in range(1, 7)]
    return text + "\n" + "\n".join(lines) + "\n"


def _value(text: str, rng: Random) -> str:
    """Put something else behind a key."""
    keys = list(re.finditer(r"^( *(?:- )?[\w.-]+:)( .*)?$", text, re.MULTILINE))
    key = rng.choice(keys)
    return text[: key.end(1)] + " " + rng.choice(SCALARS) + text[key.end() :]


def _key(text: str, rng: Random) -> str:
    """Put something else in place of a key."""
    key = rng.choice(list(re.finditer(r"^( *)([\w.-]+):", text, re.MULTILINE)))
    return text[: key.start(2)] + rng.choice(SCALARS)[:200] + text[key.end(2) :]


def _letter(text: str, rng: Random) -> str:
    place = rng.randrange(len(text))
    put = rng.choice(["", *":-[]{}&*!|>'\"%@`#,?\t\n \x00\x07é", text[place] * 2])
    return text[:place] + put + text[place + 1 :]


def _line(text: str, rng: Random) -> str:
    lines = text.splitlines(keepends=True)
    place = rng.randrange(len(lines))
    change = rng.choice(["drop", "twice", "indent", "out", "tab", "swap"])
    line = lines[place]
    if change == "swap":
        other = rng.randrange(len(lines))
        lines[place], lines[other] = lines[other], line
    else:
        new = {"drop": "", "twice": line * 2, "indent": "  " + line, "tab": "\t" + line}
        lines[place] = new.get(change, line.lstrip())
    return "".join(lines)


def _deep(text: str, rng: Random) -> str:
    depth = rng.choice([200, 3000, 50_000])
    return (
        text
        + "deep: "
        + rng.choice(["[" * depth + "]" * depth, "{a: " * depth + "}" * depth])
        + "\n"
    )


def _many(text: str, rng: Random) -> str:
    return text + "".join(f"key{number}: {number}\n" for number in range(rng.choice([300, 5000])))


SLIPS: list[Callable[[str, Random], str]] = [_value, _value, _key, _letter, _letter, _line]
TRICKS: list[Callable[[str, Random], str]] = [_bomb, _merges, _deep, _many]
COMMANDS = [
    ("config", "check"),
    ("config", "show", "--experiment", "mini"),
    ("plan", "mini"),
    ("doctor", "--experiment", "mini"),
]


def attack(ground: Ground, rng: Random, number: int) -> Found:
    """Spoil one file of the configuration, and ask a command that reads it."""
    folder = ground.world.copy(f"configs-{number}")
    try:
        files = sorted((folder / "config").rglob("*.yaml"))
        path = files[number % len(files)]
        asked = rng.choice(COMMANDS)
        change = rng.choice(TRICKS if number % 8 == 7 else SLIPS)
        where = path.relative_to(folder).as_posix()
        what = f"{where}: {change.__name__.strip('_')}, wiseft {' '.join(asked)}"
        if number % 29 == 28:
            replace(path, rng.randbytes(200))
            what = f"{where}: random bytes, wiseft {' '.join(asked)}"
        else:
            text = change(path.read_text(), rng).replace("CANARY", str(ground.canary / "x"))
            replace(path, text.encode("utf-8", "surrogatepass"))
        ended = run(command(*asked, *_root(asked)), folder, seconds=15)
        if found := ground.common(what, ended):
            return found
        return _names(what, path, ended.code, ended.output)
    finally:
        shutil.rmtree(folder)


def _root(asked: tuple[str, ...]) -> tuple[str, ...]:
    return ("--root", ".")


def _names(what: str, path: Path, code: int, said: str) -> Found:
    """Find fault with an error that names neither the file nor the entry."""
    if code and path.name not in said and path.stem not in said:
        return Found(what, Verdict.UNCLEAR, f"does not name {path.name}\n{said[-500:]}")
    return Found(what)
