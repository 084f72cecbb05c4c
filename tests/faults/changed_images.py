"""Images that change in place, under the same names and with the same sizes, between two commands.

Numbers of the second command must be those of the images as they are then, which the same command
gives in a new folder, or it must refuse.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
from PIL import Image
from tests.faults.harness import Ended, command, run
from tests.faults.verdicts import Found, Ground, Verdict
from tests.faults.world import CLASSES, PIXELS, THETA_0, THETA_1, options
from tests.finetune.conftest import SETTINGS

NAME = "mine"
MANIFEST = f"datasets/{NAME}/manifest.json"
Change = Callable[[Random, list[Path]], None]


def picture(path: Path, seed: int) -> None:
    """Write an image whose file has one size, whatever it shows."""
    rng = np.random.default_rng(seed)
    pixels = np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((9, 9, 1))).astype(np.uint8)
    Image.fromarray(pixels).save(path, "BMP")


def photos(folder: Path, seed: int, per_class: int) -> None:
    """Write a folder for each class."""
    for place, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            picture(folder / name / f"{number}.bmp", 1000 * seed + 100 * place + number)


# ------------------------------------------------------------------------------------ the changes


def redrawn(rng: Random, paths: list[Path]) -> None:
    """Other pixels in the same files."""
    for path in rng.sample(paths, rng.choice([1, len(paths)])):
        picture(path, rng.randrange(10**6) + 10**6)


def replaced(rng: Random, paths: list[Path]) -> None:
    """Other files under the same names."""
    for path in rng.sample(paths, rng.choice([1, len(paths)])):
        other = path.with_name(".other")
        picture(other, rng.randrange(10**6) + 10**6)
        other.replace(path)


def swapped(rng: Random, paths: list[Path]) -> None:
    """Two images with each other's names."""
    cat, dog = (rng.choice([p for p in paths if p.parent.name == name]) for name in CLASSES)
    content = cat.read_bytes()
    cat.write_bytes(dog.read_bytes())
    dog.write_bytes(content)


def backdated(rng: Random, paths: list[Path]) -> None:
    """Other pixels, and a time of change long ago, as an unpacked archive or rsync leaves it."""
    redrawn(rng, paths)
    for path in paths:
        os.utime(path, ns=(10**18, 10**18))


def larger(rng: Random, paths: list[Path]) -> None:
    """Other pixels and another size, at the time of change that it had."""
    for path in paths:
        before = path.stat()
        picture(path, rng.randrange(10**6) + 10**6)
        path.write_bytes(path.read_bytes() + b"\0" * 8)  # a reader of BMP stops before
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def unseen(rng: Random, paths: list[Path]) -> None:
    """Other pixels at the same size and time of change: only a sum can tell."""
    for path in rng.sample(paths, rng.choice([1, len(paths)])):
        before = path.stat()
        picture(path, rng.randrange(10**6) + 10**6)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: list[Change] = [redrawn, replaced, swapped, backdated, larger]


# ------------------------------------------------------------------------------------ the commands


def _sweep(ground: Ground, folder: Path, out: str, table: str = "") -> Ended:
    source, sets = ground.world.folder / "source", ("reference" + table, "shift" + table)
    given = (source / "a.pt", source / "b.pt", "--reference", sets[0], "--shift", sets[1])
    more = options(
        architecture=source / "tiny.json", preprocessing=json.dumps(PIXELS), alphas="0,1"
    )
    return run(command("sweep", *given, *more, "-o", out), folder)


def _index(folder: Path, manifest: str = MANIFEST) -> Ended:
    splits = options(name=NAME, manifest=manifest, split=["train", "held-out", "test"])
    return run(command("data", "index", "photos", *splits), folder)


def _cache(folder: Path) -> Ended:
    return run(command("data", "cache", *options(manifest=MANIFEST, transform=32)), folder)


def _evaluate(ground: Ground, folder: Path, out: str, manifest: str = MANIFEST) -> Ended:
    wanted = {NAME: {"splits": ["test"], "views": [{"name": "all", "metric": "accuracy"}]}}
    given = options(
        theta_0=ground.world.folder / THETA_0,
        theta_1=ground.world.folder / THETA_1,
        alphas="0.000,0.500,1.000",
        dataset=manifest,
        evaluate=json.dumps(wanted),
        output_dir=out,
        method="end-to-end",
        run="x",
        model="tiny",
        reference="pets",
        seed=0,
        device="cpu",
    )
    return run(command("evaluate", *given), folder)


def _train(ground: Ground, folder: Path, out: str, manifest: str = MANIFEST) -> Ended:
    settings = SETTINGS | {"trainable": "head", "augment": "none", "train_samples": 8}
    given = options(
        theta_0=ground.world.folder / THETA_0,
        dataset=manifest,
        settings=json.dumps(settings),
        seed=0,
        state=f"{out}/state",
        theta_1=f"{out}/theta_1.safetensors",
        curve=f"{out}/training.csv",
        features="fresh-features" if out == "fresh" else "features",
        device="cpu",
    )
    return run(command("finetune", *given), folder)


# ------------------------------------------------------------------------------------- the attacks


