"""Typed models of the parts of a training that it may have or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from wiseft.base.typed import Count, Entry, Name, Positive, Seeds
from wiseft.combine.recipe_settings import Recipe, checked_recipe
from wiseft.errors import WiseftError


class ObjectiveOptions(Entry):
    """Options of one loss, and what is to know of it before anything is trained."""

    separable: ClassVar[bool] = True
    """Whether the loss of a batch is the mean of the losses of its samples."""
    trains_text: ClassVar[bool] = False
    """Whether the text tower is trained too, so that the head follows from it."""
    refused: ClassVar[Mapping[str, str]] = {}
    """Settings that make no sense with it, and why: the end of a sentence."""


class EarlyStopping(Entry):
    """Which weights along the training become theta_1."""

    every: Count | None = None
    """Steps between two evaluations on held-out images of the reference. The most accurate weights
    become theta_1; if two are equal, the earlier ones."""
    split: Name = "held-out"
    """Split of the reference to evaluate."""
    patience: Count | None = None
    """Training ends after this many evaluations in a row without a gain. null: it runs the whole
    schedule."""
    after: Count | None = None
    """Training ends after this many steps of the schedule, without any evaluation."""

    def _conflicts(self) -> Iterator[str]:
        if (self.every is None) == (self.after is None):
            yield (
                f"every is {self.every} and after is {self.after}, but give one of them: `every` "
                "to choose by held-out accuracy, `after` to end at a step"
            )


class MovingAverage(Entry):
    """An exponential moving average of the weights (paper Figures 11 and 12)."""

    decay: Annotated[float, Field(gt=0, lt=1)]
    """Decay beta in mu_t = beta mu_(t-1) + (1 - beta) theta_t."""
    start: Literal["zeros", "theta_0"] = "zeros"
    """Start of the average. `zeros`: mu_0 = 0, and the result is divided by 1 - beta^T (debiased).
    `theta_0`: mu_0 = theta_0 (biased towards it)."""


class LinearProbe(Entry):
    """Training of the head alone, before everything is trained."""

    epochs: Annotated[int, Field(ge=0)]
    """Passes over the training samples."""
    learning_rate: Positive
    """Peak learning rate of these passes."""


class Lora(Entry):
    """Low-rank changes B A of the image tower's matrices, which are merged into theta_1."""

    rank: Count = 8
    """Rank of each low-rank change."""
    lora_alpha: Positive = 8.0
    """Scale: a change is lora_alpha / rank times B A, as in PEFT. It is not the alpha of mixing."""


class Lipsum(Entry):
    """Lipsum-FT (Nam et al. 2024): energies of images with random texts stay near theta_0's."""

    coefficient: Positive = 1.0
    """Coefficient of the squared gap of energies."""
    texts: Count = 80
    """Number of random texts, drawn anew in every step."""
    length: Count = 8
    """Number of random tokens in a text."""


class Search(Entry):
    """A random search over the settings of a linear classifier (paper appendix D.3)."""

    regulariser: Literal["none", "weight-decay", "l1", "label-smoothing"]
    """Regulariser to search, together with batch size and learning rate; the others are off."""
    trials: Count = 64
    """Number of settings that are drawn and trained."""
    split: Name = "held-out"
    """Split of the reference whose accuracy decides."""
    max_epochs: Count | None = None
    """Also draw the number of epochs, from 1 to this one, as for few samples per class. null: use
    `epochs`."""


class MergedModel(Entry):
    """A model that a recipe of `wiseft combine` makes from fine-tuned ones, without training."""

    of: str = Field(min_length=1)
    """Method that trains these models. They need not be runs of the experiment."""
    seeds: Seeds | None = None
    """Seeds of these models. They are merged into one model; the experiment gives it one seed.
    null: each run combines the model of its own seed."""
    recipe: dict[str, Any]
    """The recipe: `kind` and the options of that recipe. If it starts from the zero-shot model,
    that model is the first theta."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            self.checked()
        except WiseftError as error:
            raise ValueError(str(error)) from None
        return self

    def checked(self) -> Recipe:
        """Return the recipe. Raises WiseftError if it can't be followed with these models."""
        return checked_recipe(self.recipe, len(self.seeds or [0]))
