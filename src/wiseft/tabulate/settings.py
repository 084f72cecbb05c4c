"""The statistics part of an experiment: what the stage tabulate must know. It is light, because the
configuration reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from wiseft.base.alphas import parse_alphas
from wiseft.base.typed import Entry, Fraction, Name, Seed, distinct

PRIMARY = "all"  # the primary view of most datasets
Roles = Mapping[tuple[str, str], tuple[str, str]]
"""Dataset and split that take the place of a dataset and a split."""


class HeldOut(Entry):
    """Where alpha may be chosen: samples that neither training nor the test sees."""

    dataset: Name
    """One of `datasets`."""
    split: Name
    """One of its evaluated splits."""


class ReferenceSplit(Entry):
    """Where the reference is itself, if its test split is a shift of it, as in WILDS."""

    split: Name
    """In-distribution split of the reference."""
    shift_view: Name = "all"
    """View of the test split to report."""


class Tuning(Entry):
    """Methods that are one recipe at several settings, and which of them held-out images admit.

    A setting is admissible if its fine-tuned end is not worse on the held-out images than that of
    the setting with the highest mean, by a paired 95 % interval over models and images, or by no
    more than `within`. Fewer than three models have no interval, so that `within` alone counts.
    """

    title: str
    """Name of the setting, such as `learning rate`."""
    methods: Annotated[list[str], Field(min_length=2), AfterValidator(distinct)]
    """Some of `methods`, from the gentlest setting to the most aggressive."""
    within: Fraction = 0.0
    """Loss of held-out accuracy that is always admitted."""


class Bootstrap(Entry):
    """Intervals of averages and of paired differences."""

    resamples: Annotated[int, Field(ge=100)] = 2000
    """Number of resamples."""
    seed: Seed = 0
    """Seed of the resampling."""


class Recipes(Entry):
    """What methods and models are, by name, for the record beside the tables."""

    methods: dict[str, Any] = Field({})
    """Settings of each training or merge."""
    models: dict[str, Any] = Field({})
    """Entry of each model."""


def own_shift(reference: str, test_split: str) -> str:
    """Return the name of the shift that is the reference's test split."""
    return f"{reference}:{test_split}"


def split_roles(reference: str, near: str, test_split: str) -> Roles:
    """Return the roles of both splits, of which `near` is in distribution."""
    far = own_shift(reference, test_split)
    return {(reference, near): (reference, test_split), (reference, test_split): (far, test_split)}


class TabulateSettings(Entry):
    """Statistics of one experiment.

    Attributes:
        averages: datasets of each average, by name; the mean of their primary metrics.
        held_out: dataset and split in which alpha may be chosen; null where there are no sweeps.
        test_split: the split that all other statistics are about.
        reference: the reference dataset.
        reference_split: where the reference is itself, if its test split is a shift, `own_shift`.
        bootstrap: resamples and seed.
        alphas: the experiment's grid; null: every alpha in the files. Files are shared between
            experiments, so they may hold more than one experiment asks for.
        combinations: how the experiment combines the two ends; null: in all ways in the files.
        fixed_alpha: the alpha of the selection `fixed` (paper, section 4: 0.5).
        unlabelled: what the selection `unlabelled` goes by: the lowest mean entropy of the
            predictions, or the highest mean confidence, which was better on held-out images of the
            digits (docs/digits.md, Protocol).
        fit_exclude: method ids of baselines that are not part of the robustness fit.
        trained_on_held_out: method ids whose runs saw the held-out images: alpha is `fixed` there.
        views: the primary view of a dataset, which averages, comparisons and selections use;
            `all` for a dataset that is not listed.
        clusters: the group metadata of a dataset whose values were drawn independently; base ids
            for a dataset that is not listed.
        other_views: further views of each dataset that stand in the table; null: all that are in
            the files, which are shared between experiments.
        kept: datasets that are no shifts: what fine-tuned image towers retain.
        tuning: methods that are one recipe at several settings, if there are any.
    """

    averages: dict[str, list[str]]
    held_out: HeldOut | None = None
    test_split: str
    reference: str
    reference_split: ReferenceSplit | None = None
    bootstrap: Bootstrap
    alphas: list[float] | None = None
    combinations: list[str] | None = None
    fixed_alpha: float = 0.5
    unlabelled: Literal["entropy", "confidence"] = "confidence"
    fit_exclude: list[str] = Field([])
    trained_on_held_out: list[str] = Field([])
    views: dict[str, str] = Field({})
    clusters: dict[str, str] = Field({})
    other_views: dict[str, list[str]] | None = None
    kept: list[str] = Field([])
    tuning: Tuning | None = Field(None, exclude_if=lambda value: value is None)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, members in self.averages.items():
            double = sorted({member for member in members if members.count(member) > 1})
            if double:
                raise ValueError(f"averages.{name} lists {', '.join(double)} twice")
            if not members:
                raise ValueError(f"averages.{name} is empty, but must list datasets")
        chosen = self.held_out
        if self.tuning and not chosen:
            raise ValueError("tuning needs held_out: its images say what is admissible")
        if chosen and (chosen.dataset, chosen.split) == (self.reference, self.test_split):
            raise ValueError(
                f"held_out is the test split of {self.reference}, but alpha must not be chosen "
                "on the samples that are reported"
            )
        parse_alphas([self.fixed_alpha])
        if self.alphas is not None:
            parse_alphas(self.alphas)
        return self

    def view_of(self, dataset: str) -> str:
        """Return the primary view of a dataset, or of the shift that is the reference's own."""
        if self.reference_split and dataset == own_shift(self.reference, self.test_split):
            return self.reference_split.shift_view
        return self.views.get(dataset, PRIMARY)

    @property
    def tuned_on(self) -> tuple[str, str, str] | None:
        """Dataset, split and view that say which settings of one recipe are admissible, if any."""
        at = self.held_out if self.tuning else None
        return (at.dataset, at.split, self.view_of(at.dataset)) if at else None

    def has_view(self, dataset: str, view: str) -> bool:
        """Whether a view of a dataset stands in the table."""
        if self.other_views is None or view == self.view_of(dataset):
            return True
        return view in self.other_views.get(dataset, [])

    @property
    def roles(self) -> Roles:
        """What the statistics take the reference's splits for; empty: for what they are."""
        if self.reference_split is None:
            return {}
        return split_roles(self.reference, self.reference_split.split, self.test_split)

    @property
    def grid(self) -> frozenset[str] | None:
        """The experiment's alphas as three-decimal strings; None for all that there are."""
        return None if self.alphas is None else frozenset(parse_alphas(self.alphas))
