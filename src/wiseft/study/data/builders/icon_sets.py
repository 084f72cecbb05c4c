"""Icon sets of the package ``@iconify/json``: their drawings, and what they are named.

Which sets are taken, what they are for, which words of a name say how an icon looks and not what it
is, and the classes: all of that stands in ``icons.yaml``, by hand and with reasons. Icons that are
left out stand in ``icons_left_out.json``; docs/icons.md says how they were found.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from wiseft.errors import WiseftError
from wiseft.study.data.unpacking.unpack import read_members

FILES = (Path(__file__).with_name("icons.yaml"), Path(__file__).with_name("icons_left_out.json"))

_LICENCES = re.compile(
    r"MIT|Apache-2\.0|CC0-1\.0|CC-BY(-SA)?-\d\.0|OFL-1\.1|ISC|BSD-.*|MPL-2\.0|Unlicense"
)
"""SPDX identifiers of sets that are taken: free for every use. CC-BY-NC, GPL and none are not."""


@dataclass(frozen=True)
class IconSet:
    """A set of one designer.

    Attributes:
        key: its key in the package.
        title: its name there.
        designer: who drew it, or what it is derived from: the key of a family in ``icons.yaml``.
        palette: whether it is drawn in many colours; others take the colour of the text, black.
        icons: drawings by name, of those that are shown.
        phrases: what each is named, without words of a look; icons without a name are not there.
    """

    key: str
    title: str
    designer: str
    palette: bool
    icons: Mapping[str, str]
    phrases: Mapping[str, str]

    def named(self, each: int, key: Callable[[str], Any] = str) -> dict[Any, list[str]]:
        """Return names of icons by a key of their phrases, of one key at most `each`, which are
        taken at equal distances from those that have it: they differ in their look.

        Args:
            key: returns None for a phrase that is left out.
        """
        found: dict[Any, list[str]] = {}
        for name in sorted(self.phrases, key=lambda name: (len(name), name)):
            if (of := key(self.phrases[name])) is not None:
                found.setdefault(of, []).append(name)
        return {
            of: [names[place] for place in spread(len(names), each)]
            for of, names in sorted(found.items())
        }


def spread(n: int, each: int) -> list[int]:
    """Return at most `each` of n places, the first among them, at equal distances."""
    return np.linspace(0, n - 1, min(n, each)).round().astype(int).tolist() if n else []


@functools.cache
def listed() -> dict[str, Any]:
    """Return what the two files say; their sum is `listed_sha256`."""
    return {**yaml.safe_load(FILES[0].read_text("utf-8")), **json.loads(FILES[1].read_text())}


def check_listed(sha256: str) -> None:
    """Raise WiseftError if the two files are not those that an entry was made with."""
    found = hashlib.sha256(b"".join(file.read_bytes() for file in FILES)).hexdigest()
    if found != sha256:
        raise WiseftError(
            f"{FILES[0].name} and {FILES[1].name} are not the files that the entry is made by: "
            f"expected sha256 {sha256}, found {found}. Restore them, or correct the entry."
        )


def class_names(which: str) -> list[list[str]]:
    """Return the names of every class of a list in ``icons.yaml``, the displayed one first."""
    return [[name, *others] for name, others in sorted(listed()[which].items())]


def read_sets(package: Path, groups: Iterable[str]) -> dict[str, list[IconSet]]:
    """Read the sets of some groups of ``icons.yaml``, in one pass over the package.

    Raises:
        WiseftError: the package lacks a set, an unknown group, or a set with another licence than
            those that are taken.
    """
    known = listed()["groups"]
    if unknown := sorted(set(groups) - set(known)):
        raise WiseftError(f"there is no group {unknown[0]} of icon sets: {', '.join(known)}.")
    keys = {key for group in groups for family in known[group] for key in family["sets"]}
    paths = {key: f"package/json/{key}.json" for key in keys}
    files = read_members(package, [*paths.values(), "package/collections.json"])
    infos = json.loads(files.pop("package/collections.json"))
    return {
        group: [
            _set(key, family, infos.get(key, {}), files[paths[key]])
            for family in known[group]
            for key in family["sets"]
        ]
        for group in groups
    }


def _set(key: str, family: Mapping[str, Any], info: Mapping[str, Any], file: bytes) -> IconSet:
    licence = info.get("license", {}).get("spdx", "none")
    if not _LICENCES.fullmatch(licence):
        raise WiseftError(f"icon set {key} has the licence {licence}, which is not one of ours.")
    data = json.loads(file)
    left_out = set(listed()["left_out"].get(key, []))
    shown = {
        name: icon
        for name, icon in data["icons"].items()
        if not icon.get("hidden") and name not in left_out
    }
    words = family["sets"][key] or []
    phrases = {name: phrase(name, words) for name in shown}
    return IconSet(
        key,
        info["name"],
        family["designer"],
        bool(info.get("palette")),
        {name: _svg(data, icon) for name, icon in shown.items()},
        {name: text for name, text in phrases.items() if text},
    )


def phrase(name: str, look: Sequence[str] = ()) -> str:
    """Return what an icon is named, in words: without those that say how it looks, numbers, single
    letters. It is empty where nothing is left, and for brands, flags and shades of skin.

    Args:
        look: further words of a look, that its set puts at the end; with a star, categories that it
            puts at the beginning.
    """
    rules = listed()["words"]
    words = [re.sub(r"(?<=[a-z])\d+$", "", word) for word in re.split("[-_]", name.lower())]
    words = [word for word in words if not re.fullmatch(r"\d+[a-z]{0,2}|[a-z]?", word)]
    while words and (words[-1] in rules["end"] or words[-1] in look):
        words.pop()
    while words and words[0] in rules["start"]:
        words.pop(0)
    if not words or words[0] in rules["no_start"] or set(words) & set(rules["no_word"]):
        return ""
    text = " ".join(words)
    for category in sorted((w[:-1] for w in look if w.endswith("*")), key=len, reverse=True):
        if text.startswith(f"{category} "):
            text = text[len(category) + 1 :]
            break
    return "" if text in listed()["brands"] else text


def joined(text: str) -> str:
    """Return a phrase without spaces, by which names of classes are compared."""
    return text.replace(" ", "")


def _svg(data: Mapping[str, Any], icon: Mapping[str, Any]) -> str:
    """Return a drawing as a square image, in its middle, black where it takes the text's colour."""
    left, top, width, height = (
        icon.get(key, data.get(key, default))
        for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
    )
    side = max(width, height)
    box = (left - (side - width) / 2, top - (side - height) / 2, side, side)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{" ".join(f"{value:g}" for value in box)}" width="%d" height="%d" '
        f'color="black">{icon["body"].replace("%", "%%")}</svg>'
    )


def draw(svg: str, side: int) -> NDArray[np.uint8]:
    """Draw an icon on white, uint8 (side, side, 3)."""
    import vl_convert
    from PIL import Image

    png = vl_convert.svg_to_png(svg % (side, side), scale=1.0, ppi=72)
    ink = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"), np.uint16)
    opaque = ink[..., 3:]
    # Rounded as Pillow composes: (a b + 127) / 255.
    return ((ink[..., :3] * opaque + 255 * (255 - opaque) + 127) // 255).astype(np.uint8)
