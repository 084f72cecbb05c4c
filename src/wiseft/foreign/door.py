"""The one door: a model of any form that somebody has, opened as data.

A form is a file (safetensors, torch's, TorchScript), a folder of open_clip, transformers or timm,
an adapter of PEFT, and what wiseft itself writes: weights, a theta, the model of a sweep or an
export. Tensors stay in their files. What a model says of itself is read when it is asked for, so
that weights of any architecture can be merged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor

from wiseft.errors import WiseftError
from wiseft.foreign import class_names
from wiseft.foreign.adapters import adapted, is_adapter
from wiseft.foreign.class_names import Names
from wiseft.foreign.formats import Checkpoint, read_checkpoint, write_checkpoint
from wiseft.foreign.forms import described
from wiseft.foreign.model_folder import needed_files
from wiseft.foreign.wrappers import Place
from wiseft.thetas.preprocessing import Preprocessing
from wiseft.thetas.tensor_file import read_file_header
from wiseft.thetas.theta import ThetaHeader, read_header, save_weights

_KEPT = ("architecture", "preprocessing", "source", "stage", "settings")
"""What weights of wiseft keep of their header where other tensors take their place."""
Features = Literal["raw", "normalised"]
"""What a head takes: features as the image tower gives them, or L2-normalised."""


@dataclass(frozen=True)
class Given:
    """What the user says of the checkpoints.

    Attributes:
        architecture: a name of open_clip or timm, or a JSON file.
        templates: prompts of a model without a head; None: `TEMPLATES`.
        classes: names of the head's classes in its order; None: those of a checkpoint or the
            reference folder.
        head: a file with the head of the fine-tuned checkpoint.
        features: that heads take; None: what a checkpoint says, else L2-normalised ones.
        norm: of features: heads of prompts are divided by it where they take raw ones.
        weights: the key of the weights, in files of torch that hold several mappings of tensors.
    """

    architecture: str | None = None
    preprocessing: Preprocessing | None = None
    templates: Sequence[str] | None = None
    classes: Sequence[str] | None = None
    head: Path | None = None
    features: Features | None = None
    norm: float = 1.0
    weights: str | None = None

    def __post_init__(self) -> None:
        if self.features not in (None, *get_args(Features)):
            raise WiseftError(f"--features is {self.features}, but must be raw or normalised")


@dataclass(frozen=True)
class Opened:
    """A model with what it says of itself.

    Attributes:
        path: file or folder.
        checkpoint: its tensors, and what writing them back needs.
        own: the header of a file that wiseft wrote; empty for others.
        about: the file or folder that says what the model is: of an adapter its base's.
    """

    path: Path
    checkpoint: Checkpoint
    own: Mapping[str, Any]
    about: Path

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """All tensors by name; each is read when it is asked for."""
        return self.checkpoint.tensors

    @cached_property
    def header(self) -> ThetaHeader | None:
        """That of a theta."""
        return read_header(self.path) if "class_names" in self.own else None

    @cached_property
    def _described(self) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        if config := self.checkpoint.config:
            return described(config, needed_files(self.about), str(self.about))
        return self.own.get("architecture"), self.own.get("preprocessing")

    @property
    def architecture(self) -> dict[str, Any] | None:
        """What `wiseft.models.towers` builds the model from; None: nothing says it.

        Raises:
            WiseftError: if a folder is of another library, or says what is not modelled.
        """
        return self._described[0]

    @property
    def preprocessing(self) -> dict[str, Any] | None:
        """The keys of `Preprocessing` that are known; None: nothing says them.

        Raises:
            WiseftError: as `architecture`.
        """
        return self._described[1]

    @cached_property
    def names(self) -> tuple[Names, str] | None:
        """Names of the classes of its head, and where they stand; None: nothing names them."""
        if self.header is not None:
            return None
        return class_names.names_brought(self.about, self.checkpoint.config)

    @cached_property
    def head(self) -> Path | None:
        """A file with its head, which a sweep or an export wrote beside it."""
        return None if self.header is not None else class_names.head_beside(self.about)

    @cached_property
    def features(self) -> str | None:
        """What its head takes, `raw` or `normalised`, by what lies beside it; None: unknown."""
        if self.header is not None:
            return None
        return class_names.features_beside(self.about, self.head)

    def write(
        self,
        tensors: Mapping[str, Tensor],
        path: Path,
        beside: Callable[[Path], None] = lambda folder: None,
        also: Mapping[Place, Mapping[str, Tensor]] | None = None,
    ) -> None:
        """Write tensors in this model's format, as `write_checkpoint` does."""
        if not self.own:
            write_checkpoint(self.checkpoint, tensors, path, beside, also)
            return
        beside(path.parent)
        save_weights(path, tensors, {key: self.own[key] for key in _KEPT if key in self.own})


def open_model(
    where: Path, base: Opened | None = None, weights: str | None = None, also: bool = False
) -> Opened:
    """Open a model of any form.

    Args:
        where: file or folder; `wiseft.foreign.named.local_path` makes one of a name.
        base: what an adapter of PEFT changes.
        weights: as in `Given`.
        also: the caller takes moving averages beside the weights, too.

    Raises:
        WiseftError: if it is missing or refused, or an adapter has no base.
    """
    if is_adapter(where):
        if base is None:
            raise WiseftError(
                f"{where} is an adapter, not a model; give the model that it changes, or merge the "
                f"two first: wiseft merge MODEL {where} --alpha 1 -o MERGED"
            )
        own = {key: value for key, value in base.own.items() if key != "class_names"}
        return Opened(where, adapted(where, base.checkpoint), own, base.about)
    return Opened(where, read_checkpoint(where, weights, also), _own_header(where), where)


def _own_header(path: Path) -> dict[str, Any]:
    """Return the header of a file that wiseft wrote; nothing of others."""
    try:
        return read_file_header(path, "the model")
    except WiseftError:
        return {}
