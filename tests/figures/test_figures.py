"""Every figure: what it draws is in the table, nothing overlaps, the same table, the same bytes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from wiseft.errors import WiseftError
from wiseft.figures.style import Style, paper_style
from wiseft.study.paper.figure import draw_figure, make_figure
from wiseft.tabulate.robustness import baseline_fit

POLARITY = "from-scratch__n5000-polarity"
GROUPS = {
    "natural": ["optdigits", "mfeat", "pendigits"],
    "rendition": ["inverted", "mnist-m", "colour", "corrupt", "fonts"],
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "robustness-natural": (
        "robustness",
        {"average": "natural", "fit_exclude": [POLARITY]},
    ),
    "robustness-renditions": ("robustness", {"average": "renditions"}),
    "landscape": ("landscape", {"groups": GROUPS}),
    "landscape-four": ("landscape", {"datasets": ["mnist", "fonts", "colour", "inverted"]}),
}


@pytest.fixture
def style() -> Iterator[Style]:
    with paper_style() as active:
        yield active


def _draw(table: pd.DataFrame, style: Style, case: str) -> Figure:
    draw, options = CASES[case]
    return draw_figure(case, draw, table, style, options)


def _lines(figure: Figure, panel: int, gid: str) -> list[Any]:
    return [line for line in figure.axes[panel].lines if line.get_gid() == gid]


def _mean(table: pd.DataFrame, dataset: str, method: str, combination: str = "weight") -> Any:
    rows = table[
        (table["dataset"] == dataset)
        & (table["method"] == method)
        & (table["combination"] == combination)
        & (table["split"] == "test")
    ]
    return rows.groupby("alpha")["value"].mean().to_numpy()


@pytest.mark.parametrize("panel", [0, 1])
@pytest.mark.parametrize("method", ["end-to-end", "linear-classifier"])
def test_robustness_draws_the_table(
    table: pd.DataFrame, style: Style, method: str, panel: int
) -> None:
    figure = _draw(table, style, "robustness-natural")
    (line,) = _lines(figure, panel, f"mean:{method}")
    assert line.get_xdata() == pytest.approx(_mean(table, "mnist", method))
    assert line.get_ydata() == pytest.approx(_mean(table, "avg:natural", method))
    (fixed,) = _lines(figure, panel, f"fixed:{method}")
    assert fixed.get_ydata() == pytest.approx(_mean(table, "avg:natural", method)[5:6])
    (tuned,) = _lines(figure, panel, f"fine-tuned:{method}")
    assert tuned.get_ydata() == pytest.approx(_mean(table, "avg:natural", method)[-1:])
    (star,) = _lines(figure, panel, "zero-shot")
    assert star.get_xdata() == pytest.approx(_mean(table, "mnist", method)[:1])


def test_robustness_draws_each_run_and_the_output_space(table: pd.DataFrame, style: Style) -> None:
    figure = _draw(table, style, "robustness-natural")
    runs = _lines(figure, 1, "run:end-to-end")
    assert len(runs) == 3
    seed_2 = table[
        (table["seed"] == 2)
        & (table["method"] == "end-to-end")
        & (table["combination"] == "weight")
        & (table["dataset"] == "avg:natural")
    ]
    assert runs[2].get_ydata() == pytest.approx(seed_2["value"].to_numpy())
    (output,) = _lines(figure, 1, "output")
    expected = _mean(table, "avg:natural", "end-to-end", "output")
    assert output.get_ydata() == pytest.approx(expected)


def test_robustness_fit_stays_within_its_baselines(table: pd.DataFrame, style: Style) -> None:
    figure = _draw(table, style, "robustness-natural")
    (points,) = _lines(figure, 0, "baselines")
    assert sorted(points.get_xdata()) == pytest.approx([0.62, 0.80, 0.907, 0.942, 0.966, 0.977])
    (other,) = _lines(figure, 0, "other-baselines")
    assert len(other.get_xdata()) == 1
    (line,) = _lines(figure, 0, "fit")
    assert line.get_xdata()[[0, -1]] == pytest.approx([0.62, 0.977])
    fit = baseline_fit(table, "natural", [POLARITY])
    assert fit is not None
    assert line.get_ydata()[0] == pytest.approx(float(fit.predict(0.62)))
    assert _lines(figure, 1, "baselines") == []


def test_two_baselines_are_points_without_a_fit(table: pd.DataFrame, style: Style) -> None:
    keep = (table["method"] != "from-scratch") | table["variant"].isin(["n60", "n500"])
    figure = _draw(table[keep], style, "robustness-natural")
    assert len(_lines(figure, 0, "baselines")[0].get_xdata()) == 2
    assert _lines(figure, 0, "fit") == []
    assert not any("fit" in text.get_text() for text in figure.legends[0].get_texts())


PANELS = ["mnist", *GROUPS["natural"], *GROUPS["rendition"]]


@pytest.mark.parametrize(("panel", "dataset"), list(enumerate(PANELS)))
def test_landscape_draws_the_table(
    table: pd.DataFrame, style: Style, panel: int, dataset: str
) -> None:
    figure = _draw(table, style, "landscape")
    assert figure.axes[panel].get_title(loc="left") == dataset
    for method in ("end-to-end", "linear-classifier"):
        (line,) = _lines(figure, panel, f"mean:{method}")
        assert line.get_xdata() == pytest.approx(np.arange(0, 1.01, 0.1))
        assert line.get_ydata() == pytest.approx(_mean(table, dataset, method))
    ends = _mean(table, dataset, "end-to-end")[[0, -1]]
    assert _lines(figure, panel, "chord")[0].get_ydata() == pytest.approx(ends)
    assert set(_lines(figure, panel, "better-end")[0].get_ydata()) == {max(ends)}
    (output,) = _lines(figure, panel, "output")
    assert output.get_ydata() == pytest.approx(_mean(table, dataset, "end-to-end", "output"))


def test_landscape_panels_span_alike_and_say_what_they_are(
    table: pd.DataFrame, style: Style
) -> None:
    axes = _draw(table, style, "landscape").axes
    spans = [np.ptp(ax.get_ylim()) for ax in axes]
    assert spans == pytest.approx([spans[0]] * 9)
    corners = [ax.get_title(loc="right") for ax in axes]
    assert corners == ["reference", *["natural"] * 3, *["rendition"] * 5]
    for ax in axes:
        low, high = ax.get_ylim()
        drawn = np.concatenate([np.asarray(line.get_ydata()) for line in ax.lines])
        assert low < drawn.min()
        assert drawn.max() < high


@pytest.mark.parametrize("case", CASES)
def test_text_is_inside_the_figure_and_nothing_overlaps(
    table: pd.DataFrame, style: Style, case: str
) -> None:
    assert_legible(_draw(table, style, case))


def assert_legible(figure: Figure) -> None:
    """Fail if a text is clipped or overlaps another one, or the legend a panel."""
    figure.draw_without_rendering()
    boxes = {}
    for ax in figure.axes:
        if not ax.axison:
            continue
        texts = [ax.xaxis.label, ax.yaxis.label, ax.title, ax._left_title, ax._right_title]
        texts += [*ax.get_xticklabels(), *ax.get_yticklabels()]
        for text in texts:
            if text.get_visible() and text.get_text():
                boxes[text] = text.get_window_extent()
    for text in figure.legends[0].get_texts():
        boxes[text] = text.get_window_extent()
    frame = figure.bbox
    for text, box in boxes.items():
        inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0
        assert inside and box.y1 <= frame.y1, f"{text.get_text()!r} is clipped"
    for (one, a), (two, b) in combinations(boxes.items(), 2):
        assert not a.overlaps(b), f"{one.get_text()!r} overlaps {two.get_text()!r}"
    legend = figure.legends[0].get_window_extent()
    assert not any(legend.overlaps(ax.get_window_extent()) for ax in figure.axes if ax.axison)


def test_nothing_important_is_drawn_in_colour_alone(table: pd.DataFrame, style: Style) -> None:
    figure = _draw(table, style, "robustness-natural")
    shapes = [
        (line.get_marker(), line.get_linestyle(), line.get_markersize(), line.get_markerfacecolor())
        for line in figure.legends[0].get_lines()
    ]
    without_colour = [(m, ls, size, face == "white") for m, ls, size, face in shapes]
    assert len(set(without_colour)) == len(without_colour)


@pytest.mark.parametrize("case", ["robustness-natural", "landscape-four"])
def test_the_same_table_gives_the_same_bytes(
    table: pd.DataFrame, tmp_path: Path, case: str
) -> None:
    draw, options = CASES[case]
    written = []
    for folder in ("a", "b"):
        paths = [tmp_path / folder / f"{case}.{suffix}" for suffix in ("pdf", "png", "svg")]
        make_figure(case, draw, table, options, paths)
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]
    pdf, png, svg = written[0]
    assert b"CreationDate" not in pdf
    assert b"/Type3" not in pdf  # fonttype 42 embeds TrueType
    assert b"/FontFile2" in pdf
    assert b"<dc:date>" not in svg
    width = int.from_bytes(png[16:20], "big")
    assert width == round(6.75 * 200)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(
        f"{case}.{suffix}" for suffix in ("pdf", "png", "svg")
    )


def test_a_users_own_matplotlib_settings_change_nothing(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    import matplotlib as mpl

    draw, options = CASES["robustness-natural"]
    make_figure("one", draw, table, options, [tmp_path / "one.png"])
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "black", "lines.linewidth": 9}):
        make_figure("two", draw, table, options, [tmp_path / "two.png"])
        assert mpl.rcParams["font.size"] == 20
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize(
    ("draw", "options", "parts"),
    [
        ("robustness", {"average": "unknown"}, ["figure f", "avg:unknown", "avg:natural"]),
        ("robustness", {}, ["figure f", "average"]),
        ("robustness", {"average": "natural", "averages": 1}, ["figure f", "averages"]),
        ("robustness", {"average": "natural", "methods": ["sgd"]}, ["figure f", "sgd"]),
        ("landscape", {"datasets": ["svhn"]}, ["figure f", "dataset", "svhn"]),
        ("landscape", {"datasets": ["mnist"], "groups": {"a": ["fonts"]}}, ["figure f", "fonts"]),
        ("pie", {}, ["figure f", "pie", "choose one of bars, diversity, frontier"]),
        ("scatter", {}, ["figure f", "panels"]),
    ],
)
def test_a_selection_that_cannot_be_drawn_names_figure_and_cause(
    table: pd.DataFrame, style: Style, draw: str, options: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(WiseftError) as error:
        draw_figure("f", draw, table, style, options)
    for part in parts:
        assert part in str(error.value)


def test_an_empty_table_and_an_unknown_column_name_the_figure(
    table: pd.DataFrame, style: Style
) -> None:
    for broken in (table.iloc[:0], table.drop(columns="view")):
        with pytest.raises(WiseftError, match=r"figure f: "):
            draw_figure("f", "landscape", broken, style, {})


def test_a_drawing_takes_of_the_context_what_it_has_use_for(
    table: pd.DataFrame, style: Style
) -> None:
    context = {"fit_exclude": [POLARITY], "titles": {"mnist": "MNIST"}}
    figure = draw_figure("f", "robustness", table, style, {"average": "natural"}, context)
    assert len(_lines(figure, 0, "other-baselines")[0].get_xdata()) == 1
    options = {"average": "natural", "fit_exclude": []}
    figure = draw_figure("f", "robustness", table, style, options, context)
    assert _lines(figure, 0, "other-baselines") == []
    draw_figure("f", "landscape", table, style, {}, context)


def test_baselines_alone_are_one_panel(table: pd.DataFrame, style: Style) -> None:
    scratch = table[table["method"] == "from-scratch"]
    figure = draw_figure("f", "robustness", scratch, style, {"average": "natural"})
    assert len(figure.axes) == 1
    assert len(_lines(figure, 0, "baselines")[0].get_xdata()) == 7
    assert len(_lines(figure, 0, "fit")) == 1
    assert _lines(figure, 0, "zero-shot") == []


def test_only_the_variants_that_are_asked_for(table: pd.DataFrame, style: Style) -> None:
    other = table[table["method"] == "end-to-end"].assign(variant="other", value=0.5)
    both = pd.concat([table, other], ignore_index=True)
    variants = table.loc[table["method"] == "end-to-end", "variant"].unique().tolist()
    options = {"average": "natural", "methods": ["end-to-end"]}
    alone = draw_figure("f", "robustness", table, style, options)
    chosen = draw_figure("f", "robustness", both, style, {**options, "variants": variants})
    for name in ("mean:end-to-end", "baselines"):
        first, second = (_lines(figure, 0, name)[0].get_xydata() for figure in (alone, chosen))
        assert first.tolist() == second.tolist()
    with pytest.raises(WiseftError, match=r"figure f: .*none but baselines"):
        draw_figure("f", "robustness", both, style, {**options, "variants": ["none"]})


def test_runs_with_different_grids_are_not_averaged(table: pd.DataFrame, style: Style) -> None:
    short = table[~((table["seed"] == 1) & (table["alpha"] == 0.3))]
    with pytest.raises(WiseftError, match="different alphas"):
        draw_figure("f", "landscape", short, style, {})


def test_an_output_of_another_format_is_an_error(table: pd.DataFrame, tmp_path: Path) -> None:
    draw, options = CASES["landscape"]
    with pytest.raises(WiseftError, match=r"\.pdf, \.png, \.svg"):
        make_figure("f", draw, table, options, [tmp_path / "f.pdf", tmp_path / "f.bmp"])
    assert list(tmp_path.iterdir()) == []


def test_figures_import_neither_torch_nor_pyplot() -> None:
    code = (
        "import sys, wiseft.study.paper.figure, wiseft.study.paper.summary;"
        "import wiseft.study.paper.headline;"
        "print([m for m in ('torch', 'open_clip', 'sklearn', 'matplotlib.pyplot', 'jinja2') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
