"""What is read off the logits: views and metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, RootModel
from torch import Tensor

from wiseft.config.entries import Entry, Name, ViewSettings
from wiseft.errors import WiseftError

OUTSIDE = -1  # prediction of a sample that a view does not cover


class View(ViewSettings):
    """A view as evaluation takes it: a name, a metric and, optionally, a subset of the classes.

    With `classes`, logits are restricted to these before argmax, and only samples of these
    classes count (as ImageNet's validation set is seen through ImageNet-R's 200 classes).
    """

    classes: Annotated[list[str], Field(min_length=2)] | None = Field(
        None, description="Display names of the classes that the view is restricted to."
    )


class Evaluation(Entry):
    """What is evaluated of one dataset."""

    splits: Annotated[list[Name], Field(min_length=1)] = Field(description="Splits to evaluate.")
    views: Annotated[list[View], Field(min_length=1)] = Field(description="Views of every split.")


class SuiteEvaluation(RootModel[dict[Name, Evaluation]]):
    """What is evaluated of every dataset of a suite, by the dataset's name."""


@dataclass(frozen=True)
class Predictions:
    """What is kept of the logits of n samples in one view.

    Attributes:
        prediction: int32 (n,), the class with the largest logit; `OUTSIDE` where the view does
            not cover the sample.
        top1: float32 (n,), the largest logit; NaN outside.
        top2: float32 (n,), the second largest logit; NaN outside.
    """

    prediction: NDArray[np.int32]
    top1: NDArray[np.float32]
    top2: NDArray[np.float32]

    @classmethod
    def empty(cls, n: int) -> Predictions:
        """Return predictions of n samples, none of them covered."""
        nan = np.full(n, np.nan, dtype=np.float32)
        return cls(np.full(n, OUTSIDE, dtype=np.int32), nan, nan.copy())

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Return the three columns by name."""
        return {"prediction": self.prediction, "top1": self.top1, "top2": self.top2}


@dataclass(frozen=True)
class Outcome:
    """A metric over n samples; `n_correct` is None for a metric that counts nothing."""

    value: float
    n: int
    n_correct: int | None


def class_indices(view: View, class_names: list[str]) -> list[int] | None:
    """Return the sorted indices of the view's classes; None for all of them.

    Raises:
        WiseftError: if the view names an unknown class or one twice.
    """
    if view.classes is None:
        return None
    unknown = [name for name in view.classes if name not in class_names]
    if unknown or len(set(view.classes)) != len(view.classes):
        wrong = unknown or [name for name in view.classes if view.classes.count(name) > 1]
        raise WiseftError(
            f"view {view.name} must list distinct classes of the dataset "
            f"({', '.join(class_names)}), found {wrong[0]}"
        )
    return sorted(class_names.index(name) for name in view.classes)


def predict(
    logits: Tensor, labels: NDArray[np.int64], indices: list[int] | None = None
) -> Predictions:
    """Reduce logits (n, classes) to predictions; of equal logits the lower class wins.

    Args:
        labels: (n,), to find the samples that the view covers.
        indices: classes of the view, sorted; None for all.

    Raises:
        WiseftError: if a logit is not finite.
    """
    if not bool(torch.isfinite(logits).all()):
        raise WiseftError("the model gives a NaN or an infinity; its weights are unusable")
    if indices is not None:
        logits = logits[:, indices]
    prediction = logits.argmax(dim=1).to(torch.int32).cpu().numpy()
    top = logits.topk(2, dim=1).values.float().cpu().numpy()
    if indices is None:
        return Predictions(prediction, top[:, 0], top[:, 1])
    found = Predictions.empty(len(labels))
    covered = np.isin(labels, indices)
    found.prediction[covered] = np.asarray(indices, dtype=np.int32)[prediction[covered]]
    found.top1[covered], found.top2[covered] = top[covered, 0], top[covered, 1]
    return found


def accuracy(prediction: NDArray[np.int32], labels: NDArray[np.int64]) -> Outcome:
    """Return the fraction of covered samples whose class is predicted.

    Raises:
        WiseftError: if the view covers no sample.
    """
    covered = prediction != OUTSIDE
    n = int(covered.sum())
    if n == 0:
        raise WiseftError("a view covers no sample of the split; there is nothing to measure")
    n_correct = int((prediction[covered] == labels[covered]).sum())
    return Outcome(n_correct / n, n, n_correct)


METRICS: dict[str, Callable[[NDArray[np.int32], NDArray[np.int64]], Outcome]] = {
    "accuracy": accuracy,
}
