"""Charts as SVG inside a page, in its colours, which follow the dark scheme; values show on hover."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from glimpse_env.reports import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

WIDTH = 4.4  # inches; text is drawn for this width
# The colours of `plots` and of matplotlib, and the variables of page.css that replace them.
COLOURS = {plots.BLUE: "a", plots.GREEN: "good", plots.RED: "bad", plots.GREY: "grey", plots.GRID: "line"}
COLOURS |= {"#000000": "grey", "#ffffff": "card"}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def render_chart(
    title: str, draw: Callable[..., None], *content: object, height: float = 2.6, name: str = "chart"
) -> str:
    """Return a chart, drawn by a function of axes and `content`, as HTML; empty if nothing is drawn.

    Every point of a named line shows its values on hover, and an artist with a gid shows that. `height` is in
    inches, `name` the class of the style sheet.
    """
    from matplotlib import rc_context

    figure = plots.create_figure(WIDTH, height)
    axes = figure.subplots()
    draw(axes, *content)
    if not axes.patches and not any(np.isfinite(line.get_ydata()).any() for line in find_curves(axes)):
        return ""
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=NO_METADATA)
    frame = r"(?s)<\?xml.*?<svg[^>]*>|<style.*?</style>|</svg>|<!--.*?-->|xlink:"
    drawn = re.sub(frame, "", buffer.getvalue())
    drawn = re.sub(r'<g id="([\w.]+_\d+)?">', "<g>", drawn)
    drawn = re.sub(r'<g id="([^"]+)">', r"<g><title>\1</title>", drawn)
    drawn = re.sub("|".join(COLOURS), lambda colour: f"var(--{COLOURS[colour[0]]})", drawn)
    label = f'role="img" aria-label="{escape(describe(axes, title))}"'
    discs = "".join(mark_points(axes, 72 * height))
    svg = f'<svg viewBox="0 0 {72 * WIDTH:g} {72 * height:g}" {label}>{drawn}{discs}</svg>'
    return f'<figure class="{name}"><figcaption>{escape(title)}</figcaption>{svg}</figure>'


def mark_points(axes: Axes, height: float) -> Iterator[str]:
    """Yield a transparent disc with its values for every point of the named curves; `height` in points."""
    for line in find_curves(axes):
        if line.get_gid():
            continue  # the gid is shown instead
        points = np.asarray(line.get_xydata())
        positions = axes.transData.transform(points) * 72 / axes.figure.dpi
        for (x, y), (left, bottom) in zip(points, positions, strict=True):
            if np.isfinite([x, y]).all():
                values = escape(f"{line.get_label()}: {y:.3g} at {x:.3g}")
                centre = f'cx="{left:.1f}" cy="{height - bottom:.1f}"'
                yield f'<circle class="touch" {centre} r="7"><title>{values}</title></circle>'


def find_curves(axes: Axes) -> list[Line2D]:
    """Return the lines in data coordinates; others mark a value of one axis."""
    return [line for line in axes.lines if line.get_transform() == axes.transData]


def describe(axes: Axes, title: str) -> str:
    """Return the chart in words, for readers who do not see it."""
    parts = [title]
    for line in find_curves(axes):
        values = np.asarray(line.get_ydata(), float)
        if len(values) and not line.get_gid():
            parts.append(f"{line.get_label()}: from {values[0]:.3g} to {values[-1]:.3g}")
    parts += [str(artist.get_gid()) for artist in axes.get_children() if artist.get_gid()]
    return ". ".join(parts)
