"""Model Stock (Jang et al. 2024): the mean of fine-tuned models, drawn towards theta_0.

How far follows, for each tensor, from the angle between the k task vectors:

    theta_0 + t (mean of theta_i - theta_0),    t = k cos / (1 + (k - 1) cos)

Of more than two models cos is the mean over all pairs, as in mergekit. It estimates the squared
length of what the models have in common, so a negative one counts as 0: t is from 0 to 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wiseft.combine.recipe import Mixture, RecipeOptions, SeveralTuned

if TYPE_CHECKING:
    from torch import Tensor

Options, Inputs = RecipeOptions, SeveralTuned


def apply(options: RecipeOptions, inputs: SeveralTuned, *_: Any) -> Mixture:
    """Return the stock."""
    from wiseft.combine.files import open_thetas
    from wiseft.combine.task_vectors import merged

    def merge(name: str, theta_0: Tensor, vectors: Tensor) -> Tensor:
        return vectors.mean(dim=0) * ratio(vectors)

    return merged(open_thetas(inputs.thetas), merge)


def ratio(vectors: Tensor) -> float:
    """Return t of the task vectors (models, *shape) of a tensor; one of zeros has cosine 0."""
    from torch.nn.functional import normalize

    k = len(vectors)
    units = normalize(vectors.reshape(k, -1), dim=1)
    cosines = units @ units.T
    cosine = max(0.0, float(cosines.sum() - cosines.trace()) / (k * (k - 1)))
    return k * cosine / (1.0 + (k - 1) * cosine)
