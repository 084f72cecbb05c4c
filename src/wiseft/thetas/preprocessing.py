"""What is done to an image before an image tower: the model's own evaluation transform, typed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from wiseft.base.typed import Channels, Edge, Entry, Positive
from wiseft.base.validation import validate
from wiseft.errors import WiseftError

CLIP_PIXELS = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
}
"""How OpenAI's CLIPs normalise images; open_clip assumes it of a file that doesn't say."""

_NAME = re.compile(
    r"(?P<size>[1-9]\d*)(-(?P<resize_mode>longest|squash))?(-(?P<interpolation>bilinear))?"
    r"(-of(?P<resize_size>[1-9]\d*))?(-(?P<crop>floor))?"
)


class Transform(Entry):
    """From an image of any size to a square of uint8.

    What a key says that is not `size` is left out of dumps where it is CLIP's.
    """

    size: Edge
    """Edge of the square image in pixels."""
    resize_mode: Literal["shortest", "longest", "squash"] = "shortest"
    """`shortest`: the shortest side is resized and the centre is cropped. `longest`: the longest
    side is resized and the rest is black. `squash`: both sides are resized, whatever the aspect
    ratio."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    """Filter for resizing (Pillow's, which is antialiased)."""
    resize_size: Edge | None = None
    """Edge in pixels to which images are resized before the centre of `size` is cropped. null:
    `size`. For timm's `crop_pct` it is floor(size / crop_pct)."""
    crop: Literal["round", "floor"] = "round"
    """Start of the centre crop, if it is between two pixels. `round`: the even pixel, as in
    torchvision. `floor`: the first pixel, as in transformers."""

    @field_validator("resize_size")
    @classmethod
    def _only_if_other(cls, value: int | None, info: ValidationInfo) -> int | None:
        return None if value == info.data.get("size") else value

    @property
    def edge(self) -> int:
        """Pixels that a side is resized to before the centre is cropped."""
        return self.resize_size or self.size

    @property
    def name(self) -> str:
        """What tells it from others in a path: `224`, `289-squash-bilinear-of346`."""
        how = self.model_dump(include={"resize_mode", "interpolation"}).values()
        crop = [f"of{self.resize_size}"] if self.resize_size else []
        crop += ["floor"] if self.crop == "floor" else []
        return "-".join([str(self.size), *how, *crop])

    @model_serializer(mode="wrap")
    def _dump(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        dumped: dict[str, Any] = handler(self)
        return {key: value for key, value in dumped.items() if value != fields[key].default}


class Preprocessing(Transform):
    """What is done to an image before the image tower."""

    mean: Channels
    """Mean subtracted from each channel, for pixels scaled to 0..1."""
    std: tuple[Positive, Positive, Positive]
    """Standard deviation by which each channel is divided."""

    @property
    def transform(self) -> Transform:
        """What is done to an image while it is uint8: all but mean and std."""
        return Transform.model_validate(self.model_dump(exclude={"mean", "std"}))

    def given(self) -> dict[str, Any]:
        """Return the keys that were given, those with CLIP's value too."""
        return {key: value for key, value in self if key in self.model_fields_set}


def parse_preprocessing(header: Mapping[str, Any], where: str = "preprocessing") -> Preprocessing:
    """Return the preprocessing of the header of a theta or of weights.

    Raises:
        WiseftError: naming key, value and what is allowed.
    """
    return validate(Preprocessing, header, where)


def parse_transform(name: str) -> Transform:
    """Return the transform of a `name`.

    Raises:
        WiseftError: if there is none of that name.
    """
    if (match := _NAME.fullmatch(name)) is None:
        raise WiseftError(
            f"the transform is {name}, but must be a size in pixels, perhaps with -longest or "
            "-squash, -bilinear, -of<pixels> and -floor, in this order: 224, "
            "289-squash-bilinear-of346"
        )
    return Transform.model_validate({k: v for k, v in match.groupdict().items() if v is not None})
