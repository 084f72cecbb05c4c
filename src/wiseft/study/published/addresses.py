"""The files with other models' accuracies: pinned addresses and checksums, and where they lie."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from wiseft.study.config import SourceFile
from wiseft.study.config.paths import DATASETS_ROOT, archives_folder

FOLDER = files("wiseft.study.published")
NAME = "testbed"
"""Folder below `.archives`, and what `WISEFT_MIRROR_TESTBED` is called after."""

SOURCES = tuple(
    SourceFile(**each) for each in yaml.safe_load((FOLDER / "sources.yaml").read_text("utf-8"))
)
ACCURACIES, MODEL_TYPES, ZERO_SHOT = SOURCES


def source_path(file: SourceFile, root: str | Path = DATASETS_ROOT) -> Path:
    """Return where a file lies below the folder of the datasets; you may put it there yourself."""
    return archives_folder(NAME, root) / file.file


def shipped(name: str, **how: Any) -> pd.DataFrame:
    """Return the CSV file of that name in this package; `how` are options of `pandas.read_csv`."""
    with (FOLDER / name).open(encoding="utf-8") as file:
        return pd.read_csv(file, **how)
