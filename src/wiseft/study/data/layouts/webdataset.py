"""WebDataset shards, unpacked: a folder a shard, and in it the files of all its samples.

The files of one sample share a name up to the first dot (`s0000000.webp` or `s0000000.0.webp`, and
`s0000000.cls`). Images are read as files, so shards are unpacked first: an entry lists each under
`files` with its own folder, such as `into: test/0` for `0.tar`; shards in your own folder you
unpack yourself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from wiseft.errors import WiseftError
from wiseft.images.scan import THREADS, is_image
from wiseft.images.split import Indexed, LayoutInputs
from wiseft.images.tables import text_lines
from wiseft.study.config.layouts import WebdatasetOptions
from wiseft.study.data.layouts.listed import class_labels, listed_split


def read(inputs: LayoutInputs) -> Indexed:
    """Index the samples of each split: shards sorted by name (numbers by size), then by key.

    The label file holds a class id, a class name or a number, the same in all shards that are read.

    Raises:
        WiseftError: no shard is there, or it is still packed; a sample has no image, several, or no
            label; or a label is no class.
    """
    options: WebdatasetOptions = inputs.options
    names = None
    if options.classes is not None and not inputs.class_names:
        names = [line for line in text_lines(inputs.file(options.classes)) if line]
        inputs = replace(inputs, class_names=names)
    samples_of: dict[str, list[tuple[str, str]]] = {}
    for split in inputs.splits:
        shards = _shards(inputs, inputs.of_split("shards", split))
        samples_of[split] = [
            sample for shard in shards for sample in _samples(inputs.root, shard, options.label)
        ]
    texts = {split: _texts(inputs.root, samples) for split, samples in samples_of.items()}
    every = (text for split in texts for text in texts[split])
    classes = class_labels(every, inputs, f"{inputs.root}, .{options.label} files")
    splits = {}
    for split, samples in samples_of.items():
        images, sources = zip(*samples, strict=True) if samples else ((), ())
        labels = [classes.labels[text] for text in texts[split]]
        splits[split] = listed_split(inputs, images, labels, sources)
    return Indexed(splits, class_names=[[name] for name in names] if names else classes.names)


def _shards(inputs: LayoutInputs, pattern: str) -> list[Path]:
    """Return the folders of the unpacked shards; the pattern may be that of the shards."""
    bare = pattern.removesuffix(".tar")
    if folders := [path for path in inputs.root.glob(bare) if path.is_dir()]:
        return sorted(folders, key=lambda path: _natural(path.relative_to(inputs.root).as_posix()))
    if packed := sorted(inputs.root.glob(f"{bare}.tar")):
        inside = packed[0].relative_to(inputs.root).with_suffix("").as_posix()
        raise WiseftError(
            f"{packed[0]} is a packed shard, but layout webdataset reads unpacked ones. List each "
            f"under `files` in the dataset's entry, this one with `into: {inside}`, or unpack each "
            f"into a folder of its name ({inside}/)."
        )
    raise WiseftError(
        f"dataset {inputs.dataset}: expected folders of unpacked shards {bare} in {inputs.root}, "
        "found none. Unpack them there, or correct `shards` in the dataset's options."
    )


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Return a key that sorts shard `10` behind shard `9`."""
    return tuple(
        (0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part
    )


def _samples(root: Path, shard: Path, label: str) -> list[tuple[str, str]]:
    """Return image and label file of each sample of a shard, relative to the root, by key."""
    images: dict[str, str] = {}
    labels: dict[str, str] = {}
    for path in _files(root, shard):
        folder, _, name = path.rpartition("/")
        stem, _, extension = name.partition(".")
        key = f"{folder}/{stem}"
        if is_image(name):
            if key in images:
                raise WiseftError(
                    f"{root / path}: expected one image a sample, found also {images[key]}. Leave "
                    "one of them."
                )
            images[key] = path
        elif extension == label:
            labels[key] = path
    for key in sorted(images.keys() ^ labels.keys()):
        missing = f"label {key}.{label}" if key in images else "image"
        raise WiseftError(
            f"{root / (images | labels)[key]} has no {missing} beside it; unpacking was "
            "interrupted, or `label` in the dataset's options is wrong."
        )
    return [(images[key], labels[key]) for key in sorted(images)]


def _files(root: Path, folder: Path) -> Iterable[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _files(root, Path(entry.path))
            else:
                yield Path(entry.path).relative_to(root).as_posix()


def _texts(root: Path, samples: Sequence[tuple[str, str]]) -> list[str]:
    """Return what the label files hold."""

    def text(path: str) -> str:
        try:
            content = (root / path).read_text(encoding="utf-8").strip()
        except UnicodeDecodeError:
            content = ""
        if not content or "\n" in content:
            raise WiseftError(
                f"{root / path}: expected a class id, a class name or a number as text, found "
                f"{content.count(chr(10)) + 1 if content else 'none'}. Correct the file, or "
                "`label` in the dataset's options."
            )
        return content

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(text, (label for _, label in samples)))
