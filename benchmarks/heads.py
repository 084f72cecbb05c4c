"""The zero-shot head builder against open_clip's: 8 classes, 80 templates, ViT-B-32."""

from __future__ import annotations

import open_clip
import torch

from benchmarks.common import Options, ratio, timed, write_record
from wiseft.models import towers
from wiseft.zeroshot.head import build_head

MODEL = "ViT-B-32"
CLASSES = ["tench", "goldfish", "great white shark", "tiger shark", "hen", "jay", "kite", "axolotl"]


def run(options: Options) -> None:
    """Write `zero-shot-head.json`."""
    classes = CLASSES[:2] if options.quick else CLASSES
    functions = open_clip.OPENAI_IMAGENET_TEMPLATES[: 4 if options.quick else None]
    templates = [function("{c}") for function in functions]
    model = towers.build(open_clip.get_model_config(MODEL), seed=0).to(options.device)
    tokenizer = open_clip.get_tokenizer(MODEL)
    names = [[name] for name in classes]

    ways = {
        "open_clip": lambda: open_clip.build_zero_shot_classifier(
            model.module, tokenizer, classes, functions, device=options.device
        ),
        "wiseft": lambda: build_head(model, names, templates),
        "wiseft-bf16": lambda: build_head(model, names, templates, precision="bf16"),
    }
    for way in ways.values():
        way()
    seconds, results = timed(ways, options.repeats)
    scaled = results["open_clip"].T.cpu() * model.logit_scale.exp().detach().cpu()
    torch.testing.assert_close(results["wiseft"], scaled, rtol=1e-4, atol=1e-4)
    write_record(
        "zero-shot-head",
        options,
        settings={
            "model": f"{MODEL}, random weights",
            "classes": len(classes),
            "templates": len(templates),
        },
        seconds=seconds,
        ratios={
            "head": ratio(seconds, "open_clip", "wiseft"),
            "head-bf16": ratio(seconds, "open_clip", "wiseft-bf16"),
        },
        goals={"head": 12},
        checks={
            "largest_difference": float((results["wiseft"] - scaled).abs().max()),
            "smallest_cosine_bf16": float(
                torch.nn.functional.cosine_similarity(results["wiseft-bf16"], scaled).min()
            ),
        },
    )
