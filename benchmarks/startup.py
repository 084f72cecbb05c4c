"""How long the command line takes to say what it can do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.common import Options, timed, write_record

WISEFT = str(Path(sys.executable).with_name("wiseft"))
COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "wiseft --help": [WISEFT, "--help"],
    "wiseft evaluate --help": [WISEFT, "evaluate", "--help"],
}


def run(options: Options) -> None:
    """Write `startup.json`."""
    ways = {
        name: lambda command=command: subprocess.run(command, check=True, capture_output=True)
        for name, command in COMMANDS.items()
    }
    for way in ways.values():
        way()  # byte code is written once
    seconds, _ = timed(ways, options.repeats)
    write_record(
        "startup",
        options,
        seconds=seconds,
        measured={name: values["median"] for name, values in seconds.items()},
        goals={"wiseft --help": 0.5},
    )
