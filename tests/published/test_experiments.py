"""The experiments of the paper, with made-up results: their tables hold what their figures show."""

from __future__ import annotations

import functools
import itertools
import os
import random
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.figures.legends import problems

from wiseft.base.names import split_run_name
from wiseft.errors import WiseftError
from wiseft.figures.series import Quantity, Series, chosen
from wiseft.figures.style import paper_style
from wiseft.study.config import Catalogue, Config
from wiseft.study.config.experiment import ExperimentEntry
from wiseft.study.drawings.diversity import MEASURES
from wiseft.study.paper.figure import draw_figure
from wiseft.study.paper.paper_tables import cells, layout
from wiseft.study.paper.paper_text import write_paper_tables
from wiseft.study.paper.published import join, with_zero_shot
from wiseft.study.plan.needs import needs_of
from wiseft.study.targets import Run, Targets, experiment_runs
from wiseft.tabulate.schema import TABLE, conform

REPOSITORY = Path(__file__).parents[2]
CATALOGUE = Catalogue(REPOSITORY)
SHORT = (0.0, 0.25, 0.4, 0.5, 0.75, 1.0)
GRID = [round(0.05 * step, 2) for step in range(21)]
OURS = ("cifar10-corruptions", "paper-datasets", "when-it-pays")
PAPER = [
    name
    for name in CATALOGUE.names("experiments")
    if not name.startswith(("digits", "photos", "icons")) and name not in OURS
]


def made_up(entry: ExperimentEntry, alphas: Collection[float] = SHORT) -> pd.DataFrame:
    """Return a tidy table with a curve for every run, dataset, split and view."""
    records = [record for run in experiment_runs(entry) for record in _of_run(entry, run, alphas)]
    table = pd.DataFrame(records).reindex(columns=list(TABLE))
    table = table.assign(source="measured", experiment=entry.experiment, selection="grid")
    return conform(pd.concat([table, pairs_of(entry)], ignore_index=True), TABLE)


def pairs_of(entry: ExperimentEntry) -> pd.DataFrame:
    """Return measures of diversity of every pair, in the form that the tables have them."""
    records = []
    for first, second in entry.pairs:
        for run in experiment_runs(entry):
            if run.method_id != second:
                continue
            model, reference, method, variant = split_run_name(run.name)
            about = {"model": model, "reference": reference, "method": method, "variant": variant}
            about |= {"run": run.name, "seed": run.seed, "combination": f"pair-with-{first}"}
            shares = ("overrides", "overridden") if first == "zero-shot" else ()
            for dataset in entry.datasets:
                for place, metric in enumerate((*MEASURES, "margin-difference", *shares)):
                    here = {"dataset": dataset, "split": "test", "view": "all", "metric": metric}
                    records.append({**about, **here, "value": 0.1 + 0.01 * place})
    table = pd.DataFrame(records).reindex(columns=list(TABLE))
    return conform(table.assign(source="measured", experiment=entry.experiment), TABLE)


def _of_run(
    entry: ExperimentEntry, run: Run, alphas: Collection[float]
) -> Iterator[dict[str, object]]:
    model, reference, method, variant = split_run_name(run.name)
    about = {"model": model, "reference": reference, "method": method, "variant": variant}
    about |= {"run": run.name, "seed": run.seed}
    there = ["weight"] if run.baseline else entry.combinations
    # Outputs of a linear classifier are combined as its weights are; weights of two models never.
    hidden = {"output"} if "linear" in run.name else set()
    if not entry.zero_shot_only and CATALOGUE.independent(run.method_id):
        hidden = {"weight"}
    for combination in [name for name in there if name not in hidden]:
        for alpha in sorted(set(alphas) & set(entry.alphas)):
            found = {}
            for place in _places(entry):
                gain = 0.2 * alpha if place[0] == reference else 0.3 * alpha * (0.8 - alpha)
                found[place] = 0.55 + gain + 0.0001 * (sum("".join(place[:3]).encode()) % 500)
            primary = {place[0]: value for place, value in found.items() if place[3]}
            values = [(*place[:3], place[4], value) for place, value in found.items()]
            for name, members in entry.averages.items():
                mean = float(np.mean([primary[member] for member in members]))
                values.append((f"avg:{name}", "test", "all", "accuracy", mean))
            for dataset, split, view, metric, value in values:
                place_ = {"dataset": dataset, "split": split, "view": view, "metric": metric}
                ends = {"ci_low": value - 0.01, "ci_high": value + 0.005}
                point = {"combination": combination, "alpha": alpha, "value": value}
                yield {**about, **point, **place_, **ends}


