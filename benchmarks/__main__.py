"""Run the benchmarks: `python -m benchmarks [--quick] [--only NAME ...]`.

Each writes `benchmarks/results/<name>.json`; with `--quick`, which only shows that they work,
`build/benchmarks/<name>.json`. Times mean something on an idle machine only: the record holds
the load average.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from benchmarks.common import Options
from wiseft.errors import WiseftError

BENCHMARKS = (
    *("heads", "sweeping", "training", "memory"),
    *("feeding", "planning", "scoring", "few"),
)


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny inputs, one repeat")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*BENCHMARKS, "installing", "combining", "merging_folders"],
        default=BENCHMARKS,
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    options = Options(
        quick=arguments.quick,
        repeats=1 if arguments.quick else arguments.repeats,
        device=arguments.device,
        threads=arguments.threads,
    )
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is imported
    import torch

    torch.set_num_threads(options.threads)
    failed = 0
    for name in arguments.only:
        try:
            importlib.import_module(f"benchmarks.{name}").run(options)
        except WiseftError as error:
            print(f"error: {name}: {error}", file=sys.stderr, flush=True)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
