"""How transformers prepares images, by the file that it saves beside a model.

`processors.json` has what classes of transformers take where a file is silent; a test compares it
with the library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wiseft.base.io import read_object
from wiseft.errors import WiseftError, some
from wiseft.foreign.forms import described
from wiseft.foreign.model_folder import PROCESSORS, needed_files

_DEFAULTS = read_object(Path(__file__).with_suffix(".json"))
_COMMON = _DEFAULTS.pop("every processor")
_USUAL = {"align": "EfficientNetImageProcessor", "clip": "CLIPImageProcessor"}
_USUAL |= {"siglip": "SiglipImageProcessor"}
"""By type of a model, the class of a file that names none."""
_WARPED = 384
"""Pixels from which ConvNeXt's processor crops nothing."""
_FILTERS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers."""
_TYPES = ("image_processor_type", "feature_extractor_type")
_NO_PIXELS = {*_TYPES, "processor_class", "data_format", "input_data_format", "return_tensors"}
_NO_PIXELS |= {"device", "disable_grouping", "_valid_processor_keys", "do_convert_rgb"}
_NO_PIXELS |= {"do_reduce_labels"}
"""Keys that change nothing of an image in RGB, as every image here is."""


def preprocessing_in(files: Mapping[str, Path], model: str = "clip") -> dict[str, Any]:
    """Return what the file says that transformers reads of those of a model; nothing without one.

    Raises:
        WiseftError: if a file is no JSON; and as `preprocessing`.
    """
    plain, nested = (files.get(name) for name in PROCESSORS)
    if nested and (found := read_object(nested, "configuration").get("image_processor")):
        return preprocessing(dict(found), model)
    return preprocessing(read_object(plain, "configuration"), model) if plain else {}


def compare_processors(
    first: tuple[Path, Mapping[str, Any]], second: tuple[Path, Mapping[str, Any]]
) -> None:
    """Refuse two folders whose processors prepare other pixels, where both are of a kind we model.

    Args:
        first, second: folder and configuration; that of timm and open_clip says it itself.

    Raises:
        WiseftError: naming the keys, with both values.
    """
    try:
        one, other = (
            described(config, needed_files(folder), str(folder))[1]
            if config.keys() & {"preprocess_cfg", "pretrained_cfg"}
            else preprocessing_in(needed_files(folder))
            for folder, config in (first, second)
        )
    except WiseftError:  # of sound, of text, or of images in a way that only its library knows
        return
    if one and other and one != other:
        keys = sorted(key for key in one.keys() | other if one.get(key) != other.get(key))
        found = [f"{key} is {one.get(key)} and {other.get(key)}" for key in keys]
        raise WiseftError(
            f"{first[0]} and {second[0]} prepare images differently: {some(found)}. Their mean can "
            "take one way only; if the models were trained alike, make the two files equal"
        )


def preprocessing(config: Mapping[str, Any], model: str = "clip") -> dict[str, Any]:
    """Return the keys of `Preprocessing` that a `preprocessor_config.json` says.

    What it does not say is as the class of its processor has it in transformers.

    Args:
        model: its type, which has a class of its own where the file names none.

    Raises:
        WiseftError: if images are not made square by what is modelled; names key, value and what
            is allowed.
    """
    named = next((str(config[key]) for key in _TYPES if config.get(key)), _USUAL.get(model, ""))
    stem = re.sub(r"(ImageProcessor(Fast|Pil)?|FeatureExtractor)$", "ImageProcessor", named)
    if stem not in _DEFAULTS:
        raise _not_modelled(_TYPES[0], named, f"one of {', '.join(_DEFAULTS)}")
    said = {key: value for key, value in config.items() if value is not None}
    known = _COMMON | _DEFAULTS[stem] | said
    allowed = _COMMON.keys() | _DEFAULTS["CLIPImageProcessor"].keys() | _NO_PIXELS
    if stem == "ConvNextImageProcessor":
        known, allowed = _cropped_by_share(known), allowed | {"crop_pct"}
    for key in [*(key for key in said if key not in allowed), "include_top"]:
        if known[key]:
            raise _not_modelled(key, known[key], "false, or left out")
    if not known["do_resize"]:
        raise _not_modelled("do_resize", False, "true")
    if (filter_ := known["resample"]) not in list(_FILTERS):
        numbers = ", ".join(f"{number} ({name})" for number, name in _FILTERS.items())
        raise _not_modelled("resample", filter_, f"one of {numbers}")
    mode, edge = _edge("size", known["size"], known["default_to_square"])
    how = {"size": edge, "resize_mode": mode, "interpolation": _FILTERS[filter_]}
    if known["do_center_crop"]:
        kind, cropped = _edge("crop_size", known["crop_size"], True)
        if kind == "shortest":
            raise _not_modelled("crop_size", known["crop_size"], "height and width that are equal")
        how |= {"size": cropped, "resize_size": edge}
        if mode == "shortest" or (edge - cropped) % 4 == 3:  # else both ways begin at one pixel
            how["crop"] = "floor"
    elif mode == "shortest":
        raise _not_modelled("do_center_crop", False, "true where only the shortest edge is resized")
    return _scaling(known) | how


def _cropped_by_share(known: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of ConvNeXt's processor as others have them: images of less than 384 pixels
    are cut from somewhat larger ones, others resized to a square.
    """
    mode, edge = _edge("size", known["size"], False)
    if known["do_center_crop"]:
        raise _not_modelled("do_center_crop", True, "false, since crop_pct says what is cut")
    share = known["crop_pct"]
    if mode != "shortest" or not isinstance(share, int | float) or share <= 0:
        raise _not_modelled("size", known["size"], "shortest_edge alone, with a crop_pct above 0")
    if edge >= _WARPED:
        return known | {"size": {"height": edge, "width": edge}}
    grown = {"shortest_edge": int(edge / share)}
    return known | {"size": grown, "crop_size": edge, "do_center_crop": True}


