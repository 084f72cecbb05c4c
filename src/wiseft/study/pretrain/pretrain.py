"""Contrastive pre-training of a small CLIP on a small "web": rendered digits, or named icons.

The loss is image -> text over the distinct concepts of a batch, with one caption a concept: with
ten concepts a plain batch-by-batch CLIP loss would call most true pairs negatives.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wiseft.base.io import atomic_path
from wiseft.base.training_progress import Progress
from wiseft.errors import WiseftError
from wiseft.models.towers import prefixed, with_prefix
from wiseft.models.towers.open_clip_models import open_clip_model
from wiseft.study.config import PretrainSettings
from wiseft.study.pretrain.glyphs import PEN_FAMILY, Glyphs
from wiseft.study.pretrain.icons import TEMPLATES, Icons
from wiseft.study.pretrain.style import CaptionTable, style
from wiseft.thetas.resume_state import Checkpoints, load_optimiser, optimiser_tensors
from wiseft.thetas.tensor_views import floating

log = logging.getLogger(__name__)

_VALIDATION_SEED = 7  # of the styles in which held-out typefaces are shown
_VALIDATION_IMAGES = 1000
_CURVE_EVERY = 50  # steps


@dataclass(frozen=True)
class Batch:
    """Images fp32 (n, 3, S, S) in [0, 1], what each shows, int64 (n,), captions (n, context)."""

    images: Tensor
    concepts: Tensor
    captions: Tensor


@dataclass(frozen=True)
class Row:
    """A row of the training curve; the step is counted from 1."""

    step: int
    loss: float
    accuracy: float
    learning_rate: float
    held_out_accuracy: float | None = None


class Source(Protocol):
    """What batches come from: a batch is a function of (seed, step) alone."""

    @property
    def pools(self) -> Mapping[str, Sized]:
        """What there is of each kind, for the panel."""

    def batch(self, seed: int, step: int) -> Batch:
        """Return the batch of a step."""

    def validation(self) -> tuple[Batch, Tensor] | None:
        """Return held-out images and a caption of each concept (concepts, context), or None."""

    def one_of_each(self, kind: str, seed: int) -> Batch:
        """Return ten images of a kind."""


class Web:
    """Rendered digits, a `Source`.

    Attributes:
        pools: indices of the glyphs of each kind; held-out type is shown, never trained on.
    """

    def __init__(
        self, glyphs: Glyphs, settings: PretrainSettings, captions: CaptionTable, size: int
    ):
        held_out = glyphs.select(settings.held_out_families)
        pens = glyphs.select([PEN_FAMILY])
        faces = np.setdiff1d(glyphs.select([PEN_FAMILY], invert=True), held_out)
        if not len(pens) or not len(faces):
            raise WiseftError(
                f"pre-training needs pen glyphs and typefaces, found {len(pens)} and "
                f"{len(faces)}; see pen_glyphs and font_packages"
            )
        seen = {mask.tobytes() for mask in glyphs.masks[faces]}
        twins = [index for index in held_out if glyphs.masks[index].tobytes() in seen]
        if twins:
            families = sorted({glyphs.names[glyphs.families[index]] for index in twins})
            raise WiseftError(
                "held-out typefaces have glyphs that other typefaces have too: "
                f"{', '.join(families)}; name in held_out_families only typefaces that share none"
            )
        self.pools = {"pens": pens, "type": faces, "held-out type": held_out}
        self._masks = torch.from_numpy(glyphs.masks)
        self._digits = torch.from_numpy(glyphs.digits.astype(np.int64))
        self._captions = captions
        self._settings = settings
        self._size = size

    def batch(self, seed: int, step: int) -> Batch:
        """Render the batch of a step."""
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        n = self._settings.batch_size
        n_pens = round(n * self._settings.pen_share)
        parts = [("pens", n_pens), ("type", n - n_pens)]
        index = torch.cat([_choice(self.pools[kind], count, generator) for kind, count in parts])
        return self._render(index, generator)

    def validation(self) -> tuple[Batch, Tensor] | None:
        """Render held-out typefaces in fixed styles; None where no family is held out."""
        pool = self.pools["held-out type"]
        if not len(pool):
            return None
        generator = torch.Generator().manual_seed(_VALIDATION_SEED)
        chosen = _choice(pool, _VALIDATION_IMAGES, generator)
        return self._render(chosen, generator), self._captions.bare()

    def one_of_each(self, kind: str, seed: int) -> Batch:
        """Render one glyph of each digit, 0 to 9, of a kind."""
        pool = self.pools[kind]
        generator = torch.Generator().manual_seed(seed)
        digits = self._digits[pool]
        chosen = [_choice(pool[digits == digit], 1, generator) for digit in range(10)]
        return self._render(torch.cat(chosen), generator)

    def _render(self, index: Tensor, generator: torch.Generator) -> Batch:
        digits = self._digits[index]
        styled = style(self._masks[index], self._size, generator)
        captions = self._captions.draw(digits, styled.attributes, generator)
        return Batch(styled.images, digits, captions)


def _choice(pool: np.ndarray, count: int, generator: torch.Generator) -> Tensor:
    return torch.from_numpy(pool)[torch.randint(len(pool), (count,), generator=generator)]


def source_of(drawn: Glyphs | Icons, settings: PretrainSettings, size: int, context: int) -> Source:
    """Return the source of batches of what was drawn beforehand.

    Args:
        size: side of the images in pixels.
        context: tokens of a caption.

    Raises:
        WiseftError: as `Web` and `IconWeb`.
    """
    import open_clip

    tokenizer = open_clip.SimpleTokenizer(context_length=context)
    if isinstance(drawn, Icons):
        return IconWeb(drawn, settings, tokenizer)
    return Web(drawn, settings, CaptionTable(tokenizer), size)


class IconWeb:
    """Named icons, a `Source`: a set counts as the square root of its number of icons.

    Attributes:
        pools: places of the icons in one colour and in several.
    """

    def __init__(
        self, icons: Icons, settings: PretrainSettings, tokenizer: Callable[[list[str]], Tensor]
    ):
        assert settings.icons is not None
        self._icons, self._settings, self._shift = icons, settings, settings.icons.shift
        self.pools = {
            "one colour": np.arange(len(icons.grey)),
            "several colours": len(icons.grey) + np.arange(len(icons.colour)),
        }
        texts = [template.format(c=name) for name in icons.names for template in TEMPLATES]
        self._tokens = tokenizer(texts).int().view(len(icons.names), len(TEMPLATES), -1)
        # Icons of a set stand together.
        _, self._starts, self._sizes = np.unique(icons.sets, return_index=True, return_counts=True)

    def batch(self, seed: int, step: int) -> Batch:
        """Draw the batch of a step."""
        rng = np.random.default_rng([seed, step])
        share = np.sqrt(self._sizes)
        sets = rng.choice(len(share), self._settings.batch_size, p=share / share.sum())
        return self._drawn(self._starts[sets] + rng.integers(self._sizes[sets]), rng)

    def validation(self) -> None:
        """Return nothing: what is read well is told by the datasets."""

    def one_of_each(self, kind: str, seed: int) -> Batch:
        """Draw ten icons of a kind."""
        rng = np.random.default_rng(seed)
        return self._drawn(rng.choice(self.pools[kind], 10), rng)

    def _drawn(self, places: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        images = torch.from_numpy(self._icons.read(places, rng, self._shift))
        concepts = torch.from_numpy(self._icons.phrases[places].astype(np.int64))
        which = torch.from_numpy(rng.integers(len(TEMPLATES), size=len(places)))
        captions = self._tokens[concepts, which].long()
        return Batch(images.permute(0, 3, 1, 2).float() / 255, concepts, captions)


def pretrain(
    glyphs: Glyphs | Icons,
    architecture: dict[str, Any],
    preprocessing: dict[str, Any],
    settings: PretrainSettings,
    seed: int,
    checkpoints: Checkpoints,
    *,
    overlap: bool = False,
) -> tuple[dict[str, Tensor], list[Row]]:
    """Train a model from random weights; continues from the last checkpoint if there is one.

    Args:
        glyphs: what batches are drawn from.
        architecture: open_clip model config with `text_cfg.context_length`.
        preprocessing: of the image tower, a dump of `Preprocessing`.
        overlap: render batches in a second thread; the weights are the same either way.

    Returns:
        The floating tensors of the model by open_clip's names, and the training curve.

    Raises:
        WiseftError: if the loss is not finite, there is nothing to train on, or held-out typefaces
            are read worse than `min_held_out_accuracy`.
    """
    context = int(architecture["text_cfg"]["context_length"])
    web = source_of(glyphs, settings, int(preprocessing["size"]), context)
    trainer = _Trainer(architecture, preprocessing, settings, seed)
    curve = trainer.restore(checkpoints)
    start = trainer.done
    progress = Progress(settings.steps)
    for batch in _batches(web, settings, seed, start, overlap):
        row = trainer.step(batch)
        progress(trainer.done, row.loss, row.learning_rate, len(batch.concepts))
        if trainer.done % _CURVE_EVERY == 0 or trainer.done == settings.steps:
            curve.append(row)
        if trainer.done % settings.checkpoint_every == 0 and trainer.done < settings.steps:
            checkpoints.save(trainer.done, trainer.tensors(curve))
    held_out = web.validation()
    if held_out is not None:
        accuracy = trainer.accuracy(*held_out)
        log.info(f"accuracy on held-out typefaces: {100 * accuracy:.1f} %")
        if accuracy < settings.min_held_out_accuracy:
            raise WiseftError(
                f"the model reads {100 * accuracy:.1f} % of held-out typefaces, less than "
                f"pretrain.min_held_out_accuracy, {100 * settings.min_held_out_accuracy:g} %: look "
                "at the figure pretrain-samples for wrong captions, or train longer"
            )
        curve[-1] = dataclasses.replace(curve[-1], held_out_accuracy=accuracy)
    return floating(trainer.model.state_dict()), curve


def _batches(
    web: Source, settings: PretrainSettings, seed: int, start: int, overlap: bool
) -> Iterator[Batch]:
    steps = range(start, settings.steps)
    if not overlap:
        for step in steps:
            yield web.batch(seed, step)
        return
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(web.batch, seed, start)
        for step in steps:
            batch = coming.result()
            if step + 1 in steps:
                coming = pool.submit(web.batch, seed, step + 1)
            yield batch


class _Trainer:
    """The model, its optimiser, and the number of steps done."""

    def __init__(
        self,
        architecture: dict[str, Any],
        preprocessing: dict[str, Any],
        settings: PretrainSettings,
        seed: int,
    ):
        self.settings = settings
        self.done = 0
        self.model = open_clip_model(architecture, seed)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.train()
        self._mean = torch.tensor(preprocessing["mean"]).view(1, 3, 1, 1)
        self._std = torch.tensor(preprocessing["std"]).view(1, 3, 1, 1)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim >= 2]},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(
            groups,
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            max_lr=settings.learning_rate,
            total_steps=settings.steps,
            pct_start=settings.warmup_fraction,
            cycle_momentum=False,
        )

    def step(self, batch: Batch) -> Row:
        """Take one optimiser step."""
        # The distinct digits, sorted, the first image of each, and the place of every image's.
        _, first, places = np.unique(batch.concepts, return_index=True, return_inverse=True)
        clip = cast(Any, self.model)
        image = clip.encode_image(self._pixels(batch.images), normalize=True)
        text = clip.encode_text(batch.captions[first], normalize=True)
        logits = clip.logit_scale.exp() * image @ text.T
        target = torch.from_numpy(places)
        loss = functional.cross_entropy(logits, target)
        rate = float(self.schedule.get_last_lr()[0])
        if not math.isfinite(loss.item()):
            raise WiseftError(
                f"the pre-training loss is {loss.item()} in step {self.done + 1}; lower "
                f"pretrain.learning_rate, which is {self.settings.learning_rate}"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimiser.step()
        self.schedule.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(0, math.log(100))  # as CLIP does
        self.done += 1
        accuracy = float((logits.detach().argmax(1) == target).float().mean())
        return Row(self.done, loss.item(), accuracy, rate)

    def tensors(self, curve: list[Row]) -> dict[str, Tensor]:
        """Return all that a resumption needs; the schedule follows from the step."""
        tensors = with_prefix(self.model.state_dict(), "model.")
        rows = torch.tensor([dataclasses.astuple(row)[:-1] for row in curve], dtype=torch.float64)
        tensors |= {"curve": rows, "done": torch.tensor(self.done)}
        return tensors | optimiser_tensors(self.optimiser)

    def restore(self, checkpoints: Checkpoints) -> list[Row]:
        """Put back the last checkpoint, if there is one; return the curve so far."""
        tensors = checkpoints.load()
        if tensors is None:
            return []
        self.model.load_state_dict(prefixed(tensors, "model."))
        load_optimiser(self.optimiser, tensors)
        self.done = int(tensors["done"])
        with warnings.catch_warnings():
            # The schedule is stepped without the optimiser, which has been restored already.
            warnings.filterwarnings("ignore", message="Detected call of")
            for _ in range(self.done):
                self.schedule.step()
        log.info(f"resuming after step {self.done}")
        return [Row(int(row[0]), *row[1:]) for row in tensors["curve"].tolist()]

    @torch.inference_mode()
    def accuracy(self, batch: Batch, captions: Tensor) -> float:
        """Return the accuracy on a batch against one caption a concept, (concepts, context)."""
        clip = cast(Any, self.model.eval())
        image = clip.encode_image(self._pixels(batch.images), normalize=True)
        text = clip.encode_text(captions, normalize=True)
        self.model.train()
        return float(((image @ text.T).argmax(1) == batch.concepts).float().mean())

    def _pixels(self, images: Tensor) -> Tensor:
        return ((images - self._mean) / self._std).contiguous(memory_format=torch.channels_last)


def write_curve(path: Path, curve: list[Row]) -> None:
    """Write the training curve as CSV."""
    with atomic_path(path) as temporary:
        pd.DataFrame(curve).to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
