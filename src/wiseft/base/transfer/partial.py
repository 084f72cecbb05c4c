"""The part of a file that has arrived, kept between attempts and runs."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wiseft.base.io import room
from wiseft.errors import WiseftError


class Partial:
    """The part of a file that is there: ``.<name>.part``, and ``.<name>.part.json`` that says which
    file of which server it is a part of."""

    def __init__(self, path: Path):
        self.file = path.with_name(f".{path.name}.part")
        self.notes = path.with_name(f".{path.name}.part.json")

    def size(self) -> int:
        """Return the bytes that are there."""
        return self.file.stat().st_size if self.file.exists() else 0

    def source(self) -> dict[str, Any]:
        """Return url, etag, last_modified and size as the server gave them; empty if unknown."""
        try:
            source = json.loads(self.notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return source if isinstance(source, dict) else {}

    def begin(self, source: Mapping[str, Any]) -> None:
        """Empty the file, then note where the bytes to come are from."""
        with self.writing():
            self.file.write_bytes(b"")
            # Not through a temporary file: a torn note counts as none, and a killed run leaves no
            # third file behind.
            self.notes.write_text(json.dumps(source), encoding="utf-8")

    def headers(self, url: str, checked: bool) -> dict[str, str]:
        """Return the headers that ask `url` for the rest; none where it has to be the whole.

        Args:
            checked: whether a checksum will decide on the result. Without one, the part is only
                continued if the server can tell that it still has the same file.
        """
        if not (done := self.size()):
            return {}
        rest = {"Range": f"bytes={done}-"}
        source = self.source()
        etag, date = source.get("etag"), source.get("last_modified")
        # A weak tag may not stand in If-Range.
        validator = date if not etag or etag.startswith("W/") else etag
        if source.get("url") == url and validator:
            return {**rest, "If-Range": validator}
        return rest if checked else {}

    def rename_to(self, path: Path) -> None:
        """Give the finished file its name."""
        with self.file.open("rb") as file:
            os.fsync(file.fileno())
        self.file.replace(path)
        self.notes.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove both files."""
        self.file.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn errors of the disk into a WiseftError, so that none is taken for one of the
        network."""
        try:
            yield
        except OSError as error:
            size = self.source().get("size")
            raise WiseftError(
                f"{self.file} cannot be written ({error.strerror}); "
                f"{room(self.file.parent, size and size - self.size())}. The part "
                "downloaded so far is kept: make room and run the same command again to resume."
            ) from error
