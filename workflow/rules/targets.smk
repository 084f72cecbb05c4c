"""The files that the experiment asks for."""


def evaluated(path):
    """Return a file of every run and dataset; `path` is a function of `wiseft.config.paths`."""
    return [path(run.name, run.seed, name) for run in RUNS for name in EXPERIMENT.datasets]


def model_files():
    """Return all weights. They are targets, because Snakemake makes a missing file again only
    if it is asked for, and would else go on with what was once made from it.
    """
    ends = {(run.model, run.reference) for run in RUNS if not run.baseline}
    return [
        *(paths.weights_path(model) for model in EXPERIMENT.models),
        *(paths.theta_0_path(model, reference) for model, reference in sorted(ends)),
        *(paths.theta_1_path(run.name, run.seed) for run in RUNS),
    ]


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


def experiment_files():
    """Return all files of an experiment."""
    return [
        *TABLES.values(),
        paths.table_path(NAME, "metrics.json"),
        *figure_files("samples", *EXPERIMENT.figures),
        paths.summary_path(NAME),
        *model_files(),
        *interpolated_files(),
        *evaluated(paths.metrics_path),
        *evaluated(paths.predictions_path),
    ]


def dataset_files():
    """Return the manifests of all datasets, and the prompt sets that are fetched."""
    prompts = [paths.prompts_path(name, ROOT) for name in FETCHED_PROMPTS]
    return [*manifests(DATASETS), *prompts]
