"""`wiseft merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wiseft.cli.options import FollowLinks, WeightsKey, parsed


def merge(
    a: Path,
    b: Path,
    output: Annotated[Path, typer.Option("--output", "-o")],
    alpha: str | None = None,
    weights: WeightsKey = None,
    device: str = "cpu",
    as_adapter: Annotated[bool, typer.Option("--as-adapter")] = False,
    recipe: str | None = None,
    more: list[Path] | None = None,
    follow_links: FollowLinks = False,
) -> None:
    """Write (1 - alpha) A + alpha B, in A's format and under A's names.

    The result loads where A loads: names, dtypes, wrappers, configuration and tokenizer are A's. B
    may be in another format: you can mix a CLIPModel of transformers and a model of open_clip. No
    code in the files is run: only tensors are read from `.pt` files.

    Example: wiseft merge zeroshot.pt finetuned.pt --alpha 0.5 -o wise.pt

    Args:
        a: The zero-shot model, alpha 0. A file: .pt or .safetensors of open_clip, timm or your own
            program. A folder: CLIPModel of transformers, open_clip, timm. A name:
            hf-hub:OWNER/NAME[/FILE][@REVISION], ARCHITECTURE/TAG of open_clip, timm:MODEL.
        b: The fine-tuned model, alpha 1: a file, folder or name as for A, of the same architecture.
            Or a LoRA or DoRA folder of PEFT for A.
        output: New file, or new folder if A is a folder.
        alpha: Alpha from 0 (A) to 1 (B). The paper recommends 0.5, which is the default. With
            --recipe, 1 is what the recipe makes, and the default.
        device: auto, cpu, cuda, or mps (untested).
        as_adapter: Write only the LoRA folder B, scaled by alpha.
        recipe: Recipe of `wiseft combine`, as JSON or @file, e.g. {"kind": "ties"}. The model that
            it makes from A, B and --more replaces B.
        more: A further fine-tuned model for --recipe. Repeatable.
    """
    from wiseft.base.alphas import FIXED_ALPHA
    from wiseft.cli.options import start_job
    from wiseft.tool.api import merge_files

    where = "cpu" if device == "cpu" else start_job(1, device, mps=True)
    how = parsed(dict[str, Any], recipe, "--recipe")
    at = alpha or (FIXED_ALPHA if how is None else "1.000")
    merge_files(a, b, at, output, where, weights, as_adapter, recipe=how, more=more or ())
