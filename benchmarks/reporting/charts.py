"""The charts: marks in rows, curves in the unit square, lines by level, scattered points, and points with intervals.

Every label is escaped; each mark carries its number as a title.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from vocbench.benchmarks.reporting.frame import (
    SMALL,
    WIDE,
    Canvas,
    Looks,
    Table,
    axis,
    figure,
    line_key,
    linear,
    logarithmic,
    look_of,
    square_key,
    unit,
)
from vocbench.benchmarks.reporting.looks import line_class, mark_class
from vocbench.benchmarks.reporting.tables import percent

LISTED = 40  # scattered points of a series in the table of numbers
LANE, TALLEST_ROW = 5, 26  # pixels between the marks of a row, and of a row

Dots = Sequence[tuple[float, float]]
Values = Sequence[float | None]


def rows(
    labels: Sequence[str], series: Sequence[tuple[str, Values]], title: str, looks: Looks | None = None, highest: float = 1.0
) -> Markup:  # fmt: skip
    """Draw a row per label with one mark per series; values in parts of 1, shown in percent.

    The axis reaches `highest` and the largest value.
    """
    names = [name for name, _ in series]
    places = [look_of(name, looks, names) for name in names]
    values = [value for _, group in series for value in group if value is not None]
    low, high, steps = axis([100 * value for value in [*values, highest]])
    ticks = [low + (high - low) * i / steps for i in range(steps + 1)]
    body = []
    for i, label in enumerate(labels):
        shown = [(name, place, group[i]) for (name, group), place in zip(series, places, strict=True)]
        body.append(f'<tr><th scope="row">{escape(label)}</th><td>{_row(label, shown, low, high, ticks)}</td></tr>')
    scale = "".join(f'<text x="{_across(tick, low, high)}" y="12" text-anchor="middle">{tick:.3g}</text>' for tick in ticks)
    foot = f'<th></th><td><svg class="lane" width="100%" height="16" aria-hidden="true">{scale}</svg></td>'
    drawing = (
        f'<table class="rows" aria-label="{escape(title)}"><tbody>{"".join(body)}</tbody>'
        f'<tfoot><tr aria-hidden="true">{foot}</tr></tfoot></table>'
    )
    numbers = [[label, *(percent(group[i]) for _, group in series)] for i, label in enumerate(labels)]
    keys = [square_key(name, place) for name, place in zip(names, places, strict=True)]
    return figure(title, drawing, keys, Table(["", *names], numbers))


def _across(value: float, low: float, high: float) -> str:
    """Return a place in a lane that leaves room for half a mark at both ends."""
    return f"{4 + 91 * (value - low) / (high - low):.2f}%"


def _row(label: str, shown: Sequence[tuple[str, int, float | None]], low: float, high: float, ticks: Sequence[float]) -> str:
    """Draw the marks of one row; those of one value lie below each other."""
    step = min(LANE, TALLEST_ROW / max(len(shown), 1))
    height = 12 + step * max(len(shown) - 1, 0)
    parts = [f'<line class="grid" x1="{_across(t, low, high)}" x2="{_across(t, low, high)}" y1="0" y2="100%"/>' for t in ticks]
    values = []
    for i, (name, place, value) in enumerate(shown):
        values.append(f"{name} {percent(value)}")
        if value is not None:
            where, zero, y = _across(100 * value, low, high), _across(0, low, high), f"{6 + step * i:.1f}"
            parts.append(f'<line class="stem {line_class(place)}" x1="{zero}" x2="{where}" y1="{y}" y2="{y}"/>')
            parts.append(
                f'<circle class="{mark_class(place)}" cx="{where}" cy="{y}" r="4.5">'
                f"<title>{escape(name)}, {escape(label)}: {100 * value:.1f}</title></circle>"
            )
    name = escape(f"{label}: {', '.join(values)}")
    return f'<svg class="lane" width="100%" height="{height:.0f}" role="img" aria-label="{name}">{"".join(parts)}</svg>'


def curves(
    series: Sequence[tuple[str, Dots]], x_label: str, y_label: str, title: str, looks: Looks | None = None
) -> Markup:  # fmt: skip
    """Draw falling curves in the unit square, each given by its corners (x, y): y holds from the last corner's x to its own.

    A line's points are its corners in the SVG's units, so that the area under it can be computed from the page.
    """
    canvas = Canvas(unit(x_label), unit(y_label))
    names = [name for name, _ in series]
    parts, keys = [], []
    for name, corners in series:
        place = look_of(name, looks, names)
        lefts = [0.0, *(x for x, _ in corners)]
        steps = [point for left, (x, y) in zip(lefts, corners, strict=False) for point in ((left, y), (x, y))]
        parts.append(_polyline(canvas, name, place, steps))
        keys.append(line_key(name, place))
    numbers = [[f"{x:.1f}", *(_height(corners, x) for _, corners in series)] for x in np.linspace(0, 1, 11)]
    return figure(title, canvas.drawing(title, "".join(parts)), keys, Table([f"{y_label} at {x_label}", *names], numbers))


def _polyline(canvas: Canvas, name: str, place: int, points: Dots) -> str:
    if not points:
        return ""
    path = " ".join(f"{canvas.x(x):.2f},{canvas.y(y):.2f}" for x, y in points)
    return (
        f'<polyline class="{line_class(place)}" data-series="{escape(name)}" points="{path}">'
        f"<title>{escape(name)}</title></polyline>"
    )


def _height(corners: Dots, x: float) -> str:
    """Return the height of a curve of corners at `x`, 0 beyond its end."""
    return f"{next((y for right, y in corners if right >= x - 1e-9), 0.0):.3f}"


class Level(NamedTuple):
    """A group of photos by the level of a degradation: its name in the table, and where it lies across."""

    label: str
    place: float


def lines(
    levels: Sequence[Level], series: Sequence[tuple[str, Values]], x_label: str, title: str, looks: Looks | None = None
) -> Markup:  # fmt: skip
    """Draw mAP by level: a line with points per series; values in parts of 1, shown in percent."""
    names = [name for name, _ in series]
    shown = [100 * value for _, values in series for value in values if value is not None]
    canvas = Canvas(linear(x_label, [one.place for one in levels], zero=False), linear("mAP, %", shown, zero=False))
    parts, keys = [], []
    for name, values in series:
        place = look_of(name, looks, names)
        points = [(one, 100 * value) for one, value in zip(levels, values, strict=True) if value is not None]
        parts.append(_polyline(canvas, name, place, sorted((one.place, y) for one, y in points)))
        parts += [_dot(canvas, place, one.place, y, f"{name}, {one.label}: {y:.1f}") for one, y in points]
        keys.append(line_key(name, place))
    numbers = [[one.label, *(percent(values[i]) for _, values in series)] for i, one in enumerate(levels)]
    return figure(title, canvas.drawing(title, "".join(parts)), keys, Table([x_label, *names], numbers))


def _dot(canvas: Canvas, place: int, x: float, y: float, title: str, radius: float = 3.5) -> str:
    return (
        f'<circle class="{mark_class(place)}" cx="{canvas.x(x):.1f}" cy="{canvas.y(y):.1f}" r="{radius}">'
        f"<title>{escape(title)}</title></circle>"
    )


def scatter(
    series: Sequence[tuple[str, Dots]], x_label: str, y_label: str, title: str, looks: Looks | None = None
) -> Markup:  # fmt: skip
    """Draw points of several series on axes that fit them and zero, whose lines are drawn."""
    names = [name for name, _ in series]
    canvas = Canvas(
        linear(x_label, [x for _, group in series for x, _ in group]),
        linear(y_label, [y for _, group in series for _, y in group]),
    )
    (left, right), (low, high) = ([scale.ticks[i] for i in (0, -1)] for scale in (canvas.across, canvas.up))
    parts = [_zero(canvas, (left, 0), (right, 0)), _zero(canvas, (0, low), (0, high))]
    for name, group in series:
        place = look_of(name, looks, names)
        parts += [_dot(canvas, place, x, y, f"{name}: {x:.2f}, {y:.3g}", 3) for x, y in group]
    keys = [square_key(name, look_of(name, looks, names)) for name in names]
    return figure(title, canvas.drawing(title, "".join(parts)), keys, _listed(series, x_label, y_label))


def _zero(canvas: Canvas, begin: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = ((canvas.x(x), canvas.y(y)) for x, y in (begin, end))
    return f'<line class="zero" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def _listed(series: Sequence[tuple[str, Dots]], x_label: str, y_label: str) -> Table:
    """Return at most `LISTED` points of each series, evenly taken from left to right."""
    rows = []
    for name, group in series:
        step = max(1, -(-len(group) // LISTED))
        rows += [[name, f"{x:.2f}", f"{y:.3f}"] for x, y in sorted(group)[::step]]
    return Table(["", x_label, y_label], rows)


class Cost(NamedTuple):
    """The cost and benefit of a variant: milliseconds per photo, mAP in parts of 1, and its 95 % interval."""

    name: str
    milliseconds: float
    value: float
    low: float | None = None
    high: float | None = None


LEAST_SPAN = 5.0  # points of mAP that a chart shows, even where all variants have one value


def tradeoff(costs: Sequence[Cost], title: str, looks: Looks | None = None, wide: bool = False) -> Markup:
    """Draw mAP with its interval against milliseconds per photo, which grow by factors."""
    names = [one.name for one in costs]
    bounds = [100 * value for one in costs for value in (one.value, one.low, one.high) if value is not None]
    if bounds and max(bounds) - min(bounds) < LEAST_SPAN:
        bounds.append(max(min(bounds) - LEAST_SPAN, 0.0))
    canvas = Canvas(
        logarithmic("milliseconds per photo, restoring and detecting", [one.milliseconds for one in costs]),
        linear("mAP, %", bounds, zero=False),
        WIDE if wide else SMALL,
    )
    parts, keys = [], []
    for one in costs:
        place = look_of(one.name, looks, names)
        parts.append(_whisker(canvas, place, one))
        parts.append(_dot(canvas, place, one.milliseconds, 100 * one.value, _cost_title(one), 5))
        keys.append(square_key(one.name, place))
    numbers = [[one.name, f"{one.milliseconds:.0f}", percent(one.value), _between(one)] for one in costs]
    head = ["", "ms per photo", "mAP, %", "95 % interval"]
    return figure(title, canvas.drawing(title, "".join(parts)), keys, Table(head, numbers))


def _between(one: Cost) -> str:
    return "–" if one.low is None else f"{percent(one.low)} to {percent(one.high)}"


def _cost_title(one: Cost) -> str:
    interval = "" if one.low is None else f" ({_between(one)})"
    return f"{one.name}: {one.milliseconds:.0f} ms per photo, mAP {percent(one.value)}{interval}"


def _whisker(canvas: Canvas, place: int, one: Cost) -> str:
    if one.low is None or one.high is None:
        return ""
    x, low, high = canvas.x(one.milliseconds), canvas.y(100 * one.low), canvas.y(100 * one.high)
    return f'<line class="whisker {line_class(place)}" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
