"""What the tables depend on besides the numbers, and which numbers of the paper stand in them."""


def augmented_baselines():
    """Return the baselines that no fit goes through: augmentation is an intervention."""
    return [m for m in BASELINES if CATALOGUE.method_settings(m).augment != "none"]


def published_settings():
    """Return which numbers of the paper stand in the tables, as JSON, and if the others are here."""
    if EXPERIMENT.published is None:
        return ""
    chosen = EXPERIMENT.published.model_dump_json()
    return f"--published {shlex.quote(chosen)} --datasets {shlex.quote(SETTINGS.datasets.folder)}"


def paper_table_choice():
    """Return numbers of the paper's tables: those of the experiment, and 3 where it has the sweeps
    that its differences follow from; none, which stands for all, where nothing is trained.
    """
    tables = list(EXPERIMENT.published.tables) if EXPERIMENT.published and RUNS else []
    return sorted({*tables, 3} if {4, 5} & set(tables) else tables)


def has_other_models():
    """Whether lines through models of other authors are drawn."""
    return EXPERIMENT.published is not None and EXPERIMENT.published.other_models


def other_models():
    """Return the files of other models' accuracies that are here; they are never waited for."""
    if not has_other_models():
        return []
    folder = paths.archives_folder("testbed", SETTINGS.datasets.folder)
    return sorted([*folder.glob("*.csv"), *folder.glob("*.py")])


def measured_tables():
    """Return the tables of other experiments that are here, of those that this one shows."""
    names = EXPERIMENT.published.measured if EXPERIMENT.published else []
    tables = (paths.table_path(name, "parquet") for name in names if name != NAME)
    return [path for path in tables if path.is_file()]


def statistics():
    """Return what the tables depend on besides the numbers, as JSON."""
    keys = {"averages", "held_out", "test_split", "reference", "bootstrap", "alphas"}
    chosen = EXPERIMENT.model_dump(mode="json", include=keys)
    named = {name: entry.clusters for name, entry in ENTRIES.items() if entry.clusters}
    clusters = {"clusters": named} if named else {}
    return json.dumps(
        {**chosen, "fit_exclude": augmented_baselines(), **view_settings(), **clusters}
    )


def resolved_settings():
    """Return an experiment's settings with those of its methods and models, for the record."""
    settings = EXPERIMENT.model_dump(mode="json", exclude={"figures", "page"})
    methods = {m: method_of(m, CATALOGUE) for m in dict.fromkeys([*METHODS, *BASELINES])}
    models = {m: model_of(m).model_dump(mode="json", exclude_defaults=True) for m in MODELS}
    return json.dumps({"experiment": settings, "methods": methods, "models": models})


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
