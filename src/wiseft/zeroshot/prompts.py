"""Prompts: class names put into templates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from wiseft.base.typed import distinct

TEMPLATES = ("a photo of a {c}.",)
"""Prompts of a head where none are given."""


SLOTS = ("{c}", "{a_c}")
"""Where a template takes the class name: as it is, or with its underscores as spaces and `a` or
`an` before it.
"""


def checked_template(template: str) -> str:
    """Return a template as it is. Raises ValueError if it has no place for the class name."""
    if not any(slot in template for slot in SLOTS):
        raise ValueError(
            f"template {template!r} must be a sentence with {' or '.join(SLOTS)} for the class name"
        )
    return template


_SLOT = re.compile("|".join(re.escape(slot) for slot in SLOTS))
Template = Annotated[str, AfterValidator(checked_template)]
Templates = Annotated[list[Template], Field(min_length=1), AfterValidator(distinct)]


def fill_templates(
    prompt_names: Sequence[Sequence[str]], templates: Sequence[str]
) -> list[list[str]]:
    """Return for each class its names times the templates, name by name.

    Args:
        prompt_names: the names of every class.
        templates: sentences with `{c}` where the name goes, or `{a_c}` for the name with its
            underscores as spaces and an article before it.
    """
    return [[_fill(t, name) for name in names for t in templates] for names in prompt_names]


def with_article(name: str) -> str:
    """Return a class name with underscores as spaces and `a` or, before a vowel, `an` in front.

    The rule is the authors' (mlfoundations/wise-ft, src/templates/utils.py): a small a, e, i, o or
    u counts as a vowel, whatever its sound.
    """
    name = name.replace("_", " ")
    return f"an {name}" if name[:1] in tuple("aeiou") else f"a {name}"


def _fill(template: str, name: str) -> str:
    filled = {"{c}": name, "{a_c}": with_article(name)}
    return _SLOT.sub(lambda slot: filled[slot[0]], template)
