"""theta_0 with its text tower, which contrastive fine-tuning trains too."""

from __future__ import annotations

from pathlib import Path

from wiseft.errors import WiseftError
from wiseft.models import towers
from wiseft.thetas.theta import identity, load_theta, load_weights, save_theta


def add_text_tower(theta_0: Path, weights: Path, output: Path) -> str:
    """Write theta_0 with the text tower of its zero-shot model, and return its identity.

    The header stays as it is: it is the same classifier.

    Raises:
        WiseftError: if the weights are not those that theta_0 was made of, the model has no text
            tower, or a file is missing or broken.
    """
    theta = load_theta(theta_0)
    whole, header = load_weights(weights)
    made_of, given = theta.header.parents.get("weights"), identity(header)
    if made_of != given:
        raise WiseftError(
            f"{theta_0} was made of weights with identity {made_of}, but {weights} has {given}; "
            "give the weights that it was made of, or make it again"
        )
    text = towers.text_tensors(theta.header.architecture, whole)
    return save_theta(output, theta.tensors | text, theta.header)
