"""Preparing of a dataset as its entry says: of files, of code, or cut to a preview.

A preview is a dataset cut to N samples a split, under a name of its own. The whole dataset is
prepared and counted first, so the count check stays honest, unless the user says that a part is
there (`datasets.part`): then the preview is drawn from the files. As the name
(``imagenet-limit1000``) stands in every path, table and figure, no preview passes for the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wiseft.errors import WiseftError
from wiseft.images.index import write_index
from wiseft.images.manifest import NAME, Manifest, open_manifest, write_changed
from wiseft.images.split import Indexed, PreparedSplit
from wiseft.images.store import open_arrays, read_index
from wiseft.images.subsets import draw_indices
from wiseft.study.data.fetching.entry_files import read_fetched
from wiseft.study.data.index_files import PREVIEW_SEED, prepare_files
from wiseft.study.data.prepared import write_arrays, write_prepared

if TYPE_CHECKING:
    from wiseft.study.config import Catalogue, DatasetEntry, PackageEntry


def prepare_dataset(
    catalogue: Catalogue,
    dataset: str,
    manifest: Path,
    packages: Sequence[Path] = (),
    depends: Sequence[Path] = (),
    fetched: Path | None = None,
    splits: Sequence[str] = (),
) -> Path:
    """Prepare a dataset of the catalogue.

    Args:
        packages: fetched packages, told apart by their names in config/packages.yaml.
        depends: manifests of the datasets that it is rendered or cut from.
        fetched: record of its files, for a dataset of files, or for a preview of a part of one.
        splits: splits that are wanted of a dataset of files; none: all.

    Raises:
        WiseftError: as `write_prepared`, `prepare_files`; or a manifest is of another dataset.
    """
    if manifest.name != NAME:
        raise WiseftError(f"a prepared dataset's manifest is called {NAME}, found {manifest.name}.")
    entry = catalogue.dataset(dataset)
    bases = {base.dataset: base for base in map(open_manifest, depends)}
    if entry.limit is not None and fetched is None:
        _check_names(dataset, "dataset", entry.depends, bases)
        return _prepare_preview(entry, entry.limit, manifest, bases[entry.bare_name])
    if entry.layout != "arrays":
        if fetched is None:
            raise WiseftError(
                f"dataset {dataset} is made from files: run `wiseft data fetch {dataset}` and give "
                "its record with --fetched."
            )
        reference = entry.label_map and catalogue.dataset(entry.label_map.reference)
        return prepare_files(
            entry,
            read_fetched(fetched),
            manifest,
            list(splits) or list(entry.splits),
            reference.ids if reference else None,
        )
    pins = {key: catalogue.package(key) for key in entry.packages}
    files = {path.name: path for path in packages}
    _check_names(dataset, "package", [pin.file for pin in pins.values()], files)
    inputs = {key: files[pin.file] for key, pin in pins.items()}
    return _build(entry, manifest, inputs, pins, bases, catalogue.folder / "datasets")


def _build(
    entry: DatasetEntry,
    manifest: Path,
    packages: Mapping[str, Path],
    pins: Mapping[str, PackageEntry],
    depends: Mapping[str, Manifest],
    folder: Path,
) -> Path:
    """Build a dataset of layout `arrays` and write its manifest last.

    Args:
        packages: fetched files of the entry's packages by the keys of config/packages.yaml.
        pins: what config/packages.yaml says of them.
        depends: manifests of the prepared datasets that the entry depends on, by name.
        folder: that the entry lies in.

    Raises:
        WiseftError: an input is missing or superfluous, a package has the wrong hash, or the images
            are not those that the entry promises.
    """
    _check_names(entry.name, "dataset", entry.depends, depends)
    sources = [_package_source(key, pin, packages[key]) for key, pin in pins.items()]
    sources += [
        {"dataset": name, "manifest_sha256": depends[name].sha256} for name in entry.depends
    ]
    from wiseft.study.data.builders import BUILDERS, Inputs

    if entry.builder not in BUILDERS:
        known = ", ".join(BUILDERS)
        raise WiseftError(
            f"dataset {entry.name}: unknown builder '{entry.builder}'; there are: {known}."
        )
    paths = {name: base.path for name, base in depends.items()}
    inputs = Inputs(entry.name, packages, paths, entry.splits, entry.options, folder)
    made = BUILDERS[entry.builder](inputs)
    splits, names = (made.splits, made.class_names) if isinstance(made, Indexed) else (made, None)
    names = names or entry.prompt_names
    if len(names) != entry.class_count:
        raise WiseftError(
            f"dataset {entry.name} has {len(names)} classes, but `classes` says "
            f"{entry.class_count}."
        )
    return write_prepared(
        manifest.parent,
        entry.name,
        cast("Mapping[str, PreparedSplit]", splits),
        [several[0] for several in names],
        prompt_names=names,
        sources=[*sources, {"options": entry.options}],
        expected=entry.splits,
    )


def _check_names(dataset: str, what: str, expected: list[str], given: Mapping[str, Any]) -> None:
    if set(expected) != set(given):
        raise WiseftError(
            f"dataset {dataset} is made from the {what}s {expected or 'none'}, found "
            f"{sorted(given) or 'none'}."
        )


def _package_source(key: str, package: PackageEntry, path: Path) -> dict[str, Any]:
    """Check a fetched file and say where its data is from.

    Of MNIST the hashes of its official files are recorded, so that the package leaves no trace in
    the dataset's identity.
    """
    from wiseft.study.data.fetching import mnist_idx, registries

    registries.require_fetched(key, package, path)
    if key == mnist_idx.PACKAGE:
        return {"files": dict(mnist_idx.SHA256)}
    return {"package": f"{package.project}=={package.version}", "sha256": package.sha256}


def _prepare_preview(entry: DatasetEntry, limit: int, manifest: Path, base: Manifest) -> Path:
    """Write the manifest of a preview of a whole dataset."""
    manifest.unlink(missing_ok=True)
    splits = {name: _cut(base, name, limit, manifest.parent) for name in base.splits}
    sources = [{"dataset": base.dataset, "manifest_sha256": base.sha256}]
    changes = {"dataset": entry.name, "splits": splits, "sources": sources}
    return write_changed(manifest, base, **changes, optional={"limit": limit})


def _cut(base: Manifest, split: str, limit: int, folder: Path) -> dict[str, Any]:
    """Write the drawn part of a split; return what the manifest says of it."""
    n = base.splits[split].n
    rows = draw_indices(n, min(limit, n), PREVIEW_SEED)
    index = read_index(base, split).iloc[rows]
    columns = {name: index[name].to_numpy() for name in index.columns}
    if base.layout != "arrays":
        return write_index(folder, split, columns)
    return write_arrays(folder, split, open_arrays(base, base.splits[split])[rows], columns)
