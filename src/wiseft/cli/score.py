"""`wiseft score`: models on folders of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from wiseft.cli.options import BatchSize, HeadFeatures, SkipBroken, WeightsKey, list_broken, parsed
from wiseft.errors import WiseftError

if TYPE_CHECKING:
    from wiseft.evaluate.score import Score


def score(
    models: Annotated[list[str], typer.Argument(metavar="MODEL")],
    data: list[str] | None = None,
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
    limit: Annotated[int | None, typer.Option(min=1)] = None,
    predictions: Path | None = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Score models on your images and print the result.

    Example: wiseft score wise.pt my-photos --architecture ViT-B-32-quickgelu
    wiseft score zeroshot.pt finetuned.pt wise.pt --data photos sketches --limit 500

    If you give several models, each is compared with the first, image by image: the difference in
    accuracy with its 95 % interval (bootstrap) and McNemar's exact p.

    Args:
        models: A theta, a classifier of another program, a model that `wiseft sweep` wrote, or a
            zero-shot model in any format that `wiseft weights` reads. Or a name:
            hf-hub:OWNER/NAME[/FILE][@REVISION], ARCHITECTURE/TAG of open_clip, timm:MODEL. Without
            --data, give one model and then its images.
        data: Images: a folder with one folder per class; CSV or Parquet; a Hugging Face dataset on
            disk; tar shards (shard-{000..003}.tar), also by URL. SOURCE:SPLIT names a split.
            Classes are named like the model's, by ImageNet wnids, or by numbers from 0.
        limit: Number of images to score per source, drawn at random with seed 0, the same for
            every model. Default: all.
        predictions: Parquet file to write: the prediction for every image, with columns set,
            image, label and prediction/MODEL.
        architecture: Architecture, if the file does not contain it: a name of open_clip or a JSON
            file.
        preprocessing: Preprocessing, if the file does not contain it: as in config/models, JSON or
            @file.yaml. Default: that of OpenAI's CLIP.
        prompts: Prompt templates of a zero-shot model, as JSON or @file. Default: ["a photo of a
            {c}."]. With this option, a head beside the model is not used.
        class_names: JSON object, or @file, that maps folder names or labels to class names. Needed
            if their names differ.
        classes: Class names of the head in its order, as JSON or @file. Default: those stored with
            the model.
        image_column: Column of a table that holds the images or their paths, if its name is
            unusual. Repeatable, for tables that differ.
        label_column: Column of a table that holds the labels; for tar shards, an extension or a key
            of the JSON. Repeatable.
        device: Device: auto, cpu, cuda, or mps (untested).
        threads: CPU threads. Default: all cores.
        as_json: Print only JSON.
    """
    from wiseft.base.provenance import cores
    from wiseft.cli.options import parse_templates, start_job
    from wiseft.evaluate.score import score_folders, write_predictions
    from wiseft.thetas.preprocessing import Preprocessing

    if not data and len(models) != 2:
        raise WiseftError("give a model and its images, or several models and --data SOURCE ...")
    *checkpoints, last = models
    sources = data or [last]
    found = score_folders(
        models if data else checkpoints,
        sources,
        architecture=architecture,
        preprocessing=parsed(Preprocessing, preprocessing, "--preprocessing"),
        templates=parse_templates(prompts) if prompts else None,
        classes=parsed(list[str], classes, "--classes"),
        features=cast(Any, features),
        weights=weights,
        class_names=parsed(dict[str, str], class_names, "--class-names"),
        batch_size=batch_size,
        device=str(start_job(threads or cores(), device, mps=True)),
        skip_broken=skip_broken,
        image_column=image_column or (),
        label_column=label_column or (),
        limit=limit,
    )
    if predictions is not None:
        write_predictions(predictions, found)
    for by_model in found.values():
        list_broken(next(iter(by_model.values())).broken)
    _print(found, as_json, limit)


def _print(found: dict[str, dict[str, Score]], as_json: bool, limit: int | None) -> None:
    from wiseft.base.templates import filled
    from wiseft.evaluate.score import compared

    tables = {name: compared(by_model) for name, by_model in found.items()}
    alone = len(tables) == 1 and all(len(rows) == 1 for rows in tables.values())
    (score, *_), (row, *_) = next(iter(found.values())).values(), next(iter(tables.values()))
    if as_json:
        numbers = score.numbers() | {"interval": row["interval"]}
        typer.echo(json.dumps(numbers if alone else tables, indent=2))
        return
    one = score if alone else None
    text = filled("cli/score.txt.j2", one=one, interval=row["interval"], tables=tables, limit=limit)
    typer.echo(text.rstrip("\n"))
