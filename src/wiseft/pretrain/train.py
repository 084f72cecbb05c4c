"""Contrastive pre-training of a small CLIP on the rendered "web".

The loss is image -> text over the distinct concepts of a batch, with one caption a concept: with
ten concepts a plain batch-by-batch CLIP loss would call most true pairs negatives.
"""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from wiseft.classifier import open_clip_model
from wiseft.config import PretrainSettings
from wiseft.errors import WiseftError
from wiseft.io import write_text
from wiseft.pretrain.captions import CaptionTable
from wiseft.pretrain.glyphs import PEN_FAMILY, Glyphs
from wiseft.pretrain.style import style
from wiseft.state import State, StateStore

log = logging.getLogger(__name__)

_VALIDATION_SEED = 7  # of the styles in which held-out typefaces are shown
_VALIDATION_IMAGES = 1000


@dataclass(frozen=True)
class Batch:
    """Images fp32 (n, 3, S, S) in [0, 1], digits int64 (n,), a caption of each (n, context)."""

    images: Tensor
    digits: Tensor
    captions: Tensor


class Web:
    """The source of batches: a batch is a function of (seed, step) alone."""

    def __init__(self, glyphs: Glyphs, settings: PretrainSettings, captions: CaptionTable, size: int):
        held_out = glyphs.select(settings.held_out_families)
        pens = glyphs.select([PEN_FAMILY])
        self._faces = np.setdiff1d(glyphs.select([PEN_FAMILY], invert=True), held_out)
        if not len(pens) or not len(self._faces):
            raise WiseftError(
                f"pre-training needs pen glyphs and typefaces, found {len(pens)} and "
                f"{len(self._faces)}; see pen_glyphs and font_packages"
            )
        self._pens, self._held_out = pens, held_out
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
        parts = [(self._pens, n_pens), (self._faces, n - n_pens)]
        index = torch.cat([_choice(pool, count, generator) for pool, count in parts])
        return self._render(index, generator)

    def validation(self) -> Batch | None:
        """Render held-out typefaces in fixed styles; None where no family is held out."""
        if not len(self._held_out):
            return None
        generator = torch.Generator().manual_seed(_VALIDATION_SEED)
        return self._render(_choice(self._held_out, _VALIDATION_IMAGES, generator), generator)

    def _render(self, index: Tensor, generator: torch.Generator) -> Batch:
        digits = self._digits[index]
        styled = style(self._masks[index], self._size, generator)
        captions = self._captions.draw(digits, styled.attributes, generator)
        return Batch(styled.images, digits, captions)


def _choice(pool: np.ndarray, count: int, generator: torch.Generator) -> Tensor:
    return torch.from_numpy(pool)[torch.randint(len(pool), (count,), generator=generator)]


