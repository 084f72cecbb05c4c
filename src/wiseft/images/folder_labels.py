"""From what files call a class (a name, an id, a number) to its label."""

from __future__ import annotations

import difflib
from collections import Counter

from wiseft.images.split import LayoutInputs


def humanise(folder: str) -> str:
    """Return a class's name from the path of its folder: `a/apartment_building/outdoor` becomes
    `apartment building outdoor`.

    Underscores become spaces. Folders of one letter, which only sort the others (SUN397), are left
    out.
    """
    parts = folder.strip("/").split("/")
    while len(parts) > 1 and len(parts[0]) == 1:
        parts = parts[1:]
    return " ".join(" ".join(parts).replace("_", " ").split())


def called(form: str, inputs: LayoutInputs) -> list[str]:
    """Return what the classes are called in one form, in label order; empty without such a form."""
    if form == "index":
        count = len(inputs.class_names) or len(inputs.class_ids or ())
        return [str(label) for label in range(count)]
    return list(inputs.class_names if form == "name" else inputs.class_ids or ())


def table(form: str, inputs: LayoutInputs) -> dict[str, int]:
    """Return the label of each class by its key (see `key`) in one form; empty where the classes
    have no such form.

    Names that several classes share are left out, because they tell no label.
    """
    keys = [key(form, value) for value in called(form, inputs)]
    counts = Counter(keys if form == "name" else ())
    return {value: label for label, value in enumerate(keys) if counts[value] < 2}


def key(form: str, value: str) -> str:
    """Return a value as `table` has it: upper and lower case, underscores and zeros at the front of
    a number make no difference.
    """
    if form == "name":
        return humanise(value).casefold()
    if form == "index" and value.strip().isascii() and value.strip().isdigit():
        return str(int(value))
    return value.strip().casefold()


def no_class(value: str, form: str, inputs: LayoutInputs) -> str:
    """Return a sentence that says that a value is no class, and which is the nearest."""
    known = called(form, inputs)
    near = difflib.get_close_matches(value, known, 1)
    hint = f", nearest {near[0]}" if near else ""
    what = {"class-id": "class ids", "name": "class names", "index": "labels"}[form]
    first, last = (known[0], known[-1]) if known else ("none", "none")
    return (
        f"`{value}` is no class of {inputs.dataset}: expected one of {len(known)} {what} "
        f"({first} to {last}{hint})."
    )
