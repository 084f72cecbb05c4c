"""The files with other models' accuracies: pinned addresses and checksums, and where they lie."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from wiseft.study.config import SourceFile
from wiseft.study.config.paths import DATASETS_ROOT, archives_folder

NAME = "testbed"
"""Folder below `.archives`, and what `WISEFT_MIRROR_TESTBED` is called after."""

_TESTBED = (
    "https://raw.githubusercontent.com/modestyachts/imagenet-testbed/"
    "0170eec658d664289d9f61de8f90f967f49abca0"
)
_OPEN_CLIP = (
    "https://raw.githubusercontent.com/mlfoundations/open_clip/"
    "89fb801f1e6087880e951fc8354b8a2077b79c6d"
)

ACCURACIES = SourceFile(
    file="robustness_top1s.csv",
    urls=[f"{_TESTBED}/robustness_top1s.csv"],
    size=869425,
    sha256="6b32665be2eef1594d6d296fcb07d33fed0dd4ecacacff463841d7cb08e835f7",
    git_blob="490b62ad8c59f3317aa58183158c0d1ddb7e67e3",
    unpack=False,
)
"""Top-1 accuracies (percent) of 338 ImageNet models under 213 conditions (Taori et al. 2020)."""

MODEL_TYPES = SourceFile(
    file="model_types.py",
    urls=[f"{_TESTBED}/plotting/model_types.py"],
    size=13051,
    git_blob="f481d88b4d0d52e980c59ab53024f05b59729dd3",
    unpack=False,
)
"""How each of them was trained: a mapping that is parsed and never executed."""

ZERO_SHOT = SourceFile(
    file="openclip_results.csv",
    urls=[f"{_OPEN_CLIP}/docs/openclip_results.csv"],
    size=38830,
    git_blob="2a32aefd590dbf3c5445a29d08e16de09be48777",
    unpack=False,
)
"""Zero-shot accuracies (fractions) of CLIP models, as open_clip publishes them."""

SOURCES = (ACCURACIES, MODEL_TYPES, ZERO_SHOT)


def source_path(file: SourceFile, root: str | Path = DATASETS_ROOT) -> Path:
    """Return where a file lies below the folder of the datasets; you may put it there yourself."""
    return archives_folder(NAME, root) / file.file


def shipped(name: str, **how: Any) -> pd.DataFrame:
    """Return the CSV file of that name in this package; `how` are options of `pandas.read_csv`."""
    with (files("wiseft.study.published") / name).open(encoding="utf-8") as file:
        return pd.read_csv(file, **how)
