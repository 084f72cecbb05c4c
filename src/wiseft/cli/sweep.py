"""From two checkpoints to the model between them, and to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from wiseft.cli.options import BatchSize, FollowLinks, HeadFeatures, SkipBroken, WeightsKey, parsed

Sweep = Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of `wiseft sweep`.")]


def sweep(
    zero_shot: Annotated[Path, typer.Argument(metavar="Z")],
    fine_tuned: Annotated[Path, typer.Argument(metavar="F")],
    reference: Annotated[str, typer.Option(metavar="SOURCE")],
    shift: Annotated[list[str], typer.Option(metavar="SOURCE")],
    output: Annotated[Path, typer.Option("--output", "-o")],
    keep: Annotated[list[str] | None, typer.Option(metavar="SOURCE")] = None,
    alphas: str | None = None,
    alpha: str | None = None,
    architecture: str | None = None,
    preprocessing: str | None = None,
    templates: str | None = None,
    classes: str | None = None,
    class_names: str | None = None,
    head: Path | None = None,
    features: HeadFeatures = None,
    weights: WeightsKey = None,
    recipe: str | None = None,
    more: list[Path] | None = None,
    batch_size: BatchSize = None,
    device: str = "auto",
    threads: Annotated[int, typer.Option(min=1)] = 1,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    skip_broken: SkipBroken = False,
    image_column: list[str] | None = None,
    label_column: list[str] | None = None,
    follow_links: FollowLinks = False,
    as_adapter: Annotated[bool, typer.Option("--as-adapter")] = False,
    evaluate: Annotated[str | None, typer.Option(metavar="COMMAND")] = None,
    held_out: Annotated[str | None, typer.Option(metavar="SET")] = None,
    metric: Annotated[list[str] | None, typer.Option(metavar="NAME")] = None,
    jobs: Annotated[int, typer.Option(min=1)] = 1,
    budget: int | None = None,
    part: Annotated[list[str] | None, typer.Option(metavar="NAME=REGEX")] = None,
) -> None:
    """Find the best model between a zero-shot and a fine-tuned one, and write it in F's format.

    Example: wiseft sweep zeroshot.pt finetuned.pt --reference photos --shift sketches -o out

    Any other models and metrics, by a program of your own, for which --held-out, --reference,
    --shift and --keep are names of its sets: wiseft sweep Z F --evaluate 'python my_eval.py
    {model}' --held-out val --reference test --shift other -o out

    Args:
        zero_shot: The zero-shot model: a file or folder of open_clip, transformers or timm, a
            classifier of your own program, or a theta. Or a name:
            hf-hub:OWNER/NAME[/FILE][@REVISION], ARCHITECTURE/TAG of open_clip, timm:MODEL.
        fine_tuned: The fine-tuned model, in any of these forms, or an adapter of PEFT (LoRA, DoRA)
            for Z.
        reference: Images of the task that F was fine-tuned for, but not its training images. A
            folder with one folder per class; CSV or Parquet; a Hugging Face dataset on disk; tar
            shards (shard-{000..003}.tar), also by URL. Splits held-out (or val) and test are used;
            SOURCE:SPLIT names another.
        shift: Images of the same classes from elsewhere, in any of these forms. Images without
            classes have no labels. Repeatable.
        output: New folder for the results.
        keep: Images of other classes, to measure how much of that task the model retains.
            Repeatable. Their heads are made from prompts, so Z must have its text tower.
        alphas: Alphas to evaluate, separated by commas. Default: 0 to 1 in steps of
            0.05, with --evaluate 0.1.
        alpha: Alpha of the model to write, instead of the recommended one.
        architecture: Architecture, if the files do not contain it: a name of open_clip or timm, or
            a JSON file.
        preprocessing: Preprocessing for both models, as in config/models: JSON or @file.yaml.
        templates: Prompt templates, as JSON or @file. Default: ["a photo of a {c}."].
        classes: Class names of the heads in their order, as JSON or @file. Default: those stored in
            a checkpoint, else the sorted folder names of the reference.
        class_names: JSON object, or @file, that maps folder names or labels to class names.
        head: File with the head of F, if F does not contain it.
        recipe: Recipe of `wiseft combine`, as JSON or @file, e.g. {"kind": "lines"}. The theta that
            it makes from Z, F and --more replaces F. With --evaluate it is swept beside F, and the
            best model is OUT/recipe.
        more: A further fine-tuned model for --recipe. Repeatable.
        image_column: Column of a table that holds the images or their paths, if its name is
            unusual. Repeatable, for tables that differ.
        label_column: Column of a table that holds the labels; for tar shards, an extension or a key
            of the JSON. Repeatable.
        device: Device: auto, cpu, cuda, or mps (untested).
        threads: CPU threads.
        seed: Seed for splitting the reference, if it has no splits.
        as_adapter: If F is a LoRA folder, write the adapter scaled by alpha, not the whole model.
        evaluate: Command that evaluates one model. It runs once per alpha, with {model}, {alpha},
            {output} and {device} filled in. It prints lines such as
            {"set": "test", "id": "s1", "score": 1}, or writes results to {output}.
        held_out: The set on which alpha is chosen. Only with --evaluate.
        metric: The metric to use, if a set has several. Only with --evaluate. Repeatable.
        jobs: Evaluations at a time, each with a model on the disk. Only with --evaluate. Default:
            1.
        budget: How many alphas of the grid to evaluate. Only with --evaluate. Default: all.
        part: The tensors whose names match get an alpha of their own, chosen on held-out data. The
            best such model is OUT/parts. Only with --evaluate. Repeatable.
    """
    options = dict(locals())
    from wiseft.cli.options import parse_templates, take_gpus
    from wiseft.thetas.preprocessing import Preprocessing
    from wiseft.tool.summary import summary
    from wiseft.tool.sweep import ALPHAS
    from wiseft.tool.sweep import sweep as run_sweep

    take_gpus(device)
    if evaluate or held_out or metric or budget or part or jobs > 1:
        typer.echo(summary(_with_own(**options)))
        return
    result = run_sweep(
        zero_shot,
        fine_tuned,
        reference,
        shift,
        output,
        keep=keep or (),
        alphas=alphas.split(",") if alphas else ALPHAS,
        alpha=alpha,
        architecture=architecture,
        preprocessing=parsed(Preprocessing, preprocessing, "--preprocessing"),
        templates=parse_templates(templates, "--templates") if templates else None,
        classes=parsed(list[str], classes, "--classes"),
        class_names=parsed(dict[str, str], class_names, "--class-names"),
        head=head,
        features=cast(Any, features),
        weights=weights,
        recipe=parsed(dict[str, Any], recipe, "--recipe"),
        more=more or (),
        batch_size=batch_size,
        device=device,
        threads=threads,
        seed=seed,
        skip_broken=skip_broken,
        image_column=image_column or (),
        label_column=label_column or (),
        as_adapter=as_adapter,
    )
    typer.echo(summary(result))


def _with_own(
    zero_shot: Path,
    fine_tuned: Path,
    evaluate: str | None,
    held_out: str | None,
    alphas: str | None,
    **given: Any,
) -> Any:
    """Return the result of a sweep with the user's own evaluation."""
    from wiseft.errors import WiseftError
    from wiseft.tool.own_jobs import ALPHAS
    from wiseft.tool.own_sweep import sweep_with

    if evaluate is None or held_out is None:
        raise WiseftError("an evaluation of your own needs both --evaluate and --held-out")
    names: dict[str, Any] = {"shifts": given.pop("shift"), "metrics": given.pop("metric") or ()}
    names["keep"] = given.pop("keep") or ()
    parts = [each.partition("=")[::2] for each in given.pop("part") or ()]
    if not all(map(all, parts)) or len(dict(parts)) < len(parts):
        raise WiseftError("give each --part once, as NAME=REGEX")
    names["parts"] = dict(parts)
    names["recipe"] = parsed(dict[str, Any], given.pop("recipe"), "--recipe")
    names["more"] = given.pop("more") or ()
    kept = "reference output alpha weights device threads seed jobs budget"
    own = {name: given.pop(name) for name in kept.split()}
    given.pop("follow_links")
    if odd := [name for name, value in given.items() if value]:
        raise WiseftError(
            f"leave out --{odd[0].replace('_', '-')}, which --evaluate has no use for"
        )
    grid = alphas.split(",") if alphas else ALPHAS
    return sweep_with(
        zero_shot, fine_tuned, evaluate, held_out=held_out, alphas=grid, **names, **own
    )