def pretrain(
    glyphs: Glyphs,
    architecture: dict[str, Any],
    preprocessing: dict[str, Any],
    settings: PretrainSettings,
    seed: int,
    states: StateStore,
    threads: int = 1,
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Train a model from random weights; continues from the newest good state.

    Args:
        architecture: open_clip model config with `text_cfg.context_length`.
        preprocessing: `{size, mean, std}` of the image tower.
        threads: with two or more, batches are rendered beside the optimiser step; the weights
            are the same either way.

    Returns:
        The floating tensors of the model by open_clip's names, and the training curve.

    Raises:
        WiseftError: if the loss is not finite.
    """
    import open_clip

    context = int(architecture["text_cfg"]["context_length"])
    tokenizer = open_clip.SimpleTokenizer(context_length=context)
    size = int(preprocessing["size"])
    web = Web(glyphs, settings, CaptionTable(tokenizer), size)
    trainer = _Trainer(architecture, preprocessing, settings, seed)
    start, curve = trainer.restore(states)
    began, shown = time.monotonic(), start
    for step, batch in _batches(web, settings, seed, start, background=threads > 1):
        loss = trainer.step(step, batch)
        done = step + 1
        if done % 50 == 0 or done == settings.steps:
            curve.append(trainer.row(done, loss, batch))
            _progress(done, settings, curve[-1], shown, began)
        if done % settings.checkpoint_every == 0 and done < settings.steps:
            states.save(trainer.state(done, curve))
    _log_validation(trainer, web, curve)
    state = trainer.model.state_dict()
    tensors = {key: value for key, value in state.items() if value.is_floating_point()}
    return tensors, curve


def _batches(
    web: Web, settings: PretrainSettings, seed: int, start: int, background: bool
) -> Iterator[tuple[int, Batch]]:
    if not background:
        for step in range(start, settings.steps):
            yield step, web.batch(seed, step)
        return
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(web.batch, seed, start) if start < settings.steps else None
        for step in range(start, settings.steps):
            assert coming is not None
            batch = coming.result()
            if step + 1 < settings.steps:
                coming = pool.submit(web.batch, seed, step + 1)
            yield step, batch


class _Trainer:
    def __init__(
        self,
        architecture: dict[str, Any],
        preprocessing: dict[str, Any],
        settings: PretrainSettings,
        seed: int,
    ):
        self.settings = settings
        self.model = open_clip_model(architecture, seed)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.train()
        self.mean = torch.tensor(preprocessing["mean"]).view(1, 3, 1, 1)
        self.std = torch.tensor(preprocessing["std"]).view(1, 3, 1, 1)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        groups = [
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

    def pixels(self, images: Tensor) -> Tensor:
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def step(self, step: int, batch: Batch) -> float:
        """Take one optimiser step and return the loss."""
        present, first = _first_of_each(batch.digits)
        clip = cast(Any, self.model)
        image = clip.encode_image(self.pixels(batch.images), normalize=True)
        text = clip.encode_text(batch.captions[first], normalize=True)
        logits = clip.logit_scale.exp() * image @ text.T
        target = torch.searchsorted(present, batch.digits)
        loss = functional.cross_entropy(logits, target)
        value = float(loss.detach())
        if not np.isfinite(value):
            raise WiseftError(
                f"the pre-training loss is {value} at step {step}; lower pretrain.learning_rate "
                f"({self.settings.learning_rate})"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimiser.step()
        self.schedule.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(0, float(np.log(100)))  # as CLIP does
        self.accuracy = float((logits.argmax(1) == target).float().mean())
        return value

    def row(self, done: int, loss: float, batch: Batch) -> dict[str, Any]:
        rate = self.schedule.get_last_lr()[0]
        return {
            "step": done,
            "loss": round(loss, 5),
            "accuracy": round(self.accuracy, 5),
            "learning_rate": float(f"{rate:.4g}"),
            "held_out_accuracy": "",
        }

    def state(self, done: int, curve: list[dict[str, Any]]) -> State:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        packed = self.optimiser.state_dict()["state"]
        for index, entry in packed.items():
            tensors |= {f"optimiser.{index}.{key}": value for key, value in entry.items()}
        return State(step=done, tensors=tensors, curve=curve)

    def restore(self, states: StateStore) -> tuple[int, list[dict[str, Any]]]:
        """Load the newest good state; return the next step and the curve so far."""
        state = states.load()
        if state is None:
            return 0, []
        prefix = "model."
        self.model.load_state_dict(
            {k.removeprefix(prefix): v for k, v in state.tensors.items() if k.startswith(prefix)}
        )
        packed = self.optimiser.state_dict()
        for key, value in state.tensors.items():
            if key.startswith("optimiser."):
                _, index, name = key.split(".", 2)
                packed["state"].setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict(packed)
        for _ in range(state.step):  # cheap, and exact
            self.schedule.step()
        log.info("continuing at step %d", state.step)
        return state.step, state.curve

    @torch.inference_mode()
    def accuracy_on(self, batch: Batch, captions: Tensor) -> float:
        """Accuracy on a batch against one caption a digit, int64 (10, context)."""
        clip = cast(Any, self.model.eval())
        image = clip.encode_image(self.pixels(batch.images), normalize=True)
        text = clip.encode_text(captions, normalize=True)
        self.model.train()
        return float(((image @ text.T).argmax(1) == batch.digits).float().mean())


def _first_of_each(digits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sorted distinct digits and the index of the first image of each."""
    present = digits.unique()
    first = torch.stack([(digits == digit).nonzero()[0, 0] for digit in present])
    return present, first


def _log_validation(trainer: _Trainer, web: Web, curve: list[dict[str, Any]]) -> None:
    batch = web.validation()
    if batch is None:
        return
    captions = web._captions.tokens[:, 0, 0]
    accuracy = trainer.accuracy_on(batch, captions)
    curve[-1]["held_out_accuracy"] = round(accuracy, 5)
    log.info("accuracy on held-out typefaces: %.1f %%", 100 * accuracy)


def _progress(
    done: int, settings: PretrainSettings, row: dict[str, Any], start: int, began: float
) -> None:
    if done % 100 and done != settings.steps:
        return
    seconds = time.monotonic() - began
    rate = (done - start) / max(seconds, 1e-9)
    log.info(
        "step %d/%d  loss %.3f  accuracy %.1f %%  %.0f images/s  %.0f s left",
        done,
        settings.steps,
        row["loss"],
        100 * row["accuracy"],
        rate * settings.batch_size,
        (settings.steps - done) / rate,
    )


def write_curve(path: Path, curve: list[dict[str, Any]]) -> None:
    """Write the training curve as CSV."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(curve[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(curve)
    write_text(path, buffer.getvalue())
