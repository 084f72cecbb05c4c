"""How many samples stand behind a published number, where that is known."""

from __future__ import annotations

from wiseft.study.config import Catalogue
from wiseft.study.config.folder import UnknownName


def sample_count(catalogue: Catalogue, dataset: str, split: str, view: str) -> int | None:
    """Return the samples of a dataset's split in a view, as its entry has them.

    None where the entry does not say: for averages, for a dataset without an entry, and for the
    worst region of FMoW, whose size is part of the result.
    """
    try:
        entry = catalogue.dataset(dataset)
    except UnknownName:
        return None
    settings = next((each for each in entry.views if each.name == view), None)
    if settings is None or settings.group is not None:
        return None
    if settings.where == "anchor":
        return int(entry.options["anchors"])
    return entry.splits.get(split)
