"""Models by name: repositories of the Hugging Face Hub, tags of open_clip and models of timm.

A name becomes a file or folder of this machine before `wiseft.foreign.door` opens it. The Hub's own
library fetches the files into its cache. What is opened is a folder with links to exactly those
that describe and hold one model, whatever else another program has put into that cache.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wiseft.base.io import atomic_folder, json_text, read_object, sha256_json
from wiseft.base.locks import exclusive
from wiseft.errors import WiseftError, some
from wiseft.foreign.class_names import CLASSES, FEATURES, HEAD, MODELS
from wiseft.foreign.formats import CONFIGS, DIFFUSION_INDEX, INDEX, TORCH_INDEX, WEIGHT_FILES
from wiseft.foreign.model_folder import NEEDED, folder_of_names, is_needed, is_of_names

log = logging.getLogger(__name__)

HUB, TIMM = "hf-hub:", "timm:"
"""What names begin with that are no tags of open_clip."""
_HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:/([^@]+))?(?:@(.+))?")
_FORMS = (
    *((CONFIGS[0], name) for name in WEIGHT_FILES[:2]),
    *((CONFIGS[1], name) for name in (WEIGHT_FILES[3], INDEX)),
    *((CONFIGS[1], name) for name in (WEIGHT_FILES[5], DIFFUSION_INDEX)),
    (CONFIGS[0], WEIGHT_FILES[2]),
    *((CONFIGS[1], name) for name in (WEIGHT_FILES[4], TORCH_INDEX)),
    *(("adapter_config.json", f"adapter_model.{end}") for end in ("safetensors", "bin")),
)
"""What a repository may hold, by configuration and weights, the best first: no pickle where there
are safetensors."""
_BESIDE = (HEAD, CLASSES, FEATURES)
_ORIGIN = "origin.json"
"""Beside the links: repository and revision."""


def local_path(where: Path | str) -> Path:
    """Return the file or folder of a model; what a name stands for is fetched first.

    Whatever is there is a path, whatever it is called. Else `hf-hub:OWNER/NAME[/FILE][@REVISION]`,
    `timm:MODEL[.TAG]` and, for an architecture of open_clip, `ARCHITECTURE/TAG` are names.

    Raises:
        WiseftError: if there is no such name (names the nearest), the Hub refuses, or cannot be
            reached and its cache has not all of it, or nothing says which file is meant.
    """
    path, name = Path(where), str(where)
    if path.exists() or path.is_symlink():
        return path
    if name.startswith(HUB):
        return _of_hub(name)
    if name.startswith(TIMM):
        return _model(_snapshot(name, timm_repository(name.removeprefix(TIMM))), CONFIGS[1])
    if path.is_absolute() or ".." in path.parts or path.suffix in MODELS:
        return path
    import open_clip
    import timm

    model, _, tag = name.rpartition("/")
    model = model.replace("/", "-")
    if model in open_clip.list_models():
        return _tagged(name, model, tag)
    known = [*open_clip.list_models(), *timm.list_pretrained()]
    alike = ", ".join(difflib.get_close_matches(model or name, known, n=3, cutoff=0.7))
    forms = f"{HUB}OWNER/NAME, {TIMM}MODEL or ARCHITECTURE/TAG of open_clip"
    nearest = f"; near: {alike}" if alike else ""
    raise WiseftError(f"{name} is no file, no folder and no name, which is {forms}{nearest}")


def origin(path: Path) -> dict[str, str]:
    """Return `repository` and `revision` of what came by a name; nothing of others."""
    folder = path if path.is_dir() else path.parent
    return read_object(folder / _ORIGIN) if is_of_names(folder) else {}


def near(name: str, names: Iterable[str]) -> str:
    """Return the five names that are most like a name; else the first five."""
    names = list(names)
    return ", ".join(difflib.get_close_matches(name, names, n=5, cutoff=0.3) or names[:5])


# ------------------------------------------------------------------------- lists of the libraries


def timm_repository(name: str) -> str:
    """Return the repository that timm has for a model.

    Raises:
        WiseftError: if timm has no such weights on the Hub; names the nearest.
    """
    import timm
    from timm.models import get_pretrained_cfg

    known = timm.list_pretrained()
    there = name in known or ("." not in name and timm.is_model(name))
    repository = there and getattr(get_pretrained_cfg(name), "hf_hub_id", None)
    if not repository:
        raise WiseftError(f"timm has no weights {name} on the hub; near: {near(name, known)}")
    return f"timm/{name}" if repository == "timm/" else str(repository)


def open_clip_tag(name: str, pretrained: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return what open_clip has of an architecture and a tag: model config, tag, and a note.

    Where the weights were trained with QuickGELU, the architecture has it too, whatever its name;
    then the note says so.

    Raises:
        WiseftError: if there is no such architecture or tag; names the nearest.
    """
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        names = open_clip.list_models()
        raise WiseftError(f"open_clip has no architecture {name}; near: {near(name, names)}")
    tag = get_pretrained_cfg(name, pretrained)
    if not tag:
        raise WiseftError(_no_tag(name, pretrained))
    if not tag.get("quick_gelu") or config.get("quick_gelu"):
        return config, tag, ""
    note = f"the weights {pretrained} were trained with QuickGELU, so {name} is taken as"
    return config | {"quick_gelu": True}, tag, f"{note} {name}-quickgelu"


