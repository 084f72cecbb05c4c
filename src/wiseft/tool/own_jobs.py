"""The sweep with the user's own evaluation as jobs: what `workflow/sweep.smk` is given."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from wiseft.base.alphas import FIXED_ALPHA, format_alpha, parse_alphas
from wiseft.base.typed import Count, Entry, Seed
from wiseft.base.validation import validate
from wiseft.errors import WiseftError
from wiseft.tool.command import Command

ALPHAS = tuple(f"{step * 0.1:.3f}" for step in range(11))
"""Fewer than of a sweep of images, which has all alphas in one pass."""


def needed_alphas(given: float | str | None) -> list[str]:
    """Return the alphas that choices and comparisons need: 0, 1, 0.5, and one that is given."""
    asked = [] if given is None else [format_alpha(given)]
    return list(dict.fromkeys(["0.000", "1.000", FIXED_ALPHA, *asked]))


def whole_grid(alphas: Iterable[float | str], given: float | str | None) -> list[str]:
    """Return the alphas of a sweep in ascending order, those that are needed among them."""
    return parse_alphas(dict.fromkeys(map(format_alpha, [*alphas, *needed_alphas(given)])))


class OwnSweep(Entry):
    """The configuration of `workflow/sweep.smk`: options of `wiseft sweep --evaluate`, by name.

    `workflow/sweep.yaml` explains the keys.
    """

    zero_shot: str
    fine_tuned: str
    evaluate: str
    held_out: str
    reference: str
    shift: list[str]
    output: str
    keep: list[str] = Field([])
    metric: list[str] = Field([])
    alphas: list[float] = Field([float(alpha) for alpha in ALPHAS])
    alpha: float | None = None
    weights: str | None = None
    device: str = "auto"
    threads: Count = 1
    seed: Seed = 0
    resources: dict[str, int | str] = Field({})

    @classmethod
    def read(cls, config: dict[str, Any]) -> OwnSweep:
        """Return the configuration of a workflow.

        Raises:
            WiseftError: a line for every key that is missing, unknown or wrong.
        """
        return validate(cls, config, "the configuration of the sweep (--configfile)")

    def _conflicts(self) -> Iterator[str]:
        try:
            _ = self.grid, self.files
        except WiseftError as error:
            yield str(error)

    @property
    def grid(self) -> list[str]:
        """The alphas, each of which is a job."""
        return whole_grid(self.alphas, self.alpha)

    @property
    def files(self) -> list[str]:
        """Scripts among the words of the evaluation, and files of models that are folders: after an
        edit of one, all jobs run again. Snakemake sees no edit in a folder.
        """
        scripts = list(Command.parse(self.evaluate).identity()["scripts"])
        folders = (Path(each) for each in (self.zero_shot, self.fine_tuned))
        inside = (file for each in folders if each.is_dir() for file in sorted(each.iterdir()))
        return scripts + [str(file) for file in inside if file.is_file()]

    def options(self, *names: str) -> str:
        """Return these keys as options of a command; of a list each value, of null none."""
        words = []
        for name in names:
            value = getattr(self, name)
            for each in value if isinstance(value, list) else [value]:
                words += [] if each is None else [f"--{name.replace('_', '-')}", str(each)]
        return shlex.join(words)
