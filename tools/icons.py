"""What the experiment icons leaves out: writes `icons_left_out.json` beside `icons.yaml`.

    python -m tools.icons datasets/.packages/iconify-json-2.2.535.tgz [--panel FILE.png | --card]
    python -m tools.icons datasets/.packages/iconify-json-2.2.535.tgz --weights WEIGHTS

The first is run once, after `icons.yaml` is written, the second with the weights of a model that
was pre-trained on what the first left; the file is committed. Three things are found:

- **Brands**: phrases that at least three sets of logos draw, and no set of emoji.
- **Near-duplicates**: icons that look like one on another side. Sides are what may not share a
  drawing: `web`, `train`, `held-out`, `test` with all shifts, and within these the emoji that B
  trains on, chooses by and is tested on. An icon is cut to its ink, scaled to 24 pixels and made
  grey; two of one name, or class, are near-duplicates where the signs of neighbouring differences
  (dHash, 64 bits) differ in at most `BITS` and the mean difference is at most `GREY`. The one
  that is trained on goes, so that tests lose nothing; `--panel` shows pairs near the border.
- **Near-duplicates by embedding**, whatever they are named: the cosine of their features is at
  least `COSINE`, and the mean difference as above at most `GREY`. One drawing has many names
  (`drive-eta` is Material's car). The model is of a seed that is never reported.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import load_file

from wiseft.study.data.builders import icon_sets
from wiseft.study.data.unpacking.unpack import read_members

LOGOS = (
    *("simple-icons", "logos", "fa7-brands", "cib", "bxl", "devicon", "thesvg"),
    "streamline-logos",
)
SIDES = {
    "web": 0, "train": 1, "held-out": 2, "test": 5, "emoji-train": 3, "emoji-held-out": 4,
}  # fmt: skip
"""Order of sides: of two near-duplicates the one on the lower side goes. Others are like `test`."""
BITS, GREY, COSINE = 6, 20.0, 0.98
EVERY = 999


def brands(package: Path) -> list[str]:
    """Return phrases that three sets of logos have, and no set of emoji."""
    paths = {f"package/json/{key}.json": key for key in LOGOS}
    found = defaultdict(set)
    for path, content in read_members(package, list(paths)).items():
        for name in json.loads(content)["icons"]:
            found[icon_sets.phrase(name)].add(paths[path])
    emoji = icon_sets.read_sets(package, ["emoji-train"])["emoji-train"]
    known = {text for each in emoji for text in each.phrases.values()}
    for which in ("classes", "other_classes"):
        known |= {name for names in icon_sets.class_names(which) for name in names}
    return sorted(t for t, keys in found.items() if len(keys) >= 3 and t and t not in known)


def grey(image: np.ndarray) -> np.ndarray:
    """Cut an icon to its ink and scale it to uint8 (24, 24)."""
    flat = np.asarray(Image.fromarray(image).convert("L"))
    rows, columns = np.flatnonzero((flat < 224).any(1)), np.flatnonzero((flat < 224).any(0))
    if not len(rows):
        return np.full((24, 24), 255, np.uint8)
    cut = Image.fromarray(flat[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    return np.asarray(cut.resize((24, 24), Image.Resampling.BOX))


def bits(icon: np.ndarray) -> np.ndarray:
    """Return the dHash, bool (64,)."""
    small = np.asarray(Image.fromarray(icon).resize((9, 8), Image.Resampling.BOX), np.int16)
    return (small[:, 1:] > small[:, :-1] + 4).ravel()


def members(package: Path) -> Iterator[tuple[int, str, Any, str]]:
    """Yield side, phrase, set and name of every icon that may be left out."""
    for group, sets in icon_sets.read_sets(package, icon_sets.listed()["groups"]).items():
        side = SIDES.get(group, 5)
        for each in sets:
            # Where one goes another variant takes its place, so all are compared.
            for phrase, several in each.named(2 if side == 5 else EVERY).items():
                yield from ((side, phrase, each, name) for name in several)


class Compared:
    """Pairs of icons that were compared closely, and by set the names of those that go."""

    def __init__(self) -> None:
        self.gone: dict[str, set[str]] = defaultdict(set)
        self.pairs: list[Any] = []

    def compare(self, one: Any, name: str, a: np.ndarray, b: np.ndarray) -> None:
        """Compare an icon of a set, grey, with one on a later side; it goes if they are near."""
        apart = float(np.abs(a.astype(np.int16) - b).mean())
        self.pairs.append((apart, a, b))
        if apart <= GREY:
            self.gone[one.key].add(name)

    def found(self) -> tuple[dict[str, list[str]], list[Any]]:
        """Return icons to leave out by set, and the pairs."""
        return {key: sorted(names) for key, names in sorted(self.gone.items())}, self.pairs


def near_duplicates(package: Path) -> tuple[dict[str, list[str]], list[Any]]:
    """Return icons to leave out by set, and the pairs that were compared closely."""
    by_name: dict[str, list[Any]] = defaultdict(list)
    classes = icon_sets.class_names("classes")
    words = {icon_sets.joined(name): names[0] for names in classes for name in names}
    for side, phrase, each, name in members(package):
        key = icon_sets.joined(phrase)
        by_name[words.get(key, key)].append((side, each, name))
    compared = Compared()
    for named in by_name.values():
        if len({side for side, *_ in named}) < 2:
            continue
        greys = np.stack([grey(icon_sets.draw(s.icons[n], 32)) for _, s, n in named])
        hashes = np.stack([bits(icon) for icon in greys])
        for a, (side, one, name) in enumerate(named):
            later = [b for b, other in enumerate(named) if other[0] > side]
            for b in [b for b in later if (hashes[a] ^ hashes[b]).sum() <= BITS]:
                compared.compare(one, name, greys[a], greys[b])
    return compared.found()


def features(images: np.ndarray, weights: Path) -> np.ndarray:
    """Return image features of unit length, float32 (n, d)."""
    model = open_clip.CLIP(**json.loads(Path("config/models/icons-rn.json").read_text()))
    model.load_state_dict(load_file(weights))
    model.eval()
    found = []
    with torch.inference_mode():
        for batch in torch.from_numpy(images).split(1024):  # as `preprocessing` of icons-rn
            floats = (batch.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
            found.append(model.encode_image(floats, normalize=True).numpy())
    return np.concatenate(found)


def near_by_embedding(package: Path, weights: Path) -> tuple[dict[str, list[str]], list[Any]]:
    """Return icons to leave out by set, and the pairs that were compared closely."""
    classes = {
        icon_sets.joined(name)
        for which in ("classes", "other_classes")
        for names in icon_sets.class_names(which)
        for name in names
    }
    seen = [
        (side, each, name)
        for side, phrase, each, name in members(package)
        if side == 0 or icon_sets.joined(phrase) in classes
    ]
    images = np.stack([icon_sets.draw(each.icons[name], 32) for _, each, name in seen])
    embedded, sides = features(images, weights), np.array([side for side, *_ in seen])
    greys, compared = np.stack([grey(image) for image in images]), Compared()
    for side in sorted(set(sides) - {0}):
        later = np.flatnonzero(sides == side)
        for lower in np.array_split(np.flatnonzero(sides < side), 20):
            near = np.argwhere(embedded[lower] @ embedded[later].T >= COSINE)
            for a, b in zip(lower[near[:, 0]], later[near[:, 1]], strict=True):
                compared.compare(seen[a][1], seen[a][2], greys[a], greys[b])
    return compared.found()


def panel(pairs: list[Any], file: Path) -> None:
    """Show pairs in the order of their distance, those around the border."""
    pairs.sort(key=lambda pair: pair[0])
    chosen = [pairs[i] for i in np.linspace(0, len(pairs) - 1, 400).astype(int)]
    sheet = Image.new("L", (20 * 60, 20 * 30), 128)
    for place, (_, a, b) in enumerate(chosen):
        for shift, icon in ((0, a), (26, b)):
            sheet.paste(Image.fromarray(icon), (place % 20 * 60 + shift, place // 20 * 30))
    sheet.save(file)
    print([round(pair[0], 1) for pair in chosen[::20]])


def card(package: Path) -> str:
    """Return the table of sets, docs/icons-sets.md."""
    path = "package/collections.json"
    infos = json.loads(read_members(package, [path])[path])
    rows = ["| group | set | by | licence |", "|---|---|---|---|"]
    for group, families in icon_sets.listed()["groups"].items():
        for family in families:
            for key in family["sets"]:
                info = infos[key]
                author = info["author"]["name"].replace("|", "/")
                licence = info["license"]["spdx"]
                rows.append(f"| {group} | {info['name']} (`{key}`) | {author} | {licence} |")
    return "\n".join(rows)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--panel", type=Path)
    parser.add_argument("--weights", type=Path, help="of icons-rn, a seed that is not reported")
    parser.add_argument("--card", action="store_true", help="print the table of sets alone")
    arguments = parser.parse_args()
    if arguments.card:
        print(card(arguments.package))
        return
    text = icon_sets.FILES[1]
    if arguments.weights:
        found = json.loads(text.read_text())
        more, pairs = near_by_embedding(arguments.package, arguments.weights)
        left_out = found["left_out"]
        for key, names in more.items():
            left_out[key] = sorted({*left_out.get(key, []), *names})
        found["left_out"] = dict(sorted(left_out.items()))
    else:
        found, more, pairs = found_by_hash(arguments.package)
    text.write_text(json.dumps(found, separators=(",", ":")) + "\n")
    print(
        {key: len(names) for key, names in more.items()}, sum(map(len, more.values())), len(pairs)
    )
    if arguments.panel:
        panel(pairs, arguments.panel)


def found_by_hash(package: Path) -> tuple[dict[str, Any], dict[str, list[str]], list[Any]]:
    """Return the file's contents anew, the near-duplicates in it, and the pairs compared."""
    found: dict[str, Any] = {"brands": [], "left_out": {}}
    text = icon_sets.FILES[1]
    for step in (list, lambda: brands(package)):  # names are read without a list first
        found["brands"] = step()
        text.write_text(json.dumps(found))
        icon_sets.listed.cache_clear()
    found["left_out"], pairs = near_duplicates(package)
    return found, found["left_out"], pairs


if __name__ == "__main__":
    main()
