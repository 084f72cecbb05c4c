"""Robust fine-tuning of zero-shot models (WiSE-FT): a library, commands, a reproducible pipeline.

A name of `__all__` is imported when it is first used: `import wiseft` takes no library along.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wiseft.tabulate.selection import choose_alpha
    from wiseft.tool.api import Classifier, interpolate, load, merge
    from wiseft.tool.own_sweep import sweep_with
    from wiseft.tool.sweep import sweep

__version__ = "0.1.0"
__all__ = ["Classifier", "choose_alpha", "interpolate", "load", "merge", "sweep", "sweep_with"]
_ELSEWHERE = {
    "choose_alpha": "wiseft.tabulate.selection",
    "sweep": "wiseft.tool.sweep",
    "sweep_with": "wiseft.tool.own_sweep",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'wiseft' has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "wiseft.tool.api")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
