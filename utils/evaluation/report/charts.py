"""Charts as inline SVG, drawn by matplotlib: with the colors and fonts of the page, and ids of their own."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape

from utils.evaluation.report.curves import RECALLS, THRESHOLDS, BoxCurves, Curve
from utils.metrics.summary import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, LINE, ACCENT, SECOND = "#010101", "#010102", "#010103", "#010104", "#010105"
"""Placeholders for the colors of the page, which differ between light and dark mode."""

PAGE_COLORS = {
    INK: "currentColor",
    QUIET: "var(--quiet)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
}

TEXT = 12
"""Size of text in pixels."""

SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "font.size": TEXT,
    "axes.linewidth": 0,
    "axes.edgecolor": LINE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 1,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "figure.constrained_layout.use": True,
}


@contextmanager
def new_chart(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure of so many pixels on a wide screen, which looks as the page does, and its axes.

    Nothing that a user or another library has set in matplotlib changes it.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasSVG(figure)
        yield figure, figure.add_subplot()


def inline_svg(figure: Figure, name: str, description: str) -> Markup:
    """Turn a figure into an element of the page, inside `new_chart`; the same figure gives the same text.

    Args:
        name: prefix of the ids in it; no other chart of the page has it.
        description: of what the chart shows, for screen readers.
    """
    import matplotlib

    contents = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's fonts write the text
        figure.savefig(contents, format="svg", transparent=True, metadata={"Date": None})
    drawn = contents.getvalue()
    drawn = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", drawn, flags=re.DOTALL)
    head, body = drawn[drawn.index("<svg") :].split(">", 1)
    view = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head)
    assert view is not None, head
    width, height = (round(float(side)) for side in view.groups())
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", body)  # the fonts are the page's
    body = re.sub(r" font-family: [^;\"]*;?", "", body)
    for stand_in, color in PAGE_COLORS.items():
        body = body.replace(stand_in, color)
    size, label = f'viewBox="0 0 {width} {height}" style="width:{width}px"', escape(description)
    return Markup(f'<svg {size} role="img" aria-label="{label}">{body.strip()}')


WIDTH = 320
"""Width of a chart in pixels; four stand side by side on a wide screen, one fills a phone."""

BARS_WIDTH = 400

MAX_NAME = 20
"""Characters of a name that a chart shows."""

MOST_LINES = 30
"""Up to so many classes have a line of their own in the charts of boxes."""

PERCENTS = (0, 25, 50, 75, 100)


@dataclass(frozen=True)
class Chart:
    """A chart with its title and how to read it.

    Attributes:
        name: for links, ids and file names; no other chart has it.
        title, note: for the reader.
        svg: the drawing.
    """

    name: str
    title: str
    note: str
    svg: Markup


def class_bars(evaluation: Evaluation) -> Chart:
    """Draw the IoU of each label that occurs with its 95 % interval, the best on top."""
    ious, (low, high) = 100 * evaluation.label_measures["iou"], 100 * evaluation.intervals.class_iou
    labels = sorted(np.flatnonzero(~np.isnan(ious)).tolist(), key=lambda label: (ious[label], -label))
    with new_chart(BARS_WIDTH, 46 + 24 * len(labels)) as (figure, axes):
        places = np.arange(len(labels))
        axes.barh(places, ious[labels], 0.62, color=ACCENT, alpha=0.6)
        axes.hlines(places, low[labels], high[labels], color=INK, linewidth=1.5)
        for place, label in enumerate(labels):
            # Flush right in a column of their own, to the right of the chart.
            text, right = f"{ious[label]:.1f}", axes.get_yaxis_transform()
            axes.annotate(text, (1, place), (36, 0), right, "offset points", ha="right", va="center")
        axes.set_yticks(places, [shortened(evaluation.names[label]) for label in labels], color=INK)
        for name in axes.get_yticklabels():
            name.set_parse_math(False)  # or what stands between two dollar signs would be typeset
        axes.set_ylim(-0.6, len(labels) - 0.4)
        axes.set_xticks(PERCENTS, [*map(str, PERCENTS)])
        axes.set_xlim(0, 100)
        axes.grid(visible=False, axis="y")
        worst = f", from {evaluation.names[labels[-1]]} down to {evaluation.names[labels[0]]}" if labels else ""
        svg = inline_svg(figure, "bars", f"Bars: IoU of {len(labels)} classes in percent{worst}")
    note = "In percent. The thin line is the 95 % interval: drawing other images or clips would move the IoU within it."
    return Chart("bars", "IoU of each class", note, svg)


def size_chart(curve: Curve) -> Chart:
    """Draw the IoU of true objects against their size."""
    from matplotlib.ticker import NullLocator

    with new_chart(WIDTH, 250) as (figure, axes):
        _draw(axes, curve, ACCENT, "o")
        axes.set_xscale("log", base=2)
        axes.set_xlim(curve.centers.min() / 1.3, curve.centers.max() * 1.3)
        low, high = axes.get_xlim()
        ticks = [2.0**i for i in range(20) if low <= 2**i <= high]
        if len(ticks) < 3:  # objects of similar size
            ticks = [each for i in range(20) for each in (2.0**i, 1.5 * 2**i) if low <= each <= high]
        axes.set_xticks(ticks, [f"{each:g}" for each in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("side in pixels of a square of the object's area")
        _percent_axis(axes)
        svg = inline_svg(figure, "size", f"Curve: mean IoU by object size; {_in_words(curve)}")
    note = "Dots are means, lines span the middle half. A missed object has an IoU of 0."
    return Chart("size", "IoU and object size", note, svg)


def score_chart(curves: Mapping[str, Curve]) -> Chart:
    """Draw the IoU of found objects against their scores, a curve for each kind of score."""
    with new_chart(WIDTH, 270) as (figure, axes):
        axes.plot((0, 1), (0, 100), color=QUIET, linewidth=1, linestyle=(0, (4, 4)))
        for (name, curve), color, marker in zip(curves.items(), (ACCENT, SECOND), "os"):
            _draw(axes, curve, color, marker, name)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("score")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0, frameon=False, labelcolor=INK)
        _percent_axis(axes)
        spoken = "; ".join(f"{name}: {_in_words(curve)}" for name, curve in curves.items())
        svg = inline_svg(figure, "score", f"Curves: mean IoU by score; {spoken}")
    note = "On the dashed line the score equals the IoU; below it, the model is overconfident."
    return Chart("score", "IoU and score", note, svg)


def precision_chart(curves: BoxCurves) -> Chart:
    """Draw the precision of boxes against their recall."""
    mean = 100 * curves.precision.mean()
    spoken = f"Curve: precision of boxes by recall; AP50 {mean:.0f} %"
    svg = _class_lines("precision", spoken, RECALLS, curves.precision, "recall", "precision in percent")
    note = f"Thick: mean of classes, AP50 {mean:.1f}. Thin: each class. A box is right from IoU 0.5 on."
    return Chart("precision", "Precision and recall of boxes", note, svg)


def f1_chart(curves: BoxCurves) -> Chart:
    """Draw the F1 of the boxes that score at least a threshold against that threshold."""
    best, score = curves.best
    spoken = f"Curve: F1 of boxes by least score; best {100 * best:.0f} % at {score:.2f}"
    svg = _class_lines("f1", spoken, THRESHOLDS, curves.f1, "least score", "F1 in percent", mark=score)
    note = f"Best mean F1: {100 * best:.1f} at {score:.2f}. Boxes with less than dataset.conf are not in it."
    return Chart("f1", "F1 of boxes and score", note, svg)


def shortened(name: str) -> str:
    """Put a name on one line and cut it where it is too long for a chart."""
    name = " ".join(name.split())
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"


def _class_lines(
    name: str,
    spoken: str,
    places: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    across: str,
    upward: str,
    mark: float | None = None,
) -> Markup:
    """Draw a thin line for each of (C, K) classes, unless there are many, and a thick one for their mean.

    Args:
        name, spoken: see `inline_svg`.
        places: (K,) from 0 to 1.
        across, upward: labels of the two axes.
        mark: where a vertical dashed line stands; None: there is none.
    """
    with new_chart(WIDTH, 250) as (figure, axes):
        if len(values) <= MOST_LINES:
            seen = np.where(values > 0, 100 * values, np.nan)  # a class ends where it has no more boxes
            axes.plot(places, seen.T, color=QUIET, linewidth=1, alpha=0.45)
        axes.plot(places, 100 * values.mean(axis=0), color=ACCENT, linewidth=2.5)
        axes.set_xlim(-0.02, 1.02)
        if mark is not None:
            axes.axvline(mark, color=QUIET, linewidth=1, linestyle=(0, (4, 4)))
        _percent_axis(axes, upward)
        axes.set_xlabel(across)
        return inline_svg(figure, name, spoken)


def _draw(axes: Axes, curve: Curve, color: str, marker: str, name: str | None = None) -> None:
    low, high = 100 * curve.quarters
    axes.vlines(curve.centers, low, high, color=color, linewidth=2, alpha=0.5)
    axes.plot(curve.centers, 100 * curve.means, color=color, linewidth=1.5, marker=marker, markersize=6, label=name)


def _percent_axis(axes: Axes, name: str = "IoU in percent") -> None:
    axes.set_yticks(PERCENTS, [*map(str, PERCENTS)])
    axes.set_ylim(-3, 103)
    axes.set_ylabel(name)


def _in_words(curve: Curve) -> str:
    return ", ".join(f"{name}: {100 * mean:.0f} %" for name, mean in zip(curve.names, curve.means)) or "no objects"
