"""Checks of a dataset's entry against the entries it names, and of its keys against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from wiseft.errors import WiseftError
from wiseft.evaluate.view_settings import ViewSettings
from wiseft.study.config.datasets import DatasetEntry
from wiseft.study.config.folder import ConfigFolder, located
from wiseft.study.config.layouts import CsvOptions, check_options


def dataset_problems(entry: DatasetEntry, catalogue: ConfigFolder) -> list[str]:
    """Return a sentence for every problem of a dataset; none if all it names is there and fits.

    Args:
        entry: the dataset; of a preview, the whole one is checked.
    """
    if entry.limit:
        entry = catalogue.dataset(entry.bare_name)
    source = f"{catalogue.folder / 'datasets' / entry.name}.yaml"
    own = [*_held_out(entry), *(problem for view in entry.views for problem in _view(entry, view))]
    problems = [f"{source}: {problem}" for problem in own]
    readers: list[tuple[str, Callable[[], object]]] = [
        ("prompts", partial(catalogue.prompts, entry.prompts)),
        ("depends", partial(catalogue.dataset_closure, [entry.name])),
        *(("packages", partial(catalogue.package, key)) for key in entry.packages),
    ]
    if entry.label_map:
        readers.append(("label_map.reference", partial(_label_map, entry, catalogue)))
    for key, read in readers:
        try:
            read()
        except WiseftError as error:
            problems += located(error, source, key).split("\n")
    return problems


def check_dataset(name: str, catalogue: ConfigFolder) -> None:
    """Raise WiseftError with a line for every problem of a dataset."""
    problems = dataset_problems(catalogue.dataset(name), catalogue)
    if problems:
        raise WiseftError("\n".join(problems))


def _label_map(entry: DatasetEntry, catalogue: ConfigFolder) -> None:
    """Check that the reference of the label map is there and has the classes."""
    assert entry.label_map is not None
    where = f"{catalogue.folder / 'datasets' / entry.name}.yaml: label_map.reference is"
    reference = catalogue.dataset(entry.label_map.reference)
    if reference.name == entry.name or reference.limit:
        raise WiseftError(f"{where} {reference.name}, but must be another dataset, no preview")
    if reference.label_map:
        raise WiseftError(
            f"{where} {reference.name}, whose classes follow from {reference.label_map.reference}; "
            "name that one"
        )
    if entry.label_map.by == "class-ids":
        known = set(reference.ids or [])
        foreign = [identifier for identifier in entry.ids or [] if identifier not in known]
        if foreign:
            raise WiseftError(
                f"{where} {reference.name}, which has no class with the id {foreign[0]} "
                f"({len(foreign)} of {entry.class_count} ids are not among its own)"
            )


def _held_out(entry: DatasetEntry) -> Iterator[str]:
    draw = entry.held_out
    if draw is None:
        return
    stated = entry.splits.get("held-out")
    if stated != draw.count:
        yield (
            f"held_out.count is {draw.count} and splits.held-out is {stated}, but they must be "
            f"equal: splits states what is left after the draw, so that {draw.of} has "
            f"{entry.splits.get(draw.of)} samples without the {draw.count} drawn from it"
        )
    if draw.of == "held-out":
        yield "held_out.of is held-out, but samples must be drawn from another split"
    for file in entry.files:
        if "held-out" in file.splits:
            yield (
                f"file {file.file} is for split held-out, which is drawn from {draw.of}; name "
                f"{draw.of} instead"
            )


def _view(entry: DatasetEntry, view: ViewSettings) -> Iterator[str]:
    if view.ignore and view.group is None:
        yield f"view {view.name} ignores groups, but has no `group` that they belong to"
    groups = _groups(entry)
    if groups is None:
        return
    for key, group in (("group", view.group), ("where", view.where)):
        if group is not None and group not in groups:
            yield (
                f"view {view.name} has {key}: {group}, but the groups of the dataset are "
                f"{', '.join(groups) or 'none'}"
            )


def _groups(entry: DatasetEntry) -> list[str] | None:
    """Return the names of a dataset's groups, or None where only its reader knows them."""
    options = check_options(entry.layout, entry.options)
    return list(options.groups) if isinstance(options, CsvOptions) else None
