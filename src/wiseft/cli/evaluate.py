"""`wiseft evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wiseft.cli.options import BatchSize, Precision


def evaluate(
    theta_1: Annotated[Path, typer.Option(help="The fine-tuned model, or a single model.")],
    alphas: Annotated[str, typer.Option(help="Alphas to evaluate, e.g. 0.000,0.500,1.000.")],
    dataset: Annotated[list[Path], typer.Option(help="Manifest of a dataset. Repeatable.")],
    evaluate: Annotated[
        str,
        typer.Option(
            help='Splits and views of each dataset, as JSON or @file.yaml: {"mnist": {"splits": '
            '["test"], "views": [{"name": "all", "metric": "accuracy"}]}}.'
        ),
    ],
    output_dir: Annotated[Path, typer.Option(help="Folder for the results, in <dataset>/.")],
    model: Annotated[str, typer.Option(help="Name of the model, for the metrics file.")],
    reference: Annotated[str, typer.Option(help="Name of the reference dataset.")],
    method: Annotated[str, typer.Option(help="Name of the fine-tuning method.")],
    run: Annotated[str, typer.Option(help="Name of the run.")],
    seed: Annotated[int, typer.Option(help="Seed of the run.")],
    theta_0: Annotated[
        Path | None, typer.Option(help="The zero-shot model. Without it, only alpha 1.000.")
    ] = None,
    like: Annotated[
        list[Path] | None,
        typer.Option(
            help="Manifest of a dataset whose label map defines a further view. Repeatable. Only "
            "the JSON file is read, not its images."
        ),
    ] = None,
    combinations: Annotated[
        str,
        typer.Option(
            help="How to combine the two models, separated by commas: weight (their weights), "
            "output (their logits), softmax (their probabilities), random (one of them drawn for "
            "each sample)."
        ),
    ] = "weight,output",
    logits: Annotated[
        str,
        typer.Option(
            help="Alphas whose logits are stored, e.g. 0.000,1.000: as fp16, in "
            "logits.safetensors beside the predictions."
        ),
    ] = "",
    head: Annotated[
        Path | None,
        typer.Option(
            help="Theta file whose head and classes replace those of both models. This measures "
            "how much of its task the image towers retain."
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the state from which a killed evaluation resumes; removed at the end."
        ),
    ] = None,
    variant: Annotated[str, typer.Option(help="Variant of the method, if any.")] = "",
    batch_size: BatchSize = None,
    precision: Precision = "fp32",
    compile: Annotated[
        bool, typer.Option("--compile", envvar="WISEFT_COMPILE", help="Compile the image tower.")
    ] = False,
    device: Annotated[str, typer.Option(help="Device: auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Evaluate every alpha on a suite of datasets, in one pass over the images.

    Use `wiseft score` to evaluate one model on a folder of images without a manifest.
    """
    from wiseft.base.alphas import parse_alphas
    from wiseft.base.loading import parse_settings
    from wiseft.evaluate.request import Request
    from wiseft.evaluate.suite import evaluate_suite
    from wiseft.evaluate.views import SuiteEvaluation
    from wiseft.models.precision import settled
    from wiseft.models.runtime import start_torch

    on = start_torch(threads, device)
    request = Request(
        theta_0=theta_0,
        theta_1=theta_1,
        alphas=alphas.split(","),
        manifests=dataset,
        evaluate=parse_settings(SuiteEvaluation, evaluate, "--evaluate"),
        output_dir=output_dir,
        metadata={
            "model": model,
            "reference": reference,
            "method": method,
            "variant": variant,
            "run": run,
            "seed": seed,
        },
        batch_size=batch_size,
        precision=settled(precision, on),
        compile=compile,
        device=str(on),
        like=like or [],
        combinations=[name.strip() for name in combinations.split(",")],
        logits=parse_alphas(logits) if logits else [],
        head=head,
        state=state,
    )
    evaluate_suite(request)
