"""Commands of the figures stage: figures, page, provenance, summary, headline, comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wiseft.base.io import sha256_file, write_json, write_text
from wiseft.cli.options import Root
from wiseft.errors import WiseftError

Table = Annotated[Path, typer.Option(help="The tidy table (.parquet or .csv).")]
ZeroShot = Annotated[
    list[Path] | None,
    typer.Option(
        help="Tidy table of another experiment; the line is fitted to its zero-shot models."
    ),
]

Beside = Annotated[
    list[str] | None, typer.Option(help="Result in the same folder to link to. Repeatable.")
]


def figure(
    name: str,
    draw: Annotated[str, typer.Option()],
    table: Table,
    output: Annotated[list[Path], typer.Option()],
    options: str = "{}",
    context: str = "{}",
    zero_shot: ZeroShot = None,
) -> None:
    """Draw one figure from the tidy table.

    Args:
        name: Name of the figure, e.g. robustness-natural.
        draw: Kind of drawing: robustness, landscape, scatter, ...
        output: A .pdf, .png or .svg file to write. Repeatable.
        options: Options of the drawing, as JSON or @file.yaml.
        context: Facts about the experiment, as JSON or @file.yaml; a drawing uses those it needs.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.study.paper.figure import make_figure
    from wiseft.study.paper.published import with_zero_shot
    from wiseft.tabulate.schema import read_table

    settings = parse_settings(dict[str, Any], options, f"figure {name}: --options")
    known = parse_settings(dict[str, Any], context, f"figure {name}: --context")
    numbers = with_zero_shot(read_table(table), [read_table(path) for path in zero_shot or []])
    make_figure(name, draw, numbers, settings, output, known)


def paper_figures(
    output_dir: Annotated[Path, typer.Option()], experiment: str = "paper", root: Root = Path()
) -> None:
    """Draw the paper's figures from published numbers, and from the numbers measured here.

    Args:
        output_dir: Folder for the figures.
        experiment: An experiment with a key `published`.
    """
    from wiseft.study.paper.paper import draw_all
    from wiseft.study.targets import Targets
    from wiseft.tabulate.schema import read_table

    targets = Targets.read(root, {"experiment": experiment})
    measured = [read_table(root / path) for path in targets.files.measured_tables()]
    ends = [read_table(root / path) for path in targets.files.zero_shot_tables()]
    folder = root / targets.data.folder
    drawn = draw_all(targets.experiment, targets.catalogue, measured, folder, output_dir, ends)
    typer.echo(f"paper-figures: drew {len(drawn)} figures in {output_dir}", err=True)
    for sentence in targets.jobs.missing_tables():
        typer.echo(sentence, err=True)


def page(
    output: Annotated[Path, typer.Option("--output", "-o")],
    sweeps: Annotated[list[Path] | None, typer.Argument(metavar="OUT")] = None,
    table: Path | None = None,
    settings: str = "{}",
    comparisons: Path | None = None,
    tuning: Path | None = None,
    link: list[Path] | None = None,
    beside: Beside = None,
) -> None:
    """Write an interactive page about several sweeps or an experiment.

    The page is one HTML file that needs no network.

    Example: wiseft page out-1 out-2 -o both.html

    Args:
        sweeps: Output folders of `wiseft sweep` to compare, on the image sets they all have.
        table: Tidy table (.parquet or .csv) of an experiment, instead of sweeps.
        settings: With --table: content of the page, as JSON or @file.yaml. Keys: experiment, title,
            about, reference, datasets, averages, titles, captions, view.
        comparisons: With --table: CSV of paired comparisons; the first sentence then gives their
            intervals.
        tuning: With --table: CSV of the settings of one recipe; the first sentence is then about
            all that held-out images admit.
        output: The HTML file to write.
        link: A file to link to, such as a CSV. Repeatable.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.figures.page import PageSettings, build_page
    from wiseft.tabulate.schema import COMPARISONS, TUNING, read, read_table

    if bool(sweeps) == bool(table):
        raise WiseftError("page needs either folders of `wiseft sweep` or --table, and not both")
    if sweeps:
        from wiseft.tool.side_by_side import page_of

        write_text(output, page_of(sweeps, output))
        return
    page_settings = parse_settings(PageSettings, settings, "--settings")
    rows = read_table(Path(str(table)), means=True)
    paired = read(comparisons, COMPARISONS, "comparisons") if comparisons else None
    over = read(tuning, TUNING, "tuning") if tuning else None
    html = build_page(rows, page_settings, output, link or [], beside or [], paired, tuning=over)
    write_text(output, html)


def provenance(
    table: Table,
    settings: Annotated[str, typer.Option()],
    output: Annotated[Path, typer.Option()],
    zero_shot: ZeroShot = None,
    beside: Beside = None,
) -> None:
    """Write where an experiment's numbers come from: settings, versions, and each run's files.

    Args:
        settings: Settings of the experiment, as JSON, YAML or @file.yaml.
        output: The HTML file to write.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.study.config.paths import metrics_path
    from wiseft.study.paper.provenance import provenance_page
    from wiseft.study.paper.published import with_zero_shot
    from wiseft.tabulate.inputs import evaluated_with
    from wiseft.tabulate.schema import MEASURED, read_table

    chosen = parse_settings(dict[str, Any], settings, "provenance: --settings")
    files = {path.as_posix(): sha256_file(path) for path in (table, *(zero_shot or []))}
    numbers = with_zero_shot(read_table(table), [read_table(path) for path in zero_shot or []])
    own = numbers[(numbers["source"] == MEASURED) & numbers["seed"].notna()]
    keys = own[["run", "seed", "dataset", "view"]].drop_duplicates().itertuples(index=False)
    metrics = {metrics_path(run, int(seed), name, view == "kept") for run, seed, name, view in keys}
    made = evaluated_with(sorted(filter(Path.is_file, metrics)))
    write_text(output, provenance_page(numbers, chosen, files, beside or [], made))


