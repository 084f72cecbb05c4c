"""A sweep between two ViT-B-32 whose first nine blocks are equal, against one that runs them again.

Random weights; images are of 224 pixels. Processor time, which other jobs disturb less.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from unittest.mock import patch

import open_clip
import torch

from benchmarks.common import Options, ratio, summary, write_record
from benchmarks.inputs import CLIP_PREPROCESSING
from wiseft.evaluate import passes
from wiseft.models.batch_size import BatchSize
from wiseft.models.classifier import build_classifier, classifier_tensors
from wiseft.models.precision import Arithmetic
from wiseft.thetas.theta import Theta, make_header

MODEL, FROZEN, IMAGES = "ViT-B-32", 9, 16
ALPHAS = [f"{step / 10:.3f}" for step in range(11)]


def run(options: Options) -> None:
    """Write `frozen.json`."""
    alphas = ALPHAS[::5] if options.quick else ALPHAS
    device = torch.device(options.device)
    inference = passes.Inference(device, Arithmetic("fp32", device), BatchSize(IMAGES))
    ends = _ends()
    cached = passes.make_sweep(*ends, inference, ("weight",))
    with patch.object(passes, "frozen_layers", lambda *_: None):
        plain = passes.make_sweep(*ends, inference, ("weight",))
    images = torch.randint(0, 256, (IMAGES, 3, 224, 224), dtype=torch.uint8)

    @torch.inference_mode()
    def way(swept: passes.Sweep) -> torch.Tensor:
        with inference.arithmetic.kernels(deterministic=True):
            batch = swept.pixels([images])
            return torch.stack([logits for _, _, logits in swept.logits([batch], alphas)])

    def timed(swept: passes.Sweep) -> float:
        start = time.process_time()
        way(swept)
        return time.process_time() - start

    ways: dict[str, Callable[[], float]] = {
        "plain": lambda: timed(plain),
        "cached": lambda: timed(cached),
    }
    equal = torch.equal(way(plain), way(cached))
    runs: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, each in ways.items():
            runs[name].append(each())
    seconds = {name: summary(values) for name, values in runs.items()}
    write_record(
        "frozen",
        options,
        settings={"model": MODEL, "frozen_blocks": FROZEN, "images": IMAGES, "alphas": alphas},
        cpu_seconds=seconds,
        ratios={"cached": ratio(seconds, "plain", "cached")},
        checks={"bit_equal": equal},
    )


def _ends() -> tuple[Theta, Theta]:
    names = [str(index) for index in range(10)]
    header = make_header(
        "zero-shot",
        "zeroshot",
        architecture=open_clip.get_model_config(MODEL),
        preprocessing=CLIP_PREPROCESSING,
        class_names=names,
        parents={},
    )
    start = classifier_tensors(build_classifier(header, seed=0))
    start = {name: tensor.detach().contiguous() for name, tensor in start.items()}
    trained = [f"image.transformer.resblocks.{block}." for block in range(FROZEN, 12)]
    trained += ["image.ln_post", "image.proj", "head."]
    end = {
        name: tensor + 0.01 * torch.randn(tensor.shape)
        if name.startswith(tuple(trained))
        else tensor
        for name, tensor in start.items()
    }
    return Theta(start, header), Theta(end, header)
