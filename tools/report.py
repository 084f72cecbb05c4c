"""Write the HTML report of an experiment, whole or not at all, where its results have changed.

    python -m tools.report RESULTS TABLE -- snakemake --cores 2 --config experiment=NAME

Snakemake writes a report under its last name from the start, so that half of one, of a killed run
or a full disk, would pass for finished; here it gets a temporary name first.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from wiseft.base.io import atomic_path
from wiseft.errors import WiseftError

END = b"</html>"
SHOWN = 12  # lines of what Snakemake says, where it fails


def main(arguments: list[str]) -> None:
    """Write `report.html` into the folder of results."""
    between = arguments.index("--")
    results, table = map(Path, arguments[:between])
    report = results / "report.html"
    try:
        if due(report, [*results.rglob("*"), table]):
            print(f"Writing {report}", flush=True)
            write(report, arguments[between + 1 :])
    except WiseftError as error:
        sys.exit(f"error: {error}")


def due(report: Path, sources: list[Path]) -> bool:
    """Whether there is no whole report, or a source is newer."""
    if not is_whole(report):
        return True
    made = report.stat().st_mtime
    return any(path.is_file() and path.stat().st_mtime > made for path in sources)


def write(report: Path, command: list[str]) -> None:
    """Let Snakemake make a report, and give it its name when it is whole.

    Raises:
        WiseftError: if it is not; the report that was there before stays.
    """
    with atomic_path(report) as temporary:
        done = subprocess.run(
            [*command, "--report", str(temporary)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode or not is_whole(temporary):
            if (end := done.stdout.strip().rpartition("\n")[2]).startswith("OSError: "):
                raise OSError(end)  # of a full disk, it gets the sentence that all files have
            said = "\n".join(done.stdout.splitlines()[-SHOWN:])
            raise WiseftError(
                f"{report} could not be made; mend what Snakemake says, then run `make report`:\n"
                + said
            )


def is_whole(report: Path) -> bool:
    """Whether a page is there up to its end."""
    if not report.is_file():
        return False
    with report.open("rb") as file:
        file.seek(-min(report.stat().st_size, 4096), 2)
        return END in file.read()


if __name__ == "__main__":
    main(sys.argv[1:])
