"""`wiseft evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wiseft.cli.options import BatchSize, Precision


def evaluate(
    theta_1: Annotated[Path, typer.Option()],
    alphas: Annotated[str, typer.Option()],
    dataset: Annotated[list[Path], typer.Option()],
    evaluate: Annotated[str, typer.Option()],
    output_dir: Annotated[Path, typer.Option()],
    model: Annotated[str, typer.Option()],
    reference: Annotated[str, typer.Option()],
    method: Annotated[str, typer.Option()],
    run: Annotated[str, typer.Option()],
    seed: Annotated[int, typer.Option()],
    theta_0: Path | None = None,
    like: list[Path] | None = None,
    combinations: str = "weight,output",
    logits: str = "",
    head: Path | None = None,
    state: Path | None = None,
    variant: str = "",
    batch_size: BatchSize = None,
    precision: Precision = "fp32",
    compile: Annotated[bool, typer.Option("--compile", envvar="WISEFT_COMPILE")] = False,
    device: str = "auto",
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Evaluate every alpha on a suite of datasets, in one pass over the images.

    Use `wiseft score` to evaluate one model on a folder of images without a manifest.

    Args:
        theta_1: The fine-tuned model, or a single model.
        alphas: Alphas to evaluate, e.g. 0.000,0.500,1.000.
        dataset: Manifest of a dataset. Repeatable.
        evaluate: Splits and views of each dataset, as JSON or @file.yaml: {"mnist": {"splits":
            ["test"], "views": [{"name": "all", "metric": "accuracy"}]}}.
        output_dir: Folder for the results, in <dataset>/.
        model: Name of the model, for the metrics file.
        reference: Name of the reference dataset.
        method: Name of the fine-tuning method.
        run: Name of the run.
        seed: Seed of the run.
        theta_0: The zero-shot model. Without it, only alpha 1.000.
        like: Manifest of a dataset whose label map defines a further view. Repeatable. Only the
            JSON file is read, not its images.
        combinations: How to combine the two models, separated by commas: weight (their weights),
            output (their logits), softmax (their probabilities), random (one of them drawn for each
            sample).
        logits: Alphas whose logits are stored, e.g. 0.000,1.000: as fp16, in logits.safetensors
            beside the predictions.
        head: Theta file whose head and classes replace those of both models. This measures how much
            of its task the image towers retain.
        state: Folder for the state from which a killed evaluation resumes; removed at the end.
        variant: Variant of the method, if any.
        compile: Compile the image tower.
        device: Device: auto, cpu or cuda.
        threads: CPU threads.
    """
    from wiseft.base.alphas import parse_alphas
    from wiseft.base.loading import parse_settings
    from wiseft.cli.options import start_job
    from wiseft.evaluate.request import Request
    from wiseft.evaluate.suite import evaluate_suite
    from wiseft.evaluate.views import SuiteEvaluation
    from wiseft.models.precision import settled

    on = start_job(threads, device)
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
