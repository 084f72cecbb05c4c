"""Every path of an artifact, relative to the project's root (docs/design.md, "Layout").

Arguments are plain names, so a workflow may pass wildcards:
``theta_0_path("{model}", "{reference}")``.
"""

from __future__ import annotations

from pathlib import Path

DATASETS_ROOT = "datasets"
DATA = Path("data")
PUBLISHED = Path("published/tables")
RESULTS = Path("results")
STATE = Path(".wiseft/state")


def run_name(model: str, reference: str, method_id: str) -> str:
    """Return the name of a run: `<model>__<reference>__<method>[__<variant>]`."""
    return f"{model}__{reference}__{method_id}"


# ----------------------------------------------------------------------------------------- datasets


def package_path(file: str, root: str | Path = DATASETS_ROOT) -> Path:
    """Return where a fetched package lies."""
    return Path(root) / ".packages" / file


def archives_folder(dataset: str, root: str | Path = DATASETS_ROOT) -> Path:
    """Return the folder of a dataset's fetched files; you may put files there yourself."""
    return Path(root) / ".archives" / dataset


def fetched_path(dataset: str, root: str | Path = DATASETS_ROOT) -> Path:
    """Return the record of a dataset's fetched files."""
    return Path(root) / ".archives" / f"{dataset}.json"


def prompts_path(name: str, root: str | Path = DATASETS_ROOT) -> Path:
    """Return where a fetched prompt set lies."""
    return Path(root) / ".prompts" / f"{name}.json"


def cache_path(dataset: str, transform: str, root: str | Path = DATASETS_ROOT) -> Path:
    """Return the record of a dataset's decoded cache, for a transform by its name."""
    return dataset_folder(dataset, root) / f"cache-{transform}" / "cache.json"


def dataset_folder(dataset: str, root: str | Path = DATASETS_ROOT) -> Path:
    """Return the folder of a prepared dataset."""
    return Path(root) / dataset


def manifest_path(dataset: str, root: str | Path = DATASETS_ROOT) -> Path:
    """Return the manifest of a prepared dataset; it is written last."""
    return dataset_folder(dataset, root) / "manifest.json"


def glyphs_folder(model_entry: str, root: str | Path = DATASETS_ROOT) -> Path:
    """Return the folder of the glyph masks that a model entry is pre-trained on."""
    return Path(root) / "glyphs" / model_entry


# ------------------------------------------------------------------------------------------- models


def model_folder(model: str) -> Path:
    """Return the folder of a zero-shot model."""
    return DATA / "models" / model


def weights_path(model: str) -> Path:
    """Return the zero-shot model's weights, both towers."""
    return model_folder(model) / "weights.safetensors"


def pretrain_curve_path(model: str) -> Path:
    """Return the training curve of a model that was pre-trained here."""
    return model_folder(model) / "pretrain.csv"


def theta_0_path(model: str, reference: str) -> Path:
    """Return theta_0: image tower and zero-shot head for the reference's classes."""
    return model_folder(model) / reference / "theta_0.safetensors"


def theta_0_own_head_path(model: str, reference: str, dataset: str) -> Path:
    """Return theta_0 with a head of a dataset's class names, spread over the reference's."""
    return model_folder(model) / reference / f"theta_0_for_{dataset}.safetensors"


def theta_0_with_text_path(model: str, reference: str) -> Path:
    """Return theta_0 with the text tower, for methods that train that one too."""
    return model_folder(model) / reference / "theta_0_with_text.safetensors"


# --------------------------------------------------------------------------------------------- runs


def run_folder(run: str, seed: int | str) -> Path:
    """Return the folder of one run and seed."""
    return DATA / "runs" / run / f"seed-{seed}"


def theta_1_path(run: str, seed: int | str) -> Path:
    """Return theta_1, the fine-tuned (or from-scratch) model."""
    return run_folder(run, seed) / "theta_1.safetensors"


def training_curve_path(run: str, seed: int | str) -> Path:
    """Return the training curve of a run."""
    return run_folder(run, seed) / "training.csv"


def training_record_path(run: str, seed: int | str) -> Path:
    """Return the record of a training: time, speed and memory."""
    return run_folder(run, seed) / "training.json"


def trials_path(run: str, seed: int | str) -> Path:
    """Return the trials of a search over the settings of a linear classifier."""
    return run_folder(run, seed) / "trials.csv"


def theta_path(run: str, seed: int | str, alpha: str) -> Path:
    """Return the interpolated model at alpha, a three-decimal string."""
    return run_folder(run, seed) / "combine" / f"theta_{alpha}.safetensors"


def evaluations_folder(run: str, seed: int | str, kept: bool = False) -> Path:
    """Return the folder of a run's evaluations, by its own head or, `kept`, by the datasets'."""
    return run_folder(run, seed) / ("kept" if kept else "evaluate")


def metrics_path(run: str, seed: int | str, dataset: str, kept: bool = False) -> Path:
    """Return the metrics of a run on one dataset."""
    return evaluations_folder(run, seed, kept) / dataset / "metrics.json"


def predictions_path(run: str, seed: int | str, dataset: str, kept: bool = False) -> Path:
    """Return the predictions of a run on one dataset."""
    return evaluations_folder(run, seed, kept) / dataset / "predictions.parquet"


def logits_path(run: str, seed: int | str, dataset: str) -> Path:
    """Return the stored logits of a run on one dataset."""
    return evaluations_folder(run, seed) / dataset / "logits.safetensors"


def diversity_path(run: str, seed: int | str, first: str, dataset: str) -> Path:
    """Return the measures of diversity of a run and `first`: `zero-shot` or another method."""
    return run_folder(run, seed) / "diversity" / first / f"{dataset}.json"


# ------------------------------------------------------------------------------- tables and results


def table_path(experiment: str, suffix: str = "csv") -> Path:
    """Return the tidy table; `suffix` is `csv` or `parquet`, or that of a table beside it."""
    return DATA / "tables" / f"{experiment}.{suffix}"


def made_with_path(experiment: str) -> Path:
    """Return the record of what the tables were made with."""
    return table_path(experiment, "made-with.json")


def published_path(experiment: str, table: Path) -> Path:
    """Return the copy in git of a published table: a CSV is compressed."""
    return PUBLISHED / experiment / (table.name + (".gz" if table.suffix == ".csv" else ""))


def results_folder(experiment: str) -> Path:
    """Return the folder of an experiment's figures, summary and report."""
    return RESULTS / experiment


def figure_path(experiment: str, figure: str, suffix: str) -> Path:
    """Return a figure; `suffix` is `pdf`, `png` or `svg`."""
    return results_folder(experiment) / "figures" / f"{figure}.{suffix}"


def page_path(experiment: str) -> Path:
    """Return the interactive page."""
    return results_folder(experiment) / "index.html"


def provenance_path(experiment: str) -> Path:
    """Return the page that says what an experiment's numbers and figures were made from."""
    return results_folder(experiment) / "provenance.html"


def summary_path(experiment: str) -> Path:
    """Return the Markdown summary."""
    return results_folder(experiment) / "summary.md"


def paper_tables_folder(experiment: str) -> Path:
    """Return the folder of the paper's tables, measured and published numbers side by side."""
    return results_folder(experiment) / "tables"


# ------------------------------------------------------------------------------------------- state


def state_path(stage: str, *parts: int | str) -> Path:
    """Return the disposable folder from which a killed run of a stage resumes."""
    return STATE.joinpath(stage, *(str(part) for part in parts))
