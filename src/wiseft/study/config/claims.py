"""Typed models of `config/claims.yaml`: the paper's claims, with checks that would refute them."""

from __future__ import annotations

from typing import Any, Literal

from wiseft.base.typed import Entry, Name


class Check(Entry):
    """Rows of a table, whose mean must lie within a bound."""

    experiment: Name
    table: Literal["table", "comparisons", "selection", "effective-robustness"] = "table"
    value: str = "value"
    """Column of the numbers."""
    rows: dict[str, Any]
    """Values of columns: one, or a list."""
    against: dict[str, Any] = {}
    """What is different in the rows that are subtracted, run by run; null stands for any value."""
    curve: Name | None = None
    """The reference dataset. `rows` are points then, `against` is a curve. The number is how far
    the highest point lies above that part of the curve which is no less accurate on the
    reference."""
    bound: tuple[float | None, float | None]
    """Both ends in percentage points; null: none."""


class Claim(Entry):
    """A claim, all of whose checks must hold."""

    says: str
    paper: str
    """Where the paper says it."""
    lab: list[Check] = []
    """At the paper's scale."""
    small: list[Check] = []
    """On small experiments whose tables are in the repository."""
    tests: list[str] = []
    """Tests of an identity, as `file::name`."""


class Claims(Entry):
    """All claims."""

    claims: list[Claim]
