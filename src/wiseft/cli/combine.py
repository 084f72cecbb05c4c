"""Commands of the combine stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wiseft.base import plugins
from wiseft.cli.options import Device, Threads

KINDS = ", ".join(plugins.names(plugins.RECIPES))


def interpolate(
    theta_0: Annotated[Path, typer.Option()],
    theta_1: Annotated[Path, typer.Option()],
    alpha: Annotated[str, typer.Option()],
    output: Annotated[Path, typer.Option()],
) -> None:
    """Write the weights between two models: (1 - alpha) theta_0 + alpha theta_1.

    Args:
        theta_0: Theta file of the zero-shot model, alpha 0.
        theta_1: Theta file of the fine-tuned model, alpha 1.
        alpha: Alpha in [0, 1] with three decimals, e.g. 0.500.
        output: The theta file to write.
    """
    from wiseft.combine.files import interpolate_files

    made = interpolate_files(theta_0, theta_1, alpha, output)
    typer.echo(f"interpolate: wrote {output} (alpha {alpha}, identity {made[:12]})", err=True)


def combine(
    thetas: list[Path],
    recipe: Annotated[
        str,
        typer.Option(
            help='Recipe as JSON or @file.yaml, e.g. {"kind": "linear", "coefficients": [0.5, '
            f"0.3, 0.2]}}. Kinds: {KINDS}. config/README.md lists their options and inputs."
        ),
    ],
    output: Annotated[Path, typer.Option()],
    inputs: Annotated[list[str] | None, typer.Option("--input")] = None,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Make one theta from several: soups, Fisher-weighted merging, alphas by layer, task vectors.

    Args:
        thetas: The thetas, in the order of the recipe's coefficients.
        output: The theta file to write.
        inputs: NAME=FILE: a further input of the recipe. Repeatable.
    """
    from wiseft.cli.options import parse_recipe, start_job
    from wiseft.combine.files import combine_files

    files: dict[str, list[Path]] = {"thetas": thetas}
    for given in inputs or []:
        name, _, file = given.partition("=")
        files.setdefault(name, []).append(Path(file))
    chosen = parse_recipe(recipe, files)
    where = start_job(threads, device)
    made = combine_files(chosen, output, where)
    kind = chosen.options.kind
    typer.echo(
        f"combine: wrote {output} ({kind} of {len(thetas)} thetas, identity {made[:12]})", err=True
    )


def fisher(
    theta: Path,
    dataset: Annotated[Path, typer.Option()],
    output: Annotated[Path, typer.Option()],
    split: str = "train",
    samples: Annotated[int | None, typer.Option(min=1)] = None,
    labels: str = "sampled",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Estimate the diagonal Fisher information of a theta, for `wiseft combine`.

    Args:
        theta: Theta file of the model.
        dataset: Manifest of the reference dataset.
        output: The .safetensors file to write.
        split: Split whose samples are used.
        samples: Number of samples, drawn with the seed. Default: all.
        labels: Label y of each sample: sampled (drawn from the model's own p(y|x)) or labels (the
            sample's own label).
        seed: Seed for drawing samples and labels.
    """
    from wiseft.cli.options import start_job
    from wiseft.combine.fisher_information import fisher_file

    fisher_file(
        theta,
        dataset,
        output,
        split=split,
        samples=samples,
        labels=labels,
        seed=seed,
        device=start_job(threads, device),
    )
