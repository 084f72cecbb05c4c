"""A mean in which each element is weighted by its Fisher information.

Elements of the weights that a model's predictions depend on more count for more (Matena and Raffel
2022). The authors' code has it beside the paper's method, with the same floor.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from wiseft.base.typed import NonNegative
from wiseft.combine.recipe import Mixture, RecipeOptions, SoupInputs, SumToOne
from wiseft.errors import WiseftError

if TYPE_CHECKING:
    from torch import Tensor

    from wiseft.combine.linear_combination import Coefficient

FLOOR = 1e-8
"""The least that an element counts, so that one that no sample depends on has a mean too."""


class Options(RecipeOptions):
    """Coefficients, and a floor."""

    coefficients: Annotated[list[NonNegative], SumToOne] | None = None
    """One coefficient per theta; their sum is 1. null: all equal."""
    floor: Annotated[float, Field(gt=0)] = FLOOR
    """Smallest weight of an element."""


class Inputs(SoupInputs):
    """Thetas and their Fisher information."""

    fisher: list[Path]
    """Fisher information of every theta (from `wiseft fisher`), in the same order."""

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        n, there = len(self.thetas), len(self.fisher)
        if there != n:
            raise ValueError(
                f"{n} thetas but {there} Fisher files were given; give one for each theta, in "
                "their order"
            )
        return self


def apply(options: Options, inputs: Inputs, *_: Any) -> Mixture:
    """Return the mean."""
    from wiseft.combine.files import mixture, open_thetas
    from wiseft.combine.fisher_information import open_fisher
    from wiseft.thetas.tensor_file import TENSORS_SUM, read_file_header

    thetas = open_thetas(inputs.thetas)
    pairs = zip(inputs.fisher, thetas, strict=True)
    coefficients = FisherCoefficients(
        [open_fisher(path, theta.identity) for path, theta in pairs],
        list(thetas[0].tensors),
        options.coefficients or [1.0 / len(thetas)] * len(thetas),
        options.floor,
    )
    parents = {
        f"fisher_{i}": read_file_header(path, "Fisher information")[TENSORS_SUM]
        for i, path in enumerate(inputs.fisher)
    }
    return mixture(thetas, coefficients, parents)


class FisherCoefficients(UserDict[str, "Sequence[Coefficient]"]):
    """What `combine` multiplies each element with: c_i F_i / sum_j c_j F_j, when asked for.

    Tensors without Fisher information (BatchNorm's statistics) are combined linearly. Equal
    Fisher information gives the linear combination.

    Args:
        fishers: Fisher information of each theta.
        names: of all tensors of a theta.
        coefficients: one a theta, at least 0, that sum to 1.
        floor: the least that an element counts.

    Raises:
        WiseftError: if the numbers disagree, Fisher information
            is of another architecture or (when asked for) not finite or negative.
    """

    def __init__(
        self,
        fishers: Sequence[Mapping[str, Tensor]],
        names: Sequence[str],
        coefficients: Sequence[float],
        floor: float = FLOOR,
    ):
        if len(fishers) != len(coefficients):
            raise WiseftError(
                f"{len(fishers)} Fisher files but {len(coefficients)} coefficients; give one of "
                "each for every theta"
            )
        for place, fisher in enumerate(fishers):
            differing = fishers[0].keys() ^ fisher.keys()
            if wrong := sorted(differing | (fisher.keys() - set(names))):
                raise WiseftError(
                    f"Fisher information {place} is of another architecture: {wrong[0]} is not in "
                    "it, in another's, or in the thetas"
                )
        super().__init__(dict.fromkeys(names, coefficients))
        self._fishers = fishers
        self._coefficients = list(coefficients)
        self._floor = floor

    def __getitem__(self, name: str) -> Sequence[Coefficient]:
        import torch

        if name not in self._fishers[0] or 1.0 in self._coefficients:
            return self._coefficients
        weighted = [
            coefficient * self._floored(fisher[name], name).double()
            for coefficient, fisher in zip(self._coefficients, self._fishers, strict=True)
        ]
        if len({each.shape for each in weighted}) != 1:
            shapes = [tuple(each.shape) for each in weighted]
            raise WiseftError(
                f"Fisher information of {name} has the shapes {shapes}; estimate anew"
            )
        total = torch.stack(weighted).sum(dim=0)
        shares = [(each / total).float() for each in weighted]
        # (1 - a, a) exactly is what `combine` interpolates between.
        return [1.0 - shares[1], shares[1]] if len(shares) == 2 else shares

    def _floored(self, fisher: Tensor, name: str) -> Tensor:
        from wiseft.combine.linear_combination import check_finite

        check_finite(fisher, f"Fisher information of {name}")
        if bool((fisher < 0).any()):
            raise WiseftError(f"Fisher information of {name} is negative; estimate it again")
        return fisher.clamp(min=self._floor)
