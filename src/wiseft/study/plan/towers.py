"""What one image and one prompt cost in a model: FLOPs and parameters of its towers.

Of architectures of open_clip they are in `models.csv`: the columns of docs/model_profile.csv of
mlfoundations/open_clip at commit 3b37473b7178479e2494f60392442648ed262e8a, in which a multiply-add
counts as two; that of ALIGN's replica was counted from its configuration, as others are: built
once, with random weights, and counted.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from wiseft.base.io import read_json, sha256_json
from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue, ModelEntry, paths

CONTEXT = 77
"""Tokens of a prompt that CLIP reads."""


@dataclass(frozen=True)
class TowerCost:
    """FLOPs of one forward pass of one sample, and numbers of parameters.

    Attributes:
        image_flops: of one image.
        text_flops: of one prompt; 0 without a text tower.
        image_parameters: of the image tower.
        text_parameters: of all the rest.
        width: of the features.
    """

    image_flops: float
    text_flops: float
    image_parameters: int
    text_parameters: int
    width: int


_counted: dict[str, TowerCost] = {}


def tower_cost(catalogue: Catalogue, model: str) -> TowerCost:
    """Return the cost of a model of the catalogue at its input size.

    Raises:
        WiseftError: if its architecture comes with weights that are not here yet.
    """
    entry, _ = catalogue.model(model)
    if (known := known_cost(catalogue, model)) is not None:
        return known
    architecture = architecture_of(catalogue, entry, model)
    key = sha256_json([architecture, entry.preprocessing.size])
    if key not in _counted:
        _counted[key] = count(architecture, entry.preprocessing.size)
    return _counted[key]


def known_cost(catalogue: Catalogue, model: str) -> TowerCost | None:
    """Return the cost of a model that is in the table; None of others."""
    entry, _ = catalogue.model(model)
    # The activation changes no FLOPs that are counted.
    name = architecture_name(catalogue, entry).removesuffix("-quickgelu")
    return _known().get((name, entry.preprocessing.size))


@cache
def _known() -> dict[tuple[str, int], TowerCost]:
    text = Path(__file__).with_name("models.csv").read_text(encoding="utf-8")
    return {
        (row["architecture"], int(row["image_size"])): TowerCost(
            image_flops=float(row["image_gflops"]) * 1e9,
            text_flops=float(row["text_gflops"]) * 1e9,
            image_parameters=round(float(row["image_mparams"]) * 1e6),
            text_parameters=round(float(row["text_mparams"]) * 1e6),
            width=int(row["embed_dim"]),
        )
        for row in csv.DictReader(text.splitlines())
    }


def architecture_name(catalogue: Catalogue, entry: ModelEntry) -> str:
    """Return what tables name an architecture by: its name in open_clip or timm, or the file that
    describes it with a sum of what it says.
    """
    name = entry.architecture or entry.repository or entry.name
    if name.endswith(".json"):
        return f"{name}:{_sum(catalogue.architecture_path(entry))}"
    return name.partition(".")[0] if entry.source == "timm" else name


@cache
def _sum(path: Path) -> str:
    return sha256_json(read_json(path, "architecture"))[:12]


def architecture_of(catalogue: Catalogue, entry: ModelEntry, model: str) -> dict[str, Any]:
    """Return what the towers are built from."""
    if entry.architecture is not None and entry.architecture.endswith(".json"):
        from wiseft.models.towers.open_clip_models import architecture_from_json

        return architecture_from_json(catalogue.architecture_path(entry))
    weights = catalogue.root / paths.weights_path(model)
    if weights.is_file():
        from wiseft.thetas.tensor_file import read_file_header

        architecture: dict[str, Any] = read_file_header(weights, "weights")["architecture"]
        return architecture
    if entry.source in ("open_clip", "timm") and entry.architecture is not None:
        from wiseft.study.weights.sources import from_entry

        described = from_entry(entry, catalogue.root).architecture
        if described is not None:
            return described
    raise WiseftError(
        f"what model {entry.name} costs is not known before its weights are here, which say its "
        f"architecture; fetch them: wiseft weights {entry.name} --output {weights}"
    )


@contextmanager
def _countable() -> Iterator[None]:
    """Keep torch from fused attention, whose operations its counter does not know on a CPU."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def count(architecture: dict[str, Any], size: int) -> TowerCost:
    """Build a model with random weights and count one image and one prompt.

    On a CPU; a model of timm without storage, because an image of 800 pixels takes a minute there.
    open_clip's models can't be built like that.

    Args:
        architecture: what `wiseft.models.towers` builds from.
        size: edge of the images in pixels.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from wiseft.models import towers

    is_timm = towers.family(architecture) == "timm"
    with torch.device("meta" if is_timm else "cpu"), torch.no_grad(), _countable():
        with towers.for_weights(architecture, None):
            model = towers.build(architecture)
        with FlopCounterMode(display=False) as image:
            model.image(torch.zeros(1, 3, size, size))
        with FlopCounterMode(display=False) as text:
            if not is_timm:
                context = architecture.get("text_cfg", {}).get("context_length", CONTEXT)
                model.encode_text(torch.zeros(1, context, dtype=torch.long))
    in_image = sum(p.numel() for p in model.image.parameters())
    return TowerCost(
        image_flops=float(image.get_total_flops()),
        text_flops=float(text.get_total_flops()),
        image_parameters=in_image,
        text_parameters=sum(p.numel() for p in model.module.parameters()) - in_image,
        width=towers.embed_dim(architecture),
    )
