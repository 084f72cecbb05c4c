"""Options that several commands have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperArgument, TyperCommand, TyperOption

if TYPE_CHECKING:
    import torch

    from wiseft.combine.recipe_settings import Recipe

M = TypeVar("M")


def take_gpus(device: str, count: int = 1) -> None:
    """Take free GPUs for this command (see `wiseft.models.gpus.choose`), if it may use any.

    To be called before anything asks CUDA for its devices. 0 where somebody chose them for it.
    """
    import torch

    from wiseft.models.gpus import choose

    if device in ("auto", "cuda") and torch.version.cuda:
        choose(count)


def start_job(
    threads: int, device: str, deterministic: bool = False, gpus: int = 1, mps: bool = False
) -> torch.device:
    """Take GPUs and start torch, as `wiseft.models.runtime.start_torch` does."""
    from wiseft.models.runtime import start_torch

    take_gpus(device, gpus)
    return start_torch(threads, device, deterministic, mps)


class Documented(TyperCommand):
    """A command whose options are explained in its docstring, under `Args:`.

    An option that several commands have is explained in its annotation, mostly in this file.
    """

    def __init__(self, *given: Any, help: str | None = None, **more: Any) -> None:
        text, _, explained = (help or "").partition("\n\nArgs:\n")
        super().__init__(*given, help=text, **more)
        pairs = re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", explained, re.MULTILINE)
        texts = {name: text for names, text in pairs for name in names.split(", ")}
        for parameter in self.params:
            if isinstance(parameter, TyperArgument | TyperOption) and parameter.name in texts:
                parameter.help = " ".join(texts[parameter.name].split())

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Let `--data A B` mean `--data A --data B`, where the option may be repeated."""
        if any("--data" in each.opts and getattr(each, "multiple", False) for each in self.params):
            words, args, greedy = args, [], False
            for word in words:
                greedy = word == "--data" or (greedy and not word.startswith("-"))
                several = greedy and args and args[-1] != "--data" and word != "--data"
                args += ["--data", word] if several else [word]
        return list(super().parse_args(ctx, args))


def _clone(root: Path) -> Path:
    from wiseft.study.config import require_clone

    return require_clone(root)


def _follow_links(context: typer.Context, follow: bool) -> bool:
    from wiseft.foreign.model_folder import following_links

    context.with_resource(following_links(follow))  # until the command ends
    return follow


Root = Annotated[
    Path,
    typer.Option(
        "--root", help="Clone of the repository; this command reads its config/.", callback=_clone
    ),
]
AnyRoot = Annotated[
    Path, typer.Option("--root", help="Clone of the repository, if its config/ should be used.")
]
Datasets = Annotated[
    Path | None,
    typer.Option("--datasets", help="Folder of the datasets. Default: as in config/config.yaml."),
]
Experiment = Annotated[
    str | None, typer.Option("--experiment", help="Experiment. Default: the one in config.yaml.")
]
Device = Annotated[str, typer.Option(help="Device: cpu, cuda, or auto (a GPU if there is one).")]
Precision = Annotated[
    str,
    typer.Option(
        help="Arithmetic of the tower: fp32, bf16, fp16, tf32 (fp32 on a CPU) or auto. auto is "
        "bf16 where that is faster, else fp32."
    ),
]
Threads = Annotated[int, typer.Option(help="CPU threads per process.")]
ThetaZero = Annotated[Path, typer.Option("--theta-0", help="Theta file of the zero-shot model.")]
ThetaOne = Annotated[Path, typer.Option("--theta-1", help="The trained theta file to write.")]
Curve = Annotated[Path, typer.Option(help="CSV file to write: the training curve.")]
Preprocessing = Annotated[str, typer.Option(help="As in config/models: JSON or @file.yaml.")]
Features = Annotated[
    Path | None,
    typer.Option(
        envvar="WISEFT_FEATURES",
        help="Folder that keeps the features of frozen image towers for later runs.",
    ),
]
WeightsKey = Annotated[
    str | None,
    typer.Option("--weights", help="Key of the weights in a .pt file, e.g. state_dict_ema."),
]
HeadFeatures = Annotated[
    str | None,
    typer.Option(
        "--features",
        help="Features that the head takes: raw (as the image tower gives them) or normalised "
        "(to L2 norm 1).",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        envvar="WISEFT_BATCH_SIZE",
        help="Images in a forward pass. Default: 500, and fewer if the images are large on a CPU "
        "or do not fit the memory of the GPU.",
    ),
]
SkipBroken = Annotated[
    bool,
    typer.Option(
        "--skip-broken", help="Leave out files that cannot be read as images, and list them."
    ),
]
FollowLinks = Annotated[
    bool,
    typer.Option(
        "--follow-links",
        help="Follow links that lead out of a model's folder; only for your own folders.",
        callback=_follow_links,
    ),
]


def datasets_folder(root: Path, datasets: Path | None) -> Path:
    """Return the folder of the datasets: the given one, else the configuration's, if it is there.

    Raises:
        WiseftError: if the configuration is wrong.
    """
    from wiseft.study.config import load_config

    if datasets is not None:
        return datasets
    config = root / "config" / "config.yaml"
    return root / (load_config(config).datasets.folder if config.is_file() else "datasets")


def parsed(form: type[M], text: str | None, option: str) -> M | None:
    """Return what an option says, as JSON or in a file behind an @; None if it is not given.

    Raises:
        WiseftError: as `parse_settings` does.
    """
    from wiseft.base.loading import parse_settings

    return parse_settings(form, text, option) if text else None


def list_broken(files: list[str]) -> None:
    """Print which files were left out, and why."""
    if files:
        typer.echo("\n  ".join([f"left out {len(files):,}:", *files]), err=True)


def parse_templates(text: str, option: str = "--prompts") -> list[str]:
    """Return the templates of a JSON list, e.g. `["a photo of the number {c}"]`.

    Args:
        text: the list itself, or `@` and the name of a file that holds it.
        option: where it was given, for messages.

    Raises:
        WiseftError: if the text is not a JSON list of different strings that each hold `{c}` or
            `{a_c}`, or the file is missing.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.zeroshot.prompts import Templates

    return parse_settings(Templates, text, option)


def parse_recipe(text: str, inputs: Mapping[str, list[Path]]) -> Recipe:
    """Return a recipe given as JSON, or as `@` and the name of a YAML or JSON file.

    Args:
        inputs: files by the name of the input, `thetas` among them.

    Raises:
        WiseftError: a sentence for every key or input that is unknown, missing or wrong.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.combine.recipe_settings import make_recipe

    recipe = parse_settings(dict[str, Any], text, "--recipe")
    return make_recipe(recipe, inputs, "--recipe", f"{recipe.get('kind')}, --input")
