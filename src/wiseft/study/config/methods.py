"""Typed models of fine-tuning methods: their settings, and variants that override some of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from wiseft.base import plugins
from wiseft.base.typed import Beta, Count, Entry, Fraction, Name, NonNegative, Positive
from wiseft.base.validation import validate
from wiseft.errors import WiseftError
from wiseft.study import OBJECTIVES
from wiseft.study.config.training_parts import (
    EarlyStopping,
    LinearProbe,
    Lipsum,
    Lora,
    MergedModel,
    MovingAverage,
    ObjectiveOptions,
    Search,
)

if TYPE_CHECKING:
    Loss = str
else:
    Loss = Literal[plugins.names(OBJECTIVES)]


class FinetuneSettings(Entry):
    """How a model is fine-tuned on the reference dataset; the defaults are the paper's recipe
    (appendix D.2), but for `augment`, which that recipe sets to `crop`.
    """

    trainable: Literal["all", "head", "lora"] = "all"
    """What is trained. `all`: end to end. `head`: a linear classifier on frozen features. `lora`:
    the head, and low-rank changes of the image tower's matrices."""
    init: Literal["zero-shot", "random"] = "zero-shot"
    """Start of the training; `random` makes a from-scratch baseline."""
    train_samples: Count | None = None
    """Size of the training subset, which the run's seed draws. null: the whole train split."""
    epochs: Count = 10
    """Passes over the training samples."""
    batch_size: Count = 512
    """Images in an optimiser step."""
    learning_rate: Positive = 3.0e-5
    """Peak learning rate; it then falls to zero as a cosine."""
    weight_decay: NonNegative = 0.1
    """Weight decay on all parameters. It is decoupled for `adamw`, and added to the gradient for
    `adam` and `sgd`."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Betas of AdamW and Adam."""
    eps: Positive = 1.0e-8
    """Epsilon of AdamW and Adam."""
    warmup_steps: Annotated[int, Field(ge=0)] = 500
    """Number of steps of linear warm-up."""
    warmup_max_fraction: Fraction | None = None
    """Largest share of all steps that warm-up takes. null: no limit."""
    clip_norm: Positive | None = 1.0
    """Global norm to which gradients are clipped. null: no clipping."""
    batch_norm: Literal["eval", "train"] = "eval"
    """Running statistics of BatchNorm. `eval`: those of the zero-shot model are kept, which
    interpolation needs. `train`: they follow the batches."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Label smoothing of the loss."""
    augment: Literal["none", "polarity", "flip", "crop", "inception", "strong"] = "none"
    """Augmentation. `crop` (the paper's): a random crop of 0.9 to 1.0 of the area, resized.
    `inception`: the same with 0.05 to 1.0. `strong`: timm's default for training, which is a crop
    of 0.08 to 1.0 of the area, a flip and colour jitter. `polarity`: half of the images, drawn at
    random, are inverted. `flip`: half of them are mirrored."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """Arithmetic of training. Weights are always fp32. `tf32`: products in TensorFloat-32 on a GPU
    that has it; elsewhere the same as fp32. With `fp16` the loss is scaled."""
    checkpoint_every: Count = 200
    """Steps between two states that a killed run resumes from."""
    # Keys from here on are left out of a dump where they have their default (see `_dump`).
    steps: Count | None = None
    """Number of optimiser steps. null: `epochs` decides."""
    samples_per_class: Count | None = None
    """Number of training samples per class, drawn with the run's seed, instead of `train_samples`.
    null: not used."""
    half: Literal[1, 2] | None = None
    """Train on one half of the training samples; the run's seed draws two disjoint halves (paper
    Figure 5). null: use all."""
    optimiser: Literal["adamw", "adam", "sgd", "lbfgs"] = "adamw"
    """Optimiser. `sgd` has a momentum of 0.9. `lbfgs` is for a linear classifier: at most `steps`
    iterations on all samples at once, each with a line search instead of a learning rate. It
    ignores warm-up, clipping and batch size."""
    loss: Loss = "cross-entropy"
    """Loss. `sigmoid`: a binary cross-entropy for every class. `contrastive`: both towers are
    trained with CLIP's loss on images and prompts of their classes, and the text tower gives the
    head."""
    loss_options: dict[str, Any] = {}
    """Options of the loss; its file in `finetune/objectives` lists them."""
    l1: NonNegative = 0.0
    """Coefficient of the L1 norm of the head's weight. 0: off."""
    l2_to_start: NonNegative = 0.0
    """Coefficient of the squared distance between the trained weights and theta_0. 0: off."""
    distillation: Fraction = 0.0
    """Share a in (1 - a) CE(labels) + a CE(outputs of the zero-shot model). 0: off."""
    head_init: Literal["zero-shot", "random"] = "zero-shot"
    """Start of the head of a zero-shot model."""
    linear_probe: LinearProbe | None = None
    """Train the head alone first (LP-FT). null: do not."""
    ema: MovingAverage | None = None
    """Take a moving average of the weights as theta_1. null: the last weights."""
    early_stopping: EarlyStopping | None = None
    """Take theta_1 from before the end of the training. null: from the end."""
    search: Search | None = None
    """Search the settings of a linear classifier. null: use the given settings."""
    from_search: list[str] = []
    """Variants of the same method with `search`. Batch size, learning rate, regulariser and epochs
    are taken from the trial that was best on held-out images, among all their trials with the same
    seed (paper appendix D.3). In `--settings` of a command: files that `wiseft search --trials`
    wrote."""
    lora: Lora | None = None
    """Size of the low-rank changes. null: none."""
    lipsum: Lipsum | None = None
    """Random texts that keep the training near theta_0 (Lipsum-FT). null: none."""
    train_on_held_out: bool = False
    """Also train on the split `held-out`. Alpha must then be fixed beforehand. Both splits together
    are all training images, as in the paper."""

    @model_serializer(mode="wrap")
    def _dump(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A key added later is left out where it has its default, so that old artifacts keep
        their identity.
        """
        dumped: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        return {
            key: value
            for key, value in dumped.items()
            if key in FIRST_KEYS or getattr(self, key) != fields[key].default
        }

    def _conflicts(self) -> Iterator[str]:
        try:
            objective = self.objective
        except WiseftError as error:
            yield str(error)
            return
        head = self.trainable == "head"
        if head and self.init == "random":
            yield (
                "trainable is head and init is random, but a linear classifier must start from "
                "zero-shot features"
            )
        if self.init == "random":
            needed = self._changed(
                ("l2_to_start", "distillation", "lipsum", "head_init", "linear_probe")
            )
            for key in [*needed, "loss"] if objective.trains_text else needed:
                yield f"{key} is given and init is random, but {key} needs a zero-shot model"
        if (self.trainable == "lora") != (self.lora is not None):
            yield (
                f"trainable is {self.trainable} and lora is {self.lora}, but trainable: lora "
                "and `lora: {rank: 8, lora_alpha: 8}` go together"
            )
        for key in self._changed(("ema", "l2_to_start", "linear_probe")) if self.lora else ():
            yield f"{key} is given and trainable is lora, but it is for trainable: all"
        if self.lora and self.init == "random":
            yield "trainable is lora and init is random, but random weights are not to be kept"
        if self.lipsum and (head or objective.trains_text):
            yield "lipsum is given, but it is for an image tower that is trained beside a head"
        if self.train_samples and self.samples_per_class:
            yield (
                f"train_samples is {self.train_samples} and samples_per_class is "
                f"{self.samples_per_class}, but give one of them; set the other to null"
            )
        if head and self.linear_probe:
            yield "linear_probe is given and trainable is head, but it is for trainable: all"
        if self.search and not head:
            yield f"search is given and trainable is {self.trainable}, but it is for a head alone"
        if self.search and (self.ema or self.early_stopping):
            yield (
                "search is given with ema or early_stopping, but its trials are trained to their "
                "end"
            )
        chosen = self.search or (self.early_stopping and self.early_stopping.every)
        if self.train_on_held_out and chosen:
            yield (
                "train_on_held_out is given with search or early_stopping.every, but these choose "
                "on images that are not trained on"
            )
        if self.from_search and (self.search or not head):
            yield (
                "from_search is given with search or trainable: all, but it takes what the "
                "searches of other variants found for a linear classifier"
            )
        if self.optimiser == "lbfgs":
            yield from self._lbfgs_conflicts()
        if self.ema and self.early_stopping:
            yield "ema and early_stopping are both given, but each says which weights theta_1 has"
        for key in self._changed(objective.refused):
            yield f"{key} is given and loss is {self.loss}, {objective.refused[key]}"

    def _lbfgs_conflicts(self) -> Iterator[str]:
        if self.trainable != "head" or self.steps is None:
            yield "optimiser is lbfgs, but it is for trainable: head with a number of `steps`"
        keys = ("l1", "ema", "early_stopping", "search", "from_search")
        for key in self._changed(keys):
            yield (
                f"{key} is given and optimiser is lbfgs, which has one smooth function to minimise"
            )

    def _changed(self, keys: Iterable[str]) -> list[str]:
        fields = FinetuneSettings.model_fields
        return [key for key in keys if getattr(self, key) != fields[key].default]

    @property
    def objective(self) -> ObjectiveOptions:
        """The options of the loss. Raises WiseftError if they are not those that it takes."""
        model: type[ObjectiveOptions] = plugins.load(OBJECTIVES, self.loss).Options
        return validate(model, self.loss_options, "loss_options")

    @property
    def reads_text(self) -> bool:
        """Whether training needs the text tower of theta_0."""
        return self.objective.trains_text or self.lipsum is not None

    @property
    def kept(self) -> dict[str, int]:
        """What lies beside model and gradients, for `wiseft.models.footprint`: `moments` of the
        optimiser for each parameter, `copies` of the weights.
        """
        kept = (self.ema, self.l2_to_start, self.distillation, self.lipsum, self.lipsum)
        copies = sum(map(bool, kept))  # of Lipsum-FT both towers of theta_0
        return {"moments": 1 if self.optimiser == "sgd" else 2, "copies": copies}


_names = list(FinetuneSettings.model_fields)
FIRST_KEYS = frozenset(_names[: _names.index("steps")])
"""Keys of the first results: they are in every dump, whatever their value."""


class FinetuneOverrides(FinetuneSettings):
    """Settings of a variant that differ from its method's."""

    def _conflicts(self) -> Iterator[str]:
        yield from ()  # it is the two together that must make sense: `MethodEntry.resolve`


class IndependentModel(Entry):
    """A classifier that was not fine-tuned from the zero-shot model it is combined with."""

    model: Name
    """Model whose head for the reference's classes is the classifier. With `baseline`: the model
    whose architecture the baseline has."""
    baseline: str | None = Field(None, min_length=1)
    """From-scratch baseline of the experiment to use instead of a model's own head: the name of its
    method. Its seed is the run's."""


class MethodEntry(Entry):
    """A fine-tuning method with its named variants."""

    name: Name
    """Name of the method; the file's name without `.yaml`."""
    title: str
    """Human-readable name for tables and figures."""
    paper: str
    """Section of the paper that describes it."""
    checkpoint: str | None = Field(None, min_length=1)
    """Model that you fine-tuned yourself, instead of training one here. A path relative to the
    project: a `.pt` or safetensors file, or a folder of transformers, of the same architecture."""
    independent: dict[Name, IndependentModel] = {}
    """Classifiers that were trained independently of the zero-shot model, by the variant's name,
    instead of training. Only their outputs are combined, not their weights."""
    merged: dict[Name, MergedModel] = {}
    """Models that are merged from fine-tuned ones, by the variant's name, instead of training."""
    settings: FinetuneSettings = FinetuneSettings()
    """Settings of the method itself."""
    variants: dict[Name, FinetuneOverrides] = {}
    """Settings that differ, by the variant's name. `<method>__<variant>` selects a variant."""

    def _conflicts(self) -> Iterator[str]:
        keys = ("checkpoint", "independent", "merged")
        given = [key for key in keys if getattr(self, key)]
        trained = self.variants or self.settings != FinetuneSettings()
        if given and (trained or given[1:]):
            beside = given[1:] or ["settings or variants"]
            yield (
                f"{given[0]} is given with {', '.join(beside)}, but nothing is trained then; leave "
                "them out"
            )
        for variant in self.variants:
            try:
                self.resolve(variant)
            except ValidationError as error:
                for details in error.errors():
                    problem = details.get("ctx", {}).get("error", details["msg"])
                    yield from (f"variant {variant}: {each}" for each in str(problem).split("\n"))

    def resolve(self, variant: str | None) -> FinetuneSettings:
        """Return the settings of `variant`, or of the method itself for None. Raises KeyError if
        unknown.
        """
        if variant is None or variant in self.independent:
            return self.settings
        overrides = self.variants[variant]
        given = {key: getattr(overrides, key) for key in overrides.model_fields_set}
        return FinetuneSettings.model_validate({**self.settings.model_dump(), **given})
