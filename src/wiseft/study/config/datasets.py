"""Typed models of a dataset's entry: its files, its splits and classes, and how it is scored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from wiseft.base import library
from wiseft.base.typed import Count, Entry, Name, Names, Seed, SomeNames, repeated
from wiseft.evaluate.view_settings import ViewSettings
from wiseft.study.config.layouts import LAYOUTS, check_options
from wiseft.study.config.source_files import SourceFile

if TYPE_CHECKING:
    Layout = str
else:
    Layout = Literal[tuple(LAYOUTS)]


class LabelMap(Entry):
    """How the dataset's classes follow from those of the dataset that a head predicts.

    A class's logit is the largest of those of its classes there; a class without any is never
    predicted, and its samples count as errors (paper, section 3).
    """

    reference: Name
    """Dataset whose classes the head predicts."""
    by: Literal["class-ids", "files"]
    """`class-ids`: each class is the reference's class of the same id. `files`: the dataset has
    mapping files, which its layout reads."""
    borrowed: dict[str, Annotated[int, Field(ge=0)]] = {}
    """For a class without a counterpart: its name, and the label of the reference whose row it
    takes in `own_head`. All other heads see the reference without these labels."""


class HeldOutDraw(Entry):
    """Samples drawn from a split and kept out of it, where no split is published for choosing."""

    of: Name
    """Split from which the samples are drawn."""
    count: Count
    """Number of samples, which are then missing in that split."""
    seed: Seed = 0
    """Seed of the draw."""


class DatasetEntry(Entry):
    """A dataset: the source of its images, its content, and its evaluation."""

    name: Name
    """Name of the dataset; the file's name without `.yaml`."""
    title: str
    """Human-readable name for tables and figures."""
    licence: str
    """Licence of the images, as far as it is known."""
    citation: str
    """Publication of the images."""
    access: Literal["open", "registration", "user-supplied"] = "open"
    """`open`: the workflow fetches it. `registration`: you fetch it after signing up.
    `user-supplied`: you bring it."""
    layout: Layout = "arrays"
    """Form of the files. A builder makes `arrays`; all others are read by the module of that name
    in `wiseft.study.data.layouts`."""
    builder: str | None = None
    """Function of `wiseft.study.data.builders` that makes the arrays. null: for other layouts."""
    root: str | None = None
    """Your own folder with the dataset; it is only read. `datasets.paths` and `datasets.root` of
    `config.yaml` serve the same purpose."""
    files: list[SourceFile] = []
    """Files from which the dataset is made."""
    archives: Name | None = None
    """Folder below `.archives` that holds the files, for datasets that share an archive. null: the
    dataset's name."""
    top: str | None = None
    """Top folder inside the archive; the layout's paths are relative to it. Your own copy may be
    this folder or its parent."""
    packages: Names = []
    """Packages that contain the images: keys of `config/packages.yaml`."""
    depends: Names = []
    """Datasets from which this one is rendered."""
    suite: Name | None = None
    """Name of a suite; one job evaluates all datasets of a suite. null: a suite of its own."""
    class_names: list[str | list[str]] | str
    """One item per class, in label order: a name, or a list of names. All names are put into the
    prompts; the first is displayed. Or one word: `imagenet`, `imagenet-r`, `imagenet-a` (OpenAI's
    names, from open_clip; with `class_ids`, only those classes) or `files` (from the dataset's
    files)."""
    classes: Annotated[int, Field(ge=2)] | None = None
    """Number of classes. Needed if the names come from `files`."""
    class_ids: Names | None = None
    """Ids of the classes, such as wnids, if the folders have these names."""
    label_map: LabelMap | None = None
    """How classes of a reference map to these classes. null: they are the same."""
    own_head: bool = False
    """Whether zero-shot models get a head made from this dataset's own class names. It is spread
    over the classes of the label map's reference (paper, section 3)."""
    prompts: Name
    """Prompt set: a file in `config/prompts`."""
    splits: dict[Name, Count] = Field(min_length=1)
    """Splits and their exact numbers of samples. Any other number is an error."""
    held_out: HeldOutDraw | None = None
    """How to draw the split `held-out` from another split. null: it is not drawn."""
    evaluate: SomeNames
    """Splits that are evaluated."""
    views: list[ViewSettings] = Field([ViewSettings()], min_length=1)
    """Views of every split: a metric, perhaps on part of the samples. Averages and comparisons use
    the first."""
    clusters: Name | None = None
    """Group metadata whose values were drawn independently, such as families of type. null: base
    ids. With fewer than ten of them a dataset gets no interval."""
    border: Annotated[int, Field(ge=0)] = 0
    """Number of pixels to crop off every side of each image, before anything else."""
    disk_gb: Annotated[float, Field(gt=0)] | None = None
    """Disk space of the unpacked images in GB."""
    polarity: Literal["light-on-dark", "dark-on-light", "mixed"] | None = None
    """Ink against paper, for handwriting and type. null: it has no meaning."""
    writers: str | None = None
    """People who wrote or drew the samples, for the data card."""
    notes: str | None = None
    """Further facts for the reader, such as choices of our rendering."""
    options: dict[str, Any] = {}
    """Options of the builder or layout. They change images or index, and are therefore part of the
    data's identity."""
    limit: Count | None = None
    """Samples per split of a preview. The name `<dataset>-limit<N>` sets it."""

    @field_validator("class_names")
    @classmethod
    def _named(cls, value: list[str | list[str]] | str) -> list[str | list[str]] | str:
        if isinstance(value, str):
            words = (*library.CLASS_SETS, "files")
            if value not in words:
                raise ValueError(f"is {value}, but must be a list or one of {', '.join(words)}")
            return value
        if len(value) < 2:
            raise ValueError(f"{len(value)} classes, but must be at least 2")
        if not all(value) or not all(name for item in value for name in item):
            raise ValueError(
                "class_names has an empty name, but each class needs at least one non-empty name"
            )
        return value

    def _conflicts(self) -> Iterator[str]:
        yield from self._layout_conflicts()
        places = [file.into for file in self.files if file.unpack]
        if len(places) > 1 and ("" in places or len(set(places)) < len(places)):
            yield "files lists several archives, but each needs a folder of its own under `into`"
        yield from self._class_conflicts()
        yield from self._split_conflicts()
        yield from repeated([view.name for view in self.views])
        yield from repeated([file.file for file in self.files])

    def _layout_conflicts(self) -> Iterator[str]:
        if (self.layout == "arrays") != (self.builder is not None):
            yield (
                f"layout is {self.layout} and builder is {self.builder}, but `arrays` needs a "
                "builder and every other layout has none"
            )
        if self.layout == "arrays" and self.root is not None:
            yield f"root is {self.root}, but layout `arrays` reads no root"
        if self.layout != "arrays" and self.root is None and not self.files and not self.limit:
            yield (
                f"layout is {self.layout} without `root` and `files`, but the images must come "
                "from somewhere"
            )
        try:
            check_options(self.layout, self.options)
        except ValidationError as error:
            for item in error.errors(include_url=False):
                key = ".".join(["options", *map(str, item["loc"])])
                valid = ", ".join(LAYOUTS[self.layout].model_fields)
                yield (f"key `{key}` of layout {self.layout}: {item['msg']}; its options: {valid}")

    def _class_conflicts(self) -> Iterator[str]:
        known = isinstance(self.class_names, list)
        if (self.class_names == "files") != (self.classes is not None):
            yield (
                f"class_names is {'a list' if known else self.class_names} and classes is "
                f"{self.classes}, but `classes` belongs to `class_names: files` and only there"
            )
        if known:
            yield from repeated(self.display_names)
        if self.class_names in library.CLASS_SETS:
            of_set = library.names_by_id(str(self.class_names))
            if unknown := [wnid for wnid in self.class_ids or () if wnid not in of_set]:
                yield f"class_ids lists {unknown[0]}, no class of {self.class_names}"
                return
        if self.class_ids is not None and len(self.class_ids) != self.class_count:
            yield (
                f"class_ids lists {len(self.class_ids)}, but there are {self.class_count} classes"
            )
        if self.own_head and (self.label_map is None or self.suite is not None):
            yield "own_head is true, but needs a label_map, and a suite of its own"
        if self.label_map and (foreign := self.label_map.borrowed.keys() - {*self.display_names}):
            yield f"label_map.borrowed names {min(foreign)}, which is no class of it"
        if self.label_map and self.label_map.by == "class-ids" and not self.ids:
            yield "label_map goes by class-ids, but the dataset has none"

    def _split_conflicts(self) -> Iterator[str]:
        known = ", ".join(self.splits)
        for split in self.evaluate:
            if split not in self.splits:
                yield f"evaluate lists {split}, but the splits are {known}"
        for file in self.files:
            for split in file.splits:
                if split not in self.splits:
                    yield f"file {file.file} is for split {split}, but the splits are {known}"
        if self.held_out and not {self.held_out.of, "held-out"} <= set(self.splits):
            yield f"held_out draws `held-out` from {self.held_out.of}, but the splits are {known}"

    @property
    def names_from_files(self) -> bool:
        """Whether the class names are known only when the dataset is prepared."""
        return self.class_names == "files"

    @property
    def prompt_names(self) -> list[list[str]]:
        """All names of every class, in label order; none if they come from the files."""
        if isinstance(self.class_names, list):
            return [[item] if isinstance(item, str) else list(item) for item in self.class_names]
        if self.names_from_files:
            return []
        of_set = library.names_by_id(self.class_names)
        return [[of_set[wnid]] for wnid in self.class_ids or of_set]

    @property
    def display_names(self) -> list[str]:
        """The first name of every class, in label order; none if they come from the files."""
        return [names[0] for names in self.prompt_names]

    @property
    def ids(self) -> list[str] | None:
        """Ids of the classes in label order (of ImageNet's sets: wnids), or None."""
        if self.class_ids is not None:
            return list(self.class_ids)
        if isinstance(self.class_names, str) and not self.names_from_files:
            return list(library.class_ids(self.class_names))
        return None

    @property
    def class_count(self) -> int:
        """Number of classes."""
        return self.classes or len(self.prompt_names)

    @property
    def primary_view(self) -> str:
        """Name of the view that averages and comparisons use."""
        return self.views[0].name

    @property
    def suite_name(self) -> str:
        """Name of the suite that the dataset is evaluated in: `suite`, or its own name."""
        return self.suite or self.name

    @property
    def bare_name(self) -> str:
        """The name without what marks a preview."""
        return self.name.removesuffix(f"-limit{self.limit}") if self.limit else self.name

    def files_of(self, split: str) -> list[SourceFile]:
        """Return the files that a split needs."""
        source = self.held_out.of if self.held_out and split == "held-out" else split
        return [file for file in self.files if not file.splits or source in file.splits]
