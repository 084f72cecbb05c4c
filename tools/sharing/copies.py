"""published/tables: copies in git of the published tables that figures are drawn from.

A clone draws figures from them without DVC and without a remote. They are the tables of data/tables
but for the tidy one as CSV, which is large and which nothing reads; Parquet byte for byte, CSV
compressed. Their MANIFEST.sha256 lists them and names the `data.dvc` that they were published with.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

from tools.sharing.commands import OUTS
from tools.sharing.manifest import NAME, read_manifest, write_manifest

from wiseft.base.io import atomic_path, require_file, sha256_file
from wiseft.errors import WiseftError
from wiseft.study.config import paths
from wiseft.study.targets import Targets
from wiseft.thetas.damage import check_sum, sum_path, write_sum

LIMIT = 2_000_000
"""Bytes of a copy from which on an experiment's tables are left to DVC: git keeps all versions."""
_VERSION = f"# Published with {OUTS} of SHA-256 "


def write_copies(root: Path) -> None:
    """Copy the tables of all published experiments to published/tables, and list them.

    Args:
        root: the project's root, where data/ was published or pulled.

    Raises:
        WiseftError: if a table is not the published one; nothing is copied then.
    """
    folder = root / paths.PUBLISHED
    copies = {root / copy: root / table for copy, table in _copied(root)}
    published = read_manifest(root / paths.DATA)
    for table in copies.values():
        if published.get(table.relative_to(root / paths.DATA).as_posix()) != sha256_file(table):
            raise WiseftError(
                f"{table} is not as {root / paths.DATA / NAME} lists it, so it was never "
                "published; run make publish, which copies the tables too"
            )
    for copy, table in copies.items():
        _write(copy, table)
    listed = sorted([*copies, *map(sum_path, copies)])
    for path in set(_present(folder)) - set(listed):
        path.unlink()
    comment = (
        f"# To check by hand: cd {paths.PUBLISHED} && sha256sum --check --quiet {NAME}\n"
        f"{_VERSION}{sha256_file(require_file(root / OUTS, 'list of DVC'))}\n"
    )
    write_manifest(folder, listed, comment)
    size = sum(path.stat().st_size for path in listed)
    print(f"Copied {len(copies)} tables, {size / 1e6:.1f} MB, to {paths.PUBLISHED}")


def _write(copy: Path, table: Path) -> None:
    content = table.read_bytes()
    # One with the same content stays, whatever another zlib would make of it.
    if not copy.is_file() or _content(copy) != content:
        with atomic_path(copy) as temporary:
            compressed = copy.suffix == ".gz"
            temporary.write_bytes(gzip.compress(content, mtime=0) if compressed else content)
    write_sum(copy, check_sum(table, "table"))


def _content(copy: Path) -> bytes:
    content = copy.read_bytes()
    return gzip.decompress(content) if copy.suffix == ".gz" else content


def _copied(root: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the places of all copies with their tables, from the root."""
    for found in sorted((root / paths.DATA / "tables").glob("*.parquet")):
        name = found.stem
        try:
            files = Targets.read(root, {"experiment": name}).files
        except WiseftError:
            print(f"note: {found} belongs to no experiment in config/, so it is not copied")
            continue
        tables = [path for path in files.table_files() if path != files.tables["table_csv"]]
        record = files.tables["made_with"]  # tables of before have none
        tables = [path for path in tables if path != record or (root / path).is_file()]
        missing = [path for path in tables if not (root / path).is_file()]
        large = [path for path in tables if path not in missing and _large(root / path)]
        if missing or large:
            why = f"{missing[0]} is missing" if missing else f"{large[0]} is too large for git"
            print(f"note: the tables of {name} are not copied: {why}")
            continue
        yield from ((paths.published_path(name, path), path) for path in tables)


def _large(path: Path) -> bool:
    content = path.read_bytes()
    return len(gzip.compress(content) if path.suffix == ".csv" else content) >= LIMIT


def _present(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.rglob("*")) if p.is_file() and p != folder / NAME]
