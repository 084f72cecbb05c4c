"""Files of a hub, by repository and commit: from a folder of the user's, the hub's cache, or the
hub itself.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wiseft.base.io import sha256_file
from wiseft.errors import WiseftError

log = logging.getLogger(__name__)

OFFLINE = "HF_HUB_OFFLINE"
"""Environment variable that switches the hub off."""


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, on this machine.

    Attributes:
        path: of the file.
        revision: commit of the repository that it is from; None: it was put there by hand.
        sha256: of the file.
    """

    path: Path
    revision: str | None
    sha256: str


class Missing(WiseftError):
    """A repository has none of the files."""


def fetch(repository: str, names: Sequence[str], revision: str | None, folder: Path) -> HubFile:
    """Return the first of some files that a repository has.

    Args:
        names: of the files, the best first.
        revision: commit or branch; None: the newest commit of the main branch.
        folder: a file put there by hand is taken before any other.

    Raises:
        Missing: if the repository has none of the files.
        WiseftError: if the hub can't be reached, or refuses; says how to bring a file by hand.
    """
    for name in names:
        if (path := folder / Path(name).name).is_file():
            log.info(f"{path}: taken as it was put there")
            return HubFile(path, None, sha256_file(path))
    for name in names:
        if (file := _download(repository, name, revision, folder, names)) is not None:
            log.info(f"{repository}/{name}, revision {file.revision}")
            return file
    at = f" at revision {revision}" if revision else ""
    raise Missing(f"{repository} has none of {', '.join(names)}{at}; check its name and revision")


def _download(
    repository: str, name: str, revision: str | None, folder: Path, names: Sequence[str]
) -> HubFile | None:
    """Return a file of the hub or of its cache; None if the repository has no such file."""
    from huggingface_hub import errors, hf_hub_download

    from wiseft.foreign.hub_client import asking

    off = os.environ.get(OFFLINE, "0").lower() in ("1", "true", "yes", "on")
    by_hand = f", or put {' or '.join(names)} of it into {folder}/; then run this again"
    with asking(repository, revision, by_hand) as options:
        try:
            path = Path(hf_hub_download(filename=name, local_files_only=off, **options))
        except errors.EntryNotFoundError as error:
            local = isinstance(error, errors.LocalEntryNotFoundError)
            if local and not _was_asked_before(repository, name, revision):
                raise
            return None
    # The hub's cache has `.../snapshots/<commit>/<file>`.
    commit = path.parts[path.parts.index("snapshots") + 1] if "snapshots" in path.parts else None
    return HubFile(path, commit, sha256_file(path))


def _was_asked_before(repository: str, name: str, revision: str | None) -> bool:
    """Whether the hub's cache knows that the repository has no such file."""
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

    return try_to_load_from_cache(repository, name, revision=revision) is _CACHED_NO_EXIST
