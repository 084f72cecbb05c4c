"""From two checkpoints to the model between them, and to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from wiseft.cli.options import BatchSize, FollowLinks, HeadFeatures, SkipBroken, WeightsKey, parsed

Sweep = Annotated[Path, typer.Argument(metavar="OUT", help="A folder of `wiseft sweep`.")]


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
) -> None:
    """Find the best model between a zero-shot and a fine-tuned one, and write it in F's format.

    Example: wiseft sweep zeroshot.pt finetuned.pt --reference photos --shift sketches -o out

    Any other models and metrics, by a program of your own, for which --held-out, --reference,
    --shift and --keep are names of its sets: wiseft sweep Z F --evaluate 'python my_eval.py
    {model}' --held-out val --reference test --shift other -o out

    Args:
        zero_shot: The zero-shot model: a file or folder of open_clip, transformers or timm, a
            classifier of your own program, a theta, or a name:
            hf-hub:OWNER/NAME[/FILE][@REVISION], ARCHITECTURE/TAG of open_clip, timm:MODEL.
        fine_tuned: The fine-tuned one, likewise; or an adapter of PEFT (LoRA, DoRA) for Z.
        reference: Images that F was made for but not trained on: a folder with one for every class;
            CSV or Parquet; a Hugging Face dataset on disk; tar shards (shard-{000..003}.tar), also
            by URL. Splits held-out (or val) and test are used; SOURCE:SPLIT names another.
        shift: Images from elsewhere, likewise; repeat. Without classes they have no labels.
        output: A new folder.
        keep: Images of other classes, to see what the model between retains of
            them; repeat. Heads are made of prompts, so Z must have its text tower.
        alphas: The grid, with commas. Default: 0 to 1 by 0.05, with --evaluate by 0.1.
        alpha: Write the model at this alpha, whatever is recommended.
        architecture: Of files that do not say it: a name of open_clip or timm, or JSON.
        preprocessing: As in config/models, JSON or @file.yaml, for both models.
        templates: Prompts as JSON, or @ and a file. Default: ["a photo of a {c}."].
        classes: Names of the heads' classes in their order, JSON or @ and a file. Default: those
            that a checkpoint brings, else the reference's folders, sorted.
        class_names: JSON object of folder names or labels to class names, or @ and a file.
        head: File with F's head, where it is not in F.
        recipe: Of `wiseft combine`, as JSON or @ and a file: what it makes of Z, F and --more takes
            the place of F, e.g. {"kind": "lines"}.
        more: A further fine-tuned model for --recipe; repeat.
        image_column: Column of a table with the images or their paths, if it is not called as
            usual; repeat where tables differ.
        label_column: Column with the labels; of tar shards, an extension or a key of JSON; repeat.
        device: auto, cpu, cuda, or mps (untested).
        threads: CPU threads.
        seed: Of the split of a reference without one.
        as_adapter: Where F is a LoRA folder, write it scaled to alpha instead of the whole model.
        evaluate: Runs once an alpha, with {model}, {alpha}, {output} and {device} filled in; prints
            lines such as {"set": "test", "id": "s1", "score": 1}, or writes results to {output}.
        held_out: With --evaluate: the set that alpha is chosen on.
        metric: With --evaluate: where a set has several; repeat.
        jobs: With --evaluate: evaluations at a time, each with a model on the disk. Default: 1.
        budget: With --evaluate: how many alphas of the grid are evaluated. Default: all.
    """
    options = dict(locals())
    from wiseft.thetas.preprocessing import Preprocessing
    from wiseft.tool.show import summary
    from wiseft.tool.sweep import ALPHAS
    from wiseft.tool.sweep import sweep as run_sweep
    from wiseft.zeroshot.prompts import parse_templates

    if evaluate or held_out or metric or budget or jobs > 1:
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
        templates=parse_templates(templates) if templates else None,
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
    from wiseft.tool.own_sweep import ALPHAS, sweep_with

    if evaluate is None or held_out is None:
        raise WiseftError("an evaluation of your own needs both --evaluate and --held-out")
    names = {"shifts": given.pop("shift"), "metrics": given.pop("metric") or ()}
    names["keep"] = given.pop("keep") or ()
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
        theta: A theta of this program.
        like: The checkpoint whose format it gets; or its name.
        output: A new file, or folder where LIKE is one.
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
        licence: As the hub abbreviates it. Default: none is named.
        base_model: owner/name on the hub; repeat. Default: as the checkpoints say.
        replace: A card that differs.
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
        repository: owner/name; made if new.
        private: If it is new.
    """
    from wiseft.tool.hub import push

    typer.echo(push(folder, repository, private))
