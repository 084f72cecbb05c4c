"""The page `docs/datasets.md`: every dataset of the catalogue, and how to get it.

`python -m wiseft.study.plan.reference --write` writes it with the other generated files.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from wiseft.base.templates import render
from wiseft.study.config.catalogue import Catalogue
from wiseft.study.config.datasets import DatasetEntry


def datasets_page(catalogue: Catalogue) -> str:
    """Return the page as Markdown. Raises WiseftError if an entry is wrong."""
    entries = _by_head({name: catalogue.dataset(name) for name in catalogue.names("datasets")})
    files = [(entry, file) for _, entry in entries for file in entry.files]
    return render(
        "study/plan/datasets_page.md.j2",
        entries=entries,
        brought=[(entry, file) for entry, file in files if file.how or not file.urls],
        prompt_sets=[catalogue.prompts(name) for name in catalogue.names("prompts")],
        catalogue=catalogue,
        download=_download,
        gb=_gb,
        host=_host,
        sentence=_sentence,
        size=_size,
    )


def _by_head(entries: dict[str, DatasetEntry]) -> list[tuple[str, DatasetEntry]]:
    """Return entries with the dataset whose head scores them, most classes first."""
    heads: dict[tuple[str, ...], str] = {}
    for name, entry in sorted(entries.items(), key=lambda item: "train" not in item[1].splits):
        if entry.display_names and entry.label_map is None:
            heads.setdefault(tuple(entry.display_names), name)
    families: dict[str, list[DatasetEntry]] = {}
    for name, entry in entries.items():
        head = heads.get(tuple(entry.display_names), name)
        families.setdefault(entry.label_map.reference if entry.label_map else head, []).append(
            entry
        )
    for head, family in families.items():
        family.sort(key=lambda entry: (entry.name != head, entry.label_map is not None, entry.name))

    def rank(head: str) -> tuple[bool, int, str]:
        return len(families[head]) == 1, -families[head][0].class_count, head

    return [(head, entry) for head in sorted(families, key=rank) for entry in families[head]]


def _host(url: str) -> str:
    """Return where an address leads: the host, of one that has many repositories with its name."""
    parts = urlsplit(url)
    host = (parts.hostname or "").replace("raw.githubusercontent.com", "github.com")
    return host + "/".join(parts.path.split("/")[:3]) if host == "github.com" else host


def _download(entry: DatasetEntry, catalogue: Catalogue) -> str:
    """Return the GB of a dataset's files and packages; of unpublished sizes, the rest and more."""
    packages = [catalogue.package(key).size for key in entry.packages]
    sizes = [file.size for file in entry.files]
    known = sum(size for size in [*packages, *sizes] if size)
    if None not in sizes:
        return _gb(known / 1e9) if known else "–"
    return f">\u00a0{_gb(known / 1e9)}" if known > 1e7 else "unknown"


def _gb(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 0.01:
        return "<\u00a00.01"
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _size(size: int | None) -> str:
    """Return a file's size in the unit that suits it."""
    if size is None:
        return "not published"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:{'.3g' if size < 1000 * factor else '.0f'}} {unit}"
    return f"{size} bytes"


def _sentence(text: str) -> str:
    """Return text on one line that ends in a full stop."""
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."
