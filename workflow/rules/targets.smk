"""The files that the experiment asks for."""

from functools import cache


@cache  # several rules ask for all of them, and a grid has tens of thousands
def evaluated(path):
    """Return a file of every run and dataset; `path` is a function of `wiseft.config.paths`."""
    return [str(path(run.name, run.seed, name)) for run in RUNS for name in EXPERIMENT.datasets]


def logits_files(run, seed, datasets):
    """Return the stored logits of a run, in an experiment that compares pairs of models."""
    return [paths.logits_path(run, seed, name) for name in datasets if EXPERIMENT.pairs]


def diversity_inputs(datasets, method):
    """Return what a pair's measures are made from, of one of its runs; `method` may be a wildcard."""
    run = RUN.replace("{method}", method)
    kinds = (paths.logits_path, paths.predictions_path, paths.metrics_path)
    return [path(run, "{seed}", name) for path in kinds for name in datasets]


def first_of(wildcards, datasets):
    """Return the same of the pair's first model; none where that is the run's own zero-shot end."""
    if wildcards.first == "zero-shot":
        return []
    return [str(path).format(**wildcards) for path in diversity_inputs(datasets, wildcards.first)]


def evaluation_folder(path):
    """Return the folder of a run's evaluation, given a file of one of its datasets."""
    return Path(path).parents[1]


def views_of(datasets):
    """Return the primary view of each dataset."""
    return {name: CATALOGUE.dataset(name).primary_view for name in datasets}


def diversity_files():
    """Return the measures of every pair of models, by model, seed and dataset."""
    return [
        paths.diversity_path(run.name, run.seed, first, name)
        for first, second in EXPERIMENT.pairs
        for run in RUNS
        if run.method_id == second and not run.baseline
        for name in EXPERIMENT.datasets
    ]


def model_files():
    """Return all weights. They are targets, because Snakemake makes a missing file again only
    if it is asked for, and would else go on with what was once made from it.
    """
    return [
        *(paths.weights_path(model) for model in MODELS),
        *(paths.theta_0_path(model, EXPERIMENT.reference) for model in MODELS),
        *(paths.theta_1_path(run.name, run.seed) for run in RUNS if trains(run, CATALOGUE)),
    ]


def interpolated_files():
    """Return the interpolated weights that are kept as files."""
    combined = [run for run in RUNS if not run.baseline and trains(run, CATALOGUE)]
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


def reported(path, table):
    """Return the file of a table, which stands in the report."""
    about = {"caption": "../report/tables.rst", "category": "Tables of numbers"}
    return report(path, labels={"table": table}, **about)


def reported_tables(names):
    """Return tables by name; those that can be read as text stand in the report."""
    found = {name: TABLES[name] for name in names}
    for name in [name for name in names if TABLES[name].suffix == ".csv"]:
        found[name] = reported(TABLES[name], name.removesuffix("_csv"))
    return found


def effective_files():
    """Return the table of effective robustness, of an experiment that has a line to be above."""
    own = EXPERIMENT.baselines is not None and EXPERIMENT.averages
    return [paths.effective_path(NAME)] if own or has_other_models() else []


def experiment_files():
    """Return all files of an experiment."""
    return [
        *TABLES.values(),
        *effective_files(),
        *figure_files("samples", *(["pretrain-samples"] if PRETRAINED else [])),
        *figure_files(*EXPERIMENT.figures),
        *summary_files(),
        *page_files(),
        paths.provenance_path(NAME),
        *paper_table_files(),
        *model_files(),
        *interpolated_files(),
        *evaluated(paths.metrics_path),
        *evaluated(paths.predictions_path),
        *diversity_files(),
    ]


def published_files():
    """Return all files of an experiment that shows numbers of the paper alone."""
    return [
        TABLES["table_csv"],
        TABLES["table_parquet"],
        *effective_files(),
        *figure_files(*EXPERIMENT.figures),
        *page_files(),
        paths.provenance_path(NAME),
        *paper_table_files(),
    ]


def wanted_files():
    """Return what `all` asks for."""
    if RUNS:
        return experiment_files()
    if PUBLISHED_ONLY:
        return published_files()
    return [*dataset_files(), *(figure_files("samples") if EXPERIMENT.samples else [])]


def table_files():
    """Return the tables of an experiment; paired comparisons and choices need predictions."""
    if PUBLISHED_ONLY:
        return [TABLES["table_csv"], TABLES["table_parquet"], *effective_files()]
    return [*TABLES.values(), *effective_files()]


def paper_table_files():
    """Return the report of the paper's tables, beside which they lie."""
    chosen = EXPERIMENT.published.tables if EXPERIMENT.published else []
    return [paths.paper_tables_folder(NAME) / "README.md"] if chosen else []


def summary_files():
    """Return the summary and the headline, which are about models that were trained."""
    if PUBLISHED_ONLY or ZERO_SHOT:
        return []
    return [paths.summary_path(NAME), paths.table_path(NAME, "metrics.json")]


def page_files():
    """Return the interactive page, of an experiment that has anything to slide along."""
    return [paths.page_path(NAME)] if has_page(EXPERIMENT) else []


def table_links():
    """Return the CSV files that the page links to."""
    return [path for path in table_files() if path.suffix == ".csv"]


def dataset_files():
    """Return the manifests of all datasets, and the prompt sets that are fetched."""
    prompts = [paths.prompts_path(name, ROOT) for name in FETCHED_PROMPTS]
    return [*manifests(DATASETS), *prompts]


def fetched_files():
    """Return all that comes from a network: nothing else of the experiment needs one."""
    prompts = [paths.prompts_path(name, ROOT) for name in FETCHED_PROMPTS]
    packages = [key for name in BUILT for key in ENTRIES[name].packages]
    packages += [key for model in PRETRAINED for key in model_of(model).pretrain.font_packages]
    files = [paths.fetched_path(name, ROOT) for name in FILED]
    weights = [paths.weights_path(model) for model in FETCHED_MODELS]
    return [*package_files(dict.fromkeys(packages)), *files, *prompts, *weights]
