"""Charts as inline SVG: sharp at any size, coloured by the page's style sheet, so that they follow its light or dark scheme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from glimpse_env.reports.page import text

WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 36


class Series(NamedTuple):
    """One curve, or one set of points."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str  # class of the style sheet: a, b, c or grey
    mark: str = "line"  # line, dashed, dots (joined), star (one point)


class Axis(NamedTuple):
    """From values to places."""

    low: float
    high: float
    start: float  # place of `low`
    end: float  # place of `high`
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies."""
        low, high, at = (math.log10(number) for number in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Return round values inside the axis."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            every = (1, 2, 5) if self.high / self.low < 200 else (1,)
            return [factor * 10.0**power for power in powers for factor in every if self.low <= factor * 10.0**power <= self.high]
        step = round_step((self.high - self.low) / wanted)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [count * step for count in range(first, last + 1)]


def round_step(rough: float) -> float:
    """Return 1, 2 or 5 times a power of ten, at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def plot(title: str, across: str, series: Sequence[Series], log: bool = False, marks: Sequence[tuple[float, str, str]] = ()) -> str:
    """Return a figure of curves over one horizontal axis.

    Args:
        title: What the vertical axis says.
        across: What the horizontal axis says.
        series: The curves; values that are no numbers are left out.
        log: The vertical axis is logarithmic, if the values are positive and range far enough.
        marks: Vertical lines with what is left and right of them.
    """
    kept = [curve._replace(points=[point for point in curve.points if all(map(math.isfinite, point))]) for curve in series]
    kept = [curve for curve in kept if curve.points]
    if not kept:
        return ""
    xs = [x for curve in kept for x, _ in curve.points]
    ys = [y for curve in kept for _, y in curve.points]
    horizontal = Axis(*spread(min(xs), max(xs), 0), LEFT, WIDTH - RIGHT)
    log = log and max(ys) > 5 * min(ys) > 0  # a short range has no round powers to mark
    low, high = (min(ys) / 1.15, max(ys) * 1.15) if log else spread(min(ys), max(ys), 0.06)
    vertical = Axis(low, high, HEIGHT - BOTTOM, TOP, log)
    parts = [grid(horizontal, vertical, across)]
    for x, before, after in marks:
        at = horizontal.place(x)
        parts.append(f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="small" x="{at - 4:.1f}" y="{TOP - 2}" text-anchor="end">{text(before)}</text>')
        parts.append(f'<text class="small" x="{at + 4:.1f}" y="{TOP - 2}">{text(after)}</text>')
    parts += [drawn(curve, horizontal, vertical) for curve in kept]
    return figure(title, "".join(parts), legend(kept) if len(kept) > 1 else "", summary(title, kept))


def spread(low: float, high: float, margin: float) -> tuple[float, float]:
    """Return the ends of an axis with a margin, which differ."""
    gap = (high - low) * margin
    return (low - gap, high + gap) if high > low else (low - 0.5, high + 0.5)


def grid(horizontal: Axis, vertical: Axis, across: str) -> str:
    """Return grid lines, ticks and the horizontal axis' label."""
    parts = []
    for value in vertical.ticks():
        y = vertical.place(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,.10g}</text>')
    for value in horizontal.ticks(6):
        if value == int(value):
            parts.append(f'<text x="{horizontal.place(value):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>')
    parts.append(f'<text class="small" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{text(across)}</text>')
    return "".join(parts)


def drawn(curve: Series, horizontal: Axis, vertical: Axis) -> str:
    """Return one curve; each of its points tells its values when pointed at."""
    places = [(horizontal.place(x), vertical.place(y)) for x, y in curve.points]
    parts = []
    if curve.mark != "star" and len(places) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="curve {curve.colour} {curve.mark}" points="{path}"/>')
    radius = {"dots": 3.5, "star": 6}.get(curve.mark, 3.0 if len(places) == 1 else 0)
    for (x, y), (value, result) in zip(places, curve.points, strict=True):
        if radius:
            parts.append(f'<circle class="dot {curve.colour}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>')
        told = f"{text(curve.name)}: {result:.3g} at {value:g}"
        parts.append(f'<circle class="touch" cx="{x:.1f}" cy="{y:.1f}" r="7"><title>{told}</title></circle>')
    return "".join(parts)


def histogram(title: str, right: Sequence[int], wrong: Sequence[int]) -> str:
    """Return how many images stopped after each number of glimpses, right ones below, wrong ones on top (DT-RAM, Figure 5)."""
    counts = [good + bad for good, bad in zip(right, wrong, strict=True)]
    vertical = Axis(0, max(1.0, 1.12 * max(counts, default=0)), HEIGHT - BOTTOM, TOP)
    slot = (WIDTH - LEFT - RIGHT) / max(1, len(counts))
    parts = [grid(Axis(0, 1, 0, 0)._replace(low=0.1, high=0.9, start=LEFT, end=WIDTH - RIGHT), vertical, "glimpses before the answer")]
    for step, (good, count) in enumerate(zip(right, counts, strict=True)):
        left, width = LEFT + slot * (step + 0.14), slot * 0.72
        base, middle, top = (vertical.place(value) for value in (0, good, count))
        told = f"{step + 1}: {count:,} images, {good:,} right" + (f" ({100 * good / count:.1f} %)" if count else "")
        parts.append(f"<g><title>{told}</title>")
        parts.append(f'<rect class="right" x="{left:.1f}" y="{middle:.1f}" width="{width:.1f}" height="{max(0, base - middle):.1f}"/>')
        parts.append(f'<rect class="wrong" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{max(0, middle - top):.1f}"/>')
        at = left + width / 2
        if len(counts) <= 10:
            parts.append(f'<text class="small" x="{at:.1f}" y="{top - 5:.1f}" text-anchor="middle">{count:,}</text>')
        if len(counts) <= 20:
            parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{step + 1}</text>')
        parts.append("</g>")
    keys = '<span><i class="right"></i>right</span><span><i class="wrong"></i>wrong</span>'
    told = ", ".join(f"{count} after {step + 1}" for step, count in enumerate(counts))
    return figure(title, "".join(parts), keys, f"{title}: {told}")


def legend(series: Sequence[Series]) -> str:
    """Return the names of the curves beside their colours."""
    return "".join(f'<span><i class="{curve.colour} {curve.mark}"></i>{text(curve.name)}</span>' for curve in series)


def summary(title: str, series: Sequence[Series]) -> str:
    """Return what a reader who does not see the figure is told."""
    return f"{title}. " + ". ".join(f"{curve.name}: from {curve.points[0][1]:.3g} to {curve.points[-1][1]:.3g}" for curve in series)


def figure(title: str, inside: str, keys: str, told: str, height: float = HEIGHT, name: str = "chart") -> str:
    """Return a chart with its title and legend."""
    head = f'<figcaption>{text(title)}<span class="legend">{keys}</span></figcaption>'
    drawn = f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{text(told)}">{inside}</svg>'
    return f'<figure class="{name}">{head}{drawn}</figure>'
