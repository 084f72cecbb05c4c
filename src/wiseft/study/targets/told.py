"""What each command is told of an experiment's entries: JSON and options.

Whatever changes an artifact is among it and a parameter of its rule, so that it triggers a rerun.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from wiseft.base.names import split_run_name
from wiseft.study.config import paths
from wiseft.study.config.drawings import drawing_text
from wiseft.study.paper.context import figure_context, page_context
from wiseft.study.targets.data import Data
from wiseft.study.targets.files import Files
from wiseft.study.targets.runs import Runs

KEPT = "kept"
"""The view of a kept dataset: through a head of its own prompts."""
_GLYPH_KEYS = {"glyph_size", "pen_glyphs", "icons"}
"""What rendering depends on, of all pre-training."""
_NOT_OF_WEIGHTS = {"title", "calibrate", "label_map", "names_of", "pretrain", "precision"}
_STATISTICS = {
    *("averages", "held_out", "test_split", "reference", "bootstrap", "alphas", "combinations"),
    *("reference_split", "tuning"),
}


def repeat(option: str, values: Iterable[object]) -> str:
    """Return a command's repeatable option with every value."""
    return " ".join(f"{option} {shlex.quote(str(value))}" for value in values)


class Handed:
    """What rules name so that their jobs are handed it, where files travel from one to the next.

    With a default storage provider a job is handed the files that its rule names, and no others.
    Elsewhere a manifest, a cache's record or a table stands for the files written before it.

    Args:
        provider: the default storage provider; None for none.
    """

    def __init__(self, provider: object) -> None:
        self.travels = provider is not None

    def beside(self, files: Callable[..., list[Path]], of: Iterable[Any]) -> list[Path]:
        """Return what `files` gives for each of `of`, where files travel; elsewhere none."""
        return [path for one in of for path in files(one)] if self.travels else []

    def placed(self, found: Callable[..., str], usual: str) -> Callable[..., str] | str:
        """Return a parameter with places: as a job finds them where files travel, else `usual`."""
        return found if self.travels else usual

    def given(self, option: str, name: str, files: Iterable[Path]) -> Callable[..., str] | str:
        """Return an option for each file of the input `name`."""

        def found(wildcards: Any, input: Any) -> str:
            return repeat(option, getattr(input, name))

        return self.placed(found, repeat(option, files))


