"""Typed models of an experiment: a selection of runs, datasets, alphas and figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

from wiseft.base.alphas import format_alpha, parse_alphas
from wiseft.base.typed import Entry, Name, Names, Seeds, SomeNames
from wiseft.base.validation import suggest
from wiseft.errors import WiseftError
from wiseft.study.config.drawings import drawing_options
from wiseft.study.config.experiment_parts import (
    Baselines,
    FigureSettings,
    MethodIds,
    PublishedSettings,
    SamplesSettings,
)
from wiseft.tabulate.settings import Bootstrap, HeldOut, ReferenceSplit, Tuning

ZERO_SHOT = "zero-shot"
"""Stands for the zero-shot model where methods are named."""

Combination = Literal["weight", "output", "softmax", "random"]
COMBINATIONS: tuple[str, ...] = get_args(Combination)


def _alphas(values: list[float]) -> list[float]:
    """Check that alphas are in [0, 1], of three decimals, distinct. Raises ValueError."""
    try:
        parse_alphas(values) if values else None
    except WiseftError as error:
        raise ValueError(str(error)) from None
    return values


Alphas = Annotated[list[float], AfterValidator(_alphas)]


_TRAINING_KEYS = ("models", "methods", "seeds", "alphas", "held_out")
"""Keys that every experiment has in which a model is trained."""


class ExperimentEntry(Entry):
    """An experiment selects runs, datasets, alphas and figures. It changes no artifact: their
    settings are in the files of datasets, models and methods. There are three special cases.
    Without models, methods and baselines, the datasets are fetched, verified and prepared; they may
    then differ in their classes. With `published` as well, numbers of the paper are shown and
    nothing is fetched. With models and `alphas: [0.0]` only, the zero-shot models are evaluated.
    """

    experiment: Name
    """Name of the experiment; the file's name without `.yaml`."""
    title: str
    """Human-readable name."""
    about: str = ""
    """Short description of the experiment, for the report."""
    models: Names = []
    """Zero-shot models. A model that is pre-trained here has `-s<seed>` after its name. Needed if a
    model is trained."""
    reference: Name
    """Dataset that models are fine-tuned on (split `train`)."""
    datasets: SomeNames
    """Datasets to evaluate, including the reference. `<dataset>-limit<N>` is a preview with N
    samples per split."""
    methods: MethodIds = []
    """Fine-tuning methods with `init: zero-shot`: `<method>` or `<method>__<variant>`. Needed if a
    model is trained."""
    seeds: Seeds = [0]
    """Fine-tuning seeds. Each draws its own training subset and order. Needed if a model is
    trained."""
    method_seeds: dict[str, Seeds] = {}
    """Seeds of a method, by its name, if they differ from `seeds`."""
    # dumps of other experiments stay as they were
    model_seeds: dict[str, Seeds] = Field({}, exclude_if=lambda value: not value)
    """Seeds of a model, by its name, if they differ from `seeds`: then no two models share draws
    and order of their training images."""
    baselines: Baselines | None = None
    """Baselines that are trained from scratch. null: none."""
    alphas: Alphas = Field([0.0, 1.0], min_length=1)
    """Alphas to evaluate, from 0 (the zero-shot model) to 1 (the fine-tuned model). Needed if a
    model is trained."""
    combinations: list[Combination] = Field(["weight", "output"], min_length=1)
    """How the two models are combined at each alpha: `weight` (weights), `output` (logits),
    `softmax` (probabilities), `random` (one of the two models, drawn for each sample)."""
    interpolate: Alphas = []
    """Alphas at which the interpolated weights are written to files."""
    held_out: HeldOut | None = None
    """Held-out images on which alpha may be chosen. Needed if a model is trained."""
    test_split: Name = "test"
    """Split that is reported, for every dataset."""
    # dumps of other experiments stay as they were
    reference_split: ReferenceSplit | None = Field(None, exclude_if=lambda value: value is None)
    """The in-distribution split, if the reference's own test split is a shift, as in WILDS. The
    test split is then reported and tested as a shift."""
    averages: dict[Name, SomeNames] = {}
    """Averages over datasets: a name and its datasets."""
    # dumps of other experiments stay as they were
    average_titles: dict[Name, str] = Field({}, exclude_if=lambda value: not value)
    """Title of an average on the page and on axes, e.g. `sets by other writers`. Default: its
    name."""
    # dumps of other experiments stay as they were
    compare_with: Name | None = Field(None, exclude_if=lambda value: value is None)
    """Experiment with whose published models `wiseft compare` compares a run of this one: it has
    more models of the same entry. null: this experiment."""
    keep: Names = []
    """Further datasets with other classes. Every fine-tuned model is evaluated on them at every
    alpha, with a head made from their own prompts, to measure how much its image tower retains."""
    # dumps of other experiments stay as they were
    tuning: Tuning | None = Field(None, exclude_if=lambda value: value is None)
    """Methods that are one recipe with several settings, such as learning rates. The gain of an
    alpha is then reported as a range over the settings that held-out images admit."""
    bootstrap: Bootstrap = Bootstrap()
    """Bootstrap resampling for the confidence intervals."""
    pairs: list[tuple[str, str]] = []
    """Pairs of models whose predictions are compared with diversity measures: two of `methods`, or
    `zero-shot` and one of them. Their logits are stored."""
    samples: SamplesSettings | None = None
    """Content of the panel of sample images. null: one image of every class."""
    published: PublishedSettings | None = None
    """Published numbers of the paper to show beside measured ones. null: none."""
    figures: dict[Name, FigureSettings] = {}
    """Figures, by file name."""
    page: MethodIds = []
    """Methods that the interactive page shows. If none are listed: the first ten, because more
    colours cannot be distinguished."""

    def _conflicts(self) -> Iterator[str]:
        yield from self._figure_conflicts()
        yield from self._training_conflicts()
        yield from self._selection_conflicts()
        for name, members in self.averages.items():
            for member in members:
                if member not in self.datasets:
                    yield (
                        f"averages.{name} lists {member}, but must list only datasets: "
                        f"{', '.join(self.datasets)}"
                    )
        if self.methods and not {"0.000", "0.500", "1.000"} <= set(self.alpha_names):
            yield (
                f"alphas is {', '.join(self.alpha_names)}, but must contain 0, 0.5 and 1, because "
                "both ends are needed to interpolate, and tables hold 0.5 against them"
            )
        known = ", ".join(self.methods) or "there are none"
        yield from self._pair_conflicts(known)
        for key, names, among in (
            ("page", self.page, "methods"),
            ("method_seeds", self.method_seeds, "methods"),
            ("model_seeds", self.model_seeds, "models"),
        ):
            listed: list[str] = getattr(self, among)
            for name in names:
                if name not in listed:
                    yield (
                        f"{key} lists {name}, but must list only {among}: "
                        f"{', '.join(listed) or 'there are none'}"
                    )

    def _training_conflicts(self) -> Iterator[str]:
        if self.data_only:
            shown = () if self.published else ("figures",)
            for key in (*shown, "interpolate"):
                if getattr(self, key):
                    yield (
                        f"{key} needs trained models, but models and methods are empty and "
                        f"baselines is null; remove {key}, or name what is trained"
                    )
        if self.data_only or self.zero_shot_only:
            return
        if not self.methods and self.baselines is None:
            yield (
                f"models lists {', '.join(self.models)}, but methods is empty and baselines is "
                "null; name what is trained, or no model for an experiment about data alone, or "
                "alphas: [0.0] for the zero-shot models alone"
            )
        if self.methods and not self.models:
            yield "models is empty, but methods need at least one model to start from"
        for key in _TRAINING_KEYS:
            if key not in self.model_fields_set:
                meaning = type(self).model_fields[key].description or ""
                meaning = meaning.removesuffix(" Needed if a model is trained.").rstrip(".")
                yield (
                    f"key `{key}` is missing, but must be given where a model is trained "
                    f"({meaning})"
                )
            elif getattr(self, key) is None:
                yield f"key `{key}` is null, but must be given where a model is trained"

    def _selection_conflicts(self) -> Iterator[str]:
        selected, held_out = ", ".join(self.datasets), self.held_out
        if self.reference not in self.datasets:
            yield f"reference is {self.reference}, but must be one of datasets: {selected}"
        if held_out and held_out.dataset not in self.datasets:
            yield f"held_out.dataset is {held_out.dataset}, but must be one of datasets: {selected}"
        if held_out and held_out.split == self.test_split:
            yield (
                f"held_out.split is {self.test_split}, which is test_split too, but alpha must not "
                "be chosen on images that are reported; name a split of held-out training images"
            )
        near = self.reference_split and self.reference_split.split
        if near and near in (self.test_split, held_out and held_out.split):
            yield f"reference_split.split is {near}, which has another role already"
        for name in self.tuning.methods if self.tuning else ():
            if name not in self.methods:
                yield f"tuning lists {name}, but must list only methods: {', '.join(self.methods)}"
        if self.keep and not self.methods:
            yield "keep is about models that are fine-tuned, but methods is empty"
        for name in self.keep:
            if name in self.datasets:
                yield (
                    f"keep lists {name}, which datasets lists too; what is kept is another dataset"
                )

    def _figure_conflicts(self) -> Iterator[str]:
        """Find options that a drawing does not have, or needs; it checks their values itself."""
        parts = [method.partition("__") for method in self.methods]
        names, variants = ([part[at] for part in parts] for at in (0, 2))
        listed = {"datasets": self.datasets, "methods": names, "variants": variants}
        listed = {} if self.published else listed  # whose models join the table
        for name, figure in self.figures.items():
            where, given = f"figures.{name}.options", figure.options
            known = drawing_options(figure.draw)
            for key in sorted(given.keys() - known.keys()):
                yield f"{where}: {figure.draw} has no option `{key}`; {suggest(key, known)}"
            for key, needed in known.items():
                if needed and key not in given:
                    yield f"{where}: {figure.draw} needs the option `{key}`"
            for key, its in listed.items():
                for one in given[key] if isinstance(given.get(key), list) else []:
                    if one not in its:
                        yield f"{where}.{key} lists {one}, but the experiment has {', '.join(its)}"
            average = given.get("average")
            if average is not None and average not in self.averages:
                yield (
                    f"{where}.average is {average}, but must be one of averages: "
                    f"{', '.join(self.averages) or 'there are none'}"
                )

    def _pair_conflicts(self, known: str) -> Iterator[str]:
        for first, second in self.pairs:
            unknown = [m for m in (first, second) if m not in (ZERO_SHOT, *self.methods)]
            if unknown:
                yield (
                    f"pairs names {unknown[0]}, but must name {ZERO_SHOT} or one of methods: "
                    f"{known}"
                )
            elif first == second or second == ZERO_SHOT:
                yield (
                    f"pairs has {first} and {second}, but must have two models, with "
                    f"{ZERO_SHOT} as the first of them if at all"
                )
            elif first != ZERO_SHOT and set(self.seeds_of(second)) - set(self.seeds_of(first)):
                yield (
                    f"pairs has {first} and {second}, but {second} has seeds that {first} has not; "
                    f"give {first} all of them in method_seeds"
                )

    def seeds_of(self, method_id: str, model: str = "") -> list[int]:
        """Return the seeds of one of the methods; of a model, where it has seeds of its own."""
        return self.method_seeds.get(method_id) or self.model_seeds.get(model, self.seeds)

    @property
    def data_only(self) -> bool:
        """Whether no model is trained, so that datasets are all that is made."""
        return not self.models and not self.methods and self.baselines is None

    @property
    def zero_shot_only(self) -> bool:
        """Whether models are evaluated as they are, on the test split, and nothing is trained."""
        trained = bool(self.methods) or self.baselines is not None
        return bool(self.models) and not trained and self.alpha_names == ["0.000"]

    @property
    def alpha_names(self) -> list[str]:
        """The grid as sorted three-decimal strings."""
        return parse_alphas(self.alphas)

    @property
    def interpolate_names(self) -> list[str]:
        """The alphas that are written as files, as three-decimal strings."""
        return sorted(format_alpha(alpha) for alpha in self.interpolate)
