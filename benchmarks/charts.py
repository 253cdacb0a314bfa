"""Small charts as inline SVG: bars in groups, lines in the unit square, scattered points. Every label is escaped.

Colours come from CSS classes `s0` to `s5`, so that light and dark follow the page; each mark carries its number as a title.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from markupsafe import Markup

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 760, 260, 48, 62, 12
COLOURS = 6


def _colours(series: Sequence[tuple[str, object]], order: Sequence[str]) -> list[int]:
    """The colour of each series: its place in `order`, so that a variant has one colour in every chart."""
    names = list(order) or [name for name, _ in series]
    return [names.index(name) % COLOURS for name, _ in series]


def _svg(title: str, inside: str, legend: Sequence[tuple[str, int]]) -> Markup:
    keys = "".join(
        f'<g transform="translate({LEFT + 120 * i},{HEIGHT + 6})"><rect class="s{colour}" width="12" height="12"/>'
        f'<text x="17" y="11">{escape(name[:16])}</text></g>'
        for i, (name, colour) in enumerate(legend)
    )
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 26}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f"{inside}{keys}</svg>"
    )


def _axis(low: float, high: float, ticks: int = 5) -> str:
    """Horizontal grid lines with their values."""
    parts = []
    for i in range(ticks + 1):
        value = low + (high - low) * i / ticks
        y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * i / ticks
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    return "".join(parts)


def _place(value: float, low: float, high: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value - low) / max(high - low, 1e-12)


def bars(
    labels: Sequence[str], series: Sequence[tuple[str, Sequence[float | None]]], title: str, order: Sequence[str] = ()
) -> Markup:
    """Groups of bars, one group per label and one bar per series; values in parts of 1, shown in percent."""
    group = (WIDTH - LEFT) / max(len(labels), 1)
    width = 0.8 * group / max(len(series), 1)
    parts, colours = [_axis(0, 100)], _colours(series, order)
    for i, label in enumerate(labels):
        x = LEFT + group * i
        middle = x + group / 2
        parts.append(
            f'<text transform="translate({middle:.1f},{HEIGHT - BOTTOM + 14}) rotate(30)" class="small">{escape(label)}</text>'
        )
        for k, (name, values) in enumerate(series):
            value = values[i]
            if value is None:
                continue
            top = _place(100 * value, 0, 100)
            left, height = x + 0.1 * group + width * k, HEIGHT - BOTTOM - top
            parts.append(
                f'<rect class="s{colours[k]}" x="{left:.1f}" y="{top:.1f}" width="{max(width - 1, 1):.1f}" '
                f'height="{height:.1f}"><title>{escape(name)}, {escape(label)}: {100 * value:.1f}</title></rect>'
            )
    return _svg(title, "".join(parts), list(zip((name for name, _ in series), colours, strict=True)))


def lines(
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    x_label: str,
    y_label: str,
    title: str,
    order: Sequence[str] = (),
) -> Markup:
    """Curves in the unit square."""
    parts, colours = [_axis(0, 1)], _colours(series, order)
    for i in range(6):
        x = LEFT + (WIDTH - LEFT - 10) * i / 5
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{i / 5:.1f}</text>')
    for k, (name, dots) in enumerate(series):
        if dots:
            path = " ".join(f"{LEFT + (WIDTH - LEFT - 10) * x:.1f},{_place(y, 0, 1):.1f}" for x, y in dots)
            parts.append(f'<polyline class="l{colours[k]}" points="{path}"><title>{escape(name)}</title></polyline>')
    parts.append(_labels(x_label, y_label))
    return _svg(title, "".join(parts), list(zip((name for name, _ in series), colours, strict=True)))


def scatter(
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    x_label: str,
    y_label: str,
    title: str,
    order: Sequence[str] = (),
) -> Markup:
    """Points of several series on axes that fit them."""
    dots = [dot for _, group in series for dot in group] or [(0.0, 0.0)]
    low_x, high_x = (bound(x for x, _ in dots) for bound in (min, max))
    low_y, high_y = (bound(y for _, y in dots) for bound in (min, max))
    low_y, high_y = min(low_y, 0), max(high_y, low_y + 1, 1)
    parts, colours = [_axis(low_y, high_y)], _colours(series, order)
    for i in range(6):
        value = low_x + (high_x - low_x) * i / 5
        x = LEFT + 10 + (WIDTH - LEFT - 20) * i / 5
        anchor = "end" if i == 5 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="{anchor}">{value:.3g}</text>')
    for k, (name, group) in enumerate(series):
        for x, y in group:
            at = LEFT + 10 + (WIDTH - LEFT - 20) * (x - low_x) / max(high_x - low_x, 1e-12)
            parts.append(
                f'<circle class="s{colours[k]}" cx="{at:.1f}" cy="{_place(y, low_y, high_y):.1f}" r="3.5">'
                f"<title>{escape(name)}: {x:.2f}, {y:.3g}</title></circle>"
            )
    parts.append(_labels(x_label, y_label))
    return _svg(title, "".join(parts), list(zip((name for name, _ in series), colours, strict=True)))


def _labels(x_label: str, y_label: str) -> str:
    return (
        f'<text x="{(LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - BOTTOM + 36}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text transform="translate(12,{(HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    )
