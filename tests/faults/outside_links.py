"""Folders of strangers with links that lead out, and links where output goes.

Outside lie a secret, which must not come into anything that is written or said, and files that
must stay as they are. What a link leads to is nothing that a stranger may choose.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pandas as pd
from tests.faults.changed_images import photos
from tests.faults.harness import Ended, command, run
from tests.faults.kills import NAMES
from tests.faults.verdicts import Found, Ground, Verdict
from tests.faults.world import PIXELS, World, options, steps

WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
BESIDE = ["special_tokens_map.json", "tokenizer.json", "vocab.json", "merges.txt", "README.md"]
BESIDE += [".env", "notes.txt", "preprocessor_config.json", "config.json", "tokenizer_config.json"]
BESIDE += ["classes.json", "features.json"]
SECONDS = 8.0
"""Of the processor; a pipe that is waited for uses none, and ends after 15 times as long."""
Plant = Callable[[Random, Path, Path], bool]
"""Puts something into the folder of a model, given what lies outside; whether it may be used."""


def outside_of(folder: Path, secret: str) -> Path:
    """Write what lies outside: a secret, and files of a sweep of somebody else."""
    outside = folder / "outside"
    for name in ("model", "evaluation/reference", "data", "state"):
        (outside / name).mkdir(parents=True)
    for name in ("model/mine.pt", "kept.safetensors", "inputs.json", "evaluation/reference/x.json"):
        (outside / name).write_text(json.dumps({"kept": True}))
    (outside / "secret").write_text(f"-----BEGIN PRIVATE KEY-----\n{secret}\n")
    (outside / "secret.json").write_text(json.dumps({"token": secret}))
    return outside


def contents(folder: Path) -> dict[str, str | bytes]:
    """Return all that lies below a folder, without following a link."""
    found: dict[str, str | bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        else:
            found[name] = path.read_bytes() if path.is_file() else "other"
    return found


# ----------------------------------------------------------------------------- folders of strangers


def file_link(rng: Random, model: Path, outside: Path) -> bool:
    """A link to a file outside."""
    path = model / rng.choice(BESIDE)
    target = outside / rng.choice(["secret", "secret.json"])
    relative = Path(os.path.relpath(target, model))
    path.symlink_to(rng.choice([target, relative]))
    return True


def chain(rng: Random, model: Path, outside: Path) -> bool:
    """A link to a link to a file outside."""
    (model / "first").symlink_to(outside / "secret")
    (model / rng.choice(BESIDE)).symlink_to("first")
    return True


def folder_link(rng: Random, model: Path, outside: Path) -> bool:
    """A link to a folder outside."""
    (model / rng.choice(["1_Pooling", "onnx", "assets", "a.json"])).symlink_to(outside)
    return True


def device(rng: Random, model: Path, outside: Path) -> bool:
    """A link to a device that never ends, or to what the process itself is."""
    target = rng.choice(["/dev/zero", "/proc/self/environ", "/dev/stdin", "/proc/self/mem"])
    (model / rng.choice(BESIDE)).symlink_to(target)
    return True


def pipe(rng: Random, model: Path, outside: Path) -> bool:
    """A pipe that nobody writes to."""
    name = rng.choice([*BESIDE, CONFIG, WEIGHTS])
    (model / name).unlink(missing_ok=True)
    os.mkfifo(model / name)
    return name in BESIDE


def needed_link(rng: Random, model: Path, outside: Path) -> bool:
    """The weights or the configuration as a link to a file outside."""
    name = rng.choice([WEIGHTS, CONFIG])
    shutil.move(model / name, outside / name)
    (model / name).symlink_to(outside / name)
    return False


def false_cache(rng: Random, model: Path, outside: Path) -> bool:
    """The layout of the hub's cache, of which one file is a link out of it."""
    snapshot = _cached(model)
    if rng.random() < 0.5:
        (snapshot / rng.choice(BESIDE)).symlink_to(Path("../../../../../outside/secret"))
    else:
        blob = model / "models--a--b" / "blobs" / ("f" * 64)
        blob.symlink_to(outside / "secret")
        (snapshot / rng.choice(BESIDE)).symlink_to(Path("../../blobs") / blob.name)
    return True


def true_cache(rng: Random, model: Path, outside: Path) -> bool:
    """The layout of the hub's cache, which must be read."""
    _cached(model)
    return True


def _cached(model: Path) -> Path:
    """Lay a folder out as the hub's cache, and return where the model is then."""
    base = model / "models--a--b"
    snapshot = base / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (base / "blobs").mkdir()
    for place, name in enumerate((WEIGHTS, CONFIG)):
        blob = f"{place}" * 64
        shutil.move(model / name, base / "blobs" / blob)
        (snapshot / name).symlink_to(Path("../../blobs") / blob)
    return snapshot


