"""Small charts as figures: an inline SVG in a box that scrolls sideways, a legend that wraps, and the numbers as a table.

Bars in groups, lines in the unit square, scattered points. Every label is escaped. Colours come from CSS classes `s0` to `s9`
(marks) and `l0` to `l9` (lines), so that light and dark follow the page; lines differ by dashes too, and from the eleventh
series on marks get paler. Each mark carries its number as a title.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 760, 260, 48, 62, 12
COLOURS, DASHES, SHADES = 10, 5, 3
LETTER = 7  # width of a letter
ROWS = 40  # scattered points of a series in the table of numbers

Dots = Sequence[tuple[float, float]]


class Table(NamedTuple):
    """Numbers behind a chart, as text; the first column heads the rows."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class Key(NamedTuple):
    """A series in the legend, and its sample of some width."""

    name: str
    sample: str
    width: int


def mark_class(place: int) -> str:
    """The look of the bars and points of the variant at this place."""
    return f"s{place % COLOURS} o{min(place // COLOURS, SHADES - 1)}"


def line_class(place: int) -> str:
    """The look of its line: fifty differ in colour or dashes."""
    return f"l{place % COLOURS} d{(place + place // COLOURS) % DASHES}"


def _places(series: Sequence[tuple[str, object]], order: Sequence[str]) -> list[int]:
    """The place of each series in `order`, so that a variant looks the same in every chart."""
    names = list(order) or [name for name, _ in series]
    return [names.index(name) for name, _ in series]


def _square(name: str, place: int) -> Key:
    return Key(name, f'<rect class="{mark_class(place)}" width="12" height="12"/>', 12)


def _stroke(name: str, place: int) -> Key:
    return Key(name, f'<line class="{line_class(place)}" x1="0" x2="34" y1="6" y2="6"/>', 34)


def _keys(keys: Sequence[Key]) -> str:
    drawn = (
        f'<li><svg class="key" width="{one.width}" height="12" aria-hidden="true">{one.sample}</svg> {escape(one.name)}</li>'
        for one in keys
    )
    return f'<ul class="legend">{"".join(drawn)}</ul>'


