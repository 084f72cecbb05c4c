"""All that an experiment fetches, made up: its datasets, models and prompt sets, and a catalogue
that pins them.

The catalogue is a copy of the project's in which checksums, sizes and numbers of images are those
of the made-up files, and architectures are tiny. Nothing in the code that fetches, checks, unpacks
and converts knows of a rehearsal.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tools.rehearsal.datasets import HELD_OUT, SHOTS, write_files

from wiseft.base.io import read_json, sha256_file, write_json, write_text
from wiseft.study.config import Catalogue, DatasetEntry, ModelEntry
from wiseft.study.config.paths import archives_folder, package_path, prompts_path
from wiseft.study.data.builders.digit_images import draw_indices, sample_ids
from wiseft.study.data.builders.sides import side_record
from wiseft.study.published.addresses import SOURCES, source_path
from wiseft.study.targets import Targets

log = logging.getLogger(__name__)

TRAIN_SAMPLES = 100
"""Images that a train split has at least; of fewer of 120 a draw may lack one of ten classes."""
IMAGES = 120
"""Of a split of a dataset that is made by code, at most: a whole number of digits and
corruptions."""
TEMPLATES = 2
"""Templates of a prompt set: of 80, each would be read for each of 1,000 classes."""
RECORD = "world.json"

Entry = dict[str, Any]


def build(targets: Targets, root: Path) -> None:
    """Make up what an experiment fetches, below a rehearsal's root; what is there is kept.

    Args:
        targets: the experiment, of the project's own catalogue.
        root: has a copy of that catalogue in `config`, whose entries of datasets, models, prompt
            sets and packages are written anew; `datasets` and `outside` get the files.
    """
    world = _World(targets, root)
    for name in targets.data.prepared:
        world.make("datasets", name, world.dataset)
        world.make("prompts", targets.data.entries[name].prompts, world.prompts)
    for model in targets.fetched:
        world.make("models", targets.entry(model).name, world.model)
    world.link_what_is_there()


class _World:
    def __init__(self, targets: Targets, root: Path) -> None:
        self._targets, self._root = targets, root
        self._catalogue = targets.catalogue
        self._folder = root / "datasets"
        self._record = root / RECORD
        self._made: dict[str, list[str]] = read_json(self._record) if self._record.is_file() else {}

    def make(self, kind: str, name: str, how: Callable[[str], Entry]) -> None:
        """Make what an entry is about and write its entry, once."""
        made = self._made.setdefault(kind, [])
        if name in made:
            return
        path = Path(kind) / f"{name}.yaml"
        entry = yaml.safe_load((self._catalogue.folder / path).read_text(encoding="utf-8"))
        changed = {k: v for k, v in {**entry, **how(name)}.items() if v is not None}
        target = self._root / "config" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, yaml.safe_dump(changed, sort_keys=False, allow_unicode=True))
        made.append(name)
        write_json(self._record, self._made)
        log.info("%s: made up", path.with_suffix(""))

    def dataset(self, name: str) -> Entry:
        """Write a dataset's files; return what its entry says instead."""
        entry = self._targets.data.entries[name]
        if entry.layout == "arrays":
            return self._built(entry)
        archives = archives_folder(entry.archives or name, self._folder)
        made = write_files(entry, archives)
        files = [self._pinned(file.model_dump(), archives) for file in entry.files]
        options = entry.options | made.options
        return {"files": files, "disk_gb": 0.01, "options": options, **_counts(entry, made.labels)}

    def _built(self, entry: DatasetEntry) -> Entry:
        """Return the entry of a dataset that is made by code, of fewer images."""
        if entry.builder == "sides":
            return self._side(entry)
        if entry.builder == "icons":  # draws nothing at random, and few
            return {}
        if entry.builder != "corruptions":
            each = 10 * len(entry.packages) if entry.builder == "fonts" else 1  # digits of a family
            few = IMAGES // each * each
            return {"splits": {split: min(n, few) for split, n in entry.splits.items()}}
        cells = entry.splits["test"] // entry.options["samples"]
        base = Catalogue(self._root).dataset(entry.depends[0])
        samples = min(entry.options["samples"], base.splits["test"])
        return {
            "splits": {"test": samples * cells},
            "options": entry.options | {"samples": samples},
        }

    def _side(self, entry: DatasetEntry) -> Entry:
        """Put every other image of the base on each side, in a file beside the entry."""
        base = Catalogue(self._root).dataset(entry.options["base"])
        draw = base.held_out
        assert draw is not None
        n = base.splits[draw.of] + draw.count
        chosen = draw_indices(n, draw.count, draw.seed)
        rows = {
            draw.of: np.setdiff1d(np.arange(n), chosen),
            "held-out": chosen,
            "test": np.arange(base.splits["test"]),
        }
        ids = {
            split: sample_ids(f"{base.name}/{'test' if split == 'test' else draw.of}", of)
            for split, of in rows.items()
        }
        upper = {split: np.arange(len(of)) % 2 == 0 for split, of in rows.items()}
        path = self._root / "config" / "datasets" / entry.options["sides"]
        write_json(path, {split: side_record(ids[split], upper[split]) for split in rows})
        is_upper = entry.options["side"] == "upper"
        there = {split: int((above == is_upper).sum()) for split, above in upper.items()}
        return {
            "splits": {split: min(n, there[split]) for split, n in entry.splits.items()},
            "options": entry.options | {"sha256": sha256_file(path)},
        }

    def prompts(self, name: str) -> Entry:
        """Write the file of a prompt set that is fetched; return what its entry says instead."""
        entry = self._catalogue.prompts(name)
        if entry.file is None:
            return {"library": None, "templates": (entry.ready or [])[:TEMPLATES]}
        path = prompts_path(name, self._folder).with_name(entry.file.file)
        others = map(self._catalogue.prompts, self._catalogue.names("prompts"))
        keys = [each.key for each in others if each.file and each.file.file == entry.file.file]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, _templates(path, [key for key in keys if key]))
        return {"file": self._pinned(entry.file.model_dump(), path.parent)}

    def model(self, name: str) -> Entry:
        """Write a model's weights; return what its entry says instead."""
        from tools.rehearsal.models import write_model

        entry = self._catalogue.model(name)[0]
        if entry.package:
            return self._packaged(entry)
        return write_model(entry, self._root)

    def _packaged(self, entry: ModelEntry) -> Entry:
        """Write a package with a tiny checkpoint, and its pin."""
        from tools.rehearsal.models import write_packaged

        assert entry.package is not None
        file = self._catalogue.package(entry.package.key).file
        path = package_path(file, self._folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # never through a link to the project's
        changes = write_packaged(entry, path, self._root)
        pins = self._root / "config" / "packages.yaml"
        packages = yaml.safe_load(pins.read_text(encoding="utf-8"))
        known = {"sha256": sha256_file(path), "size": path.stat().st_size}
        packages["packages"][entry.package.key] |= known
        write_text(pins, yaml.safe_dump(packages, sort_keys=False, allow_unicode=True))
        return changes

    def link_what_is_there(self) -> None:
        """Link what the project has fetched already: packages of digits and typefaces, which are
        taken as they are, and other models' accuracies.
        """
        targets = self._targets
        keys = {
            key for name in targets.data.prepared for key in targets.data.entries[name].packages
        }
        for model in targets.pretrained:
            keys |= set(targets.data.model_packages(model))
        places = [package_path(self._catalogue.package(key).file, "") for key in sorted(keys)]
        places += [source_path(file, "") for file in SOURCES]
        for place in places:
            there, link = self._catalogue.root / targets.data.folder / place, self._folder / place
            if there.is_file() and not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(there.resolve())

    def _pinned(self, file: Entry, archives: Path) -> Entry:
        """Return a file of an entry with the checksum and size of the one that was made."""
        path = archives / file["file"]
        known = {"sha256": sha256_file(path), "size": path.stat().st_size}
        gone = ("md5", "git_blob", "unpinned", "stand_in")
        return {k: v for k, v in {**file, **known}.items() if v is not None and k not in gone}


def _templates(path: Path, keys: Sequence[str]) -> str:
    """Return a file of templates in the form of its name: a mapping, or lists of lambdas."""
    templates = ["a photo of {c}.", "a picture of {c}."][:TEMPLATES]
    if path.suffix == ".json":
        return json.dumps(dict.fromkeys(keys, templates), indent=1)
    lines = "".join(f'    lambda c : f"{template}",\n' for template in templates)
    return "".join(f"{key} = [\n{lines}]\n" for key in keys)


def _counts(entry: DatasetEntry, labels: dict[str, Sequence[int]]) -> Entry:
    """Return the numbers of images of an entry's splits, and how its held-out images are drawn."""
    splits = {split: len(labels[split]) for split in entry.splits if split in labels}
    if (draw := entry.held_out) is None:
        return {"splits": splits}
    whole = np.asarray(labels[draw.of])
    count = min(HELD_OUT, len(whole) // 8)
    held_out = draw.model_dump() | {"count": count, "seed": _seed(whole, count)}
    counts = splits | {draw.of: len(whole) - count, "held-out": count}
    return {"splits": {split: counts[split] for split in entry.splits}, "held_out": held_out}


def _seed(labels: np.ndarray, count: int) -> int:
    """Return the first seed of a draw that leaves enough images of every class."""
    counts = np.bincount(labels)
    for seed in itertools.count():
        drawn = np.bincount(labels[draw_indices(len(labels), count, seed)], minlength=len(counts))
        if (counts - drawn).min() >= SHOTS:
            return seed
    raise AssertionError