def _no_tag(name: str, pretrained: str) -> str:
    """Return that an architecture has no such tag, with the nearest that it and others have."""
    from open_clip.pretrained import list_pretrained_models_by_tag, list_pretrained_tags_by_model

    own = list_pretrained_tags_by_model(name)
    ordered = difflib.get_close_matches(pretrained, own, n=len(own) or 1, cutoff=0.0)
    tags = some([f"{name}/{tag}" for tag in ordered], 6) or "none at all"
    message = f"open_clip has no weights {name}/{pretrained}; {name} has: {tags}"
    if others := list_pretrained_models_by_tag(pretrained):
        message += f"; {pretrained} is a tag of: {near(name, others)}"
    return message


def tag_files(file: str) -> tuple[str, ...]:
    """Return the names that the weights of a tag may have in a repository, safetensors first.

    Args:
        file: as open_clip's table names it; empty: as open_clip saves it.
    """
    if not file:
        return WEIGHT_FILES[0], WEIGHT_FILES[2]
    if (suffix := Path(file).suffix) in (".bin", ".pth", ".pt"):
        return f"{file.removesuffix(suffix)}.safetensors", file
    return (file,)


def text_revision(repository: str) -> str | None:
    """Return the commit at which a repository is asked that open_clip names for text towers."""
    return read_object(Path(__file__).with_name("text_revisions.json")).get(repository)


# ------------------------------------------------------------------------------------- repositories


@dataclass(frozen=True)
class _Snapshot:
    """A folder of a repository at one commit.

    Attributes:
        name: that the user gave.
        files: by their names in the folder.
        start: of their names in the repository.
    """

    name: str
    repository: str
    commit: str
    files: frozenset[str]
    start: str = ""

    def below(self, folder: str) -> _Snapshot:
        """Return a folder of it, which may have no files."""
        start = f"{folder}/" if folder else ""
        files = (name.removeprefix(start) for name in self.files if name.startswith(start))
        return replace(self, files=frozenset(files), start=self.start + start)

    def fetch(self, names: Iterable[str]) -> dict[str, str]:
        """Return where those of some files that it has are in the Hub's cache, by name."""
        from huggingface_hub import hf_hub_download

        from wiseft.foreign.hub_client import asking

        with asking(self.repository, self.commit) as options:
            return {
                name: hf_hub_download(filename=self.start + name, **options)
                for name in names
                if name in self.files
            }


def _snapshot(name: str, repository: str, revision: str | None = None) -> _Snapshot:
    """Return a repository at the commit of a revision; without a network, at that in the cache."""
    from huggingface_hub import errors, get_cached_repo_tree, snapshot_download

    from wiseft.foreign.hub_client import asking

    with asking(repository, revision) as options:
        few = ["*config.json", ".gitattributes"]  # with them the list of all files comes to stay
        folder = Path(snapshot_download(allow_patterns=few, **options))
    try:
        tree = get_cached_repo_tree(repository, revision=folder.name)
        files = [file.path for file in tree]
    except errors.CachedRepoTreeNotFoundError:  # another program fetched it, file by file
        there = (each for each in folder.rglob("*") if each.is_file())
        files = [each.relative_to(folder).as_posix() for each in there]
        log.info(f"{name}: taken as it lies in the hub's cache, which may lack files of it")
    return _Snapshot(name, repository, folder.name, frozenset(files))


