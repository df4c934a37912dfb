"""Charts of matplotlib as SVG that lives in a page: its colours and fonts, names of its own, no fixed size."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

INK, QUIET, LINE, ACCENT, SECOND = "#010101", "#010102", "#010103", "#010104", "#010105"
"""Colours to draw with, each of which stands for one that the page decides on, light or dark."""
PAGE_COLOURS = {
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
    "axes.grid.axis": "both",
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
def page_style(changes: dict[Any, Any] | None = None) -> Iterator[None]:
    """Charts made inside look as the page does, whatever a user or another library has set."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**SETTINGS, **(changes or {})})
        yield


def new_chart(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of so many pixels, as it is drawn on a wide screen, and its axes; inside `page_style`."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def plain(texts: Sequence[Text]) -> None:
    """Takes dollar signs in names for what they are, not for formulas."""
    for text in texts:
        text.set_parse_math(False)


def inline_svg(figure: Figure, name: str, says: str) -> Markup:
    """The figure as an element of a page; the same figure gives the same text.

    Args:
        name: that no other chart of the page has; its ids begin with it.
        says: what the chart shows, for those who cannot see it.
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
    for stand_in, colour in PAGE_COLOURS.items():
        body = body.replace(stand_in, colour)
    start = f'<svg viewBox="0 0 {width} {height}" style="width:{width}px" role="img" aria-label="{escape(says)}">'
    return Markup(start + body.strip())