def report(
    table: Table,
    comparisons: Annotated[Path, typer.Option()],
    selection: Annotated[Path, typer.Option()],
    fits: Annotated[Path, typer.Option()],
    experiment: Annotated[str, typer.Option()],
    config: Annotated[str, typer.Option()],
    output: Annotated[Path, typer.Option()],
    effective_robustness: Path | None = None,
    tuning: Path | None = None,
    beside: Beside = None,
) -> None:
    """Write the summary of an experiment.

    Args:
        comparisons: CSV of paired comparisons.
        selection: CSV of chosen alphas.
        fits: CSV of the fits through the baselines.
        experiment: Name of the experiment.
        config: The settings given to `wiseft tabulate`, as JSON or @file.yaml.
        output: The Markdown file to write.
        effective_robustness: CSV of effective robustness, if a line was fitted.
        tuning: CSV of the settings of one recipe, if the experiment has `tuning`.
    """
    from wiseft.base.loading import parse_settings
    from wiseft.study.paper.summary import Tables, summary
    from wiseft.tabulate import schema
    from wiseft.tabulate.settings import TabulateSettings

    effective = schema.frame_of([], schema.EFFECTIVE)
    if effective_robustness is not None:
        effective = schema.read(effective_robustness, schema.EFFECTIVE, "effective robustness")
    tables = Tables(
        schema.read_table(table, means=True),
        schema.read(comparisons, schema.COMPARISONS, "comparisons"),
        schema.read(selection, schema.SELECTION, "selection"),
        schema.read(fits, schema.FITS, "fits"),
        effective,
        *([schema.read(tuning, schema.TUNING, "tuning")] if tuning else []),
    )
    settings = parse_settings(TabulateSettings, config, "--config")
    write_text(output, summary(experiment, tables, settings, beside or []))


def headline(
    experiment: str | None = None,
    table: Path | None = None,
    json_output: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Print the numbers that matter: reference and shifts at zero-shot, 0.5 and fine-tuned.

    Args:
        experiment: An experiment whose table is in data/tables.
        table: A tidy table, instead of an experiment.
        json_output: JSON file to write: the numbers of every method.
    """
    from wiseft.study.config.paths import table_path
    from wiseft.study.paper import headline as numbers
    from wiseft.tabulate.schema import read_table

    if (experiment is None) == (table is None):
        raise WiseftError("headline needs either --experiment or --table, and not both")
    path = table if table is not None else table_path(str(experiment), "parquet")
    read = read_table(path, means=True)
    if json_output is not None:
        write_json(json_output, numbers.headline_metrics(read))
    typer.echo(numbers.headline(read))


def compare(
    experiment: str,
    verdict: Annotated[bool, typer.Option("--verdict")] = False,
    root: Root = Path(),
) -> None:
    """Compare the tables here with the published ones: one verdict, then cell by cell.

    Exit code: 0 if the numbers are equal or inside the expected range, 1 if outside, 2 without a
    verdict.

    Args:
        experiment: An experiment whose tables are in data/tables.
        verdict: Print only the verdict and the pre-training seeds.
    """
    from wiseft.study.paper import compare as comparison
    from wiseft.study.targets import Targets

    targets = Targets.read(root, {"experiment": experiment})
    found = comparison.compare(root, targets.experiment, targets.files.table_files())
    typer.echo(f"{experiment}, compared with what is published: {found.verdict}")
    typer.echo("\n".join(found.notes[:1] if verdict else [*found.notes, "", found.details]))
    raise typer.Exit(found.code)
