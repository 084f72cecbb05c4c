"""The exceptions for everything a user can mend, and how their sentences list names."""

from collections.abc import Sequence
from pathlib import Path


class WiseftError(Exception):
    """A sentence that says what was expected, what was found and what to do.

    The command line prints it as `error: ...` and exits 1, without a traceback.
    """


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, each cut after 200 characters, with the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    first = [name if len(name) <= 200 else f"{name[:200]}..." for name in names[:most]]
    return ", ".join(first) + more


class StaleArtifact(WiseftError):
    """An artifact was written by another version of the stage that makes it."""


class DamagedFile(WiseftError):
    """Files do not hold what was written into them.

    Attributes:
        found: what is wrong, without what to do.
        files: what is to be made again, all of them together.
    """

    def __init__(self, found: str, *files: Path | str) -> None:
        super().__init__(
            f"{found}; delete it and make it again, or get it again from where it came from"
        )
        self.found = found
        self.files = [Path(file) for file in files]
