"""Rates that were measured on this machine: `make rehearse EXPERIMENT=NAME REAL=1` writes them.

The file is `{"format": 1, "rates": [{"rule", "model", "method", "device", "images_per_second",
...}]}`. What an experiment takes, and what its jobs ask for, goes by them where there are any. Jobs
that take the same for every model ask for what stands in `FIXED`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wiseft.base.io import read_json
from wiseft.errors import WiseftError
from wiseft.study.config import paths
from wiseft.study.targets import Targets

_DRAWN = (
    *("glyphs", "data_samples", "pretrain_samples", "published", "headline"),
    *("effective_robustness", "figure", "page", "provenance", "report", "paper_tables"),
)
FIXED = dict.fromkeys(_DRAWN, (1000, 10)) | {
    "data_fetch": (500, 30),
    "data_prompts": (500, 30),
    "data_fetch_files": (500, 1440),
    "data_prepare": (2000, 60),
    "data_prepare_files": (4000, 1440),
    "data_cache": (2000, 600),
    "pretrain": (2000, 120),
    "interpolate": (1500, 10),
    "diversity": (4000, 60),
    "tabulate": (2000, 30),
}
"""MB and minutes, by rule."""
RATES = Path(".wiseft") / "rates.json"
_RULES = {"finetune": "training", "baseline": "training", "evaluate": "evaluation"}

Rates = Mapping[tuple[str, str, str], float]
"""Images/s of one device by work (`training`, `evaluation`: images x passes), model and method."""


def read_rates(root: Path, device_type: str) -> Rates:
    """Return the rates measured on devices of a type, `cpu` or another; none without a file.

    Raises:
        WiseftError: if the file is not of that form.
    """
    file = root / RATES
    if not file.is_file():
        return {}
    found = {}
    try:
        for row in read_json(file, "rates")["rates"]:
            of_type = (row["device"] == "cpu") == (device_type == "cpu")
            if of_type and row["rule"] in _RULES and (rate := float(row["images_per_second"])) > 0:
                found[_RULES[row["rule"]], str(row["model"]), str(row["method"])] = rate
    except (KeyError, TypeError, ValueError) as error:
        raise WiseftError(
            f"{file} is not a file of rates ({error!r}); remove it, or measure again: "
            "make rehearse EXPERIMENT=NAME REAL=1"
        ) from None
    return found


def rate_of_training(
    targets: Targets, rates: Rates, model: str, method: str, device_type: str
) -> float | None:
    """Return images/s of one process: of another seed's training, or of the file of rates."""
    run = paths.run_name(model, targets.reference, method)
    folder = targets.catalogue.root / paths.run_folder(run, 0).parent
    for file in sorted(folder.glob("seed-*/training.json")):
        try:
            record = read_json(file, "record")
            if record["device_type"] == device_type and record["images_per_second"] > 0:
                return float(record["images_per_second"]) / int(record["processes"])
        except (WiseftError, KeyError, TypeError, ValueError):
            continue
    return rates.get(("training", targets.entry(model).name, method))


def of_towers(rates: Rates, work: str, targets: Targets) -> dict[str, float]:
    """Return rates by model of an experiment, of its runs that train the whole network: those of
    linear classifiers say nothing of a pass through a tower.

    Args:
        work: `training` or `evaluation`.
    """
    found = {}
    for run in targets.runs if rates else ():
        rate = rates.get((work, targets.entry(run.model).name, run.method_id))
        if rate and targets.catalogue.method_settings(run.method_id).trainable == "all":
            found[run.model] = rate
    return found
