"""What the first fetch of a file got, where no entry says it: later fetches are held to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wiseft.errors import WiseftError
from wiseft.io import read_object, write_json
from wiseft.locks import exclusive

_REVISIONS = Path(__file__).with_name("text_revisions.json")
"""Commits of the repositories that open_clip names for text towers and tokenizers."""


class Pins:
    """Sums of files, and commits of repositories, beside the folder of downloads.

    Args:
        fetched: the folder of downloads, which may be deleted; the record stays.
        say: called once for every file that joins the record.
    """

    def __init__(self, fetched: Path, say: Callable[[str], None]):
        self.path = fetched.with_name(f"{fetched.name}-sums.json")
        self._say = say

    def hold(self, name: str, found: str) -> None:
        """Record the SHA-256 of a file, or the commit of a repository; or compare it.

        Raises:
            WiseftError: if the first fetch got another.
        """
        with exclusive(self.path.with_name(f".{self.path.name}.lock")):
            recorded = self._read()
            if (first := recorded.get(name, found)) != found:
                raise WiseftError(
                    f"{name}: {self.path} records {first} from the first fetch, but this one got "
                    f"{found}. Ask its publisher which is right; delete the entry to take the new"
                )
            if name not in recorded:
                write_json(self.path, recorded | {name: found})
                self._say(f"{name}: {found}, recorded in {self.path}; later fetches must match")

    def revision(self, repository: str) -> str | None:
        """Return the commit at which a repository of a text tower is asked; None: the newest."""
        known = read_object(_REVISIONS) | self._read()
        return known.get(repository)

    def _read(self) -> dict[str, str]:
        return read_object(self.path, "record of sums") if self.path.is_file() else {}