def _edge(key: str, size: Any, square: bool) -> tuple[str, int]:
    """Return how an image is resized, and to how many pixels."""
    if isinstance(size, int):
        return ("squash" if square else "shortest"), size
    given = size.items() if isinstance(size, Mapping) else ()
    said = {name: edge for name, edge in given if edge is not None}
    if not all(isinstance(edge, int) for edge in said.values()):
        raise _not_modelled(key, size, "a number of pixels")
    if said.keys() == {"shortest_edge"}:
        return "shortest", said["shortest_edge"]
    if said.keys() != {"height", "width"} or said["height"] != said["width"]:
        raise _not_modelled(key, size, "shortest_edge, or height and width that are equal")
    return "squash", said["height"]


def _scaling(known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mean and std of pixels from 0 to 1 that do what the processor does."""
    for key in ("rescale_factor", "image_mean", "image_std"):
        values = known[key] if isinstance(known[key], list | tuple) else [known[key]]
        if (
            not all(isinstance(each, int | float) for each in values)
            or known["rescale_factor"] <= 0
        ):
            raise _not_modelled(key, known[key], "a number, above 0 of a factor")
    white = 255 * known["rescale_factor"] if known["do_rescale"] else 255.0
    below = 1.0 if known["do_rescale"] and known["rescale_offset"] else 0.0
    pair = (known["image_mean"], known["image_std"]) if known["do_normalize"] else (0.0, 1.0)
    mean, std = (each if isinstance(each, list | tuple) else [each] * 3 for each in pair)
    return {"mean": [(below + m) / white for m in mean], "std": [s / white for s in std]}


def _not_modelled(key: str, value: object, allowed: str) -> WiseftError:
    return WiseftError(
        f"preprocessor_config.json: {key} is {json.dumps(value)}, but must be {allowed}"
    )