def _numbers(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in table.head)
    rows = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(text)}</td>" for text in rest)}</tr>'
        for first, *rest in table.rows
    )
    return (
        '<details class="numbers"><summary>Numbers of this chart</summary><div class="scroll"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )


def _figure(title: str, inside: str, keys: Sequence[Key], table: Table) -> Markup:
    """The chart with everything around it; the SVG is never narrower than it was drawn, so that its text stays readable."""
    name = escape(title)
    return Markup(
        f'<figure class="chart"><figcaption>{name}</figcaption>{_keys(keys)}'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{name}, chart">'
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">{inside}</svg></div>'
        f"{_numbers(table)}</figure>"
    )


def _ticks(low: float, high: float, steps: int) -> list[float]:
    return [0.0 if abs(value) < 1e-9 * (high - low) else value for value in np.linspace(low, high, steps + 1).tolist()]


def _left(low: float, high: float, steps: int = 5) -> str:
    """Horizontal grid lines with their values."""
    parts = []
    for i, value in enumerate(_ticks(low, high, steps)):
        y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * i / steps
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    return "".join(parts)


def _below(low: float, high: float, at: Callable[[float], float], steps: int = 5) -> str:
    """Values along the lower axis."""
    values = _ticks(low, high, steps)
    anchors = ["middle"] * steps + ["end"]
    return "".join(
        f'<text class="below" x="{at(value):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="{anchor}">{value:.3g}</text>'
        for value, anchor in zip(values, anchors, strict=True)
    )


def _place(value: float, low: float, high: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value - low) / max(high - low, 1e-12)


def _labels(x_label: str, y_label: str) -> str:
    return (
        f'<text x="{(LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - BOTTOM + 38}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text transform="translate(12,{(HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    )


def bars(
    labels: Sequence[str], series: Sequence[tuple[str, Sequence[float | None]]], title: str, order: Sequence[str] = ()
) -> Markup:
    """Groups of bars, one group per label and one bar per series; values in parts of 1, shown in percent."""
    places = _places(series, order)
    group = (WIDTH - LEFT) / max(len(labels), 1)
    parts = [_left(0, 100)]
    upright = LETTER * max(map(len, labels), default=0) < group
    for i, label in enumerate(labels):
        x = LEFT + group * i
        parts.append(_bar_label(label, x + group / 2, upright))
        shown = [(name, place, values[i]) for (name, values), place in zip(series, places, strict=True)]
        parts.append(_bar_group(label, shown, x, group))
    keys = [_square(name, place) for (name, _), place in zip(series, places, strict=True)]
    rows = [[label, *(_percent(values[i]) for _, values in series)] for i, label in enumerate(labels)]
    return _figure(title, "".join(parts), keys, Table(["", *(name for name, _ in series)], rows))


def _bar_label(label: str, x: float, upright: bool) -> str:
    """A label below its group, slanted where labels are wider than groups."""
    turn = 'text-anchor="middle"' if upright else 'text-anchor="end"'
    slant = "" if upright else " rotate(-30)"
    return f'<text transform="translate({x:.1f},{HEIGHT - BOTTOM + 16}){slant}" {turn}>{escape(label)}</text>'


def _bar_group(label: str, shown: Sequence[tuple[str, int, float | None]], x: float, group: float) -> str:
    """The bars of one label: names, places and values."""
    width = 0.8 * group / max(len(shown), 1)
    parts = []
    for k, (name, place, value) in enumerate(shown):
        if value is None:
            continue
        top = _place(100 * value, 0, 100)
        parts.append(
            f'<rect class="{mark_class(place)}" x="{x + 0.1 * group + width * k:.1f}" y="{top:.1f}" '
            f'width="{max(width - 1, 1):.1f}" height="{HEIGHT - BOTTOM - top:.1f}">'
            f"<title>{escape(name)}, {escape(label)}: {100 * value:.1f}</title></rect>"
        )
    return "".join(parts)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def curves(
    series: Sequence[tuple[str, Dots]], x_label: str, y_label: str, title: str, order: Sequence[str] = ()
) -> Markup:  # fmt: skip
    """Falling curves in the unit square, each given by its corners (x, y): y holds from the last corner's x to its own.

    A line's points are its corners in the SVG's units, so that the area under it can be told from the page.
    """

    def at(x: float) -> float:
        return LEFT + (WIDTH - LEFT - 10) * x

    places = _places(series, order)
    parts = [_left(0, 1), _below(0, 1, at), _labels(x_label, y_label)]
    for (name, corners), place in zip(series, places, strict=True):
        lefts = [0.0, *(x for x, _ in corners)]
        path = " ".join(
            f"{at(left):.2f},{_place(y, 0, 1):.2f} {at(x):.2f},{_place(y, 0, 1):.2f}"
            for left, (x, y) in zip(lefts, corners, strict=False)
        )
        if path:
            parts.append(
                f'<polyline class="{line_class(place)}" data-series="{escape(name)}" points="{path}">'
                f"<title>{escape(name)}</title></polyline>"
            )
    keys = [_stroke(name, place) for (name, _), place in zip(series, places, strict=True)]
    rows = [[f"{x:.1f}", *(_height(corners, x) for _, corners in series)] for x in np.linspace(0, 1, 11)]
    return _figure(title, "".join(parts), keys, Table([f"{y_label} at {x_label}", *(name for name, _ in series)], rows))


def _height(corners: Dots, x: float) -> str:
    """What a curve of corners has at `x`, 0 beyond its end."""
    return f"{next((y for right, y in corners if right >= x - 1e-9), 0.0):.3f}"


class Axis(NamedTuple):
    """The ends of an axis and its number of steps, which are 1, 2 or 5 times a power of ten."""

    low: float
    high: float
    steps: int


def axis(values: Sequence[float]) -> Axis:
    """An axis of three to nine steps that holds the values and zero."""
    low, high = min([0.0, *values]), max([0.0, *values])
    high = high if high > low else low + 1
    least = (high - low) / 8
    power = 10.0 ** math.floor(math.log10(least))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Axis(first * step, last * step, last - first)


def scatter(
    series: Sequence[tuple[str, Dots]], x_label: str, y_label: str, title: str, order: Sequence[str] = ()
) -> Markup:  # fmt: skip
    """Points of several series on axes that fit them and zero, whose lines are drawn."""
    low_x, high_x, steps_x = axis([x for _, group in series for x, _ in group])
    low_y, high_y, steps_y = axis([y for _, group in series for _, y in group])

    def at(x: float) -> float:
        return LEFT + 10 + (WIDTH - LEFT - 20) * (x - low_x) / (high_x - low_x)

    zero = _place(0, low_y, high_y)
    parts = [
        _left(low_y, high_y, steps_y),
        _below(low_x, high_x, at, steps_x),
        f'<line class="zero" x1="{LEFT}" x2="{WIDTH}" y1="{zero:.1f}" y2="{zero:.1f}"/>',
        f'<line class="zero" x1="{at(0):.1f}" x2="{at(0):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>',
        _labels(x_label, y_label),
    ]
    places = _places(series, order)
    for (name, group), place in zip(series, places, strict=True):
        parts += [
            f'<circle class="{mark_class(place)}" cx="{at(x):.1f}" cy="{_place(y, low_y, high_y):.1f}" r="3.5">'
            f"<title>{escape(name)}: {x:.2f}, {y:.3g}</title></circle>"
            for x, y in group
        ]
    keys = [_square(name, place) for (name, _), place in zip(series, places, strict=True)]
    return _figure(title, "".join(parts), keys, _listed(series, x_label, y_label))


def _listed(series: Sequence[tuple[str, Dots]], x_label: str, y_label: str) -> Table:
    """At most `ROWS` points of each series, evenly taken from left to right."""
    rows = []
    for name, group in series:
        step = max(1, -(-len(group) // ROWS))
        rows += [[name, f"{x:.2f}", f"{y:.3f}"] for x, y in sorted(group)[::step]]
    return Table(["", x_label, y_label], rows)
