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
PARTS = "parts"
"""Folder of the model with alphas for parts; the same with .json: what was searched and found."""
RECIPE = "recipe"
"""The same of a recipe beside plain interpolation."""
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

    path: str
    """File, folder or name, as given by the user."""
    kind: str
    """Format: safetensors, torch, torchscript or folder."""
    sha256: dict[str, Sha256]
    """SHA-256 of each weights file, by name."""
    base_model: str | None = None
    """Name of the model on a hub, if it is from there or names one."""
    revision: str | None = None
    """Commit on the hub, if it was given by name."""


Role = Literal["reference", "shift", "kept"]


class ImageSet(Entry):
    """A folder of images."""

    name: str
    """`reference`, or the name of the folder."""
    path: str
    role: Role
    """`kept`: other classes, with a head of their own prompts."""
    labelled: bool
    """Whether it has one folder per class."""
    n: dict[str, int | None]
    """Images by split: `held-out` and `test`, or only `test`. null: unknown."""
    split: str = ""
    """How the reference was split, in words. Empty: it was not."""
    sha256: Sha256
    """SHA-256 of the names, sizes and labels of the images."""


class Accuracy(Entry):
    """Accuracy on one split at one alpha."""

    set: str
    split: str
    alpha: Fraction
    metric: str = "accuracy"
    value: float
    """A fraction, or what an evaluation of your own reported."""
    n: int | None
    n_correct: int | None
    ci_low: float | None
    ci_high: float | None


class Recommended(Entry):
    """The alpha at which the model was written."""

    choice: str
    """A key of `choices`."""
    alpha: Fraction
    why: str
    """Reason for the choice, a sentence."""
    unsure: str = ""
    """Why no alpha is recommended. Empty: this one is."""


class Model(Entry):
    """The merged model in the folder `model`."""

    loads_with: Library
    """Library whose format F has."""
    file: str
    """File to load, relative to the sweep's folder."""
    head: bool
    """Whether head.safetensors and classes.json are beside it."""
    sha256: dict[str, Sha256]
    """SHA-256 of every file in the folder, by name."""


class Sweep(Entry):
    """The content of `sweep.json`."""

    format: Literal[1] = 1
    versions: dict[str, str]
    """Versions of Python and libraries."""
    commit: str
    """Commit of this program."""
    evaluations: list[dict[str, str]] = Field([])
    """Software of the evaluations: several if some are of an earlier call."""
    inputs: Sha256
    """SHA-256 of everything that the numbers depend on."""
    zero_shot: End
    fine_tuned: End
    recipe: dict[str, Any] | None = None
    """Recipe that made the fine-tuned end from F and `more`; null: none."""
    more: list[End] = Field([])
    """The further fine-tuned models."""
    architecture: str
    """Name of the architecture, or family and width."""
    preprocessing: dict[str, Any] = Field({})
    """Preprocessing, as in config/models."""
    class_names: list[str]
    templates: list[str]
    """Prompts of the zero-shot head. Empty: it had a head."""
    head: str
    """Origin of the heads of both ends, a sentence."""
    sets: list[ImageSet]
    alphas: list[Fraction]
    choices: dict[str, Fraction]
    """Alpha by the way of choosing it; `unlabelled` is for all shifts together."""
    unlabelled: dict[str, Fraction]
    """Alpha of the highest mean confidence, by shift."""
    evaluate: str | None = None
    """The user's own evaluation; null: images were classified here."""
    recommended: Recommended
    accuracy: list[Accuracy]
    """Accuracy on labelled sets, by split and alpha."""
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

        In both cases the model was written at `record.recommended.alpha`.
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
