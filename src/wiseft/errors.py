"""The exceptions for everything a user can mend, and how their sentences list names."""

from collections.abc import Sequence


class WiseftError(Exception):
    """What was expected, what was found and what to do, in a sentence.

    The command line prints it as `error: ...` and exits 1, without a traceback.
    """


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, with the number of those that are left out."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


class StaleArtifact(WiseftError):
    """An artifact was written by another version of the stage that makes it."""
