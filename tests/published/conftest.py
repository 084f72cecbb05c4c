"""Other models' accuracies in the form of their files, but made up; and where the true ones are."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit

from wiseft.study.published.addresses import ACCURACIES, MODEL_TYPES, ZERO_SHOT, source_path
from wiseft.study.published.testbed import CLIP_COLUMNS, CLIP_MODELS, CONDITIONS

REFERENCE = "WISEFT_REFERENCE_DATA"
"""Environment variable: a folder with second copies, `paper_tables/` and `testbed/`."""

TYPES = """\
from enum import Enum
raise SystemExit("this file must never be executed")

class ModelTypes(Enum):
    STANDARD = ('Standard training', 'tab:blue')

model_types_map = {
%s
}

for i in range(10):
    model_types_map[f"snapshot_{i}"] = ModelTypes.LOW_ACCURACY_CNN
"""


@pytest.fixture
def reference_data() -> Path:
    """The folder with second copies of the numbers; the test is skipped where there is none."""
    folder = os.environ.get(REFERENCE)
    if folder is None or not Path(folder).is_dir():
        pytest.skip(f"{REFERENCE} names no folder with second copies of the numbers")
    return Path(folder)


def line_of(x: float, slope: float, intercept: float) -> float:
    return float(expit(intercept + slope * logit(x)))


@pytest.fixture
def testbed(tmp_path: Path) -> Path:
    """A folder of datasets with three files in the test bed's form.

    Ten standard models `s0` ... lie on lines in logit space: slope 1, intercept -1 on plain
    ImageNet. `resnet50` has 0 % on ImageNet-A, `more` is of another kind, `snapshot_1` of none.
    """
    root = tmp_path / "datasets"
    source_path(ACCURACIES, root).parent.mkdir(parents=True)
    models = {f"s{i}": "STANDARD" for i in range(10)} | {"resnet50": "STANDARD"}
    models |= {"more": "MORE_DATA", "pixels": "LINEAR_PIXELS"}
    mapping = ",\n".join(f"'{name}': ModelTypes.{kind}" for name, kind in models.items())
    source_path(MODEL_TYPES, root).write_text(TYPES % mapping)
    columns = ["model", "greyscale", *CONDITIONS.index]
    with source_path(ACCURACIES, root).open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for place, name in enumerate([*models, "snapshot_1", "nameless"]):
            x = float(np.linspace(0.6, 0.8, 15)[place])
            row = {"model": name, "greyscale": ""}
            for column, condition in CONDITIONS.iterrows():
                share = x if condition.dataset == "imagenet" else line_of(x, 1.0, -1.0)
                row[column] = str(100 * round(share * condition.n) / condition.n)
            if name == "resnet50":
                row["imagenet-a"] = "0.0"
            if name == "s0":
                row["imagenet-r"] = ""
            writer.writerow(row)
    with source_path(ZERO_SHOT, root).open("w", newline="") as file:
        writer = csv.DictWriter(file, ["name", "pretrained", *CLIP_COLUMNS])
        writer.writeheader()
        for place, name in enumerate([*CLIP_MODELS, "ViT-B-32-quickgelu"]):
            accuracies = dict.fromkeys(CLIP_COLUMNS, f"{0.6 + 0.02 * place:.4f}")
            writer.writerow({"name": name, "pretrained": "openai", **accuracies})
        writer.writerow(
            {"name": "RN50", "pretrained": "yfcc15m", **dict.fromkeys(CLIP_COLUMNS, "0.3")}
        )
    return root
