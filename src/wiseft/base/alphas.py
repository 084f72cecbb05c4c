"""The only parser and formatter of alpha.

An alpha is a string of three decimals in every path, file and column name, because the text
of a float is not an identity (0.1 + 0.2 is `0.30000000000000004`).
"""

from __future__ import annotations

from collections.abc import Iterable

from wiseft.errors import WiseftError

ALPHA_REGEX = r"0\.\d{3}|1\.000"
FIXED_ALPHA = "0.500"  # the paper's recommendation without domain knowledge (section 4)


def format_alpha(value: float | str) -> str:
    """Return alpha with three decimals, e.g. `0.500`.

    Raises:
        WiseftError: if the value is no number, lies outside [0, 1] or has more decimals.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise WiseftError(f"alpha {value!r} is not a number; use e.g. 0.500") from None
    text = f"{number:.3f}"
    if not 0.0 <= number <= 1.0:  # also catches NaN
        raise WiseftError(f"alpha {value!r} lies outside [0, 1]")
    if float(text) != number:
        raise WiseftError(
            f"alpha {value!r} has more than three decimals; the nearest allowed value is {text}"
        )
    return text.removeprefix("-")


def parse_alphas(values: Iterable[float | str] | str) -> list[str]:
    """Return the sorted grid; a string is split at commas.

    Raises:
        WiseftError: if the grid is empty, or a value is invalid or occurs twice.
    """
    items = values.split(",") if isinstance(values, str) else list(values)
    grid = [format_alpha(item.strip() if isinstance(item, str) else item) for item in items]
    if not grid:
        raise WiseftError("the alpha grid is empty; give at least one value in [0, 1]")
    double = sorted({alpha for alpha in grid if grid.count(alpha) > 1})
    if double:
        raise WiseftError(f"the alpha grid holds {', '.join(double)} more than once")
    return sorted(grid)