def _places(entry: ExperimentEntry) -> Iterator[tuple[str, str, str, bool, str]]:
    """Yield dataset, split, view, whether averages are made of it, and metric."""
    for name in entry.datasets:
        dataset = CATALOGUE.dataset(name)
        maps = [CATALOGUE.dataset(other).label_map for other in entry.datasets]
        likes = [o for o, m in zip(entry.datasets, maps, strict=True) if m and m.reference == name]
        views = [(view.name, view.metric) for view in dataset.views]
        views += [(f"{like}-classes", "accuracy") for like in likes]
        for split in dataset.evaluate:
            for view, metric in views:
                first = view == dataset.primary_view and split == entry.test_split
                yield name, split, view, first, metric


def with_file(entry: ExperimentEntry, options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the options of a figure; one that needs a file of the user's gets GPU hours."""
    if "file" not in options:
        return options
    path = folder / "hours.csv"
    path.write_text("".join(["model,gpu_hours\n", *(f"{m},{len(m)}\n" for m in entry.models)]))
    return {**options, "file": str(path)}


@functools.cache
def made_up_of(name: str) -> pd.DataFrame:
    return made_up(CATALOGUE.experiment(name))


def table_of(name: str) -> pd.DataFrame:
    entry = CATALOGUE.experiment(name)
    parts = [made_up_of(name)] if experiment_runs(entry) else []
    if entry.published is None:
        return parts[0]
    parts += [made_up_of(other) for other in entry.published.measured]
    return join(parts, entry.published, CATALOGUE, REPOSITORY / "none")


@pytest.mark.parametrize("name", ["few-shot", "paper"])
def test_figures_of_other_experiments_results_can_be_drawn(name: str, tmp_path: Path) -> None:
    """Those of an experiment's own results: tests/figures/test_experiments.py."""
    published = CATALOGUE.experiment(name).published
    assert published is not None and published.measured
    check_figures(name, table_of(name), tmp_path)


MEASURED = CATALOGUE.experiment("paper").published.measured  # type: ignore[union-attr]
PARTS = [*itertools.combinations(MEASURED, 1), *itertools.combinations(MEASURED, 2)]
"""What a lab has after its first experiments."""


FIGURES = [name for name in CATALOGUE.experiment("paper").figures if name != "successors"]


def some(every: Iterable[Any], n: int, seed: int = 0) -> list[Any]:
    """Return a sample; WISEFT_TEST_PARTS=all (`make nightly`): every one."""
    if os.environ.get("WISEFT_TEST_PARTS") == "all":
        return list(every)
    return random.Random(seed).sample(list(every), n)


@pytest.mark.parametrize(("parts", "figure"), some(itertools.product(PARTS, FIGURES), 20))
def test_figures_show_what_is_measured_and_else_what_is_published(
    parts: tuple[str, ...], figure: str
) -> None:
    entry = CATALOGUE.experiment("paper")
    assert entry.published is not None
    table = join(
        [made_up_of(part) for part in parts], entry.published, CATALOGUE, REPOSITORY / "no"
    )
    settings = entry.figures[figure]
    with paper_style() as style:
        assert problems(draw_figure(figure, settings.draw, table, style, settings.options)) == []


@pytest.mark.parametrize("parts", some(PARTS, 8))
def test_tables_show_what_is_measured_beside_what_is_published(
    parts: tuple[str, ...], tmp_path: Path
) -> None:
    found, paper = cells([made_up_of(part) for part in parts]), cells([])
    assert found["published"].equals(paper["published"])
    assert paper["measured"].isna().all()
    written = write_paper_tables(found, tmp_path)
    assert {f"table-{number}.md" for number in range(1, 14)} <= {path.name for path in written}
    for number in range(1, 14):  # a cell has a text, measured or not, where the paper has a number
        shown, printed = layout(found, number), layout(paper, number)
        assert (shown != "").equals(printed != ""), number


def test_a_panel_takes_measured_numbers_only_from_experiments_of_its_datasets() -> None:
    entry = CATALOGUE.experiment("paper")
    assert entry.published is not None
    table = join(
        [made_up_of("further-shifts-cifar10")], entry.published, CATALOGUE, REPOSITORY / "no"
    )
    with paper_style() as style:
        settings = entry.figures["figure-9"]
        figure = draw_figure("figure-9", settings.draw, table, style, settings.options)
    sources = [{str(line.get_gid()).rpartition(":")[2] for line in ax.lines} for ax in figure.axes]
    shown = [sorted(found & {"measured", "published"}) for found in sources]
    both, paper = ["measured", "published"], ["published"]
    assert shown == [paper, paper, both, both, paper, paper]
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert "published (small marks)" in texts


def test_the_best_of_variants_is_chosen_among_runs_of_the_panel() -> None:
    """Held-out accuracies of another reference say nothing about the one that is shown."""
    names, quantities = ["search-none", "search-l1"], [Quantity(dataset="imagenet")]
    series = Series(method="linear-classifier", model="clip-vit-l-14-336", best_of=names)
    ends = {"imagenet": (0.8, 0.7), "cifar10": (0.1, 0.9)}
    base = {"source": "measured", "model": series.model, "method": series.method, "alpha": 1.0}
    base |= {"combination": "weight", "selection": "grid", "view": "all", "metric": "accuracy"}
    table = pd.DataFrame(
        {**base, "variant": variant, "reference": reference, "dataset": reference, "value": value}
        | {"run": f"{reference}-{variant}", "split": split}
        for reference, values in ends.items()
        for variant, value in zip(names, values, strict=True)
        for split in ("test", "held-out")
    )
    assert chosen(table, series, "measured", *quantities).variant == "search-none"


@pytest.mark.parametrize(
    ("name", "change", "left_out"),
    [
        ("imagenet", {"models": ["clip-vit-l-14-336"]}, {"figure-21-classes"}),
        ("imagenet", {"models": ["clip-vit-b-16"]}, {"figure-7-classes", "figure-8"}),
        ("diversity", {"models": ["clip-rn50"]}, {"figure-5-left", "figure-5-right"}),
        ("pretraining-compute", {"models": ["clip-rn50"]}, set()),
        ("transfer-cars", {"methods": ["end-to-end"]}, {"figure-16"}),
        ("few-shot-cars", {"methods": ["linear-classifier__shots-1"]}, set()),
    ],
)
def test_what_an_experiment_does_not_run_is_said_first_and_the_rest_is_drawn(
    name: str, change: dict[str, Any], left_out: set[str], tmp_path: Path
) -> None:
    entry = CATALOGUE.experiment(name).model_copy(update=change)
    targets = Targets(Config(), CATALOGUE, entry)
    needed = {figure for figure in entry.figures if not targets.files.figure_files(figure)}
    assert needed - set(targets.files.drawn()) == left_out
    said = " ".join(targets.jobs.notes())
    assert all(
        f"The figure {figure} is left out, because {name} does not" in said for figure in left_out
    )
    table = made_up(entry)
    if entry.published is not None:
        table = join([table], entry.published, CATALOGUE, REPOSITORY / "no")
    with paper_style() as style:
        for figure in entry.figures.keys() - left_out:
            settings = entry.figures[figure]
            options = with_file(entry, settings.options, tmp_path)
            draw_figure(figure, settings.draw, table, style, options)


def check_figures(name: str, table: pd.DataFrame, folder: Path) -> None:
    """Draw all figures: every mark stands in the legend with its look, every entry is drawn."""
    entry = CATALOGUE.experiment(name)
    with paper_style() as style:
        for figure, settings in entry.figures.items():
            options = with_file(entry, settings.options, folder)
            assert problems(draw_figure(figure, settings.draw, table, style, options)) == [], figure


@pytest.mark.parametrize("others", [False, True], ids=["alone", "with other models"])
def test_legends_of_published_numbers_are_true(others: bool, tmp_path: Path, testbed: Path) -> None:
    published = CATALOGUE.experiment("paper").published
    assert published is not None
    table = join([], published, CATALOGUE, testbed if others else tmp_path)
    check_figures("paper", table, tmp_path)


def test_legends_beside_other_models_are_true(tmp_path: Path, testbed: Path) -> None:
    entry = CATALOGUE.experiment("imagenet")
    assert entry.published is not None and entry.published.zero_shot == "pretraining-compute"
    table = join([made_up_of("imagenet")], entry.published, CATALOGUE, testbed)
    others = made_up_of(entry.published.zero_shot)
    check_figures("imagenet", with_zero_shot(table, [others]), tmp_path)


def test_an_experiment_of_other_tables_says_which_to_run(tmp_path: Path) -> None:
    entry = CATALOGUE.experiment("few-shot")
    assert entry.published is not None
    with pytest.raises(WiseftError, match=r"no table of few-shot-imagenet, .*run one") as error:
        join([], entry.published, CATALOGUE, tmp_path)
    assert str(error.value).endswith("--config experiment=few-shot-imagenet")


FEW_SHOT = [(name,) for name in CATALOGUE.experiment("few-shot").published.measured]  # type: ignore[union-attr]


@pytest.mark.parametrize("parts", [*FEW_SHOT, FEW_SHOT[0] + FEW_SHOT[1]])
def test_few_shot_shows_the_datasets_that_are_measured(
    parts: tuple[str, ...], tmp_path: Path
) -> None:
    entry = CATALOGUE.experiment("few-shot")
    assert entry.published is not None
    table = join([made_up_of(part) for part in parts], entry.published, CATALOGUE, tmp_path)
    assert set(table["experiment"]) == set(parts)
    columns, shown = 0, set()
    for name, settings in entry.figures.items():
        with paper_style() as style:
            figure = draw_figure(name, settings.draw, table, style, settings.options)
        empty = [ax for ax in figure.axes if "not measured" in {t.get_text() for t in ax.texts}]
        assert all(not ax.lines for ax in empty)
        assert not problems(figure) if len(empty) < len(figure.axes) else not figure.legends
        columns += (len(figure.axes) - len(empty)) // 3
        shown |= {ax.get_title(loc="left") for ax in figure.axes}
    assert columns == 1 + len(parts), "the mean, and a column of each"
    measured = ", ".join(part.removeprefix("few-shot-") for part in parts)
    assert f"{len(parts)} of 7: {measured}" in shown


def test_the_main_experiments_fill_the_papers_tables() -> None:
    """What tables 1 to 8 leave empty, but for CoOp, Radford et al. and models that nobody has."""
    names = CATALOGUE.experiment_entry("paper").published
    assert names is not None
    tables = [made_up(CATALOGUE.experiment(name), GRID) for name in names.measured]
    found = cells(tables, range(1, 9))
    empty = found[found["measured"].isna()]
    left = {(int(line.table), str(line.row).split(",")[0]) for line in empty.itertuples()}
    assert {row for table, row in left if table != 8} == {
        "Zero-shot (reported by Radford et al.)",
        "Fine-tuned LC (reported by Radford et al.)",
        "CoOp",
    }
    assert {row for table, row in left if table == 8} == {
        "ALIGN",
        "ViT-H/14 (JFT)",
        "BASIC-M",
        "BASIC-L",
    }


def test_ensembles_with_independent_models_fill_table_13() -> None:
    found = cells([made_up(CATALOGUE.experiment("independent-ensembles"), GRID)], [13])
    assert len(found) == 15 * 8
    assert found["measured"].notna().all()


@pytest.mark.parametrize("name", PAPER)
def test_a_header_says_what_to_expect(name: str) -> None:
    text = (REPOSITORY / "config" / "experiments" / f"{name}.yaml").read_text()
    head = text[: text.index("experiment:")].replace("\n#   ", " ")
    for part in ("What it reproduces:", "Numbers to expect:", f"experiment={name}"):
        assert part in head, part
    assert "GPU-hours:" in head or "Time:" in head
    entry = CATALOGUE.experiment(name)
    if experiment_runs(entry):
        assert needs_of(Targets(Config(), CATALOGUE, entry)).machine == "one A100"


def test_every_experiment_of_the_paper_is_there() -> None:
    wanted = {"paper", "imagenet", "zeroshot-check", "hyperparameters", "augmentation", "ema"}
    wanted |= {"ensembles", "linear-alternatives", "landscape", "coop", "align", "jft", "basic"}
    wanted |= {"pretraining-compute", "few-shot", "diversity", "objectnet-names", "samples"}
    wanted |= {"independent-ensembles"}
    wanted |= {f"further-shifts-{part}" for part in ("video", "cifar10", "fmow", "iwildcam")}
    sets = ("cifar10", "cifar100", "cars", "dtd", "sun397", "food101")
    wanted |= {f"transfer-{name}" for name in sets}
    wanted |= {f"few-shot-{name}" for name in ("imagenet", *sets)}
    assert wanted == set(PAPER)
