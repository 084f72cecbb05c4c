"""What is evaluated of a dataset: views, each with a label space and the samples that it covers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, RootModel
from torch import Tensor

from wiseft.base.metrics import OUTSIDE, Outcome, Truth, measure, pairs_of
from wiseft.base.typed import Entry, Name
from wiseft.errors import WiseftError
from wiseft.evaluate.spaces import Head, Projection, like_projection, own_projection
from wiseft.evaluate.view_settings import ViewSettings
from wiseft.images.index import GROUP_PREFIX
from wiseft.images.store import Manifest, Split


class View(ViewSettings):
    """A view as evaluation takes it: a dataset entry's, or one through another's label map.

    With `like`, the dataset is seen as that one is: logits are those of its classes, labels are
    mapped to them, and samples of none of them are outside (as ImageNet's validation set is seen
    through ImageNet-R's 200 classes).
    """

    like: Name | None = None
    """Dataset through whose label map this one is seen; null: its own labels."""


class Evaluation(Entry):
    """What is evaluated of one dataset."""

    splits: Annotated[list[Name], Field(min_length=1)]
    """Splits to evaluate."""
    views: Annotated[list[View], Field(min_length=1)]
    """Views of every split."""


class SuiteEvaluation(RootModel[dict[Name, Evaluation]]):
    """What is evaluated of every dataset of a suite, by the dataset's name."""


class Predictions(NamedTuple):
    """What is kept of the logits of n samples in one view.

    Attributes:
        prediction: int32 (n,), the class with the largest logit; `OUTSIDE` where the view does
            not cover the sample.
        top1: float32 (n,), the largest logit; NaN outside.
        top2: float32 (n,), the second largest logit, minus infinity where no other class can be
            predicted; NaN outside.
        entropy: float32 (n,), of the softmax over the view's classes, in nats; NaN outside.
        confidence: float32 (n,), the largest probability of that softmax; NaN outside.
    """

    prediction: NDArray[np.int32]
    top1: NDArray[np.float32]
    top2: NDArray[np.float32]
    entropy: NDArray[np.float32]
    confidence: NDArray[np.float32]

    def where(self, covered: NDArray[np.bool_]) -> Predictions:
        """Return them with none where a sample is not covered, bool (n,)."""
        prediction, *values = self
        outside = [np.where(covered, each, np.nan).astype(np.float32) for each in values]
        return Predictions(np.where(covered, prediction, OUTSIDE).astype(np.int32), *outside)


COLUMNS = dict.fromkeys(Predictions._fields, torch.float32) | {"prediction": torch.int32}
"""What is kept of a view's logits, in the order of the predictions."""


def check_logits(logits: Tensor, never_predicted: Sequence[int] = ()) -> None:
    """Raise WiseftError if a logit is not finite, but for classes that are never predicted."""
    if never_predicted:
        where = torch.as_tensor(never_predicted, device=logits.device)
        logits = logits.index_fill(1, where, 0.0)
    # A NaN is both the smallest and the largest value of a tensor.
    if not bool(torch.isfinite(torch.stack(torch.aminmax(logits))).all()):
        raise WiseftError("the model gives a NaN or an infinity; its weights are unusable")


def predict(logits: Tensor) -> Predictions:
    """Reduce logits (n, classes) to predictions; of equal logits the lower class wins."""
    prediction = logits.argmax(dim=1).to(torch.int32).cpu().numpy()
    top = logits.topk(2, dim=1).values.float()
    # The clamp keeps minus infinity out of the products; what it touches is zero in fp32 anyway.
    shifted = (logits.float() - top[:, :1]).clamp_(min=-200.0)
    weights = shifted.exp()
    total = weights.sum(dim=1)
    entropy = total.log() - weights.mul_(shifted).sum(dim=1) / total
    values = torch.stack([top[:, 0], top[:, 1], entropy, total.reciprocal()])
    return Predictions(prediction, *values.cpu().numpy())


@dataclass(frozen=True)
class ResolvedView:
    """A view of one dataset and head, over the samples of all evaluated splits.

    Attributes:
        projection: from the head's logits to the view's; None where they are the same.
        covered: bool (n,), the samples that count.
        labels: int32 (n,), in the view's classes, `OUTSIDE` for those of none; None where they
            are the dataset's own.
        truths: for each split what the covered samples' predictions are held against.
        definition: all that the view's numbers depend on besides the record's identity.
    """

    settings: View
    projection: Projection | None
    covered: NDArray[np.bool_]
    labels: NDArray[np.int32] | None
    truths: dict[str, Truth]
    definition: dict[str, Any]

    def measure(self, split: str, prediction: NDArray[np.int32]) -> Outcome:
        """Return the metric of the predictions (samples of the split,) of one split."""
        covered = prediction[prediction != OUTSIDE]
        return measure(self.settings.metric, covered, self.truths[split], self.settings.ignore)


def resolve_views(
    views: list[View],
    manifest: Manifest,
    splits: list[Split],
    likes: Mapping[str, Manifest],
    head: Head,
) -> dict[str, ResolvedView]:
    """Return the views of a dataset by name.

    Args:
        likes: the datasets that a view may be like, by name.

    Raises:
        WiseftError: if the head's classes do not fit, a view needs group metadata that is not
            there, covers no sample of a split, or is like an unknown dataset.
    """
    own = own_projection(manifest, head)
    resolved = {}
    for view in views:
        projection, label_map = own, None
        if view.like is not None:
            projection = like_projection(view.name, view.like, manifest, likes, head)
            label_map = projection.sha256
        seen = [_see(view, split, projection if view.like else None) for split in splits]
        resolved[view.name] = ResolvedView(
            settings=view,
            projection=projection,
            covered=np.concatenate([covered for covered, _, _ in seen]),
            labels=np.concatenate([labels for _, labels, _ in seen]) if view.like else None,
            truths={split.name: truth for split, (_, _, truth) in zip(splits, seen, strict=True)},
            definition=view.model_dump(mode="json", exclude={"name"}) | {"label_map": label_map},
        )
    return resolved


def _see(
    view: View, split: Split, projection: Projection | None
) -> tuple[NDArray[np.bool_], NDArray[np.int32], Truth]:
    """Return which samples a view covers, their labels in its classes, and the covered truth.

    Args:
        projection: maps the labels; None where they stay.
    """
    where = f"view {view.name} of {split.dataset}, split {split.name}"
    labels, others = split.labels, pairs_of(split.other_labels)
    covered = np.ones(len(split), dtype=bool)
    if projection is not None:
        if others is not None:
            raise WiseftError(
                f"{where} is like {view.like}, but some samples have several right labels, which "
                "have no one class there; take the view out"
            )
        labels = projection.map_labels(labels)
        covered &= labels != OUTSIDE
    if view.where is not None:
        covered &= _flags(split, view.where, where)
    if not covered.any():
        raise WiseftError(
            f"{where} covers no sample; there is nothing to measure. Take the view out or, of a "
            "preview, a larger limit"
        )
    groups = None if view.group is None else _group(split, view.group, where)
    truth = Truth(labels, np.asarray(split.base_ids, dtype=object), others, groups).take(covered)
    try:  # of the labels themselves: what cannot be measured is found before the work
        measure(view.metric, truth.labels, truth, view.ignore)
    except WiseftError as error:
        raise WiseftError(f"{where}: {error}; change the view") from None
    return covered, labels.astype(np.int32), truth


def _group(split: Split, name: str, where: str) -> NDArray[np.object_]:
    column = GROUP_PREFIX + name
    if column not in split.groups.columns:
        known = [each.removeprefix(GROUP_PREFIX) for each in split.groups.columns]
        raise WiseftError(
            f"{where} goes by group {name}, but the samples' groups are "
            f"{', '.join(known) or 'none'}; change the view or index the dataset again"
        )
    return np.array(split.groups[column].tolist(), dtype=object)


def _flags(split: Split, name: str, where: str) -> NDArray[np.bool_]:
    values = _group(split, name, where)
    for value in values.tolist():
        if not isinstance(value, bool):
            raise WiseftError(
                f"{where} counts the samples whose group {name} is true, but one is {value!r}; "
                "it must be true or false for every sample"
            )
    return values.astype(bool)
