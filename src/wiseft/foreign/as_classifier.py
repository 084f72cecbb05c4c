"""One checkpoint with a head, or a zero-shot model and classes, as a theta."""

from __future__ import annotations

from dataclasses import replace

from wiseft.base.temporary import temporary_folder
from wiseft.errors import WiseftError
from wiseft.foreign.ends import make_ends
from wiseft.foreign.opened import Given, Opened, Say
from wiseft.foreign.towers import heads_in
from wiseft.thetas.tensor_file import examples
from wiseft.thetas.theta import Theta, load_theta


def has_head(opened: Opened) -> bool:
    """Whether a checkpoint has a head, in it or beside it."""
    return opened.head is not None or bool(heads_in(examples(opened.checkpoint.tensors)))


def classifier_of(opened: Opened, given: Given, say: Say, option: str) -> tuple[Theta, bool]:
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
        ends = make_ends(opened, opened, [[name] for name in classes], given, work, say)
        if given.features and not ends.own:
            raise WiseftError(f"{opened.path} has no head, which features would be for")
        return load_theta(ends.theta_1), ends.stated or not ends.own


def raw(theta: Theta) -> Theta:
    """Return a classifier whose head takes features as the image tower gives them."""
    architecture = theta.header.architecture | {"normalise": False}
    return Theta(theta.tensors, replace(theta.header, architecture=architecture))
