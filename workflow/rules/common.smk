"""What the rules share: the configuration, and what a command gets of its entries."""

import json
import re
import shlex
import sys
from pathlib import Path

from snakemake.utils import min_version
from wiseft.alphas import ALPHA_REGEX
from wiseft.config import Catalogue, Run, experiment_runs, load_config, model_names, paths
from wiseft.config import split_run_name, theta_1_of, trains
from wiseft.config.how_checks import how_problems
from wiseft.config.resolve import method_of
from wiseft.errors import WiseftError
from wiseft.figures.context import figure_context, has_page, page_context
from wiseft.gpus import devices
from wiseft.io import sha256_json
from wiseft.plugins import drawing_text
from wiseft.stages import VERSION

min_version("9.19")

try:
    SETTINGS = load_config("config/config.yaml", config)
    CATALOGUE = Catalogue(".")
    EXPERIMENT = CATALOGUE.experiment(SETTINGS.experiment)
    DATASETS = CATALOGUE.dataset_closure(EXPERIMENT.datasets)
    SUITES = CATALOGUE.suites(EXPERIMENT.datasets)
    PACKAGES = {package.file: key for key, package in CATALOGUE.packages().items()}
    if problems := how_problems(
        SETTINGS.training.how, EXPERIMENT, CATALOGUE, "config/config.yaml or --config"
    ):
        raise WiseftError("\n".join(problems))
except WiseftError as error:
    raise WorkflowError(str(error)) from None

NAME = EXPERIMENT.experiment
RUNS = experiment_runs(EXPERIMENT)
METHODS = EXPERIMENT.methods
# Models that are made into a theta_0: those that are fine-tuned, and those only combined with them.
MODELS = model_names(EXPERIMENT, CATALOGUE)
INDEPENDENT = [m for m in METHODS if CATALOGUE.independent(m)]
CHECKPOINTS = {m: CATALOGUE.checkpoint(m) for m in METHODS if CATALOGUE.checkpoint(m)}
SEARCHED = [m for m in METHODS if CATALOGUE.method_settings(m).search]
CONTRASTIVE = [m for m in METHODS if CATALOGUE.method_settings(m).objective.trains_text]
BASELINES = list(dict.fromkeys(run.method_id for run in RUNS if run.baseline))
BASELINE_MODELS = sorted({run.model for run in RUNS if run.baseline})
ZERO_SHOT = [run.method_id for run in RUNS if EXPERIMENT.zero_shot_only]
PRETRAINED = [m for m in MODELS if CATALOGUE.model(m)[0].source == "pretrain"]
FETCHED_MODELS = [m for m in MODELS if CATALOGUE.model(m)[0].fetched]
# Models whose zero-shot head takes more than prompts, or no prompts at all.
CALIBRATED = [m for m in MODELS if CATALOGUE.model(m)[0].calibrate]
SUPERVISED = [m for m in MODELS if CATALOGUE.model(m)[0].source == "timm"]
RUN = "{model}__{reference}__{method}"
# An experiment without runs may show numbers of the paper alone; its datasets are only named.
PUBLISHED_ONLY = not RUNS and EXPERIMENT.published is not None
GLYPH_KEYS = {"glyph_size", "pen_glyphs"}  # what rendering depends on, of all pre-training
FORMATS = ["pdf", "png", "svg"]
# What figures, page and report import of the stages before them.
TABLE_READERS = [
    *(f"tabulate/{name}.py" for name in ("schema", "robustness", "settings", "intervals")),
    *("tabulate/diversity.py", "tabulate/published.py", "published/lines.py"),
    *("published/lines.csv", "cli/figures.py"),
]
# Keys of a model's entry that its weights do not depend on.
NOT_OF_WEIGHTS = {"title", "calibrate", "label_map", "names_of", "pretrain"}
# Modules of the figures stage that one figure does not depend on.
OTHER_FIGURE_MODULES = {"headline", "summary", "paper", "provenance", "context", "__init__"}


def braced(text):
    """Return a text in which Snakemake fills in nothing."""
    return text.replace("{", "{{").replace("}", "}}")


