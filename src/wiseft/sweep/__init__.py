"""One command from a zero-shot and a fine-tuned checkpoint to the model in between.

`folders` finds the images, `ends` makes both models classifiers of the same classes, `run`
evaluates and tabulates, `export` writes the model in the fine-tuned one's own format, `show` draws
and prints. `wiseft.sweep(...)` is `wiseft.sweep.run.sweep`, and `wiseft.sweep.Result` its result.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from wiseft.sweep.record import Result as Result


class _Sweep(ModuleType):
    """This package, which can be called: `wiseft.sweep` is both a room and what it does."""

    def __call__(self, *arguments: Any, **options: Any) -> Result:
        from wiseft.sweep.run import sweep

        return sweep(*arguments, **options)


sys.modules[__name__].__class__ = _Sweep
