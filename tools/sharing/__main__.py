"""`python -m tools.sharing publish|copies|pull`, run in the project's root."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.sharing import copies, publish, pull

from wiseft.errors import DamagedFile, WiseftError
from wiseft.study.plan.failures import set_aside


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; return the exit code, 1 for what a user can mend."""
    parser = argparse.ArgumentParser(prog="python -m tools.sharing", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("publish", publish.__doc__), ("pull", pull.__doc__)):
        command = commands.add_parser(name, help=(text or "").splitlines()[0])
        command.add_argument("--experiment", required=True)
        command.add_argument("--cores", default="all", help="of Snakemake")
    commands.add_parser("copies", help=(copies.write_copies.__doc__ or "").splitlines()[0])
    commands.choices["publish"].add_argument(
        "--replace", action="store_true", help="even if files that were published are missing here"
    )
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "publish":
            publish.publish(Path(), chosen.experiment, chosen.cores, replace=chosen.replace)
        elif chosen.command == "copies":
            copies.write_copies(Path())
        else:
            pull.pull(Path(), chosen.experiment, chosen.cores)
    except WiseftError as error:
        text = set_aside(error) if isinstance(error, DamagedFile) else error
        print(f"error: {text}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
