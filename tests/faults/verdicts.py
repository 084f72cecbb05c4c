"""What an attack may come to, and what all attacks are judged by."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random

from tests.faults.harness import Ended
from tests.faults.world import World


class Verdict(StrEnum):
    """What an attack came to; all but the first are failures."""

    SURVIVED = "survived"
    SILENT = "silent"
    """A number was made from what is damaged, and nothing was said."""
    CODE = "code run"
    """Something of the file's choice ran; or outside of the command's own files something was
    written, deleted or, where a link led there, read."""
    HAND = "by hand"
    """Neither the same command again, nor those that made the file, mend it."""
    UNCLEAR = "unclear"
    """A traceback, a hang, all of the memory, rubbish left behind, or no sentence that helps."""


@dataclass(frozen=True)
class Found:
    """The outcome of one attack.

    Attributes:
        what: the attack in words.
        why: what went wrong; empty for a survivor.
        note: what a reader of the table must know.
    """

    what: str
    verdict: Verdict = Verdict.SURVIVED
    why: str = ""
    note: str = ""


@dataclass(frozen=True)
class Ground:
    """Where attacks take place."""

    world: World
    base: Path

    @property
    def canary(self) -> Path:
        """The folder in which payloads of this worker write; it stays empty."""
        folder = self.base / "canary" / str(os.getpid())
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def common(self, what: str, ended: Ended) -> Found | None:
        """Return what is wrong with a process whatever was attacked; None if nothing is."""
        said = ended.output.strip()[-600:]
        touched = sorted(path.name for path in self.canary.iterdir())
        for path in self.canary.iterdir():
            path.unlink()
        if touched or ended.seen:
            why = f"wrote {touched}" if touched else "; ".join(ended.seen[:3])
            return Found(what, Verdict.CODE, f"{why}\n{said}")
        if fault := ended.unclear:
            return Found(what, Verdict.UNCLEAR, f"{fault}\n{said}")
        return None


Attack = Callable[[Ground, Random, int], Found]
"""Carries out the attack of a number; all that it draws comes from the generator."""
