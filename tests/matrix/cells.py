"""Every kind of checkpoint with every form of images: what is found, what its library counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import open_clip
import pytest
import torch
from tests import tiny_models as tiny
from tests.matrix import checkpoints, sources
from tests.matrix.checkpoints import KINDS, Model
from tests.matrix.sources import BY_URL, NUMBERS, SOURCES, Row
from tests.weights import hub_server

from wiseft.errors import WiseftError
from wiseft.evaluate.score import score_folder
from wiseft.tool.sweep import sweep

PROMPTED = [
    "transformers: CLIPModel",
    "transformers: SiglipModel",
    "transformers: AlignModel",
    "open_clip: state dict",
    "open_clip: safetensors",
    "open_clip: folder",
    "open_clip: `epoch_K.pt` of its trainer (`module.`)",
    "open_clip: of `torch.compile` (`_orig_mod.`)",
    "open_clip: TorchScript",
    "PEFT: DoRA of a CLIPModel",
]
"""Zero-shot models, whose head is made of the names of the classes."""
BARE = "are numbers, of which prompts cannot be made; say what they are: --class-names"
REFUSED = {(kind, BY_URL): (BARE, {"class_names": NUMBERS}) for kind in PROMPTED}
"""Of each cell that is refused, what is said, and the options that it asks for."""


def needs(kind: str, source: str) -> list[str]:
    """Return the libraries that a cell needs and only `make test-peers` has."""
    both = checkpoints.NEED.get(kind), sources.NEED.get(source)
    return [name for name in both if name]


class Cells:
    """Checkpoints and images, each made when it is asked for."""

    def __init__(self, root: Path, hub: hub_server.Hub, url: str):
        self.root, self.hub, self.url = root, hub, url
        self.model, self.source = cache(self._model), cache(self._source)

    def _model(self, kind: str) -> Model:
        folder = self.root / "models" / str(list(KINDS).index(kind))
        folder.mkdir(parents=True)
        made = KINDS[kind](folder)
        if str(made.path).startswith("hf-hub:"):
            files = {each.name: each.read_bytes() for each in folder.iterdir()}
            self.hub.add("me/model", files)
        return made

    def _source(self, name: str) -> tuple[Path | str, list[Row]]:
        place = list(SOURCES).index(name)
        listed = sources.rows(sources.SEEDS[place])
        given = SOURCES[name](self.root / str(place), listed)
        return str(given).replace(str(self.root), self.url) if name == BY_URL else given, listed

    @torch.no_grad()
    def expected(self, kind: str, source: str) -> Counter[tuple[str, str]]:
        """Return how often which class is taken for which, by the model's own library."""
        model, (_, listed) = self.model(kind), self.source(source)
        logits = model.logits([row.image for row in listed])
        best, second = logits.topk(2, dim=1).values.unbind(dim=1)
        assert (best - second).min() > 2e-5 * logits.abs().max(), "it hangs on rounding"
        assert len(set(logits.argmax(dim=1).tolist())) > 1, "one class always wins"
        predicted = [model.names[k] for k in logits.argmax(dim=1).tolist()]
        return Counter(zip([row.name for row in listed], predicted, strict=True))

    def found(self, kind: str, source: str, **more: Any) -> Counter[tuple[str, str]]:
        """Return the same by this program."""
        path = self.model(kind).path
        options = self.model(kind).options | more
        return Counter(score_folder(path, self.source(source)[0], **options).images.values())

    def swept(self, kind: str, **more: Any) -> dict[str, tuple[int, int]]:
        """Return the numbers of images and of right ones by form: an adapter is F of a sweep."""
        which = list(SOURCES)
        model, output = self.model(kind), self.root / "sweeps" / str(list(KINDS).index(kind))
        reference = sources.folders(output / "reference", sources.rows(700))
        how: dict[str, Any] = {"alpha": 1, "alphas": [1], "device": "cpu"} | more
        assert model.base is not None
        shifts = [self.source(name)[0] for name in which]
        record = sweep(
            model.base, model.path, reference, shifts, output / f"{len(more)}", **how
        ).record
        right = {a.set: (a.n, a.n_correct) for a in record.accuracy if a.alpha == 1}
        names = [each.name for each in record.sets if each.role == "shift"]
        return {form: right[name] for form, name in zip(which, names, strict=True)}


def check(cells: Cells, kind: str, source: str) -> None:
    """Check that a cell is what the library counts; or that it is refused in one line, and that
    what this line asks for gives the number.
    """
    more: dict[str, Any] = {}
    if (kind, source) in REFUSED:
        said, more = REFUSED[kind, source]
        with pytest.raises(WiseftError) as caught:
            cells.found(kind, source)
        assert said in str(caught.value) and "\n" not in str(caught.value)
    assert cells.found(kind, source, **more) == cells.expected(kind, source)


def documented() -> str:
    """Return what docs/models.md says of the matrix."""
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    return text.partition("## What is tested together\n")[2].partition("\n## ")[0]


def refused(kind: str) -> str:
    """Return the forms of images that are refused with a checkpoint, as the docs have them."""
    return "; ".join(source for source in SOURCES if (kind, source) in REFUSED) or "none"


@contextmanager
def opened(root: Path) -> Iterator[Cells]:
    """Yield the cells below a folder, with a hub, a server of shards and caches of their own."""
    constants = huggingface_hub.constants
    with (
        pytest.MonkeyPatch.context() as patch,
        hub_server.running() as hub,
        sources.served(root) as url,
    ):
        patch.setenv("HF_ENDPOINT", hub.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.url}{template}")
        patch.setattr(constants, "ENDPOINT", hub.url)
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        patch.setattr(constants, "HF_HUB_CACHE", str(root / "hub"))
        patch.setattr(constants, "HF_ASSETS_CACHE", str(root / "assets"))
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny", tiny.clip())
        yield Cells(root, hub, url)
