"""Folders of models, which somebody else may have made: no link out of them is followed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from wiseft.errors import WiseftError

PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Files that say how transformers prepares images; the second, by newer versions, goes first."""

NEEDED = (
    *("config.json", "open_clip_config.json", "generation_config.json", "processor_config.json"),
    *("preprocessor_config.json", "video_preprocessor_config.json", "tokenizer_config.json"),
    *("tokenizer.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt"),
    *("merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tekken.json"),
    *("chat_template.json", "chat_template.jinja", "normalizer.json", "spm.model", "source.spm"),
    *("target.spm", "policy_preprocessor.json", "policy_postprocessor.json"),
)
"""Files beside the weights that a library loads the model with; no code, and nothing else."""
STATISTICS = re.compile(r"policy_(pre|post)processor_step_\d+_\w+\.safetensors")
"""Files in which LeRobot keeps what it normalises by."""
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_follow: ContextVar[bool] = ContextVar("follow_links", default=False)


@contextmanager
def following_links(follow: bool) -> Iterator[None]:
    """Follow links out of folders of models while the block lasts, where they are the user's."""
    token = _follow.set(follow)
    try:
        yield
    finally:
        _follow.reset(token)


def inside(path: Path) -> Path:
    """Return a file of a folder, unless it is a link out of it.

    The cache of the hub has all its files as links, `snapshots/<commit>/<file>` to `blobs/<sum>`.

    Raises:
        WiseftError: if it is such a link, which may lead to any file of the user's.
    """
    if path.is_symlink() and not _follow.get():
        folder, target = (Path(os.path.realpath(each)) for each in (path.parent, path))
        allowed = target.is_relative_to(folder) or _in_hub_cache(folder, target)
        if not (allowed or is_of_names(folder)):
            raise WiseftError(
                f"{path} is a link out of its folder, to {target}, and is not followed. Put a copy "
                "of the file in its place; in a folder of your own, merge, sweep and export take "
                "--follow-links"
            )
    return path


def _in_hub_cache(folder: Path, target: Path) -> bool:
    within = [each.parent for each in (folder, *folder.parents) if each.name == "snapshots"]
    own = any(target.parent == each / "blobs" for each in within)
    # One store for all repositories of a cache: `blobs/<begin>/<sum>`.
    own |= any(target.parent == each.parent / "blobs" / target.name[:2] for each in within)
    return own and _BLOB.fullmatch(target.name) is not None


def folder_of_names() -> Path:
    """Return where the folders of `wiseft.foreign.named` are: in the Hub's cache of assets."""
    from huggingface_hub import constants

    return Path(os.path.realpath(constants.HF_ASSETS_CACHE)) / "wiseft"


def is_of_names(folder: Path) -> bool:
    """Whether a folder is one of those, whose links lead into the Hub's cache."""
    return Path(os.path.realpath(folder)).is_relative_to(folder_of_names())


def is_needed(name: str) -> bool:
    """Whether a library loads a model with a file of this name beside the weights."""
    return name in NEEDED or STATISTICS.fullmatch(name) is not None


def needed_files(folder: Path) -> dict[str, Path]:
    """Return the regular files of a model's folder, by name, that it is loaded with.

    Raises:
        WiseftError: as `inside`.
    """
    there = (inside(path) for path in sorted(folder.iterdir()) if is_needed(path.name))
    return {path.name: path for path in there if path.is_file()}
