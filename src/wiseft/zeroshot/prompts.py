"""Prompts: class names put into templates."""

from __future__ import annotations

import json
from collections.abc import Sequence

from wiseft.errors import WiseftError

SLOT = "{c}"


def parse_templates(text: str) -> list[str]:
    """Return the templates of a JSON list, e.g. `["a photo of the number {c}"]`.

    Raises:
        WiseftError: if the text is not a JSON list of different strings that each hold `{c}`.
    """
    try:
        templates = json.loads(text)
    except json.JSONDecodeError as error:
        raise WiseftError(f"the prompts are not valid JSON ({error}); give a list") from None
    if not isinstance(templates, list) or not templates:
        raise WiseftError(f"the prompts must be a JSON list of templates, found {text[:80]!r}")
    for template in templates:
        if not isinstance(template, str) or SLOT not in template:
            raise WiseftError(f"template {template!r} must be a sentence with {SLOT} for the class")
        if templates.count(template) > 1:
            raise WiseftError(f"template {template!r} is given twice; remove one of them")
    return templates


def fill_templates(
    prompt_names: Sequence[Sequence[str]], templates: Sequence[str]
) -> list[list[str]]:
    """Return for each class its names times the templates, name by name.

    Args:
        prompt_names: the names of every class.
        templates: sentences with `{c}` where the name goes.
    """
    return [[t.replace(SLOT, name) for name in names for t in templates] for names in prompt_names]
