"""The jobs of an experiment: how many of each rule, with how many GPUs and processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from wiseft.base.provenance import cores
from wiseft.models.gpus import devices
from wiseft.study.finetune.schedule import long_warmup, training_samples
from wiseft.study.targets.data import Data
from wiseft.study.targets.files import Files
from wiseft.study.targets.runs import Runs

TRAININGS = ("finetune", "baseline")
"""Rules that `training.how` is about: several processes may share a training."""
MODEL_RULES = (
    *("zeroshot", "zeroshot_own_head", "zeroshot_calibrated"),
    *("finetune", "search", "baseline"),
)
"""Rules that run a model where `device` says, besides those of the evaluation."""
DATA_RULES = ("data_prepare_files", "data_prepare", "data_cache")
"""Rules of which each dataset has its own, `<rule>_<dataset>`, because its splits are outputs."""
_WITHOUT_IMAGES = {"zeroshot", "zeroshot_own_head"}
FEEDING = 8
"""Threads that read images for a GPU, where there are cores for them: docs/running.md says how many
images that is, and for which models it is enough."""


class Jobs:
    """The jobs of an experiment; those of evaluation and diversity have a rule for each suite,
    those of `DATA_RULES` one for each dataset.
    """

    def __init__(self, runs: Runs, data: Data, files: Files) -> None:
        self._runs = runs
        self._data = data
        self._files = files
        self._how = runs.settings.training.how

    @property
    def evaluations(self) -> list[str]:
        """The rules of the evaluation."""
        return [f"evaluate_{suite}" for suite in self._data.evaluations]

    def processes(self, rule: str, *of: str) -> int:
        """Return the processes that share a job of a rule, each of which takes a GPU.

        Args:
            of: its model and method.
        """
        return self._how.gpus_of(*of) if rule in TRAININGS else 1

    def threads(self, rule: str) -> int:
        """Return the threads of each process of a job on this machine: as many as feed its GPU, or
        one on a CPU, so that jobs run side by side.
        """
        return max(1, min(FEEDING, cores() // max(1, len(devices())))) if self.gpus(rule) else 1

    def cpus_of_cluster(self, gpu_rules: Iterable[str], *of: str) -> dict[str, int]:
        """Return the CPUs of a job by rule, of rules that need several: of each process those that
        feed its GPU or, where `workers` says how many read, these and one that computes.

        Args:
            gpu_rules: those that run on a GPU.
            of: model and method, as `processes` takes them.
        """
        workers, fed = self._how.workers, set(gpu_rules) - _WITHOUT_IMAGES
        cpus = {rule: FEEDING * self.processes(rule, *of) for rule in fed}
        for rule in TRAININGS:
            if workers is not None or rule not in fed:
                cpus[rule] = self.processes(rule, *of) * (1 + (workers or 0))
        return {rule: count for rule, count in cpus.items() if count > 1}

    def gpus(self, rule: str, *of: str) -> int:
        """Return the GPUs that a job asks for on this machine: none on a CPU, so that CPU jobs run
        side by side.
        """
        device = self._runs.settings.device
        used = device == "cuda" or (device == "auto" and bool(devices()))
        return self.processes(rule, *of) if used else 0

    def gpus_of_cluster(self, *of: str) -> dict[str, int]:
        """Return the GPUs of a job by rule, where nodes have them whatever this machine has."""
        rules = [] if self._runs.settings.device == "cpu" else [*MODEL_RULES, *self.evaluations]
        return {rule: self.processes(rule, *of) for rule in rules}

    def notes(self) -> list[str]:
        """Return what a user should know before anything runs."""
        on_cpu = self._runs.runs and self._runs.settings.device == "auto" and not devices()
        here = ["There is no GPU on this machine: what runs here runs on the CPU."]
        told = [*self._data.missing(), *self.long_warmups(), *self._missing_for_figures()]
        return [*(here if on_cpu else []), *told]

    def long_warmups(self) -> list[str]:
        """Return a sentence for every method that is warmed up for more than a third of its steps;
        of a search, for its longest trial.
        """
        runs, sentences = self._runs, []
        for method in dict.fromkeys(run.method_id for run in runs.trainings):
            settings = runs.catalogue.method_settings(method)
            if settings.search and settings.search.max_epochs:
                settings = settings.model_copy(update={"epochs": settings.search.max_epochs})
            samples = training_samples(settings, self._data.entries[runs.reference])
            if told := long_warmup(samples, settings):
                sentences.append(f"{method} on {runs.reference} {told}.")
        return sentences

    def _missing_for_figures(self) -> list[str]:
        """Return what is said of tables and files that figures take from elsewhere."""
        files, experiment = self._files, self._runs.experiment
        said = [
            f"The figure {name} is left out until {file} is there, a file that you write: "
            "docs/paper.md says what it holds."
            for name in experiment.figures
            if name not in files.drawn()
            for file in files.figure_files(name)
        ]
        said += [
            f"The figure {name} is left out, because {experiment.experiment} does not run "
            f"{', '.join(absent)}."
            for name in experiment.figures
            if (absent := files.not_run(name))
        ]
        return [*said, *self.missing_tables()]

    def missing_tables(self) -> list[str]:
        """Return a sentence about the numbers of other experiments that figures lack, if any."""
        if not (names := self._files.missing_tables()):
            return []
        shown = f"Figures of {self._runs.experiment.experiment} lack measured numbers"
        run = f"snakemake --cores all --config experiment={names[0]}"
        return [f"{shown} of {', '.join(names)}. First run each, e.g. {run}"]

    def by_rule(self) -> dict[str, int]:
        """Return the jobs of each rule where nothing is there yet; `all` is left out."""
        counts = {
            **self._of_data(),
            **self._of_models(),
            **self._of_runs(),
            **self._of_tables_and_figures(),
        }
        return {rule: count for rule, count in counts.items() if count}

    def by_stage(self) -> dict[str, int]:
        """Return the same with the rules of all suites, and of all datasets, together."""
        counts: Counter[str] = Counter()
        for rule, count in self.by_rule().items():
            stage, _, suite = rule.partition("_")
            of_data = next((name for name in DATA_RULES if rule.startswith(f"{name}_")), rule)
            counts[stage if suite in self._data.evaluations else of_data] += count
        return dict(counts)

    def rules_of(self, name: str) -> list[str]:
        """Return the rules that a name stands for: `evaluate`, one of `DATA_RULES`, or a rule."""
        data = self._data
        filed = [dataset for dataset in data.filed if dataset in data.prepared]
        several = dict(zip(DATA_RULES, (filed, data.built, data.cached), strict=True))
        if name in several:
            return [f"{name}_{dataset}" for dataset in several[name]]
        return self.evaluations if name == "evaluate" else [name]

    def _of_data(self) -> dict[str, int]:
        runs, data = self._runs, self._data
        of = {(run.model, run.method_id): self._files.datasets_of(run) for run in runs.runs}
        caches = {p for pair, names in of.items() for p in data.caches(runs.resident(*pair), names)}
        cached = Counter(path.parents[1].name for path in caches)
        return {
            "data_fetch": len(self._files.package_keys()),
            **dict.fromkeys(self.rules_of("data_prepare"), 1),
            "data_fetch_files": len(data.filed),
            **dict.fromkeys(self.rules_of("data_prepare_files"), 1),
            **{f"data_cache_{name}": count for name, count in cached.items()},
            "data_prompts": len(self._files.prompts()),
            "data_samples": int(bool(self._files.samples())),
        }

    def _of_models(self) -> dict[str, int]:
        runs = self._runs
        return {
            "glyphs": len({runs.entry(model).name for model in runs.pretrained}),
            "pretrain": len(runs.pretrained),
            "pretrain_samples": int(bool(self._files.pretrain_samples())),
            "weights": len(runs.fetched),
            "zeroshot": len(runs.prompted) + len(self._files.kept_heads),
            "zeroshot_own_head": len(self._files.own_heads),
            "zeroshot_calibrated": len(runs.calibrated),
            "zeroshot_supervised": len(runs.supervised),
            "text_tower": len(runs.experiment.models) if runs.reading_text else 0,
        }

    def _of_runs(self) -> dict[str, int]:
        runs = self._runs
        suites = self._data.suites
        made = Counter(run.method_id for run in runs.fine_tuned)
        evaluated = len(runs.runs)
        keep = [suite for suite in self._data.evaluations if suite not in suites]
        compared = len(set(self._files.pairs()))
        return {
            "finetune": sum(made[method] for method in runs.finetuned),
            "search": sum(made[method] for method in runs.searched),
            "import_checkpoint": sum(made[method] for method in runs.checkpoints),
            "baseline": sum(run.baseline for run in runs.runs),
            "combine": sum(run.method_id in runs.merged for run in runs.combined),
            "interpolate": len(self._files.interpolated()),
            **{f"evaluate_{suite}": evaluated for suite in suites},
            **{f"evaluate_{suite}": len(runs.combined) for suite in keep},
            **{f"diversity_{suite}": compared for suite in suites},
        }

    def _of_tables_and_figures(self) -> dict[str, int]:
        files = self._files
        return {
            "tabulate": int(bool(self._runs.runs)),
            "published": int(self._runs.published_only),
            "effective_robustness": len(files.effective()),
            "headline": len(files.headline()),
            "figure": len(files.drawn()),
            "page": len(files.page()),
            "provenance": len(files.provenance()),
            "report": len(files.summary()),
            "paper_tables": len(files.paper_tables()),
        }