PLANTS: list[Plant] = [
    *(file_link, needed_link, folder_link, pipe, true_cache, file_link, device, chain, false_cache),
]


def stranger(ground: Ground, rng: Random, folder: Path, number: int, secret: str) -> Found:
    """Give a folder with something in it to a command."""
    plant, outside = PLANTS[number % len(PLANTS)], folder / "outside"
    work = folder / "work"
    model = work / "model"
    shutil.copytree(ground.world.folder / "source" / "clip", model)
    usable = plant(rng, model, outside)
    before = contents(outside)
    given = "model"
    if plant in (true_cache, false_cache):
        given = f"model/models--a--b/snapshots/{'c' * 40}"
    asked = _readers(rng, ground.world, given)
    what = f"{plant.__doc__} wiseft {' '.join(map(str, asked))[:60]}"
    if asked[0] in ("sweep", "score"):
        photos(work / "reference", 1, 4)
        photos(work / "shift", 2, 2)
    there = contents(work)
    ended = run(command(*asked), work, seconds=SECONDS)
    if found := judge(ground, what, ended, folder, before, secret, there):
        return found
    if ended.code == 0 and not usable:
        return Found(what, Verdict.CODE, f"the link is followed\n{ended.output[-300:]}")
    if ended.code and plant is true_cache:
        return Found(what, Verdict.UNCLEAR, f"is refused\n{ended.output[-400:]}")
    return Found(what)


def _readers(rng: Random, world: World, given: str) -> tuple[object, ...]:
    source = world.folder / "source"
    images = ("--reference", "reference", "--shift", "shift", "--alphas", "0,1", "-o", "out")
    pixels = ("--preprocessing", json.dumps(PIXELS))
    choices: list[tuple[object, ...]] = [
        *[("merge", given, source / "b.pt", "-o", "out")] * 3,
        ("merge", source / "a.pt", given, "-o", "out.pt"),
        ("sweep", source / "a.pt", given, *images, *pixels),
        ("weights", given, "--output", "out.safetensors"),
        ("score", given, "shift", "--threads", 1),
    ]
    return rng.choice(choices)


def judge(
    ground: Ground,
    what: str,
    ended: Ended,
    folder: Path,
    before: dict[str, str | bytes],
    secret: str,
    there: dict[str, str | bytes] | None = None,
) -> Found | None:
    """Return what is wrong whatever was planted: something outside changed, or the secret is out.

    Args:
        before: what lay outside.
        there: what lay in the command's own folder.
    """
    if found := ground.common(what, ended):
        return found
    after = contents(folder / "outside")
    if changed := sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n)):
        return Found(what, Verdict.CODE, f"outside changed: {changed[:5]}")
    if secret in ended.output:
        return Found(what, Verdict.CODE, "the secret is said")
    for name, content in contents(folder / "work").items():
        if there is not None and name in there:
            continue
        path = folder / "work" / name
        if isinstance(content, bytes) and secret.encode() in content:
            return Found(what, Verdict.CODE, f"the secret is in {name}")
        # A user's own link in the place of a file of ours is set aside, which renames the link.
        own = name.endswith(".damaged")
        if not own and path.is_symlink() and (folder / "outside") in path.resolve().parents:
            return Found(what, Verdict.CODE, f"{name} leads outside")
    return None


# ----------------------------------------------------------------------------- where output goes


def sweeps_folder(ground: Ground, rng: Random, folder: Path, number: int, secret: str) -> Found:
    """A link where a sweep writes."""
    work, outside = folder / "work", folder / "outside"
    photos(work / "reference", 1, 4)
    photos(work / "shift", 2, 2)
    place = rng.choice(
        [".work", ".work", ".work/model", "model", ".", ".work/evaluation", ".work/.lock"]
    )
    # The second time, a sweep has been there, which may be continued.
    if again := rng.random() < 0.5:
        assert sweep(ground, work).code == 0
    path = work / "out" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    target = outside / "kept.safetensors" if place.endswith(".lock") else outside
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    before, there = contents(outside), contents(work)
    what = f"out/{place} as a link, {'of a sweep' if again else 'in a new folder'}; wiseft sweep"
    return judge(ground, what, sweep(ground, work), folder, before, secret, there) or Found(what)


def sweep(ground: Ground, work: Path, shift: str = "shift", skip: bool = False) -> Ended:
    source = ground.world.folder / "source"
    ends = (source / "a.pt", source / "clip")
    images = ("--reference", "reference", "--shift", shift, "--alphas", "0,1", "-o", "out")
    more = options(preprocessing=json.dumps(PIXELS)) + (("--skip-broken",) if skip else ())
    return run(command("sweep", *ends, *images, *more), work)


