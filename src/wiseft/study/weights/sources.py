"""Where a model comes from: an entry of the catalogue, or a tag such as `ViT-B-32/openai`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from wiseft.errors import WiseftError
from wiseft.foreign.architecture import named_architecture
from wiseft.foreign.named import HUB, TIMM, open_clip_tag, tag_files, timm_repository
from wiseft.models.towers import timm_models
from wiseft.models.towers.open_clip_models import preprocessing
from wiseft.study.config.entries import ModelEntry

ALIGN = "align:"
TRANSFORMERS = ("model.safetensors", "pytorch_model.bin")
"""Names of weights in a repository of transformers or timm."""
_REPOSITORY = re.compile(r"([\w.-]+/[\w.-]+)(?:@([0-9a-f]{40}))?")


@dataclass(frozen=True)
class Source:
    """A model to bring.

    Attributes:
        name: of the entry, or the tag; names the folder that files are kept in.
        spec: what was asked for, in full.
        architecture: None where a file of the repository or folder says it.
        preprocessing: what the tag says of it, by keys of `Preprocessing`.
        given: what the user says of it, which goes first.
        repository: of the hub, with the names that the weights may have there, the best first.
        files: these names.
        revision: commit of the repository; None: not pinned.
        sha256: of the weights in the repository or at `path`; None: not pinned.
        url: address of the weights.
        url_sha256: checksum that the address carries, all 64 digits or the first 8.
        path: file or folder on this machine; with `member`, the package.
        member: the checkpoint in a package.
        notes: sentences for the user.
    """

    name: str
    spec: str
    architecture: dict[str, Any] | None = None
    preprocessing: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)
    repository: str | None = None
    files: tuple[str, ...] = ()
    revision: str | None = None
    sha256: str | None = None
    url: str | None = None
    url_sha256: str | None = None
    path: Path | None = None
    member: str | None = None
    notes: tuple[str, ...] = field(default=())


def from_entry(entry: ModelEntry, root: Path) -> Source:
    """Return the source of an entry.

    Args:
        root: the project's root, which paths of entries are relative to.

    Raises:
        WiseftError: if nothing can be fetched for the entry, or its architecture or tag is unknown.
    """
    if entry.source == "pretrain":
        raise WiseftError(
            f"model {entry.name} is pre-trained by the workflow (`wiseft pretrain`); there is "
            "nothing to fetch"
        )
    if entry.source == "file":
        source = _local(entry, root)
    elif entry.source == "open_clip" and entry.repository is None:
        assert entry.architecture is not None and entry.pretrained is not None
        source = from_open_clip(entry.architecture, entry.pretrained)
    elif entry.source == "open_clip":
        source = from_tag(f"{HUB}{entry.repository}")
    elif entry.source == "align":
        source = from_tag(f"{ALIGN}{entry.repository}")
    else:
        source = from_tag(f"{TIMM}{entry.architecture}")
        assert source.architecture is not None
        sized = timm_models.at_size(source.architecture, entry.preprocessing.size)
        source = replace(source, architecture=sized)
        if entry.repository:
            source = replace(source, repository=entry.repository)
    pinned = {"revision": entry.revision, "sha256": entry.sha256}
    return replace(
        source,
        name=entry.name,
        given=entry.preprocessing.given(),
        **{key: value for key, value in pinned.items() if value is not None},  # type: ignore[arg-type]
    )


def from_tag(tag: str, architecture: str | None = None, root: Path = Path()) -> Source:
    """Return the source that a tag names.

    Args:
        tag: `ARCHITECTURE/TAG` of open_clip; `hf-hub:ORGANISATION/NAME` (a repository of open_clip,
            or of a CLIPModel) or `align:...`, both perhaps with `@REVISION`; `timm:MODEL.TAG`; a
            file or folder.
        architecture: of a file: a name of open_clip or timm, or a JSON file.
        root: that a file of the catalogue is looked for below.

    Raises:
        WiseftError: if there is no such tag; names the nearest.
    """
    path = Path(tag)
    if path.exists():
        described = named_architecture(architecture, root) if architecture else None
        return Source(path.stem, tag, architecture=described, path=path)
    if tag.startswith((HUB, ALIGN)):
        name = tag.split(":", 1)[1]
        if (match := _REPOSITORY.fullmatch(name)) is None:
            raise WiseftError(
                f"{tag}: expected ORGANISATION/NAME, perhaps with @ and a commit of 40 hex "
                f"digits, found {name}"
            )
        repository, revision = match.groups()
        files = tag_files("") if tag.startswith(HUB) else TRANSFORMERS
        return Source(_slug(repository), tag, repository=repository, files=files, revision=revision)
    if tag.startswith(TIMM):
        return _timm(tag.removeprefix(TIMM))
    name, separator, pretrained = tag.rpartition("/" if "/" in tag else ":")
    if not separator:
        raise WiseftError(
            f"{tag} is neither an entry of config/models nor a file; a tag is ARCHITECTURE/TAG "
            f"such as ViT-B-32/openai, {HUB}ORGANISATION/NAME, {ALIGN}ORGANISATION/NAME or "
            f"{TIMM}MODEL.TAG"
        )
    return from_open_clip(name, pretrained)


def from_open_clip(name: str, pretrained: str) -> Source:
    """Return the source of an architecture and a pretrained tag of open_clip.

    Where the weights were trained with QuickGELU, the architecture has it too, whatever its name.

    Raises:
        WiseftError: if there is no such architecture or tag; names the nearest.
    """
    name = name.replace("/", "-")
    config, tag, note = open_clip_tag(name, pretrained)
    name = f"{name}-quickgelu" if note else name
    repository, _, file = tag.get("hf_hub", "").rpartition("/")
    url = tag.get("url") or None
    return Source(
        _slug(f"{name}-{pretrained}"),
        f"{name}/{pretrained}",
        architecture=config,
        preprocessing=preprocessing(tag),
        repository=repository or None,
        files=tag_files(file),
        url=url,
        url_sha256=_checksum_in(url) if url else None,
        notes=(note,) if note else (),
    )


def _checksum_in(url: str) -> str | None:
    """Return the SHA-256 that an address carries, or its first eight digits (open_clip's rule)."""
    *_, folder, file = url.split("/")
    if "openaipublic" in url and re.fullmatch(r"[0-9a-f]{64}", folder):
        return folder
    match = re.search(r"-([0-9a-f]{8})\.pth?$", file) if "mlfoundations" in url else None
    return match[1] if match else None


def _timm(name: str) -> Source:
    from timm.models import get_pretrained_cfg

    architecture = timm_models.describe(name)
    if "." not in name:
        raise WiseftError(
            f"timm has no weights {name} on the hub; add a tag after a dot, as in "
            "vit_base_patch16_224.augreg_in21k"
        )
    repository, config = timm_repository(name), cast(Any, get_pretrained_cfg(name))
    return Source(
        _slug(name),
        f"{TIMM}{name}",
        architecture=architecture,
        preprocessing=timm_models.preprocessing(config.to_dict()),
        repository=repository,
        files=TRANSFORMERS,
    )


def _local(entry: ModelEntry, root: Path) -> Source:
    if entry.path is None:
        raise WiseftError(
            f"model {entry.name} has `source: file` without `path`: you put weights.safetensors "
            "in its folder; there is nothing to fetch"
        )
    path = root / entry.path
    described = named_architecture(entry.architecture, root) if entry.architecture else None
    return Source(entry.name, str(entry.path), architecture=described, path=path)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")
