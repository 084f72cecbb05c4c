"""Before a run: `wiseft doctor`, what is there and missing; `wiseft plan`, what it costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from wiseft.cli.options import AnyRoot, Experiment, Root
from wiseft.errors import WiseftError


def doctor(
    experiment: Experiment = None,
    json_output: Annotated[bool, typer.Option("--json")] = False,
    root: AnyRoot = Path(),
) -> None:
    """Report what is installed, what an experiment still lacks, and what it roughly needs.

    Args:
        json_output: Print JSON instead of text.
    """
    from wiseft.study.plan.doctor import examine, render

    findings = examine(root, experiment)
    if json_output:
        typer.echo(json.dumps(findings, indent=2, ensure_ascii=False))
    else:
        typer.echo(render(findings))


def plan(
    experiment: Annotated[str | None, typer.Argument()] = None,
    gpu: str | None = None,
    gpus: Annotated[int | None, typer.Option(min=1)] = None,
    write: Path | None = None,
    root: Root = Path(),
) -> None:
    """Estimate an experiment's jobs, GPU hours and disk space, and count the memory of its jobs.

    Hours are estimated as images x passes x FLOPs / (peak x utilisation), right within a factor of
    about two.

    Args:
        experiment: Experiment. Default: the one in config.yaml.
        gpu: GPU: t4, v100, a100, l40s, h100, h200, or its peaks FP32,HALF in TFLOP/s. Default: a100
            and, if there are any, the rates measured here with `make rehearse REAL=1`.
        gpus: Number of GPUs. The jobs are then scheduled: days, use of the GPUs, the critical path,
            and settings that shorten it.
        write: File to write the best `training.how.gpus` to, for `snakemake --configfile`. Needs
            `--gpus`.
    """
    from wiseft.study.plan import Assumptions, estimate, render
    from wiseft.study.plan.days import choices, write_config
    from wiseft.study.plan.hardware import peak_of
    from wiseft.study.plan.rates import of_towers, read_rates
    from wiseft.study.plan.render import asked_by
    from wiseft.study.plan.resources import ASSUMED_GPU, Resources
    from wiseft.study.targets import Targets

    if write and not gpus:
        raise WiseftError("--write is given without --gpus; say how many GPUs there are")
    targets = Targets.read(root, {"experiment": experiment} if experiment else None)
    measured = {} if gpu else read_rates(root, "cuda")
    assumptions = Assumptions(
        gpu=gpu or ASSUMED_GPU,
        peak=peak_of(gpu or ASSUMED_GPU),
        training_rates=of_towers(measured, "training", targets),
        evaluation_rates=of_towers(measured, "evaluation", targets),
    )
    costs = estimate(targets, assumptions)
    resources = Resources(targets, assume_gpu=True)
    days = choices(targets, assumptions, gpus) if gpus else {}
    if write:
        if "training.how.gpus" not in days:
            raise WiseftError("there is nothing to write: no wider training shortens the run")
        write_config(write, targets, days["training.how.gpus"])
    typer.echo(render(costs, resources.notes(), asked_by(resources), days))
