"""`wiseft score`: one model on a folder of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from wiseft.cli.options import BatchSize, HeadFeatures, SkipBroken, WeightsKey, list_broken, parsed


def score(
    checkpoint: Annotated[Path, typer.Argument(metavar="MODEL")],
    images: Annotated[str, typer.Argument(metavar="SOURCE")],
    architecture: str | None = None,
    preprocessing: str | None = None,
    prompts: str | None = None,
    class_names: str | None = None,
    classes: str | None = None,
    features: HeadFeatures = None,
    weights: WeightsKey = None,
    batch_size: BatchSize = None,
    device: str = "auto",
    threads: Annotated[int | None, typer.Option(min=1)] = None,
    skip_broken: SkipBroken = False,
    image_column: list[str] | None = None,
    label_column: list[str] | None = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Score a model on your images; the result is printed and not kept.

    Example: wiseft score wise.pt my-photos --architecture ViT-B-32-quickgelu

    Args:
        checkpoint: A theta, a classifier of another program, a model that `wiseft sweep` wrote, a
            zero-shot model in any format that `wiseft weights` reads, or a name:
            hf-hub:OWNER/NAME[/FILE][@REVISION], ARCHITECTURE/TAG of open_clip, timm:MODEL.
        images: A folder with a folder of images for every class; CSV or Parquet; a Hugging Face
            dataset on disk; tar shards (shard-{000..003}.tar), also by URL. SOURCE:SPLIT names a
            split. Classes are called as the model's, by wnids of ImageNet, or by numbers from 0.
        architecture: Of a file that does not say it: a name of open_clip or a JSON file.
        preprocessing: Of such a file: as in config/models, JSON or @file.yaml. Default: that of
            OpenAI's CLIPs.
        prompts: Of a zero-shot model: templates as JSON, or @ and a file. Default: ["a photo of a
            {c}."]. Given, a head beside the model is not used.
        class_names: JSON object of folder names or labels to class names, or @ and a file, for
            those that are called otherwise.
        classes: Names of the head's classes in its order, JSON or @ and a file. Default: those that
            the model brings.
        image_column: Column of a table with the images or their paths, if it is not called as
            usual; repeat where tables differ.
        label_column: Column with the labels; of tar shards, an extension or a key of JSON; repeat.
        device: auto, cpu, cuda, or mps (untested).
        threads: CPU threads. Default: all cores.
        as_json: Print JSON, and nothing else.
    """
    from wiseft.base.provenance import cores
    from wiseft.evaluate.score import score_folder
    from wiseft.models.runtime import start_torch
    from wiseft.tabulate.intervals import clopper_pearson
    from wiseft.thetas.preprocessing import Preprocessing
    from wiseft.zeroshot.prompts import parse_templates

    result = score_folder(
        checkpoint,
        images,
        architecture=architecture,
        preprocessing=parsed(Preprocessing, preprocessing, "--preprocessing"),
        templates=parse_templates(prompts) if prompts else None,
        classes=parsed(list[str], classes, "--classes"),
        features=cast(Any, features),
        weights=weights,
        class_names=parsed(dict[str, str], class_names, "--class-names"),
        batch_size=batch_size,
        device=str(start_torch(threads or cores(), device, mps=True)),
        skip_broken=skip_broken,
        image_column=image_column or (),
        label_column=label_column or (),
    )
    low, high = map(float, clopper_pearson(result.n_correct, result.n))
    list_broken(result.broken)
    if as_json:
        typer.echo(json.dumps(result.numbers() | {"interval": [low, high]}, indent=2))
        return
    typer.echo(
        f"accuracy {100 * result.accuracy:.2f} % [{100 * low:.2f}, {100 * high:.2f}], "
        f"{result.n_correct:,} of {result.n:,} images"
    )
    if result.top5 is not None:
        typer.echo(f"top-5 accuracy {100 * result.top5:.2f} %")
    typer.echo(f"mean per-class recall {100 * result.mean_recall:.2f} %")
    if result.restricted:
        typer.echo(
            f"predictions are among the images' classes; the head has {result.restricted} more"
        )
    width = max(map(len, result.classes))
    for name, (n, right) in result.classes.items():
        share = f"{100 * right / n:6.1f} %" if n else "no image"
        typer.echo(f"  {name:<{width}} {share}  {right:,} of {n:,}")