# The commands are those of the Python that runs the workflow. OpenMP threads that spin while
# they wait would take the cores of the jobs beside them. No job but a fetch uses the network.
# How a training is carried out is no parameter of its rule: it must not make a model again.
shell.prefix(
    f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    f" WISEFT_HOW={braced(shlex.quote(SETTINGS.training.how.model_dump_json()))}"
    f" WISEFT_FEATURES={paths.state_path('features')}"
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


def gpus(processes=1):
    """Return the GPUs that a job asks for: none on a CPU, so that CPU jobs run side by side."""
    found = SETTINGS.device == "auto" and devices()
    return processes if SETTINGS.device == "cuda" or found else 0


# What the commands get of an entry. Whatever changes an artifact is a parameter of its rule.


def model_of(model):
    """Return the entry of a model such as `digits-rn-s10`."""
    return CATALOGUE.model(model)[0]


def architecture(model):
    """Return the file with a model's architecture."""
    return CATALOGUE.architecture_path(model_of(model))


def label_map_of(model):
    """Return the file that maps the reference's classes to a label set, if a model names one."""
    name = model_of(model).label_map
    return [CATALOGUE.folder / "models" / name] if name else []


def names_of(model):
    """Return the dataset whose class names stand in a model's prompts, as a list, mostly empty."""
    return [name] if (name := model_of(model).names_of) else []


def theta_0_of(wildcards):
    """Return the zero-shot end of a run as a list, which is empty for a baseline."""
    known = wildcards.method in METHODS + ZERO_SHOT
    return [start_of(wildcards)] if known else []


def start_of(wildcards):
    """Return theta_0; where the text tower is trained too, with that tower."""
    if wildcards.method in CONTRASTIVE:
        return paths.theta_0_with_text_path(wildcards.model, wildcards.reference)
    return paths.theta_0_path(wildcards.model, wildcards.reference)


def end_of(wildcards):
    """Return the other end of a run: theta_1, or the classifier that stands in its place."""
    run = Run(wildcards.model, wildcards.reference, wildcards.method, wildcards.seed, False)
    return theta_1_of(run, CATALOGUE)


def resident(wildcards):
    """Return the models that an evaluation runs images through."""
    other = CATALOGUE.independent(wildcards.method) if wildcards.method in INDEPENDENT else None
    return [wildcards.model, other.model] if other else [wildcards.model]


def combinations_of(wildcards):
    """Return how the two ends of a run are combined; weights only if they belong together."""
    outputs = [name for name in EXPERIMENT.combinations if name != "weight"]
    return ",".join(outputs if wildcards.method in INDEPENDENT else EXPERIMENT.combinations)


def logits_of(wildcards):
    """Return the alphas whose logits are stored: the ends, where pairs of models are compared."""
    if not EXPERIMENT.pairs:
        return ""
    return "--logits 0.000,1.000" if wildcards.method in METHODS else "--logits 1.000"


def alphas_of(wildcards):
    """Return the grid of a run; a model from scratch has no other end to combine with."""
    known = wildcards.method in METHODS + ZERO_SHOT
    return EXPERIMENT.alpha_names if known else ["1.000"]


def identity_of(wildcards):
    """Return the options that say which run a metrics file is about."""
    run = RUN.format(**wildcards)
    keys = ("model", "reference", "method", "variant")
    about = {**dict(zip(keys, split_run_name(run))), "run": run, "seed": wildcards.seed}
    return " ".join(f"--{key} {shlex.quote(str(value))}" for key, value in about.items())


def figure_modules(draw=None):
    """Return patterns of the modules behind a drawing; of none, those that all drawings share."""
    shared = [path.stem for path in Path("src/wiseft/figures").glob("*.py")]
    # `diversity` and `overrides` are made of bars.
    own = ["drawings/bars", f"drawings/{draw}"] if draw else []
    names = sorted({*shared, *own} - OTHER_FIGURE_MODULES)
    style = ["style/*"] if draw else []
    return [*(f"figures/{name}.py" for name in names), *style, *TABLE_READERS]
