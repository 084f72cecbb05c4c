"""Where datasets lie, what is needed of them, and what a command gets of their entries."""

from snakemake.logging import logger
from wiseft.data.fetching.sources import missing_files

PLACES = SETTINGS.datasets
ROOT = PLACES.folder
ENTRIES = {name: CATALOGUE.dataset(name) for name in DATASETS}
# Datasets that are read from files of their own; the others are built from packages or cut from
# other datasets.
FILED = [name for name, e in ENTRIES.items() if e.layout != "arrays" and e.limit is None]
BUILT = [name for name in DATASETS if name not in FILED]
FETCHED_PROMPTS = {
    prompts.name: prompts
    for prompts in (CATALOGUE.prompts(entry.prompts) for entry in ENTRIES.values())
    if prompts.file is not None
}


def package_files(keys):
    """Return the files of packages, given their keys in config/packages.yaml."""
    return [paths.package_path(CATALOGUE.package(key).file, ROOT) for key in keys]


def manifests(names):
    """Return the manifests of datasets."""
    return [paths.manifest_path(name, ROOT) for name in names]


def glyphs(model):
    """Return the glyph masks that a model is pre-trained on."""
    return paths.glyphs_folder(model, ROOT) / "glyphs.safetensors"


def evaluated_splits(entry):
    """Return the splits that are evaluated: the reported one alone where nothing is trained."""
    return [EXPERIMENT.test_split] if ZERO_SHOT else entry.evaluate


def splits_of(dataset):
    """Return the splits that the experiment needs of a dataset; only their files are fetched."""
    entry = ENTRIES[dataset]
    if EXPERIMENT.samples and not RUNS:
        return [EXPERIMENT.test_split]
    children = [e for e in ENTRIES.values() if dataset in e.depends]
    if not RUNS or any(child.limit is None for child in children):
        return list(entry.splits)
    needed = {split for child in children for split in splits_of(child.name)}
    if dataset in EXPERIMENT.datasets:
        needed |= set(evaluated_splits(entry))
    if dataset == EXPERIMENT.reference and not ZERO_SHOT:
        needed.add("train")
    return [split for split in entry.splits if split in needed]


def samples_shown():
    """Return the options that name the one class that the panel of sample images shows, if any."""
    shown = EXPERIMENT.samples
    return f"--of {shlex.quote(shown.of)} --images {shown.images}" if shown else ""


def missing_data():
    """Return a sentence for every file that only the user can bring."""
    absent = [name for name in FILED if not paths.manifest_path(name, ROOT).is_file()]
    return [
        sentence
        for name in absent
        for sentence in missing_files(ENTRIES[name], PLACES, splits_of(name))
    ]


def data_id(*names):
    """Return a hash of all that the images, ids, labels and class names of datasets depend on.

    It is a parameter of whatever is made from them: their manifests alone would not do, because
    a change whose preparation fails leaves none, and then no input is newer than the results.
    """
    keys = {"name", "layout", "builder", "root", "class_names", "splits", "options"}
    more = {"files", "class_ids", "label_map", "held_out", "border", "limit"}
    entries = [ENTRIES[name] for name in CATALOGUE.dataset_closure(names)]
    content = [
        {
            **entry.model_dump(mode="json", include=keys),
            **entry.model_dump(mode="json", include=more, exclude_defaults=True),
        }
        for entry in entries
    ]
    sources = [CATALOGUE.package(key).sha256 for entry in entries for key in entry.packages]
    return sha256_json([VERSION["data"], content, sources])[:16]


def checksums_of(dataset):
    """Return a hash of what is published of a dataset's files."""
    files = [
        file.model_dump(mode="json", exclude={"urls", "how"}) for file in ENTRIES[dataset].files
    ]
    return sha256_json(files)[:16]


def prompts_file(dataset):
    """Return the fetched prompt set of a dataset as a list, empty where it is in the catalogue."""
    name = ENTRIES[dataset].prompts
    return [paths.prompts_path(name, ROOT)] if name in FETCHED_PROMPTS else []


def templates_of(dataset):
    """Return the prompt templates of a dataset as JSON, or where they are fetched to."""
    if fetched := prompts_file(dataset):
        return f"@{fetched[0]}"
    return json.dumps(CATALOGUE.prompts(ENTRIES[dataset].prompts).ready)


def evaluation_of(datasets):
    """Return what is evaluated of each dataset, as JSON."""
    chosen = {}
    for name in datasets:
        entry = ENTRIES[name]
        views = [
            {key: value for key, value in view.model_dump(mode="json").items() if value}
            for view in entry.views
        ]
        views += [
            {"name": class_view(like), "metric": "accuracy", "like": like}
            for like in likes_of(entry)
        ]
        chosen[name] = {"splits": evaluated_splits(entry), "views": views}
    return json.dumps(chosen)


def caches_of(models, datasets):
    """Return the decoded caches that an evaluation reads, after the transform of each model."""
    transforms = dict.fromkeys(model_of(model).preprocessing.transform.name for model in models)
    cached = [name for name in datasets if name in PLACES.cache and name in FILED]
    return [paths.cache_path(name, each, ROOT) for name in cached for each in transforms]
