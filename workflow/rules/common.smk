"""What the rules share: the configuration, and what a command gets of its entries."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

from snakemake.utils import min_version
from wiseft.alphas import ALPHA_REGEX
from wiseft.config import Catalogue, experiment_runs, load_config, paths, split_run_name
from wiseft.errors import WiseftError
from wiseft.io import sha256_json
from wiseft.stages import VERSION

min_version("9.19")

try:
    SETTINGS = load_config("config/config.yaml", config)
    CATALOGUE = Catalogue(".")
    EXPERIMENT = CATALOGUE.experiment(SETTINGS.experiment)
    DATASETS = CATALOGUE.dataset_closure(EXPERIMENT.datasets)
    SUITES = CATALOGUE.suites(EXPERIMENT.datasets)
    PACKAGES = {package.file: key for key, package in CATALOGUE.packages().items()}
except WiseftError as error:
    raise WorkflowError(str(error)) from None

NAME = EXPERIMENT.experiment
RUNS = experiment_runs(EXPERIMENT)
METHODS = EXPERIMENT.methods
BASELINES = list(dict.fromkeys(run.method_id for run in RUNS if run.baseline))
BASELINE_MODELS = sorted({run.model for run in RUNS if run.baseline})
PRETRAINED = [m for m in EXPERIMENT.models if CATALOGUE.model(m)[0].source == "pretrain"]
RUN = "{model}__{reference}__{method}"
GLYPH_KEYS = {"glyph_size", "pen_glyphs"}  # what rendering depends on, of all pre-training
FORMATS = ["pdf", "png", "svg"]
# What figures and report import of the tabulate stage.
TABLE_READERS = [f"tabulate/{name}.py" for name in ("schema", "robustness", "settings")]

# The commands are those of the Python that runs the workflow. OpenMP threads that spin while
# they wait would take the cores of the jobs beside them. No job but a fetch uses the network.
shell.prefix(
    f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    " OMP_WAIT_POLICY=passive HF_HUB_OFFLINE=1; "
)


wildcard_constraints:
    alpha=ALPHA_REGEX,
    seed=r"0|[1-9]\d*",
    reference=re.escape(EXPERIMENT.reference),


def one_of(names):
    """Return a regular expression for exactly these names; for none of them, one without match."""
    return "|".join(re.escape(name) for name in sorted(set(names))) or r"(?!)"


def repeat(option, values):
    """Return a command's repeatable option with every value."""
    return " ".join(f"{option} {shlex.quote(str(value))}" for value in values)


def modules(*patterns):
    """Return files of the package, for rules so cheap that a change of code reruns them."""
    return sorted(path for pattern in patterns for path in Path("src/wiseft").glob(pattern))


def gpus():
    """Return the GPUs that a job asks for: none on a CPU, so that CPU jobs run side by side."""
    found = SETTINGS.device == "auto" and shutil.which("nvidia-smi")
    return int(SETTINGS.device == "cuda" or bool(found))


# What the commands get of an entry. Whatever changes an artifact is a parameter of its rule.


def model_of(model):
    """Return the entry of a model such as `digits-rn-s10`."""
    return CATALOGUE.model(model)[0]


def architecture(model):
    """Return the file with a model's architecture."""
    return CATALOGUE.architecture_path(model_of(model))


def theta_0_of(wildcards):
    """Return the zero-shot end of a run as a list, which is empty for a baseline."""
    known = wildcards.method in METHODS
    return [paths.theta_0_path(wildcards.model, wildcards.reference)] if known else []


def alphas_of(wildcards):
    """Return the grid of a run; a model from scratch has no other end to combine with."""
    return EXPERIMENT.alpha_names if wildcards.method in METHODS else ["1.000"]


def identity_of(wildcards):
    """Return the options that say which run a metrics file is about."""
    run = RUN.format(**wildcards)
    keys = ("model", "reference", "method", "variant")
    about = {**dict(zip(keys, split_run_name(run))), "run": run, "seed": wildcards.seed}
    return " ".join(f"--{key} {shlex.quote(str(value))}" for key, value in about.items())


def figure_options(figure):
    """Return the options of a figure as JSON; fits in figures and tables leave out the same."""
    chosen = EXPERIMENT.figures[figure]
    fit = {"fit_exclude": augmented_baselines()} if chosen.draw == "robustness" else {}
    return json.dumps({**fit, **chosen.options})


def augmented_baselines():
    """Return the baselines that no fit goes through: augmentation is an intervention."""
    return [m for m in BASELINES if CATALOGUE.method_settings(m).augment != "none"]


def statistics():
    """Return what the tables depend on besides the numbers, as JSON."""
    keys = {"averages", "held_out", "test_split", "reference", "bootstrap", "alphas"}
    chosen = EXPERIMENT.model_dump(mode="json", include=keys)
    return json.dumps({**chosen, "fit_exclude": augmented_baselines(), **view_settings()})


def view_settings():
    """Return which views the tables use: each dataset's first one, and the others beside it."""
    entries = [CATALOGUE.dataset(name) for name in EXPERIMENT.datasets]
    primary = {entry.name: entry.primary_view for entry in entries if entry.primary_view != "all"}
    others = {
        entry.name: [*(view.name for view in entry.views[1:]), *map(class_view, likes_of(entry))]
        for entry in entries
    }
    if not primary and not any(others.values()):
        return {}
    return {"views": primary, "other_views": others}


def class_view(like):
    """Return the name of a reference's view through the classes of another dataset."""
    return f"{like}-classes"


def likes_of(entry):
    """Return the datasets whose classes a reference is seen through: those mapped from it."""
    return [
        name
        for name in EXPERIMENT.datasets
        if (mapping := CATALOGUE.dataset(name).label_map) and mapping.reference == entry.bare_name
    ]
