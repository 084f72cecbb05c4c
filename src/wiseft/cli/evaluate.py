"""Commands of the evaluate stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the command `evaluate`."""
    app.command("evaluate")(evaluate)


def evaluate(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            help="With --data: a theta, or a zero-shot model in any format that `wiseft weights` "
            "reads."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="A folder with a folder of images for every class. Folders are called as the "
            "classes are, by wnids of ImageNet, or by numbers from 0."
        ),
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            help="With --data, of a file that does not say it: a name of open_clip or a JSON file."
        ),
    ] = None,
    preprocessing: Annotated[
        str | None,
        typer.Option(
            help="With --data, of such a file: as in config/models, JSON or @file.yaml. "
            "Default: that of OpenAI's CLIPs."
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="With --data, of a zero-shot model: templates as JSON, or @ and a file. Default: "
            '["a photo of a {c}."].'
        ),
    ] = None,
    class_names: Annotated[
        str | None,
        typer.Option(
            help="With --data: JSON object of folder names to class names, or @ and a file, for "
            "folders that are called otherwise."
        ),
    ] = None,
    theta_1: Annotated[
        Path | None, typer.Option(help="The fine-tuned end, or a model on its own.")
    ] = None,
    alphas: Annotated[str | None, typer.Option(help="The grid, e.g. 0.000,0.500,1.000.")] = None,
    dataset: Annotated[
        list[Path] | None, typer.Option(help="A dataset's manifest; repeat for a suite.")
    ] = None,
    evaluate: Annotated[
        str | None,
        typer.Option(
            help='By dataset: \'{"mnist": {"splits": ["test"], "views": [{"name": "all", '
            '"metric": "accuracy"}]}}\', or @ and a YAML file.'
        ),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option(help="Files go to <output-dir>/<dataset>/.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Name of the model, for the metrics file.")
    ] = None,
    reference: Annotated[str | None, typer.Option(help="Name of the reference dataset.")] = None,
    method: Annotated[str | None, typer.Option(help="Name of the fine-tuning method.")] = None,
    run: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run.")] = None,
    theta_0: Annotated[
        Path | None, typer.Option(help="The zero-shot end; without it only alpha 1.000.")
    ] = None,
    like: Annotated[
        list[Path] | None,
        typer.Option(
            help="Manifest of a dataset that views are like: whose label map they see through; "
            "repeatable. Nothing but its JSON is read."
        ),
    ] = None,
    combinations: Annotated[
        str,
        typer.Option(
            help="How the two ends are combined, with commas between: weight (their weights), "
            "output (their logits), softmax (their probabilities), random (one of them drawn for "
            "each sample)."
        ),
    ] = "weight,output",
    logits: Annotated[
        str,
        typer.Option(
            help="Alphas whose logits are stored in full, as fp16, in logits.safetensors beside "
            "the predictions, e.g. 0.000,1.000."
        ),
    ] = "",
    variant: Annotated[str, typer.Option(help="Variant of the method, if any.")] = "",
    batch_size: Annotated[int, typer.Option(min=1, help="Images in a forward pass.")] = 500,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Evaluate every alpha on a suite of datasets, in one pass over the images.

    The workflow gives every option from --theta-1 on. With --data it is shorter: one model on a
    folder of images, printed and not kept.

    Example: wiseft evaluate wise.pt --architecture ViT-B-32-quickgelu --data my-photos
    """
    from wiseft.alphas import parse_alphas
    from wiseft.config import parse_settings
    from wiseft.evaluate import Request, evaluate_suite
    from wiseft.evaluate.views import SuiteEvaluation
    from wiseft.runtime import start_torch

    whole = {
        "--theta-1": theta_1,
        "--alphas": alphas,
        "--dataset": dataset,
        "--evaluate": evaluate,
        "--output-dir": output_dir,
        "--model": model,
        "--reference": reference,
        "--method": method,
        "--run": run,
        "--seed": seed,
    }
    short = {
        "--architecture": architecture,
        "--preprocessing": preprocessing,
        "--prompts": prompts,
        "--class-names": class_names,
    }
    if _is_short(checkpoint, data, whole, short):
        assert checkpoint is not None and data is not None
        _evaluate_folder(checkpoint, data, short, batch_size, str(start_torch(threads, device)))
        return
    assert theta_1 and alphas and dataset and evaluate and output_dir
    request = Request(
        theta_0=theta_0,
        theta_1=theta_1,
        alphas=alphas.split(","),
        manifests=dataset,
        evaluate=parse_settings(SuiteEvaluation, evaluate, "--evaluate"),
        output_dir=output_dir,
        about={
            "model": model,
            "reference": reference,
            "method": method,
            "variant": variant,
            "run": run,
            "seed": seed,
        },
        batch_size=batch_size,
        device=str(start_torch(threads, device)),
        like=like or [],
        combinations=[name.strip() for name in combinations.split(",")],
        logits=parse_alphas(logits) if logits else [],
    )
    evaluate_suite(request, say=lambda line: typer.echo(line, err=True))


def _is_short(
    checkpoint: Path | None,
    data: Path | None,
    whole: Mapping[str, Any],
    short: Mapping[str, str | None],
) -> bool:
    """Return which of the two forms was asked for: a checkpoint on a folder, or a whole sweep.

    Raises:
        WiseftError: if neither is complete, or options of both are mixed.
    """
    from wiseft.errors import WiseftError

    given = [name for name, value in whole.items() if value not in (None, [])]
    if checkpoint is not None or data is not None:
        if checkpoint is None or data is None:
            raise WiseftError("give both a model and --data: wiseft evaluate MODEL --data FOLDER")
        if given:
            raise WiseftError(f"with --data a model is scored on its own: leave out {given[0]}")
        return True
    extra = [name for name, value in short.items() if value is not None]
    missing = [name for name in whole if name not in given]
    if missing or extra:
        lack = f"{', '.join(missing)} missing" if missing else f"{extra[0]} goes with --data"
        raise WiseftError(f"{lack}; to score one model: wiseft evaluate MODEL --data FOLDER")
    return False


def _evaluate_folder(
    checkpoint: Path, data: Path, options: Mapping[str, str | None], batch_size: int, device: str
) -> None:
    """Score a model on a folder of images and print what came out."""
    from wiseft.config import Preprocessing, parse_settings
    from wiseft.evaluate.folder import evaluate_folder
    from wiseft.tabulate.intervals import clopper_pearson
    from wiseft.zeroshot import parse_templates

    pixels, prompts = options["--preprocessing"], options["--prompts"]
    score = evaluate_folder(
        checkpoint,
        data,
        architecture=options["--architecture"],
        preprocessing=parse_settings(Preprocessing, pixels, "--preprocessing") if pixels else None,
        templates=parse_templates(prompts) if prompts else None,
        class_names=_folder_names(options["--class-names"]),
        batch_size=batch_size,
        device=device,
        say=lambda line: typer.echo(line, err=True),
    )
    low, high = clopper_pearson(score.n_correct, score.n)
    typer.echo(
        f"accuracy {100 * score.accuracy:.2f} % [{100 * low:.2f}, {100 * high:.2f}], "
        f"{score.n_correct:,} of {score.n:,} images"
    )
    if score.restricted:
        typer.echo(
            f"predictions are among the folder's classes; the head has {score.restricted} more"
        )
    width = max(map(len, score.classes))
    for name, (n, right) in score.classes.items():
        typer.echo(f"  {name:<{width}} {100 * right / n:6.1f} %  {right:,} of {n:,}")


def _folder_names(text: str | None) -> dict[str, str] | None:
    import json

    from wiseft.errors import WiseftError

    if text is None:
        return None
    content = Path(text[1:]).read_text("utf-8") if text.startswith("@") else text
    try:
        names = json.loads(content)
    except json.JSONDecodeError as error:
        raise WiseftError(f"--class-names is not valid JSON ({error})") from None
    if not isinstance(names, dict) or not all(isinstance(v, str) for v in names.values()):
        raise WiseftError('--class-names must be like {"folder name": "class name"}')
    return names
