"""Typed models of fine-tuning methods: their settings, and variants that override some of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from wiseft.config.entries import Beta, Count, Entry, Fraction, Name, NonNegative, Positive


class FinetuneSettings(Entry):
    """How a model is fine-tuned on the reference dataset; the defaults are the paper's recipe
    (appendix D.2).
    """

    trainable: Literal["all", "head"] = Field(
        "all", description="`all`: end to end; `head`: a linear classifier on frozen features."
    )
    init: Literal["zero-shot", "random"] = Field(
        "zero-shot", description="Where training starts; `random` makes a from-scratch baseline."
    )
    train_samples: Count | None = Field(
        None,
        description="Size of the training subset, which the run's seed draws; null: the whole "
        "train split.",
    )
    epochs: Count = Field(10, description="Passes over the training samples.")
    batch_size: Count = Field(512, description="Images in an optimiser step.")
    learning_rate: Positive = Field(
        3.0e-5, description="Peak learning rate of AdamW, then cosine to zero."
    )
    weight_decay: NonNegative = Field(0.1, description="Weight decay, on all parameters.")
    betas: tuple[Beta, Beta] = Field((0.9, 0.999), description="AdamW's betas.")
    eps: Positive = Field(1.0e-8, description="AdamW's epsilon.")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(500, description="Steps of linear warm-up.")
    warmup_max_fraction: Fraction | None = Field(
        None, description="Warm-up takes at most this share of all steps; null: no such bound."
    )
    clip_norm: Positive | None = Field(
        1.0, description="Gradients are clipped to this global norm; null: not."
    )
    batch_norm: Literal["eval", "train"] = Field(
        "eval",
        description="`eval`: running statistics stay those of the zero-shot model, which "
        "interpolation needs; "
        "`train`: they follow the batches.",
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Label smoothing of the loss."
    )
    augment: Literal["none", "polarity"] = Field(
        "none", description="`polarity`: half of the images, drawn at random, are inverted."
    )
    precision: Literal["fp32"] = Field("fp32", description="Arithmetic of training.")
    checkpoint_every: Count = Field(
        200, description="Steps between two states that a killed run resumes from."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.trainable == "head" and self.init == "random":
            raise ValueError(
                "trainable is head and init is random, but a linear classifier must start from "
                "zero-shot features"
            )
        return self


def _drop_defaults(schema: dict[str, Any]) -> None:
    """Remove the defaults from a schema: what is not overridden is the method's own setting."""
    for field in schema["properties"].values():
        field.pop("default", None)


class _Overrides(Entry):
    model_config = ConfigDict(json_schema_extra=_drop_defaults)


_optional: dict[str, Any] = {
    name: (
        field.rebuild_annotation(),
        Field(default=field.get_default(), description=field.description),
    )
    for name, field in FinetuneSettings.model_fields.items()
}
FinetuneOverrides = create_model(
    "FinetuneOverrides",
    __base__=_Overrides,
    __doc__="Settings of a variant that differ from its method's.",
    **_optional,
)


class MethodEntry(Entry):
    """A fine-tuning method with its named variants."""

    name: Name = Field(description="Name of the method; the file's name without `.yaml`.")
    title: str = Field(description="Human-readable name, as it stands in tables and figures.")
    paper: str = Field(description="Section of the paper that describes it.")
    settings: FinetuneSettings = Field(description="Settings of the method itself.")
    variants: dict[Name, FinetuneOverrides] = Field(  # type: ignore[valid-type]
        {},
        description="Settings that differ, by the variant's name; `<method>__<variant>` selects "
        "one.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for variant in self.variants:
            try:
                self.resolve(variant)
            except ValidationError as error:
                problem = "; ".join(
                    str(details.get("ctx", {}).get("error", details["msg"]))
                    for details in error.errors()
                )
                raise ValueError(f"variant {variant}: {problem}") from None
        return self

    def resolve(self, variant: str | None) -> FinetuneSettings:
        """Return the settings of `variant`, or of the method itself for None. Raises KeyError if
        unknown.
        """
        if variant is None:
            return self.settings
        overrides: BaseModel = self.variants[variant]
        return FinetuneSettings.model_validate(
            {**self.settings.model_dump(), **overrides.model_dump(exclude_unset=True)}
        )