def attack(ground: Ground, rng: Random, number: int) -> Found:
    """Run a command, change images, and run it again."""
    form = FORMS[number % len(FORMS)]
    change = unseen if form is verified else rng.choice(CHANGES)
    folder = ground.base / "bench" / f"changed-{number}"
    folder.mkdir(parents=True)
    what = f"{(form.__doc__ or '').split('.')[0]}; then: {(change.__doc__ or '').split('.')[0]}"
    try:
        if form in (swept, listed):
            photos(folder / "reference", 1, 6)
            photos(folder / "shift", 2, 4)
        else:
            for seed, (split, n) in enumerate({"train": 4, "held-out": 2, "test": 6}.items()):
                photos(folder / "photos" / split, seed, n)
        return form(ground, rng, folder, change, what)
    finally:
        shutil.rmtree(folder)


def _change(rng: Random, change: Change, folder: Path) -> None:
    """Change images of one folder of classes."""
    change(rng, sorted(folder.glob("*/*.bmp")))


def _must(*ended: Ended) -> None:
    for each in ended:
        assert each.code == 0, each.output


def swept(ground: Ground, rng: Random, folder: Path, change: Change, what: str) -> Found:
    """A sweep, and the same command again."""
    _must(_sweep(ground, folder, "out"))
    _change(rng, change, folder / rng.choice(["reference", "shift"]))
    return _judge(ground, what, folder, lambda out: _sweep(ground, folder, out))


def listed(ground: Ground, rng: Random, folder: Path, change: Change, what: str) -> Found:
    """A sweep of Parquet tables whose rows name files beside them, and the same command again."""
    for name in ("reference", "shift"):
        paths = sorted((folder / name).glob("*/*.bmp"))
        named = [{"bytes": None, "path": str(path.relative_to(folder / name))} for path in paths]
        table = {"image": named, "label": [path.parent.name for path in paths]}
        pd.DataFrame(table).to_parquet(folder / name / "t.parquet")
    _must(_sweep(ground, folder, "out", "/t.parquet"))
    _change(rng, change, folder / rng.choice(["reference", "shift"]))
    return _judge(ground, what, folder, lambda out: _sweep(ground, folder, out, "/t.parquet"))


def evaluated(ground: Ground, rng: Random, folder: Path, change: Change, what: str) -> Found:
    """An evaluation of indexed images, and the same command again."""
    _must(_index(folder), _evaluate(ground, folder, "out"))
    _change(rng, change, folder / "photos" / "test")
    return _fresh(ground, what, folder, _evaluate)


def cached(ground: Ground, rng: Random, folder: Path, change: Change, what: str) -> Found:
    """Images that were decoded once, and an evaluation."""
    _must(_index(folder), _cache(folder))
    _change(rng, change, folder / "photos" / "test")
    return _fresh(ground, what, folder, _evaluate)


def featured(ground: Ground, rng: Random, folder: Path, change: Change, what: str) -> Found:
    """A head trained on features that are kept, and another on the same."""
    _must(_index(folder), _train(ground, folder, "first"))
    _change(rng, change, folder / "photos" / "train")
    return _fresh(ground, what, folder, _train)


def verified(ground: Ground, rng: Random, folder: Path, change: Change, what: str) -> Found:
    """Images that were decoded once, and `wiseft data verify --deep`."""
    _must(_index(folder), _cache(folder))
    verify = command("data", "verify", NAME, "--deep", "--datasets", "datasets")
    _must(run(verify, folder))
    _change(rng, change, folder / "photos" / "test")
    ended = run(verify, folder)
    if found := ground.common(what, ended):
        return found
    if ended.code == 0:
        return Found(what, Verdict.SILENT, f"nothing is noticed\n{ended.output[-300:]}")
    return Found(what)


FORMS = [swept, cached, verified, evaluated, listed, swept, cached, featured]


def _fresh(
    ground: Ground, what: str, folder: Path, work: Callable[[Ground, Path, str, str], Ended]
) -> Found:
    fresh = "datasets/fresh/manifest.json"
    _must(_index(folder, fresh))
    return _judge(
        ground,
        what,
        folder,
        lambda out: work(ground, folder, out, fresh if out == "fresh" else MANIFEST),
    )


def _judge(ground: Ground, what: str, folder: Path, work: Callable[[str], Ended]) -> Found:
    """Do it again, and compare with what it gives in a new folder."""
    ended = work("out")
    if found := ground.common(what, ended):
        return found
    if ended.code:
        return Found(what)
    _must(work("fresh"))
    if differ := differences(folder / "out", folder / "fresh"):
        return Found(what, Verdict.SILENT, f"{differ}\n{ended.output[-300:]}")
    return Found(what)


def differences(out: Path, fresh: Path) -> str:
    """Return the first file of numbers in which two folders differ; empty: none does."""
    tables = sorted(path.relative_to(fresh) for path in fresh.rglob("predictions.parquet"))
    for path in tables:
        one, other = (pd.read_parquet(folder / path) for folder in (out, fresh))
        if not one.equals(other):
            columns = [name for name in other if not one[name].equals(other[name])]
            return f"{path} has other numbers than a new folder: {columns[:3]}"
    thetas = sorted(path.relative_to(fresh) for path in fresh.glob("theta_1.safetensors"))
    for path in thetas:
        contents = [(folder / path).read_bytes() for folder in (out, fresh)]
        ends = [each[8 + int.from_bytes(each[:8], "little") :] for each in contents]
        if ends[0] != ends[1]:
            return f"{path} was trained on the images as they were"
    assert tables or thetas, "nothing was written that could be compared"
    return ""
