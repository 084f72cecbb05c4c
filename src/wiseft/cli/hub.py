"""`wiseft card` and `wiseft push`: the model of a sweep on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Sweep = Annotated[Path, typer.Argument(metavar="OUT", help="A folder of `wiseft sweep`.")]
Licence = typer.Option("--license", help="As the hub abbreviates it. Default: none is named.")
BaseModel = typer.Option(help="owner/name on the hub; repeat. Default: as the checkpoints say.")


def card(
    folder: Sweep,
    licence: Annotated[str | None, Licence] = None,
    base_model: Annotated[list[str] | None, BaseModel] = None,
    replace: Annotated[bool, typer.Option("--replace", help="A card that differs.")] = False,
) -> None:
    """Write the model card of a sweep, OUT/model/README.md, for the Hugging Face hub.

    Example: wiseft card out --license mit
    """
    from wiseft.tool.hub import write_card

    path = write_card(folder, licence, base_model, replace)
    todo = "read it" if licence else "read it, name a licence in it"
    typer.echo(f"{path}: {todo}, then: wiseft push {folder} OWNER/NAME")


def push(
    folder: Sweep,
    repository: Annotated[str, typer.Argument(metavar="REPO", help="owner/name; made if new.")],
    private: Annotated[bool, typer.Option("--private", help="If it is new.")] = False,
) -> None:
    """Upload the model of a sweep and its card to the Hugging Face hub.

    Example: wiseft push out me/robust-birds
    """
    from wiseft.tool.hub import push

    typer.echo(push(folder, repository, private))
