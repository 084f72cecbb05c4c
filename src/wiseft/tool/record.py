"""What a sweep leaves: `sweep.json`, of which a model card can be written, and a result in Python.

Accuracies are fractions. Nothing here imports torch, and pandas only where a table is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from wiseft.base.io import write_json
from wiseft.base.typed import Entry, Fraction, Sha256
from wiseft.base.validation import validate
from wiseft.errors import WiseftError
from wiseft.thetas.damage import read_checked, with_sum

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
NAME, TABLE, PAGE, MODEL = "sweep.json", "table", "index.html", "model"
"""Files and folders of a sweep; the table has the suffixes csv, parquet and json."""
PREDICTIONS = "predictions.parquet"
"""Predictions of every image, in a sweep's folder and in those of its evaluations."""
REFERENCE = "reference"
HELD_OUT, TEST = "held-out", "test"
FIXED, BEST, ONE_ERROR, UNLABELLED, GIVEN = (
    "fixed",
    "held-out",
    "held-out-1se",
    "unlabelled",
    "given",
)
"""Choices of alpha, as the tables call them; `given` is the user's own."""
Library = Literal["open_clip", "transformers", "timm", "peft", "wiseft", "torch"]


class End(Entry):
    """One of the two checkpoints."""

    path: str = Field(description="File, folder or name, as it was given.")
    kind: str = Field(description="safetensors, torch, torchscript or folder.")
    sha256: dict[str, Sha256] = Field(description="Of its files of weights, by name.")
    base_model: str | None = Field(
        None, description="Name of the model on a hub, where it came from there or says it."
    )
    revision: str | None = Field(None, description="Commit on the hub, of one given by name.")


Role = Literal["reference", "shift", "kept"]


class ImageSet(Entry):
    """A folder of images."""

    name: str = Field(description="`reference`, or the name of the folder.")
    path: str
    role: Role = Field(description="`kept`: of other classes, seen by a head of their own prompts.")
    labelled: bool = Field(description="Whether it has a folder for every class.")
    n: dict[str, int | None] = Field(
        description="Images by split: `held-out` and `test`, or `test`; null: unknown."
    )
    split: str = Field("", description="How the reference was split, in words; else empty.")
    sha256: Sha256 = Field(description="Of names, sizes and labels of the images.")


class Accuracy(Entry):
    """Accuracy on one split at one alpha."""

    set: str
    split: str
    alpha: Fraction
    metric: str = "accuracy"
    value: float = Field(description="A fraction, or what an evaluation of your own reported.")
    n: int | None
    n_correct: int | None
    ci_low: float | None
    ci_high: float | None


class Recommended(Entry):
    """The alpha that the model was written at."""

    choice: str = Field(description="A key of `choices`.")
    alpha: Fraction
    why: str = Field(description="A sentence.")
    unsure: str = Field("", description="Why no alpha is recommended; empty: this one is.")


class Model(Entry):
    """The merged model in the folder `model`."""

    loads_with: Library = Field(description="The library that F's format belongs to.")
    file: str = Field(description="What is loaded, relative to the sweep's folder.")
    head: bool = Field(description="Whether a head lies beside it: head.safetensors, classes.json.")
    sha256: dict[str, Sha256] = Field(description="Of every file of the folder, by name.")


class Sweep(Entry):
    """The content of `sweep.json`."""

    format: Literal[1] = 1
    versions: dict[str, str] = Field(description="Of Python and libraries.")
    commit: str = Field(description="Of this program.")
    evaluations: list[dict[str, str]] = Field(
        [], description="What they were made with: several ways where some are of an earlier call."
    )
    inputs: Sha256 = Field(description="Of all that the numbers depend on.")
    zero_shot: End
    fine_tuned: End
    recipe: dict[str, Any] | None = Field(
        None, description="What made the fine-tuned end of it and of `more`; null: nothing did."
    )
    more: list[End] = Field([], description="The further fine-tuned models.")
    architecture: str = Field(description="Its name, or family and width.")
    class_names: list[str]
    templates: list[str] = Field(description="Prompts of the zero-shot head; none: it had a head.")
    head: str = Field(description="Where the heads of both ends are from, a sentence.")
    sets: list[ImageSet]
    alphas: list[Fraction]
    choices: dict[str, Fraction] = Field(
        description="Alpha by the way of choosing it; `unlabelled` is of all shifts together."
    )
    unlabelled: dict[str, Fraction] = Field(
        description="Alpha of the highest mean confidence, by shift."
    )
    evaluate: str | None = Field(
        None, description="The user's own evaluation; null: images were classified here."
    )
    recommended: Recommended
    accuracy: list[Accuracy] = Field(description="Of labelled sets, by split and alpha.")
    model: Model


def write_record(folder: Path, record: Sweep) -> None:
    """Write `sweep.json`, atomically, with its own sum."""
    write_json(folder / NAME, with_sum(record.model_dump(mode="json")))


def read_record(folder: Path) -> Sweep:
    """Read the record of a sweep.

    Args:
        folder: that `wiseft sweep` wrote.

    Raises:
        WiseftError: if it is the folder of no sweep.
        DamagedFile: if the record has another sum.
    """
    if not (folder / NAME).is_file():
        raise WiseftError(f"{folder} has no {NAME}; give a folder that `wiseft sweep` wrote")
    return validate(Sweep, read_checked(folder / NAME, "record of the sweep"), f"{folder / NAME}")


@dataclass(frozen=True)
class Result:
    """What a sweep found.

    Attributes:
        folder: where its files lie.
        record: all that is known of it.
    """

    folder: Path
    record: Sweep

    @classmethod
    def read(cls, folder: Path | str) -> Result:
        """Return the result of a sweep that was run before. Raises as `read_record`."""
        return cls(Path(folder), read_record(Path(folder)))

    @property
    def table(self) -> pd.DataFrame:
        """The tidy table: a row for each set, split, alpha and choice, in fractions.

        Raises:
            WiseftError: if it is missing or damaged.
        """
        from wiseft.tabulate.schema import read_table

        return read_table(self.folder / f"{TABLE}.parquet")

    @property
    def choices(self) -> dict[str, float]:
        """Alpha by the way of choosing it."""
        return dict(self.record.choices)

    @property
    def recommended(self) -> float | None:
        """The alpha that the model was written at; None: `record.recommended.unsure` says why not.

        What the model was written at all the same is `record.recommended.alpha`.
        """
        found = self.record.recommended
        return None if found.unsure else found.alpha

    @property
    def model_path(self) -> Path:
        """The merged model in F's format: a file, or a folder where F is one."""
        return self.folder / self.record.model.file

    @property
    def page(self) -> Path:
        """The page with the curve."""
        return self.folder / PAGE
