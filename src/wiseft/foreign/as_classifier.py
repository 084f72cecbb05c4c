"""One checkpoint with a head, or a zero-shot model and classes, as a theta or as both towers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from wiseft.base.temporary import temporary_folder
from wiseft.errors import WiseftError
from wiseft.foreign.door import Given, Opened
from wiseft.foreign.ends import architecture_for, make_ends, preprocessing_for
from wiseft.foreign.towers import image_tower_of, take_apart
from wiseft.models import towers
from wiseft.thetas.tensor_views import floating
from wiseft.thetas.theta import Theta, load_theta


def classifier_of(opened: Opened, given: Given, option: str) -> tuple[Theta, bool]:
    """Return the classifier that a checkpoint is, and whether it says what features its head takes.

    Args:
        given: what the user says of it; classes go before those that the checkpoint brings.
        option: that gives the classes, for messages.

    Raises:
        WiseftError: if it is refused, or nothing names its classes.
    """
    if opened.header is not None:
        return load_theta(opened.path), True
    classes = given.classes or [each[0] for each in (opened.names or ([], ""))[0]]
    if not classes:
        raise WiseftError(f"nothing names the classes of {opened.path}; give them as {option}")
    given = replace(given, classes=classes)
    with temporary_folder("wiseft-load") as work:
        ends = make_ends(opened, opened, [[name] for name in classes], given, work)
        if given.features and not ends.own:
            raise WiseftError(f"{opened.path} has no head, which features would be for")
        return load_theta(ends.theta_1), ends.stated or not ends.own


def zero_shot_of(opened: Opened, given: Given) -> tuple[Mapping[str, Tensor], dict[str, Any], str]:
    """Return both towers of a zero-shot model as `theta_0_of` takes them.

    Raises:
        WiseftError: if it is refused, or has not both towers.
    """
    where = str(opened.path)
    architecture = architecture_for(opened, opened, given)
    preprocessing = preprocessing_for(opened, opened, architecture, given)
    about = {"architecture": architecture, "preprocessing": preprocessing}
    whole: Mapping[str, Tensor] | None = floating(opened.tensors)
    if not opened.own:
        expected = image_tower_of(architecture, opened.tensors)
        whole = take_apart(opened, architecture, expected).whole
    if whole is None or not towers.has_text(architecture):
        raise WiseftError(
            f"{where} has no text tower that reads prompts. A zero-shot model has both towers; "
            "of a classifier without a text tower make a theta first, in Python: "
            "wiseft.load(MODEL, classes=[...]).save(THETA)"
        )
    return whole, about, where


def raw(theta: Theta) -> Theta:
    """Return a classifier whose head takes features as the image tower gives them."""
    architecture = theta.header.architecture | {"normalise": False}
    return Theta(theta.tensors, replace(theta.header, architecture=architecture))
