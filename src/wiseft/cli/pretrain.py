"""`wiseft glyphs`, `pretrain-samples` and `pretrain`: zero-shot models that are trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wiseft.cli.options import Preprocessing

Settings = Annotated[str, typer.Option(help="Pre-training settings, as JSON or @file.yaml.")]
GlyphFile = Annotated[Path, typer.Option("--glyphs", help="The file that `wiseft glyphs` wrote.")]


def glyphs(
    settings: Settings, output: Annotated[Path, typer.Option()], package: list[Path] | None = None
) -> None:
    """Render typefaces and pen strokes, or icons, for pre-training.

    Args:
        output: The glyph file to write.
        package: A package with typefaces or icons. Repeatable.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.study.config import PretrainSettings
    from wiseft.study.pretrain.glyphs import build_glyphs, save_drawings
    from wiseft.study.pretrain.icons import build_icons

    chosen = parse_settings(PretrainSettings, settings)
    if chosen.icons is not None:
        icons = build_icons(package or [], chosen.glyph_size, chosen.icons)
        save_drawings(output, icons)
        typer.echo(f"{len(icons.phrases)} icons with {len(icons.names)} names", err=True)
        return
    rendered = build_glyphs(package or [], chosen.glyph_size, chosen.pen_glyphs)
    save_drawings(output, rendered)
    typer.echo(f"{len(rendered.digits)} glyphs of {len(rendered.names)} families", err=True)


def pretrain_samples(
    glyphs: GlyphFile,
    settings: Settings,
    output: Annotated[list[Path], typer.Option()],
    size: Annotated[int, typer.Option(min=8)] = 32,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Draw samples of the pre-training data: rendered digits, or icons, over their captions.

    Args:
        output: A .pdf, .png or .svg file to write. Repeatable.
        size: Side of the images in pixels.
        seed: Seed for drawing glyphs, styles and captions.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.study.config import PretrainSettings
    from wiseft.study.pretrain.icons import load_drawn
    from wiseft.study.pretrain.pretrain_samples import draw_pretrain_samples

    chosen = parse_settings(PretrainSettings, settings)
    draw_pretrain_samples(load_drawn(glyphs, chosen), chosen, size, seed, output)


def pretrain(
    glyphs: GlyphFile,
    architecture: Annotated[Path, typer.Option()],
    preprocessing: Preprocessing,
    settings: Settings,
    seed: Annotated[int, typer.Option(min=0)],
    state: Annotated[Path, typer.Option()],
    weights: Annotated[Path, typer.Option()],
    curve: Annotated[Path, typer.Option()],
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Pre-train a small zero-shot model on rendered digits, or icons, with captions.

    Args:
        architecture: JSON file with an open_clip model configuration.
        seed: Seed of the weights and of every batch.
        state: Folder for the resume state; emptied at the end.
        weights: File to write: the zero-shot weights.
        curve: CSV file to write: the training curve.
        threads: CPU threads. With two or more, images are rendered while the model trains.
    """
    from wiseft.base.io import sha256_json
    from wiseft.base.loading import parse_settings
    from wiseft.base.locks import alone
    from wiseft.base.stages import VERSION
    from wiseft.models.runtime import check_writable, start_torch
    from wiseft.models.towers.open_clip_models import architecture_from_json
    from wiseft.study.config import PretrainSettings
    from wiseft.study.pretrain.icons import load_drawn
    from wiseft.study.pretrain.pretrain import pretrain as train
    from wiseft.study.pretrain.pretrain import write_curve
    from wiseft.thetas import preprocessing as pixel_settings
    from wiseft.thetas.resume_state import Checkpoints
    from wiseft.thetas.tensor_file import TENSORS_SUM, read_file_header
    from wiseft.thetas.theta import save_weights

    start_torch(1, "cpu")  # a second thread gains nothing on a tower so small; rendering does
    check_writable(weights)
    chosen = parse_settings(PretrainSettings, settings)
    pixels = parse_settings(pixel_settings.Preprocessing, preprocessing).model_dump(mode="json")
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
            *(load_drawn(glyphs, chosen), model, pixels, chosen, seed, checkpoints),
            overlap=threads > 1,
        )
        write_curve(curve, rows)
        save_weights(weights, tensors, header | {"stage": "pretrain", "parents": parents})
        checkpoints.clear()
