"""What an installation takes, and how long its import and its `--help`.

Of this package (its wheel, without extras) and of two others that mix or adapt weights. Each is
installed into an environment of its own, in `WISEFT_ENVIRONMENTS` (kept there) or a temporary
folder; some 3 GB in all. Not among the benchmarks of `make bench`:
`python -m benchmarks --only installing`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, Options, measured, summary, write_record

IMPORTS = {
    "wiseft": ["import wiseft", "import wiseft; wiseft.load"],
    "peft": ["import peft"],
    "mergekit": ["import mergekit", "import mergekit.merge"],
}
PROGRAMS = {"wiseft": "wiseft", "mergekit": "mergekit-yaml"}  # peft has none


def run(options: Options) -> None:
    """Write `installing.json`."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(os.environ.get("WISEFT_ENVIRONMENTS", temporary)).resolve()
        megabytes, commands = {}, {}
        for name in IMPORTS:
            python = _environment(folder / name, name)
            megabytes[name] = _megabytes(python)
            for statement in IMPORTS[name]:
                commands[statement] = [str(python), "-c", statement]
            if name in PROGRAMS:
                program = PROGRAMS[name]
                commands[f"{program} --help"] = [str(python.with_name(program)), "--help"]
        runs: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(options.repeats + 1):
            for name, command in commands.items():
                used, _ = measured(command, options.threads, Path("/"))  # not this source
                if turn:  # the first run writes byte code
                    runs[name].append(used["cpu_seconds"])
    cpu_seconds = {name: summary(values) for name, values in runs.items()}
    write_record(
        "installing",
        options,
        megabytes=megabytes,
        cpu_seconds=cpu_seconds,
        measured=megabytes | {name: values["median"] for name, values in cpu_seconds.items()},
    )


def _environment(folder: Path, name: str) -> Path:
    """Return the Python of an environment with a package, which is made where it is missing."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        what = str(ROOT) if name == "wiseft" else name
        subprocess.run([python, "-m", "pip", "install", "--quiet", what], check=True)
    return python


def _megabytes(python: Path) -> dict[str, Any]:
    """Return the size of all that is installed but pip and byte code, and of torch in it."""
    packages = next((python.parent.parent / "lib").glob("python*/site-packages"))
    sizes: dict[str, int] = {}
    for path in packages.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            top = path.relative_to(packages).parts[0]
            sizes[top] = sizes.get(top, 0) + path.stat().st_size
    own = {k: v for k, v in sizes.items() if not k.startswith(("pip", "setuptools"))}
    return {"all": round(sum(own.values()) / 1e6), "torch": round(own.get("torch", 0) / 1e6)}
