"""TIES (Yadav et al. 2023): trim task vectors, elect signs, average the elements that agree.

Of each task vector only the elements of largest magnitude are kept; an element's sign is that of
its sum over the models; the mean is over those models whose element has it:

    theta_0 + scale * mean

The paper trims a task vector as a whole, and its code (`topk_values_mask`) keeps one element more
than the share; mergekit trims each tensor. What is as large as the smallest element that is kept is
kept too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from wiseft.combine.recipe import Density, Mixture, RecipeOptions, Scale, SeveralTuned

if TYPE_CHECKING:
    from torch import Tensor

Inputs = SeveralTuned


class Options(RecipeOptions):
    """How much is kept, of what, and a scale."""

    density: Density = 0.2
    """Share of elements that trimming keeps."""
    trim: Literal["model", "tensor"] = "model"
    """Trim each task vector as a whole (`model`) or each of its tensors."""
    scale: Scale = 1.0
    """Scale of the merged task vector."""


def apply(options: Options, inputs: SeveralTuned, *_: Any) -> Mixture:
    """Return the merged theta; where whole task vectors are trimmed, two more passes are made."""
    from wiseft.combine.files import open_thetas
    from wiseft.combine.task_vectors import elected_mean, kth_largest, merged

    thetas, density = open_thetas(inputs.thetas), options.density
    first, *others = [theta.tensors for theta in thetas]
    bounds = [threshold(first, each, density) for each in others] if options.trim == "model" else []

    def bound(place: int, vector: Tensor) -> float:
        k = max(1, int(density * vector.numel()))
        return bounds[place] if bounds else kth_largest(lambda: [vector], k)

    def merge(name: str, theta_0: Tensor, vectors: Tensor) -> Tensor:
        for place, vector in enumerate(vectors):
            vector.masked_fill_(vector.abs() < bound(place, vector), 0.0)
        return elected_mean(vectors) * options.scale

    return merged(thetas, merge, [options.scale / len(others)] * len(others))


def threshold(theta_0: Mapping[str, Tensor], theta: Mapping[str, Tensor], density: float) -> float:
    """Return the smallest magnitude that is kept of a whole task vector.

    BatchNorm's statistics, and a head that follows from a text tower, are not part of it.
    """
    from wiseft.combine.task_vectors import is_statistic, kth_largest
    from wiseft.thetas.tensor_file import examples
    from wiseft.zeroshot.text_head import has_text

    shapes = examples(theta_0)
    left_out = ("head.",) if has_text(shapes) else ()
    names = [n for n in shapes if not (n.startswith(left_out) or is_statistic(n))]

    def vectors() -> Iterator[Tensor]:
        return (theta[name].float() - theta_0[name].float() for name in names)

    elements = sum(shapes[name].numel() for name in names)
    return kth_largest(vectors, min(elements, int(density * elements) + 1))