def an_output(ground: Ground, rng: Random, folder: Path, number: int, secret: str) -> Found:
    """A link in place of one of a command's outputs."""
    name = rng.choice(NAMES)
    work, outside, step = folder / "work", folder / "outside", steps()[name]
    work.rmdir()
    shutil.copytree(ground.world.folder, work, copy_function=os.link)
    for each in step.outputs:
        (work / each).unlink()
    path = work / rng.choice(step.outputs)
    target = outside / rng.choice(["kept.safetensors", "inputs.json", "secret", "new"])
    path.symlink_to(target)
    before, there = contents(outside), contents(work)
    what = f"{name}: {path.relative_to(work)} as a link to {target.name}"
    ended = run(command(*step.arguments), work)
    return judge(ground, what, ended, folder, before, secret, there) or Found(what)


def pushed(ground: Ground, rng: Random, folder: Path, number: int, secret: str) -> Found:
    """A sweep whose folder gets more files, and `wiseft push` to a hub on this machine."""
    work, outside = folder / "work", folder / "outside"
    photos(work / "reference", 1, 4)
    photos(work / "shift", 2, 2)
    ended = sweep(ground, work)
    assert ended.code == 0, ended.output
    model = work / "out" / "model"
    names = [name for name in BESIDE if name != "README.md"]  # the card, without which nothing goes
    kind = rng.choice(["link", "file", "folder", "link to a folder", "recorded"])
    if kind == "link":
        (model / rng.choice(names)).symlink_to(outside / "secret")
    elif kind == "file":
        (model / ".env").write_text(f"TOKEN={secret}\n")
    elif kind == "folder":
        (model / "runs").mkdir()
        (model / "runs" / "log.txt").write_text(secret)
    elif kind == "link to a folder":
        (model / "runs").symlink_to(outside)
    else:
        (model / "classes.json").unlink()
        (model / "classes.json").symlink_to(outside / "secret.json")
    before, there = contents(outside), contents(work)
    what = f"push, with something that no sweep wrote: {kind}"
    card = run(command("card", "out", "--license", "mit"), work)
    ended = run(lambda: _push(work), work, loopback=True)
    return judge(ground, what, ended, folder, before, secret, there) or (
        Found(what)
        if card.code == 0 or kind == "recorded"
        else Found(what, Verdict.UNCLEAR, card.output)
    )


def _push(work: Path) -> None:
    """Push to a server in the same process, and write down what it got."""
    import huggingface_hub.constants
    from tests.sweep.upload_server import TOKEN, running

    from wiseft.cli import main

    huggingface_hub.constants.HF_HUB_OFFLINE = False
    os.environ |= {"HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    with running() as hub:
        os.environ["HF_ENDPOINT"] = hub.url
        try:
            main(["push", "out", "me/model"])
        finally:
            for name, content in hub.repositories.get("me/model", {}).items():
                (work / "uploaded").mkdir(exist_ok=True)
                (work / "uploaded" / name.replace("/", "-")).write_bytes(content)


def listed(ground: Ground, rng: Random, folder: Path, number: int, secret: str) -> Found:
    """A stranger's table whose rows or paths lead to a file outside."""
    work, outside = folder / "work", folder / "outside"
    photos(work / "reference", 1, 4)
    photos(work / "shift", 2, 2)
    target = rng.choice([str(outside / "secret"), "../../outside/secret", "link.png"])
    (work / "shift" / "link.png").symlink_to(outside / "secret")
    paths = [str(path.relative_to(work / "shift")) for path in (work / "shift").glob("*/*.bmp")]
    labels = [path.partition("/")[0] for path in [*paths, paths[0]]]
    name = rng.choice(["t.parquet", "metadata.csv"])
    table = pd.DataFrame({"file_name": [*paths, target], "label": labels})
    if name == "t.parquet":
        table["image"] = [{"bytes": None, "path": each} for each in table.pop("file_name")]
        table.to_parquet(work / "shift" / name)
    else:
        table.to_csv(work / "shift" / name, index=False)
    before, there = contents(outside), contents(work)
    what = f"{name} with a row of {target}; wiseft sweep --skip-broken"
    ended = sweep(ground, work, f"shift/{name}" if name == "t.parquet" else "shift", skip=True)
    return judge(ground, what, ended, folder, before, secret, there) or Found(what)


FORMS = [stranger, an_output, stranger, sweeps_folder, stranger, pushed, listed]


def attack(ground: Ground, rng: Random, number: int) -> Found:
    """Lay a link, run a command, and look outside."""
    folder = ground.base / "bench" / f"links-{number}"
    (folder / "work").mkdir(parents=True)
    secret = f"{rng.getrandbits(128):032x}"
    outside_of(folder, secret)
    form = FORMS[number % len(FORMS)]
    try:
        place = sum(each is form for each in FORMS[: number % len(FORMS)])
        return form(ground, rng, folder, FORMS.count(form) * (number // len(FORMS)) + place, secret)
    finally:
        shutil.rmtree(folder)
