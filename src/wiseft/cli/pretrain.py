"""`wiseft glyphs`, `pretrain-samples` and `pretrain`: the embedded zero-shot model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wiseft.cli.options import Preprocessing

Settings = Annotated[str, typer.Option(help="Pre-training settings: JSON or @file.yaml.")]
GlyphFile = Annotated[Path, typer.Option("--glyphs", help="The glyph file.")]


def glyphs(
    settings: Settings,
    output: Annotated[Path, typer.Option(help="The glyph file to write.")],
    package: Annotated[
        list[Path] | None, typer.Option(help="A wheel that carries typefaces; repeatable.")
    ] = None,
) -> None:
    """Render typefaces and pen strokes into masks, once."""
    from wiseft.base.loading import parse_settings
    from wiseft.study.config import PretrainSettings
    from wiseft.study.pretrain.glyphs import build_glyphs, save_glyphs

    chosen = parse_settings(PretrainSettings, settings)
    rendered = build_glyphs(package or [], chosen.glyph_size, chosen.pen_glyphs)
    save_glyphs(output, rendered)
    typer.echo(f"{len(rendered.digits)} glyphs of {len(rendered.names)} families", err=True)


def pretrain_samples(
    glyphs: GlyphFile,
    settings: Settings,
    output: Annotated[list[Path], typer.Option(help="A .pdf, .png or .svg file; repeatable.")],
    size: Annotated[int, typer.Option(min=8, help="Side of the images in pixels.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Draws glyphs, styles and captions.")] = 0,
) -> None:
    """Draw what pre-training sees: rendered digits over their captions."""
    from wiseft.base.loading import parse_settings
    from wiseft.study.config import PretrainSettings
    from wiseft.study.pretrain.glyphs import load_glyphs
    from wiseft.study.pretrain.pretrain_samples import draw_pretrain_samples

    chosen = parse_settings(PretrainSettings, settings)
    draw_pretrain_samples(load_glyphs(glyphs), chosen, size, seed, output)


def pretrain(
    glyphs: GlyphFile,
    architecture: Annotated[Path, typer.Option(help="An open_clip model config (JSON).")],
    preprocessing: Preprocessing,
    settings: Settings,
    seed: Annotated[int, typer.Option(min=0, help="Of the weights and of every batch.")],
    state: Annotated[Path, typer.Option(help="Folder for the resume state.")],
    weights: Annotated[Path, typer.Option(help="The zero-shot weights to write.")],
    curve: Annotated[Path, typer.Option(help="The training curve (CSV) to write.")],
    threads: Annotated[int, typer.Option(min=1, help="With two, rendering overlaps.")] = 1,
) -> None:
    """Pre-train a small zero-shot model on rendered digits with captions."""
    from wiseft.base.io import sha256_json
    from wiseft.base.loading import parse_settings
    from wiseft.base.stages import VERSION
    from wiseft.models.runtime import check_writable, start_torch
    from wiseft.models.towers.open_clip_models import architecture_from_json
    from wiseft.study import config
    from wiseft.study.config import PretrainSettings
    from wiseft.study.pretrain.glyphs import load_glyphs
    from wiseft.study.pretrain.pretrain import pretrain as train
    from wiseft.study.pretrain.pretrain import write_curve
    from wiseft.thetas.resume_state import Checkpoints, alone
    from wiseft.thetas.tensor_file import TENSORS_SUM, read_file_header
    from wiseft.thetas.theta import save_weights

    start_torch(1, "cpu")  # a second thread gains nothing on a tower so small; rendering does
    check_writable(weights)
    chosen = parse_settings(PretrainSettings, settings)
    pixels = parse_settings(config.Preprocessing, preprocessing).model_dump(mode="json")
    model = architecture_from_json(architecture)
    header = {
        "architecture": model,
        "preprocessing": pixels,
        "seed": seed,
        "settings": chosen.model_dump(mode="json"),
    }
    parents = {"glyphs": read_file_header(glyphs, "glyph file")[TENSORS_SUM]}
    identity = header | parents | {"version": VERSION["pretrain"]}
    checkpoints = Checkpoints(state, sha256_json(identity))
    with alone(state):
        tensors, rows = train(
            load_glyphs(glyphs), model, pixels, chosen, seed, checkpoints, overlap=threads > 1
        )
        write_curve(curve, rows)
        save_weights(weights, tensors, header | {"stage": "pretrain", "parents": parents})
        checkpoints.clear()
