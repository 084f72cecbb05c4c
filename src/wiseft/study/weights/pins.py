"""What the first fetch of a file got, where no entry says it: later fetches are held to it."""

from __future__ import annotations

import logging
from pathlib import Path

from wiseft.base.io import read_object, write_json
from wiseft.base.locks import exclusive
from wiseft.errors import WiseftError

log = logging.getLogger(__name__)


def hold(record: Path, name: str, found: str) -> None:
    """Record the SHA-256 of a file and say so, or compare it with the recorded one.

    Raises:
        WiseftError: if the first fetch got another.
    """
    with exclusive(record.with_name(f".{record.name}.lock")):
        recorded = read_object(record, "record of sums") if record.is_file() else {}
        if name not in recorded:
            write_json(record, recorded | {name: found})
            log.info(f"{name}: SHA-256 {found}, recorded in {record}; later fetches must match")
        elif recorded[name] != found:
            raise WiseftError(
                f"{name}: {record} records {recorded[name]} from the first fetch, but this one got "
                f"{found}. Ask its publisher which is right; delete the entry to take the new"
            )