def _of_hub(name: str) -> Path:
    if (match := _HUB_NAME.fullmatch(name.removeprefix(HUB))) is None:
        raise WiseftError(f"{name}: expected {HUB}OWNER/NAME, perhaps with /FILE and @REVISION")
    repository, below, revision = match.groups()
    snapshot = _snapshot(name, repository, revision)
    if below in snapshot.files:
        folder, _, file = below.rpartition("/")
        inner = snapshot.below(folder)
        return _linked(inner, inner.fetch([file, *_BESIDE])) / file
    inner = snapshot.below(below or "")
    if not inner.files:
        raise WiseftError(f"{repository} has no {below}; near: {near(below, snapshot.files)}")
    return _model(inner)


def _model(snapshot: _Snapshot, only: str | None = None) -> Path:
    """Return the model of a folder of a repository.

    Args:
        only: the configuration that it must have.
    """
    files = snapshot.files
    for config, weights in _FORMS:
        if {config, weights} <= files and only in (None, config):
            needed = (name for name in sorted(files) if is_needed(name))
            beside = [name for name in (*needed, *_BESIDE) if name not in CONFIGS]
            return _linked(snapshot, snapshot.fetch([config, *beside, *_parts(weights, files)]))
    loose = [n for n in sorted(files - {HEAD}) if "/" not in n and Path(n).suffix in MODELS]
    safe = {Path(name).stem for name in loose if name.endswith(".safetensors")}
    loose = [n for n in loose if n.endswith(".safetensors") or Path(n).stem not in safe]
    if len(loose) == 1 and only is None:
        return _linked(snapshot, snapshot.fetch([*loose, *_BESIDE])) / loose[0]
    one = f"{HUB}{snapshot.repository}/{snapshot.start}FILE"
    has = some(loose or sorted(files), 8)
    raise WiseftError(f"{snapshot.name} does not say which file is the model; name {one} of: {has}")


def _parts(weights: str, files: Iterable[str]) -> list[str]:
    """Return a file of weights, or an index and its files."""
    stem, end, *index = weights.split(".")
    part = re.compile(rf"{stem}-\d{{5}}-of-\d{{5}}\.{end}")
    return [weights, *(sorted(filter(part.fullmatch, files)) if index else ())]


def _tagged(name: str, model: str, pretrained: str) -> Path:
    """Return a folder as open_clip saves it, with what its table says of the weights."""
    config, tag, note = open_clip_tag(model, pretrained)
    repository, _, file = tag.get("hf_hub", "").rpartition("/")
    text = config["text_cfg"]
    if not repository or text.get("hf_model_name"):
        why = "its text tower is of transformers" if repository else "it is not on the hub"
        raise WiseftError(f"{name}: {why}; run `wiseft weights {name} --output FILE`, give FILE")
    if note:
        log.info(f"note: {note}")
    snapshot = _snapshot(name, repository)
    weights = next((each for each in tag_files(file) if each in snapshot.files), None)
    if weights is None:
        raise WiseftError(f"{name}: {repository} has none of {', '.join(tag_files(file))}")
    kept = WEIGHT_FILES[0 if weights.endswith(".safetensors") else 2]
    found = {kept: snapshot.fetch([weights])[weights]}
    if tokens := text.get("hf_tokenizer_name"):
        own = tokens == repository
        other = snapshot if own else _snapshot(name, tokens, text_revision(tokens))
        found |= other.fetch(NEEDED[NEEDED.index("tokenizer_config.json") :])
    pixels = {
        key: tag[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in tag
    }
    described = json_text({"model_cfg": config, "preprocess_cfg": pixels})
    return _linked(snapshot, found, {CONFIGS[0]: described})


def _linked(
    snapshot: _Snapshot, found: Mapping[str, str], texts: Mapping[str, str] | None = None
) -> Path:
    """Return a folder with links to files of the Hub's cache, and with others that are written."""
    source = {"repository": snapshot.repository, "revision": snapshot.commit}
    written = {**(texts or {}), _ORIGIN: json_text(source)}
    place = f"{snapshot.repository.replace('/', '--')}@{snapshot.commit[:12]}"
    folder = folder_of_names() / place / sha256_json([found, written])[:12]
    with exclusive(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            with atomic_folder(folder) as new:
                for file, target in found.items():
                    (new / file).symlink_to(target)
                for file, content in written.items():
                    (new / file).write_text(content)
    held = some([each for each in found if Path(each).suffix in MODELS], 6)
    log.info(f"{snapshot.name}: {held} of {snapshot.repository}, revision {snapshot.commit}")
    return folder