def sweep_point(
    zero_shot: Annotated[Path, typer.Argument(metavar="Z")],
    fine_tuned: Annotated[Path, typer.Argument(metavar="F")],
    alpha: Annotated[str, typer.Option()],
    evaluate: Annotated[str, typer.Option(metavar="COMMAND")],
    output: Annotated[Path, typer.Option("--output", "-o")],
    weights: WeightsKey = None,
    device: str = "auto",
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Evaluate one alpha of `wiseft sweep --evaluate`, which then finds its results.

    Example: wiseft sweep-point Z F --alpha 0.3 --evaluate 'python my_eval.py {model}' -o out

    Several of these may run at a time, such as the jobs of workflow/sweep.smk.

    Args:
        zero_shot: As of `wiseft sweep`, like all that follow.
        fine_tuned: The fine-tuned model.
        alpha: Alpha to evaluate.
        evaluate: Command that evaluates one model.
        output: Folder of the sweep.
        device: Device for {device}.
        threads: CPU threads of the merge.
    """
    from wiseft.cli.options import take_gpus
    from wiseft.tool.own_points import measure_one

    take_gpus(device)
    options = {"weights": weights, "device": device, "threads": threads}
    measure_one(zero_shot, fine_tuned, evaluate, output, alpha, **options)


def export(
    theta: Path,
    like: Annotated[Path, typer.Option()],
    output: Annotated[Path, typer.Option("--output", "-o")],
    weights: WeightsKey = None,
    follow_links: FollowLinks = False,
) -> None:
    """Write a theta in the format of a checkpoint of open_clip, transformers, timm or your own.

    Example: wiseft export theta.safetensors --like finetuned.pt -o wise/wise.pt

    Args:
        theta: A theta file of this program.
        like: Checkpoint, or its name, whose format to write.
        output: New file to write, or new folder if LIKE is a folder.
    """
    from wiseft.tool.export import export_theta

    export_theta(theta, like, output, weights)


def card(
    folder: Sweep,
    licence: Annotated[str | None, typer.Option("--license")] = None,
    base_model: list[str] | None = None,
    replace: Annotated[bool, typer.Option("--replace")] = False,
) -> None:
    """Write the model card of a sweep, OUT/model/README.md, for the Hugging Face hub.

    Example: wiseft card out --license mit

    Args:
        licence: Licence, in the hub's abbreviation. Default: the card names none.
        base_model: Base model, OWNER/NAME on the hub. Repeatable. Default: the names stored in the
            checkpoints.
        replace: Overwrite an existing card that differs.
    """
    from wiseft.tool.hub import write_card

    path = write_card(folder, licence, base_model, replace)
    todo = "read it" if licence else "read it, name a licence in it"
    typer.echo(f"{path}: {todo}, then: wiseft push {folder} OWNER/NAME")


def push(
    folder: Sweep,
    repository: Annotated[str, typer.Argument(metavar="REPO")],
    private: Annotated[bool, typer.Option("--private")] = False,
) -> None:
    """Upload the model of a sweep and its card to the Hugging Face hub.

    Example: wiseft push out me/robust-birds

    Args:
        repository: Repository on the hub, OWNER/NAME; created if it does not exist.
        private: Create the repository as a private one.
    """
    from wiseft.tool.hub import push

    typer.echo(push(folder, repository, private))
