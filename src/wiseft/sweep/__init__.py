"""One command from a zero-shot and a fine-tuned checkpoint to the model in between.

`folders` finds the images, `ends` makes both models classifiers of the same classes, `run`
evaluates and tabulates, `export` writes the model in the fine-tuned one's own format, `show` draws
and prints.

Called, the package is `wiseft.sweep.run.sweep`: `wiseft.sweep(zero_shot, fine_tuned, ...)`.
"""

import sys
from types import ModuleType
from typing import Any

from wiseft.sweep.record import Result


class _Sweep(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Result:
        from wiseft.sweep.run import sweep

        return sweep(*args, **options)


sys.modules[__name__].__class__ = _Sweep  # an import of any module in it sets `wiseft.sweep`