class Told:
    """Settings as the commands take them."""

    def __init__(self, runs: Runs, data: Data, files: Files) -> None:
        self._runs = runs
        self._data = data
        self._files = files
        self._experiment = runs.experiment
        self._catalogue = runs.catalogue

    def commands(self, deployed: Iterable[Any]) -> str:
        """Where a shell finds the commands: in the container, where one is deployed, or beside the
        Python that runs this.
        """
        if self._runs.settings.container and any(one.name == "APPTAINER" for one in deployed):
            return ""
        return f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH "

    def environment(self) -> str:
        """Variables of every command, as a shell sets them, with braces doubled for Snakemake: how
        trainings and evaluations are carried out, and where features and copies of images are kept.
        """
        how = shlex.quote(self._runs.settings.training.how.model_dump_json())
        features = paths.state_path("features")
        text = f"WISEFT_HOW={how} WISEFT_FEATURES={features}"
        settings = self._runs.settings
        given = {
            "DEVICE_MEMORY_GB": settings.device_memory_gb,
            "BATCH_SIZE": settings.evaluation.how.batch_size,
            "COMPILE": settings.evaluation.how.compile or None,
            "REHEARSAL": 1 if settings.rehearsal else None,
            "NODE": shlex.quote(settings.datasets.node) if settings.datasets.node else None,
        }
        text += "".join(f" WISEFT_{k}={v}" for k, v in given.items() if v is not None)
        return text.replace("{", "{{").replace("}", "}}")

    def places(self, record: str = "") -> str:
        """Where datasets lie, for fetching them; with a record of fetched files, around that."""
        chosen = {"folder": str(Path(record).parents[1])} if record else {}
        return self._data.places.model_copy(update=chosen).model_dump_json(
            exclude={"cache", "part", "node"}
        )

    def package_sha256(self, file: str) -> str:
        """The checksum of a package's file."""
        return self._catalogue.package(self._data.package_keys[file]).sha256

    def splits(self, dataset: str) -> str:
        """The splits that are needed of a dataset."""
        return repeat("--split", self._data.splits(dataset))

    def depends(self, dataset: str, files: Iterable[object]) -> str:
        """The manifests that a dataset is made from; for a preview of a part, its files."""
        if not self._data.of_part(dataset):
            return repeat("--depends", files)
        return f"{repeat('--fetched', files)} {self.splits(dataset)}"

    def samples(self) -> str:
        """The one class that the panel of sample images shows, if any."""
        shown = self._experiment.samples
        return f"--of {shlex.quote(shown.of)} --images {shown.images}" if shown else ""

    def weights(self, model: str) -> str:
        """What a model's fetched weights depend on."""
        return self._runs.entry(model).model_dump_json(exclude=_NOT_OF_WEIGHTS)

    def glyphs(self, entry: str) -> str:
        """What rendering glyphs depends on."""
        pretrain = self._runs.entry(entry).pretrain
        return pretrain.model_dump_json(include=_GLYPH_KEYS) if pretrain else ""

    def pretrain(self, model: str) -> str:
        """The settings of a pre-training."""
        pretrain = self._runs.entry(model).pretrain
        return pretrain.model_dump_json() if pretrain else ""

    def preprocessing(self, model: str) -> str:
        """A model's preprocessing."""
        return self._runs.entry(model).preprocessing.model_dump_json()

    def templates(self, dataset: str) -> str:
        """The prompt templates of a dataset, or behind an @ where they are fetched to."""
        if fetched := self._data.prompts(dataset):
            return f"@{fetched[0]}"
        entry = self._data.entries[dataset]
        return json.dumps(self._catalogue.prompts(entry.prompts).ready)

    def names_of(self, model: str) -> list[str]:
        """The dataset whose class names stand in a model's prompts, if there is one."""
        return [name] if (name := self._runs.entry(model).names_of) else []

    def training(self, method: str, trials: Iterable[Path] = ()) -> str:
        """The settings of a training; where searches found them, with the files of their trials."""
        settings, files = self._catalogue.method_settings(method), [str(path) for path in trials]
        return settings.model_copy(update={"from_search": files}).model_dump_json()

    def recipe(self, method: str) -> str:
        """How a merged model is combined."""
        return json.dumps(self._runs.merged[method].recipe)

    def evaluation(self, datasets: Iterable[str]) -> str:
        """What is evaluated of each dataset."""
        chosen = {}
        for name in datasets:
            entry = self._data.entries[name]
            views = [
                {key: value for key, value in view.model_dump(mode="json").items() if value}
                for view in entry.views
            ]
            views += [
                {"name": _class_view(like), "metric": "accuracy", "like": like}
                for like in self._data.likes([entry.name])
            ]
            if self._data.keeps(name):
                views = [{**views[0], "name": KEPT}]
            chosen[name] = {"splits": self._data.evaluated_splits(entry), "views": views}
        return json.dumps(chosen)

    def combinations(self, method: str) -> str:
        """How the two ends of a run are combined; weights only if they belong together."""
        names = self._experiment.combinations
        outputs = [name for name in names if name != "weight"]
        return ",".join(outputs if method in self._runs.independent else names)

    def logits(self, method: str) -> str:
        """The alphas whose logits are stored, where pairs of models are compared: the ends."""
        return "--logits 0.000,1.000" if method in self._runs.methods else "--logits 1.000"

    def evaluation_state(self, model: str, method: str, seed: str, suite: str) -> str:
        """Where a killed evaluation goes on from."""
        run = paths.run_name(model, self._runs.reference, method)
        return repeat("--state", [paths.state_path("evaluate", run, f"seed-{seed}", suite)])

    def identity(self, model: str, method: str, seed: str) -> str:
        """Which run a metrics file is about, and in which arithmetic if not in fp32."""
        run = paths.run_name(model, self._runs.reference, method)
        parts = zip(("model", "reference", "method", "variant"), split_run_name(run), strict=True)
        options = {**dict(parts), "run": run, "seed": seed}
        if (precision := self._runs.entry(model).precision) != "fp32":
            options["precision"] = precision
        return " ".join(repeat(f"--{key}", [value]) for key, value in options.items())

    def primary_views(self, datasets: Iterable[str]) -> str:
        """The primary view of each dataset."""
        return json.dumps({name: self._data.entries[name].primary_view for name in datasets})

    def statistics(self) -> str:
        """What the tables depend on besides the numbers."""
        chosen = self._experiment.model_dump(mode="json", include=_STATISTICS)
        exclude = figure_context(self._experiment, self._catalogue)["fit_exclude"]
        clusters = {name: e.clusters for name, e in self._data.entries.items() if e.clusters}
        grouped: dict[str, Any] = {"clusters": clusters} if clusters else {}
        if fixed := self._runs.trained_on_held_out:
            grouped["trained_on_held_out"] = fixed
        if self._experiment.keep:
            grouped["kept"] = self._experiment.keep
        return json.dumps({**chosen, "fit_exclude": exclude, **self._views(), **grouped})

    def _views(self) -> dict[str, Any]:
        """Return which views the tables use: each dataset's first, and the others beside it.

        That there are no others is said, too: what experiments share may have them.
        """
        entries = [self._data.entries[name] for name in self._experiment.datasets]
        primary = {e.name: e.primary_view for e in entries if e.primary_view != "all"}
        primary |= dict.fromkeys(self._experiment.keep, KEPT)
        others = {
            entry.name: [
                *(view.name for view in entry.views[1:]),
                *map(_class_view, self._data.likes([entry.name])),
            ]
            for entry in entries
        }
        return {"views": primary, "other_views": {name: of for name, of in others.items() if of}}

    def published(self) -> str:
        """Which numbers of the paper stand in the tables, and where the test bed's are."""
        published = self._experiment.published
        if published is None:
            return ""
        chosen = published.model_dump_json()
        return f"--published {shlex.quote(chosen)} --datasets {shlex.quote(self._data.folder)}"

    def figure(self, name: str) -> str:
        """The options of a figure's drawing."""
        return json.dumps(self._experiment.figures[name].options)

    def drawing_text(self, name: str) -> str:
        """How a figure's drawing is read, which the report says below it."""
        return drawing_text(self._experiment.figures[name].draw)

    def figure_context(self) -> str:
        """What all figures may know of the experiment."""
        return json.dumps(figure_context(self._experiment, self._catalogue))

    def page(self) -> str:
        """What the page is about."""
        return json.dumps(page_context(self._experiment, self._catalogue))

    def links(self) -> str:
        """The tables that the page links to."""
        files = self._files.table_files()
        return repeat("--link", [path for path in files if ".csv" in path.suffixes])

    def beside(self, own: str) -> str:
        """The results that one of them links to; `make report` writes the last."""
        files = [*self._files.page(), *self._files.summary(), *self._files.provenance()]
        names = [*(path.name for path in files), "report.html"]
        return repeat("--beside", [name for name in names if name != own])

    def record(self) -> str:
        """The experiment's settings with those of its methods and models, for the record.

        Figures are not among them, because they change no number.
        """
        left_out = {"figures", "page", "average_titles", "compare_with"}
        if not self._experiment.keep:  # a key of later: old records stay as they are
            left_out.add("keep")
        experiment = self._experiment.model_dump(mode="json", exclude=left_out)
        return json.dumps({"experiment": experiment, **self._recipes()})

    def recipes(self) -> str:
        """What its methods and models are, for the record beside the tables."""
        return json.dumps(self._recipes())

    def _recipes(self) -> dict[str, Any]:
        models = {m: self._runs.entry(m) for m in self._runs.models}
        dumps = {m: e.model_dump(mode="json", exclude_defaults=True) for m, e in models.items()}
        return {"methods": self._runs.methods_in_full(), "models": dumps}


def _class_view(like: str) -> str:
    """Return the name of a reference's view through the classes of another dataset."""
    return f"{like}-classes"
