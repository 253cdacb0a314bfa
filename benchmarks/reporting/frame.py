"""The frame of every chart: a figure with its name, a legend that wraps, axes, and the numbers as a table.

A chart is inline SVG or a table with SVG in its cells, so that it needs no script, prints, and takes its colours from the page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from vocbench.benchmarks.reporting.looks import line_class, mark_class

SMALL, WIDE = 380, 760  # pixels across: one fits a phone, the other scrolls there
NARROWEST = {SMALL: 345}  # pixels to which it may be scaled down, its text staying readable
MOST_FACTORS = 5  # ticks of a logarithmic axis that have room for their numbers
HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 280, 46, 12, 46, 12
DIGIT = 8  # pixels that a digit takes at most

Looks = Mapping[str, int]  # the place of a series among the looks


class Table(NamedTuple):
    """Numbers behind a chart, as text; the first column heads the rows."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class Axis(NamedTuple):
    """The ends of an axis and its number of steps, which are 1, 2 or 5 times a power of ten."""

    low: float
    high: float
    steps: int


def axis(values: Sequence[float], zero: bool = True) -> Axis:
    """Return an axis of three to nine steps that contains the values and, by default, zero."""
    values = [*values, 0.0] if zero or not values else values
    low, high = min(values), max(values)
    if high == low:
        low, high = (low - 1, high) if low >= 1 else (low, high + 1)  # an axis of percent ends at 100
    least = (high - low) / 8
    power = 10.0 ** math.floor(math.log10(least))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Axis(first * step, last * step, last - first)


@dataclass(frozen=True)
class Scale:
    """An axis with its label; values lie between the first and the last tick."""

    label: str
    ticks: Sequence[float]
    logarithmic: bool = False

    @property
    def numbered(self) -> Sequence[float]:
        """Return the ticks that bear their number: of many on a logarithmic axis, the powers of ten."""
        if not self.logarithmic or len(self.ticks) <= MOST_FACTORS:
            return self.ticks
        return [tick for tick in self.ticks if math.isclose(math.log10(tick) % 1, 0, abs_tol=1e-9)]

    def share(self, value: float) -> float:
        """Return where a value lies, 0 at the first tick and 1 at the last."""
        change = math.log if self.logarithmic else float
        low, high, here = change(self.ticks[0]), change(self.ticks[-1]), change(value)
        return (here - low) / max(high - low, 1e-12)


def linear(label: str, values: Sequence[float], zero: bool = True) -> Scale:
    """Return a scale that holds the values."""
    low, high, steps = axis(values, zero)
    ticks = np.linspace(low, high, steps + 1).tolist()
    return Scale(label, [0.0 if abs(tick) < 1e-9 * (high - low) else tick for tick in ticks])


def unit(label: str) -> Scale:
    """Return a scale from 0 to 1."""
    return Scale(label, [i / 5 for i in range(6)])


def logarithmic(label: str, values: Sequence[float]) -> Scale:
    """Return a scale for positive values with ticks at 1, 2 and 5 times powers of ten, at least two of them."""
    low, high = min(values, default=1.0), max(values, default=1.0)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    first = max(i for i, tick in enumerate(ticks) if tick <= low * (1 + 1e-9))
    last = min(i for i, tick in enumerate(ticks) if tick >= high * (1 - 1e-9))
    return Scale(label, ticks[first : max(last, first + 1) + 1], True)


@dataclass(frozen=True)
class Canvas:
    """A drawing with a scale across and one upwards; positions are pixels of its SVG."""

    across: Scale
    up: Scale
    width: int = SMALL
    height: int = HEIGHT

    def x(self, value: float) -> float:
        return LEFT + (self.width - LEFT - RIGHT) * self.across.share(value)

    def y(self, value: float) -> float:
        return self.height - BOTTOM - (self.height - BOTTOM - TOP) * self.up.share(value)

    def axes(self) -> str:
        """Draw grid lines with their values, the values below, and both labels."""
        parts = []
        for value in self.up.ticks:
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{self.width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
        below = f'y="{self.height - BOTTOM + 16}" text-anchor="middle"'
        for value in self.across.numbered:
            text = f"{value:.6g}"
            x = min(self.x(value), self.width - DIGIT / 2 * len(text))  # a long number at the right end stays inside
            parts.append(f'<text class="below" x="{x:.1f}" {below}>{text}</text>')
        return "".join(parts) + self._labels()

    def _labels(self) -> str:
        middle = (self.height - BOTTOM) / 2
        return (
            f'<text x="{(LEFT + self.width) / 2:.0f}" y="{self.height - BOTTOM + 36}" text-anchor="middle">'
            f"{escape(self.across.label)}</text>"
            f'<text transform="translate(12,{middle:.0f}) rotate(-90)" text-anchor="middle">{escape(self.up.label)}</text>'
        )

    def drawing(self, title: str, inside: str) -> str:
        """Return the SVG in a box that scrolls sideways where it is too narrow for text to stay readable."""
        name = escape(title)
        return (
            f'<div class="scroll" tabindex="0" role="region" aria-label="{name}, chart">'
            f'<svg class="plot" style="min-width:{NARROWEST.get(self.width, self.width)}px" '
            f'viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{name}">{self.axes()}{inside}</svg></div>'
        )


def square_key(name: str, place: int) -> str:
    """Return a series of marks for the legend."""
    return _key(name, f'<rect class="{mark_class(place)}" width="12" height="12"/>', 12)


def line_key(name: str, place: int) -> str:
    """Return a series of lines for the legend."""
    return _key(name, f'<line class="{line_class(place)}" x1="0" x2="34" y1="6" y2="6"/>', 34)


def _key(name: str, sample: str, width: int) -> str:
    return f'<li><svg class="key" width="{width}" height="12" aria-hidden="true">{sample}</svg> {escape(name)}</li>'


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


def figure(title: str, drawing: str, keys: Sequence[str], table: Table) -> Markup:
    """Return a chart with everything around it."""
    legend = f'<ul class="legend">{"".join(keys)}</ul>'
    return Markup(f'<figure class="chart"><figcaption>{escape(title)}</figcaption>{legend}{drawing}{_numbers(table)}</figure>')


def look_of(name: str, looks: Looks | None, names: Sequence[str]) -> int:
    """Return the place of a series' look; without looks, its place among the names."""
    return looks[name] if looks is not None and name in looks else list(names).index(name)
