"""The files that an experiment makes, and the inputs of its rules that depend on its entries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from wiseft.errors import WiseftError
from wiseft.study.config import paths
from wiseft.study.config.experiment import ZERO_SHOT
from wiseft.study.config.experiment_parts import PublishedSettings
from wiseft.study.targets.data import Data
from wiseft.study.targets.runs import Run, Runs
from wiseft.study.targets.shown import not_run
from wiseft.thetas.damage import sum_path

FORMATS = ("pdf", "png", "svg")
SWEPT_TABLES = frozenset({4, 5, 9, 10, 11, 12})
"""Tables of the paper that have every alpha."""


class Kind(NamedTuple):
    """Files of one kind that `all` asks for.

    Attributes:
        stage: that makes them.
        name: the kind, in words.
        files: relative to the project's root.
    """

    stage: str
    name: str
    files: list[str]


class Files:
    """The files of an experiment.

    Attributes:
        published: which numbers of other people stand beside the measured ones.
        tables: all tables that there may be, by the name of the output that they are.
        tabulated: those of the experiment: comparisons and choices need predictions.
    """

    def __init__(self, runs: Runs, data: Data) -> None:
        self._runs = runs
        self._data = data
        self._experiment = runs.experiment
        self.published = runs.experiment.published or PublishedSettings()
        self._evaluated: dict[Callable[..., Path], list[str]] = {}
        self._copies = False
        self.tables = {
            "table_csv": paths.table_path(runs.name, "csv"),
            "table_parquet": paths.table_path(runs.name, "parquet"),
            "comparisons": paths.table_path(runs.name, "comparisons.csv"),
            "selection": paths.table_path(runs.name, "selection.csv"),
            "fits": paths.table_path(runs.name, "fits.csv"),
            "made_with": paths.made_with_path(runs.name),
        }
        if self._experiment.tuning:
            self.tables["tuning"] = paths.table_path(runs.name, "tuning.csv")
        made = self.tables if runs.runs else ["table_csv", "table_parquet"]
        tabulated = runs.runs or runs.published_only
        self.tabulated = {name: self.tables[name] for name in made if tabulated}

    def take_copies(self) -> str:
        """Read copies of published tables where data/ has none, in a workflow of figures alone.

        Returns which tables are read, in a sentence. Raises WiseftError if there are neither.
        """
        self._copies, name = True, self._runs.name
        self.tables = {key: self._read(name, path) for key, path in self.tables.items()}
        self.tabulated = {key: self.tables[key] for key in self.tabulated}
        table = self.tables["table_parquet"]
        if not table.is_relative_to(paths.DATA):
            self.tabulated.pop("table_csv")  # has no copy, and the page would link to it
        if self._runs.published_only or self._data.there(table):
            return f"The figures of {name} are drawn from the tables in {table.parent}."
        raise WiseftError(
            f"there are no tables of {name} to draw from, neither {table} nor copies in "
            f"{paths.PUBLISHED / name}; run the experiment (make run EXPERIMENT={name}), or get "
            "them from who did (dvc pull data/tables; docs/running.md)"
        )

    def _read(self, experiment: str, path: Path | None = None) -> Path:
        """Return where a table is read: in data/, or its copy if the experiment's are not there."""
        table = paths.table_path(experiment, "parquet")
        copy = paths.published_path(experiment, path or table)
        copied = self._copies and not self._data.there(table) and self._data.there(copy)
        return copy if copied else path or table

    @cached_property
    def kinds(self) -> list[Kind]:
        """What `all` asks for, in the order of the stages; kinds without files are left out.

        All weights are among them, because Snakemake makes a missing file again only if it is asked
        for, and would else go on with what was once made from it.
        """
        runs, reference = self._runs, self._runs.reference
        scratch = [run for run in runs.runs if run.baseline]
        merged = [run for run in runs.combined if run.method_id in runs.merged]
        kinds: list[tuple[str, str, Iterable[Path | str]]] = [
            ("data", "datasets", self.datasets() if self._experiment.data_only else []),
            ("data", "sample images", self.samples()),
            ("pretrain", "samples of pre-training", self.pretrain_samples()),
            ("weights", "zero-shot weights", map(paths.weights_path, runs.models)),
            (
                "zeroshot",
                "zero-shot models (theta_0)",
                [
                    *(paths.theta_0_path(model, reference) for model in runs.models),
                    *(paths.theta_0_path(model, name) for model, name in self.kept_heads),
                    *(paths.theta_0_own_head_path(m, reference, n) for m, n in self.own_heads),
                ],
            ),
            ("finetune", "fine-tuned models (theta_1)", _theta_1(runs.fine_tuned)),
            ("finetune", "from-scratch baselines", _theta_1(scratch)),
            ("combine", "merged models (theta_1)", _theta_1(merged)),
            ("combine", "interpolated models", self.interpolated()),
            ("evaluate", "metrics", self.evaluated(paths.metrics_path)),
            ("evaluate", "predictions", self.evaluated(paths.predictions_path)),
            ("diversity", "diversity", self.diversity()),
            ("tabulate", "tables", self.table_files()),
            ("tabulate", "headline", self.headline()),
            ("figures", "figures", self.figures(*self.drawn())),
            ("figures", "summary", self.summary()),
            ("figures", "interactive page", self.page()),
            ("figures", "provenance", self.provenance()),
            ("figures", "tables of the paper", self.paper_tables()),
        ]
        made = [Kind(stage, name, [str(path) for path in files]) for stage, name, files in kinds]
        return [kind for kind in made if kind.files]

    def wanted(self, *stages: str) -> list[str]:
        """Return what `all` asks for; with stages, what it asks of these."""
        kinds = [kind for kind in self.kinds if not stages or kind.stage in stages]
        return [file for kind in kinds for file in kind.files]

    def datasets(self) -> list[Path]:
        """Return the manifests of all datasets, and the prompt sets that are fetched."""
        return [*self._data.manifests(self._data.prepared), *self._data.prompt_files()]

    def fetched(self) -> list[Path]:
        """Return all that comes from a network: nothing else of the experiment needs one."""
        runs, data = self._runs, self._data
        records = [paths.fetched_path(name, data.folder) for name in data.filed]
        weights = [paths.weights_path(model) for model in runs.fetched]
        packages = data.packages(self.package_keys())
        return [*packages, *records, *self.prompts(), *weights]

    def prompts(self) -> list[Path]:
        """Return the prompt sets that are fetched: with models, those of the reference and of kept
        datasets, and only if a head is made of prompts.
        """
        if not self._runs.runs:
            return self._data.prompt_files()
        prompted = len(self._runs.models) > len(self._runs.supervised)
        of = [self._runs.reference, *self._experiment.keep] if prompted else []
        return list(dict.fromkeys(path for name in of for path in self._data.prompts(name)))

    def package_keys(self) -> list[str]:
        """Return the packages that datasets, typefaces and weights are made from."""
        keys = [key for name in self._data.built for key in self._data.entries[name].packages]
        keys += [key for m in self._runs.models for key in self._data.model_packages(m)]
        return list(dict.fromkeys(keys))

    def samples(self) -> list[Path]:
        """Return the panel of sample images, where datasets are prepared and any are shown."""
        shown = self._runs.runs or (self._experiment.samples and not self._runs.published_only)
        return self.figures("samples") if shown else []

    def pretrain_samples(self) -> list[Path]:
        """Return the panel of what pre-training sees, where a model is pre-trained here.

        Of one that was pulled there are no glyphs to show, and to make them would train it again.
        """
        if not self._runs.pretrained:
            return []
        model = self._runs.pretrained[0]
        glyphs = self._data.glyphs(self._runs.entry(model).name)
        pulled = self._data.there(paths.weights_path(model)) and not self._data.there(glyphs)
        return [] if pulled else self.figures("pretrain-samples")

    def theta_0(self, model: str, method: str, suite: str = "") -> list[Path]:
        """Return the zero-shot end of a run, which a baseline has not, as a suite sees it."""
        if method not in self._runs.two_ended:
            return []
        if (model, suite) in self.own_heads and method not in self._runs.contrastive:
            return [paths.theta_0_own_head_path(model, self._runs.reference, suite)]
        return [self._runs.theta_0(model, method)]

    def theta_1(self, model: str, method: str, seed: int | str, suite: str) -> Path:
        """Return the other end of a run as a suite sees it."""
        if method == ZERO_SHOT:
            return self.theta_0(model, method, suite)[0]
        return self._runs.theta_1(model, method, seed)

    @cached_property
    def own_heads(self) -> list[tuple[str, str]]:
        """The models that get a head of a dataset's own class names, with that dataset."""
        runs, entries = self._runs, self._data.entries
        named = [name for name in self._experiment.datasets if entries[name].own_head]
        models = [m for m in runs.prompted if m in self._experiment.models]
        return [(m, name) for m in models for name in named if not runs.entry(m).names_of]

    def ingredients(self, model: str, method: str, seed: str) -> list[Path]:
        """Return the thetas that a merged model is made of, in the order that its recipe takes."""
        runs, recipe = self._runs, self._runs.merged[method].checked()
        run = Run(model, runs.reference, method, int(seed), baseline=False)
        start = [runs.theta_0(model, method)] if recipe.inputs.from_zero_shot else []
        return [*start, *_theta_1(runs.ingredients(run))]

    @property
    def kept_heads(self) -> list[tuple[str, str]]:
        """The models that get a head of a kept dataset, with that dataset."""
        return [(m, name) for m in self._experiment.models for name in self._experiment.keep]

    def head(self, model: str, datasets: Iterable[str]) -> list[Path]:
        """Return the theta whose head an evaluation takes, if its datasets are kept ones."""
        return [paths.theta_0_path(model, name) for name in datasets if self._data.keeps(name)]

    def interpolated(self) -> list[Path]:
        """Return the interpolated weights that are kept as files."""
        grid = self._experiment.interpolate_names
        runs = self._runs.combined
        return [paths.theta_path(run.name, run.seed, alpha) for run in runs for alpha in grid]

    def evaluated(self, path: Callable[..., Path]) -> list[str]:
        """Return a file of every run and dataset; `path` is a function of `config.paths`.

        Several rules ask for all of them, and a grid has tens of thousands, so they are kept.
        """
        if path not in self._evaluated:
            self._evaluated[path] = [
                str(file)
                for run in self._runs.runs
                for file in self.of_evaluation(path, run.name, run.seed, self.datasets_of(run))
            ]
        return self._evaluated[path]

    def datasets_of(self, run: Run) -> list[str]:
        """Return what a run is evaluated on; kept datasets only where it is fine-tuned."""
        fine_tuned = not run.baseline and self._runs.has_theta_1(run)
        return [*self._experiment.datasets, *(self._experiment.keep if fine_tuned else [])]

    def of_evaluation(
        self, path: Callable[..., Path], run: str, seed: int | str, datasets: Iterable[str]
    ) -> list[Path]:
        """Return a file of a run for each dataset; `path` is as in `evaluated`."""
        return [path(run, seed, name, kept=self._data.keeps(name)) for name in datasets]

    def all_logits(self) -> list[Path]:
        """Return the stored logits of all runs."""
        names = self._experiment.datasets
        return [file for run in self._runs.runs for file in self.logits(run.name, run.seed, names)]

    def logits(self, run: str, seed: int | str, datasets: Iterable[str]) -> list[Path]:
        """Return a run's stored logits, where pairs of models are compared; kept sets have none."""
        stored = datasets if self._experiment.pairs else []
        return [paths.logits_path(run, seed, name) for name in stored if not self._data.keeps(name)]

    def pairs(self) -> list[tuple[str, Run]]:
        """Return the first model of every pair, with each run that is its second."""
        pairs, runs = self._experiment.pairs, self._runs.runs
        return [
            (first, run)
            for first, second in pairs
            for run in runs
            if run.method_id == second and not run.baseline
        ]

    def diversity(self) -> list[Path]:
        """Return the measures of every pair of models, by model, seed and dataset."""
        return [
            paths.diversity_path(run.name, run.seed, first, name)
            for first, run in self.pairs()
            for name in self._experiment.datasets
        ]

    def compared(self, model: str, method: str, seed: str, datasets: Iterable[str]) -> list[Path]:
        """Return what a pair's measures are made from, of one of its models; none where that is
        the other run's own zero-shot end.
        """
        if method == ZERO_SHOT:
            return []
        run = paths.run_name(model, self._runs.reference, method)
        kinds = (paths.logits_path, paths.predictions_path, paths.metrics_path)
        return [path(run, seed, name) for path in kinds for name in datasets]

    def table_files(self) -> list[Path]:
        """Return all tables, effective robustness among them."""
        return [*self.tabulated.values(), *self.effective()]

    @staticmethod
    def sums(*tables: Path) -> list[Path]:
        """Return the files with the sums of tables, without which no table is read."""
        return [sum_path(table) for table in tables]

    def tuning(self) -> list[Path]:
        """Return the table of the settings of one recipe, where the experiment names them."""
        return [path for name, path in self.tabulated.items() if name == "tuning"]

    def effective(self) -> list[Path]:
        """Return the table of effective robustness, where there is a line to be above."""
        own = self._experiment.baselines is not None and self._experiment.averages
        path = paths.table_path(self._runs.name, "effective-robustness.csv")
        return [self._read(self._runs.name, path)] if own or self.published.other_models else []

    def other_models(self) -> list[Path]:
        """Return the files of other models' accuracies that are here; they are never waited for."""
        if not self.published.other_models:
            return []
        folder = paths.archives_folder("testbed", self._data.folder)
        return sorted([*folder.glob("*.csv"), *folder.glob("*.py")])

    def measured_tables(self) -> list[Path]:
        """Return the tables of other experiments that are here, of those that this one shows."""
        names = self.published.measured
        tables = [self._read(name) for name in names if name != self._runs.name]
        return [path for path in tables if self._data.there(path)]

    def zero_shot_tables(self) -> list[Path]:
        """Return the table whose zero-shot models a line in figures goes through, if it is here."""
        name = self.published.zero_shot
        path = self._read(name) if name else None
        return [path] if path and self._data.there(path) else []

    def missing_tables(self) -> list[str]:
        """Return the experiments whose tables this one shows and which are not here."""
        names = [*self.published.measured, self.published.zero_shot]
        here = {*self.measured_tables(), *self.zero_shot_tables()}
        others = [name for name in names if name and name != self._runs.name]
        return [name for name in others if self._read(name) not in here]

    def figure_files(self, name: str) -> list[Path]:
        """Return the file of the user that a figure needs, if any."""
        file = self._experiment.figures[name].options.get("file")
        return [Path(file)] if file else []

    def drawn(self) -> list[str]:
        """Return the figures that can be drawn: those whose file is there, if they need one, and
        which show nothing that the experiment does not run.
        """
        return [
            name
            for name in self._experiment.figures
            if all(map(self._data.there, self.figure_files(name))) and not self.not_run(name)
        ]

    def not_run(self, figure: str) -> list[str]:
        """Return what a figure is about and the experiment does not run; see `shown.not_run`."""
        return not_run(self._experiment, self._runs.runs, figure)

    def headline(self) -> list[Path]:
        """Return the numbers for `dvc metrics`, which are about models that were trained."""
        trained = self._runs.runs and not self._experiment.zero_shot_only
        return [paths.table_path(self._runs.name, "metrics.json")] if trained else []

    def figures(self, *names: str) -> list[Path]:
        """Return all files of figures."""
        return [paths.figure_path(self._runs.name, n, suffix) for n in names for suffix in FORMATS]

    def summary(self) -> list[Path]:
        """Return the summary, where models were trained."""
        return [paths.summary_path(self._runs.name)] if self.headline() else []

    def page(self) -> list[Path]:
        """Return the interactive page, where there is something to slide along: shifts, and alphas
        between the ends.
        """
        experiment = self._experiment
        swept = bool(experiment.methods) and len(experiment.alphas) > 2
        if self._runs.published_only:
            swept = not SWEPT_TABLES.isdisjoint(self.published.tables)
        return [paths.page_path(self._runs.name)] if swept and len(experiment.datasets) > 1 else []

    def provenance(self) -> list[Path]:
        """Return the page that says where each number is from."""
        return [paths.provenance_path(self._runs.name)] if self.tabulated else []

    def paper_tables(self) -> list[Path]:
        """Return the report of the paper's tables, beside which they lie."""
        folder = paths.paper_tables_folder(self._runs.name)
        return [folder / "README.md"] if self.published.tables else []

    def paper_table_numbers(self) -> list[int]:
        """Return the numbers of the paper's tables that are written: those of the experiment, and 3
        where it has the sweeps that its differences follow from; none, which stands for all, where
        nothing is trained.
        """
        tables = set(self.published.tables) if self._runs.runs else set()
        return sorted({*tables, 3} if {4, 5} & tables else tables)


def _theta_1(runs: Iterable[Run]) -> list[Path]:
    return [paths.theta_1_path(run.name, run.seed) for run in runs]
