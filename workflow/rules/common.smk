"""What the rules share: the configuration, what follows from it, and nothing that computes."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

from wiseft.alphas import ALPHA_REGEX
from wiseft.config import Catalogue, experiment_runs, load_config, paths, split_run_name
from wiseft.errors import WiseftError
from wiseft.stages import VERSION

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
ROOT = SETTINGS.datasets_root
RUNS = experiment_runs(EXPERIMENT)
RUN = "{model}__{reference}__{method}"
GLYPH_KEYS = {"glyph_size", "pen_glyphs"}  # what rendering depends on, of all pre-training
FORMATS = ["pdf", "png", "svg"]

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


def package_files(keys):
    """Return the files of packages, given their keys in config/packages.yaml."""
    return [paths.package_path(CATALOGUE.package(key).file, ROOT) for key in keys]


def parents_of(dataset):
    """Return the manifests of the datasets that a dataset is rendered from."""
    return [paths.manifest_path(name, ROOT) for name in CATALOGUE.dataset(dataset).depends]


def content_of(dataset):
    """Return what the images, ids, labels and class names of a dataset depend on, as JSON."""
    keys = {"layout", "builder", "root", "class_names", "splits", "options"}
    return CATALOGUE.dataset(dataset).model_dump_json(include=keys)


def templates_of(dataset):
    """Return the prompt templates of a dataset as JSON."""
    return json.dumps(CATALOGUE.prompts(CATALOGUE.dataset(dataset).prompts).templates)


def evaluation_of(datasets):
    """Return what is evaluated of each dataset, as JSON."""
    entries = {name: CATALOGUE.dataset(name).model_dump(mode="json") for name in datasets}
    chosen = {n: {"splits": e["evaluate"], "views": e["views"]} for n, e in entries.items()}
    return json.dumps(chosen)


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


def statistics():
    """Return what the tables depend on besides the numbers, as JSON."""
    keys = {"averages", "held_out", "test_split", "reference", "bootstrap", "alphas"}
    augmented = [m for m in BASELINES if CATALOGUE.method_settings(m).augment != "none"]
    chosen = EXPERIMENT.model_dump(mode="json", include=keys)
    return json.dumps({**chosen, "fit_exclude": augmented})


# What the experiment asks for.
METHODS = EXPERIMENT.methods
BASELINES = list(dict.fromkeys(run.method_id for run in RUNS if run.baseline))
BASELINE_MODELS = sorted({run.model for run in RUNS if run.baseline})
PRETRAINED = [name for name in EXPERIMENT.models if model_of(name).source == "pretrain"]


def evaluated(path):
    """Return a file of every run and dataset; `path` is a function of `wiseft.config.paths`."""
    return [path(run.name, run.seed, name) for run in RUNS for name in EXPERIMENT.datasets]


def interpolated_files():
    """Return the interpolated weights that are kept as files."""
    combined = [run for run in RUNS if not run.baseline]
    grid = EXPERIMENT.interpolate_names
    return [paths.theta_path(run.name, run.seed, alpha) for run in combined for alpha in grid]


def figure_files(*figures):
    """Return all files of figures."""
    return [paths.figure_path(NAME, name, suffix) for name in figures for suffix in FORMATS]


TABLES = {
    "table_csv": paths.table_path(NAME, "csv"),
    "table_parquet": paths.table_path(NAME, "parquet"),
    "comparisons": paths.comparisons_path(NAME),
    "selection": paths.selection_path(NAME),
    "fits": paths.table_path(NAME, "fits.csv"),
}
